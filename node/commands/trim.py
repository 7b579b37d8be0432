"""flexvol trim: gives back to their pools the blocks that mounted thin volumes have free. Most are
given back at once when a file is deleted; small pieces are not, nor is what an image got that was
restored without its holes. Thick volumes are skipped. Its exit status is 1 if a volume or a pool
failed. deploy/systemd has a timer that runs it."""

import argparse
import json
import os

from node import callouts
from shared.protocol import Internal
from shared.table import aligned, human_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List


def main(words: "List[str]") -> int:
    parser = argparse.ArgumentParser(prog="flexvol trim", description=__doc__)
    parser.add_argument("--pool", metavar="NAME", help="only the volumes of this pool")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--driver", default=callouts.DEFAULT_DRIVER, help="whose volumes (default %(default)s)"
    )
    arguments = parser.parse_args(words)
    if os.geteuid() != 0:
        raise Internal("only root may trim; run it with sudo")
    volumes = list(callouts.load(arguments.driver).operations().trim(arguments.pool))
    given = sum(volume.get("givenBytes", 0) for volume in volumes)
    if arguments.json:
        print(json.dumps({"givenBytes": given, "volumes": volumes}, indent=1))
    else:
        rows = []
        for volume in volumes:
            what = (
                "error: " + volume["error"]
                if "error" in volume
                else volume.get("skipped", "trimmed")
            )
            bytes_given = human_bytes(volume["givenBytes"]) if "givenBytes" in volume else "-"
            rows.append([volume["name"], volume["pool"], bytes_given, what])
        print(aligned(("VOLUME", "POOL", "GIVEN BACK", "WHAT"), rows))
        print("\n{} given back".format(human_bytes(given)))
    return 1 if any("error" in volume for volume in volumes) else 0
