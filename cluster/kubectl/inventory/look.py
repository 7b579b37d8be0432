"""What there is: the volumes that the nodes list, joined with the PVs, claims and pods of the
cluster."""

from __future__ import annotations

from typing import NamedTuple

from cluster.controller import cluster
from cluster.controller.identity import node_of
from cluster.controller.inventory import MISSING, ClusterObjects, Key, Row, join
from cluster.controller.objects import Claim, Pod, Volume
from cluster.controller.storage import Listed
from cluster.kubectl import by_provisioner, nodes


class Look(NamedTuple):
    """rows: one for each volume. listed: what each driver listed, by node and driver. silent: why a
    driver did not."""

    rows: list[Row]
    listed: dict[Key, Listed]
    silent: dict[Key, str]


def look(
    api: cluster.Cluster,
    namespace: str,
    drivers: list[str] | None = None,
    node: str | None = None,
) -> Look:
    """namespace: where flexvol is. drivers, node: only of these.

    :raises Unavailable: if there is no such node.
    :raises Refused, Unreachable: if the API server does not tell."""
    if node is None:
        flexvol_nodes = nodes.find(api, namespace)
    else:
        flexvol_nodes = {node: nodes.get(api, namespace, node)}
    if not flexvol_nodes:
        raise nodes.nowhere(namespace)
    every = [driver for one in flexvol_nodes.values() for driver in one.drivers]
    served = by_provisioner(drivers or every)
    # In this order, what is made meanwhile is at least pending, and what is deleted meanwhile still
    # has its PV.
    volumes = [
        volume
        for volume in map(Volume, api.items(cluster.VOLUMES))
        if node is None or node_of(volume, served) == node
    ]
    listed, silent = nodes.list_all(api, flexvol_nodes.values(), drivers)
    cluster_uid = api.uid()
    objects = ClusterObjects(
        drivers=served,
        volumes=volumes,
        claims=list(map(Claim, api.items(cluster.CLAIMS))),
        pods=list(map(Pod, api.items(cluster.PODS))),
        nodes={one["metadata"]["name"] for one in api.items(cluster.NODES)},
        cluster_uid=cluster_uid,
    )
    rows = [row for row in join(listed, silent, objects) if not _was_deleted(api, row)]
    return Look(rows, listed, silent)


def _was_deleted(api: cluster.Cluster, row: Row) -> bool:
    """Whether a volume without storage lacks it because its PV was deleted meanwhile."""
    if row.state != MISSING:
        return False
    return api.get(cluster.path_to(cluster.VOLUMES, row.name)) is None
