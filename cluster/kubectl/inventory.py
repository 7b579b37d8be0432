"""Lists the volumes: what the nodes have, joined with the PVs, claims and pods of the cluster.

State: bound; released (its claim is gone); available (it waits for a claim); pending (its PV is not
written yet); snapshot; archived; foreign (made for another cluster); orphan (no PV, no claim);
missing (a PV without storage); unseen (its node did not answer). The exit status is 1 if there is
any of the last three, a damaged volume, one with less than its PV promises, a pool that is away, or
two pools with one id; with --pools only pools and nodes that do not answer count."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, NamedTuple

from cluster.controller import cluster, decide, inventory
from cluster.controller.inventory import Key, Row
from cluster.controller.storage import PLUGIN_DIRECTORY, Listed, Storage
from cluster.kubectl import by_provisioner, nodes
from shared.table import aligned, human_bytes, printable

_POOL_HEADINGS = (
    "NODE", "POOL", "STATE", "DISK", "PROMISED", "USED", "FREE", "LARGEST", "ID",
)  # fmt: skip
_POOL_NUMBERS = (
    "capacityBytes", "committedBytes", "usedBytes", "freeBytes", "maximumVolumeBytes",
)  # fmt: skip
_HEADINGS = ("VOLUME", "NODE", "POOL", "SIZE", "USED", "STATE", "CLAIM", "POD")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only what collecting orphans would delete, and why not",
    )
    parser.add_argument(
        "--pools",
        action="store_true",
        help="the pools of each node instead, and what room they have: of the disk, promised to "
        "volumes, used by them, free to be promised, and for the largest volume",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--node", metavar="NAME", help="only the volumes of one node")
    where.add_argument(
        "--local",
        nargs="?",
        const=PLUGIN_DIRECTORY,
        metavar="DIR",
        help="without an API server: what the drivers of this machine list; DIR: kubelet's plugin "
        "directory",
    )


def only_reads(_: argparse.Namespace) -> bool:
    return True


def run(api: cluster.Cluster | None, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    if api is None and settings.dry_run:
        print(
            "--dry-run asks the API server for PVs and claims, so it goes without --local",
            file=sys.stderr,
        )
        return 2
    seen = _look(api, drivers, settings)
    if settings.json:
        print(json.dumps(_everything(seen), indent=1))
    elif settings.dry_run:
        said = [f"{_name(row)} {_would(row)}" for row in seen.rows]
        _print(said or ["there is nothing to collect"], _troubles(seen))
    elif settings.pools:
        table = [[printable(cell) for cell in _pool_cells(pool)] for pool in seen.pools]
        print(aligned(_POOL_HEADINGS, table))
        _print_below([*_pool_sentences(seen.pools), *_unseen(seen.rows), *_troubles(seen)])
    else:
        table = [[printable(cell) for cell in _cells(row)] for row in seen.rows]
        print(aligned(_HEADINGS, table))
        _print_below(_sentences(seen.rows) + _troubles(seen))
    return _status(seen, pools_alone=settings.pools and not settings.json)


def _status(seen: _Seen, pools_alone: bool) -> int:
    """The exit status. pools_alone: only pools are shown, so a volume counts only if its node
    cannot be seen."""
    is_wrong = any(
        row.is_wrong and (not pools_alone or row.state == inventory.UNSEEN) for row in seen.rows
    )
    return int(is_wrong or bool(seen.away or seen.silent or seen.twice))


class _Seen(NamedTuple):
    """What was found: pools that are away, nodes that are silent, and pools that are in two places
    as sentences too."""

    rows: list[Row]
    pools: list[dict[str, Any]]
    away: list[dict[str, str]]
    silent: list[dict[str, str]]
    twice: list[str]


def _look(
    api: cluster.Cluster | None, drivers: dict[str, str], settings: argparse.Namespace
) -> _Seen:
    unanswered: dict[Key, str] = {}
    if api is None:
        listed = {("", driver): Storage(settings.local).list(driver) for driver in drivers.values()}
        rows = inventory.join(listed, {}, None)
    else:
        rows, listed, unanswered = look(api, settings.namespace, settings.driver, settings.node)
    if settings.dry_run:
        rows = [row for row in rows if row.state in inventory.NO_PV]
    return _Seen(
        rows=rows,
        pools=inventory.pools(listed),
        away=[
            {"node": node, "pool": pool, "error": why}
            for node, pool, why in inventory.pools_away(listed)
        ],
        silent=[
            {"node": node, "driver": driver, "error": why}
            for (node, driver), why in unanswered.items()
        ],
        twice=inventory.same_pools(listed),
    )


def _everything(seen: _Seen) -> dict[str, Any]:
    return {
        "volumes": [_object(row) for row in seen.rows],
        "pools": seen.pools,
        "poolsAway": seen.away,
        "poolsTwice": seen.twice,
        "driversSilent": seen.silent,
    }


def _print_below(sentences: list[str]) -> None:
    """Below a table, a line free before each."""
    for sentence in sentences:
        print("\n" + printable(sentence))


def _print(*parts: list[str]) -> None:
    for part in parts:
        for sentence in part:
            print(printable(sentence))


def _sentences(rows: list[Row]) -> list[str]:
    """What there is to say of the volumes: a line for each that something is wrong with, or happens
    to, and one for all that are merely kept. Those of a node that did not answer are counted with
    that node."""
    told = [
        f"{_name(row)} is {row.state}: {row.why}"
        for row in rows
        if row.why and not row.is_merely_kept and row.state != inventory.UNSEEN
    ]
    return [*told, *_kept(rows), *_unseen(rows)]


def _kept(rows: list[Row]) -> list[str]:
    counts: dict[str, int] = {}
    for row in rows:
        if row.is_merely_kept:
            counts[row.state] = counts.get(row.state, 0) + 1
    if not counts:
        return []
    numbers = ", ".join(f"{state} {number}" for state, number in sorted(counts.items()))
    return [f"merely kept, with nothing to do: {numbers}; --json says of each why"]


def _unseen(rows: list[Row]) -> list[str]:
    """A line for each reason why volumes are not seen, which is one for each node."""
    counts: dict[str, int] = {}
    for row in rows:
        if row.state == inventory.UNSEEN:
            counts[row.why] = counts.get(row.why, 0) + 1
    return [
        f"{why}. The state of its {number} volume{'s' if number > 1 else ''} is not known"
        for why, number in counts.items()
    ]


def _troubles(seen: _Seen) -> list[str]:
    """What is wrong beside the volumes themselves. A node whose volumes were counted as unseen has
    been told with them."""
    told = {row.why for row in seen.rows if row.state == inventory.UNSEEN}
    silent = {one["error"]: None for one in seen.silent if one["error"] not in told}
    away = [f"node {one['node'] or '-'}: pool {one['pool']}: {one['error']}" for one in seen.away]
    return [*away, *silent, *seen.twice]


def _pool_cells(pool: dict[str, Any]) -> list[str]:
    numbers = [pool[key] for key in _POOL_NUMBERS]
    return [
        pool["node"] or "-",
        pool["pool"],
        pool["state"],
        *(human_bytes(number) if number is not None else "-" for number in numbers),
        str(pool["id"] or "-"),
    ]


def _pool_sentences(pools: list[dict[str, Any]]) -> list[str]:
    """Why a pool takes no volumes; those that are away are told in any case."""
    return [
        f"pool {pool['pool']} of node {pool['node'] or '-'} is {pool['state']}: {pool['why']}"
        for pool in pools
        if pool["why"] and pool["state"] != "away"
    ]


def look(
    api: cluster.Cluster, namespace: str, drivers: list[str] | None = None, node: str | None = None
) -> tuple[list[Row], dict[Key, Listed], dict[Key, str]]:
    """The rows; what each driver listed, and why one did not, by node and driver. namespace: where
    flexvol is. drivers,
    node: only of these. Raises Refused, Unreachable, and Unavailable if there is no such node."""
    found = nodes.find(api, namespace) if node is None else {node: nodes.get(api, namespace, node)}
    if not found:
        raise nodes.nowhere(namespace)
    served = by_provisioner(drivers or [driver for one in found.values() for driver in one.drivers])
    # In this order, what is made meanwhile is at least pending, and what is deleted meanwhile still
    # has its PV.
    volumes = [
        volume
        for volume in api.items(cluster.VOLUMES)
        if node is None or decide.node_of(volume, served) == node
    ]
    listed, silent = nodes.list_all(api, found.values(), drivers)
    cluster_uid = api.uid()
    there = inventory.Objects(
        drivers=served,
        volumes=volumes,
        claims=list(api.items(cluster.CLAIMS)),
        pods=list(api.items(cluster.PODS)),
        nodes={one["metadata"]["name"] for one in api.items(cluster.NODES)},
        cluster_uid=cluster_uid,
    )
    rows = inventory.join(listed, silent, there)
    rows = [
        row
        for row in rows
        if row.state != inventory.MISSING or api.get(cluster.path_to(cluster.VOLUMES, row.name))
    ]
    return rows, listed, silent


def _name(row: Row) -> str:
    return f"{row.name} on node {row.node}" if row.node else row.name


def _would(row: Row) -> str:
    if row.reason == inventory.BLANK:
        return f"would be deleted: {row.why}"
    return f"would be left alone: it is {row.state}" + (f"; {row.why}" if row.why else "")


def _cells(row: Row) -> list[str]:
    sizes = [row.entry.get(key) for key in ("sizeBytes", "usedBytes")]
    return [
        row.name,
        row.node or "-",
        str(row.entry.get("pool") or "-"),
        *(human_bytes(size) if isinstance(size, int) else "-" for size in sizes),
        row.state + (" (damaged)" if row.entry.get("damaged") or row.entry.get("error") else ""),
        row.claim or "-",
        ", ".join(row.pods) or "-",
    ]


def _object(row: Row) -> dict[str, Any]:
    entry = {key: row.entry.get(key) for key in ("pool", "sizeBytes", "usedBytes")}
    about = {
        "name": row.name,
        "node": row.node,
        "driver": row.driver,
        **entry,
        "claim": row.claim,
        "pods": row.pods,
    }
    return {
        **about,
        "state": row.state,
        "reason": row.reason,
        "why": row.why,
        "wrong": row.is_wrong,
    }
