"""Objects of a cluster with two nodes, as explain reads them, and scenes made of them."""

from __future__ import annotations

from typing import Any

from cluster.controller.objects import (
    FROM_SNAPSHOT,
    HOSTNAME,
    IDENTITY,
    PROVISIONED_BY,
    PROVISIONER,
    Claim,
    Node,
    Object,
    Pod,
    StorageClass,
    Volume,
)
from cluster.controller.storage import Listed
from cluster.kubectl.explain.findings import Finding
from cluster.kubectl.explain.pods import on_pod
from cluster.kubectl.explain.rooms import on_rooms
from cluster.kubectl.explain.scene import Scene, WaitingClaim
from cluster.kubectl.nodes import FlexvolNode, FlexvolPod

GIB = 1 << 30
DRIVER = "flexvol/loop"
DRIVERS = {"loop.flexvol": DRIVER}


def claim(
    name: str, volume: str = "", size: str = "1Gi", notes: Object | None = None, **spec: Any
) -> Object:
    asked = {"resources": {"requests": {"storage": size}}, "storageClassName": "fast", **spec}
    if volume:
        asked["volumeName"] = volume
    metadata = {"namespace": "shop", "name": name, "uid": f"uid-{name}"}
    annotations = {PROVISIONER[0]: "loop.flexvol", **(notes or {})}
    status = {"phase": "Bound" if volume else "Pending"}
    return {"metadata": {**metadata, "annotations": annotations}, "spec": asked, "status": status}


def volume(name: str, node: str, of: str) -> Object:
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "metadata": {
            "name": name,
            "annotations": {PROVISIONED_BY: "loop.flexvol", IDENTITY: node},
        },
        "spec": {
            "flexVolume": {"driver": DRIVER, "options": {"pool": "default"}},
            "claimRef": {"namespace": "shop", "name": of, "uid": f"uid-{of}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
            "persistentVolumeReclaimPolicy": "Delete",
        },
    }


def storage_class(late: bool = True, topologies: Any = None, **parameters: str) -> Object:
    return {
        "metadata": {"name": "fast"},
        "provisioner": "loop.flexvol",
        "volumeBindingMode": "WaitForFirstConsumer" if late else "Immediate",
        "allowedTopologies": topologies,
        "parameters": parameters,
    }


def node(name: str, ready: str = "True", **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": ready, "message": "no kubelet"}]},
    }


def flexvol(name: str, trouble: str = "") -> FlexvolNode:
    """The node with a pod of flexvol on it."""
    return FlexvolNode(name, (FlexvolPod(f"flexvol/p-{name}", (DRIVER,), name, trouble),))


def labelled(name: str, hostname: str, **labels: str) -> Object:
    of_node = {HOSTNAME: hostname, **labels}
    return {**node(name), "metadata": {"name": name, "labels": of_node}}


def pool(name: str = "default", free: int = 8 * GIB, **more: Any) -> Object:
    return {"name": name, "freeBytes": free, "maximumVolumeBytes": free, "byName": True, **more}


def pod(*claims: str, **spec: Any) -> Object:
    volumes = [
        {"name": f"v{number}", "persistentVolumeClaim": {"claimName": name}}
        for number, name in enumerate(claims)
    ]
    unscheduled = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}
    return {
        "metadata": {"namespace": "shop", "name": "web", "uid": "uid-web"},
        "spec": {"volumes": volumes, **spec},
        "status": {"conditions": [] if spec.get("nodeName") else [unscheduled]},
    }


def scene(
    claims: list[Object] | None = None,
    volumes: list[Object] | None = None,
    pools: dict[str, list[Object]] | None = None,
    nodes: list[Object] | None = None,
    listed: list[Object] | None = None,
    **more: Any,
) -> Scene:
    """Two nodes with flexvol, each with the pool default, unless something else is said. listed:
    the entries of node1."""
    pools = {"node1": [pool()], "node2": [pool()]} if pools is None else pools
    of_node1 = listed or []
    known = nodes or [node("node1"), node("node2")]
    answers = {
        (name, DRIVER): Listed(of_node1 if name == "node1" else [], of_node)
        for name, of_node in pools.items()
    }
    fields: dict[str, Any] = {
        "drivers": DRIVERS,
        "claims": {one["metadata"]["name"]: Claim(one) for one in claims or []},
        "volumes": {one["metadata"]["name"]: Volume(one) for one in volumes or []},
        "classes": {"fast": StorageClass(storage_class())},
        "nodes": {one["metadata"]["name"]: Node(one) for one in known},
        "flexvol_nodes": {name: flexvol(name) for name in ("node1", "node2")},
        "listed": answers,
        "silent": {},
        "published": {},
    }
    return Scene(**{**fields, **more})


BOUND = [claim("data", "pv-data")]
AT_NODE1 = [volume("pv-data", "node1", "data")]
TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
TOLERATION = {"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}
EPHEMERAL = {"volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}]}
FROM = {FROM_SNAPSHOT: "before"}
SNAPSHOT = {
    "name": "before",
    "kind": "snapshot",
    "owner": {"namespace": "shop"},
    "pool": "default",
    "sizeBytes": GIB,
}


def waiting(claim: Object, storage_class: Object) -> WaitingClaim:
    return WaitingClaim(Claim(claim), StorageClass(storage_class))


def of_pod(pod: Object, there: Scene, warning: str = "") -> list[Finding]:
    """What is told of the pod."""
    return on_pod(Pod(pod), there, warning)


def of_rooms(
    claim: Object, storage_class: Object, there: Scene, pods: list[Object] | None = None
) -> list[Finding]:
    """What is told of the rooms for the claim."""
    return on_rooms(waiting(claim, storage_class), there, [Pod(one) for one in pods or []])
