"""Says how flexvol is taken out of the cluster once nothing needs it.

While there are volumes that need it, it lists them and exits with 1.
Volumes are unmounted and deleted by flexvol alone, so they go first: those of claims, those that
were retained, archives and snapshots. It removes nothing itself."""

from __future__ import annotations

import argparse
import json

from cluster.controller.cluster import Cluster
from cluster.controller.inventory import (
    ARCHIVED,
    AVAILABLE,
    BOUND,
    MISSING,
    PENDING,
    RELEASED,
    SNAPSHOT,
    pools_away,
)
from cluster.controller.storage import PLUGIN_DIRECTORY
from cluster.kubectl import inventory, nodes
from shared.table import aligned, printable

_HEADINGS = ("VOLUME", "NODE", "CLAIM", "STATE", "DO THIS")
# By state; any other is told by inventory.
_REMEDIES = {
    BOUND: "delete its claim", PENDING: "delete its claim",
    RELEASED: "wait; if it was retained and may go: kubectl flexvol delete",
    AVAILABLE: "delete its PV, then: kubectl flexvol delete",
    SNAPSHOT: "kubectl flexvol delete", ARCHIVED: "kubectl flexvol delete",
    MISSING: "mount its pool's disk; if that is dead: kubectl flexvol release PV --disk-is-gone",
}  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def only_reads(_: argparse.Namespace) -> bool:
    return True


def run(api: Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    there = nodes.find(api, settings.namespace)
    rows, listed, silent = inventory.look(api, settings.namespace, settings.driver)
    found = [
        {
            "name": row.name, "node": row.node, "claim": row.claim, "state": row.state,
            "remedy": _REMEDIES.get(row.state, "see: kubectl flexvol inventory"),
        }
        for row in rows
    ]  # fmt: skip
    unknown = sorted(set(silent.values()))
    unknown += [
        f"pool {pool} on node {node or '-'}: {why}" for node, pool, why in pools_away(listed)
    ]
    if settings.json:
        print(json.dumps({"volumes": found, "unknown": unknown}, indent=1))
    elif found or unknown:
        if found:
            print(
                aligned(
                    _HEADINGS, [[printable(cell or "-") for cell in one.values()] for one in found]
                )
            )
        for line in unknown:
            print("not known what there is: " + printable(line))
        print(
            "\nflexvol is still needed; nothing was changed. Run this again when all that is gone."
        )
    else:
        print(
            "There are no volumes. To take flexvol out of the cluster, run, where you applied "
            "it from:"
        )
        print("  kubectl delete -k .")
        print(
            f"Then on each node ({', '.join(filter(None, sorted(there)))}), unless an overlay "
            "has moved it:"
        )
        print(f"  {PLUGIN_DIRECTORY}/flexvol~loop/loop uninstall")
        print("Pools stay, below /var/lib/flexvol.")
    return 1 if found or unknown else 0
