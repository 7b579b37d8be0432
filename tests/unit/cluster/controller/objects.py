"""Claims, classes and PVs as the API server has them, for tests of what is decided about them."""

from __future__ import annotations

from typing import Any

from cluster.controller import objects
from cluster.controller.identity import Identity

DRIVERS = {"loop.flexvol": "flexvol/loop"}
NODE = Identity(dict(DRIVERS), "node1", "node1")
SHARED = Identity({"nfs.flexvol": "flexvol/nfs"}, "shared", "")
AFFINITY: dict[str, Any] = {"required": {}}
OWNER = {"namespace": "shop", "name": "data", "uid": "u1"}
# The PV that a claim names.
HERE = "pvc-u1"
ELSEWHERE = "pv-of-others"
UNBOUND = ""


def claim(
    provisioner: str = "loop.flexvol", node: str = "node1", deleted: bool = False, **spec: Any
) -> dict[str, Any]:
    notes = {objects.PROVISIONER[0]: provisioner, objects.SELECTED_NODE: node}
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


def of_snapshot(given: dict[str, Any]) -> dict[str, Any]:
    given["metadata"]["annotations"][objects.FROM_SNAPSHOT] = "before"
    return given


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
        "annotations": {objects.PROVISIONED_BY: by, objects.IDENTITY: identity},
        "finalizers": ["kubernetes.io/pv-protection", *([objects.FINALIZER] if held else [])],
    }
    if awaits:
        metadata["annotations"][objects.AWAITS_CLAIM] = "true"
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    spec = {"persistentVolumeReclaimPolicy": policy, "flexVolume": {"driver": driver}}
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase}}


def of(owner: dict[str, str] | None, **changes: Any) -> dict[str, Any]:
    """A PV with that claimRef."""
    made = volume(**changes)
    if owner is not None:
        made["spec"]["claimRef"] = owner
    return made


def live(bound_to: str) -> dict[str, Any]:
    return {"metadata": dict(OWNER), "spec": {"volumeName": bound_to} if bound_to else {}}


def volume_of_node(
    mark: str = "", by: str = "loop.flexvol", affinity: Any = AFFINITY, **options: str
) -> dict[str, Any]:
    """A PV whose storage is on node1, with the options that its driver gave it."""
    notes = {
        objects.PROVISIONED_BY: by,
        objects.IDENTITY: "node1",
        objects.ON_NODE_GONE: "release",
        objects.LOST: mark,
    }
    return {
        "metadata": {"name": "pvc-u1", "uid": "v1", "annotations": notes},
        "spec": {
            "nodeAffinity": affinity,
            "claimRef": {"namespace": "shop", "name": "data", "uid": "u1"},
            "flexVolume": {"driver": "flexvol/loop", "options": options},
        },
    }
