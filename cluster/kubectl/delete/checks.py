"""Whether a volume may be deleted: a claim that has it, or waits for it, keeps it."""

from __future__ import annotations

from typing import NamedTuple

from cluster.controller import decide
from cluster.controller.inventory import (
    AVAILABLE,
    BOUND,
    MISSING,
    MOVING,
    RELEASED,
    UNSEEN,
    Row,
)
from cluster.controller.objects import Claim, ClaimReference, Volume
from cluster.kubectl.delete.choosing import KEPT
from shared import protocol
from shared.options import AWAITED

# The states of a PV's own volume, as its node lists it.
WHOLE = (BOUND, AVAILABLE, RELEASED)
SEE_PV = "what hinders that: kubectl describe pv"


class Known(NamedTuple):
    """What decides whether a volume may go, read live.

    claims: of all namespaces.
    volume: the PV of the volume's name, if there is one.
    is_moving: whether a move of the volume is written down.
    is_whole: whether the PV's own volume is listed whole."""

    claims: list[Claim]
    volume: Volume | None
    is_moving: bool
    is_whole: bool


def check(row: Row, known: Known) -> None:
    """Raises a Failure that says why the volume may not be deleted, if it may not."""
    name = row.name
    if row.state in (MISSING, UNSEEN):
        raise protocol.Unavailable(f"{name} cannot be seen, so it is not deleted: {row.why}")
    if known.is_moving:
        raise protocol.Busy(
            f"a move of {name} to another node is not done, so this may be its "
            f"only whole copy; end the move first: kubectl flexvol move {name} "
            "--to NODE"
        )
    if row.state in WHOLE:
        _check_released(row, known)
        return
    if row.state in KEPT:
        _check_unawaited(row, known)
    elif known.volume is not None:
        _check_copy(row, known.volume, known.is_whole)
    else:
        _check_unclaimed(row, known)
    _check_described(row)


def _check_described(row: Row) -> None:
    """The driver's delete needs the owner and the options that the volume's record names."""
    if "owner" in row.entry and isinstance(row.entry.get("options"), dict):
        return
    why = row.entry.get("error") or "its driver does not list owner and options"
    raise protocol.Internal(
        f"{row.name} is left alone, as its record does not tell whose it is: {why}"
    )


def _owner(row: Row) -> ClaimReference:
    return ClaimReference.of(row.entry.get("owner"))


def _check_unawaited(row: Row, known: Known) -> None:
    """A snapshot may go if no claim waits to begin with it."""
    for claim in known.claims:
        if claim.snapshot_name != row.name or claim.volume_name:
            continue
        if claim.namespace == _owner(row).namespace:
            raise protocol.Busy(
                f"the claim {claim.full_name} is about to begin with the "
                f"snapshot {row.name}; it can be deleted when that claim is "
                "bound"
            )


def _check_released(row: Row, known: Known) -> None:
    """A volume with its PV may go if the claim is gone and the PV's policy has kept it."""
    if row.state == BOUND:
        raise protocol.InvalidArgument(
            f"{row.name} is bound to the claim {row.claim}, so it is not deleted"
        )
    if row.state == AVAILABLE:
        raise protocol.InvalidArgument(
            f"the PV {row.name} is there for {row.claim or 'a claim'} to take, "
            "so the volume is not deleted; without that PV no claim can: "
            f"kubectl delete pv {row.name} keeps the volume, and then this "
            "command deletes it"
        )
    volume = known.volume
    if volume is None or volume.is_being_deleted:
        raise protocol.Busy(f"the PV {row.name} is being deleted; {SEE_PV} {row.name}")
    if volume.reclaim_policy == "Delete":
        raise protocol.Busy(f"{row.name} is being deleted already; {SEE_PV} {row.name}")
    _check_given_up(volume, known.claims)


def _check_given_up(volume: Volume, claims: list[Claim]) -> None:
    """No claim has the PV, names it, or can still be bound to it."""
    name = volume.name
    for claim in claims:
        if claim.volume_name == name:
            raise protocol.Busy(
                f"the claim {claim.full_name} names the PV {name}, so the volume is not deleted"
            )
    owner_uid = volume.claim_reference.get("uid")
    has_claim = any(claim.uid == owner_uid for claim in claims)
    if has_claim or volume.phase not in ("Released", "Failed"):
        raise protocol.Busy(
            f"the PV {name} is of a claim again, or is there for one to take; "
            f"see: kubectl get pv {name}"
        )


def _check_copy(row: Row, volume: Volume, is_whole: bool) -> None:
    """A volume beside the one that the PV of its name means may go if that other one is elsewhere
    for certain. is_whole: whether the PV's own volume is listed whole."""
    pool_of_copy = row.entry.get("poolId")
    if not volume.pool_id or not pool_of_copy or volume.pool_id == pool_of_copy:
        raise protocol.Busy(
            f"the PV {row.name} may mean this very volume, as its pool is the "
            "one that the PV names; see: kubectl flexvol inventory"
        )
    if not is_whole:
        raise protocol.Busy(
            f"the volume that the PV {row.name} means is not seen whole on its "
            "own node, so this may be the only copy"
        )


def _check_unclaimed(row: Row, known: Known) -> None:
    """A volume without a PV may go if no claim has it, names it, or waits for it. While the volume
    is being moved, the other copy may not be whole: the move was written down in a cluster that is
    lost, or in another one."""
    if row.entry.get("state") == MOVING:
        raise protocol.Busy(
            f"{row.name} is being moved to node {row.entry.get('movingTo')} by "
            "a move that is not known here, so this may be its only whole "
            "copy. Root on its node may say that this is the volume (loop help "
            "adopt), and then it can be deleted"
        )
    for claim in known.claims:
        if _needs(claim, row):
            raise protocol.Busy(
                f"the claim {claim.full_name} is there and needs {row.name}, so it is not deleted"
            )


def _needs(claim: Claim, row: Row) -> bool:
    """Whether the claim names the volume, waits for it, or is the owner that its record names."""
    owner = _owner(row)
    if claim.volume_name == row.name:
        return True
    is_awaited = owner.uid == AWAITED and owner.full_name == claim.full_name
    if is_awaited and not claim.volume_name:
        return True
    if claim.uid != owner.uid:
        return False
    return not decide.is_bound_elsewhere(claim, row.name)
