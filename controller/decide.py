"""What is to be done with a claim or a PV, and the sentence that says why: objects in, decision out, nothing else.

Objects are the API's JSON as dicts; sizes are integers in bytes. The rules are those of the reference library,
sig-storage-lib-external-provisioner (shouldProvision, shouldDelete), with its holes closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import protocol

Object = dict[str, Any]

PROVISIONER = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
CLASS = "volume.beta.kubernetes.io/storage-class"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
IDENTITY = "flexvol/identity"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
FS_TYPE_PARAMETERS = ("fsType", "csi.storage.k8s.io/fstype")
SECRET_PARAMETERS = ("secretName", "secretNamespace", "createSecret")  # the driver gets the Secret, never these

LATER = "later"  # not ours, or nothing to do before something changes
REJECT = "reject"  # can never succeed as it stands: say it once
PROVISION = "provision"
DELETE = "delete"
HOLD = "hold"  # put our finalizer on, so that the PV cannot go without its storage
KEEP = "keep"  # take our finalizer away, so that the PV can go while its storage stays


@dataclass(frozen=True)
class Identity:
    """Who we are. drivers: provisioner name ("loop.flexvol") to driver name ("flexvol/loop"). name: compared at delete.
    node: ours in node mode, else empty."""

    drivers: dict[str, str]
    name: str
    node: str


@dataclass(frozen=True)
class Decision:
    action: str
    sentence: str = ""


def annotations_of(thing: Object) -> dict[str, str]:
    return thing["metadata"].get("annotations") or {}


def provisioner_of(claim: Object) -> str:
    """The provisioner that kube-controller-manager wrote on the claim; for late binding only once a node is chosen."""
    notes = annotations_of(claim)
    return notes.get(PROVISIONER[0]) or notes.get(PROVISIONER[1], "")


def class_name_of(claim: Object) -> str:
    return annotations_of(claim).get(CLASS) or claim["spec"].get("storageClassName") or ""


def waits_for_us(claim: Object, us: Identity) -> bool:
    """Whether the claim is worth keeping in memory: unbound, and ours to serve."""
    if claim["spec"].get("volumeName") or provisioner_of(claim) not in us.drivers:
        return False
    return not us.node or annotations_of(claim).get(SELECTED_NODE) == us.node


def on_claim(claim: Object, storage_class: Object | None, us: Identity) -> Decision:
    """What to do with a claim that waits for us; `storage_class` is the one it names, if that exists."""
    if not waits_for_us(claim, us):
        return Decision(LATER, "it is bound, or another provisioner's or node's to serve")
    if claim["metadata"].get("deletionTimestamp"):
        return Decision(LATER, "it is being deleted")
    name = class_name_of(claim)
    if storage_class is None:
        return Decision(REJECT, f'its storage class "{name}" does not exist; create it, or name another in a new claim')
    if storage_class["provisioner"] != provisioner_of(claim):
        return Decision(
            REJECT,
            f'its storage class "{name}" is of provisioner {storage_class["provisioner"]} now, '
            f"but the claim was given to {provisioner_of(claim)}; delete the claim and create it again",
        )
    late = storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
    if late and not annotations_of(claim).get(SELECTED_NODE):
        return Decision(LATER, "it waits for a pod that uses it to be scheduled")
    unsupported = _unsupported(claim, storage_class, us)
    return Decision(REJECT, unsupported) if unsupported else Decision(PROVISION)


def _unsupported(claim: Object, storage_class: Object, us: Identity) -> str:
    spec = claim["spec"]
    if spec.get("volumeMode") == "Block":
        return "volumeMode Block is not possible with FlexVolume; use Filesystem"
    if any((spec.get("selector") or {}).values()):
        return "a selector cannot choose what is made anew; remove spec.selector, or name the PV in spec.volumeName"
    if spec.get("dataSource") or spec.get("dataSourceRef"):
        return "dataSource is not supported; create the claim empty"
    if spec.get("volumeAttributesClassName"):  # the PV would need the same one to be bound, and only CSI has them
        return "volumeAttributesClassName is not supported; leave it out of a new claim"
    if us.node:
        for mode in spec.get("accessModes", []):
            if mode not in ("ReadWriteOnce", "ReadWriteOncePod"):
                return f"access mode {mode} is not possible with storage of one node; use ReadWriteOnce"
    for key in storage_class.get("parameters") or {}:
        if protocol.is_reserved(key):
            return (
                f'the parameter "{key}" of storage class "{storage_class["metadata"]["name"]}" is reserved; remove it'
            )
    return ""


def is_ours(volume: Object, us: Identity) -> bool:
    """Whether a PV was made by this very instance; only the node that has the storage can delete it."""
    notes = annotations_of(volume)
    driver = us.drivers.get(notes.get(PROVISIONED_BY, ""))
    source = volume["spec"].get("flexVolume") or {}
    return driver is not None and notes.get(IDENTITY) == us.name and source.get("driver") == driver


def on_volume(volume: Object, us: Identity) -> Decision:
    """What to do with a PV that is ours."""
    metadata, spec = volume["metadata"], volume["spec"]
    held = FINALIZER in (metadata.get("finalizers") or [])
    if not is_ours(volume, us):
        return Decision(LATER, "it is not ours")
    if spec.get("persistentVolumeReclaimPolicy") != "Delete":
        return Decision(KEEP, "its reclaim policy keeps the storage") if held else Decision(LATER)
    if metadata.get("deletionTimestamp") and not held:
        return Decision(LATER, "it is being deleted")
    phase = volume.get("status", {}).get("phase")
    if phase == "Bound" and not held:
        return Decision(HOLD, "its reclaim policy became Delete")
    if phase != "Released":
        return Decision(LATER, "it is in use")
    return Decision(DELETE)


@dataclass(frozen=True)
class Retry:
    """How to go on after a failure. kind: "backoff", "slow", "soon" or "reschedule" (give the node back, so that the
    scheduler chooses again). warn: whether it is worth an event. unknown: storage may have been made."""

    kind: str
    warn: bool = True
    unknown: bool = False


def after(failure: protocol.Failure, selected_node: str) -> Retry:
    """The reference library's table of outcomes, in the driver's own words."""
    if isinstance(failure, (protocol.InvalidArgument, protocol.NotSupported)):
        return Retry("slow")
    if isinstance(failure, (protocol.ResourceExhausted, protocol.Unavailable)):
        return Retry("reschedule" if selected_node else "backoff")
    if isinstance(failure, protocol.Pending):
        return Retry("soon", warn=False, unknown=True)
    return Retry("backoff", unknown=not isinstance(failure, (protocol.Busy, protocol.NotFound)))
