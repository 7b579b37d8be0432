"""What becomes of a volume and its data when its claim is deleted."""

from __future__ import annotations

from cluster.controller import decide
from cluster.controller.objects import Claim, Object, Volume
from cluster.kubectl.explain.findings import Finding, note

_HOUR_SECONDS = 3600


def on_deletion(
    decision: decide.Decision,
    volume: Volume,
    entry: Object,
    is_used: bool,
) -> Finding:
    """What deleting the claim does to the volume and its data.

    decision: on the PV, as if its claim were gone.
    entry: the volume as its driver lists it; empty if that is not known, with an error if the
    volume's record cannot be read.
    is_used: whether a pod uses the claim."""
    if decision.action != decide.DELETE:
        policy = volume.spec.get("persistentVolumeReclaimPolicy")
        why = f" ({decision.sentence})" if decision.sentence else ""
        return note(
            "deleting the claim leaves the volume and its PV, whose reclaim "
            f"policy is {policy}{why}"
        )
    when = ", when no pod uses it" if is_used else ""
    if not entry or entry.get("error"):
        return note(
            f"deleting the claim deletes the volume and its data{when}; or "
            "archives it, if its class said onDelete: archive when it was "
            "made, which only its node knows"
        )
    if entry.get("onDelete") != "archive":
        return note(f"deleting the claim deletes the volume and its data{when}")
    if entry.get("blank") is True:
        return note(
            f"deleting the claim deletes the volume{when}, which was never "
            "mounted; once it was mounted, it would be archived"
        )
    return note(f"deleting the claim archives the volume{when}: its data is kept {_until(entry)}")


def _until(entry: Object) -> str:
    seconds = entry.get("archiveSeconds")
    hours = seconds // _HOUR_SECONDS if isinstance(seconds, int) else 0
    if hours:
        return f"for {hours} hours in which its node is up"
    return "until somebody deletes it"


def on_owner(claim: Claim) -> list[Finding]:
    """That the claim goes with its pod, if it was made for an ephemeral volume."""
    for owner in claim.owner_references:
        if owner.get("kind") == "Pod":
            sentence = (
                "it was made for the ephemeral volume of pod "
                f"{owner.get('name')}, and is deleted with that pod"
            )
            return [note(sentence)]
    return []
