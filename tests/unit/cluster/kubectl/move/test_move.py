"""The PV that a moved volume gets: the same, on another node; and what a person's words lead to."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.controller import cluster
from cluster.controller.objects import Node, Volume
from cluster.controller.storage import Listed
from cluster.kubectl import move
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.beginning import check_unused
from cluster.kubectl.move.carried import has_pool, has_volume, is_off
from cluster.kubectl.move.replacing import manifest

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


@pytest.mark.parametrize(
    ("pools", "expected"),
    [
        pytest.param([{"name": "fast", "id": "5f"}], True, id="the very pool"),
        pytest.param([{"name": "other", "id": "5f"}], True, id="the very pool, by another name"),
        pytest.param([{"name": "fast", "id": "77"}], False, id="another pool of that name"),
        pytest.param(
            [{"name": "fast", "id": "5f", "error": "it is not mounted"}],
            False,
            id="a pool that is known and away",
        ),
        pytest.param([{"name": "fast"}], False, id="a pool without an id"),
        pytest.param([], False, id="no pool"),
    ],
)
def test_a_node_has_the_volumes_disk_if_it_has_the_pool_of_that_id(
    pools: list[dict[str, Any]], expected: bool
) -> None:
    assert has_pool(VOLUME, Listed([], pools)) == expected


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([{"name": "pvc-u1", "poolId": "5f"}], True, id="the volume in that pool"),
        pytest.param(
            [{"name": "pvc-u1", "poolId": "77"}], False, id="a volume of that name elsewhere"
        ),
        pytest.param([{"name": "pvc-u2", "poolId": "5f"}], False, id="a cloned node's own volumes"),
        pytest.param([], False, id="a cloned node without volumes"),
    ],
)
def test_a_cloned_nodes_pool_is_where_the_volume_can_be_copied_to(
    entries: list[dict[str, Any]], expected: bool
) -> None:
    assert has_volume(VOLUME, Listed(entries, [{"name": "fast", "id": "5f"}])) == expected


def test_a_volume_that_names_no_pool_by_id_is_on_no_other_nodes_disk() -> None:
    spec = {**JSON["spec"], "flexVolume": {"driver": "a/b", "options": {"pool": "fast"}}}
    assert not has_pool(Volume({**JSON, "spec": spec}), Listed([], [{"name": "fast"}]))


def node(ready: str, *taints: str) -> dict[str, Any]:
    return {
        "spec": {"taints": [{"key": taint} for taint in taints]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


OUT = "node.kubernetes.io/out-of-service"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(None, True, id="a Node object that is gone is somebody's decision"),
        pytest.param(node("True"), False, id="a node that runs"),
        pytest.param(node("Unknown"), False, id="a node that is only silent may still write"),
        pytest.param(
            node("Unknown", "node.kubernetes.io/unreachable"),
            False,
            id="Kubernetes' own taint of a silent node is nobody's word",
        ),
        pytest.param(node("Unknown", OUT), True, id="a silent node that a person calls off"),
        pytest.param(node("False", OUT), True, id="a node that is not ready, and called off"),
        pytest.param(node("True", OUT), False, id="a node that is called off and runs"),
        pytest.param({"spec": {}}, False, id="a node that was never heard of"),
    ],
)
def test_a_node_is_off_if_a_person_says_so_and_it_is_silent(
    found: dict[str, Any] | None, expected: bool
) -> None:
    assert is_off(Node.of(found)) == expected


class _Api:
    """A cluster without claims. node: the one that the PV names, if it is there."""

    def __init__(self, node: dict[str, Any] | None) -> None:
        self._node = node

    def get(self, path: str) -> Any:
        assert path == cluster.path_to(cluster.NODES, "node1")
        return self._node

    def claim(self, whose: dict[str, Any]) -> None:
        return None


@pytest.mark.parametrize(
    ("old_node", "changes", "refused"),
    [
        pytest.param(node("True"), {}, True, id="its node is there, and deletes it"),
        pytest.param(node("Unknown"), {}, True, id="its node is silent, and may be back"),
        pytest.param(None, {}, False, id="its node is gone, so nobody else would ever delete it"),
        pytest.param(
            None, {"deletionTimestamp": "now"}, True, id="a person deletes the PV of a node gone"
        ),
    ],
)
def test_a_volume_whose_claim_is_gone_moves_only_if_its_node_cannot_delete_it(
    old_node: dict[str, Any] | None, changes: dict[str, Any], refused: bool
) -> None:
    api: Any = _Api(old_node)
    access = Access(api, {"loop.flexvol": "flexvol/loop"}, "flexvol", print)
    volume = Volume({**JSON, "metadata": {**JSON["metadata"], **changes}})
    if refused:
        with pytest.raises(NotMoved, match="is being deleted, or its claim shop/data is not bound"):
            check_unused(access, volume, "node1")
    else:
        check_unused(access, volume, "node1")


class _NothingThere:
    """An API server that has neither PVs nor moves, and no nodes."""

    def items(self, _: str) -> Iterator[dict[str, Any]]:
        return iter(())

    def get(self, _: str) -> None:
        return None


def test_a_node_that_is_not_there_is_no_drained_one() -> None:
    """A script that wipes the node next must not go on after a misspelt name."""
    settings = argparse.Namespace(
        all=True, source="nod1", to=None, volume=None, namespace="flexvol"
    )
    api: Any = _NothingThere()

    with pytest.raises(NotMoved, match="there is no node nod1, and no volume names it"):
        move.run(api, {}, settings)


def test_a_reader_who_leaves_ends_no_move() -> None:
    program = "from cluster.kubectl import move; move._say('1'); move._say('2'); print('3')"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(move.__file__).parents[3],
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (0, b"")
