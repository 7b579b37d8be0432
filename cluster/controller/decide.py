"""What is to be done with a claim or a PV, and the sentence that says why: objects in, decision
out, nothing else.

The rules are those of the reference library, sig-storage-lib-external-provisioner (shouldProvision,
shouldDelete), with its holes closed. Sizes are integers in bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.controller import class_parameters, objects, quantities, sources
from cluster.controller.identity import Identity, is_ours
from cluster.controller.objects import Claim, Object, StorageClass, Volume

# Why no node can take a claim that is bound at once, in its events and in what explain says.
NO_NODE_ALLOWED = "no node has the labels that allowedTopologies of its storage class asks for"
# The reference provisioner's words (kubernetes-csi/external-provisioner, pkg/controller).
POPULATOR = "Assuming an external populator will provision the volume"
WAITS_FOR_POD = "it waits for a pod that uses it to be scheduled"

_RANKS_BY_CHANCE = 8
_CHANCE_BYTES = 8
_OF_ONE_NODE = ("ReadWriteOnce", "ReadWriteOncePod")
# A PV in one of these phases is to be reclaimed. Failed is never overwritten with Released, and the
# reclaiming goes on all the same (pv_controller.go, syncVolume: "Do not overwrite previous Failed
# state").
_RECLAIMED = ("Released", "Failed")

# What is done with a claim or a PV.
LATER = "later"  # another's to serve, or nothing to do before something changes
REJECT = "reject"  # the claim can never succeed as it stands: say so once
PROVISION = "provision"
# No node was chosen (Immediate binding): the node with the most room writes its name on the claim.
TAKE = "take"
POPULATE = "populate"  # a volume populator makes the volume: say so once
DELETE = "delete"
ADOPT = "adopt"  # tell the driver which claim the volume belongs to now
ADD_FINALIZER = "add finalizer"  # so that the PV cannot go without its storage
DROP_FINALIZER = "drop finalizer"  # so that the PV can go while its storage stays
LET_GO = "let go"  # drop the finalizer; the claim that waits gets another PV for that storage
WAIT = "wait"  # kube-controller-manager contradicts itself; look again, less and less often


@dataclass(frozen=True)
class Decision:
    """action: one of the words above. sentence: why; "" where the action says all."""

    action: str
    sentence: str = ""


def is_for(claim: Claim, identity: Identity) -> bool:
    """Whether the claim is worth keeping in memory: unbound, and ours to serve, or to take."""
    if claim.volume_name or claim.provisioner not in identity.drivers:
        return False
    return not identity.node or claim.selected_node in ("", identity.node)


def is_copy_of_others(claim: Claim, identity: Identity) -> bool:
    """Whether another provisioner of the nodes may have to make the claim as a copy, and the
    scheduler chose this node for the claim, or that provisioner gave its node back."""
    if claim.volume_name or not claim.is_copy or sources.problem(claim) or not identity.node:
        return False
    if claim.provisioner in ("", *identity.drivers):
        return False
    return claim.selected_node in ("", identity.node)


def on_claim(
    claim: Claim,
    storage_class: StorageClass | None,
    identity: Identity,
) -> Decision:
    """What to do with a claim that waits for an instance.

    storage_class: the one that the claim names; None if that does not exist."""
    if not is_for(claim, identity):
        return Decision(LATER, "it is bound, or another provisioner's or node's to serve")
    if claim.is_being_deleted:
        return Decision(LATER, "it is being deleted")
    if _waits_for_pod(claim, storage_class, identity):
        return Decision(LATER, WAITS_FOR_POD)
    if claim.is_populated:
        return _on_populated_claim(claim, identity)
    wrong = problem(claim, storage_class, of_one_node=bool(identity.node))
    if identity.node and not claim.selected_node:
        return _on_claim_of_no_node(wrong)
    if wrong:
        return Decision(REJECT, wrong)
    return Decision(PROVISION)


def _waits_for_pod(
    claim: Claim,
    storage_class: StorageClass | None,
    identity: Identity,
) -> bool:
    if storage_class is None or not storage_class.is_late or claim.selected_node:
        return False
    # The node of a copy is its source's, also once a pod has been scheduled to another.
    return not (identity.node and claim.is_copy)


def _on_populated_claim(claim: Claim, identity: Identity) -> Decision:
    """In node mode the node that was chosen says so; before, cluster_duties.py does."""
    if identity.node and not claim.selected_node:
        return Decision(LATER, POPULATOR)
    return Decision(POPULATE, POPULATOR)


def _on_claim_of_no_node(wrong: str) -> Decision:
    """What is wrong with a claim that is no node's yet is said once for all nodes, by
    cluster_duties.py."""
    if wrong:
        return Decision(LATER, wrong)
    return Decision(TAKE)


def is_bound_elsewhere(claim: Claim, volume_name: str) -> bool:
    """Whether the claim has, or asks for, another PV than the one called `volume_name`. The API
    lets nobody change that, so that PV is never the claim's, although it was made for it."""
    return claim.volume_name not in ("", volume_name)


def why_not_wanted(
    claim: Claim,
    live: Claim | None,
    volume_name: str,
    identity: Identity,
) -> str:
    """Why the volume that was made for a claim is not to get its PV; "" if it is.

    live: the claim with that uid as it is now; None if it is gone. A claim that names another PV
    (set by a person, or by kube-controller-manager, which prefers a PV that fits to a new one)
    keeps it for ever, as the API lets nobody change spec.volumeName."""
    if live is None:
        return "its claim is gone"
    if is_bound_elsewhere(live, volume_name):
        return f"its claim is bound to the PV {live.volume_name}"
    if live.is_being_deleted:
        return "its claim is being deleted"
    if not identity.node or live.selected_node == claim.selected_node:
        return ""
    if live.selected_node:
        return f"its claim went to node {live.selected_node}"
    return "its claim's node is chosen again"


def problem(
    claim: Claim,
    storage_class: StorageClass | None,
    of_one_node: bool,
) -> str:
    """Why the claim can never be served as it stands; "" if it can.

    of_one_node: whether the storage would be on one node, and not reachable from everywhere."""
    if objects.BIND_COMPLETED in claim.annotations:
        # pv_controller.go, syncBoundClaim: such a claim is Lost, and stays it.
        return (
            f"its annotation {objects.BIND_COMPLETED} says that the "
            "claim was bound before, and the claim names no PV, so "
            "Kubernetes counts it as Lost and binds no PV to it; "
            "take that annotation away. The claim then gets a new, "
            "empty volume, unless a PV for the claim is there before "
            "(kubectl flexvol adopt)"
        )
    wrong = _wrong_class(claim, storage_class)
    if wrong or storage_class is None:
        return wrong
    wrong = _unsupported(claim)
    if not wrong and of_one_node:
        wrong = _wrong_access_mode(claim)
    return wrong or class_parameters.class_problem(storage_class)


def _wrong_class(claim: Claim, storage_class: StorageClass | None) -> str:
    name = claim.class_name
    if storage_class is None and not name:
        return "the claim names no storage class; name one in a new claim"
    if storage_class is None:
        return (
            f'its storage class "{name}" does not exist; create it, or name another in a new claim'
        )
    if storage_class.provisioner != claim.provisioner:
        return (
            f'its storage class "{name}" is of provisioner {storage_class.provisioner} now, but '
            f"the claim was given to {claim.provisioner}; delete the claim and create it again"
        )
    return ""


def _unsupported(claim: Claim) -> str:
    if claim.is_of_blocks:
        return "volumeMode Block is not possible with FlexVolume; use Filesystem"
    if claim.has_selector:
        return (
            "the claim has a selector, which only chooses among PVs "
            "that exist; leave spec.selector out of a new claim, or "
            "name the PV in spec.volumeName"
        )
    wrong_source = sources.problem(claim)
    if wrong_source:
        return wrong_source
    if claim.attributes_class_name:
        # The PV would need the same one to be bound, and only CSI has them.
        return "volumeAttributesClassName is not supported; leave it out of a new claim"
    return ""


def _wrong_access_mode(claim: Claim) -> str:
    for mode in claim.access_modes:
        if mode not in _OF_ONE_NODE:
            return f"access mode {mode} is not possible with storage of one node; use ReadWriteOnce"
    return ""


def is_allowed(storage_class: StorageClass, labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels is in the class's allowedTopologies."""
    terms = storage_class.allowed_topologies
    if not terms:
        return True
    return any(_is_fulfilled(term, labels) for term in terms)


def _is_fulfilled(term: Object, labels: Mapping[str, str]) -> bool:
    parts = term.get("matchLabelExpressions") or []
    return all(labels.get(part["key"]) in part["values"] for part in parts)


def no_room(size_bytes: int, most_bytes: int, node: str) -> str:
    """The sentence about a claim that is too large for every node. node: the one with the most."""
    size_mib = quantities.round_up(size_bytes, quantities.MIB)
    most_mib = most_bytes // quantities.MIB
    return (
        f"no node has room for {size_mib} MiB: the most is "
        f"{most_mib} MiB, on {node}; it is made when there is room"
    )


def chance(uid: str, name: str) -> float:
    """The order of the nodes for a claim, where nothing else orders them.

    uid: the claim's. name: the node's. Returned is a number from 0 to 1, the same one for each node
    that asks."""
    digest = hashlib.sha256(f"{uid} {name}".encode()).digest()
    return int.from_bytes(digest[:_CHANCE_BYTES], "big") / (1 << 8 * _CHANCE_BYTES)


def rank(
    rooms: dict[str, int],
    hostname: str,
    size_bytes: int,
    uid: str,
) -> int | None:
    """How many nodes take the claim with that uid rather than the node `hostname`: those with more
    room. None: the claim is not for that node.

    rooms: bytes by hostname; empty for a driver that lists no pools, whose nodes are ordered by
    chance, as are equals."""
    if not rooms:
        return int(chance(uid, hostname) * _RANKS_BY_CHANCE)
    fitting = [name for name in rooms if rooms[name] >= size_bytes]
    fitting.sort(key=lambda name: (-rooms[name], chance(uid, name)))
    if hostname not in fitting:
        return None
    return fitting.index(hostname)


def on_volume(volume: Volume, identity: Identity) -> Decision:
    """What to do with a PV, as far as the PV alone tells. DELETE and LET_GO depend on its claim
    too; see with_claim."""
    if not is_ours(volume, identity):
        return Decision(LATER, "it is not ours")
    if volume.awaits_claim and _claim_has_come(volume):
        return Decision(ADOPT, "the claim it awaited has come")
    if volume.reclaim_policy != "Delete":
        return _on_retained_volume(volume)
    return _on_deletable_volume(volume)


def _claim_has_come(volume: Volume) -> bool:
    return bool(volume.claim.uid) and volume.phase in ("Bound", *_RECLAIMED)


def _on_retained_volume(volume: Volume) -> Decision:
    if not volume.is_held:
        return Decision(LATER)
    return Decision(DROP_FINALIZER, "its reclaim policy keeps the storage")


def _on_deletable_volume(volume: Volume) -> Decision:
    """Of a PV whose reclaim policy is Delete."""
    if volume.is_being_deleted and not volume.is_held:
        return Decision(LATER, "it is being deleted")
    if volume.is_bound and not volume.is_held:
        return Decision(ADD_FINALIZER, "its reclaim policy became Delete")
    if volume.phase in _RECLAIMED:
        return Decision(DELETE)
    if volume.is_being_deleted and not volume.is_bound:
        return Decision(LET_GO, "it was deleted before it was bound")
    return Decision(LATER, "it is in use")


def with_claim(
    decision: Decision,
    volume: Volume,
    claim: Claim | None,
) -> Decision:
    """What becomes of DELETE and LET_GO when the PV's claim is looked at; any other decision stays.

    The rows are what kube-controller-manager does with the two
    (pkg/controller/volume/persistentvolume/pv_controller.go of 1.37, syncVolume and
    isVolumeReleased): a PV without a claim's uid never counts as released; a PV whose claim is
    bound elsewhere is as released as one whose claim is gone.

    claim: the one with the uid in the PV's claimRef, read live; None if it is gone, or there is no
        uid."""
    if decision.action == DELETE:
        return _with_claim_of_released(decision, volume, claim)
    if decision.action == LET_GO:
        return _with_claim_of_deleted(decision, volume, claim)
    return decision


def _with_claim_of_released(
    decision: Decision,
    volume: Volume,
    claim: Claim | None,
) -> Decision:
    if not volume.claim.uid:
        return Decision(LATER, "it names no claim any more, so it becomes Available")
    if claim is None:
        return decision
    name = f"the claim {volume.claim.full_name}"
    if is_bound_elsewhere(claim, volume.name):
        return Decision(
            DELETE, f"{name}, for which it was made, is bound to the PV {claim.volume_name}"
        )
    state = "is bound to it" if claim.volume_name else "is not bound to another PV"
    return Decision(
        WAIT,
        f"the PV's phase is {volume.phase}, but {name} is there and "
        f"{state}; it is deleted when that claim is gone. If it "
        "stays so, see what kube-controller-manager logs",
    )


def _with_claim_of_deleted(
    decision: Decision,
    volume: Volume,
    claim: Claim | None,
) -> Decision:
    """Of a PV that somebody deletes and that is not bound. kube-controller-manager takes its own
    finalizer away (pv_protection_controller.go, isBeingUsed) and binds no such PV to a claim that
    names none (FindMatchingVolume): with our finalizer both would wait for ever."""
    if not volume.claim.uid:
        return Decision(DROP_FINALIZER, "it has no claim, so deleting it leaves the storage")
    if claim is not None and not claim.volume_name:
        return decision
    return Decision(LATER, "kube-controller-manager is to say whether it is bound or released")
