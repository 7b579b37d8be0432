"""kubelet restarts and driver updates pass by running pods unnoticed."""

from __future__ import annotations

from tests.cluster.conftest import DRIVER, Kubernetes, volumes_on
from tests.cluster.kube.cluster import wait_until


def mountinfo(k8s: Kubernetes, node: str) -> str:
    shown: str = k8s.cluster.nodes[node].enter("cat", "/proc/self/mountinfo", capture_output=True).stdout
    return shown


def test_kubelet_restarted_in_the_middle_of_a_pods_life(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")
    k8s.shell("web", "echo kept > /data/file")

    k8s.cluster.restart("kubelet", "node1")

    wait_until("kubelet serves again", lambda: k8s.shell("web", "cat /data/file", check=False).stdout == "kept\n")
    assert k8s.shell("web", "echo more >> /data/file").returncode == 0
    k8s.delete("pod", "web")
    name = k8s.volume_of()["metadata"]["name"]
    wait_until("it is unmounted", lambda: name not in mountinfo(k8s, "node1"))
    k8s.delete("pvc", "data")
    wait_until("the PV is gone", lambda: k8s.get("pv", name) is None)
    assert volumes_on(k8s.cluster, "node1") == set()


def test_the_driver_is_updated_while_pods_run(k8s: Kubernetes) -> None:
    """A new version is another file: here one whose header says so, put there as the DaemonSet's update does."""
    k8s.claim()
    k8s.pod("web", node="node1")
    k8s.shell("web", "echo kept > /data/file")
    driver = k8s.cluster.nodes["node1"].path(DRIVER)
    older = driver.stat().st_ino
    content = driver.read_bytes().replace(b"#!/bin/sh\n", b"#!/bin/sh\n# an older version\n", 1)
    aside = driver.with_name(".older")
    aside.write_bytes(content)
    aside.chmod(0o755)
    aside.rename(driver)

    k8s.cluster.kubectl("-n", "flexvol", "rollout", "restart", "daemonset/flexvol-node", capture_output=True)
    k8s.cluster.kubectl(
        "-n", "flexvol", "rollout", "status", "daemonset/flexvol-node", "--timeout=120s", capture_output=True
    )

    assert b"an older version" not in driver.read_bytes()
    assert driver.stat().st_ino != older
    assert k8s.shell("web", "cat /data/file").stdout == "kept\n"
    k8s.pod("next", node="node1")
    assert k8s.shell("next", "cat /data/file").stdout == "kept\n"
    k8s.delete("pod", "web", "next")


def test_the_provisioner_finishes_and_exits_cleanly_on_sigterm(k8s: Kubernetes) -> None:
    (pod,) = [
        one
        for one in Kubernetes(k8s.cluster, "flexvol").all("pods", "-l", "app=flexvol-node")
        if one["spec"]["nodeName"] == "node2"
    ]
    flexvol = Kubernetes(k8s.cluster, "flexvol")
    flexvol.run("delete", "pod", pod["metadata"]["name"], "--wait=true")

    k8s.cluster.kubectl(
        "-n", "flexvol", "rollout", "status", "daemonset/flexvol-node", "--timeout=120s", capture_output=True
    )
    k8s.claim()
    k8s.pod("web", node="node2")
