"""Claims begin as copies of other claims, or with a snapshot, while the pods of the original
run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.claims import node_of, warnings
from tests.cluster.commands import Ask, rows
from tests.cluster.kube.cluster import Cluster
from tests.cluster.namespaces import Kubernetes, own_namespace, pod, storage_class
from tests.cluster.nodes import DRIVER, cordoned
from tests.cluster.reflinks import reflink_class

NODES = ("node1", "node2")
SUM = "cd /data && find . -type f ! -name later | sort | xargs sha256sum"


@pytest.fixture(scope="module")
def sharing(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A class whose pool is, on each node, on a disk with a file system that has reflinks."""
    with reflink_class(cluster, tmp_path_factory.mktemp("disks"), "copies", "xfs") as name:
        yield name


def copy_of(claim: str, **changes: str) -> dict[str, Any]:
    return {"dataSource": {"kind": "PersistentVolumeClaim", "name": claim, **changes}}


def with_data(k8s: Kubernetes, storage: str, node: str) -> str:
    """The claim `data` and its running pod `web` on that node; returns the checksums of its
    files."""
    k8s.claim(storage_class=storage, size="300Mi")
    k8s.pod("web", node=node)
    k8s.shell(
        "web",
        (
            "for i in 1 2 3 4; do dd if=/dev/urandom of=/data/$i bs=64k count=7 2>/dev/null; "
            "done; sync"
        ),
    )
    return k8s.shell("web", SUM).stdout


def from_snapshot(k8s: Kubernetes, name: str, snapshot: str, storage: str) -> None:
    k8s.apply({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "annotations": {"flexvol/from-snapshot": snapshot}},
        "spec": {
            "storageClassName": storage, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "400Mi"}},
        },
    })  # fmt: skip


@pytest.mark.parametrize("node", NODES)
def test_a_copy_of_a_running_pods_claim_is_made_on_its_node_wherever_the_scheduler_looked_first(
    k8s: Kubernetes, sharing: str, node: str
) -> None:
    wanted = with_data(k8s, sharing, node)
    with cordoned(k8s, node):
        k8s.claim("copy", size="400Mi", storage_class=sharing, **copy_of("data"))
        k8s.pod("second", claim="copy", wait=False)
        k8s.event(
            "copy",
            "ProvisioningFailed",
            f"the claim data, which it is to be a copy of, is on node {node}, so",
        )
        assert node_of(k8s.volume_of("copy")) == node
    k8s.running("second")

    assert k8s.node_of("second") == node
    assert wanted.count("\n") == 4
    assert k8s.shell("second", SUM).stdout == wanted
    assert int(k8s.shell("second", "df -m /data | tail -1").stdout.split()[1]) > 320
    k8s.shell("second", "echo x > /data/later; sync")
    assert k8s.shell("web", "ls /data").stdout.split() == ["1", "2", "3", "4"]
    assert k8s.shell("web", SUM).stdout == wanted


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param(("copy", "fresh"), id="the scheduler sends the copy first"),
        pytest.param(("fresh", "copy"), id="the scheduler sends the new claim first"),
    ],
)
def test_a_pod_with_a_copy_and_another_new_claim_runs_where_the_copy_is_made(
    k8s: Kubernetes, sharing: str, claims: tuple[str, str]
) -> None:
    with_data(k8s, sharing, "node1")
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    with cordoned(k8s, "node1"):
        k8s.claim("copy", size="400Mi", storage_class=sharing, **copy_of("data"))
        k8s.claim("fresh", size="300Mi", storage_class=sharing)
        k8s.apply(pod("second", volumes))
        k8s.event("copy", "ProvisioningFailed", "which it is to be a copy of, is on node node1, so")
        assert node_of(k8s.volume_of("copy")) == "node1"
    k8s.running("second")

    assert k8s.node_of("second") == "node1"
    assert node_of(k8s.volume_of("fresh")) == "node1"


def test_a_snapshot_of_a_running_pods_claim_comes_back_in_a_new_claim(
    k8s: Kubernetes, sharing: str, ask: Ask
) -> None:
    wanted = with_data(k8s, sharing, "node1")
    volume = k8s.volume_of()["metadata"]["name"]
    data = f"{k8s.namespace}/data"
    name = f"before-{k8s.namespace}"

    done = ask("snapshot", data, name)

    assert done.stdout.startswith(f"made {name} of {volume}: crash-consistent"), done
    k8s.shell("web", "rm /data/1; echo x > /data/2; sync")
    with cordoned(k8s, "node1"):
        from_snapshot(k8s, "restored", name, sharing)
        k8s.pod("second", claim="restored", wait=False)
        k8s.event(
            "restored",
            "ProvisioningFailed",
            f"node node2 has no snapshot {name}; the node that has it makes it",
        )
        assert node_of(k8s.volume_of("restored")) == "node1"
    k8s.running("second")
    assert k8s.shell("second", SUM).stdout == wanted

    frozen = (
        k8s.cluster.nodes["node1"]
        .enter(DRIVER, "snapshot", volume, "frozen-" + name, capture_output=True)
        .stdout
    )
    assert "its file system was frozen for it" in frozen
    assert ask("snapshot", "-n", k8s.namespace, "data", "--keep", "1").stdout.splitlines()[1:] == [
        f"deleted {old} of {volume}" for old in (name, "frozen-" + name)
    ]
    (kept,) = [one for one in rows(ask)[1].values() if one["state"] == "snapshot"]
    assert kept["name"].startswith(volume + "-2") and kept["wrong"] is False
    with own_namespace(k8s.cluster) as other:
        from_snapshot(other, "stolen", kept["name"], sharing)
        other.pod("thief", claim="stolen", node="node1", wait=False)
        # The message is the one for a snapshot that does not exist.
        other.event("stolen", "ProvisioningFailed", f"has no snapshot {kept['name']}")
        other.delete("pod", "thief")
    listed = ask("snapshot", "--list", data).stdout.splitlines()
    assert [line.split()[:4] for line in listed[1:]] == [[kept["name"], volume, data, "node1"]]
    refused = ask("snapshot", "--delete", volume)
    assert refused.returncode == 1 and "is no snapshot: it is bound" in refused.stderr
    assert ask("snapshot", "--delete", kept["name"]).returncode == 0
    assert ask("snapshot", "--list").stdout == "there are no snapshots\n"


def test_what_cannot_be_copied_says_once_what_to_do(k8s: Kubernetes, sharing: str) -> None:
    k8s.claim("volume-snapshot", storage_class=sharing, **copy_of(
        "x", kind="VolumeSnapshot", apiGroup="snapshot.storage.k8s.io"
    ))  # fmt: skip
    k8s.claim("of-nothing", storage_class=sharing, **copy_of("nothing"))
    for name in ("volume-snapshot", "of-nothing"):
        k8s.pod(f"pod-of-{name}", claim=name, wait=False)

    k8s.event(
        "volume-snapshot",
        "ProvisioningFailed",
        "VolumeSnapshot is CSI's alone: snapshots of `kubectl flexvol",
    )
    k8s.event(
        "of-nothing",
        "ProvisioningFailed",
        "the claim nothing, which it is to be a copy of, is not there",
    )
    assert len(warnings(k8s, "volume-snapshot")) == 1


def test_a_copy_in_a_class_that_binds_at_once_is_made_where_its_source_is(
    k8s: Kubernetes, sharing: str
) -> None:
    name = f"at-once-{k8s.namespace}"
    parameters = {"pool": sharing, "fsType": "ext4"}
    k8s.apply(storage_class(name, parameters=parameters, volumeBindingMode="Immediate"))
    try:
        for source in ("a", "b"):
            k8s.claim(source, storage_class=name)
            k8s.claim("copy-of-" + source, storage_class=name, **copy_of(source))
        for source in ("a", "b"):
            assert node_of(k8s.volume_of("copy-of-" + source)) == node_of(k8s.volume_of(source))
    finally:
        k8s.delete("storageclass", name)
