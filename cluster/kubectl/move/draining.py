"""All volumes of a node: which they are, and where each of them goes."""

from __future__ import annotations

from cluster.controller import cluster
from cluster.controller.objects import Node, Volume
from cluster.controller.storage import Listed
from cluster.kubectl import nodes
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.carried import has_volume


def volumes_of(access: Access, node: str) -> list[str]:
    """The names of the PVs that are on the node, and of those whose move from there is not done."""
    volumes = map(Volume, access.api.items(cluster.VOLUMES))
    on_node = {volume.name for volume in volumes if access.node_of(volume) == node}
    begun = {plan.name for plan in access.plans.all() if plan.source == node}
    return sorted(on_node | begun)


def destination(access: Access, name: str, source: str) -> str:
    """Where the volume goes if its move was begun; else the node that has its disk now; else the
    node whose pool has the most room, and takes pods.

    :raises NotMoved: if there is no such node."""
    plan = access.plans.find(name)
    if plan is not None:
        return plan.to
    volume = access.volume(name)
    listed = _listed_by_node(access, volume.driver)
    carriers = [node for node in sorted(listed) if has_volume(volume, listed[node])]
    if carriers and source not in carriers:
        if len(carriers) > 1:
            each = " and on node ".join(carriers)
            raise NotMoved(f"{name} is on node {each}; name one with --to")
        return carriers[0]
    if access.is_off(source):
        raise NotMoved(f"node {source} is gone or off, and no other node has the disk with {name}")
    listed.pop(source, None)
    return _roomiest(access, volume, listed)


def _listed_by_node(access: Access, driver: str) -> dict[str, Listed]:
    flexvol_nodes = nodes.find(access.api, access.namespace).values()
    asked = [node for node in flexvol_nodes if node.name]
    listed, _ = nodes.list_all(access.api, asked, [driver])
    return {node: of_node for (node, _), of_node in listed.items()}


def _roomiest(
    access: Access,
    volume: Volume,
    listed: dict[str, Listed],
) -> str:
    """listed: by the names of the nodes that come into question."""
    pool_name = volume.pool_name
    rooms = {}
    for node, (_, pools) in listed.items():
        for pool in pools:
            is_usable = pool.get("name") == pool_name and not pool.get("error")
            if is_usable and _takes_pods(access, node):
                rooms[node] = pool.get("freeBytes", 0)
    if not rooms:
        raise NotMoved(
            f"no other node that takes pods has a pool {pool_name}; make one "
            "there, or name a node with --to"
        )
    return max(sorted(rooms), key=lambda node: rooms[node])


def _takes_pods(access: Access, name: str) -> bool:
    node = Node.of(access.api.get(cluster.path_to(cluster.NODES, name)))
    return node is not None and not node.is_cordoned
