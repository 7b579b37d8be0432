"""A PV and a node, as the API server has them."""

from __future__ import annotations

from typing import Any

from cluster.controller.objects import Volume

JSON: dict[str, Any] = {
    "metadata": {
        "name": "pvc-u1",
        "uid": "v1",
        "resourceVersion": "7",
        "labels": {"tier": "db"},
        "finalizers": [
            "kubernetes.io/pv-protection",
            "external-provisioner.volume.kubernetes.io/finalizer",
            "backup.example/keep",
        ],
        "ownerReferences": [{"kind": "Backup", "name": "nightly", "uid": "b1"}],
        "annotations": {
            "flexvol/identity": "node1",
            "flexvol/lost": "its pool was replaced",
            "flexvol/on-node-gone": "release",
            "pv.kubernetes.io/provisioned-by": "loop.flexvol",
        },
    },
    "spec": {
        "capacity": {"storage": "64Mi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Delete",
        "claimRef": {"namespace": "shop", "name": "data", "uid": "u1", "resourceVersion": "3"},
        "flexVolume": {
            "driver": "flexvol/loop",
            "options": {"pool": "fast", "poolId": "5f"},
            "secretRef": {"namespace": "vault", "name": "key"},
        },
        "nodeAffinity": {"required": {"nodeSelectorTerms": []}},
    },
    "status": {"phase": "Bound"},
}
VOLUME = Volume(JSON)


def node(ready: str, *taints: str) -> dict[str, Any]:
    return {
        "spec": {"taints": [{"key": taint} for taint in taints]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }
