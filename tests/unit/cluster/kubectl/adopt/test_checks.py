"""A volume is left alone wherever two could be meant."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller.objects import Claim, Volume
from cluster.kubectl.adopt.candidates import (
    Candidate,
    ClaimName,
)
from cluster.kubectl.adopt.checks import (
    check_claim,
    check_rivals,
    check_volume,
    is_about,
    record_differs,
)
from shared import protocol
from tests.unit.cluster.kubectl.adopt.volumes import (
    CLAIM,
    DRIVERS,
    archive,
    found,
    volume,
)


def pvs(*volumes: dict[str, Any]) -> dict[str, Volume]:
    return {one["metadata"]["name"]: Volume(one) for one in volumes}


def live(uid: str = "new", bound: str = "", deleted: bool = False) -> dict[str, Any]:
    metadata = {"uid": uid, **({"deletionTimestamp": "now"} if deleted else {})}
    return {"metadata": metadata, "spec": {"volumeName": bound} if bound else {}}


def in_pool(pool_id: str, node: str = "node1") -> dict[str, Any]:
    pv = volume(node=node)
    pv["spec"]["flexVolume"]["options"] = {"pool": "default", "poolId": pool_id}
    return pv


@pytest.mark.parametrize(
    ("pv", "there", "said"),
    [
        pytest.param(volume(), found(), "", id="its own PV"),
        pytest.param(in_pool("ab"), found(poolId="ab"), "", id="its own PV, which names the pool",),
        pytest.param(in_pool("ab"), found(), "", id="its own PV, and a driver that names no pool",),
        pytest.param(volume(), found(poolId="ab"), "", id="its own PV, which names no pool",),
        pytest.param(
            in_pool("ab", "shared"), found(node="", poolId="ab"),
            "is of node shared, so it means another volume",
            id="a PV of a node for storage that every node reaches",
        ),
        pytest.param(
            {**volume(), "spec": {"flexVolume": {"driver": "flexvol/nfs"}}}, found(node=""),
            "is of another driver", id="a PV of another driver that is on no node either",
        ),
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
    pv["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] = "other"
    assert not is_about(Volume(pv), found(node=""), DRIVERS)


@pytest.mark.parametrize(
    ("phase", "uid", "changes", "expected"),
    [
        pytest.param("Bound", "old", {}, False, id="the claim that its PV is bound to"),
        pytest.param(
            "Bound",
            "new",
            {},
            True,
            id="another claim than its PV is bound to",
        ),
        pytest.param(
            "Released",
            "new",
            {},
            False,
            id="a released PV gives its volume to nobody",
        ),
        pytest.param(
            "Bound",
            "old",
            {"clusterUid": "lost"},
            True,
            id="another cluster",
        ),
        pytest.param("Bound", "new", {"owner": None}, True, id="no owner"),
        pytest.param(
            "Bound",
            "new",
            {"state": "moving"},
            False,
            id="a volume on the move",
        ),
        pytest.param(
            "Bound",
            "new",
            {"error": "damaged"},
            False,
            id="a damaged record",
        ),
    ],
)
def test_when_the_record_is_told_what_its_pv_says(
    phase: str, uid: str, changes: dict[str, Any], expected: bool
) -> None:
    pv = volume(phase=phase)
    pv["spec"]["claimRef"]["uid"] = uid
    there = found(**{"clusterUid": "here", **changes})
    assert record_differs(Volume(pv), there, "here") == expected


def test_a_driver_that_knows_no_clusters_is_not_asked_for_one() -> None:
    pv = volume()
    pv["spec"]["claimRef"]["uid"] = "old"
    there = found()
    del there.entry["clusterUid"]
    assert not record_differs(Volume(pv), there, "here")


def test_a_driver_that_knows_no_owners_is_told_none() -> None:
    there = found()
    del there.entry["owner"]
    assert not record_differs(Volume(volume()), there, "here")


def test_of_two_volumes_of_one_claim_a_person_chooses() -> None:
    one = found()
    both = [one, found("pvc-2", "node2")]

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
        check_rivals(found(), CLAIM, [], pvs(volume("pvc-2", phase="Failed")), by_hand)
        check_rivals(
            found(), CLAIM, [], pvs(volume("pvc-2", claim=ClaimName("shop", "other"))), by_hand
        )


@pytest.mark.parametrize(
    "there",
    [
        pytest.param(None, id="a claim that is not there"),
        pytest.param(live(), id="a new claim that waits"),
        pytest.param(live(bound="pvc-1"), id="a new claim that names the PV"),
        pytest.param(live("old", "pvc-1"), id="the old claim, which has lost this PV"),
    ],
)
def test_a_claim_that_may_have_it(there: dict[str, Any] | None) -> None:
    check_claim(found(), CLAIM, Claim.of(there))


@pytest.mark.parametrize(
    ("there", "said"),
    [
        pytest.param(
            live(bound="pvc-9"),
            "has got the PV pvc-9 meanwhile.*the policy Retain.*then delete",
            id="a claim with another PV",
        ),
        pytest.param(
            live(deleted=True),
            "being deleted",
            id="a claim that is being deleted",
        ),
        pytest.param(
            live("old"), "is about to make the PV", id="the claim that the volume is made for"
        ),
    ],
)
def test_a_claim_that_may_not(there: dict[str, Any], said: str) -> None:
    with pytest.raises(protocol.Failure, match=said):
        check_claim(found(), CLAIM, Claim.of(there))
