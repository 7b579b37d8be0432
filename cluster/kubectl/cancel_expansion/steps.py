"""The four steps of cancelling an expansion: which of them is due, and what it changes.

Why four. When a claim is raised, kube-controller-manager raises the PV at once and asks nobody
(pkg/controller/volume/expand); kubelet then calls the driver, which has no room. Lowering the
claim's request undoes nothing: kube-controller-manager looks at a claim again only if its request
or its capacity grows, and the API server refuses a request of exactly the capacity that the claim
has (ValidatePersistentVolumeClaimUpdate). So:

1. HOLD: the claim's status says NodeResizeInfeasible, on which kubelet begins no expandfs
   (NodeExpander.runPreCheck), and allocatedResources has the true size, so that whoever lifts that
   state (kube-controller-manager does when it starts) expands to what is there already. The status'
   capacity is one byte below the true size while the request has to be lowered to it.
2. LOWER_REQUEST: the claim's request is the true size.
3. SET_VOLUME: the PV's capacity is the true size, and the annotation by which
   kube-controller-manager remembers an expansion is gone.
4. FINISH: the status' capacity is the true size, and the resize state and conditions are gone.
   allocatedResources stays, as after each expansion: kubelet, which may still hold the old PV,
   reads from it that there is nothing to do. Without it kubelet would call expandfs ungated
   (legacyCallNodeExpandOnPlugin).

The true size is read from the node before each step: a call of expandfs begun before HOLD may have
found room meanwhile, and then the true size is what was asked. Each patch fails if somebody else
has changed the object since it was read."""

from __future__ import annotations

from cluster.controller.objects import Claim, Object
from cluster.controller.quantities import quantity
from cluster.kubectl.cancel_expansion.sizes import (
    BEFORE_RESIZE,
    RESIZE_CONDITIONS,
    Sizes,
)

HOLD = "hold"
LOWER_REQUEST = "lower request"
SET_VOLUME = "set volume"
FINISH = "finish"
INFEASIBLE = "NodeResizeInfeasible"


def is_held(now: Sizes, size: int) -> bool:
    """Whether step 1 is done, by this run or by a run that was killed."""
    return now.resize == INFEASIBLE and now.allocated == size


def next_step(now: Sizes, size: int, records: bool = False) -> str:
    """The step that is due for a volume of really `size` bytes; empty if nothing is to be
    undone. records: whether we record a growth in kubelet's place."""
    if is_held(now, size):
        return _step_of_held(now, size)
    if now.asked > size or now.resize == INFEASIBLE:
        return HOLD
    if now.capacity < now.asked:
        return HOLD if records or _is_never_recorded(now) else ""
    # Nothing is asked for beyond what the claim has. kube-controller-manager, when it starts amid
    # our steps, may leave a state that waits for a call which kubelet has no reason to make, and
    # then goes on with the old allocatedResources when the claim is raised again.
    has_traces = now.resize or now.has_conditions or now.is_noted
    return HOLD if has_traces else ""


def _step_of_held(now: Sizes, size: int) -> str:
    if now.request > size:
        return LOWER_REQUEST if now.capacity < size else HOLD
    if now.volume != size or now.is_noted:
        return SET_VOLUME
    return FINISH


def _is_never_recorded(now: Sizes) -> bool:
    """Whether kubelet never records on the claim that the volume has grown as asked.

    Kubelet does not if the size to grow to (allocatedResources) is less than what was asked, nor if
    the claim has no resize state: it never looks at such a claim (NodeExpander.runPreCheck). Nor
    does kubelet call the driver for what it takes for the volume's size already
    (actualStateOfWorld.volumeNeedsExpansion), so the one byte that HOLD takes away is put back
    here."""
    if now.capacity == now.asked - 1:
        return True
    if now.allocated is None:
        return False
    return now.allocated < now.asked or not now.resize


def changes(step: str, now: Sizes, size: int, claim: Claim) -> Object:
    """What a step changes: of the PV for SET_VOLUME, of the claim for the others, where a status is
    patched apart."""
    if step == LOWER_REQUEST:
        return {"spec": {"resources": {"requests": {"storage": quantity(size)}}}}
    if step == SET_VOLUME:
        return {
            "metadata": {"annotations": {BEFORE_RESIZE: None}},
            "spec": {"capacity": {"storage": quantity(size)}},
        }
    if step == HOLD:
        return {"status": _held(now, size)}
    return {"status": _finished(size, claim)}


def _held(now: Sizes, size: int) -> Object:
    capacity = now.capacity
    if now.request > size:
        capacity = min(now.capacity, size - 1)
    return {
        "capacity": {"storage": quantity(capacity)},
        "allocatedResources": {"storage": quantity(size)},
        "allocatedResourceStatuses": {"storage": INFEASIBLE},
    }


def _finished(size: int, claim: Claim) -> Object:
    final = {"storage": quantity(size)}
    return {
        "capacity": final,
        "allocatedResources": final,
        "allocatedResourceStatuses": {"storage": None},
        "conditions": [one for one in claim.conditions if one["type"] not in RESIZE_CONDITIONS],
    }
