"""Shows the volumes of this node with their devices, mounts and pods.

The pools of the node and their room come first, then the volumes in them: size, claim, loop device,
where each is mounted and for which pod, and what is wrong with
them. flexvol doctor also looks at the rest of the node."""

import argparse
import json

from node import callouts
from node.commands import add_driver
from shared.options import shown_claim
from shared.protocol import of_volume
from shared.table import (
    BAR,
    add_output,
    human_bytes_if_known,
    print_fitted,
    print_left_out,
    use_cells,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List

    Entry = Dict[str, Any]

NEEDS_ROOT = True
_ALL = "*"  # the name of an entry that is about all volumes of a pool
_TAKES_VOLUMES = "takes volumes"
_POOL_HEADINGS = (
    "POOL",
    "DISK",
    "RESERVE",
    "PROMISED",
    "USED",
    "ROOM",
    "TAKEN",
    BAR,
    "STATE",
)
# The columns that a narrow table leaves out, the least important first.
_POOL_EXPENDABLE = ("USED", "RESERVE", "PROMISED", BAR, "DISK", "TAKEN")
_HEADINGS = (
    "VOLUME",
    "POOL",
    "CLAIM",
    "SIZE",
    "USED",
    "USE%",
    BAR,
    "DEVICE",
    "POD",
    "MOUNTED AT",
    "IMAGE",
)
_EXPENDABLE = ("IMAGE", "MOUNTED AT", "USED", "DEVICE", "POD", BAR, "POOL", "USE%", "SIZE")
_NOT_MOUNTED = {"pod": "-", "path": "-", "readOnly": False}


def arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)
    add_driver(parser)


def run(settings: argparse.Namespace) -> int:
    report = callouts.load(settings.driver).operations().status()
    pools = report.pools or []
    volumes = report.volumes or []
    if settings.output == "json":
        print(_as_json(pools, volumes))
    else:
        _print(pools, volumes, settings.driver, wide=settings.output == "wide")
    return 0


def _print(pools: "List[Entry]", volumes: "List[Entry]", driver: str, wide: bool) -> None:
    left_out = []
    if pools:
        rows = [_pool_row(pool) for pool in pools]
        left_out += print_fitted(_POOL_HEADINGS, rows, _POOL_EXPENDABLE, wide)
        print()
    left_out += _print_volumes(volumes, len(pools) > 1, wide)
    archives = _archives(pools, driver)
    if archives:
        print("\n" + archives)
    for sentence in _pool_notes(pools, volumes):
        print("\n" + sentence)
    for volume in volumes:
        _print_notes(volume)
    print_left_out(left_out)


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
        *_taken(pool),
        _pool_state(pool),
    ]


def _taken(pool: "Entry") -> "List[str]":
    """How much of what the pool may promise is promised, or used by others. A pool that takes no
    volumes says that it has no room, whatever it holds."""
    is_known = "capacityBytes" in pool and "freeBytes" in pool
    if _pool_state(pool) != _TAKES_VOLUMES or not is_known:
        return use_cells(None, None)
    promisable = pool["capacityBytes"] - pool.get("reserveBytes", 0)
    return use_cells(promisable - pool["freeBytes"], promisable)


def _pool_state(pool: "Entry") -> str:
    """As kubectl flexvol inventory has it."""
    if pool.get("error"):
        return "away"
    if pool.get("cordoned"):
        return "cordoned"
    return "closed" if pool.get("noRoom") else _TAKES_VOLUMES


def _pool_notes(pools: "List[Entry]", volumes: "List[Entry]") -> "Iterator[str]":
    """Why a pool takes no volumes, unless the note of its volumes tells that."""
    told = {volume.get("pool") for volume in volumes if volume["name"] == _ALL}
    for pool in pools:
        if pool["name"] in told:
            continue
        if pool.get("error"):
            yield pool["error"]
        elif pool.get("noRoom"):
            yield "pool {} takes no new volumes: {}".format(pool["name"], pool["noRoom"])


def _print_volumes(volumes: "List[Entry]", has_pools: bool, wide: bool) -> "List[str]":
    """Prints the table of volumes, and returns the headings that were left out. has_pools: the node
    has more than one pool, so each volume's pool is shown."""
    headings = list(_HEADINGS)
    rows = [row for volume in volumes for row in _rows(volume, wide)]
    if not has_pools:
        column = headings.index("POOL")
        for cells in [headings, *rows]:
            del cells[column]
    return print_fitted(headings, rows, _EXPENDABLE, wide)


def _rows(volume: "Entry", wide: bool) -> "List[List[str]]":
    """A row for each mount of a volume. The cells that all mounts share stand in the first row.
    wide: with the uid of a pod whose name is known."""
    shared = [
        volume["name"] + (" (snapshot)" if volume.get("kind") == "snapshot" else ""),
        volume.get("pool") or "-",
        shown_claim(volume.get("owner")),
        human_bytes_if_known(volume.get("sizeBytes")),
        human_bytes_if_known(volume.get("usedBytes")),
        *_use(volume),
        ", ".join(volume.get("devices", [])) or "-",
    ]
    image = volume.get("image", "?")
    rows = []
    for mount in volume.get("mounts") or [_NOT_MOUNTED]:
        access = " (ro)" if mount["readOnly"] else ""
        pod = mount["pod"] if wide else mount["pod"].partition(" (")[0]
        rows.append([*shared, pod or "-", mount["path"] + access, image])
        shared = [""] * len(shared)
        image = ""
    return rows


def _use(volume: "Entry") -> "List[str]":
    """How full the volume is: the mounted file system, as df tells, or the blocks of the image. A
    thick volume has all its blocks from the beginning, so those do not tell."""
    used = volume.get("fileSystemUsedBytes")
    if used is not None:
        return use_cells(used, used + volume["fileSystemFreeBytes"])
    if volume.get("thick"):
        return use_cells(None, None)
    return use_cells(volume.get("usedBytes"), volume.get("sizeBytes"))


def _archives(pools: "List[Entry]", driver: str) -> str:
    """The sentence about the archives in the pools; "" if there are none. driver: its name."""
    counts = []
    for pool in pools:
        if pool.get("archives"):
            counts.append("{} in pool {}".format(len(pool["archives"]), pool["name"]))
    if not counts:
        return ""
    return (
        "archives of deleted volumes, which are not in the table above and take room too: {}; see "
        "them with: {} list"
    ).format(", ".join(counts), driver)


def _print_notes(volume: "Entry") -> None:
    """Prints what is remarkable about a volume, and what is wrong with it."""
    if volume.get("remark"):
        print("\n" + volume["remark"])
    for what, remedy in volume["troubles"]:
        sentence = what if volume["name"] == _ALL else of_volume(volume["name"], what)
        print("\n{}\n    do this: {}".format(sentence, remedy))
