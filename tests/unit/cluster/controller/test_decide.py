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
    ("given", "by", "expected", "words"),
    [
        pytest.param(
            claim(),
            storage_class(),
            PROVISION,
            "",
            id="a claim whose node was chosen is provisioned",
        ),
        pytest.param(
            claim(volumeName="pv"),
            storage_class(),
            LATER,
            "bound",
            id="a claim that asks for a PV is left to that PV",
        ),
        pytest.param(
            claim(provisioner="other"),
            storage_class(),
            LATER,
            "another provisioner",
            id="a claim of another provisioner is left to it",
        ),
        pytest.param(
            claim(provisioner=""),
            storage_class(),
            LATER,
            "another provisioner",
            id="a claim without a provisioner is nobody's yet",
        ),
        pytest.param(
            claim(node="node2"),
            storage_class(),
            LATER,
            "node",
            id="a claim of another node is left to that node",
        ),
        pytest.param(
            claim(node=""),
            storage_class(),
            LATER,
            "waits for a pod",
            id="a claim of a late class waits for a pod",
        ),
        pytest.param(
            claim(node=""),
            storage_class(late=False),
            TAKE,
            "",
            id="a claim that binds at once and has no node is taken",
        ),
        pytest.param(
            claim(node="node2"),
            storage_class(late=False),
            LATER,
            "node",
            id="a claim that binds at once and has another node is left to it",
        ),
        pytest.param(
            claim(),
            storage_class(late=False),
            PROVISION,
            "",
            id="a claim that binds at once and has this node is provisioned",
        ),
        pytest.param(
            claim(node="", volumeMode="Block"),
            storage_class(late=False),
            LATER,
            "volumeMode Block",
            id="what is wrong with a claim of no node is said by the duties and not by each node",
        ),
        pytest.param(
            claim(node=""),
            None,
            LATER,
            'class "c" does not exist',
            id="a class that does not exist is a matter of the duties while the claim has no node",
        ),
        pytest.param(
            claim(volumeMode="Block"),
            storage_class(late=False),
            REJECT,
            "volumeMode Block",
            id="a block volume is refused also where the claim binds at once",
        ),
        pytest.param(
            claim(deleted=True),
            storage_class(),
            LATER,
            "being deleted",
            id="a claim that is being deleted gets nothing",
        ),
        pytest.param(
            claim(),
            None,
            REJECT,
            'class "c" does not exist',
            id="a class that does not exist is said",
        ),
        pytest.param(
            claim(),
            storage_class("other"),
            REJECT,
            "is of provisioner other now",
            id="a class of another provisioner is said",
        ),
        pytest.param(
            claim(volumeMode="Block"),
            storage_class(),
            REJECT,
            "volumeMode Block",
            id="a block volume is refused",
        ),
        pytest.param(
            claim(selector={"matchLabels": {}}),
            storage_class(),
            PROVISION,
            "",
            id="an empty selector selects nothing and is no matter",
        ),
        pytest.param(
            claim(selector={"matchLabels": {"a": "b"}}),
            storage_class(),
            REJECT,
            "selector",
            id="a selector is refused",
        ),
        pytest.param(
            copy(),
            storage_class(),
            PROVISION,
            "",
            id="a copy of a claim is provisioned on its node",
        ),
        pytest.param(
            copy(node=""),
            storage_class(),
            TAKE,
            "",
            id="a copy without a node is taken by the node of its source, late or not",
        ),
        pytest.param(
            copy(apiGroup="snapshot.storage.k8s.io", kind="VolumeSnapshot"),
            storage_class(),
            REJECT,
            "VolumeSnapshot is CSI's alone",
            id="a snapshot of CSI is refused with the way to name ours",
        ),
        pytest.param(
            copy(namespace="bank"),
            storage_class(),
            REJECT,
            "a claim of its own namespace, shop, and is one of namespace 'bank'; make",
            id="a claim of another namespace is told which one it names",
        ),
        pytest.param(
            copy(namespace="shop"),
            storage_class(),
            PROVISION,
            "",
            id="a copy of a claim that is named with its own namespace is provisioned",
        ),
        pytest.param(
            of_snapshot(claim()),
            storage_class(),
            PROVISION,
            "",
            id="a claim that begins with a snapshot of ours is provisioned",
        ),
        pytest.param(
            of_snapshot(claim(node="")),
            storage_class(),
            TAKE,
            "",
            id="a claim that begins with a snapshot of ours is taken by the node that has it",
        ),
        pytest.param(
            of_snapshot(copy()),
            storage_class(),
            REJECT,
            "names a dataSource beside the annotation flexvol/from-snapshot",
            id="a claim that names both a claim and a snapshot contradicts itself",
        ),
        pytest.param(
            claim(volumeAttributesClassName="gold"),
            storage_class(),
            REJECT,
            "volumeAttributesClassName",
            id="a class of volume attributes is CSI's alone",
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
        pytest.param(
            claim(dataSource={"kind": "VolumeSnapshot"}),
            storage_class(),
            REJECT,
            "dataSource",
            id="a source in the older field alone is judged too",
        ),
        pytest.param(
            claim(accessModes=["ReadWriteMany"]),
            storage_class(),
            REJECT,
            "ReadWriteMany",
            id="many writers cannot share storage of one node",
        ),
        pytest.param(
            claim(accessModes=["ReadOnlyMany"]),
            storage_class(),
            REJECT,
            "ReadOnlyMany",
            id="many readers cannot share storage of one node",
        ),
        pytest.param(
            claim(accessModes=["ReadWriteOnce", "ReadOnlyMany"]),
            storage_class(),
            REJECT,
            "ReadOnlyMany",
            id="one access mode that is not possible is enough",
        ),
        pytest.param(
            claim(storageClassName=""),
            None,
            REJECT,
            "names no storage class",
            id="an empty class name is no class",
        ),
        pytest.param(
            claim(storageClassName=None),
            None,
            REJECT,
            "names no storage class",
            id="a class name that is null is no class",
        ),
        pytest.param(
            claim(accessModes=["ReadWriteOncePod"]),
            storage_class(),
            PROVISION,
            "",
            id="a claim for a single pod is provisioned",
        ),
        pytest.param(
            claim(),
            storage_class(requestBytes="1"),
            REJECT,
            '"requestBytes"',
            id="a parameter of the class that stands for a key of ours is refused",
        ),
        pytest.param(
            claim(),
            storage_class(onNodeGone="keep"),
            PROVISION,
            "",
            id="a class that keeps its volumes when a node is gone is served",
        ),
        pytest.param(
            claim(),
            storage_class(onNodeGone="release"),
            PROVISION,
            "",
            id="a class that gives its volumes up when a node is gone is served",
        ),
        pytest.param(
            claim(),
            storage_class(onNodeGone="drop"),
            REJECT,
            "is 'drop'; it is keep or release",
            id="a class with an unknown word for a node that is gone is refused",
        ),
        pytest.param(
            claim(),
            storage_class(onNodeGone=""),
            REJECT,
            "keep or release",
            id="a class with an empty word for a node that is gone is refused",
        ),
        pytest.param(
            claim(),
            {**storage_class(), "parameters": {"kubernetes.io/x": "1"}},
            REJECT,
            '"kubernetes.io/x"',
            id="a parameter of the class in kubelet's own namespace is refused",
        ),
    ],
)
def test_on_claim_of_a_node(
    given: dict[str, Any], by: dict[str, Any] | None, expected: str, words: str
) -> None:
    decision = on_claim(given, by, NODE)

    assert decision.action == expected, decision
    assert words in decision.sentence


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
        pytest.param(None, True, id="a class without topologies allows every node"),
        pytest.param([], True, id="a class with an empty list of topologies allows every node"),
        pytest.param(
            [{"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]}],
            True,
            id="a label with one of the values is enough",
        ),
        pytest.param(
            [{"matchLabelExpressions": [{"key": "zone", "values": ["b"]}]}],
            False,
            id="a label with another value is not allowed",
        ),
        pytest.param(
            [{"matchLabelExpressions": [{"key": "rack", "values": ["a"]}]}],
            False,
            id="a node without the label is not allowed",
        ),
        pytest.param(
            [
                {
                    "matchLabelExpressions": [
                        {"key": "zone", "values": ["a"]},
                        {"key": "disk", "values": ["hdd"]},
                    ]
                }
            ],
            False,
            id="all parts of a term must hold",
        ),
        pytest.param(
            [
                {"matchLabelExpressions": [{"key": "zone", "values": ["b"]}]},
                {"matchLabelExpressions": [{"key": "disk", "values": ["ssd"]}]},
            ],
            True,
            id="one term of several is enough",
        ),
    ],
)
def test_is_allowed(topologies: Any, allowed: bool) -> None:
    storage_class = StorageClass({"allowedTopologies": topologies})

    assert decide.is_allowed(storage_class, {"zone": "a", "disk": "ssd"}) == allowed


@pytest.mark.parametrize(
    ("rooms", "expected"),
    [
        pytest.param({"me": 10}, 0, id="the only node is the first"),
        pytest.param({"me": 10, "other": 11}, 1, id="a node with more room comes before"),
        pytest.param(
            {"me": 10, "other": 11, "third": 12}, 2, id="two nodes with more room come before"
        ),
        pytest.param(
            {"me": 10, "other": 4}, 0, id="a node without room for the claim does not count"
        ),
        pytest.param(
            {"me": 4, "other": 11}, None, id="a node without room for the claim does not take it"
        ),
        pytest.param({"other": 11}, None, id="a node whose room is not published does not take it"),
        pytest.param({"me": 5}, 0, id="a claim that just fits is taken"),
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


def test_without_published_room_chance_orders_the_nodes_of_each_claim_anew() -> None:
    numbers = range(200)
    assert {decide.rank({}, f"node{number}", 5, "u1") for number in numbers} == set(range(8))
    assert {decide.rank({}, "me", 5, f"u{number}") for number in numbers} == set(range(8))


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
        pytest.param("loop.flexvol", "other", PROVISION, id="the newer annotation names us"),
        pytest.param("other", "loop.flexvol", LATER, id="the newer annotation names another"),
        pytest.param(
            "", "loop.flexvol", PROVISION, id="an empty newer annotation leaves the older one"
        ),
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
        pytest.param(volume(), DELETE, id="a released PV is deleted"),
        pytest.param(
            volume(deleted=True),
            DELETE,
            id="a released PV that somebody deletes is deleted with its storage",
        ),
        pytest.param(
            volume(deleted=True, held=False),
            LATER,
            id="a released PV that somebody deletes and we do not hold goes by itself",
        ),
        pytest.param(volume(held=False), DELETE, id="a released PV that we do not hold is deleted"),
        pytest.param(volume(phase="Bound"), LATER, id="a bound PV is in use"),
        pytest.param(
            volume(phase="Bound", held=False),
            ADD_FINALIZER,
            id="a bound PV whose policy became Delete gets our finalizer",
        ),
        pytest.param(
            volume(phase="Bound", held=False, deleted=True),
            LATER,
            id="a bound PV that is being deleted gets no finalizer any more",
        ),
        pytest.param(
            volume(phase="Bound", deleted=True),
            LATER,
            id="a bound PV that somebody deletes stays while it is in use",
        ),
        pytest.param(volume(phase="Failed"), DELETE, id="a failed PV is deleted as a released one"),
        pytest.param(
            volume(phase="Failed", held=False, deleted=True),
            LATER,
            id="a failed PV that we do not hold goes by itself",
        ),
        pytest.param(
            volume(phase="Failed", policy="Retain"),
            DROP_FINALIZER,
            id="a failed PV that is kept loses our finalizer",
        ),
        pytest.param(volume(phase="Available"), LATER, id="an available PV waits"),
        pytest.param(
            volume(phase="Available", deleted=True),
            LET_GO,
            id="an available PV that somebody deletes is let go",
        ),
        pytest.param(
            volume(phase="Pending", deleted=True),
            LET_GO,
            id="a new PV that somebody deletes is let go",
        ),
        pytest.param(
            volume(phase="Pending", deleted=True, held=False),
            LATER,
            id="a new PV that somebody deletes and we do not hold goes by itself",
        ),
        pytest.param(
            volume(phase="Pending", deleted=True, identity="node2"),
            LATER,
            id="a new PV of another node that somebody deletes is left to that node",
        ),
        pytest.param(
            volume(phase="Available", held=False),
            LATER,
            id="an available PV that we do not hold waits",
        ),
        pytest.param(volume(phase="Pending"), LATER, id="a new PV waits"),
        pytest.param(volume(phase=""), LATER, id="a PV without a phase waits"),
        pytest.param({**volume(), "status": {}}, LATER, id="a PV with an empty status waits"),
        pytest.param(
            {key: value for key, value in volume().items() if key != "status"},
            LATER,
            id="a PV without a status waits",
        ),
        pytest.param(
            volume(policy="Recycle"),
            DROP_FINALIZER,
            id="a PV that is to be recycled keeps its storage and loses our finalizer",
        ),
        pytest.param(
            volume(policy="Recycle", held=False),
            LATER,
            id="a PV that is to be recycled and we do not hold is left alone",
        ),
        pytest.param(
            volume(phase="Bound", policy="Retain", held=False),
            LATER,
            id="a bound PV that is kept is left alone",
        ),
        pytest.param(
            volume(policy="Retain"),
            DROP_FINALIZER,
            id="a released PV that is kept loses our finalizer",
        ),
        pytest.param(
            volume(policy="Retain", held=False),
            LATER,
            id="a released PV that is kept and we do not hold is left alone",
        ),
        pytest.param(
            volume(identity="node2"), LATER, id="a released PV of another node is left to that node"
        ),
        pytest.param(
            volume(identity="node2", policy="Retain"),
            LATER,
            id="a kept PV of another node is left to that node",
        ),
        pytest.param(volume(by="other"), LATER, id="a PV of another provisioner is not ours"),
        pytest.param(volume(driver="other/loop"), LATER, id="a PV of another driver is not ours"),
        pytest.param(
            of(OWNER, awaits=True),
            ADOPT,
            id="a released PV that awaited a claim tells the driver first",
        ),
        pytest.param(
            of(OWNER, awaits=True, policy="Retain"),
            ADOPT,
            id="a kept PV that awaited a claim tells the driver first",
        ),
        pytest.param(
            of(OWNER, awaits=True, phase="Bound", deleted=True),
            ADOPT,
            id="a bound PV that awaited a claim tells the driver, also while it is being deleted",
        ),
        pytest.param(
            of(OWNER, awaits=True, phase="Failed"),
            ADOPT,
            id="a failed PV that awaited a claim tells the driver first",
        ),
        pytest.param(
            of(None, awaits=True, policy="Retain", held=False),
            LATER,
            id="a PV that is freed to await another claim has none to tell of",
        ),
        pytest.param(
            volume(awaits=True, phase="Available", held=False),
            LATER,
            id="an available PV goes on awaiting its claim",
        ),
        pytest.param(
            volume(awaits=True, phase="Bound", identity="node2"),
            LATER,
            id="a PV of another node that awaited a claim is left to that node",
        ),
    ],
)
def test_on_volume(given: dict[str, Any], expected: str) -> None:
    assert on_volume(given, NODE).action == expected


def test_a_pv_of_another_kind_of_storage_is_not_ours() -> None:
    other = volume()
    other["spec"] = {"persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": "/"}}

    assert on_volume(other, NODE).action == LATER


@pytest.mark.parametrize(
    "notes",
    [
        pytest.param(None, id="annotations that are null"),
        pytest.param({}, id="no annotations"),
        pytest.param(
            {objects.PROVISIONED_BY: "loop.flexvol"}, id="a provisioner without an instance"
        ),
        pytest.param({objects.IDENTITY: "node1"}, id="an instance without a provisioner"),
    ],
)
def test_a_pv_made_by_hand_is_not_ours(notes: dict[str, str] | None) -> None:
    """Its driver's name alone is nothing."""
    made = volume()
    made["metadata"]["annotations"] = notes
    bare = volume()
    del bare["metadata"]["annotations"]

    assert [on_volume(one, NODE).action for one in (made, bare)] == [LATER, LATER]


def test_an_instance_whose_name_is_empty_has_the_pvs_that_say_so_and_no_others() -> None:
    nameless = Identity(NODE.drivers, "", "")
    made_by_hand = volume()
    del made_by_hand["metadata"]["annotations"][objects.IDENTITY]

    assert on_volume(volume(identity=""), nameless).action == DELETE
    assert on_volume(made_by_hand, nameless).action == LATER


# A PV and its claim, as kube-controller-manager can leave them. Each row's source is a function of
# pkg/controller/volume/persistentvolume/pv_controller.go in Kubernetes 1.37, or the file it names.


@pytest.mark.parametrize(
    ("pv", "its_claim", "expected", "words"),
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
    pv: dict[str, Any], its_claim: dict[str, Any] | None, expected: str, words: str
) -> None:
    decision = with_claim(pv, its_claim)

    assert decision.action == expected, decision
    assert words in decision.sentence


RECLAIMED = ("Released", "Failed")


def is_released(pv: dict[str, Any], its_claim: dict[str, Any] | None) -> bool:
    """isVolumeReleased of pv_controller.go, with what syncVolume has done before."""
    owner = pv["spec"].get("claimRef")
    if owner is None or not owner.get("uid"):
        return False
    if its_claim is None:
        return True
    return its_claim["spec"].get("volumeName", "") not in ("", pv["metadata"]["name"])


PHASES = ("", "Pending", "Available", "Bound", "Released", "Failed")
POLICIES = ("Delete", "Retain", "Recycle")


@for_all(
    owner=st.sampled_from([None, {"namespace": "shop", "name": "data"}, OWNER]),
    phase=st.sampled_from(PHASES),
    policy=st.sampled_from(POLICIES),
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

    is_wanted = policy == "Delete" and phase in RECLAIMED and is_released(pv, its_claim)
    if action == DELETE:
        assert is_wanted
    if is_wanted and not awaits:
        assert action == DELETE or (deleted and not held), "it would stay for ever"
    if action in (DROP_FINALIZER, LET_GO):
        assert held
        assert policy != "Delete" or is_deleted_before_use(pv)


def is_deleted_before_use(pv: dict[str, Any]) -> bool:
    if "deletionTimestamp" not in pv["metadata"]:
        return False
    return pv["status"]["phase"] not in ("Bound", *RECLAIMED)


@pytest.mark.parametrize(
    ("now", "words"),
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
    now: dict[str, Any] | None, words: str
) -> None:
    why = not_wanted(claim(), now, "pvc-u1", NODE)

    assert words in why
    assert bool(why) == bool(words)


def test_in_shared_mode_the_node_of_a_claim_does_not_matter() -> None:
    assert not_wanted(claim(node="a"), claim(node="b"), "pvc-u1", SHARED) == ""


@pytest.mark.parametrize(
    "node",
    [
        pytest.param("node1", id="a claim with a node is refused"),
        pytest.param("", id="a claim without a node is left to the duties"),
    ],
)
def test_a_claim_that_lost_its_pv_is_never_bound_again_so_nothing_is_made_for_it(node: str) -> None:
    """syncBoundClaim: with bind-completed and without a volumeName it is Lost."""
    lost = claim(node=node)
    lost["metadata"]["annotations"][objects.BIND_COMPLETED] = "yes"

    decision = on_claim(lost, storage_class(late=bool(node)), NODE)

    assert decision.action == (REJECT if node else LATER)
    assert "counts it as Lost" in decision.sentence
