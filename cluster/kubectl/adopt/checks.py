"""Why a volume is left alone: wherever two volumes, two PVs or two claims could be meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cluster.controller.identity import node_of
from cluster.controller.objects import Claim, Volume
from cluster.kubectl.adopt.candidates import Candidate, ClaimName, kind_of
from shared import protocol

# How a PV goes and its data stays, whatever its policy was.
TAKE_AWAY = (
    "give that PV the policy Retain, so that its data stays (kubectl patch pv "
    "NAME -p "
    """'{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}'), and then delete the claim, if """
    "it is there, and the PV"
)


def claim_named_by(volume: Volume) -> ClaimName:
    """The claim that the PV is for; both parts empty if it is for any."""
    return ClaimName(volume.claim.namespace, volume.claim.name)


def is_about(
    volume: Volume,
    candidate: Candidate,
    drivers: Mapping[str, str],
) -> bool:
    """Whether the PV means this very volume: two nodes may have volumes of one name."""
    if volume.driver != candidate.driver:
        return False
    if drivers.get(volume.provisioner) != candidate.driver:
        return False
    if node_of(volume, drivers) != candidate.node:
        return False
    return _names_pool(volume, candidate) is not False


def _names_pool(volume: Volume, candidate: Candidate) -> bool | None:
    """Whether the PV names the pool that the volume is in, by id; None if either names none."""
    pool_id = candidate.entry.get("poolId")
    if not volume.pool_id or not pool_id:
        return None
    return bool(volume.pool_id == pool_id)


def check_volume(
    volume: Volume,
    candidate: Candidate,
    drivers: Mapping[str, str],
) -> None:
    """Raises InvalidArgument unless the PV of the volume's name means this volume."""
    name = volume.name
    if candidate.is_archive:
        raise protocol.InvalidArgument(
            f"the archive {candidate.entry['name']} comes back under the name "
            f"{name}, and there is a PV of that name; it means another volume"
        )
    if is_about(volume, candidate, drivers):
        return
    node = node_of(volume, drivers)
    is_elsewhere = bool(node and candidate.node and node != candidate.node)
    if is_elsewhere and _names_pool(volume, candidate):
        raise protocol.InvalidArgument(
            f"the PV {name} is of node {node}, and its pool is on node "
            f"{candidate.node} now; to keep its claim: kubectl flexvol move "
            f"{name} --to {candidate.node}"
        )
    if not node:
        owner = "another driver"
    elif node == candidate.node:
        owner = "another pool of that node"
    else:
        owner = f"node {node}"
    raise protocol.InvalidArgument(
        f"the PV {name} exists already, and is of {owner}, so it means another volume"
    )


def record_differs(
    volume: Volume,
    candidate: Candidate,
    cluster_uid: str,
) -> bool:
    """Whether the record names another claim, or another cluster, than the PV is bound in. What a
    PV says counts while it is bound: see cluster/controller/owners.py, which leaves the volumes of
    another cluster to a person."""
    entry = candidate.entry
    uid = volume.claim.uid
    if not uid or not volume.is_bound:
        return False
    if entry.get("error") or kind_of(entry) or "owner" not in entry:
        return False
    recorded = (candidate.owner.uid, entry.get("clusterUid", cluster_uid))
    return recorded != (uid, cluster_uid)


def check_rivals(
    candidate: Candidate,
    claim: ClaimName,
    lacking: Iterable[Candidate],
    volumes: Mapping[str, Volume],
    by_hand: bool,
) -> None:
    """Two volumes for one claim would be its data by chance.

    lacking: all volumes that have no PV.
    volumes: the PVs, by name.
    by_hand: a person has chosen this volume, and not the others that the claim had; a PV for that
    claim is one too many even so.

    :raises InvalidArgument: names the others."""
    others = [f"PV {name}" for name in _volumes_for(claim, volumes)]
    if by_hand:
        if others:
            raise protocol.InvalidArgument(
                f"the claim {claim} has {', '.join(others)}; choose another "
                "claim (--claim NAMESPACE/NAME), or take that PV from the "
                f"claim first: {TAKE_AWAY}"
            )
        return
    for other in lacking:
        if other.name != candidate.name and other.claim == claim:
            made = other.entry.get("created")
            others.append(f"volume {other.name} {other.where} (made {made})")
    if others:
        raise protocol.InvalidArgument(
            f"its claim {claim} has {', '.join(others)} too, and this was made "
            f"{candidate.entry.get('created')}; name the one that you want, "
            "instead of --all, and with --claim NAMESPACE/NAME what the other "
            "is for"
        )


def _volumes_for(claim: ClaimName, volumes: Mapping[str, Volume]) -> list[str]:
    return [
        name
        for name, volume in volumes.items()
        if claim_named_by(volume) == claim and volume.phase not in ("Released", "Failed")
    ]


def check_claim(
    candidate: Candidate,
    name: ClaimName,
    claim: Claim | None,
) -> None:
    """claim: as it is now, if it is there.

    :raises Failure: if the claim cannot have the volume."""
    if claim is None:
        return
    if claim.is_being_deleted:
        raise protocol.Busy(f"the claim {name} is being deleted; when it is gone, run this again")
    if claim.volume_name not in ("", candidate.name):
        raise protocol.InvalidArgument(
            f"the claim {name} has got the PV {claim.volume_name} meanwhile; "
            "choose another claim (--claim NAMESPACE/NAME), or take that PV "
            f"from the claim first: {TAKE_AWAY}"
        )
    if not claim.volume_name and claim.uid == candidate.owner.uid:
        raise protocol.Busy(
            f"the claim {name} waits, and the provisioner of its node is about "
            "to make the PV; run this again if it does not within a minute"
        )
