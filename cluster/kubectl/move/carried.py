"""A disk that is in another node than its PVs say: it was carried there, or the node has another
name now."""

from __future__ import annotations

from cluster.controller.objects import Node, Volume
from cluster.controller.storage import Listed

# A taint with which a person says that nothing runs on the node any more (KEP-2268).
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def is_off(node: Node | None) -> bool:
    """Whether nothing runs on the node any more, as far as a person has said so: its Node object is
    gone, or says that the node is out of service, and its kubelet is silent."""
    if node is None:
        return True
    if not any(taint.get("key") == OUT_OF_SERVICE for taint in node.taints):
        return False
    return not any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in node.conditions
    )


def has_pool(volume: Volume, listed: Listed) -> bool:
    """Whether a node, which lists that, has the very pool that the PV means: by its id, as pools of
    one name are on every node."""
    if not volume.pool_id:
        return False
    return any(pool.get("id") == volume.pool_id and not pool.get("error") for pool in listed.pools)


def has_volume(volume: Volume, listed: Listed) -> bool:
    """Whether the node lists the volume in that pool. A node that is a clone of another has a pool
    of the same id, and volumes of its own in it."""
    if not has_pool(volume, listed):
        return False
    return any(
        entry.get("name") == volume.name and entry.get("poolId") == volume.pool_id
        for entry in listed.volumes
    )
