"""The third phase: the PV becomes the other node's.

A PV's affinity cannot be changed, so the PV is deleted and made again under its name. Between the
two the claim says Lost. When the claim is bound again, the PV gets back its reclaim policy."""

from __future__ import annotations

import time
from collections.abc import Callable

from cluster.controller import cluster, secrets
from cluster.controller.objects import (
    FINALIZER,
    IDENTITY,
    LOST,
    Object,
    Volume,
    node_affinity,
)
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.plans import Plan

# kube-controller-manager notices each of the steps within a few seconds.
_WAIT_SECONDS = 90.0
_AGAIN_SECONDS = 0.5
# The finalizers that come back by themselves: admission puts one on each PV, and we the other.
_OWN_FINALIZERS = ("kubernetes.io/pv-protection", FINALIZER)


def replace(access: Access, plan: Plan) -> Plan:
    """Returns the plan as it is written then. A PV that is the other node's already stays."""
    volume = access.find_volume(plan.name)
    if volume is not None and access.node_of(volume) == plan.source:
        plan = _delete_old(access, plan, volume)
        volume = None
    if volume is None:
        volume = Volume(access.api.create(cluster.VOLUMES, plan.volume.json))
    if access.node_of(volume) != plan.to:
        raise NotMoved(
            f"the PV {plan.name} is neither of node {plan.source} nor of node "
            f"{plan.to}; see who has changed it: kubectl get pv {plan.name} -o "
            "yaml"
        )
    secrets.hand_over(access.api, secrets.made_for(volume), plan.to)
    if access.claim_of(plan.volume) is not None:
        what = f"the claim {volume.full_name} is bound again"
        _wait_until(what, lambda: _is_bound(access, plan))
    elif plan.policy != "Retain":
        access.say(
            f"its claim {volume.full_name} is gone, so {plan.name} says Retain "
            "now; to delete the volume, too: kubectl flexvol delete "
            f"{plan.name}"
        )
        return plan
    access.set_policy(plan.name, plan.policy)
    return plan


def _delete_old(access: Access, plan: Plan, volume: Volume) -> Plan:
    """Deletes the PV of the old node. Before that the plan says what the new one is made of: its
    claim may have grown since the plan was written. From here on nobody cancels the move."""
    new = manifest(volume, plan.to, plan.hostname, plan.pool_id, plan.volume.pool_name)
    plan = change_plan(access, plan, volume=new, is_replacing=True)
    path = cluster.path_to(cluster.VOLUMES, plan.name)
    access.api.delete(path, volume.uid)
    _wait_until("the old PV is gone", lambda: _is_gone(access, path, volume.uid))
    return plan


def change_plan(access: Access, plan: Plan, **changes: Volume | bool) -> Plan:
    """:raises NotMoved: if somebody else ended the move.
    :raises Refused: with status 409 if somebody else changed the plan since it was read."""
    changed = access.plans.change(plan, **changes)
    if changed is None:
        raise NotMoved(
            f"the move of {plan.name} was ended by somebody else; see: kubectl flexvol inventory"
        )
    return changed


def _is_gone(access: Access, path: str, uid: str) -> bool:
    """Whether the PV is gone; else takes away the finalizers that keep it."""
    volume = Volume.of(access.api.get(path))
    if volume is None or volume.uid != uid:
        return True
    if volume.finalizers:
        metadata = {"finalizers": [], "resourceVersion": volume.resource_version}
        access.api.patch(path, {"metadata": metadata})
    return False


def _is_bound(access: Access, plan: Plan) -> bool:
    volume = access.volume(plan.name)
    claim = access.claim_of(volume)
    if claim is not None and not claim.is_bound:
        return False
    return volume.phase in ("Bound", "Released")


def _wait_until(what: str, is_done: Callable[[], bool]) -> None:
    """An object that somebody else has changed meanwhile (status 409) is looked at again."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            if is_done():
                return
        except cluster.Refused as error:
            if error.status != 409:
                raise
        if time.monotonic() > deadline:
            raise NotMoved(f"waited {_WAIT_SECONDS:g} s in vain until {what}; run this again")
        time.sleep(_AGAIN_SECONDS)


def manifest(
    volume: Volume,
    to: str,
    hostname: str,
    pool_id: str,
    pool_name: str = "",
) -> Volume:
    """The same PV, on the other node. It says Retain until its claim is bound to it. All else that
    others have put on it is put back: finalizers, too, with which the old PV could not go.

    to, hostname: the other node's name and label.
    pool_id, pool_name: of its pool there; without a name, the pool's name is as before."""
    annotations = {**volume.annotations, IDENTITY: to}
    annotations.pop(LOST, None)
    finalizers = [one for one in volume.finalizers if one not in _OWN_FINALIZERS]
    spec = {
        **volume.spec,
        "persistentVolumeReclaimPolicy": "Retain",
        "flexVolume": _flex_volume(volume, pool_id, pool_name),
        "nodeAffinity": node_affinity(hostname),
    }
    spec.pop("claimRef", None)
    claim = {**volume.claim_reference}
    claim.pop("resourceVersion", None)
    if claim:
        spec["claimRef"] = claim
    return Volume(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {
                "name": volume.name,
                "labels": volume.labels,
                "annotations": annotations,
                "finalizers": finalizers,
                "ownerReferences": volume.owner_references,
            },
            "spec": spec,
        }
    )


def _flex_volume(volume: Volume, pool_id: str, pool_name: str) -> Object:
    options = {**volume.options, "poolId": pool_id}
    if pool_name:
        options["pool"] = pool_name
    return {**volume.flex_volume, "options": options}
