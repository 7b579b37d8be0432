"""Lists the volumes: what the nodes have, joined with the PVs, claims and pods of the cluster.

State: bound; released (its claim is gone); available (it waits for a claim); pending (its PV is not
written yet); snapshot; archived; foreign (made for another cluster); orphan (no PV, no claim);
missing (a PV without storage); unseen (its node did not answer). The exit status is 1 if there is
any of the last three, a damaged volume, one with less than its PV promises, a pool that is away, or
two pools with one id."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from administration import by_provisioner, nodes
from controller import cluster, decide, inventory
from controller.inventory import Key, Row
from controller.storage import PLUGIN_DIRECTORY, Listed, Storage
from table import aligned, human_bytes, printable

_HEADINGS = ("VOLUME", "NODE", "POOL", "SIZE", "USED", "STATE", "CLAIM", "POD")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only what collecting orphans would delete, and why not",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--node", metavar="NAME", help="only the volumes of one node")
    where.add_argument(
        "--local",
        nargs="?",
        const=PLUGIN_DIRECTORY,
        metavar="DIR",
        help=(
            "without an API server: what the drivers "
            "of this "
            "machine "
            "list; DIR: "
            "kubelet's "
            "plugin directory"
        ),
    )


def run(api: cluster.Cluster | None, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    if api is None and settings.dry_run:
        print(
            "--dry-run asks the API server for PVs and claims, so it goes without --local",
            file=sys.stderr,
        )
        return 2
    unanswered: dict[Key, str] = {}
    if api is None:
        listed = {("", driver): Storage(settings.local).list(driver) for driver in drivers.values()}
        rows = inventory.join(listed, {}, None)
    else:
        rows, listed, unanswered = look(api, settings.namespace, settings.driver, settings.node)
    away = [
        {"node": node, "pool": pool, "error": why}
        for node, pool, why in inventory.pools_away(listed)
    ]
    silent = [
        {"node": node, "driver": driver, "error": why} for (node, driver), why in unanswered.items()
    ]
    twice = inventory.same_pools(listed)
    if settings.dry_run:
        rows = [row for row in rows if row.state in inventory.NO_PV]
    if settings.json:
        volumes = [_object(row) for row in rows]
        everything = {
            "volumes": volumes,
            "poolsAway": away,
            "poolsTwice": twice,
            "driversSilent": silent,
        }
        print(json.dumps(everything, indent=1))
    else:
        if settings.dry_run:
            said = [f"{_name(row)} {_would(row)}" for row in rows] or [
                "there is nothing to collect"
            ]
        else:
            print(aligned(_HEADINGS, [[printable(cell) for cell in _cells(row)] for row in rows]))
            said = [f"{_name(row)} is {row.state}: {row.why}" for row in rows if row.why]
        said += [f"node {one['node'] or '-'}: pool {one['pool']}: {one['error']}" for one in away]
        said += [
            f"node {one['node'] or '-'}: driver {one['driver']}: {one['error']}" for one in silent
        ]
        said += twice
        for sentence in said:
            print(("" if settings.dry_run else "\n") + printable(sentence))
    return int(any(row.is_wrong for row in rows) or bool(away or twice or silent))


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
        if row.state != inventory.MISSING or api.get(f"{cluster.VOLUMES}/{row.name}")
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
