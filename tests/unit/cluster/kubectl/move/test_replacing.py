"""The PV that a moved volume gets: the same, on another node."""

from __future__ import annotations

from cluster.controller.objects import Volume
from cluster.kubectl.move.replacing import manifest
from tests.unit.cluster.kubectl.move.manifests import (
    JSON,
    VOLUME,
)


def test_it_is_the_other_nodes_and_says_retain_and_all_else_is_as_it_was() -> None:
    made = manifest(VOLUME, "node2", "host-2", "77").json

    assert made["metadata"] == {
        "name": "pvc-u1",
        "labels": {"tier": "db"},
        "annotations": {
            "flexvol/identity": "node2",
            "flexvol/on-node-gone": "release",
            "pv.kubernetes.io/provisioned-by": "loop.flexvol",
        },
        "finalizers": ["backup.example/keep"],
        "ownerReferences": JSON["metadata"]["ownerReferences"],
    }
    spec = made["spec"]
    assert spec.pop("persistentVolumeReclaimPolicy") == "Retain"
    assert spec.pop("flexVolume") == {
        **JSON["spec"]["flexVolume"],
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
    assert JSON["metadata"]["annotations"]["flexvol/identity"] == "node1"
    assert "status" not in made


def test_a_pv_that_no_claim_was_ever_bound_to_names_none() -> None:
    unbound = {
        **JSON,
        "spec": {key: value for key, value in JSON["spec"].items() if key != "claimRef"},
    }

    assert "claimRef" not in manifest(Volume(unbound), "node2", "host-2", "77").spec


def test_a_disk_that_has_another_name_where_it_is_now_is_named_so() -> None:
    options = manifest(VOLUME, "node2", "host-2", "5f", "carried").options
    assert options == {"pool": "carried", "poolId": "5f"}
