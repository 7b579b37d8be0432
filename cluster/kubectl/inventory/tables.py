"""The tables of volumes and of pools, and both as JSON."""

from __future__ import annotations

from typing import Any

from cluster.controller.inventory import Row
from shared.table import human_bytes

POOL_HEADINGS = (
    "NODE",
    "POOL",
    "STATE",
    "DISK",
    "PROMISED",
    "USED",
    "FREE",
    "LARGEST",
    "ID",
)
_POOL_NUMBERS = (
    "capacityBytes",
    "committedBytes",
    "usedBytes",
    "freeBytes",
    "maximumVolumeBytes",
)
HEADINGS = ("VOLUME", "NODE", "POOL", "SIZE", "USED", "STATE", "CLAIM", "POD")


def cells(row: Row) -> list[str]:
    """The row of a volume in the table."""
    entry = row.entry
    is_damaged = entry.get("damaged") or entry.get("error")
    return [
        row.name,
        row.node or "-",
        str(entry.get("pool") or "-"),
        _size(entry.get("sizeBytes")),
        _size(entry.get("usedBytes")),
        f"{row.state} (damaged)" if is_damaged else row.state,
        row.claim or "-",
        ", ".join(row.pods) or "-",
    ]


def _size(number: object) -> str:
    return human_bytes(number) if isinstance(number, int) else "-"


def pool_cells(pool: dict[str, Any]) -> list[str]:
    """pool: as listed_pools.pools of the controller returns it."""
    return [
        pool["node"] or "-",
        pool["pool"],
        pool["state"],
        *(_size(pool[key]) for key in _POOL_NUMBERS),
        str(pool["id"] or "-"),
    ]


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
