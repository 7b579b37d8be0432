"""A volume that is to grow, or that did not grow as it should."""

from __future__ import annotations

from cluster.controller.objects import ApiObject, Claim, Object, Volume
from cluster.kubectl.cancel_expansion.sizes import sizes, truth_of
from cluster.kubectl.cancel_expansion.verdicts import advice
from cluster.kubectl.explain.findings import Finding, note, problem
from cluster.kubectl.explain.view import View, is_of_growth
from shared.table import human_bytes

# A file system that lacks less than this has grown: no file system fills its image to the last
# byte, and ext4 leaves out a last block group that would be too small.
_ROUNDED_BYTES = 16 << 20
_FAILED_CONDITIONS = ("ControllerResizeError", "NodeResizeError")


def on_growth(
    claim: Claim,
    volume: Volume,
    entry: Object,
    pools: list[Object],
) -> list[Finding]:
    """Of a claim that asks for more than its volume has. entry, pools: as the volume's node lists
    them."""
    expansion = advice(claim, volume, entry, pools)
    if expansion:
        return [problem(expansion)]
    truth = truth_of(entry, pools)
    asked = sizes(claim, volume).asked
    if truth is None or asked <= truth.size:
        return []
    return [
        note(
            f"it is to grow from {human_bytes(truth.size)} to "
            f"{human_bytes(asked)}: kubelet does that within minutes while a "
            "pod runs, or when the next pod starts"
        )
    ]


def on_failed_growth(view: View, things: list[ApiObject]) -> list[Finding]:
    """Kubelet's last words on a growth that it tries again and again. things: the claim and its
    pods; kubelet writes its events on either."""
    warnings = [view.last_warning(thing, is_of_growth) for thing in things]
    return [problem(f"last warning: {warning}") for warning in warnings if warning]


def on_file_system_size(entry: Object, in_use: bool) -> list[Finding]:
    """Of a volume whose file system is smaller than the volume, because its growth did not come to
    an end. A mounted xfs writes its new size to the disk a minute later."""
    has = entry.get("fileSystemBytes")
    asked = entry.get("sizeBytes")
    if not isinstance(has, int) or not isinstance(asked, int) or not has:
        return []
    if has >= asked - _ROUNDED_BYTES:
        return []
    if in_use and entry.get("fsType") == "xfs":
        return []
    return [
        note(
            f"its file system has {human_bytes(has)}, {human_bytes(asked)} "
            "asked; it grows when its next pod starts, and the pod's events "
            "say why it did not"
        )
    ]


def on_conditions(claim: Claim) -> list[Finding]:
    """What Kubernetes says of the claim, such as that it is being grown. The condition Unused is
    left out: whether pods use the claim is told already."""
    findings = []
    for condition in claim.conditions:
        kind = condition["type"]
        message = condition.get("message")
        if condition["status"] == "True" and kind != "Unused" and message:
            findings.append(Finding(f"{kind}: {message}", kind in _FAILED_CONDITIONS))
    return findings
