"""A volume whose storage is gone, with its node or with its pool: how that is told, and how the
volume is given up.

Giving it up deletes the claim and the PV, so that a StatefulSet starts empty elsewhere, and never
the storage: should the node come back, its instance finds the PV's policy Retain, or no PV.

A Node object that is gone is somebody's decision, so gone_nodes.py gives the volume up by itself if
its class said so (`onNodeGone: release`). A pool with another id is only an observation: the disk
may be late at boot, or another disk was mounted in its place. Such a volume is reported, and given
up by a person alone, with the command `release`. So is a volume whose disk is dead while its node
lives, which the cluster cannot see at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cluster.controller import cluster, decide
from cluster.controller.storage import Listed
from shared import protocol

Object = dict[str, Any]
NODE_GONE, POOL_REPLACED, DISK_GONE = "node-gone", "pool-replaced", "disk-gone"
# For which reasons a volume may be given up: by its class, and by a person. DISK_GONE is added when
# a person says that the disk is dead.
BY_CLASS, BY_PERSON = frozenset({NODE_GONE}), frozenset({NODE_GONE, POOL_REPLACED})


def why(volume: Object, drivers: dict[str, str], node_exists: bool) -> tuple[str, str]:
    """Why the PV's storage is gone, as a word and as a sentence; both empty if it is not, or if
    that is not ours."""
    node, mark = decide.node_of(volume, drivers), decide.annotations_of(volume).get(decide.LOST, "")
    if not node or (node_exists and not mark):
        return "", ""
    name = volume["metadata"]["name"]
    if node_exists:
        remedy = (
            "mount the volume's own disk there again; if that disk is dead for good, give the "
            f"volume up: kubectl flexvol release {name}"
        )
        return POOL_REPLACED, f"the storage of {full_name(volume)} is lost: {mark}; {remedy}"
    remedy = (
        "bring it back; if its disk is in another node, or that node has another name now, keep "
        f"its claim: kubectl flexvol move {name} --to NODE; or give the volume up: kubectl "
        f"flexvol release {name}"
    )
    if is_released(volume):
        remedy = f"its class says to give it up ({decide.ON_NODE_GONE_PARAMETER})"
    return NODE_GONE, (
        f"the storage of {full_name(volume)} is lost: its node {node} is gone; {remedy}"
    )


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


def where_it_is(volume: Object, listed: Mapping[str, Listed]) -> tuple[str, str]:
    """The node that has the PV's storage after all, and the sentence; both empty if none shows it.

    listed: by node, what the PV's driver lists. A pool counts by its id: the disk may have been
    mounted under another name, or on another node. A driver without pools shows a volume by listing
    it."""
    name = volume["metadata"]["name"]
    pool_id = (volume["spec"]["flexVolume"].get("options") or {}).get("poolId", "")
    for node, (volumes, pools) in sorted(listed.items()):
        for pool in pools:
            if pool_id and pool.get("id") == pool_id and not pool.get("error"):
                return node, f"node {node} has its pool {pool.get('name')} (id {pool_id})"
        for entry in volumes:
            same_pool = not pool_id or entry.get("poolId") == pool_id
            if entry.get("name") == name and same_pool and not entry.get("error"):
                return node, f"node {node} lists the volume"
    return "", ""


def is_released(volume: Object) -> bool:
    return decide.annotations_of(volume).get(decide.ON_NODE_GONE) == decide.RELEASE


def full_name(thing: Object) -> str:
    """Of a claim, or of the claim that a PV names."""
    names = thing["spec"].get("claimRef") or thing["metadata"]
    return f"{names.get('namespace', '')}/{names.get('name', '')}"


class NotLost(Exception):
    """The volume is not to be given up."""


def check_lost(
    api: cluster.Cluster, volume: Object, drivers: dict[str, str], reasons: frozenset[str]
) -> bool:
    """Returns whether its node exists. reasons: for which the volume may be given up. Raises
    NotLost with the sentence why it is not to be given up."""
    node, name = decide.node_of(volume, drivers), volume["metadata"]["name"]
    if not node:
        raise NotLost(
            f"{name} is not lost: no node's provisioner of {', '.join(drivers.values())} made it; "
            "nothing was changed"
        )
    exists = node_exists(api.get, node)
    reason, sentence = why(volume, drivers, exists)
    if reason in reasons or (not reason and DISK_GONE in reasons):
        return exists
    if reason:
        raise NotLost(f"{name} is not given up by its class: {sentence}")
    raise NotLost(
        f"{name} is not lost: its node {node} exists, and it has no mark {decide.LOST}; nothing "
        "was changed. If its disk is dead for good, give the volume up: kubectl flexvol release "
        f"{name} --disk-is-gone"
    )


def release(
    api: cluster.Cluster, name: str, drivers: dict[str, str], reasons: frozenset[str]
) -> str:
    """Gives up the PV `name`, whose storage is lost: its claim, then itself. reasons: for which
    that may be done. Returns what has to happen before it can be called again and go on, or an
    empty string when it is done. Raises NotLost, Refused, Unreachable."""
    path = cluster.path_to(cluster.VOLUMES, name)
    volume = api.get(path)
    if volume is None:
        return ""
    exists = check_lost(api, volume, drivers, reasons)
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
    path = cluster.in_namespace(metadata["namespace"], "pods")
    pods = (api.get(path) or {"items": []})["items"]
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


def containers_of(pod: Object) -> list[Object]:
    """What kubelet says of each container of the pod, those that run first among them first."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _runs(pod: Object) -> bool:
    return any("running" in (container.get("state") or {}) for container in containers_of(pod))


def _evict(api: cluster.Cluster, pod: Object) -> None:
    names = {key: pod["metadata"][key] for key in ("namespace", "name")}
    pod_path = cluster.path_to(cluster.in_namespace(names["namespace"], "pods"), names["name"])
    path = cluster.path_to(pod_path, "eviction")
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": names}
    try:
        api.create(
            path, {**body, "deleteOptions": {"preconditions": {"uid": pod["metadata"]["uid"]}}}
        )
    except cluster.Refused as error:
        if error.status not in (404, 409, 429):  # gone; another of that name; a budget: later
            raise
