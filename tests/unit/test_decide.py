"""What is done with a claim or a PV: the reference library's rules, row by row."""

from __future__ import annotations

from typing import Any

import pytest

import protocol
from controller import decide
from controller.decide import DELETE, HOLD, KEEP, LATER, PROVISION, REJECT, Identity

NODE = Identity({"loop.flexvol": "flexvol/loop"}, "node1", "node1")
SHARED = Identity({"nfs.flexvol": "flexvol/nfs"}, "shared", "")


def claim(provisioner: str = "loop.flexvol", node: str = "node1", deleted: bool = False, **spec: Any) -> dict[str, Any]:
    notes = {decide.PROVISIONER[0]: provisioner, decide.SELECTED_NODE: node}
    metadata: dict[str, Any] = {"name": "data", "namespace": "shop", "uid": "u1", "annotations": notes}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": metadata, "spec": {"storageClassName": "c", "accessModes": ["ReadWriteOnce"], **spec}}


def storage_class(provisioner: str = "loop.flexvol", late: bool = True, **parameters: str) -> dict[str, Any]:
    mode = "WaitForFirstConsumer" if late else "Immediate"
    return {
        "metadata": {"name": "c"}, "provisioner": provisioner, "volumeBindingMode": mode, "parameters": parameters,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "by", "expected", "said"),
    [
        (claim(), storage_class(), PROVISION, ""),
        (claim(volumeName="pv"), storage_class(), LATER, "bound"),
        (claim(provisioner="other"), storage_class(), LATER, "another provisioner"),
        (claim(provisioner=""), storage_class(), LATER, "another provisioner"),
        (claim(node="node2"), storage_class(), LATER, "node"),
        (claim(node=""), storage_class(), LATER, "node"),
        (claim(deleted=True), storage_class(), LATER, "being deleted"),
        (claim(), None, REJECT, 'class "c" does not exist'),
        (claim(), storage_class("other"), REJECT, "is of provisioner other now"),
        (claim(volumeMode="Block"), storage_class(), REJECT, "volumeMode Block"),
        (claim(selector={"matchLabels": {}}), storage_class(), PROVISION, ""),
        (claim(selector={"matchLabels": {"a": "b"}}), storage_class(), REJECT, "selector"),
        (claim(dataSource={"kind": "PersistentVolumeClaim"}), storage_class(), REJECT, "dataSource"),
        (claim(volumeAttributesClassName="gold"), storage_class(), REJECT, "volumeAttributesClassName"),
        (claim(accessModes=["ReadWriteMany"]), storage_class(), REJECT, "ReadWriteMany"),
        (claim(accessModes=["ReadWriteOncePod"]), storage_class(), PROVISION, ""),
        (claim(), storage_class(requestBytes="1"), REJECT, '"requestBytes"'),
        (claim(), {**storage_class(), "parameters": {"kubernetes.io/x": "1"}}, REJECT, '"kubernetes.io/x"'),
    ],
)
def test_on_claim_of_a_node(given: dict[str, Any], by: dict[str, Any] | None, expected: str, said: str) -> None:
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


def test_the_older_annotations_are_read_too() -> None:
    old = claim()
    old["metadata"]["annotations"] = {
        decide.PROVISIONER[1]: "loop.flexvol", decide.CLASS: "older", decide.SELECTED_NODE: "node1",
    }  # fmt: skip

    assert decide.waits_for_us(old, NODE)
    assert decide.class_name_of(old) == "older"


def volume(
    phase: str = "Released", policy: str = "Delete", identity: str = "node1", by: str = "loop.flexvol",
    driver: str = "flexvol/loop", held: bool = True, deleted: bool = False,
) -> dict[str, Any]:  # fmt: skip
    metadata: dict[str, Any] = {
        "name": "pvc-u1",
        "uid": "v1",
        "annotations": {decide.PROVISIONED_BY: by, decide.IDENTITY: identity},
        "finalizers": ["kubernetes.io/pv-protection", *([decide.FINALIZER] if held else [])],
    }
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
        (volume(policy="Retain"), KEEP),
        (volume(policy="Retain", held=False), LATER),
        (volume(identity="node2"), LATER),
        (volume(identity="node2", policy="Retain"), LATER),
        (volume(by="other"), LATER),
        (volume(driver="other/loop"), LATER),
    ],
)
def test_on_volume(given: dict[str, Any], expected: str) -> None:
    assert decide.on_volume(given, NODE).action == expected


def test_a_pv_of_another_kind_of_storage_is_not_ours() -> None:
    other = volume()
    other["spec"] = {"persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": "/"}}

    assert decide.on_volume(other, NODE).action == LATER


@pytest.mark.parametrize(
    ("failure", "node", "kind", "warn", "unknown"),
    [
        (protocol.InvalidArgument, "node1", "slow", True, False),
        (protocol.NotSupported, "node1", "slow", True, False),
        (protocol.ResourceExhausted, "node1", "reschedule", True, False),
        (protocol.Unavailable, "node1", "reschedule", True, False),
        (protocol.ResourceExhausted, "", "backoff", True, False),
        (protocol.Busy, "node1", "backoff", True, False),
        (protocol.NotFound, "node1", "backoff", True, False),
        (protocol.Pending, "node1", "soon", False, True),
        (protocol.Internal, "node1", "backoff", True, True),
        (protocol.Failure, "node1", "backoff", True, True),
    ],
)
def test_after_a_failure(failure: type[protocol.Failure], node: str, kind: str, warn: bool, unknown: bool) -> None:
    assert decide.after(failure("x"), node) == decide.Retry(kind, warn, unknown)
