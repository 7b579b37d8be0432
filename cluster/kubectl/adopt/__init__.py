"""Makes PVs for volumes that have none, so that claims of their names find their data again.

That helps after the loss of the cluster's etcd, or of a PV, and for a volume that its class
archived when it was deleted: name the archive, or the claim that it was of. A volume that has its
PV is left alone; only its record is told which claim the PV is bound to, if it names another.
Nothing is deleted, and no data is touched.

The volume's record is written first: its claim, this cluster, and that it is not to be collected;
an archive comes back by that. Then the PV is made, under the volume's name, so that there is never
a second one. Killed in between, it goes on when it is run again."""

from __future__ import annotations

import argparse
import sys

from cluster.controller.cluster import Cluster
from cluster.kubectl import by_provisioner, nodes
from cluster.kubectl.adopt.adoption import Adoption
from cluster.kubectl.adopt.candidates import ClaimName
from shared.table import aligned, printable

_HEADINGS = ("VOLUME", "NODE", "SIZE", "CLAIM", "POLICY", "OUTCOME")


def arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "volume",
        nargs="*",
        default=[],
        metavar="VOLUME",
        help="the name of a volume or of an archive, or NAMESPACE/NAME of the claim that it was of",
    )
    which.add_argument("--all", action="store_true", help="every volume that has no PV")
    parser.add_argument("--node", metavar="NAME", help="only volumes of this node")
    parser.add_argument(
        "--claim", type=_claim_name, metavar="NAMESPACE/NAME", help="not for the claim it was of"
    )
    parser.add_argument(
        "--recorded-policy",
        action="store_true",
        help="the PV gets the reclaim policy that the volume was made with. Else it gets Retain, "
        "so that no mistake while things are put back deletes the only copy",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and do nothing"
    )


def _claim_name(text: str) -> ClaimName:
    namespace, _, name = text.partition("/")
    claim = ClaimName(namespace, name)
    if not claim.is_valid:
        raise argparse.ArgumentTypeError(f"{text}: expected NAMESPACE/NAME")
    return claim


def only_reads(settings: argparse.Namespace) -> bool:
    return bool(settings.dry_run)


def run(
    api: Cluster,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> int:
    if settings.claim and len(settings.volume) != 1:
        print("--claim is for one VOLUME", file=sys.stderr)
        return 2
    flexvol_nodes = _nodes(api, settings)
    listed, silent = nodes.list_all(api, flexvol_nodes.values(), settings.driver)
    answered = {driver for _, driver in listed}
    drivers = by_provisioner(sorted({*drivers.values(), *answered}))
    adoption = Adoption(api, drivers, settings, listed, flexvol_nodes)
    rows = []
    is_wrong = bool(silent)
    for name in settings.volume or adoption.without_pv():
        row, has_pv = adoption.adopt(name)
        rows.append([printable(cell) for cell in row])
        is_wrong = is_wrong or not has_pv
    print(aligned(_HEADINGS, rows) if rows else "there is nothing to adopt")
    _print_silent(silent)
    return int(is_wrong)


def _print_silent(silent: dict[nodes.Key, str]) -> None:
    for (node, driver), why in sorted(silent.items()):
        where = f"on node {node} " if node else ""
        print(f"the driver {driver} {where}lists no volumes: {why}", file=sys.stderr)


def _nodes(
    api: Cluster,
    settings: argparse.Namespace,
) -> dict[str, nodes.FlexvolNode]:
    """The nodes whose volumes may be adopted, by name."""
    if settings.node:
        return {settings.node: nodes.get(api, settings.namespace, settings.node)}
    found = nodes.find(api, settings.namespace)
    if not found:
        raise nodes.nowhere(settings.namespace)
    return found
