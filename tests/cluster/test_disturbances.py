"""kubelet restarts and driver updates pass by running pods unnoticed."""

from __future__ import annotations

import os
import signal

from tests.cluster.killed_provisioner import beside
from tests.cluster.namespaces import Kubernetes, Object, ours
from tests.cluster.nodes import DRIVER, volumes_on
from tests.cluster.processes import one_process
from tests.waiting import wait_until


def mountinfo(k8s: Kubernetes, node: str) -> str:
    shown: str = (
        k8s.cluster.nodes[node].enter("cat", "/proc/self/mountinfo", capture_output=True).stdout
    )
    return shown


def test_kubelet_restarted_in_the_middle_of_a_pods_life(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")
    k8s.shell("web", "echo kept > /data/file")

    k8s.cluster.restart("kubelet", "node1")

    wait_until(
        "kubelet serves again",
        lambda: k8s.shell("web", "cat /data/file", check=False).stdout == "kept\n",
    )
    assert k8s.shell("web", "echo more >> /data/file").returncode == 0
    k8s.delete("pod", "web")
    name = k8s.volume_of()["metadata"]["name"]
    wait_until("it is unmounted", lambda: name not in mountinfo(k8s, "node1"))
    k8s.delete("pvc", "data")
    k8s.until_gone("pv", name)
    assert volumes_on(k8s.cluster, "node1") == set()


def test_the_driver_is_updated_while_pods_run(k8s: Kubernetes) -> None:
    """A new version is another file: here one whose header says so, put there as the DaemonSet's
    update does. Node2 shall have no flexvol, and the update does not wait for it."""
    k8s.claim()
    k8s.pod("web", node="node1")
    k8s.shell("web", "echo kept > /data/file")
    driver = k8s.cluster.nodes["node1"].path(DRIVER)
    older = driver.stat().st_ino
    content = driver.read_bytes().replace(
        b"#!/bin/sh\n",
        b"#!/bin/sh\n# header-of-before\n",
        1,
    )
    aside = driver.with_name(".older")
    aside.write_bytes(content)
    aside.chmod(0o755)
    aside.rename(driver)

    flexvol = Kubernetes(k8s.cluster, "flexvol")

    def served() -> set[str]:
        return {pod["spec"]["nodeName"] for pod in flexvol.all("pods", "app=flexvol-node")}

    k8s.cluster.kubectl("label", "node", "node2", "flexvol/exclude=true", capture_output=True)
    try:
        wait_until("node2 has no flexvol", lambda: served() == {"node1"})
        flexvol.run("rollout", "restart", "daemonset/flexvol-node")
        flexvol.run("rollout", "status", "daemonset/flexvol-node", "--timeout=120s")
        assert served() == {"node1"}
    finally:
        k8s.cluster.kubectl("label", "node", "node2", "flexvol/exclude-", capture_output=True)
    wait_until("node2 has flexvol again", lambda: served() == {"node1", "node2"})
    flexvol.run("rollout", "status", "daemonset/flexvol-node", "--timeout=120s")

    assert b"header-of-before" not in driver.read_bytes()
    assert driver.stat().st_ino != older
    assert k8s.shell("web", "cat /data/file").stdout == "kept\n"
    k8s.pod("next", node="node1")
    assert k8s.shell("next", "cat /data/file").stdout == "kept\n"
    k8s.delete("pod", "web", "next")


def test_what_is_in_hand_at_sigterm_is_finished_and_said(k8s: Kubernetes) -> None:
    with beside(k8s) as own:
        own.start()
        own.hold()
        name = "pvc-" + own.claim("data")
        wait_until("the driver is at work", own.holds)

        words = "stopping: finishing what is in hand"
        told = own.log().count(words)  # of those before it
        own.terminate()
        wait_until("it is told", lambda: own.log().count(words) > told)
        assert own.alive
        assert ours(k8s) == []
        own.release()

        assert own.stop() == 0
        assert k8s.volume_of()["metadata"]["name"] == name
        assert own.volumes() == {name}
        assert own.called().count("provision") == 1
        k8s.event("data", "ProvisioningSucceeded", name, 1)
        own.start()
        k8s.delete("pvc", "data")
        own.until("it is deleted", lambda: not own.volumes() and not ours(k8s))


def test_the_provisioner_finishes_and_exits_cleanly_on_sigterm(k8s: Kubernetes) -> None:
    flexvol = Kubernetes(k8s.cluster, "flexvol")

    def container() -> tuple[str, Object]:
        pods = flexvol.all("pods", "app=flexvol-node")
        (pod,) = [one for one in pods if one["spec"]["nodeName"] == "node2"]
        return pod["metadata"]["name"], pod["status"]["containerStatuses"][0]

    name, before = wait_until("node2 has flexvol", container)
    claims = [f"data-{number}" for number in range(6)]
    for claim in claims:
        k8s.claim(claim)
        k8s.run("annotate", "pvc", claim, "volume.kubernetes.io/selected-node=node2")
    wait_until(
        "it works on them",
        lambda: k8s.all("events", fields="reason=Provisioning"),
    )
    pid = one_process("provisioner", "--node=node2")
    os.kill(pid, signal.SIGTERM)

    wait_until(
        "it is started again",
        lambda: container()[1]["restartCount"] > before["restartCount"],
    )
    assert container()[1]["lastState"]["terminated"]["exitCode"] == 0
    assert "stopping: finishing what is in hand" in flexvol.run("logs", name, "--previous").stdout
    made = {k8s.volume_of(claim)["metadata"]["name"] for claim in claims}
    assert volumes_on(k8s.cluster, "node2") == made
