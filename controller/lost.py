"""A volume whose storage is gone, with its node or with its pool: how that is told, and how the
volume is given up.

Giving it up deletes the claim and the PV, so that a StatefulSet starts empty elsewhere, and never
the storage: should the node come back, its instance finds the PV's policy Retain, or no PV.
gone_nodes.py does it if the class said so (`onNodeGone: release`), `provisioner release` if a
person does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import protocol
from controller import cluster, decide

Object = dict[str, Any]
NODE_GONE, POOL_REPLACED = "node-gone", "pool-replaced"


def why(volume: Object, drivers: dict[str, str], node_exists: bool) -> tuple[str, str]:
    """Why the PV's storage is gone, as a word and as a sentence; both empty if it is not, or if
    that is not ours."""
    node, mark = decide.node_of(volume, drivers), decide.annotations_of(volume).get(decide.LOST, "")
    if not node or (node_exists and not mark):
        return "", ""
    reason, what = (POOL_REPLACED, mark) if node_exists else (NODE_GONE, f"its node {node} is gone")
    remedy = (
        f"bring it back, or give the volume up: provisioner release {volume['metadata']['name']}"
    )
    if is_released(volume):
        remedy = f"its class says to give it up ({decide.ON_NODE_GONE_PARAMETER})"
    return reason, f"the storage of {full_name(volume)} is lost: {what}; {remedy}"


def pool_replaced(volume: Object, pools: list[Object]) -> str | None:
    """Why the storage of a PV of this node is gone; empty if it is not; None if that cannot be
    told, because the pool's disk is away. pools: as the driver listed them."""
    options = volume["spec"]["flexVolume"].get("options") or {}
    name, pool_id = options.get("pool", ""), options.get("poolId", "")
    if not pool_id or any(pool.get("id") == pool_id for pool in pools):
        return ""
    for pool in pools:
        if pool.get("name") == name and pool.get("id") and not pool.get("error"):
            return (
                f"pool {name} of the node was replaced: its id is {pool['id']}, the volume's is "
                f"{protocol.shown(pool_id)}"
            )
    return None


def node_exists(get: Callable[[str], Object | None], name: str) -> bool:
    """name: from an annotation, which anyone may have written."""
    return get(cluster.path_to(cluster.NODES, name)) is not None


def is_released(volume: Object) -> bool:
    return decide.annotations_of(volume).get(decide.ON_NODE_GONE) == decide.RELEASE


def full_name(thing: Object) -> str:
    """Of a claim, or of the claim that a PV names."""
    names = thing["spec"].get("claimRef") or thing["metadata"]
    return f"{names.get('namespace', '')}/{names.get('name', '')}"


class NotLost(Exception):
    """The volume is not to be given up."""


def check_lost(api: cluster.Cluster, volume: Object, drivers: dict[str, str]) -> bool:
    """Returns whether its node exists. Raises NotLost with the reason why it is not to be given
    up."""
    node, name = decide.node_of(volume, drivers), volume["metadata"]["name"]
    exists = bool(node) and node_exists(api.get, node)
    if not why(volume, drivers, exists)[0]:
        whose = (
            f"its node {node} exists, and it has no mark {decide.LOST}"
            if node
            else "no node's provisioner made it"
        )
        raise NotLost(f"{name} is not lost: {whose}; nothing was changed")
    return exists


def release(api: cluster.Cluster, name: str, drivers: dict[str, str]) -> str:
    """Gives up the PV `name`, whose storage is lost: its claim, then itself. Returns what has to
    happen before it can be called again and go on, or an empty string when it is done. Raises
    NotLost, Refused, Unreachable."""
    path = f"{cluster.VOLUMES}/{name}"
    volume = api.get(path)
    if volume is None:
        return ""
    exists = check_lost(api, volume, drivers)
    claim = claim_of(api, volume)
    pods = pods_of(api, claim) if claim and exists else []
    running = [pod["metadata"]["name"] for pod in pods if _runs(pod)]
    if running:
        return f"the pod {running[0]} still runs with it; delete that pod"
    metadata = volume["metadata"]
    # First, so that the node, should it be back at this moment, does not take the claim's end for
    # the storage's.
    finalizers = [one for one in metadata.get("finalizers") or [] if one != decide.FINALIZER]
    api.patch(path, {
        "metadata": {"finalizers": finalizers, "resourceVersion": metadata["resourceVersion"]},
        "spec": {"persistentVolumeReclaimPolicy": "Retain"},
    })  # fmt: skip
    if claim:
        whose = claim["metadata"]
        api.delete(cluster.claim_path(whose["namespace"], whose["name"]), whose["uid"])
        for pod in pods:  # it can never start, and holds the claim; its controller makes another
            _evict(api, pod)
        if claim_of(api, volume):
            return f"the claim {full_name(volume)} is deleted when no pod uses it any more"
    api.delete(path, metadata["uid"])
    return ""


def claim_of(api: cluster.Cluster, volume: Object) -> Object | None:
    """The claim that the PV names, if that names the PV too: either can have been edited."""
    claim = api.claim(volume["spec"].get("claimRef") or {})
    return (
        claim if claim and claim["spec"].get("volumeName") == volume["metadata"]["name"] else None
    )


def pods_of(api: cluster.Cluster, claim: Object) -> list[Object]:
    metadata = claim["metadata"]
    pods = (api.get(f"/api/v1/namespaces/{metadata['namespace']}/pods") or {"items": []})["items"]
    return [pod for pod in pods if metadata["name"] in claims_of_pod(pod)]


def claims_of_pod(pod: Object) -> list[str]:
    """The names of the claims that it uses, those made for it too."""
    return [
        volume["persistentVolumeClaim"]["claimName"]
        if volume.get("persistentVolumeClaim")
        else f"{pod['metadata']['name']}-{volume['name']}"
        for volume in pod["spec"].get("volumes") or []
        if volume.get("persistentVolumeClaim") or "ephemeral" in volume
    ]


def _runs(pod: Object) -> bool:
    status = pod.get("status", {})
    containers = (status.get("initContainerStatuses") or []) + (
        status.get("containerStatuses") or []
    )
    return any("running" in (container.get("state") or {}) for container in containers)


def _evict(api: cluster.Cluster, pod: Object) -> None:
    names = {key: pod["metadata"][key] for key in ("namespace", "name")}
    path = f"/api/v1/namespaces/{names['namespace']}/pods/{names['name']}/eviction"
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": names}
    try:
        api.create(
            path, {**body, "deleteOptions": {"preconditions": {"uid": pod["metadata"]["uid"]}}}
        )
    except cluster.Refused as error:
        if error.status not in (404, 409, 429):  # gone; another of that name; a budget: later
            raise
