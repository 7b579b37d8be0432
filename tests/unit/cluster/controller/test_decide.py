"""What is done with a claim or a PV: the reference library's rules, row by row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from cluster.controller import decide, objects
from cluster.controller.decide import (
    ADD_FINALIZER,
    ADOPT,
    DELETE,
    DROP_FINALIZER,
    LATER,
    LET_GO,
    POPULATE,
    PROVISION,
    REJECT,
    TAKE,
    WAIT,
)
from cluster.controller.identity import Identity
from cluster.controller.objects import Claim, StorageClass, Volume
from tests.unit.cluster.controller.objects import (
    ELSEWHERE,
    HERE,
    NODE,
    OWNER,
    SHARED,
    UNBOUND,
    claim,
    live,
    of,
    of_snapshot,
    storage_class,
    volume,
)


def on_claim(
    given: dict[str, Any], by: dict[str, Any] | None, identity: Identity
) -> decide.Decision:
    return decide.on_claim(Claim(given), StorageClass.of(by), identity)


def on_volume(given: dict[str, Any], identity: Identity) -> decide.Decision:
    return decide.on_volume(Volume(given), identity)


def with_claim(pv: dict[str, Any], its_claim: dict[str, Any] | None) -> decide.Decision:
    return decide.with_claim(on_volume(pv, NODE), Volume(pv), Claim.of(its_claim))


def not_wanted(
    given: dict[str, Any], now: dict[str, Any] | None, name: str, identity: Identity
) -> str:
    return decide.why_not_wanted(Claim(given), Claim.of(now), name, identity)


def copy(node: str = "node1", **changes: str) -> dict[str, Any]:
    """A claim that is to be a copy of another."""
    return claim(
        node=node, dataSourceRef={"kind": "PersistentVolumeClaim", "name": "old", **changes}
    )


@pytest.mark.parametrize(
    ("given", "by", "expected", "said"),
    [
        (claim(), storage_class(), PROVISION, ""),
        (claim(volumeName="pv"), storage_class(), LATER, "bound"),
        (claim(provisioner="other"), storage_class(), LATER, "another provisioner"),
        (claim(provisioner=""), storage_class(), LATER, "another provisioner"),
        (claim(node="node2"), storage_class(), LATER, "node"),
        (claim(node=""), storage_class(), LATER, "waits for a pod"),
        (claim(node=""), storage_class(late=False), TAKE, ""),
        (claim(node="node2"), storage_class(late=False), LATER, "node"),
        (claim(), storage_class(late=False), PROVISION, ""),
        (claim(node="", volumeMode="Block"), storage_class(late=False), LATER, "volumeMode Block"),
        (claim(node=""), None, LATER, 'class "c" does not exist'),
        (claim(volumeMode="Block"), storage_class(late=False), REJECT, "volumeMode Block"),
        (claim(deleted=True), storage_class(), LATER, "being deleted"),
        (claim(), None, REJECT, 'class "c" does not exist'),
        (claim(), storage_class("other"), REJECT, "is of provisioner other now"),
        (claim(volumeMode="Block"), storage_class(), REJECT, "volumeMode Block"),
        (claim(selector={"matchLabels": {}}), storage_class(), PROVISION, ""),
        (claim(selector={"matchLabels": {"a": "b"}}), storage_class(), REJECT, "selector"),
        (copy(), storage_class(), PROVISION, ""),
        (copy(node=""), storage_class(), TAKE, ""),
        (
            copy(apiGroup="snapshot.storage.k8s.io", kind="VolumeSnapshot"),
            storage_class(),
            REJECT,
            "VolumeSnapshot is CSI's alone",
        ),
        pytest.param(
            copy(namespace="bank"),
            storage_class(),
            REJECT,
            "a claim of its own namespace, shop, and is one of namespace 'bank'; make",
            id="a claim of another namespace is told which one it names",
        ),
        (copy(namespace="shop"), storage_class(), PROVISION, ""),
        (of_snapshot(claim()), storage_class(), PROVISION, ""),
        (of_snapshot(claim(node="")), storage_class(), TAKE, ""),
        (
            of_snapshot(copy()),
            storage_class(),
            REJECT,
            "names a dataSource beside the annotation flexvol/from-snapshot",
        ),
        (
            claim(volumeAttributesClassName="gold"),
            storage_class(),
            REJECT,
            "volumeAttributesClassName",
        ),
        pytest.param(
            claim(dataSourceRef={"apiGroup": "a.example", "kind": "Image"}),
            storage_class(),
            POPULATE,
            "Assuming an external populator will provision the volume",
            id="a source of a kind that we do not know is a populator's",
        ),
        pytest.param(
            claim(node="", dataSourceRef={"apiGroup": "a.example", "kind": "Image"}),
            storage_class(late=False),
            LATER,
            "Assuming an external populator",
            id="a populator's claim is taken by no node",
        ),
        pytest.param(
            claim(node="", dataSourceRef={"apiGroup": "a.example", "kind": "Image"}),
            storage_class(),
            LATER,
            "waits for a pod",
            id="a populator's claim is left alone once its pod is scheduled, and not before",
        ),
        pytest.param(
            copy(apiGroup="a.example", kind="PersistentVolumeClaim"),
            storage_class(),
            POPULATE,
            "Assuming",
            id="another group's kind that is called as ours is a populator's",
        ),
        pytest.param(
            claim(
                dataSourceRef={"apiGroup": "a.example", "kind": "Image"},
                accessModes=["ReadWriteMany"],
            ),
            storage_class(),
            POPULATE,
            "Assuming",
            id="what the populator's own claim asks of us is judged with that claim",
        ),
        pytest.param(
            of_snapshot(copy(apiGroup="a.example", kind="Image")),
            storage_class(),
            REJECT,
            "names a dataSource beside the annotation flexvol/from-snapshot",
            id="a snapshot of ours beside a populator's source is a contradiction",
        ),
        (claim(dataSource={"kind": "VolumeSnapshot"}), storage_class(), REJECT, "dataSource"),
        (claim(accessModes=["ReadWriteMany"]), storage_class(), REJECT, "ReadWriteMany"),
        (claim(accessModes=["ReadOnlyMany"]), storage_class(), REJECT, "ReadOnlyMany"),
        (
            claim(accessModes=["ReadWriteOnce", "ReadOnlyMany"]),
            storage_class(),
            REJECT,
            "ReadOnlyMany",
        ),
        (claim(storageClassName=""), None, REJECT, "names no storage class"),
        (claim(storageClassName=None), None, REJECT, "names no storage class"),
        (claim(accessModes=["ReadWriteOncePod"]), storage_class(), PROVISION, ""),
        (claim(), storage_class(requestBytes="1"), REJECT, '"requestBytes"'),
        (claim(), storage_class(onNodeGone="keep"), PROVISION, ""),
        (claim(), storage_class(onNodeGone="release"), PROVISION, ""),
        (claim(), storage_class(onNodeGone="drop"), REJECT, "is 'drop'; it is keep or release"),
        (claim(), storage_class(onNodeGone=""), REJECT, "keep or release"),
        (
            claim(),
            {**storage_class(), "parameters": {"kubernetes.io/x": "1"}},
            REJECT,
            '"kubernetes.io/x"',
        ),
    ],
)
def test_on_claim_of_a_node(
    given: dict[str, Any], by: dict[str, Any] | None, expected: str, said: str
) -> None:
    decision = on_claim(given, by, NODE)

    assert decision.action == expected, decision
    assert said in decision.sentence


def test_on_claim_in_shared_mode() -> None:
    at_once = storage_class("nfs.flexvol", late=False)
    late = storage_class("nfs.flexvol")
    many = claim("nfs.flexvol", node="", accessModes=["ReadWriteMany"])

    assert on_claim(many, at_once, SHARED).action == PROVISION
    assert on_claim(many, late, SHARED).action == LATER
    assert on_claim(claim("nfs.flexvol", node="any"), late, SHARED).action == PROVISION


@pytest.mark.parametrize(
    ("topologies", "allowed"),
    [
        (None, True),
        ([], True),
        ([{"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}], True),
        ([{"matchLabelExpressions": [{"key": "zone", "values": ["b"]}]}], False),
        ([{"matchLabelExpressions": [{"key": "rack", "values": ["a"]}]}], False),
        (
            [
                {
                    "matchLabelExpressions": [
                        {"key": "zone", "values": ["a"]},
                        {"key": "disk", "values": ["hdd"]},
                    ]
                }
            ],
            False,
        ),
        (
            [
                {"matchLabelExpressions": [{"key": "zone", "values": ["b"]}]},
                {"matchLabelExpressions": [{"key": "disk", "values": ["ssd"]}]},
            ],
            True,
        ),
    ],
)
def test_is_allowed(topologies: Any, allowed: bool) -> None:
    storage_class = StorageClass({"allowedTopologies": topologies})

    assert decide.is_allowed(storage_class, {"zone": "a", "disk": "ssd"}) == allowed


@pytest.mark.parametrize(
    ("rooms", "expected"),
    [
        ({"me": 10}, 0),
        ({"me": 10, "other": 11}, 1),
        ({"me": 10, "other": 11, "third": 12}, 2),
        ({"me": 10, "other": 4}, 0),
        ({"me": 4, "other": 11}, None),
        ({"other": 11}, None),
        ({"me": 5}, 0),
    ],
)
def test_rank(rooms: dict[str, int], expected: int | None) -> None:
    assert decide.rank(rooms, "me", 5, "u1") == expected


def test_equals_are_ordered_by_chance_but_all_the_same_way() -> None:
    rooms = {"a": 7, "b": 7, "c": 7}
    firsts = set()
    for uid in map(str, range(50)):
        ranks = {name: decide.rank(rooms, name, 5, uid) for name in rooms}
        assert sorted(rank for rank in ranks.values() if rank is not None) == [0, 1, 2]
        firsts |= {name for name, rank in ranks.items() if rank == 0}
    assert firsts == set(rooms)


def test_without_published_room_any_node_may_take_it() -> None:
    assert decide.rank({}, "me", 5, "u1") in range(8)


def test_the_older_annotations_are_read_too() -> None:
    old = claim()
    old["metadata"]["annotations"] = {
        objects.PROVISIONER[1]: "loop.flexvol",
        objects.CLASS: "older",
        objects.SELECTED_NODE: "node1",
    }

    assert decide.is_for(Claim(old), NODE)
    assert Claim(old).class_name == "older"
    assert on_claim(old, storage_class(), NODE).action == PROVISION


@pytest.mark.parametrize(
    ("newer", "older", "expected"),
    [
        ("loop.flexvol", "other", PROVISION),
        ("other", "loop.flexvol", LATER),
        ("", "loop.flexvol", PROVISION),
    ],
)
def test_the_newer_annotation_is_the_one_that_counts(newer: str, older: str, expected: str) -> None:
    both = claim(newer)
    both["metadata"]["annotations"][objects.PROVISIONER[1]] = older

    assert on_claim(both, storage_class(), NODE).action == expected


def test_a_claim_that_names_no_class_has_none() -> None:
    without = claim()
    del without["spec"]["storageClassName"]

    assert Claim(without).class_name == ""
    assert "names no storage class" in on_claim(without, None, NODE).sentence


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (volume(), DELETE),
        (volume(deleted=True), DELETE),
        (volume(deleted=True, held=False), LATER),
        (volume(held=False), DELETE),
        (volume(phase="Bound"), LATER),
        (volume(phase="Bound", held=False), ADD_FINALIZER),
        (volume(phase="Bound", held=False, deleted=True), LATER),
        (volume(phase="Bound", deleted=True), LATER),
        (volume(phase="Failed"), DELETE),
        (volume(phase="Failed", held=False, deleted=True), LATER),
        (volume(phase="Failed", policy="Retain"), DROP_FINALIZER),
        (volume(phase="Available"), LATER),
        (volume(phase="Available", deleted=True), LET_GO),
        (volume(phase="Pending", deleted=True), LET_GO),
        (volume(phase="Pending", deleted=True, held=False), LATER),
        (volume(phase="Pending", deleted=True, identity="node2"), LATER),
        (volume(phase="Available", held=False), LATER),
        (volume(phase="Pending"), LATER),
        (volume(phase=""), LATER),
        ({**volume(), "status": {}}, LATER),
        ({key: value for key, value in volume().items() if key != "status"}, LATER),
        (volume(policy="Recycle"), DROP_FINALIZER),
        (volume(policy="Recycle", held=False), LATER),
        (volume(phase="Bound", policy="Retain", held=False), LATER),
        (volume(policy="Retain"), DROP_FINALIZER),
        (volume(policy="Retain", held=False), LATER),
        (volume(identity="node2"), LATER),
        (volume(identity="node2", policy="Retain"), LATER),
        (volume(by="other"), LATER),
        (volume(driver="other/loop"), LATER),
        (of(OWNER, awaits=True), ADOPT),
        (of(OWNER, awaits=True, policy="Retain"), ADOPT),
        (of(OWNER, awaits=True, phase="Bound", deleted=True), ADOPT),
        (of(OWNER, awaits=True, phase="Failed"), ADOPT),
        pytest.param(
            of(None, awaits=True, policy="Retain", held=False),
            LATER,
            id="a PV that is freed to await another claim has none to tell of",
        ),
        (volume(awaits=True, phase="Available", held=False), LATER),
        (volume(awaits=True, phase="Bound", identity="node2"), LATER),
    ],
)
def test_on_volume(given: dict[str, Any], expected: str) -> None:
    assert on_volume(given, NODE).action == expected


def test_a_pv_of_another_kind_of_storage_is_not_ours() -> None:
    other = volume()
    other["spec"] = {"persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": "/"}}

    assert on_volume(other, NODE).action == LATER


@pytest.mark.parametrize(
    "notes", [None, {}, {objects.PROVISIONED_BY: "loop.flexvol"}, {objects.IDENTITY: "node1"}]
)
def test_a_pv_made_by_hand_is_not_ours(notes: dict[str, str] | None) -> None:
    """Its driver's name alone is nothing."""
    made = volume()
    made["metadata"]["annotations"] = notes
    bare = volume()
    del bare["metadata"]["annotations"]

    assert [on_volume(one, NODE).action for one in (made, bare)] == [LATER, LATER]


# A PV and its claim, as kube-controller-manager can leave them. Each row's source is a function of
# pkg/controller/volume/persistentvolume/pv_controller.go in Kubernetes 1.37, or the file it names.


@pytest.mark.parametrize(
    ("pv", "its_claim", "expected", "said"),
    [
        pytest.param(
            of(OWNER), None, DELETE, "", id="released as its claim is gone: syncVolume, claim==nil"
        ),
        pytest.param(
            of(OWNER),
            live(ELSEWHERE),
            DELETE,
            "is bound to the PV pv-of-others",
            id="released while its claim lives, which got bound elsewhere: syncVolume, last else",
        ),
        pytest.param(
            of(OWNER),
            live(HERE),
            WAIT,
            "is there and is bound to it",
            id="released by one that was behind, next Bound: syncVolume, VolumeName==Name",
        ),
        pytest.param(
            of(OWNER),
            live(UNBOUND),
            WAIT,
            "is there and is not bound to another PV",
            id="released by one that was behind, next bound: syncVolume, VolumeName==''",
        ),
        pytest.param(
            of(None),
            None,
            LATER,
            "names no claim any more",
            id="released and then freed by hand, next Available: syncVolume, ClaimRef==nil",
        ),
        pytest.param(
            of({"namespace": "shop", "name": "data"}),
            None,
            LATER,
            "names no claim any more",
            id="released and then kept for a name, next Available: syncVolume, UID==''",
        ),
        pytest.param(
            of(OWNER, phase="Failed"),
            None,
            DELETE,
            "",
            id="failed, never overwritten, its claim gone: syncVolume, previous Failed state",
        ),
        pytest.param(
            of(OWNER, phase="Failed"),
            live(ELSEWHERE),
            DELETE,
            "is bound to the PV",
            id="failed, never overwritten, its claim bound elsewhere: syncVolume",
        ),
        pytest.param(
            of(OWNER, phase="Failed"), live(HERE), WAIT, "", id="failed, next Bound: syncVolume"
        ),
        pytest.param(
            of(OWNER, phase="Failed", policy="Recycle"),
            None,
            DROP_FINALIZER,
            "",
            id="failed as nobody recycles it: recycleVolumeOperation",
        ),
        pytest.param(
            of(OWNER, phase="Bound"), None, LATER, "", id="bound, next Released: syncVolume"
        ),
        pytest.param(
            of(OWNER, phase="Bound"),
            live(ELSEWHERE),
            LATER,
            "",
            id="bound while its claim is bound elsewhere, next Released: syncVolume",
        ),
        pytest.param(
            of(OWNER, phase="Available", policy="Retain", held=False),
            live(ELSEWHERE),
            LATER,
            "",
            id="retained, its claim bound elsewhere, unbound again: unbindVolume",
        ),
        pytest.param(of(OWNER, phase="Pending"), None, LATER, "", id="new, and its claim is gone"),
        pytest.param(
            of(OWNER, phase="Pending", deleted=True),
            live(UNBOUND),
            LET_GO,
            "",
            id="new, deleted, and never bound to the claim that waits: FindMatchingVolume",
        ),
        pytest.param(
            of(OWNER, phase="Pending", deleted=True),
            live(HERE),
            LATER,
            "",
            id="new, deleted, and the claim names it, next Bound: syncUnboundClaim",
        ),
        pytest.param(
            of(OWNER, phase="Pending", deleted=True),
            None,
            LATER,
            "",
            id="new, deleted, and its claim is gone, next Released: syncVolume",
        ),
        pytest.param(
            of(None, phase="Available", deleted=True),
            None,
            DROP_FINALIZER,
            "it has no claim",
            id="available, and deleted: pv_protection_controller.go, isBeingUsed",
        ),
        pytest.param(
            of({"namespace": "shop", "name": "data"}, phase="Available", deleted=True),
            None,
            DROP_FINALIZER,
            "it has no claim",
            id="kept for a name, and deleted: pv_protection_controller.go, isBeingUsed",
        ),
        pytest.param(
            of(OWNER, phase="Released", deleted=True),
            live(ELSEWHERE),
            DELETE,
            "",
            id="released while its claim lives, and deleted",
        ),
        pytest.param(
            of(OWNER, identity="node2"), live(ELSEWHERE), LATER, "", id="another node's, released"
        ),
    ],
)
def test_a_pv_with_its_claim(
    pv: dict[str, Any], its_claim: dict[str, Any] | None, expected: str, said: str
) -> None:
    decision = with_claim(pv, its_claim)

    assert decision.action == expected, decision
    assert said in decision.sentence


def is_released(pv: dict[str, Any], its_claim: dict[str, Any] | None) -> bool:
    """isVolumeReleased of pv_controller.go, with what syncVolume has done before."""
    owner = pv["spec"].get("claimRef")
    if owner is None or not owner.get("uid"):
        return False
    if its_claim is None:
        return True
    return its_claim["spec"].get("volumeName", "") not in ("", pv["metadata"]["name"])


@for_all(
    owner=st.sampled_from([None, {"namespace": "shop", "name": "data"}, OWNER]),
    phase=st.sampled_from(["", "Pending", "Available", "Bound", "Released", "Failed"]),
    policy=st.sampled_from(["Delete", "Retain", "Recycle"]),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    bound_to=st.sampled_from([None, HERE, ELSEWHERE, UNBOUND]),
)
def test_in_no_state_storage_is_deleted_that_is_not_released_or_a_pv_kept_for_ever(
    owner: dict[str, str] | None,
    phase: str,
    policy: str,
    flags: tuple[bool, bool, bool],
    bound_to: str | None,
) -> None:
    held, deleted, awaits = flags
    pv = of(owner, phase=phase, policy=policy, held=held, deleted=deleted, awaits=awaits)
    has_claim = bool(owner and owner.get("uid")) and bound_to is not None
    its_claim = live(str(bound_to)) if has_claim else None

    action = with_claim(pv, its_claim).action

    reclaimed = phase in ("Released", "Failed") and is_released(pv, its_claim)
    if action == DELETE:
        assert reclaimed and policy == "Delete"
    if reclaimed and policy == "Delete" and not awaits:
        assert action == DELETE or (deleted and not held), "it would stay for ever"
    if action in (DROP_FINALIZER, LET_GO):
        assert held
        assert policy != "Delete" or (deleted and phase not in ("Bound", "Released", "Failed"))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        pytest.param(claim(), "", id="nothing changed"),
        pytest.param(None, "its claim is gone", id="it is gone, or another has its name"),
        pytest.param(
            claim(volumeName="pv-of-others"),
            "bound to the PV pv-of-others",
            id="kube-controller-manager found a PV that fits it: syncUnboundClaim",
        ),
        pytest.param(claim(volumeName="pvc-u1"), "", id="another leader has written the PV"),
        pytest.param(claim(deleted=True), "being deleted", id="it is being deleted"),
        pytest.param(claim(node="node2"), "went to node node2", id="the scheduler chose again"),
        pytest.param(claim(node=""), "node is chosen again", id="its node was taken off it"),
    ],
)
def test_a_volume_that_was_made_gets_its_pv_only_if_its_claim_still_wants_it(
    now: dict[str, Any] | None, said: str
) -> None:
    why = not_wanted(claim(), now, "pvc-u1", NODE)

    assert said in why
    assert bool(why) == bool(said)


def test_in_shared_mode_the_node_of_a_claim_does_not_matter() -> None:
    assert not_wanted(claim(node="a"), claim(node="b"), "pvc-u1", SHARED) == ""


@pytest.mark.parametrize("node", ["node1", ""])
def test_a_claim_that_lost_its_pv_is_never_bound_again_so_nothing_is_made_for_it(node: str) -> None:
    """syncBoundClaim: with bind-completed and without a volumeName it is Lost."""
    lost = claim(node=node)
    lost["metadata"]["annotations"][objects.BIND_COMPLETED] = "yes"

    decision = on_claim(lost, storage_class(late=bool(node)), NODE)

    assert decision.action == (REJECT if node else LATER)
    assert "counts it as Lost" in decision.sentence
