"""flexvol pool: the directories that volumes live in, one on each disk: make one, show them, close
one to new volumes, or remove one. The node notes its pools in /etc/flexvol/pools.json, so that a
pool whose disk is away is missed, and no other is made in its place. Callouts never make a pool."""

import argparse

from node import callouts
from shared.table import aligned, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List

    from node.operations import Operations

_VERBS = "init|list|cordon|uncordon|remove"
_HEADINGS = ("POOL", "ID", "PATH", "STATE")


def main(words: "List[str]") -> int:
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.verb is None:
        parser.error("say what to do: {}".format(_VERBS.replace("|", ", ")))
    operations = callouts.load(arguments.driver).operations()
    if arguments.verb == "list":
        print(_table(operations))
    elif arguments.verb == "init":
        print(
            operations.make_pool(
                arguments.name, arguments.reserve, arguments.overcommit, arguments.replace
            )
        )
    elif arguments.verb == "remove":
        print(operations.remove_pool(arguments.name, arguments.away))
    else:
        print(operations.cordon_pool(arguments.name, arguments.verb == "cordon"))
    return 0


def _table(operations: "Operations") -> str:
    rows = [
        [printable(row[key]) or "-" for key in ("name", "id", "path", "state")]
        for row in operations.pool_table()
    ]
    return aligned(_HEADINGS, rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flexvol pool", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", metavar=_VERBS)
    init = _init(verbs)
    show = verbs.add_parser("list", help="the pools of this node, there or away")
    cordon = verbs.add_parser(
        "cordon", help="no new volumes in the pool NAME; those in it work, and may grow"
    )
    uncordon = verbs.add_parser("uncordon", help="new volumes again")
    remove = verbs.add_parser("remove", help="take the pool NAME, which is empty, from this node")
    remove.add_argument(
        "--away",
        action="store_true",
        help="only forget the pool, whose disk will never come back; nothing is deleted",
    )
    for verb in (init, cordon, uncordon, remove):
        verb.add_argument("name", metavar="NAME")
    for verb in (init, show, cordon, uncordon, remove):
        verb.add_argument(
            "--driver",
            default=callouts.DEFAULT_DRIVER,
            help="the driver the pool is for (default %(default)s)",
        )
    return parser


def _init(verbs: "Any") -> argparse.ArgumentParser:
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
        help="how much may be promised for each byte (default 1)",
    )
    init.add_argument(
        "--replace",
        action="store_true",
        help=(
            "in the place of another pool of that name, whose disk will never come back: the "
            "claims of that one's volumes are then taken for lost"
        ),
    )
    return init
