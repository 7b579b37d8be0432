"""flexvol status: the pools of this node and their room, and the volumes in them: whose they are,
how large, on which loop device, mounted where, for which pods, and what is wrong with them. flexvol
doctor also looks at the rest of the node."""

import argparse
import json
import os

from node import callouts
from shared.protocol import Internal, of_volume
from shared.table import aligned, human_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

_ALL = "*"  # the name of an entry that is about all volumes of a pool
_POOL_HEADINGS = ("POOL", "DISK", "RESERVE", "PROMISED", "USED", "ROOM", "STATE")
_HEADINGS = ("VOLUME", "CLAIM", "SIZE", "USED", "DEVICE", "POD", "MOUNTED AT", "IMAGE")


def main(words: "List[str]") -> int:
    parser = argparse.ArgumentParser(prog="flexvol status", description=__doc__)
    parser.add_argument("--json", action="store_true", help="everything, as one JSON object")
    parser.add_argument(
        "--driver", default=callouts.DEFAULT_DRIVER, help="whose volumes (default %(default)s)"
    )
    arguments = parser.parse_args(words)
    if os.geteuid() != 0:
        raise Internal("only root sees volumes and loop devices; run it with sudo")
    seen = callouts.load(arguments.driver).operations().status()
    volumes = seen.volumes or []
    pools = seen.pools or []
    if arguments.json:
        for volume in volumes:
            volume["troubles"] = [
                {"what": what, "remedy": remedy} for what, remedy in volume["troubles"]
            ]
        print(json.dumps({"pools": pools, "volumes": volumes}, indent=1))
        return 0
    if pools:
        print(aligned(_POOL_HEADINGS, [_pool_row(pool) for pool in pools]) + "\n")
    print(_volume_table(volumes, has_pools=len(pools) > 1))
    archives = _archives(pools)
    if archives:
        print("\n" + archives)
    for volume in volumes:
        if volume.get("remark"):
            print("\n" + volume["remark"])
        for what, remedy in volume["troubles"]:
            if volume["name"] != _ALL:
                what = of_volume(volume["name"], what)
            print("\n{}\n    do this: {}".format(what, remedy))
    return 0


def _volume_table(volumes: "List[Dict[str, Any]]", has_pools: bool) -> str:
    """has_pools: the node has more than one pool, so each volume's pool is shown."""
    headings = list(_HEADINGS)
    rows = [row for volume in volumes for row in _rows(volume)]
    if has_pools:
        headings.insert(1, "POOL")
        pool_of_row = [volume["pool"] for volume in volumes for _ in _rows(volume)]
        for row, pool in zip(rows, pool_of_row):
            # The further mounts of a volume have lines of their own, without its name.
            row.insert(1, pool if row[0] else "")
    return aligned(headings, rows)


def _archives(pools: "List[Dict[str, Any]]") -> str:
    """The sentence about the archives that the pools hold; "" if there are none."""
    counts = [
        "{} in pool {}".format(len(pool["archives"]), pool["name"])
        for pool in pools
        if pool.get("archives")
    ]
    if not counts:
        return ""
    return (
        "archives of deleted volumes, which are not in the table above and take room too: {}; see "
        "them with: loop list"
    ).format(", ".join(counts))


def _pool_row(pool: "Dict[str, Any]") -> "List[str]":
    keys = ("capacityBytes", "reserveBytes", "committedBytes", "usedBytes", "freeBytes")
    state = (
        pool.get("error")
        or pool.get("noRoom")
        or ("cordoned" if pool.get("cordoned") else "takes volumes")
    )
    return [pool["name"], *(human_bytes(pool[key]) if key in pool else "?" for key in keys), state]


def _rows(volume: "Dict[str, Any]") -> "List[List[str]]":
    """One for each mount; what is the same in all of them stands in the first."""
    mounts = volume.get("mounts") or [{"pod": "-", "path": "-", "readOnly": False}]
    places = [
        [mount["pod"] or "-", mount["path"] + (" (ro)" if mount["readOnly"] else "")]
        for mount in mounts
    ]
    owner = volume.get("owner")
    first = [
        volume["name"] + (" (snapshot)" if volume.get("kind") == "snapshot" else ""),
        "{namespace}/{name}".format(**owner) if owner else "-",
        human_bytes(volume["sizeBytes"]) if "sizeBytes" in volume else "?",
        human_bytes(volume["usedBytes"]) if "usedBytes" in volume else "?",
        ", ".join(volume.get("devices", [])) or "-",
    ]
    rows = [first + places[0] + [volume.get("image", "?")]]
    return rows + [[""] * len(first) + place + [""] for place in places[1:]]
