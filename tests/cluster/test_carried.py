"""A node that has another name, and a disk that is in another node: the PVs follow it, the claims
stay, and nothing is copied or deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.commands import provisioner
from tests.cluster.moving import data, filled, move, moves
from tests.cluster.namespaces import Kubernetes, Object, storage_class
from tests.cluster.nodes import DRIVER, volumes_on

POOL_NAME = "carried"
KEEP = "backup.example/keep"


def given_to(k8s: Kubernetes, name: str, node: str) -> None:
    """The PV as it would be if its node had had the name `node` when the volume was made."""
    k8s.run("patch", "pv", name, "-p", '{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}')
    volume = k8s.get("pv", name) or {}
    k8s.run("delete", "pv", name, "--wait=false")
    k8s.run("patch", "pv", name, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    k8s.until_gone("pv", name)
    notes = {**volume["metadata"]["annotations"], "flexvol/identity": node}
    expressions = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]
    spec = {
        **volume["spec"],
        "persistentVolumeReclaimPolicy": "Delete",
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}},
    }
    spec["claimRef"].pop("resourceVersion", None)
    metadata = {"name": name, "annotations": notes, "finalizers": [KEEP]}
    k8s.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": metadata,
            "spec": spec,
        }
    )
    k8s.until_phase("pv", name, "Bound")


def test_a_node_that_has_another_name_keeps_its_claims_and_their_data_by_one_command(
    k8s: Kubernetes,
) -> None:
    volumes = {claim: filled(k8s, claim) for claim in ("data", "more")}
    for claim in volumes:
        k8s.delete("pod", f"writer-{claim}")
    before = {claim: k8s.uid("pvc", claim) for claim in volumes}
    for name, _ in volumes.values():
        given_to(k8s, name, "old-name")
    first = volumes["data"][0]
    for command in ("adopt", "release"):
        printed = provisioner(command, first, check=False)
        assert "to keep its claim: kubectl flexvol move " + first in printed, printed

    done = move("--all", "--from", "old-name")

    assert "2 of 2 volumes of node old-name were moved" in done.stdout
    assert f"{first}, 64 MiB, from node old-name to node node1, whose disk is there already" in (
        done.stdout
    )
    assert moves(k8s.cluster) == []
    for claim, (name, total) in volumes.items():
        volume = k8s.get("pv", name) or {}
        found = k8s.get("pvc", claim) or {}
        assert volume["metadata"]["annotations"]["flexvol/identity"] == "node1"
        assert KEEP in volume["metadata"]["finalizers"], "another's finalizer is put back"
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        assert (found["metadata"]["uid"], found["status"]["phase"]) == (before[claim], "Bound")
        k8s.event(
            claim,
            "VolumeMoved",
            f"the volume {name} is on node node1 now, with all its data",
        )
        assert data(k8s, claim) == ("node1", total)
        k8s.run(
            "patch",
            "pv",
            name,
            "--type=json",
            "-p",
            json.dumps(
                [
                    remove(
                        volume,
                        KEEP,
                    )
                ]
            ),
        )
        k8s.delete("pvc", claim)
        k8s.until_gone("pv", name)
    assert volumes_on(k8s.cluster, "node1").isdisjoint(name for name, _ in volumes.values())


def remove(thing: Object, finalizer: str) -> Object:
    at = thing["metadata"]["finalizers"].index(finalizer)
    return {"op": "remove", "path": f"/metadata/finalizers/{at}"}


@pytest.fixture
def disk(k8s: Kubernetes) -> Iterator[str]:
    """A class whose pool is a disk of node1."""
    name = f"carried-{k8s.namespace}"
    nodes = k8s.cluster.nodes
    nodes["node1"].enter(DRIVER, "pool", "init", POOL_NAME, "--reserve", "0", capture_output=True)
    k8s.apply(storage_class(name, parameters={"pool": POOL_NAME}))
    yield name
    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)
    for node in nodes.values():
        for word in ("", "--away"):
            line = [DRIVER, "pool", "remove", POOL_NAME, *filter(None, [word])]
            node.enter(*line, check=False, capture_output=True)


def test_a_disk_that_is_in_another_node_takes_its_volumes_along_and_a_copy_of_it_does_not(
    k8s: Kubernetes, disk: str
) -> None:
    name, before = filled(k8s, storage_class=disk)
    k8s.delete("pod", "writer-data")
    claim = f"{k8s.namespace}/data"
    paths = {
        node: one.path(f"/var/lib/flexvol/{POOL_NAME}") for node, one in k8s.cluster.nodes.items()
    }
    aside = paths["node1"].with_name(f".{POOL_NAME}-copy")
    k8s.cluster.nodes["node2"].enter(
        "cp", "-a", "--sparse=always", paths["node1"], paths["node2"], capture_output=True
    )
    init = [DRIVER, "pool", "init", POOL_NAME, "--reserve", "0"]
    k8s.cluster.nodes["node2"].enter(*init, capture_output=True)

    done = move(claim, "--to", "node2", check=False)

    assert done.returncode == 1 and moves(k8s.cluster) == []
    assert "node node1 and node node2 both have a pool with the id" in done.stderr
    assert k8s.find("pv", name)["metadata"]["annotations"]["flexvol/identity"] == "node1"

    paths["node1"].rename(aside)  # its disk is taken out
    try:
        done = move(claim, "--to", "node2")

        assert f"{name} is on node node2" in done.stdout
        assert data(k8s) == ("node2", before)
        k8s.delete("pvc", "data")
        k8s.until_gone("pv", name)
        assert not (paths["node2"] / name).exists()
    finally:
        k8s.cluster.nodes["node1"].enter("rm", "-rf", aside, capture_output=True)
