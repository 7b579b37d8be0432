"""flexvol snapshot: keeps what a volume holds now, also while pods use it if its pool's file system
has reflinks (xfs, btrfs). A new claim of the same namespace gets the data by its annotation
flexvol/from-snapshot. --list shows the snapshots of this node, --delete deletes one."""

import argparse
import os
import sys

from node import callouts
from shared.protocol import Internal, InvalidArgument, NotFound, NotSupported, shown
from shared.table import aligned, human_bytes, is_deletion_confirmed, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from node.drivers import Driver

_HEADINGS = ("SNAPSHOT", "OF", "CLAIM", "POOL", "SIZE", "USED", "MADE", "ITS SOURCE WAS")


def main(words: "List[str]") -> int:
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.list and (arguments.delete or arguments.name or arguments.keep):
        parser.error("--list goes with a VOLUME at most")
    elif not arguments.list and (arguments.volume is None) == (arguments.delete is None):
        parser.error("give a VOLUME, --list, or --delete NAME")
    if arguments.keep is not None and arguments.keep < 1:
        parser.error("--keep {}: expected 1 or more".format(arguments.keep))
    if os.geteuid() != 0:
        raise Internal("only root may see, make or delete snapshots; run it with sudo")
    driver = callouts.load(arguments.driver)
    if arguments.list:
        print(_table(driver, arguments.volume))
    elif arguments.delete is not None:
        return _delete(driver, arguments)
    else:
        lines = driver.operations().snapshot(
            arguments.volume, arguments.name, arguments.keep, arguments.pool
        )
        for line in lines:
            print(line, flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flexvol snapshot", description=__doc__)
    parser.add_argument("volume", nargs="?", metavar="VOLUME", help="the PV's name")
    parser.add_argument(
        "name", nargs="?", default="", metavar="NAME", help="by default VOLUME and the time (UTC)"
    )
    parser.add_argument(
        "--keep",
        type=int,
        metavar="N",
        help="then delete the volume's oldest snapshots beyond N, whatever their names",
    )
    parser.add_argument(
        "--list", action="store_true", help="show the snapshots of VOLUME, or all, the oldest first"
    )
    parser.add_argument(
        "--delete",
        metavar="NAME",
        help="delete that snapshot, and do nothing else; a terminal is asked first",
    )
    parser.add_argument("--yes", action="store_true", help="with --delete: do not ask")
    parser.add_argument(
        "--pool", metavar="NAME", help="where it is (default: the only pool that holds it)"
    )
    parser.add_argument(
        "--driver", default=callouts.DEFAULT_DRIVER, help="whose volume (default %(default)s)"
    )
    return parser


def _table(driver: "Driver", volume: "Optional[str]") -> str:
    snapshots = _snapshots(driver, volume)
    if not snapshots:
        return "there are no snapshots of {} here".format(volume or "any volume")
    return aligned(_HEADINGS, [_row(entry) for entry in snapshots])


def _snapshots(driver: "Driver", volume: "Optional[str]") -> "List[Dict[str, Any]]":
    """Those of the volume, or of all, as the driver lists them: by source, and in the order in
    which --keep deletes them."""
    try:
        listed = driver.list().volumes or []
    except NotSupported:
        raise InvalidArgument(
            "this driver does not list its volumes; its documents say how its snapshots are shown"
        ) from None
    snapshots = [
        entry
        for entry in listed
        if entry.get("kind") == "snapshot" and volume in (None, entry.get("source"))
    ]
    return sorted(snapshots, key=_order)


def _order(entry: "Dict[str, Any]") -> "List[Any]":
    number = entry.get("number")
    others = [str(entry.get(key, "")) for key in ("source", "created", "name")]
    return [others[0], number if isinstance(number, int) else 0, *others[1:]]


def _row(entry: "Dict[str, Any]") -> "List[str]":
    owner = entry.get("owner")
    sizes = [entry.get(key) for key in ("sizeBytes", "usedBytes")]
    cells = [
        entry["name"],
        entry.get("source"),
        "{namespace}/{name}".format(**owner) if owner else "-",
        entry.get("pool"),
        *(human_bytes(size) if isinstance(size, int) else "?" for size in sizes),
        entry.get("created"),
        entry.get("taken"),
    ]
    return [printable(str(cell or "-")) for cell in cells]


def _delete(driver: "Driver", arguments: argparse.Namespace) -> int:
    """Asks only a person: scripts have deleted snapshots so without a question."""
    name, pool_name = arguments.delete, arguments.pool
    if not arguments.yes and sys.stdin is not None and sys.stdin.isatty():
        rows = [
            _row(entry)
            for entry in _snapshots(driver, None)
            if entry["name"] == name and pool_name in (None, entry.get("pool"))
        ]
        if not rows:
            where = " in pool {}".format(shown(pool_name)) if pool_name else ""
            raise NotFound(
                "no snapshot {} is listed here{}; see: loop list".format(shown(name), where)
            )
        print(aligned(_HEADINGS, rows))
        if not is_deletion_confirmed():
            return 1
    print(driver.operations().delete_snapshot(name, pool_name))
    return 0
