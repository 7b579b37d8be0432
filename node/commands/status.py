"""Shows the volumes of this node with their devices, mounts and pods.

The pools of the node and their room come first, then the volumes in them: size, claim, loop device,
where each is mounted and for which pod, and what is wrong with
them. flexvol doctor also looks at the rest of the node."""

import argparse
import json

from node import callouts
from node.commands import add_driver
from shared.protocol import of_volume
from shared.table import aligned, human_bytes_if_known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    Entry = Dict[str, Any]

NEEDS_ROOT = True
_ALL = "*"  # the name of an entry that is about all volumes of a pool
_POOL_HEADINGS = ("POOL", "DISK", "RESERVE", "PROMISED", "USED", "ROOM", "STATE")
_HEADINGS = ("VOLUME", "CLAIM", "SIZE", "USED", "DEVICE", "POD", "MOUNTED AT", "IMAGE")
_NOT_MOUNTED = {"pod": "-", "path": "-", "readOnly": False}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    add_driver(parser)


def run(settings: argparse.Namespace) -> int:
    report = callouts.load(settings.driver).operations().status()
    pools = report.pools or []
    volumes = report.volumes or []
    if settings.json:
        print(_as_json(pools, volumes))
        return 0
    if pools:
        print(aligned(_POOL_HEADINGS, [_pool_row(pool) for pool in pools]) + "\n")
    print(_volume_table(volumes, has_pools=len(pools) > 1))
    archives = _archives(pools)
    if archives:
        print("\n" + archives)
    for volume in volumes:
        _print_notes(volume)
    return 0


def _as_json(pools: "List[Entry]", volumes: "List[Entry]") -> str:
    shown = []
    for volume in volumes:
        troubles = []
        for what, remedy in volume["troubles"]:
            troubles.append({"what": what, "remedy": remedy})
        shown.append(dict(volume, troubles=troubles))
    return json.dumps({"pools": pools, "volumes": shown}, indent=1)


def _pool_row(pool: "Entry") -> "List[str]":
    return [
        pool["name"],
        human_bytes_if_known(pool.get("capacityBytes")),
        human_bytes_if_known(pool.get("reserveBytes")),
        human_bytes_if_known(pool.get("committedBytes")),
        human_bytes_if_known(pool.get("usedBytes")),
        human_bytes_if_known(pool.get("freeBytes")),
        _pool_state(pool),
    ]


def _pool_state(pool: "Entry") -> str:
    problem: str = pool.get("error") or pool.get("noRoom") or ""
    if problem:
        return problem
    return "cordoned" if pool.get("cordoned") else "takes volumes"


def _volume_table(volumes: "List[Entry]", has_pools: bool) -> str:
    """:param has_pools: the node has more than one pool, so each volume's pool is shown"""
    headings = list(_HEADINGS)
    if has_pools:
        headings.insert(1, "POOL")
    rows = []
    for volume in volumes:
        for number, row in enumerate(_rows(volume)):
            if has_pools:
                row.insert(1, volume["pool"] if number == 0 else "")
            rows.append(row)
    return aligned(headings, rows)


def _rows(volume: "Entry") -> "List[List[str]]":
    """A row for each mount of a volume. The cells that all mounts share stand in the first row."""
    owner = volume.get("owner")
    shared = [
        volume["name"] + (" (snapshot)" if volume.get("kind") == "snapshot" else ""),
        "{namespace}/{name}".format(**owner) if owner else "-",
        human_bytes_if_known(volume.get("sizeBytes")),
        human_bytes_if_known(volume.get("usedBytes")),
        ", ".join(volume.get("devices", [])) or "-",
    ]
    image = volume.get("image", "?")
    rows = []
    for mount in volume.get("mounts") or [_NOT_MOUNTED]:
        access = " (ro)" if mount["readOnly"] else ""
        rows.append([*shared, mount["pod"] or "-", mount["path"] + access, image])
        shared = [""] * len(shared)
        image = ""
    return rows


def _archives(pools: "List[Entry]") -> str:
    """The sentence about the archives in the pools; "" if there are none."""
    counts = []
    for pool in pools:
        if pool.get("archives"):
            counts.append("{} in pool {}".format(len(pool["archives"]), pool["name"]))
    if not counts:
        return ""
    return (
        "archives of deleted volumes, which are not in the table above and take room too: {}; see "
        "them with: loop list"
    ).format(", ".join(counts))


def _print_notes(volume: "Entry") -> None:
    """Prints what is remarkable about a volume, and what is wrong with it."""
    if volume.get("remark"):
        print("\n" + volume["remark"])
    for what, remedy in volume["troubles"]:
        sentence = what if volume["name"] == _ALL else of_volume(volume["name"], what)
        print("\n{}\n    do this: {}".format(sentence, remedy))
