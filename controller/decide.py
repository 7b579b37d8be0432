"""What is to be done with a claim or a PV, and the sentence that says why: objects in, decision
out, nothing else.

Objects are the API's JSON as dicts; sizes are integers in bytes. The rules are those of the
reference library, sig-storage-lib-external-provisioner (shouldProvision, shouldDelete), with its
holes closed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import protocol

Object = dict[str, Any]

PROVISIONER = (
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
)
CLASS = "volume.beta.kubernetes.io/storage-class"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
IDENTITY = "flexvol/identity"
LOST = "flexvol/lost"  # on a PV, by its node's instance: why its storage is no longer there
# on a PV made without its claim: the driver does not know that one's uid yet
AWAITS_CLAIM = "flexvol/awaits-claim"
FROM_SNAPSHOT = "flexvol/from-snapshot"  # on a claim: the snapshot that it begins with
ON_NODE_GONE = "flexvol/on-node-gone"  # on a PV, from the class's parameter
ON_NODE_GONE_PARAMETER = "onNodeGone"
RELEASE = "release"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
FS_TYPE_PARAMETERS = ("fsType", "csi.storage.k8s.io/fstype")
SECRET_PARAMETERS = (
    "secretName",
    "secretNamespace",
    "createSecret",
)  # the driver gets the Secret, never these

_RANKS_BY_CHANCE = 8

LATER = "later"  # not ours, or nothing to do before something changes
REJECT = "reject"  # can never succeed as it stands: say it once
PROVISION = "provision"
TAKE = "take"  # bound at once, and no node's yet: it goes to the node with the most room
DELETE = "delete"
HOLD = "hold"  # put our finalizer on, so that the PV cannot go without its storage
OWN = "own"  # tell the driver whose the volume is now
KEEP = "keep"  # take our finalizer away, so that the PV can go while its storage stays


@dataclass(frozen=True)
class Identity:
    """Who we are. drivers: provisioner name ("loop.flexvol") to driver name ("flexvol/loop"). name:
    compared at delete.
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
    """The provisioner that kube-controller-manager wrote on the claim; for late binding only once a
    node is chosen."""
    notes = annotations_of(claim)
    return notes.get(PROVISIONER[0]) or notes.get(PROVISIONER[1], "")


def class_name_of(claim: Object) -> str:
    return annotations_of(claim).get(CLASS) or claim["spec"].get("storageClassName") or ""


def waits_for_us(claim: Object, us: Identity) -> bool:
    """Whether the claim is worth keeping in memory: unbound, and ours to serve, or to take."""
    if claim["spec"].get("volumeName") or provisioner_of(claim) not in us.drivers:
        return False
    return not us.node or annotations_of(claim).get(SELECTED_NODE, "") in ("", us.node)


def on_claim(claim: Object, storage_class: Object | None, us: Identity) -> Decision:
    """What to do with a claim that waits for us; `storage_class` is the one it names, if that
    exists."""
    if not waits_for_us(claim, us):
        return Decision(LATER, "it is bound, or another provisioner's or node's to serve")
    if claim["metadata"].get("deletionTimestamp"):
        return Decision(LATER, "it is being deleted")
    placed = bool(annotations_of(claim).get(SELECTED_NODE))
    follows = us.node and is_copy(
        claim
    )  # its node is its source's, once a pod has been scheduled to another
    if storage_class is not None and not placed and is_late(storage_class) and not follows:
        return Decision(LATER, "it waits for a pod that uses it to be scheduled")
    wrong = problem(claim, storage_class, bool(us.node))
    if (
        us.node and not placed
    ):  # what is wrong with a claim that is no node's yet is said by one: see gone_nodes.py
        return Decision(LATER if wrong else TAKE, wrong)
    return Decision(REJECT if wrong else PROVISION, wrong)


def data_source(claim: Object) -> Object:
    """What a claim that is to be a copy names; the API server makes its two fields the same for all
    that we know."""
    source: Object = claim["spec"].get("dataSourceRef") or claim["spec"].get("dataSource") or {}
    return source


def is_copy(claim: Object) -> bool:
    return bool(data_source(claim) or annotations_of(claim).get(FROM_SNAPSHOT))


def check_source(claim: Object, source: Object | None, volume: Object | None, us: Identity) -> None:
    """Raises a Failure unless the claim can be a copy of the claim `source`, bound to the PV
    `volume`, here and now."""
    name = f"the claim {data_source(claim)['name']}, which it is to be a copy of,"
    if source is None or volume is None or source.get("status", {}).get("phase") != "Bound":
        raise protocol.NotFound(f"{name} is not there, or not bound")
    if class_name_of(source) != class_name_of(claim):
        raise protocol.InvalidArgument(
            f'{name} is of storage class "{class_name_of(source)}"; a copy is of the same'
        )
    driver, by = us.drivers.get(provisioner_of(claim)), annotations_of(volume).get(PROVISIONED_BY)
    same = (volume["spec"].get("claimRef") or {}).get("uid") == source["metadata"]["uid"]
    if (
        not same
        or by != provisioner_of(claim)
        or (volume["spec"].get("flexVolume") or {}).get("driver") != driver
    ):
        raise protocol.InvalidArgument(
            f"{name} has a PV that is not its own, or not of this provisioner"
        )
    node = node_of(volume, us.drivers)
    if us.node and node != us.node:
        raise protocol.Unavailable(
            f"{name} is on node {node}, so it is made there, and its pods run there"
        )


def is_late(storage_class: Object) -> bool:
    return storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def problem(claim: Object, storage_class: Object | None, of_one_node: bool) -> str:
    """Why the claim can never be served as it stands; empty if it can."""
    name = class_name_of(claim)
    if storage_class is None and not name:
        return "the claim names no storage class; name one in a new claim"
    if storage_class is None:
        return (
            f'its storage class "{name}" does not exist; create it, or name another in a new claim'
        )
    if storage_class["provisioner"] != provisioner_of(claim):
        return (
            f'its storage class "{name}" is of provisioner {storage_class["provisioner"]} now, '
            f"but the claim was given to {provisioner_of(claim)}; delete the claim and create "
            "it again"
        )
    return _unsupported(claim, storage_class, of_one_node)


def is_allowed(storage_class: Object, labels: dict[str, str]) -> bool:
    """Whether a node with these labels is in the class's allowedTopologies. One term must hold, in
    all its parts."""
    terms = storage_class.get("allowedTopologies") or []
    return not terms or any(
        all(
            labels.get(part["key"]) in part["values"]
            for part in term.get("matchLabelExpressions") or []
        )
        for term in terms
    )


def rank(rooms: dict[str, int], hostname: str, size_bytes: int, uid: str) -> int | None:
    """How many nodes take the claim with that uid rather than we: those with more room. None: it is
    not for us.

    rooms: bytes by hostname; empty for a driver that lists no pools, whose nodes are ordered by
    chance, as are equals."""

    def chance(name: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{uid} {name}".encode()).digest()[:8], "big")

    if not rooms:
        return chance(hostname) % _RANKS_BY_CHANCE
    fitting = [name for name in rooms if rooms[name] >= size_bytes]
    fitting.sort(key=lambda name: (-rooms[name], chance(name)))
    return fitting.index(hostname) if hostname in fitting else None


def _unsupported(claim: Object, storage_class: Object, of_one_node: bool) -> str:
    spec = claim["spec"]
    if spec.get("volumeMode") == "Block":
        return "volumeMode Block is not possible with FlexVolume; use Filesystem"
    if any((spec.get("selector") or {}).values()):
        return (
            "the claim has a selector, which only chooses among PVs that exist; leave "
            "spec.selector out of a new claim, or name the PV in spec.volumeName"
        )
    source = data_source(claim)
    if source and (
        annotations_of(claim).get(FROM_SNAPSHOT)
        or not _is_claim(source, claim["metadata"]["namespace"])
    ):
        return (
            "its dataSource must be a claim of its own namespace, without the annotation "
            f"{FROM_SNAPSHOT} beside it; "
            f"{source.get('kind')} is CSI's alone: snapshots of `provisioner snapshot` are "
            "named in that annotation"
        )
    if spec.get(
        "volumeAttributesClassName"
    ):  # the PV would need the same one to be bound, and only CSI has them
        return "volumeAttributesClassName is not supported; leave it out of a new claim"
    if of_one_node:
        for mode in spec.get("accessModes", []):
            if mode not in ("ReadWriteOnce", "ReadWriteOncePod"):
                return (
                    f"access mode {mode} is not possible with storage of one node; use "
                    "ReadWriteOnce"
                )
    parameters = storage_class.get("parameters") or {}
    if parameters.get(ON_NODE_GONE_PARAMETER, RELEASE) not in ("keep", RELEASE):
        return (
            f'the parameter "{ON_NODE_GONE_PARAMETER}" of storage class '
            f'"{storage_class["metadata"]["name"]}" '
            f"is {protocol.shown(parameters[ON_NODE_GONE_PARAMETER])}; it is keep or {RELEASE}"
        )
    for key in parameters:
        if protocol.is_reserved(key):
            return (
                f'the parameter "{key}" of storage class '
                f'"{storage_class["metadata"]["name"]}" is reserved; remove it'
            )
    return ""


def _is_claim(source: Object, namespace: str) -> bool:
    is_claim = source.get("kind") == "PersistentVolumeClaim" and not source.get("apiGroup")
    return is_claim and source.get("namespace") in (None, namespace)


def is_ours(volume: Object, us: Identity) -> bool:
    """Whether a PV was made by this very instance; only the node that has the storage can delete
    it."""
    notes = annotations_of(volume)
    driver = us.drivers.get(notes.get(PROVISIONED_BY, ""))
    source = volume["spec"].get("flexVolume") or {}
    return driver is not None and notes.get(IDENTITY) == us.name and source.get("driver") == driver


def node_of(volume: Object, drivers: dict[str, str]) -> str:
    """The node that has the storage of a PV of ours; empty if it is not ours, or reachable from
    everywhere."""
    notes = annotations_of(volume)
    driver = drivers.get(notes.get(PROVISIONED_BY, ""))
    source = volume["spec"].get("flexVolume") or {}
    ours = (
        driver is not None and source.get("driver") == driver and volume["spec"].get("nodeAffinity")
    )
    return notes.get(IDENTITY, "") if ours else ""


def on_volume(volume: Object, us: Identity) -> Decision:
    """What to do with a PV that is ours."""
    metadata, spec = volume["metadata"], volume["spec"]
    held = FINALIZER in (metadata.get("finalizers") or [])
    if not is_ours(volume, us):
        return Decision(LATER, "it is not ours")
    phase = volume.get("status", {}).get("phase")
    if annotations_of(volume).get(AWAITS_CLAIM) and phase in ("Bound", "Released"):
        return Decision(OWN, "the claim it awaited has come")
    if spec.get("persistentVolumeReclaimPolicy") != "Delete":
        return Decision(KEEP, "its reclaim policy keeps the storage") if held else Decision(LATER)
    if metadata.get("deletionTimestamp") and not held:
        return Decision(LATER, "it is being deleted")
    if phase == "Bound" and not held:
        return Decision(HOLD, "its reclaim policy became Delete")
    if phase != "Released":
        return Decision(LATER, "it is in use")
    return Decision(DELETE)


@dataclass(frozen=True)
class Retry:
    """How to go on after a failure. kind: "backoff", "slow", "soon" or "reschedule" (give the node
    back, so that the scheduler chooses again). warn: whether it is worth an event. unknown: storage
    may have been made."""

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
    return Retry(
        "backoff", unknown=not isinstance(failure, protocol.NotFound)
    )  # Busy: it may be at work, still
