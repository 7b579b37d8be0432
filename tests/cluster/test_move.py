"""A volume goes to another node with its data and its claim, whatever kills the one who moves it;
and archives, which no instance touches before their time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests import documents
from tests.cluster.commands import provisioner
from tests.cluster.kube.cluster import STATE, Cluster
from tests.cluster.kube.machine import PREFIX
from tests.cluster.moving import SUM, data, filled, move, moves
from tests.cluster.namespaces import Kubernetes, Object, pod, storage_class
from tests.cluster.nodes import DRIVER, cordoned, volumes_on
from tests.cluster.page_commands import follow
from tests.sources import ROOT
from tests.waiting import wait_until

NETWORK = ["nsenter", f"--net=/run/netns/{PREFIX}cp"]
KUBECONFIG = STATE / "admin.kubeconfig"


def kill_mover(*words: str) -> subprocess.CompletedProcess[str]:
    line = [
        *NETWORK,
        sys.executable,
        "-m",
        "tests.cluster.killed_mover",
        str(KUBECONFIG),
        *words,
    ]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    return done


def listed(cluster: Cluster, node: str, name: str) -> list[Object]:
    done = cluster.nodes[node].enter(DRIVER, "list", capture_output=True)
    return [
        one
        for one in json.loads(done.stdout)["volumes"]
        if name in (one["name"], one.get("archiveOf"))
    ]


def test_a_volume_is_moved_when_no_pod_uses_it_and_its_pods_find_their_data_on_the_other_node(
    k8s: Kubernetes,
) -> None:
    name, before = filled(k8s)
    said = move(name, "--to", "node2", check=False)
    assert (said.returncode, moves(k8s.cluster)) == (1, [])
    assert "is in use by pod writer-data" in said.stderr
    k8s.delete("pod", "writer-data")
    assert "is on node node1 already" in move(name, "--to", "node1").stdout
    assert "no pod of flexvol is on node node9" in move(name, "--to", "node9", check=False).stderr
    uid = k8s.uid("pvc", "data")

    done = move(name, "--to", "node2")

    assert f"{name} is on node node2" in done.stdout
    assert name not in volumes_on(k8s.cluster, "node1")
    # kube-controller-manager may yet write that the claim was lost while there was no PV.
    k8s.until_phase("pvc", "data", "Bound")
    volume = k8s.get("pv", name)
    claim = k8s.get("pvc", "data")
    assert volume is not None and claim is not None
    assert volume["metadata"]["annotations"]["flexvol/identity"] == "node2"
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    assert claim["metadata"]["uid"] == uid
    assert data(k8s) == ("node2", before)
    assert moves(k8s.cluster) == []
    wait_until(
        "the other node's instance holds it",
        lambda: k8s.find("pv", name)["metadata"].get("finalizers"),
    )
    k8s.delete("pvc", "data")
    wait_until(
        "it is deleted there",
        lambda: name not in volumes_on(k8s.cluster, "node2"),
    )


def test_killed_after_each_change_and_amid_its_stream_it_goes_on_and_loses_nothing(
    k8s: Kubernetes, campaign: bool
) -> None:
    """At each of them in a campaign, else at each third."""
    name, before = filled(k8s)
    k8s.delete("pod", "writer-data")

    done = kill_mover(name, "node1", "node2", "0", "1" if campaign else "3")

    said = [json.loads(text) for text in done.stdout.splitlines()]
    killed, ended = ([one for one in said if key in one] for key in ("killed", "sum"))
    assert len(killed) >= (10 if campaign else 4)
    assert len(ended) == len(killed) + 1
    assert {one["sum"] for one in ended} == {ended[0]["sum"]}
    assert (
        len(volumes_on(k8s.cluster, "node1") & {name})
        + len(volumes_on(k8s.cluster, "node2") & {name})
        == 1
    )
    assert k8s.find("pv", name)["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    assert moves(k8s.cluster) == []
    assert data(k8s) == (ended[-1]["to"], before)


def test_the_drain_of_the_page_ends_all_pods_but_those_the_move_needs(k8s: Kubernetes) -> None:
    """The instance for all nodes has an emptyDir, as the Deployment here."""
    labels = {"app": "scratch"}
    template = pod("scratch", [{"name": "scratch", "emptyDir": {}}])
    scratch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "scratch"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
        },
    }
    with cordoned(k8s, "node2"):
        k8s.apply(scratch)
        k8s.run("rollout", "status", "deployment/scratch", "--timeout=90s")
    line = documents.command("kubectl drain node1")
    try:
        follow(k8s.cluster, line)

        on_node = k8s.cluster.kubectl(
            *("get", "pods", "--all-namespaces", "--field-selector=spec.nodeName=node1"),
            *("-o", "name"),
            capture_output=True,
        ).stdout.split()
        assert [name.rpartition("-")[0] for name in on_node] == ["pod/flexvol-node"]
    finally:
        k8s.cluster.kubectl("uncordon", "node1", capture_output=True)


def test_a_drained_node_gives_all_its_volumes_to_another_but_those_in_use(k8s: Kubernetes) -> None:
    name, before = filled(k8s)
    busy, _ = filled(k8s, "busy")
    k8s.delete("pod", "writer-data")
    driver = k8s.cluster.nodes["node1"]
    keep = ("snapshot", name, "kept-" + name)
    wait_until(
        "it is copied",
        lambda: driver.enter(DRIVER, *keep, check=False, capture_output=True).returncode == 0,
    )
    with cordoned(k8s, "node1"):
        k8s.pod("waits", claim="data", wait=False)  # as a StatefulSet makes it anew

        done = move("--all", "--from", "node1", check=False)

        assert done.returncode == 1
        (sentence,) = [line for line in done.stderr.splitlines() if busy in line]
        assert sentence.startswith(f"{busy} is in use by pod writer-busy")
        assert "1 of 2 volumes of node node1 were moved" in done.stdout
        k8s.running("waits")
        assert k8s.node_of("waits") == "node2"
        assert k8s.shell("waits", SUM).stdout == before
        k8s.delete("pod", "writer-busy")
        done = move("--all", "--from", "node1", "--to", "node2", check=False)
        assert "1 of 1 volumes of node node1 were moved" in done.stdout
        assert busy in volumes_on(k8s.cluster, "node2")
        assert done.returncode == 1
        cluster_line, *rest = done.stderr.splitlines()
        # The command names the volume before anything is changed.
        assert cluster_line.startswith("cluster ")
        assert rest == [f"kept-{name} stays on node node1: it is snapshot"]
        driver.enter(DRIVER, "snapshot", "--delete", "kept-" + name, capture_output=True)
        assert "0 of 0 volumes of node node1 were moved" in move("--all", "--from", "node1").stdout


def test_a_move_that_is_not_done_is_taken_back(k8s: Kubernetes) -> None:
    name, before = filled(k8s)
    k8s.delete("pod", "writer-data")
    kill_mover(name, "node1", "node2", "4")  # amid its stream
    assert len(moves(k8s.cluster)) == 1
    (old,) = listed(k8s.cluster, "node1", name)
    assert (old["state"], old["movingTo"]) == ("moving", "node2")
    assert "is on its way to node node2" in move(name, "--to", "node3", check=False).stderr

    done = move(name, "--to", "node1")

    assert f"{name} stays on node node1" in done.stdout
    # Half a stream is not left either.
    assert not [one for one in volumes_on(k8s.cluster, "node2") if name in one]
    assert moves(k8s.cluster) == []
    assert k8s.find("pv", name)["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    assert data(k8s) == ("node1", before)


@pytest.fixture
def archiving(k8s: Kubernetes) -> Iterator[str]:
    name = f"archiving-{k8s.namespace}"
    k8s.apply(
        storage_class(
            name,
            parameters={"onDelete": "archive", "archiveFor": "720h"},
        )
    )
    yield name
    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def test_what_a_class_archives_is_kept_without_a_pv_is_no_orphan_and_comes_back(
    k8s: Kubernetes, archiving: str
) -> None:
    name, before = filled(k8s, storage_class=archiving)
    k8s.delete("pod", "writer-data")
    k8s.delete("pvc", "data")
    k8s.until_gone("pv", name)
    (archive,) = listed(k8s.cluster, "node1", name)
    assert (archive["state"], archive["archiveOf"]) == ("archived", name)

    printed = provisioner("adopt", archive["name"])

    assert f"adopted as {name}; it awaits its claim" in printed, printed
    k8s.claim("data", storage_class=archiving)
    assert k8s.volume_of()["metadata"]["name"] == name
    assert data(k8s) == ("node1", before)
    awaits = "flexvol/awaits-claim"
    wait_until(
        "its record names the claim",
        lambda: awaits not in json.dumps(k8s.get("pv", name)),
    )
    owner = k8s.find("pv", name)["spec"]["claimRef"]
    options = k8s.find("pv", name)["spec"]["flexVolume"]["options"]
    k8s.delete("pvc", "data")
    k8s.run("delete", "pv", name)  # which says Retain, as every adopted one
    request = {
        "kubernetes.io/pvOrVolumeName": name, **options,
        **{f"kubernetes.io/pvc.{key}": owner[key] for key in ("namespace", "name", "uid")},
    }  # fmt: skip
    node = k8s.cluster.nodes["node1"]
    # Now the volume is an orphan; as an archive it was none.
    Kubernetes(k8s.cluster, "default").event("node1", "VolumeOrphaned", name)
    events = Kubernetes(k8s.cluster, "default").all(
        "events",
        fields="reason=VolumeOrphaned",
    )
    assert not [one for one in events if archive["name"] in one["message"]]
    node.enter(DRIVER, "delete", json.dumps(request), capture_output=True)
    (archive,) = listed(k8s.cluster, "node1", name)
    request["kubernetes.io/pvOrVolumeName"] = archive["name"]
    node.enter(DRIVER, "delete", json.dumps(request), capture_output=True)
    assert listed(k8s.cluster, "node1", name) == []
