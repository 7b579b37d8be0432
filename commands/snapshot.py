"""flexvol snapshot: keeps what a volume holds now, also while pods use it if its pool's file system
has reflinks (xfs, btrfs). A new claim of the same namespace gets the data by its annotation
flexvol/from-snapshot."""

import argparse
import os

import flexvol
from protocol import Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List


def main(words: "List[str]") -> int:
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
        "--delete", metavar="NAME", help="delete that snapshot, and do nothing else"
    )
    parser.add_argument(
        "--pool", metavar="NAME", help="where it is (default: the only pool that holds it)"
    )
    parser.add_argument(
        "--driver", default=flexvol.DEFAULT_DRIVER, help="whose volume (default %(default)s)"
    )
    arguments = parser.parse_args(words)
    if (arguments.volume is None) == (arguments.delete is None):
        parser.error("give a VOLUME, or --delete NAME")
    if arguments.keep is not None and arguments.keep < 1:
        parser.error("--keep {}: expected 1 or more".format(arguments.keep))
    if os.geteuid() != 0:
        raise Internal("only root may make or delete snapshots; run it with sudo")
    driver = flexvol.load(arguments.driver)
    if arguments.delete:
        print(driver.delete_snapshot(arguments.delete, arguments.pool))
        return 0
    lines = driver.snapshot(arguments.volume, arguments.name, arguments.keep, arguments.pool)
    for line in lines:
        print(line, flush=True)
    return 0
