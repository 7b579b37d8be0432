"""Volumes that are made before their claims, by a person."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests import documents
from tests.cluster.commands import provisioner
from tests.cluster.namespaces import Kubernetes, storage_class
from tests.cluster.nodes import POOL, by_hand, record, volumes_on
from tests.cluster.page_commands import follow
from tests.waiting import wait_until

CLASS = "flexvol-static"
SELECTOR = {"matchLabels": {"content": "films"}}


@pytest.fixture(autouse=True)
def own_class(k8s: Kubernetes) -> Iterator[None]:
    """And what a test that failed has left is removed, so that no other one finds it."""
    cluster = k8s.cluster
    k8s.apply(
        storage_class(
            CLASS,
            provisioner="kubernetes.io/no-provisioner",
            parameters={"fsType": "ext4"},
        )
    )
    yield
    k8s.cluster.kubectl("delete", "storageclass", CLASS, capture_output=True)
    if k8s.get("pv", "films") or volumes_on(cluster, "node1"):
        k8s.run("delete", "pod,pvc", "--all")
        k8s.run("delete", "pv", "films", "--ignore-not-found")
        by_hand(cluster, "node1", "adopt", "films")
        pool = json.loads(cluster.nodes["node1"].path(f"{POOL}/pool.json").read_text())
        by_hand(cluster, "node1", "delete", "films", pool="default", poolId=pool["id"])


def test_a_claim_selects_a_static_volume_which_is_its_own_then_and_stays_when_it_goes(
    k8s: Kubernetes,
) -> None:
    line = documents.command("kubectl flexvol static")
    cluster = k8s.cluster

    manifest = json.loads(provisioner(*line.split()[2:-1]).rpartition("status")[0])
    assert k8s.get("pv", "films") is None
    assert volumes_on(cluster, "node1") == set()  # only printed
    follow(cluster, line)
    assert "is there already" in follow(cluster, line)

    volume = k8s.get("pv", "films") or {}
    assert volume["metadata"]["labels"] == {"content": "films"} == manifest["metadata"]["labels"]
    for key in ("flexVolume", "capacity", "nodeAffinity"):
        assert volume["spec"][key] == manifest["spec"][key]
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert volumes_on(cluster, "node1") == {"films"}
    assert (record(cluster, "films")["reclaimPolicy"], record(cluster, "films")["blank"]) == (
        "Retain",
        False,
    )
    words = ("static", "films", "--node=node2", "--size=64Mi", f"--class={CLASS}")
    assert "there is a PV films already, and not of node node2" in provisioner(*words, check=False)

    k8s.claim(storage_class=CLASS, selector=SELECTOR)
    k8s.pod("web")
    k8s.shell("web", "echo kept > /data/file && sync")
    assert k8s.volume_of()["metadata"]["name"] == "films"
    uid = k8s.uid("pvc", "data")
    owner = {"namespace": k8s.namespace, "name": "data", "uid": uid}
    wait_until(
        "its record names the claim",
        lambda: record(cluster, "films")["owner"] == owner,
    )

    k8s.delete("pod", "web")
    k8s.delete("pvc", "data")
    k8s.until_phase("pv", "films", "Released")
    assert volumes_on(cluster, "node1") == {"films"}

    # Another claim gets it, and its data, by adopt; and one whose policy says so takes it along.
    k8s.run("delete", "pv", "films")
    k8s.claim("second", storage_class=CLASS)
    printed = provisioner("adopt", "films", "--claim", f"{k8s.namespace}/second")
    assert "adopted; its claim is there" in printed, printed
    k8s.pod("again", claim="second")
    assert k8s.shell("again", "cat /data/file").stdout == "kept\n"
    k8s.run("patch", "pv", "films", "-p", '{"spec": {"persistentVolumeReclaimPolicy": "Delete"}}')
    k8s.delete("pod", "again")
    k8s.delete("pvc", "second")
    k8s.until_gone("pv", "films")
    assert not cluster.nodes["node1"].path(f"{POOL}/films").exists()


def test_what_cannot_be_made_is_said_and_leaves_nothing(k8s: Kubernetes) -> None:
    for words, said in {
        ("--node=node9", "--size=64Mi", f"--class={CLASS}"): "no pod of flexvol is on node node9",
        ("--node=node1", "--size=64Mi", "--class=nothing"): "storage class nothing does not exist",
        ("--node=node1", "--size=32Ti", f"--class={CLASS}"): "pool default has no room",
        (
            "--node=node1",
            "--size=large",
            f"--class={CLASS}",
        ): "--size: large: expected a quantity, as 10Gi",
    }.items():
        printed = provisioner("static", "films", *words, "--apply", check=False)
        assert said in printed and not printed.endswith("status 0"), printed

    assert k8s.get("pv", "films") is None
    assert volumes_on(k8s.cluster, "node1") == set()
