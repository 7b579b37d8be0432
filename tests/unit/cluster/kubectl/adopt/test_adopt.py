"""Which volume is adopted, and for which claim: it is left alone wherever two could be meant."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller.objects import Claim, Volume
from cluster.kubectl.adopt.candidates import (
    Candidate,
    ClaimName,
    choose,
    is_left,
    meant,
    recorded_claim,
)
from cluster.kubectl.adopt.checks import (
    check_claim,
    check_rivals,
    check_volume,
    is_about,
    record_differs,
)
from cluster.kubectl.adopt.manifest import made
from shared import protocol

DRIVERS = {"loop.flexvol": "flexvol/loop"}
ARCHIVE = "archived-0011223344556677-pvc-1"
CLAIM = ClaimName("shop", "data")


def found(name: str = "pvc-1", node: str = "node1", **changes: Any) -> Candidate:
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
    return Candidate(node, "flexvol/loop", {**entry, **changes}, node or "shared")


def archive(name: str = ARCHIVE, **changes: Any) -> Candidate:
    return found(name, state="archived", archiveOf="pvc-1", **changes)


def volume(
    name: str = "pvc-1", node: str = "node1", claim: ClaimName = CLAIM, phase: str = "Bound"
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


def pvs(*volumes: dict[str, Any]) -> dict[str, Volume]:
    return {one["metadata"]["name"]: Volume(one) for one in volumes}


def live(uid: str = "new", bound: str = "", deleted: bool = False) -> dict[str, Any]:
    metadata = {"uid": uid, **({"deletionTimestamp": "now"} if deleted else {})}
    return {"metadata": metadata, "spec": {"volumeName": bound} if bound else {}}


@pytest.mark.parametrize(
    ("there", "said"),
    [
        pytest.param([], "no node that answers", id="a volume that no node lists"),
        pytest.param(
            [found(), found(node="node2")],
            "is on node node1 and on node node2; name one with --node",
            id="one name on two nodes",
        ),
        pytest.param(
            [found(pool="fast"), found(pool="default")],
            "is in pool default and in pool fast of node node1, so neither was adopted",
            id="one name in two pools of a node",
        ),
        pytest.param(
            [found(error="its image is missing")], "its image is missing", id="a damaged volume"
        ),
        pytest.param(
            [found(kind="snapshot")], "cannot be adopted while it is 'snapshot'", id="a snapshot"
        ),
        pytest.param(
            [found(state="moving", movingTo="node2")],
            "cannot be adopted while it is being moved to node 'node2'",
            id="one on the move",
        ),
        pytest.param(
            [archive(), archive("archived-8899aabbccddeeff-pvc-1")],
            "name one of them: archived-0011223344556677-pvc-1, archived-8899aabbccddeeff-pvc-1",
            id="a volume with two archives",
        ),
        pytest.param(
            [found(), found("pvc-2", "node2")],
            "name one of them: pvc-1, pvc-2",
            id="a claim that two volumes were of",
        ),
    ],
)
def test_what_is_not_adopted(there: list[Candidate], said: str) -> None:
    with pytest.raises(protocol.Failure, match=said):
        choose("pvc-1", there)


OTHER = found("pvc-2", owner={"namespace": "shop", "name": "other", "uid": "u"})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("pvc-1", [found()], id="a volume comes before its archives"),
        pytest.param(ARCHIVE, [archive()], id="an archive has a name of its own"),
        pytest.param("shop/data", [found(), archive()], id="a claim means all that it had"),
        pytest.param("shop/other", [OTHER], id="another claim means its own"),
        pytest.param("pvc-9", [], id="a name that nothing has"),
        pytest.param("bank/data", [], id="a claim of another namespace"),
        pytest.param("shop/snap", [], id="a snapshot is no claim's volume"),
    ],
)
def test_what_a_person_means(words: str, expected: list[Candidate]) -> None:
    snapshot = found("kept", kind="snapshot", owner={"namespace": "shop", "name": "snap"})
    assert meant(words, [found(), archive(), OTHER, snapshot], set()) == expected


def test_a_volumes_name_means_its_archive_where_the_volume_is_gone() -> None:
    assert meant("pvc-1", [archive(), OTHER], set()) == [archive()]


def test_of_a_claims_volumes_those_without_a_pv_are_meant() -> None:
    both = [found(), found("pvc-2")]
    assert meant("shop/data", both, {"pvc-1"}) == [both[1]]
    assert meant("shop/data", both, {"pvc-1", "pvc-2"}) == both


def in_pool(pool_id: str, node: str = "node1") -> dict[str, Any]:
    pv = volume(node=node)
    pv["spec"]["flexVolume"]["options"] = {"pool": "default", "poolId": pool_id}
    return pv


@pytest.mark.parametrize(
    ("pv", "there", "said"),
    [
        pytest.param(volume(), found(), "", id="its own PV"),
        pytest.param(in_pool("ab"), found(poolId="ab"), "", id="its own PV, which names the pool"),
        pytest.param(
            volume(node="node2"), found(), "is of node node2, so it means another volume",
            id="a PV of another node",
        ),
        pytest.param(
            in_pool("ab", "node2"), found(poolId="ab"),
            "to keep its claim: kubectl flexvol move pvc-1 --to node1",
            id="a PV of the node that had the disk before",
        ),
        pytest.param(
            in_pool("cd"), found(poolId="ab"), "is of another pool of that node",
            id="a PV of the pool that was replaced",
        ),
        pytest.param(
            {**volume(), "spec": {"hostPath": {}}}, found(), "is of another driver",
            id="a PV of no driver of ours",
        ),
        pytest.param(
            volume(), archive(), "comes back under the name pvc-1, and there is a PV",
            id="an archive, and a PV of the volume's name",
        ),
    ],
)  # fmt: skip
def test_a_pv_of_the_volumes_name_means_the_volume_or_another(
    pv: dict[str, Any], there: Candidate, said: str
) -> None:
    if said:
        with pytest.raises(protocol.InvalidArgument, match=said):
            check_volume(Volume(pv), there, DRIVERS)
    else:
        check_volume(Volume(pv), there, DRIVERS)


def test_a_pv_of_storage_that_every_node_reaches_names_no_node() -> None:
    pv = volume(node="shared")
    assert not is_about(Volume(pv), found(node=""), DRIVERS)
    del pv["spec"]["nodeAffinity"]
    assert is_about(Volume(pv), found(node=""), DRIVERS)
    assert not is_about(Volume(pv), found(), DRIVERS)


@pytest.mark.parametrize(
    ("phase", "uid", "changes", "expected"),
    [
        pytest.param("Bound", "old", {}, False, id="the claim that its PV is bound to"),
        pytest.param("Bound", "new", {}, True, id="another claim than its PV is bound to"),
        pytest.param("Released", "new", {}, False, id="a released PV gives its volume to nobody"),
        pytest.param("Bound", "old", {"clusterUid": "lost"}, True, id="another cluster"),
        pytest.param("Bound", "new", {"owner": None}, True, id="no owner"),
        pytest.param("Bound", "new", {"state": "moving"}, False, id="a volume on the move"),
        pytest.param("Bound", "new", {"error": "damaged"}, False, id="a damaged record"),
    ],
)
def test_when_the_record_is_told_what_its_pv_says(
    phase: str, uid: str, changes: dict[str, Any], expected: bool
) -> None:
    pv = volume(phase=phase)
    pv["spec"]["claimRef"]["uid"] = uid
    there = found(**{"clusterUid": "here", **changes})
    assert record_differs(Volume(pv), there, "here") == expected


def test_a_driver_that_knows_no_owners_is_told_none() -> None:
    there = found()
    del there.entry["owner"]
    assert not record_differs(Volume(volume()), there, "here")


def test_whose_it_was_comes_from_its_record() -> None:
    assert recorded_claim(found()) == CLAIM
    hostile = [
        None,
        {},
        {"namespace": "../x", "name": "data"},
        {"namespace": "shop", "name": ["a"]},
        "shop/data",
    ]
    for owner in hostile:
        with pytest.raises(protocol.InvalidArgument, match="names no claim"):
            recorded_claim(found(owner=owner))
    with pytest.raises(protocol.InvalidArgument, match="kubectl flexvol static"):
        recorded_claim(found(owner={"namespace": "*", "name": "*", "uid": "awaited"}))


def test_of_two_volumes_of_one_claim_a_person_chooses() -> None:
    one, two = found(), found("pvc-2", "node2")
    both = [one, two]

    with pytest.raises(
        protocol.InvalidArgument,
        match=r"claim shop/data has volume pvc-2 on node node2 \(made 2026.*too",
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
    keeps_data = "PV pvc-2.*the policy Retain.*then delete the claim"
    for by_hand, said in ((False, "PV pvc-2"), (True, keeps_data)):
        with pytest.raises(protocol.InvalidArgument, match=said):
            check_rivals(found(), CLAIM, [], pvs(volume("pvc-2")), by_hand)
        with pytest.raises(protocol.InvalidArgument, match="PV pvc-2"):
            check_rivals(found(), CLAIM, [], pvs(volume("pvc-2", phase="Available")), by_hand)
        check_rivals(found(), CLAIM, [], pvs(volume("pvc-2", phase="Released")), by_hand)
        check_rivals(
            found(), CLAIM, [], pvs(volume("pvc-2", claim=ClaimName("shop", "other"))), by_hand
        )


@pytest.mark.parametrize("there", [None, live(), live(bound="pvc-1"), live("old", "pvc-1")])
def test_a_claim_that_may_have_it(there: dict[str, Any] | None) -> None:
    check_claim(found(), CLAIM, Claim.of(there))


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (live(bound="pvc-9"), "has got the PV pvc-9 meanwhile.*the policy Retain.*then delete"),
        (live(deleted=True), "being deleted"),
        (live("old"), "is about to make the PV"),
    ],
)
def test_a_claim_that_may_not(there: dict[str, Any], said: str) -> None:
    with pytest.raises(protocol.Failure, match=said):
        check_claim(found(), CLAIM, Claim.of(there))


def test_all_means_neither_archives_nor_what_is_about_to_get_its_pv_or_to_be_collected() -> None:
    assert [
        is_left(found(**changes).entry, "here")
        for changes in (
            {"state": "archived"},
            {"kind": "snapshot"},
            {"blank": True, "clusterUid": "here"},
            {"neverMounted": True, "clusterUid": "here"},
            {"blank": True},
            {"neverMounted": True},
            {"clusterUid": "here", "kind": "volume"},
        )
    ] == [True, True, True, True, False, False, False]


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
