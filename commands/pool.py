"""flexvol pool: make the directory that volumes live in, or close it to new volumes. Callouts never
make one, so that a disk that is not mounted is never mistaken for an empty pool."""

import argparse

import flexvol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List


def main(words: "List[str]") -> int:
    parser = argparse.ArgumentParser(prog="flexvol pool", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", metavar="init|cordon|uncordon")
    init = verbs.add_parser(
        "init",
        help=(
            "make the pool NAME in /var/lib/flexvol/NAME, or where the config places it; "
            "mount its disk first"
        ),
    )
    init.add_argument(
        "--reserve",
        default="15%",
        help='left free on its disk: bytes, or per cent (default "15%%")',
    )
    init.add_argument(
        "--overcommit",
        type=float,
        default=1.0,
        help="how much may be promised for each byte (default 1)",
    )
    cordon = verbs.add_parser(
        "cordon", help="no new volumes in the pool NAME; those in it work, and may grow"
    )
    uncordon = verbs.add_parser("uncordon", help="new volumes again")
    for verb in (init, cordon, uncordon):
        verb.add_argument("name", metavar="NAME")
        verb.add_argument(
            "--driver",
            default=flexvol.DEFAULT_DRIVER,
            help="the driver the pool is for (default %(default)s)",
        )
    arguments = parser.parse_args(words)
    if arguments.verb is None:
        parser.error("say what to do: init, cordon or uncordon, and the pool's NAME")
    driver = flexvol.load(arguments.driver)
    if arguments.verb == "init":
        print(driver.make_pool(arguments.name, arguments.reserve, arguments.overcommit))
    else:
        print(driver.cordon_pool(arguments.name, arguments.verb == "cordon"))
    return 0
