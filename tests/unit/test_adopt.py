"""Which volume is adopted, and for which claim: it is left alone wherever two could be meant."""

from __future__ import annotations

from typing import Any

import pytest

import protocol
from administration.adopt import (
    Found,
    Name,
    check_claim,
    check_rivals,
    chosen,
    claim_of,
    is_left,
    made,
)

DRIVERS = {"loop.flexvol": "flexvol/loop"}
CLAIM = Name("shop", "data")


def found(name: str = "pvc-1", node: str = "node1", **changes: Any) -> Found:
    owner = {"namespace": "shop", "name": "data", "uid": "old"}
    entry = {
        "name": name,
        "owner": owner,
        "sizeBytes": 64 << 20,
        "fsType": "ext4",
        "blank": False,
        "clusterUid": "lost",
        "options": {"pool": "default", "poolId": "ab"},
        "created": "2026-01-01T00:00:00Z",
    }
    return Found(node, "flexvol/loop", {**entry, **changes})


def volume(
    name: str = "pvc-1", node: str = "node1", claim: Name = CLAIM, phase: str = "Bound"
) -> dict[str, Any]:
    notes = {"pv.kubernetes.io/provisioned-by": "loop.flexvol", "flexvol/identity": node}
    spec = {
        "claimRef": claim._asdict(),
        "flexVolume": {"driver": "flexvol/loop"},
        "nodeAffinity": {"required": {}},
    }
    return {
        "metadata": {"name": name, "annotations": notes},
        "spec": spec,
        "status": {"phase": phase},
    }


def live(uid: str = "new", bound: str = "", deleted: bool = False) -> dict[str, Any]:
    metadata = {"uid": uid, **({"deletionTimestamp": "now"} if deleted else {})}
    return {"metadata": metadata, "spec": {"volumeName": bound} if bound else {}}


def test_a_volume_with_its_pv_is_left_as_it_is() -> None:
    assert chosen("pvc-1", [found()], volume(), DRIVERS) is None


@pytest.mark.parametrize(
    ("there", "pv", "said"),
    [
        ([], None, "no node that answers"),
        ([], volume(), "no node that answers"),
        ([found()], volume(node="node2"), "exists already, and is of node node2"),
        ([found()], {**volume(), "spec": {"hostPath": {}}}, "of another driver"),
        (
            [found(), found(node="node2")],
            None,
            "is on node node1 and on node node2; name one with --node",
        ),
        (
            [found(pool="fast"), found(pool="default")],
            None,
            "is in pool default and in pool fast of node node1, so neither was adopted",
        ),
        ([found(error="its image is missing")], None, "its image is missing"),
        ([found(state="archived")], None, "cannot be adopted while it is 'archived'"),
        ([found(kind="snapshot")], None, "cannot be adopted while it is 'snapshot'"),
    ],
)
def test_what_is_not_adopted(there: list[Found], pv: dict[str, Any] | None, said: str) -> None:
    with pytest.raises(protocol.Failure, match=said):
        chosen("pvc-1", there, pv, DRIVERS)


def test_whose_it_was_comes_from_its_record() -> None:
    assert claim_of(found()) == CLAIM
    hostile = [
        None,
        {},
        {"namespace": "../x", "name": "data"},
        {"namespace": "shop", "name": ["a"]},
        "shop/data",
    ]
    for owner in hostile:
        with pytest.raises(protocol.InvalidArgument, match="names no claim"):
            claim_of(found(owner=owner))
    with pytest.raises(protocol.InvalidArgument, match="provisioner static"):
        claim_of(found(owner={"namespace": "*", "name": "*", "uid": "awaited"}))


def test_of_two_volumes_of_one_claim_a_person_chooses() -> None:
    one, two = found(), found("pvc-2", "node2")
    both = [one, two]

    with pytest.raises(
        protocol.InvalidArgument,
        match=r"claim shop/data has volume pvc-2 on node2 \(made 2026.*too",
    ):
        check_rivals(one, CLAIM, both, {}, by_hand=False)
    check_rivals(one, CLAIM, both, {}, by_hand=True)
    check_rivals(
        one,
        CLAIM,
        [one, found("pvc-2", owner={"namespace": "shop", "name": "other"})],
        {},
        by_hand=False,
    )


def test_a_claim_gets_no_second_pv_unless_the_first_is_released() -> None:
    for by_hand in (False, True):
        with pytest.raises(protocol.InvalidArgument, match="PV pvc-2"):
            check_rivals(found(), CLAIM, [], {"pvc-2": volume("pvc-2")}, by_hand)
        with pytest.raises(protocol.InvalidArgument, match="PV pvc-2"):
            check_rivals(found(), CLAIM, [], {"pvc-2": volume("pvc-2", phase="Available")}, by_hand)
        check_rivals(found(), CLAIM, [], {"pvc-2": volume("pvc-2", phase="Released")}, by_hand)
        check_rivals(
            found(), CLAIM, [], {"pvc-2": volume("pvc-2", claim=Name("shop", "other"))}, by_hand
        )


@pytest.mark.parametrize("there", [None, live(), live(bound="pvc-1"), live("old", "pvc-1")])
def test_a_claim_that_may_have_it(there: dict[str, Any] | None) -> None:
    check_claim(found(), CLAIM, there)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (live(bound="pvc-9"), "has got the PV pvc-9 meanwhile"),
        (live(deleted=True), "being deleted"),
        (live("old"), "is about to make the PV"),
    ],
)
def test_a_claim_that_may_not(there: dict[str, Any], said: str) -> None:
    with pytest.raises(protocol.Failure, match=said):
        check_claim(found(), CLAIM, there)


def test_all_means_neither_archives_nor_what_is_about_to_get_its_pv_or_to_be_collected() -> None:
    assert [
        is_left(found(**changes).entry, "here")
        for changes in (
            {"state": "archived"},
            {"kind": "snapshot"},
            {"blank": True, "clusterUid": "here"},
            {"blank": True},
            {"clusterUid": "here", "kind": "volume"},
        )
    ] == [True, True, True, False, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"options": None},
        {"options": {"pool": 1}},
        {"options": {"kubernetes.io/pvc.uid": "x"}},
        {"sizeBytes": 0},
        {"sizeBytes": True},
        {"sizeBytes": "64Mi"},
        {"fsType": None},
    ],
)
def test_a_driver_that_does_not_say_enough_is_not_guessed_at(changes: dict[str, Any]) -> None:
    with pytest.raises(protocol.Internal, match="in full"):
        made(found(**changes).entry)
