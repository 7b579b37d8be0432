"""Keeps what a volume holds now, for new claims that are to begin with it.

The volume may be in use if its pool's file system has reflinks (xfs, btrfs). A new claim of the
same namespace gets the data by its annotation flexvol/from-snapshot. --list shows the snapshots of
this node, --delete deletes one of them."""

import argparse
import sys

from node import callouts
from node.commands import WrongArguments, add_driver
from shared.options import shown_claim
from shared.protocol import InvalidArgument, NotFound, NotSupported, shown
from shared.table import aligned, human_bytes_if_known, is_deletion_confirmed, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from node.drivers import Driver

    Entry = Dict[str, Any]

NEEDS_ROOT = True
_HEADINGS = ("SNAPSHOT", "OF", "CLAIM", "POOL", "SIZE", "USED", "MADE", "ITS SOURCE WAS")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("volume", nargs="?", metavar="VOLUME", help="the PV's name")
    parser.add_argument(
        "name",
        nargs="?",
        default="",
        metavar="NAME",
        help="of the snapshot (default: VOLUME and the time, UTC)",
    )
    parser.add_argument(
        "--keep",
        type=int,
        metavar="N",
        help="then delete the volume's oldest snapshots beyond N, whatever their names",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="show the snapshots of VOLUME, or all, the oldest first",
    )
    parser.add_argument(
        "--delete",
        metavar="NAME",
        help="delete that snapshot, and do nothing else; a terminal is asked first",
    )
    parser.add_argument("--yes", action="store_true", help="with --delete: do not ask")
    parser.add_argument(
        "--pool",
        metavar="NAME",
        help="the pool (default: the only pool that holds the volume or snapshot)",
    )
    add_driver(parser)


def run(settings: argparse.Namespace) -> int:
    _check(settings)
    driver = callouts.load(settings.driver)
    if settings.list:
        print(_table(driver, settings.volume))
        return 0
    if settings.delete is not None:
        return _delete(driver, settings)
    sentences = driver.operations().snapshot(
        settings.volume, settings.name, settings.keep, settings.pool
    )
    for sentence in sentences:
        print(sentence, flush=True)
    return 0


def _check(settings: argparse.Namespace) -> None:
    """Raises WrongArguments if the arguments do not go together."""
    if settings.list:
        if settings.delete or settings.name or settings.keep:
            raise WrongArguments("--list goes with a VOLUME at most")
    elif (settings.volume is None) == (settings.delete is None):
        raise WrongArguments("give a VOLUME, --list, or --delete NAME")
    if settings.keep is not None and settings.keep < 1:
        raise WrongArguments("--keep {}: expected 1 or more".format(settings.keep))


def _table(driver: "Driver", volume: "Optional[str]") -> str:
    snapshots = _list(driver, volume)
    if not snapshots:
        return "there are no snapshots of {} here".format(volume or "any volume")
    return aligned(_HEADINGS, [_row(snapshot) for snapshot in snapshots])


def _list(driver: "Driver", volume: "Optional[str]") -> "List[Entry]":
    """The snapshots of a volume, or all, as the driver lists them: by source, and in the order in
    which --keep deletes them."""
    try:
        entries = driver.list().volumes or []
    except NotSupported:
        raise InvalidArgument(
            "this driver does not list its volumes; its documents say how its snapshots are shown"
        ) from None
    snapshots = []
    for entry in entries:
        if entry.get("kind") == "snapshot" and volume in (None, entry.get("source")):
            snapshots.append(entry)
    return sorted(snapshots, key=_order)


def _order(snapshot: "Entry") -> "Tuple[str, int, str, str]":
    number = snapshot.get("number")
    return (
        str(snapshot.get("source", "")),
        number if isinstance(number, int) else 0,
        str(snapshot.get("created", "")),
        str(snapshot.get("name", "")),
    )


def _row(snapshot: "Entry") -> "List[str]":
    cells = [
        snapshot["name"],
        snapshot.get("source"),
        shown_claim(snapshot.get("owner")),
        snapshot.get("pool"),
        human_bytes_if_known(snapshot.get("sizeBytes")),
        human_bytes_if_known(snapshot.get("usedBytes")),
        snapshot.get("created"),
        snapshot.get("taken"),
    ]
    return [printable(str(cell or "-")) for cell in cells]


def _delete(driver: "Driver", settings: argparse.Namespace) -> int:
    """Deletes one snapshot. Only a person is asked first, because scripts have always deleted
    snapshots without a question."""
    is_person = sys.stdin is not None and sys.stdin.isatty()
    if is_person and not settings.yes:
        rows = _rows_named(driver, settings.delete, settings.pool)
        if not rows:
            where = " in pool {}".format(shown(settings.pool)) if settings.pool else ""
            raise NotFound(
                "no snapshot {} is listed here{}; see: {} list".format(
                    shown(settings.delete), where, settings.driver
                )
            )
        print(aligned(_HEADINGS, rows))
        if not is_deletion_confirmed():
            return 1
    print(driver.operations().delete_snapshot(settings.delete, settings.pool))
    return 0


def _rows_named(driver: "Driver", name: str, pool_name: "Optional[str]") -> "List[List[str]]":
    rows = []
    for snapshot in _list(driver, None):
        if snapshot["name"] == name and pool_name in (None, snapshot.get("pool")):
            rows.append(_row(snapshot))
    return rows
