"""What is done with a claim or a PV: the reference library's rules, row by row."""

from __future__ import annotations

from typing import Any

import pytest

import protocol
from controller import decide
from controller.decide import DELETE, HOLD, KEEP, LATER, OWN, PROVISION, REJECT, TAKE, Identity

NODE = Identity({"loop.flexvol": "flexvol/loop"}, "node1", "node1")
SHARED = Identity({"nfs.flexvol": "flexvol/nfs"}, "shared", "")


def claim(
    provisioner: str = "loop.flexvol", node: str = "node1", deleted: bool = False, **spec: Any
) -> dict[str, Any]:
    notes = {decide.PROVISIONER[0]: provisioner, decide.SELECTED_NODE: node}
    metadata: dict[str, Any] = {
        "name": "data",
        "namespace": "shop",
        "uid": "u1",
        "annotations": notes,
    }
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {
        "metadata": metadata,
        "spec": {"storageClassName": "c", "accessModes": ["ReadWriteOnce"], **spec},
    }


def storage_class(
    provisioner: str = "loop.flexvol", late: bool = True, **parameters: str
) -> dict[str, Any]:
    mode = "WaitForFirstConsumer" if late else "Immediate"
    return {
        "metadata": {"name": "c"},
        "provisioner": provisioner,
        "volumeBindingMode": mode,
        "parameters": parameters,
    }


def copy(node: str = "node1", **changes: str) -> dict[str, Any]:
    """A claim that is to be a copy of another."""
    return claim(
        node=node, dataSourceRef={"kind": "PersistentVolumeClaim", "name": "old", **changes}
    )


def of_snapshot(given: dict[str, Any]) -> dict[str, Any]:
    given["metadata"]["annotations"][decide.FROM_SNAPSHOT] = "before"
    return given


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
        (copy(namespace="bank"), storage_class(), REJECT, "a claim of its own namespace"),
        (copy(namespace="shop"), storage_class(), PROVISION, ""),
        (of_snapshot(claim()), storage_class(), PROVISION, ""),
        (of_snapshot(claim(node="")), storage_class(), TAKE, ""),
        (
            of_snapshot(copy()),
            storage_class(),
            REJECT,
            "without the annotation flexvol/from-snapshot",
        ),
        (
            claim(volumeAttributesClassName="gold"),
            storage_class(),
            REJECT,
            "volumeAttributesClassName",
        ),
        (
            claim(dataSourceRef={"apiGroup": "a.example", "kind": "Image"}),
            storage_class(),
            REJECT,
            "dataSource",
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
    decision = decide.on_claim(given, by, NODE)

    assert decision.action == expected, decision
    assert said in decision.sentence


def test_on_claim_in_shared_mode() -> None:
    at_once = storage_class("nfs.flexvol", late=False)
    late = storage_class("nfs.flexvol")
    many = claim("nfs.flexvol", node="", accessModes=["ReadWriteMany"])

    assert decide.on_claim(many, at_once, SHARED).action == PROVISION
    assert decide.on_claim(many, late, SHARED).action == LATER
    assert decide.on_claim(claim("nfs.flexvol", node="any"), late, SHARED).action == PROVISION


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
    assert (
        decide.is_allowed({"allowedTopologies": topologies}, {"zone": "a", "disk": "ssd"})
        == allowed
    )


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
        decide.PROVISIONER[1]: "loop.flexvol",
        decide.CLASS: "older",
        decide.SELECTED_NODE: "node1",
    }

    assert decide.waits_for_us(old, NODE)
    assert decide.class_name_of(old) == "older"
    assert decide.on_claim(old, storage_class(), NODE).action == PROVISION


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
    both["metadata"]["annotations"][decide.PROVISIONER[1]] = older

    assert decide.on_claim(both, storage_class(), NODE).action == expected


def test_a_claim_that_names_no_class_has_none() -> None:
    without = claim()
    del without["spec"]["storageClassName"]

    assert decide.class_name_of(without) == ""
    assert "names no storage class" in decide.on_claim(without, None, NODE).sentence


def volume(
    phase: str = "Released",
    policy: str = "Delete",
    identity: str = "node1",
    by: str = "loop.flexvol",
    driver: str = "flexvol/loop",
    held: bool = True,
    deleted: bool = False,
    awaits: bool = False,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": "pvc-u1",
        "uid": "v1",
        "annotations": {decide.PROVISIONED_BY: by, decide.IDENTITY: identity},
        "finalizers": ["kubernetes.io/pv-protection", *([decide.FINALIZER] if held else [])],
    }
    if awaits:
        metadata["annotations"][decide.AWAITS_CLAIM] = "true"
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    spec = {"persistentVolumeReclaimPolicy": policy, "flexVolume": {"driver": driver}}
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (volume(), DELETE),
        (volume(deleted=True), DELETE),
        (volume(deleted=True, held=False), LATER),
        (volume(held=False), DELETE),
        (volume(phase="Bound"), LATER),
        (volume(phase="Bound", held=False), HOLD),
        (volume(phase="Bound", held=False, deleted=True), LATER),
        (volume(phase="Bound", deleted=True), LATER),
        (volume(phase="Failed"), LATER),
        (volume(phase="Available"), LATER),
        (volume(phase="Available", held=False), LATER),
        (volume(phase="Pending"), LATER),
        (volume(phase=""), LATER),
        ({**volume(), "status": {}}, LATER),
        ({key: value for key, value in volume().items() if key != "status"}, LATER),
        (volume(policy="Recycle"), KEEP),
        (volume(policy="Recycle", held=False), LATER),
        (volume(phase="Bound", policy="Retain", held=False), LATER),
        (volume(policy="Retain"), KEEP),
        (volume(policy="Retain", held=False), LATER),
        (volume(identity="node2"), LATER),
        (volume(identity="node2", policy="Retain"), LATER),
        (volume(by="other"), LATER),
        (volume(driver="other/loop"), LATER),
        (volume(awaits=True), OWN),
        (volume(awaits=True, policy="Retain"), OWN),
        (volume(awaits=True, phase="Bound", deleted=True), OWN),
        (volume(awaits=True, phase="Available", held=False), LATER),
        (volume(awaits=True, phase="Bound", identity="node2"), LATER),
    ],
)
def test_on_volume(given: dict[str, Any], expected: str) -> None:
    assert decide.on_volume(given, NODE).action == expected


def test_a_pv_of_another_kind_of_storage_is_not_ours() -> None:
    other = volume()
    other["spec"] = {"persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": "/"}}

    assert decide.on_volume(other, NODE).action == LATER


@pytest.mark.parametrize(
    "notes", [None, {}, {decide.PROVISIONED_BY: "loop.flexvol"}, {decide.IDENTITY: "node1"}]
)
def test_a_pv_made_by_hand_is_not_ours(notes: dict[str, str] | None) -> None:
    """Its driver's name alone is nothing."""
    made = volume()
    made["metadata"]["annotations"] = notes
    bare = volume()
    del bare["metadata"]["annotations"]

    assert [decide.on_volume(one, NODE).action for one in (made, bare)] == [LATER, LATER]


@pytest.mark.parametrize(
    ("failure", "node", "kind", "warn", "unknown"),
    [
        (protocol.InvalidArgument, "node1", "slow", True, False),
        (protocol.NotSupported, "node1", "slow", True, False),
        (protocol.ResourceExhausted, "node1", "reschedule", True, False),
        (protocol.Unavailable, "node1", "reschedule", True, False),
        (protocol.ResourceExhausted, "", "backoff", True, False),
        (protocol.Busy, "node1", "backoff", True, True),
        (protocol.NotFound, "node1", "backoff", True, False),
        (protocol.Pending, "node1", "soon", False, True),
        (protocol.Internal, "node1", "backoff", True, True),
        (protocol.Failure, "node1", "backoff", True, True),
        (protocol.Unavailable, "", "backoff", True, False),
    ],
)
def test_after_a_failure(
    failure: type[protocol.Failure], node: str, kind: str, warn: bool, unknown: bool
) -> None:
    assert decide.after(failure("x"), node) == decide.Retry(kind, warn, unknown)


def source(phase: str = "Bound", name: str = "c") -> dict[str, Any]:
    spec = {"storageClassName": name, "volumeName": "pvc-u1"}
    return {
        "metadata": {"name": "old", "namespace": "shop", "uid": "u0"},
        "spec": spec,
        "status": {"phase": phase},
    }


def bound(identity: str = "node1", uid: str = "u0", **changes: Any) -> dict[str, Any]:
    found = volume(phase="Bound", identity=identity, **changes)
    found["spec"].update(claimRef={"uid": uid}, nodeAffinity={"required": {}})
    return found


@pytest.mark.parametrize(
    ("of", "pv", "kind", "said"),
    [
        (None, None, protocol.NotFound, "the claim old, which it is to be a copy of, is not there"),
        (source("Pending"), None, protocol.NotFound, "not bound"),
        (source("Lost"), bound(), protocol.NotFound, "not bound"),
        (source(name="other"), bound(), protocol.InvalidArgument, 'is of storage class "other"'),
        (source(), bound(uid="u7"), protocol.InvalidArgument, "not its own"),
        (source(), bound(by="other"), protocol.InvalidArgument, "not of this provisioner"),
        (source(), bound(driver="other/loop"), protocol.InvalidArgument, "not of this provisioner"),
        (source(), bound("node2"), protocol.Unavailable, "is on node node2, so it is made there"),
    ],
)
def test_a_copy_of_what_cannot_be_copied_here(
    of: Any, pv: Any, kind: type[protocol.Failure], said: str
) -> None:
    with pytest.raises(kind, match=said):
        decide.check_source(copy(), of, pv, NODE)


def test_a_copy_of_a_bound_claim_of_this_node_can_be_made() -> None:
    decide.check_source(copy(), source(), bound(), NODE)
