"""The test cluster itself: what the other tests rest on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.kube import machine
from tests.cluster.kube.cluster import DATA, STATE
from tests.cluster.namespaces import Kubernetes, pod
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_a_pod_runs_on_each_node_and_reaches_the_api_server(k8s: Kubernetes, node: str) -> None:
    k8s.apply(
        pod(
            "shell",
            [{"name": "none", "emptyDir": {}}],
            nodeSelector={"kubernetes.io/hostname": node},
        )
    )
    k8s.running("shell")

    answer = k8s.shell(
        "shell", "nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT < /dev/null"
    )

    assert k8s.node_of("shell") == node
    assert answer.returncode == 0


# Without these the API server does not answer.
STORE = ("etcd", "kube-apiserver")


def pids_without(names: set[str]) -> dict[str, str]:
    """The numbers of the cluster's processes but these, by name."""
    return {file.stem: file.read_text() for file in STATE.glob("*.pid") if file.stem not in names}


@pytest.mark.parametrize(
    "program",
    [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "containerd",
        "kubelet",
    ],
)
def test_a_program_is_killed_alone_and_comes_back(k8s: Kubernetes, program: str) -> None:
    cluster = k8s.cluster
    node = "node1" if program in ("containerd", "kubelet") else ""
    name = f"{node}-{program}" if node else program
    # The controller-manager ends by itself when the API server goes while it begins.
    not_ours = {name, "kube-controller-manager"} if program in STORE else {name}
    others = pids_without(not_ours)

    cluster.kill(program, node)
    assert machine.running(STATE, name) is None
    cluster.start(program, node)

    wait_until("the API server is ready", cluster.api_ready, 180)
    assert pids_without(not_ours) == others
    # A pod needs every one of them.
    k8s.apply(
        pod(
            "shell",
            [{"name": "none", "emptyDir": {}}],
            nodeSelector={"kubernetes.io/hostname": "node1"},
        )
    )
    k8s.running("shell")


def test_a_scheduler_that_ends_itself_is_started_anew(k8s: Kubernetes) -> None:
    old = machine.running(STATE, "kube-scheduler")
    assert old

    os.kill(old, signal.SIGKILL)

    wait_until(
        "there is another",
        lambda: machine.running(STATE, "kube-scheduler") not in (None, old),
    )


def test_a_second_cluster_on_the_machine_says_who_has_the_first(k8s: Kubernetes) -> None:
    code = (
        "from pathlib import Path; from tests.cluster.kube import cluster; "
        "cluster.Cluster(Path('/nowhere'))"
    )
    second = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    up = subprocess.run(
        ["./build.sh", "playground"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    down = subprocess.run(
        ["./build.sh", "playground", "--down"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    for refused in (second, up, down):
        assert refused.returncode != 0
        assert "another test cluster runs on this machine" in refused.stderr
        assert f"process {os.getpid()} " in refused.stderr
    assert k8s.cluster.api_ready()


def test_a_loop_device_made_inside_a_node_is_known_as_the_clusters(k8s: Kubernetes) -> None:
    """So that it is undone, although the path it shows is not in the state directory and nothing
    else removes it."""
    node = k8s.cluster.nodes["node1"]
    node.path("/var/lib/flexvol/abandoned").write_bytes(bytes(1 << 20))
    made = node.enter(
        "losetup", "--find", "--show", "/var/lib/flexvol/abandoned", capture_output=True
    ).stdout.strip()

    found = machine.left_behind(DATA)["loop devices"]

    machine.sh("losetup", "--detach", made)
    node.path("/var/lib/flexvol/abandoned").unlink()
    assert made in found
