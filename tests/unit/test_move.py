"""The PV that a moved volume gets: the same, on another node."""

from __future__ import annotations

from typing import Any

from administration.move import manifest

VOLUME: dict[str, Any] = {
    "metadata": {
        "name": "pvc-u1",
        "uid": "v1",
        "resourceVersion": "7",
        "labels": {"tier": "db"},
        "finalizers": ["kubernetes.io/pv-protection"],
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


def test_it_is_the_other_nodes_and_says_retain_and_all_else_is_as_it_was() -> None:
    made = manifest(VOLUME, "node2", "host-2", "77")

    assert made["metadata"] == {
        "name": "pvc-u1",
        "labels": {"tier": "db"},
        "annotations": {
            "flexvol/identity": "node2",
            "flexvol/on-node-gone": "release",
            "pv.kubernetes.io/provisioned-by": "loop.flexvol",
        },
    }
    spec = made["spec"]
    assert spec.pop("persistentVolumeReclaimPolicy") == "Retain"
    assert spec.pop("flexVolume") == {
        **VOLUME["spec"]["flexVolume"],
        "options": {"pool": "fast", "poolId": "77"},
    }
    assert spec.pop("claimRef") == {"namespace": "shop", "name": "data", "uid": "u1"}
    (term,) = spec.pop("nodeAffinity")["required"]["nodeSelectorTerms"]
    assert term == {
        "matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["host-2"]}
        ]
    }
    assert spec == {"capacity": {"storage": "64Mi"}, "accessModes": ["ReadWriteOnce"]}
    assert VOLUME["metadata"]["annotations"]["flexvol/identity"] == "node1"
    assert "status" not in made


def test_a_pv_that_no_claim_was_ever_bound_to_names_none() -> None:
    unbound = {
        **VOLUME,
        "spec": {key: value for key, value in VOLUME["spec"].items() if key != "claimRef"},
    }

    assert "claimRef" not in manifest(unbound, "node2", "host-2", "77")["spec"]
