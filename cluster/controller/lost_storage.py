"""Storage of a PV that is gone, with its node or with its pool: how that is recognized, and how the
PV is given up.

Giving a PV up deletes its claim and the PV itself, so that a StatefulSet starts empty elsewhere,
and never the storage: should the node come back, its instance finds the PV's policy Retain, or no
PV.

A Node object that is gone is somebody's decision, so lost_volumes.py gives the PV up by itself if
its class said so (`onNodeGone: release`). A pool with another id is only an observation: the disk
may be late at boot, or another disk was mounted in its place. Such a PV is reported, and given up
by a person alone, with the command `release`. So is a PV whose disk is dead while its node lives,
which the cluster cannot see at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from cluster.controller import cluster, objects
from cluster.controller.class_parameters import ON_NODE_GONE_PARAMETER, RELEASE
from cluster.controller.identity import node_of
from cluster.controller.objects import Claim, Object, Pod, Volume
from cluster.controller.storage import Listed
from shared import protocol

NODE_GONE = "node-gone"
POOL_REPLACED = "pool-replaced"
DISK_GONE = "disk-gone"  # a person says so, and nothing else can
# For which reasons a class gives a PV up, and for which a person may; a person who says that the
# disk is dead may also for DISK_GONE.
BY_CLASS = frozenset({NODE_GONE})
BY_PERSON = frozenset({NODE_GONE, POOL_REPLACED})
# An eviction is refused with these if the pod is gone, if another pod has its name, and if a
# disruption budget does not allow it now: the next attempt will tell.
_NOT_EVICTED = (404, 409, 429)


class Loss(NamedTuple):
    """Why the storage of a PV is gone. reason: NODE_GONE or POOL_REPLACED; both are "" if it is
    there."""

    reason: str
    sentence: str


_NO_LOSS = Loss("", "")


def why(volume: Volume, drivers: Mapping[str, str], node_exists: bool) -> Loss:
    """Why the PV's storage is gone; nothing if the storage is there, or is not ours.

    drivers: by provisioner, those that are ours."""
    node = node_of(volume, drivers)
    if not node:
        return _NO_LOSS
    lost = f"the storage of {volume.full_name} is lost"
    if not node_exists:
        remedy = _remedy_of_gone_node(volume)
        return Loss(NODE_GONE, f"{lost}: its node {node} is gone; {remedy}")
    if not volume.lost_mark:
        return _NO_LOSS
    return Loss(
        POOL_REPLACED,
        f"{lost}: {volume.lost_mark}; mount the volume's own disk there again; if that "
        "disk is dead for good, give the volume up: kubectl flexvol release "
        f"{volume.name}",
    )


def _remedy_of_gone_node(volume: Volume) -> str:
    if is_given_up_by_class(volume):
        return f"its class says to give it up ({ON_NODE_GONE_PARAMETER})"
    return (
        "bring it back; if its disk is in another node, or that node has another name "
        f"now, keep its claim: kubectl flexvol move {volume.name} --to NODE; or give "
        f"the volume up: kubectl flexvol release {volume.name}"
    )


def is_given_up_by_class(volume: Volume) -> bool:
    """Whether the PV is to be given up as soon as its node is gone."""
    return volume.annotation(objects.ON_NODE_GONE) == RELEASE


def pool_replaced(volume: Volume, pools: list[Object]) -> str | None:
    """Why the storage of a PV of this node is gone; "" if it is there; None if that cannot be told,
    because the pool's disk is away.

    pools: as the driver listed them."""
    pool_id = volume.pool_id
    if not pool_id or any(pool.get("id") == pool_id for pool in pools):
        return ""
    for pool in pools:
        if pool.get("error") or not pool.get("id"):
            continue
        if pool.get("name") == volume.pool_name:
            return (
                f"pool {volume.pool_name} of the node was replaced: its id is "
                f"{pool['id']}, the volume's is {protocol.shown(pool_id)}"
            )
    return None


def node_exists(get: Callable[[str], Object | None], name: str) -> bool:
    """Whether there is a Node of that name, which is from an annotation, and so anyone may have
    written it.

    get: reads the object at a path."""
    return get(cluster.path_to(cluster.NODES, name)) is not None


def where_it_is(
    volume: Volume,
    listed: Mapping[str, Listed],
) -> tuple[str, str]:
    """The node that has the PV's storage after all, and the sentence; both "" if none shows it.

    A pool counts by its id: the disk may have been mounted under another name, or on another node.
    A driver without pools shows a volume by listing it.

    listed: by node, what the PV's driver lists."""
    for node, of_node in sorted(listed.items()):
        sentence = _where_on_node(volume, of_node)
        if sentence:
            return node, f"node {node} {sentence}"
    return "", ""


def _where_on_node(volume: Volume, listed: Listed) -> str:
    pool_id = volume.pool_id
    for pool in listed.pools:
        if pool_id and pool.get("id") == pool_id and not pool.get("error"):
            return f"has its pool {pool.get('name')} (id {pool_id})"
    for entry in listed.volumes:
        if entry.get("name") != volume.name or entry.get("error"):
            continue
        if not pool_id or entry.get("poolId") == pool_id:
            return "lists the volume"
    return ""


class NotLost(Exception):
    """The PV is not to be given up."""


def check_lost(
    api: cluster.Cluster,
    volume: Volume,
    drivers: Mapping[str, str],
    reasons: frozenset[str],
) -> bool:
    """Checks that a PV may be given up; returns whether its node exists.

    reasons: for which the PV may be given up.

    :raises NotLost: with the sentence why the PV is not to be given up."""
    node = node_of(volume, drivers)
    if not node:
        raise NotLost(
            f"{volume.name} is not lost: no node's provisioner of "
            f"{', '.join(drivers.values())} made it; nothing was changed"
        )
    exists = node_exists(api.get, node)
    loss = why(volume, drivers, exists)
    if loss.reason in reasons or (not loss.reason and DISK_GONE in reasons):
        return exists
    if loss.reason:
        raise NotLost(f"{volume.name} is not given up by its class: {loss.sentence}")
    raise NotLost(
        f"{volume.name} is not lost: its node {node} exists, and it has no mark "
        f"{objects.LOST}; nothing was changed. If its disk is dead for good, give the "
        f"volume up: kubectl flexvol release {volume.name} --disk-is-gone"
    )


def release(
    api: cluster.Cluster,
    name: str,
    drivers: Mapping[str, str],
    reasons: frozenset[str],
) -> str:
    """Gives up the PV `name`, whose storage is lost: its claim, then the PV. Returns what has to
    happen before this can be called again and go on; "" when all is done.

    reasons: for which the PV may be given up.

    :raises NotLost: if the PV is not to be given up.
    :raises Refused, Unreachable: by the API server."""
    path = cluster.path_to(cluster.VOLUMES, name)
    volume = Volume.of(api.get(path))
    if volume is None:
        return ""
    exists = check_lost(api, volume, drivers, reasons)
    claim = claim_of(api, volume)
    pods: list[Pod] = []
    if claim is not None and exists:
        pods = pods_of(api, claim)
    running = [pod.name for pod in pods if pod.runs]
    if running:
        return f"the pod {running[0]} still runs with it; delete that pod"
    # First, so that the node, should it be back at this moment, does not take the claim's end for
    # the storage's.
    _keep_storage(api, path, volume)
    if claim is not None:
        api.delete(cluster.claim_path(claim.namespace, claim.name), claim.uid)
        for pod in pods:  # It can never start, and holds the claim; its controller makes another.
            _evict(api, pod)
        if claim_of(api, volume) is not None:
            return f"the claim {volume.full_name} is deleted when no pod uses it any more"
    api.delete(path, volume.uid)
    return ""


def _keep_storage(api: cluster.Cluster, path: str, volume: Volume) -> None:
    """From now on the end of the PV is not the storage's."""
    finalizers = [one for one in volume.finalizers if one != objects.FINALIZER]
    change = {
        "metadata": {"finalizers": finalizers, "resourceVersion": volume.resource_version},
        "spec": {"persistentVolumeReclaimPolicy": "Retain"},
    }
    api.patch(path, change)


def claim_of(api: cluster.Cluster, volume: Volume) -> Claim | None:
    """The claim that the PV names, if the claim names the PV too: either can have been edited."""
    claim = Claim.of(api.claim(volume.claim_reference))
    if claim is None or claim.volume_name != volume.name:
        return None
    return claim


def pods_of(api: cluster.Cluster, claim: Claim) -> list[Pod]:
    """The pods that use the claim."""
    path = cluster.in_namespace(claim.namespace, "pods")
    listed = api.get(path) or {"items": []}
    return [pod for pod in map(Pod, listed["items"]) if claim.name in pod.claim_names]


def _evict(api: cluster.Cluster, pod: Pod) -> None:
    pod_path = cluster.path_to(cluster.in_namespace(pod.namespace, "pods"), pod.name)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": pod.namespace, "name": pod.name},
        "deleteOptions": {"preconditions": {"uid": pod.uid}},
    }
    try:
        api.create(cluster.path_to(pod_path, "eviction"), eviction)
    except cluster.Refused as error:
        if error.status not in _NOT_EVICTED:
            raise
