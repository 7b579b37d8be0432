"""The tables of volumes and of pools, and both as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cluster.controller.inventory import Row
from cluster.controller.objects import Object
from shared.table import BAR, human_bytes, printable, use_cells

POOL_HEADINGS = (
    "NODE",
    "POOL",
    "STATE",
    "DISK",
    "PROMISED",
    "USED",
    "FREE",
    "TAKEN",
    BAR,
    "LARGEST",
    "ID",
)
# The columns that a narrow table leaves out, the least important first.
POOL_EXPENDABLE = ("ID", "LARGEST", "USED", "PROMISED", BAR, "DISK", "TAKEN")
_POOL_NUMBERS = (
    "capacityBytes",
    "committedBytes",
    "usedBytes",
    "freeBytes",
)
HEADINGS = ("VOLUME", "NODE", "POOL", "SIZE", "USED", "USE%", BAR, "STATE", "POD", "CLAIM")
_NO_NAMES: Mapping[str, str] = {}
_CUT = "..."  # in the place of a domain
EXPENDABLE = ("USED", "POOL", "POD", BAR, "USE%", "SIZE", "NODE")


def short_names(nodes: Iterable[str]) -> dict[str, str]:
    """How a narrow table calls the nodes: without the domain, if all have the same domain."""
    names = set(nodes)
    domains = {name.partition(".")[2] for name in names if name}
    if len(domains) > 1 or domains <= {""}:
        return {}
    return {name: name.partition(".")[0] + _CUT for name in names if name}


def cells(row: Row, nodes: Mapping[str, str] = _NO_NAMES) -> list[str]:
    """The row of a volume in the table. nodes: other names of nodes, as short_names returns
    them."""
    entry = row.entry
    is_damaged = entry.get("damaged") or entry.get("error")
    return [
        printable(row.name),
        nodes.get(row.node, row.node) or "-",
        printable(str(entry.get("pool") or "-")),
        _size(entry.get("sizeBytes")),
        _size(entry.get("usedBytes")),
        *_use(entry),
        f"{row.state} (damaged)" if is_damaged else row.state,
        printable(", ".join(row.pods) or "-"),
        printable(row.claim or "-"),
    ]


def _use(entry: Object) -> list[str]:
    """How full the volume is. A thick volume has all its blocks from the beginning, so those do not
    tell."""
    if entry.get("thick"):
        return use_cells(None, None)
    return use_cells(entry.get("usedBytes"), entry.get("sizeBytes"))


def _size(number: object) -> str:
    return human_bytes(number) if isinstance(number, int) else "-"


def pool_cells(pool: dict[str, Any], nodes: Mapping[str, str] = _NO_NAMES) -> list[str]:
    """pool: as listed_pools.pools of the controller returns it. nodes: as `cells` has them."""
    return [
        nodes.get(pool["node"], pool["node"]) or "-",
        printable(pool["pool"]),
        pool["state"],
        *(_size(pool[key]) for key in _POOL_NUMBERS),
        *_taken(pool),
        _size(pool["maximumVolumeBytes"]),
        printable(str(pool["id"] or "-")),
    ]


def _taken(pool: Object) -> list[str]:
    """How much of what the pool may promise is promised, or used by others. A pool that takes no
    volumes says that it has nothing free, whatever it holds."""
    capacity = pool["capacityBytes"]
    free = pool["freeBytes"]
    if pool["why"] or capacity is None or free is None:
        return use_cells(None, None)
    promisable = capacity - (pool["reserveBytes"] or 0)
    return use_cells(promisable - free, promisable)


def as_json(row: Row) -> dict[str, Any]:
    """The volume for programs."""
    return {
        "name": row.name,
        "node": row.node,
        "driver": row.driver,
        "pool": row.entry.get("pool"),
        "sizeBytes": row.entry.get("sizeBytes"),
        "usedBytes": row.entry.get("usedBytes"),
        "claim": row.claim,
        "pods": row.pods,
        "state": row.state,
        "reason": row.reason,
        "why": row.why,
        "wrong": row.is_wrong,
    }
