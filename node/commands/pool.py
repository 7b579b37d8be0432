"""Makes, shows, closes or removes a pool, the directory that volumes live in.

A node has one pool on each disk. The node notes its pools in /etc/flexvol/pools.json, so that a
pool whose disk is away is missed, and no other is made in its place. Callouts never make a pool."""

import argparse

from node import callouts
from node.commands import WrongArguments, add_driver
from shared.table import aligned, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from node.operations import Operations

NEEDS_ROOT = False
_VERBS = "init|list|cordon|uncordon|remove"
_HEADINGS = ("POOL", "ID", "PATH", "STATE")


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar=_VERBS)
    init = _add_init(verbs)
    show = verbs.add_parser("list", help="show the pools of this node, there or away")
    cordon = verbs.add_parser(
        "cordon",
        help="take no new volumes into the pool NAME; those in it work, and may grow",
    )
    uncordon = verbs.add_parser("uncordon", help="take new volumes again")
    remove = _add_remove(verbs)
    for verb in (init, cordon, uncordon, remove):
        verb.add_argument("name", metavar="NAME")
    for verb in (init, show, cordon, uncordon, remove):
        add_driver(verb)


def _add_init(verbs: "Any") -> argparse.ArgumentParser:
    init: "argparse.ArgumentParser" = verbs.add_parser(
        "init",
        help=(
            "make the pool NAME in /var/lib/flexvol/NAME, or where the config places it; "
            "mount its disk first"
        ),
    )
    init.add_argument(
        "--reserve",
        default="20%",
        help='left free on its disk: bytes, or per cent (default "20%%")',
    )
    init.add_argument(
        "--overcommit",
        type=float,
        default=1.0,
        help="how many times the disk's size may be promised (default 1)",
    )
    init.add_argument(
        "--replace",
        action="store_true",
        help=(
            "in the place of another pool of that name, whose disk will never come back: the "
            "claims of that one's volumes are then taken for lost"
        ),
    )
    init.add_argument(
        "--unless-removed",
        action="store_true",
        help=(
            "do nothing if the pool was removed from this node with: pool remove; for what makes "
            "pools by itself, as the chart does"
        ),
    )
    return init


def _add_remove(verbs: "Any") -> argparse.ArgumentParser:
    remove: "argparse.ArgumentParser" = verbs.add_parser(
        "remove", help="take the pool NAME, which is empty, from this node"
    )
    remove.add_argument(
        "--away",
        action="store_true",
        help="only forget the pool, whose disk will never come back; nothing is deleted",
    )
    return remove


def run(settings: argparse.Namespace) -> int:
    if settings.verb is None:
        raise WrongArguments("say what to do: {}".format(_VERBS.replace("|", ", ")))
    operations = callouts.load(settings.driver).operations()
    if settings.verb == "list":
        print(_table(operations))
    elif settings.verb == "init":
        message = operations.make_pool(
            settings.name,
            settings.reserve,
            settings.overcommit,
            settings.replace,
            settings.unless_removed,
        )
        print(message)
    elif settings.verb == "remove":
        print(operations.remove_pool(settings.name, settings.away))
    else:
        print(operations.cordon_pool(settings.name, settings.verb == "cordon"))
    return 0


def _table(operations: "Operations") -> str:
    rows = []
    for pool in operations.pool_table():
        cells = [pool["name"], pool["id"], pool["path"], pool["state"]]
        rows.append([printable(cell) or "-" for cell in cells])
    return aligned(_HEADINGS, rows)
