"""Which volumes a person may delete: by state, and by what claims and PVs say at that moment."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller import inventory
from cluster.controller.inventory import Row
from cluster.controller.objects import Claim, Object, Volume
from cluster.kubectl.delete.checks import Known, check
from shared import options, protocol

NAME = "pvc-u1"
OWNER = {"namespace": "shop", "name": "data", "uid": "u1"}
AWAITED = {**OWNER, "uid": options.AWAITED}
ENTRY: Object = {
    "name": NAME,
    "owner": OWNER,
    "options": {"pool": "default", "poolId": "5f"},
    "poolId": "5f",
}
NOTHING = Known(claims=[], volume=None, is_moving=False, is_whole=False)


def row(state: str, /, name: str = NAME, node: str = "node1", claim: str = "", **entry: Any) -> Row:
    listed = {**ENTRY, "name": name, **entry}
    return Row(name, node, "flexvol/loop", claim, [], state, "", "its disk is away", listed)


def claim(
    name: str = "data", uid: str = "u2", bound_to: str = "", namespace: str = "shop", **notes: str
) -> Claim:
    annotations = {f"flexvol/{key.replace('_', '-')}": value for key, value in notes.items()}
    metadata = {"namespace": namespace, "name": name, "uid": uid, "annotations": annotations}
    return Claim({"metadata": metadata, "spec": {"volumeName": bound_to} if bound_to else {}})


def volume(
    policy: str = "Retain",
    pool_id: str = "5f",
    phase: str = "Released",
    uid: str = "u1",
    **metadata: Any,
) -> Volume:
    source = {"driver": "flexvol/loop", "options": {"pool": "default", "poolId": pool_id}}
    spec = {"persistentVolumeReclaimPolicy": policy, "flexVolume": source, "claimRef": {"uid": uid}}
    status = {"phase": phase}
    return Volume({"metadata": {"name": NAME, **metadata}, "spec": spec, "status": status})


ALLOWED = {
    "an orphan without any claim": (row(inventory.ORPHAN), NOTHING),
    "an orphan beside a claim of its old name that has another volume": (
        row(inventory.ORPHAN),
        NOTHING._replace(claims=[claim(bound_to="pvc-u2")]),
    ),
    "an orphan beside a new claim of its old name that waits": (
        row(inventory.ORPHAN),
        NOTHING._replace(claims=[claim()]),
    ),
    "a volume that awaits a claim that is not there": (
        row(inventory.ORPHAN, owner=AWAITED),
        NOTHING._replace(claims=[claim("other")]),
    ),
    "a volume without an owner": (row(inventory.ORPHAN, owner=None), NOTHING),
    "a volume of another cluster": (row(inventory.OF_OTHERS), NOTHING),
    "a volume with a damaged image, whose record is whole": (
        row(inventory.ORPHAN, error="its image is missing"),
        NOTHING,
    ),
    "a volume that the policy Retain kept": (
        row(inventory.RELEASED),
        NOTHING._replace(volume=volume()),
    ),
    "a volume that the policy Retain kept, whose recycling has failed": (
        row(inventory.RELEASED),
        NOTHING._replace(volume=volume(phase="Failed")),
    ),
    "a snapshot of a claim that is there": (
        row(inventory.SNAPSHOT),
        NOTHING._replace(claims=[claim(uid="u1", bound_to=NAME)]),
    ),
    "a snapshot that a bound claim began with": (
        row(inventory.SNAPSHOT),
        NOTHING._replace(claims=[claim(bound_to="pvc-u2", from_snapshot=NAME)]),
    ),
    "a snapshot that a claim of another namespace cannot get": (
        row(inventory.SNAPSHOT),
        NOTHING._replace(claims=[claim(namespace="bank", from_snapshot=NAME)]),
    ),
    "an archive of a claim whose name is used again": (
        row(inventory.ARCHIVED),
        NOTHING._replace(claims=[claim(bound_to="pvc-u2")]),
    ),
    "a copy whose PV means a whole volume in another pool": (
        row(inventory.ORPHAN),
        Known([claim(uid="u1", bound_to=NAME)], volume(pool_id="77"), False, True),
    ),
}

REFUSED = {
    "a bound volume": (
        row(inventory.BOUND, claim="shop/data"),
        NOTHING._replace(volume=volume()),
        "is bound to the claim shop/data",
    ),
    "a volume whose PV waits for a claim": (
        row(inventory.AVAILABLE, claim="shop/data"),
        NOTHING._replace(volume=volume()),
        "is there for shop/data to take",
    ),
    "a volume that is being deleted already": (
        row(inventory.RELEASED),
        NOTHING._replace(volume=volume("Delete")),
        "is being deleted already",
    ),
    "a volume whose PV is being deleted": (
        row(inventory.RELEASED),
        NOTHING._replace(volume=volume(deletionTimestamp="2026-11-28T20:00:00Z")),
        "the PV pvc-u1 is being deleted",
    ),
    "a volume whose PV went while the question stood": (
        row(inventory.RELEASED),
        NOTHING,
        "the PV pvc-u1 is being deleted",
    ),
    "a volume whose PV was given to another claim while the question stood": (
        row(inventory.RELEASED),
        NOTHING._replace(volume=volume(phase="Available", uid="")),
        "is there for one to take",
    ),
    "a volume whose claim is there although its PV is released": (
        row(inventory.RELEASED),
        NOTHING._replace(volume=volume(), claims=[claim(uid="u1", bound_to="pvc-u2")]),
        "is of a claim again",
    ),
    "a volume whose claim is there and has no PV yet": (
        row(inventory.PENDING),
        NOTHING._replace(claims=[claim(uid="u1")]),
        "the claim shop/data is there and needs pvc-u1",
    ),
    "an orphan whose claim is there after all": (
        row(inventory.ORPHAN),
        NOTHING._replace(claims=[claim(uid="u1")]),
        "the claim shop/data is there",
    ),
    "a volume that a claim names without a PV": (
        row(inventory.OF_OTHERS),
        NOTHING._replace(claims=[claim("new", bound_to=NAME)]),
        "the claim shop/new is there",
    ),
    "a volume that awaits a claim that waits": (
        row(inventory.ORPHAN, owner=AWAITED),
        NOTHING._replace(claims=[claim()]),
        "the claim shop/data is there",
    ),
    "a snapshot that a claim is about to begin with": (
        row(inventory.SNAPSHOT),
        NOTHING._replace(
            claims=[
                claim("other"),
                claim("new", from_snapshot="before"),
                claim("bank", bound_to="pvc-u2", from_snapshot=NAME),
                claim("new", namespace="bank", from_snapshot=NAME),
                claim("new", from_snapshot=NAME),
            ]
        ),
        "the claim shop/new is about to begin with the snapshot pvc-u1",
    ),
    "a volume on a node that did not answer": (
        row(inventory.UNSEEN),
        NOTHING,
        "cannot be seen, so it is not deleted: its disk is away",
    ),
    "a PV without its storage": (row(inventory.MISSING), NOTHING, "cannot be seen"),
    "a volume whose move is not done": (
        row(inventory.ORPHAN),
        NOTHING._replace(is_moving=True),
        "end the move first: kubectl flexvol move pvc-u1 --to NODE",
    ),
    "a volume whose move is written down in a cluster that is lost": (
        row(inventory.OF_OTHERS, state="moving", movingTo="node2"),
        NOTHING,
        "is being moved to node node2 by a move that is not known here",
    ),
    "a released volume that a new claim names": (
        row(inventory.RELEASED),
        NOTHING._replace(volume=volume(), claims=[claim("new", bound_to=NAME)]),
        "the claim shop/new names the PV pvc-u1",
    ),
    "a copy in the very pool that the PV names, as where nodes share a disk": (
        row(inventory.ORPHAN, node="node2"),
        Known([], volume(), False, True),
        "may mean this very volume",
    ),
    "a copy in a pool without an id": (
        row(inventory.ORPHAN, poolId=None),
        Known([], volume(pool_id="77"), False, True),
        "may mean this very volume",
    ),
    "a copy whose other half is not seen whole": (
        row(inventory.ORPHAN),
        Known([], volume(pool_id="77"), False, False),
        "this may be the only copy",
    ),
    "a volume whose driver lists no options": (
        row(inventory.ORPHAN, options=None),
        NOTHING,
        "its driver does not list owner and options",
    ),
    "a volume whose driver lists no owner": (
        Row(NAME, "node1", "flexvol/loop", "", [], inventory.ORPHAN, "", "", {"options": {}}),
        NOTHING,
        "its driver does not list owner and options",
    ),
    "a volume whose record cannot be read": (
        Row(NAME, "node1", "flexvol/loop", "", [], inventory.ORPHAN, "", "", {"error": "damaged"}),
        NOTHING,
        "its record does not tell whose it is: damaged",
    ),
}


@pytest.mark.parametrize(("volume", "known"), ALLOWED.values(), ids=ALLOWED)
def test_what_no_claim_needs_may_go(volume: Row, known: Known) -> None:
    check(volume, known)


@pytest.mark.parametrize(("volume", "known", "words"), REFUSED.values(), ids=REFUSED)
def test_what_may_be_needed_stays(volume: Row, known: Known, words: str) -> None:
    with pytest.raises(protocol.Failure) as refusal:
        check(volume, known)

    assert words in str(refusal.value)
    assert "delete pvc" not in str(refusal.value), "no sentence proposes to delete a claim"


STATES = st.sampled_from(
    [
        inventory.BOUND,
        inventory.AVAILABLE,
        inventory.RELEASED,
        inventory.PENDING,
        inventory.ORPHAN,
        inventory.OF_OTHERS,
        inventory.MISSING,
        inventory.UNSEEN,
    ]
)
CLAIMS = st.lists(
    st.builds(
        claim,
        name=st.sampled_from(["data", "other"]),
        uid=st.sampled_from(["u1", "u2"]),
        bound_to=st.sampled_from(["", NAME, "pvc-u2"]),
    ),
    max_size=3,
)
VOLUMES = st.none() | st.builds(
    volume,
    policy=st.sampled_from(["Retain", "Delete"]),
    pool_id=st.sampled_from(["5f", "77", ""]),
    phase=st.sampled_from(["Bound", "Available", "Released", "Failed", "Pending"]),
)
KNOWN = st.builds(
    Known, claims=CLAIMS, volume=VOLUMES, is_moving=st.booleans(), is_whole=st.booleans()
)


@given(STATES, st.sampled_from([OWNER, AWAITED, None]), KNOWN)
def test_no_volume_of_a_claim_goes_whatever_the_rows_said_before(
    state: str, owner: Object | None, known: Known
) -> None:
    """The row is as it was before the question; claims and PVs are as they are now."""
    try:
        check(row(state, owner=owner), known)
    except protocol.Failure:
        return

    assert not known.is_moving
    needs_it = [
        one
        for one in known.claims
        if one.volume_name == NAME or (owner == OWNER and one.uid == "u1" and not one.volume_name)
    ]
    if state == inventory.RELEASED:  # its PV is patched, and deleted by the provisioner
        assert known.volume is not None
        assert known.volume.phase in ("Released", "Failed")
        assert not needs_it
        assert all(one.uid != "u1" for one in known.claims)
    elif needs_it or known.volume is not None:
        assert known.is_whole and known.volume is not None
        assert known.volume.pool_id == "77"
