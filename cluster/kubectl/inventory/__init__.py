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
from collections.abc import Iterable
from typing import Any

from cluster.controller import cluster, inventory, listed_pools
from cluster.controller.inventory import Row
from cluster.controller.storage import PLUGIN_DIRECTORY, Storage
from cluster.kubectl.inventory import sentences, tables
from cluster.kubectl.inventory.look import Look, look
from cluster.kubectl.inventory.sentences import Seen
from shared import terminal
from shared.table import add_output, print_fitted, print_left_out, printable


def arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)
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


def run(
    api: cluster.Cluster | None,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> int:
    if api is None and settings.dry_run:
        print(
            "--dry-run asks the API server for PVs and claims, so it goes without --local",
            file=sys.stderr,
        )
        return 2
    seen = _read(api, drivers, settings)
    if settings.output == "json":
        print(json.dumps(_everything(seen), indent=1))
    elif settings.dry_run:
        _print_collecting(seen)
    elif settings.pools:
        _print_pools(seen, settings.output == "wide")
    else:
        _print_volumes(seen, settings.output == "wide")
    return _status(seen, pools_alone=settings.pools and settings.output != "json")


def _read(
    api: cluster.Cluster | None,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> Seen:
    if api is None:
        found = _look_here(drivers, settings.local)
    else:
        found = look(api, settings.namespace, settings.driver, settings.node)
    rows = found.rows
    if settings.dry_run:
        rows = [row for row in rows if row.state in inventory.NO_PV]
    return Seen(
        rows=rows,
        pools=listed_pools.pools(found.listed),
        away=[
            {"node": node, "pool": pool, "error": why}
            for node, pool, why in listed_pools.pools_away(found.listed)
        ],
        silent=[
            {"node": node, "driver": driver, "error": why}
            for (node, driver), why in found.silent.items()
        ],
        twice=listed_pools.same_pools(found.listed),
    )


def _look_here(drivers: dict[str, str], plugin_directory: str) -> Look:
    """What the drivers of this machine list."""
    storage = Storage(plugin_directory)
    listed = {("", driver): storage.list(driver) for driver in drivers.values()}
    return Look(inventory.join(listed, {}, None), listed, {})


def _status(seen: Seen, pools_alone: bool) -> int:
    """The exit status. pools_alone: only pools are shown, so a volume counts only if its node
    cannot be seen."""
    if seen.away or seen.silent or seen.twice:
        return 1
    return int(any(_counts(row, pools_alone) for row in seen.rows))


def _counts(row: Row, pools_alone: bool) -> bool:
    if pools_alone and row.state != inventory.UNSEEN:
        return False
    return row.is_wrong


def _everything(seen: Seen) -> dict[str, Any]:
    return {
        "volumes": [tables.as_json(row) for row in seen.rows],
        "pools": seen.pools,
        "poolsAway": seen.away,
        "poolsTwice": seen.twice,
        "driversSilent": seen.silent,
    }


def _print_collecting(seen: Seen) -> None:
    lines = [sentences.on_collecting(row) for row in seen.rows]
    for line in [*(lines or ["there is nothing to collect"]), *sentences.on_troubles(seen)]:
        print(printable(line))


def _print_pools(seen: Seen, wide: bool) -> None:
    nodes = _names(wide, (pool["node"] for pool in seen.pools))
    rows = [tables.pool_cells(pool, nodes) for pool in seen.pools]
    left_out = print_fitted(tables.POOL_HEADINGS, rows, tables.POOL_EXPENDABLE, wide)
    _print_below(
        [
            *sentences.on_pools(seen.pools),
            *sentences.on_unseen(seen.rows),
            *sentences.on_troubles(seen),
        ]
    )
    print_left_out(left_out)


def _print_volumes(seen: Seen, wide: bool) -> None:
    nodes = _names(wide, (row.node for row in seen.rows))
    rows = [tables.cells(row, nodes) for row in seen.rows]
    left_out = print_fitted(tables.HEADINGS, rows, tables.EXPENDABLE, wide)
    _print_below([*sentences.on_volumes(seen.rows), *sentences.on_troubles(seen)])
    print_left_out(left_out)


def _print_below(lines: list[str]) -> None:
    """Below a table, a line free before each."""
    for line in lines:
        print("\n" + printable(line))


def _names(wide: bool, nodes: Iterable[str]) -> dict[str, str]:
    """Other names of nodes for a person at a terminal: a program that reads the table gets names
    that kubectl knows."""
    if wide or not terminal.is_terminal(sys.stdout):
        return {}
    return tables.short_names(nodes)
