"""What is to be done with a claim or a PV, and the sentence that says why: objects in, decision
out, nothing else.

Objects are the API's JSON as dicts; sizes are integers in bytes. The rules are those of the
reference library, sig-storage-lib-external-provisioner (shouldProvision, shouldDelete), with its
holes closed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from shared import options, protocol

Object = dict[str, Any]

PROVISIONER = (
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
)
CLASS = "volume.beta.kubernetes.io/storage-class"
# On a node; also what the affinity of a PV and a capacity object name the node by.
HOSTNAME = "kubernetes.io/hostname"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
IDENTITY = "flexvol/identity"
LOST = "flexvol/lost"  # on a PV, by its node's instance: why its storage is no longer there
# on a PV made without its claim: the driver does not know that one's uid yet
AWAITS_CLAIM = "flexvol/awaits-claim"
FROM_SNAPSHOT = "flexvol/from-snapshot"  # on a claim: the snapshot that it begins with
ON_NODE_GONE = "flexvol/on-node-gone"  # on a PV, from the class's parameter
ON_NODE_GONE_PARAMETER = "onNodeGone"
RELEASE = "release"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
# The second is the name that CSI's provisioner has for it.
FS_TYPE_PARAMETERS = ("fsType", "csi.storage.k8s.io/fstype")
# The driver gets the Secret, never these.
SECRET_PARAMETERS = options.SECRET_PARAMETERS
# Parameters of a class that are for us, and not for its driver.
OWN_PARAMETERS = (*FS_TYPE_PARAMETERS, *SECRET_PARAMETERS, ON_NODE_GONE_PARAMETER)

# Why a claim that is bound at once is no node's, in its events and in what explain says.
NO_NODE_ALLOWED = "no node has the labels that allowedTopologies of its storage class asks for"
# The reference provisioner's words (kubernetes-csi/external-provisioner, pkg/controller).
POPULATOR = "Assuming an external populator will provision the volume"
WAITS_FOR_POD = "it waits for a pod that uses it to be scheduled"
# CSI's alone: the claim's owner is told so.
_SNAPSHOT = ("snapshot.storage.k8s.io", "VolumeSnapshot")

_RANKS_BY_CHANCE = 8
# A PV in one of these phases is to be reclaimed. Failed is never overwritten with Released, and the
# reclaiming goes on all the same (pv_controller.go, syncVolume: "Do not overwrite previous Failed
# state").
_RECLAIMED = ("Released", "Failed")

LATER = "later"  # not ours, or nothing to do before something changes
REJECT = "reject"  # can never succeed as it stands: say it once
PROVISION = "provision"
# No node was chosen (Immediate binding): the node with the most room writes its name on the claim.
TAKE = "take"
DELETE = "delete"
HOLD = "hold"  # put our finalizer on, so that the PV cannot go without its storage
OWN = "own"  # tell the driver whose the volume is now
POPULATE = "populate"  # somebody else's: say so once
KEEP = "keep"  # take our finalizer away, so that the PV can go while its storage stays
LET_GO = "let go"  # as KEEP, and the claim that waits gets another PV for that storage
WAIT = "wait"  # kube-controller-manager contradicts itself; look again, less and less often


@dataclass(frozen=True)
class Identity:
    """Who we are. drivers: provisioner name ("loop.flexvol") to driver name ("flexvol/loop"). name:
    compared at delete. node: ours in node mode, else empty."""

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
    # The node of a copy is its source's, also once a pod has been scheduled to another.
    follows = us.node and is_copy(claim)
    if storage_class is not None and not placed and is_late(storage_class) and not follows:
        return Decision(LATER, WAITS_FOR_POD)
    if is_populated(claim):
        return Decision(POPULATE if placed or not us.node else LATER, POPULATOR)
    wrong = problem(claim, storage_class, bool(us.node))
    if us.node and not placed:
        # What is wrong with a claim that is no node's yet is said by one: see gone_nodes.py.
        return Decision(LATER if wrong else TAKE, wrong)
    return Decision(REJECT if wrong else PROVISION, wrong)


def data_source(claim: Object) -> Object:
    """What a claim that is to be a copy names; the API server makes its two fields the same for all
    that we know."""
    source: Object = claim["spec"].get("dataSourceRef") or claim["spec"].get("dataSource") or {}
    return source


def is_populated(claim: Object) -> bool:
    """Whether a volume populator makes the claim's volume: what its dataSourceRef names is of a
    kind that we do not know. A claim that also names a snapshot of ours contradicts itself."""
    source = data_source(claim)
    group = source.get("apiGroup")  # the core group has one kind of source, which is a claim
    is_known = not group or (group, source.get("kind")) == _SNAPSHOT
    return not is_known and not annotations_of(claim).get(FROM_SNAPSHOT)


def is_copy(claim: Object) -> bool:
    source = data_source(claim) and not is_populated(claim)
    return bool(source or annotations_of(claim).get(FROM_SNAPSHOT))


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


def check_snapshot(claim: Object, listed: list[Object], us: Identity) -> None:
    """Raises a Failure unless the claim may begin with the snapshot that its annotation names.

    listed: the volumes of the claim's driver, as its `list` answers. Anyone who may create a claim
    writes the annotation, so the name is compared with what the driver lists: a snapshot, owned by
    the claim's namespace. Where two entries have the name, the driver may take either, so both must
    be allowed."""
    name = annotations_of(claim)[FROM_SNAPSHOT]
    namespace = claim["metadata"]["namespace"]
    entries = [entry for entry in listed if entry.get("name") == name]
    if entries and all(_is_snapshot_of(entry, namespace) for entry in entries):
        return
    if us.node:
        raise protocol.Unavailable(
            f"node {us.node} has no snapshot {name}; the node that has it makes it"
        )
    raise protocol.NotFound(
        f"the storage of {provisioner_of(claim)} has no snapshot {protocol.shown(name)} of "
        f"namespace {namespace}; name one that is listed for that namespace in the annotation "
        f"{FROM_SNAPSHOT} of a new claim"
    )


def _is_snapshot_of(entry: Object, namespace: str) -> bool:
    owner = entry.get("owner") or {}
    return entry.get("kind") == "snapshot" and owner.get("namespace") == namespace


def is_bound_elsewhere(claim: Object, volume_name: str) -> bool:
    """Whether the claim has, or asks for, another PV. The API lets nobody change that, so the
    volume called `volume_name` is never its own, although it was made for that claim."""
    return claim["spec"].get("volumeName") not in (None, "", volume_name)


def is_late(storage_class: Object) -> bool:
    return storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def not_wanted(claim: Object, live: Object | None, volume_name: str, us: Identity) -> str:
    """Why the volume that was made for `claim` is not to get its PV; empty if it is.

    live: the claim with that uid as it is now; None if it is gone. A claim that names another PV
    (set by a person, or by kube-controller-manager, which prefers a PV that fits to a new one)
    keeps it for ever, as the API lets nobody change spec.volumeName."""
    if live is None:
        return "its claim is gone"
    bound_to = live["spec"].get("volumeName")
    if bound_to and bound_to != volume_name:
        return f"its claim is bound to the PV {bound_to}"
    if live["metadata"].get("deletionTimestamp"):
        return "its claim is being deleted"
    node, now = (annotations_of(one).get(SELECTED_NODE, "") for one in (claim, live))
    if us.node and now != node:
        return f"its claim went to node {now}" if now else "its claim's node is chosen again"
    return ""


def problem(claim: Object, storage_class: Object | None, of_one_node: bool) -> str:
    """Why the claim can never be served as it stands; empty if it can."""
    name = class_name_of(claim)
    if BIND_COMPLETED in annotations_of(claim):
        # pv_controller.go, syncBoundClaim: such a claim is Lost, and stays it.
        return (
            f"its annotation {BIND_COMPLETED} says that it was bound before, and it names no PV, "
            "so Kubernetes counts it as Lost and binds it to none; take that annotation away. The "
            "claim then gets a new, empty volume, unless a PV for it is there before (kubectl "
            "flexvol adopt)"
        )
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


def no_room(size_bytes: int, most_bytes: int, node: str) -> str:
    """The sentence about a claim that is too large for every node. node: the one with the most."""
    return (
        f"no node has room for {-(-size_bytes >> 20)} MiB: the most is {most_bytes >> 20} MiB, on "
        f"{node}; it is made when there is room"
    )


def chance(uid: str, name: str) -> float:
    """From 0 to 1, alike for each node that asks: the order of the nodes for that claim, where
    nothing else orders them."""
    digest = hashlib.sha256(f"{uid} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / (1 << 64)


def takes_pods(node: Object) -> bool:
    """Whether pods without tolerations of their own can go to the node: it is not cordoned, and has
    no taint that keeps them away, as control-plane nodes have."""
    spec = node.get("spec") or {}
    effects = {taint.get("effect") for taint in spec.get("taints") or []}
    return not spec.get("unschedulable") and not effects & {"NoSchedule", "NoExecute"}


def rank(rooms: dict[str, int], hostname: str, size_bytes: int, uid: str) -> int | None:
    """How many nodes take the claim with that uid rather than we: those with more room. None: it is
    not for us.

    rooms: bytes by hostname; empty for a driver that lists no pools, whose nodes are ordered by
    chance, as are equals."""
    if not rooms:
        return int(chance(uid, hostname) * _RANKS_BY_CHANCE)
    fitting = [name for name in rooms if rooms[name] >= size_bytes]
    fitting.sort(key=lambda name: (-rooms[name], chance(uid, name)))
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
    wrong_source = _wrong_source(claim)
    if wrong_source:
        return wrong_source
    if spec.get("volumeAttributesClassName"):
        # The PV would need the same one to be bound, and only CSI has them.
        return "volumeAttributesClassName is not supported; leave it out of a new claim"
    if of_one_node:
        for mode in spec.get("accessModes", []):
            if mode not in ("ReadWriteOnce", "ReadWriteOncePod"):
                return (
                    f"access mode {mode} is not possible with storage of one node; use "
                    "ReadWriteOnce"
                )
    return class_problem(storage_class)


def class_problem(storage_class: Object) -> str:
    """What is wrong with the parameters of a class that are the provisioner's own, or reserved;
    empty if nothing is. What is wrong with the others its driver says."""
    name = storage_class["metadata"]["name"]
    wrong = _wrong_parameter(storage_class.get("parameters") or {}, f'storage class "{name}"')
    return f"{wrong}; {options.class_advice(name)}" if wrong else ""


def fs_type_of(parameters: dict[str, str]) -> str:
    """The file system that a class with these parameters names; "" if it leaves that to the driver.
    A class that names it twice does so alike: see class_problem."""
    named = (parameters.get(key, "") for key in FS_TYPE_PARAMETERS)
    return next(filter(None, named), "")


def _wrong_parameter(parameters: dict[str, str], of_class: str) -> str:
    on_node_gone = parameters.get(ON_NODE_GONE_PARAMETER, RELEASE)
    if on_node_gone not in ("keep", RELEASE):
        return (
            f'the parameter "{ON_NODE_GONE_PARAMETER}" of {of_class} '
            f"is {protocol.shown(on_node_gone)}; it is keep or {RELEASE}"
        )
    fs_types = [(key, parameters[key]) for key in FS_TYPE_PARAMETERS if key in parameters]
    if len({value for _, value in fs_types}) > 1:
        said = " and ".join(f"{key} {protocol.shown(value)}" for key, value in fs_types)
        return f"{of_class} has {said}, which mean the same; leave one of them out"
    for key in parameters:
        if options.is_reserved(key):
            return f'the parameter "{key}" of {of_class} is reserved; remove it'
    return ""


def _wrong_source(claim: Object) -> str:
    """Why no copy can be made of what the claim names as its source; empty if one can, if a
    populator reads it, or if the claim names none."""
    source = data_source(claim)
    if not source or is_populated(claim):
        return ""
    if annotations_of(claim).get(FROM_SNAPSHOT):
        return (
            f"it names a dataSource beside the annotation {FROM_SNAPSHOT}, and can begin with one "
            "of them only; make a new claim without the other"
        )
    kind = source.get("kind")
    if kind != "PersistentVolumeClaim" or source.get("apiGroup"):
        return (
            f"its dataSource must be a claim of its own namespace; {kind} is CSI's alone: "
            "snapshots of `kubectl flexvol snapshot` are named in the annotation "
            f"{FROM_SNAPSHOT} of a new claim"
        )
    namespace, own = source.get("namespace"), claim["metadata"]["namespace"]
    if namespace not in (None, own):
        return (
            f"its dataSource must be a claim of its own namespace, {own}, and is one of namespace "
            f"{protocol.shown(str(namespace))}; make the copy in that namespace"
        )
    return ""


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
    """What to do with a PV that is ours, as far as the PV alone tells. DELETE and LET_GO depend on
    its claim too; see with_claim."""
    metadata, spec = volume["metadata"], volume["spec"]
    held = FINALIZER in (metadata.get("finalizers") or [])
    deleted = bool(metadata.get("deletionTimestamp"))
    if not is_ours(volume, us):
        return Decision(LATER, "it is not ours")
    phase = volume.get("status", {}).get("phase")
    has_come = bool((spec.get("claimRef") or {}).get("uid")) and phase in ("Bound", *_RECLAIMED)
    if has_come and annotations_of(volume).get(AWAITS_CLAIM):
        return Decision(OWN, "the claim it awaited has come")
    if spec.get("persistentVolumeReclaimPolicy") != "Delete":
        return Decision(KEEP, "its reclaim policy keeps the storage") if held else Decision(LATER)
    if deleted and not held:
        return Decision(LATER, "it is being deleted")
    if phase == "Bound" and not held:
        return Decision(HOLD, "its reclaim policy became Delete")
    if phase in _RECLAIMED:
        return Decision(DELETE)
    if deleted and phase != "Bound":
        return Decision(LET_GO, "it was deleted before it was bound")
    return Decision(LATER, "it is in use")


def with_claim(decision: Decision, volume: Object, claim: Object | None) -> Decision:
    """What becomes of DELETE and LET_GO when the PV's claim is looked at; any other decision stays.

    claim: the one with the uid in the PV's claimRef, read live; None if it is gone, or there is no
    uid. The rows are what kube-controller-manager does with the two
    (pkg/controller/volume/persistentvolume/pv_controller.go of 1.37, syncVolume and
    isVolumeReleased): it never looks at a PV without a claim's uid as released; a PV whose claim is
    bound elsewhere is as released as one whose claim is gone."""
    if decision.action == DELETE:
        return _with_claim_of_released(decision, volume, claim)
    if decision.action == LET_GO:
        return _with_claim_of_deleted(decision, volume, claim)
    return decision


def _with_claim_of_released(decision: Decision, volume: Object, claim: Object | None) -> Decision:
    name, owner = volume["metadata"]["name"], volume["spec"].get("claimRef") or {}
    if not owner.get("uid"):
        return Decision(LATER, "it names no claim any more, so it becomes Available")
    if claim is None:
        return decision
    bound_to = claim["spec"].get("volumeName")
    whose = f"the claim {owner.get('namespace')}/{owner.get('name')}"
    if bound_to and bound_to != name:
        return Decision(DELETE, f"{whose}, for which it was made, is bound to the PV {bound_to}")
    state = "is bound to it" if bound_to else "is not bound to another PV"
    return Decision(
        WAIT,
        f"the PV's phase is {volume['status']['phase']}, but {whose} is there and {state}; it is "
        "deleted when that claim is gone. If it stays so, see what kube-controller-manager logs",
    )


def _with_claim_of_deleted(decision: Decision, volume: Object, claim: Object | None) -> Decision:
    """Of a PV that somebody deletes and that is not bound. kube-controller-manager takes its own
    finalizer away (pv_protection_controller.go, isBeingUsed) and binds no such PV to a claim that
    names none (FindMatchingVolume): with our finalizer both would wait for ever."""
    if not (volume["spec"].get("claimRef") or {}).get("uid"):
        return Decision(KEEP, "it has no claim, so deleting it leaves the storage")
    if claim is not None and not claim["spec"].get("volumeName"):
        return decision
    return Decision(LATER, "kube-controller-manager is to say whether it is bound or released")
