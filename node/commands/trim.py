"""Gives blocks that volumes have free back to their pools.

Most blocks are given back at once when a file is deleted. Small pieces are not, nor are the blocks
of an image that was restored without its holes. Thick volumes are skipped. The exit status is 1 if
a volume or a pool failed. deploy/systemd has a timer that runs this command."""

import argparse
import json

from node import callouts
from node.commands import add_driver
from shared.table import aligned, human_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

NEEDS_ROOT = True
_HEADINGS = ("VOLUME", "POOL", "GIVEN BACK", "WHAT")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pool", metavar="NAME", help="only the volumes of this pool")
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    add_driver(parser)


def run(settings: argparse.Namespace) -> int:
    volumes = list(callouts.load(settings.driver).operations().trim(settings.pool))
    given_bytes = sum(volume.get("givenBytes", 0) for volume in volumes)
    if settings.json:
        print(json.dumps({"givenBytes": given_bytes, "volumes": volumes}, indent=1))
    else:
        print(aligned(_HEADINGS, [_row(volume) for volume in volumes]))
        print("\n{} given back".format(human_bytes(given_bytes)))
    has_failed = any("error" in volume for volume in volumes)
    return 1 if has_failed else 0


def _row(volume: "Dict[str, Any]") -> "List[str]":
    given = "-"
    if "givenBytes" in volume:
        given = human_bytes(volume["givenBytes"])
    outcome = volume.get("skipped", "trimmed")
    if "error" in volume:
        outcome = "error: " + volume["error"]
    return [volume["name"], volume["pool"], given, outcome]
