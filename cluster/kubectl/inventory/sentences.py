"""What there is to say below the tables."""

from __future__ import annotations

from typing import Any, NamedTuple

from cluster.controller.inventory import UNSEEN, Row
from cluster.controller.leftovers import BLANK


class Seen(NamedTuple):
    """What was found.

    pools: as listed_pools.pools of the controller returns them.
    away: the pools that cannot be used.
    silent: the drivers that did not answer.
    twice: sentences about pools that are in two places."""

    rows: list[Row]
    pools: list[dict[str, Any]]
    away: list[dict[str, str]]
    silent: list[dict[str, str]]
    twice: list[str]


def on_volumes(rows: list[Row]) -> list[str]:
    """A line for each volume that something is wrong with, or happens to, and one line for all that
    are merely kept. Those of a node that did not answer are counted with that node."""
    sentences = [
        f"{_name(row)} is {row.state}: {row.why}"
        for row in rows
        if row.why and not row.is_merely_kept and row.state != UNSEEN
    ]
    return [*sentences, *_on_kept(rows), *on_unseen(rows)]


def _on_kept(rows: list[Row]) -> list[str]:
    counts: dict[str, int] = {}
    for row in rows:
        if row.is_merely_kept:
            counts[row.state] = counts.get(row.state, 0) + 1
    if not counts:
        return []
    numbers = ", ".join(f"{state} {number}" for state, number in sorted(counts.items()))
    return [f"merely kept, with nothing to do: {numbers}; --json says of each why"]


def on_unseen(rows: list[Row]) -> list[str]:
    """A line for each reason why volumes are not seen, which is one for each node."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.state == UNSEEN:
            counts[row.why] = counts.get(row.why, 0) + 1
    sentences = []
    for why, number in counts.items():
        plural = "s" if number > 1 else ""
        sentences.append(f"{why}. The state of its {number} volume{plural} is not known")
    return sentences


def on_troubles(seen: Seen) -> list[str]:
    """What is wrong beside the volumes themselves. A node whose volumes were counted as unseen has
    been told with them."""
    told = {row.why for row in seen.rows if row.state == UNSEEN}
    away = [f"node {one['node'] or '-'}: pool {one['pool']}: {one['error']}" for one in seen.away]
    errors = [one["error"] for one in seen.silent if one["error"] not in told]
    return [*away, *dict.fromkeys(errors), *seen.twice]


def on_pools(pools: list[dict[str, Any]]) -> list[str]:
    """Why a pool takes no volumes; those that are away are told in any case."""
    return [
        f"pool {pool['pool']} of node {pool['node'] or '-'} is {pool['state']}: {pool['why']}"
        for pool in pools
        if pool["why"] and pool["state"] != "away"
    ]


def on_collecting(row: Row) -> str:
    """What collecting orphans would do with the volume."""
    if row.reason == BLANK:
        return f"{_name(row)} would be deleted: {row.why}"
    why = f"; {row.why}" if row.why else ""
    return f"{_name(row)} would be left alone: it is {row.state}{why}"


def _name(row: Row) -> str:
    return f"{row.name} on node {row.node}" if row.node else row.name
