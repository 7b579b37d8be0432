"""Drivers of one's own: the steps of docs/your-own-driver.md bring one to a pod, and several are
served beside the loop driver in one install."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import documents
from tests.cluster.commands import Ask, rows
from tests.cluster.kube.cluster import Cluster
from tests.cluster.kube.node import SHARED_STORAGE
from tests.cluster.namespaces import Kubernetes, storage_class
from tests.cluster.own_drivers import Author, author, second_disk
from tests.waiting import wait_until

CHAPTER = "From the file to the cluster"


@pytest.fixture
def writes(cluster: Cluster, tmp_path: Path) -> Iterator[Author]:
    """Somebody who writes drivers."""
    with second_disk(cluster, "/var/lib/flexvol-quota"), author(cluster, tmp_path / "tree") as one:
        yield one


def test_the_commands_of_the_page_bring_a_driver_of_ones_own_to_a_pod(
    writes: Author, cluster: Cluster
) -> None:
    *steps, use = documents.commands_in(documents.chapter(CHAPTER))
    assert [line.split()[1] for line in steps[:3]] == ["new-driver", "test", "image"]
    assert use.startswith("kubectl exec quota")

    for line in steps:
        writes.follow(line)

    default = Kubernetes(cluster, "default")
    wait_until("the pod has written", lambda: default.shell("quota", "cat /data/started", False))
    assert writes.follow(use).strip()
    claim = default.find("pvc", "quota")
    volume = default.find("pv", claim["spec"]["volumeName"])
    assert volume["spec"]["flexVolume"]["driver"] == "flexvol/quota"
    assert volume["metadata"]["annotations"]["flexvol/identity"] == default.node_of("quota")


def cluster_log(cluster: Cluster) -> str:
    flexvol = Kubernetes(cluster, "flexvol")
    return flexvol.run("logs", "deployment/flexvol-cluster", "--tail=-1").stdout


def test_several_drivers_are_served_beside_the_loop_driver_in_one_install(
    writes: Author, cluster: Cluster, k8s: Kubernetes, ask: Ask
) -> None:
    """One makes volumes on each node, one makes volumes that every node reaches."""
    writes.follow("./build.sh new-driver quota")
    writes.follow("./build.sh new-driver archive --mode shared")
    writes.move_storage("archive")
    files = " ".join(f"--driver drivers/{name}/{name}.py" for name in writes.names())
    writes.follow(f"./build.sh image {files}")
    loop = pods_of(cluster, "flexvol-node")
    for node in cluster.nodes.values():
        node.enter("mkdir", "-p", f"{SHARED_STORAGE}/archive")

    writes.follow("kubectl apply -k drivers")
    for workload in ("daemonset/flexvol-driver-quota", "deployment/flexvol-driver-archive"):
        writes.follow(f"kubectl -n flexvol rollout status {workload} --timeout=120s")

    for name in ("flexvol-loop", "quota", "archive"):
        k8s.claim(name, storage_class=name)
        k8s.pod(name, claim=name)
        k8s.shell(name, "echo kept > /data/file")
    check_commands(k8s, ask)
    check_duties(cluster, k8s)
    # Storage that every node reaches: the same file from the other node.
    (other,) = set(cluster.nodes) - {k8s.node_of("archive")}
    k8s.pod("elsewhere", claim="archive", node=other)
    assert k8s.shell("elsewhere", "cat /data/file").stdout == "kept\n"
    assert pods_of(cluster, "flexvol-node") == loop
    for name in ("flexvol-loop", "quota", "archive", "elsewhere"):
        k8s.delete("pod", name)
    for name in ("flexvol-loop", "quota", "archive"):
        volume = k8s.volume_of(name)["metadata"]["name"]
        k8s.delete("pvc", name)
        k8s.until_gone("pv", volume)


def check_commands(k8s: Kubernetes, ask: Ask) -> None:
    """kubectl flexvol finds the volumes of all drivers; those of shared mode are of no node."""
    _, seen, said = rows(ask)
    assert said["driversSilent"] == []
    nodes = {"loop": k8s.node_of("flexvol-loop"), "quota": k8s.node_of("quota"), "archive": ""}
    for name in ("flexvol-loop", "quota", "archive"):
        volume = k8s.volume_of(name)["metadata"]["name"]
        row = seen[volume]
        driver = name.removeprefix("flexvol-")
        assert (row["driver"], row["node"]) == (f"flexvol/{driver}", nodes[driver])
        assert (row["state"], row["claim"]) == ("bound", f"{k8s.namespace}/{name}")
        shown = ask("explain", name, "--namespace", k8s.namespace)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        assert volume in shown.stdout


def check_duties(cluster: Cluster, k8s: Kubernetes) -> None:
    """The cluster's instance does its duties for a driver that nobody named to it."""
    wait_until("the cluster's instance has learned", lambda: "quota" in cluster_log(cluster))
    at_once = f"quota-{k8s.namespace}"
    k8s.apply(
        storage_class(at_once, provisioner="quota.flexvol", volumeBindingMode="Immediate"),
    )
    try:
        k8s.claim("huge", storage_class=at_once, size="90Ti")
        k8s.event("huge", "ProvisioningFailed", "no node has room for")
        k8s.delete("pvc", "huge")
    finally:
        k8s.delete("storageclass", at_once)


def pods_of(cluster: Cluster, app: str) -> set[str]:
    """The uids of the pods."""
    found = Kubernetes(cluster, "flexvol").all("pods", f"app={app}")
    return {one["metadata"]["uid"] for one in found}
