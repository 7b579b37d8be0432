"""Says how flexvol is taken out of the cluster once nothing needs it.

While there are volumes that need it, it lists them and exits with 1.
Volumes are unmounted and deleted by flexvol alone, so they go first: those of claims, those that
were retained, archives and snapshots. It removes nothing itself."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection

from cluster.controller.cluster import Cluster
from cluster.controller.inventory import (
    ARCHIVED,
    AVAILABLE,
    BOUND,
    MISSING,
    OF_OTHERS,
    ORPHAN,
    PENDING,
    RELEASED,
    SNAPSHOT,
    UNSEEN,
    Row,
)
from cluster.controller.listed_pools import pools_away
from cluster.controller.storage import DRIVERS, PLUGIN_DIRECTORY, executable
from cluster.kubectl import nodes
from cluster.kubectl.inventory.look import Look, look
from shared.table import aligned, printable

_HEADINGS = ("VOLUME", "NODE", "CLAIM", "STATE", "DO THIS")
_NEEDED_OR_NOT = "if its data is needed: kubectl flexvol adopt; if not: kubectl flexvol delete"
# What to do with a volume, by its state.
REMEDIES = {
    BOUND: "delete its claim",
    PENDING: "delete its claim",
    RELEASED: "wait; if it was retained and may go: kubectl flexvol delete",
    AVAILABLE: "delete its PV, then: kubectl flexvol delete",
    SNAPSHOT: "kubectl flexvol delete",
    ARCHIVED: "kubectl flexvol delete",
    OF_OTHERS: _NEEDED_OR_NOT,
    ORPHAN: _NEEDED_OR_NOT,
    MISSING: "mount its pool's disk, or bring its node back; if that is lost for good: kubectl "
    "flexvol release PV, with --disk-is-gone while the node lives",
    UNSEEN: "bring its node back, and flexvol's pod there; if the node is lost for good, delete "
    "its Node object",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def only_reads(_: argparse.Namespace) -> bool:
    return True


def run(
    api: Cluster,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> int:
    flexvol_nodes = nodes.find(api, settings.namespace)
    found = look(api, settings.namespace, settings.driver)
    volumes = [_as_json(row) for row in found.rows]
    unknown = _unknown(found)
    if settings.json:
        print(json.dumps({"volumes": volumes, "unknown": unknown}, indent=1))
    elif volumes or unknown:
        _print_needed(volumes, unknown)
    else:
        _print_way_out(flexvol_nodes.values())
    return int(bool(volumes or unknown))


def _as_json(row: Row) -> dict[str, str]:
    return {
        "name": row.name,
        "node": row.node,
        "claim": row.claim,
        "state": row.state,
        "remedy": REMEDIES[row.state],
    }


def _unknown(found: Look) -> list[str]:
    """Why it is not known what there is."""
    sentences = sorted(set(found.silent.values()))
    for node, pool, why in pools_away(found.listed):
        sentences.append(f"pool {pool} on node {node or '-'}: {why}")
    return sentences


def _print_needed(volumes: list[dict[str, str]], unknown: list[str]) -> None:
    if volumes:
        table = [[printable(cell or "-") for cell in volume.values()] for volume in volumes]
        print(aligned(_HEADINGS, table))
    for line in unknown:
        print("there may be more volumes: " + printable(line))
    print("\nflexvol is still needed; nothing was changed. Run this again when all that is gone.")


def _print_way_out(flexvol_nodes: Collection[nodes.FlexvolNode]) -> None:
    names = ", ".join(sorted(node.name for node in flexvol_nodes if node.name))
    served = sorted({driver for node in flexvol_nodes for driver in node.drivers})
    built_in = [driver for driver in served if driver in DRIVERS]
    others = [driver for driver in served if driver not in DRIVERS]
    print(
        "There are no volumes. To take flexvol out of the cluster, run, where you applied it from:"
    )
    print("  kubectl delete -k .")
    print(f"Then on each node ({names}), unless an overlay has moved it:")
    for driver in served:
        print(f"  {executable(PLUGIN_DIRECTORY, driver)} uninstall")
    if built_in:
        print("Pools stay, below /var/lib/flexvol.")
    if others:
        print(f"The storage of {', '.join(others)} stays as it is.")
