"""Whether an expansion is cancelled, and how a person is told."""

from __future__ import annotations

from cluster.controller.objects import Claim, Object, Volume
from cluster.controller.quantities import quantity
from cluster.kubectl.cancel_expansion.sizes import (
    MIB,
    Sizes,
    Truth,
    fits,
    sizes,
    truth_of,
)
from cluster.kubectl.cancel_expansion.steps import (
    INFEASIBLE,
    is_held,
    next_step,
)
from shared.table import human_bytes


def refusal(now: Sizes, truth: Truth) -> str:
    """Why the expansion is not to be cancelled; empty if it can be."""
    if now.resize == INFEASIBLE:
        return ""  # kubelet has stopped trying: nothing but this command goes on from here
    if now.asked <= truth.size:
        return _refusal_of_grown(now, truth)
    if truth.room is None:
        if now.has_failed:
            return ""
        return (
            "its driver does not say how much room there is, and the growth "
            "has not failed yet; wait until it has (kubectl describe shows it "
            "on the claim)"
        )
    if fits(now, truth):
        return (
            f"pool {truth.pool} has room for {human_bytes(truth.room)} more, so "
            f"the growth to {human_bytes(now.asked)} can succeed: kubelet tries "
            "it again within minutes while a pod runs, or when the next pod "
            "starts. If it fails for another reason than room, repeat this "
            "command with --even-if-it-fits"
        )
    return ""


def _refusal_of_grown(now: Sizes, truth: Truth) -> str:
    """Of a volume that has the size that was asked."""
    if now.capacity >= now.asked or next_step(now, truth.size):
        return ""
    return (
        f"the volume has {human_bytes(truth.size)} on its node already; kubelet "
        "writes that on the claim within minutes while a pod runs, or when the "
        "next pod starts. If its file system cannot be grown and keeps a pod "
        "from starting, repeat this command with --even-if-it-fits: the pod "
        "then starts with the file system as it is"
    )


def advice(
    claim: Claim,
    volume: Volume,
    entry: Object,
    pools: list[Object],
) -> str:
    """For `explain`: that the claim's expansion does not fit, and the way out; else empty."""
    truth = truth_of(entry, pools)
    if truth is None:
        return ""
    now = sizes(claim, volume)
    if not is_held(now, truth.size) and not _is_stuck(now, truth):
        return ""
    room = ""
    if truth.room is not None:
        room = f", and its pool {truth.pool} can promise {human_bytes(truth.room)} more"
    return (
        f"it asks for {human_bytes(now.asked)}, its volume has "
        f"{human_bytes(truth.size)}{room}; make room on the node, or give the "
        "expansion up, which keeps data, claim and pods: kubectl flexvol "
        f"cancel-expansion {claim.full_name}"
    )


def _is_stuck(now: Sizes, truth: Truth) -> bool:
    """Whether the volume is to grow, and kubelet has stopped trying, or the pool has no room."""
    if now.asked <= truth.size:
        return False
    if now.resize == INFEASIBLE:
        return True
    return truth.room is not None and not fits(now, truth)


def situation(now: Sizes, truth: Truth) -> str:
    """The end of a sentence about the claim."""
    sentence = f"which asks for {human_bytes(now.asked)}; its volume has {human_bytes(truth.size)}"
    if truth.room is None:
        return sentence
    return f"{sentence}, and its pool {truth.pool} can promise {human_bytes(truth.room)} more"


def outcome(claim: Claim, now: Sizes, truth: Truth) -> str:
    """What the person is told at the end."""
    if now.resize or now.capacity < now.asked:
        return (
            f"the volume of the claim {claim.full_name} has grown to "
            f"{human_bytes(truth.size)} meanwhile, as was asked; kubelet writes "
            "that on the claim"
        )
    done = (
        f"done: the claim {claim.full_name} and its PV say "
        f"{quantity(now.capacity)}; data and pods are as they were"
    )
    most = truth.size + (truth.room or 0) // MIB * MIB
    if most <= now.capacity:
        return done
    patch = f'{{"spec": {{"resources": {{"requests": {{"storage": "{quantity(most)}"}}}}}}}}'
    return (
        f"{done}. The most that fits now: kubectl -n {claim.namespace} patch "
        f"pvc {claim.name} -p '{patch}'"
    )
