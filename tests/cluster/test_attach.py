"""A driver that attaches lives on the real cluster: attached by the controller-manager or by
kubelet, through restarts and the loss of a node, and no volume is ever on two nodes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle import pack
from tests.cluster.claims import size_mib
from tests.cluster.kube import machine
from tests.cluster.kube.cluster import STATE, STORAGE, Cluster
from tests.cluster.kube.machine import sh
from tests.cluster.kube.node import PLUGINS
from tests.cluster.namespaces import Kubernetes, pod, storage_class
from tests.sources import ROOT
from tests.waiting import wait_until

OVERLAY = Path(__file__).parent / "kube/overlay-attaching"
SOURCE = ROOT / "tests/drivers/attaching.py"
NAME = "flexvol~attaching"
# of a node, unless its kubelet attaches
BY_CONTROLLER = "volumes.kubernetes.io/controller-managed-attach-detach"
NOT_ATTACHER = {"controller": "node1", "node1": "controller"}
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


class Storage:
    """What the storage's own administrator sees of it, and the calls that were made of it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.path = STORAGE / "attaching"
        self.driver = STATE / "kcm-plugins" / NAME / "attaching"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs the driver as the controller-manager does, which sees the storage."""
        pid = machine.running(STATE, "kube-controller-manager")
        return sh(
            "nsenter", f"--mount=/proc/{pid}/ns/mnt", self.driver, *words, capture_output=True
        )

    def node(self, volume: str) -> str:
        """Where it is attached."""
        path = self.path / volume / "node"
        return path.read_text() if path.exists() else ""

    def devices(self, volume: str) -> list[str]:
        """Every loop device on its image: never more than one."""
        lines = sh(
            "losetup", "--noheadings", "--raw", "--output", "NAME,BACK-FILE", capture_output=True
        ).stdout
        found = [line.split()[0] for line in lines.splitlines() if f"/{volume}/image" in line]
        assert len(found) <= 1, found
        return found

    def calls(self, caller: str, volume: str) -> list[str]:
        """The callouts for a volume that a node's kubelet, or the controller-manager, has made, and
        those that failed with their reason."""
        at = (
            STATE / "kcm-log"
            if caller == "controller"
            else self.cluster.nodes[caller].path("/var/log/flexvol")
        )
        log = at / "attaching.log"
        lines = log.read_text().splitlines() if log.exists() else []
        found = []
        for line in lines:
            head, _, outcome = line.partition("ms: ")
            if volume in head:
                callout = head.split()[2]
                word = outcome.split()[0]
                # Each program asks once and remembers "Not supported".
                if callout == "getvolumename":
                    continue
                found.append(callout if word == "Success" else f"{callout} {word}")
        return found

    def until_attached(self, volume: str, node: str) -> None:
        """Waits until it is attached to that node, or to none."""

        def attached() -> bool:
            return self.node(volume) == node and len(self.devices(volume)) == bool(node)

        wait_until(f"{volume} is attached to {node or 'no node'}", attached)


@pytest.fixture(scope="module")
def storage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """The driver where it must be, on both nodes and with the controller-manager, and a provisioner
    for its claims."""
    archive = tmp_path_factory.mktemp("attaching") / "flexvol"
    pack.pack(archive, [SOURCE])
    storage = Storage(cluster)
    storage.path.mkdir()
    for node in cluster.nodes.values():
        node.enter(archive, "install", capture_output=True)
    sh(archive, "install", storage.driver.parents[1], capture_output=True)
    cluster.kubectl("apply", "-k", OVERLAY, capture_output=True)
    flexvol = Kubernetes(cluster, "flexvol")
    flexvol.run("rollout", "status", "deployment/flexvol-shared", "--timeout=120s")
    flexvol.apply(
        storage_class(
            "attaching",
            provisioner="attaching.flexvol",
            volumeBindingMode="Immediate",
            parameters={"fsType": "xfs"},
        )
    )
    yield storage
    left = list(storage.path.iterdir())
    flexvol.delete("storageclass", "attaching")
    cluster.kubectl("delete", "-k", OVERLAY, "--wait=true", capture_output=True)
    for directory in [
        storage.driver.parents[1],
        *(node.path(PLUGINS) for node in cluster.nodes.values()),
    ]:
        shutil.rmtree(directory / NAME)
    assert left == []


def claimed(k8s: Kubernetes) -> str:
    """The volume of a new claim, `data`."""
    k8s.claim(size="320Mi", storage_class="attaching")
    name: str = k8s.volume_of()["metadata"]["name"]
    return name


def is_shown(device: str) -> bool:
    """Whether any mount namespace of this machine shows the device. That of a container lives until
    the container's last process has ended, and the device cannot be mounted anew before."""
    for table in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            if f" {device} " in table.read_text():
                return True
        except OSError:  # the process has ended
            continue
    return False


def reader(name: str, node: str) -> dict[str, object]:
    """A pod that may only read."""
    volume = {
        "name": "data",
        "persistentVolumeClaim": {"claimName": "data", "readOnly": True},
    }
    return pod(name, [volume], nodeSelector={"kubernetes.io/hostname": node})


@pytest.fixture(params=["controller", "node1"])
def attacher(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[str]:
    """Who attaches to node1: the controller-manager as usual, or the node's own kubelet."""
    node = cluster.nodes["node1"]
    if request.param == "controller":
        yield "controller"
        return
    try:
        node.configure_kubelet(enableControllerAttachDetach=False)
        cluster.restart("kubelet", "node1")
        wait_until("the kubelet attaches", lambda: not by_controller(cluster))
        # Without a restart the controller-manager goes on with a node that it has once attached to.
        cluster.restart("kube-controller-manager")
        yield "node1"
    finally:
        node.configure_kubelet()
        cluster.restart("kubelet", "node1")
        wait_until(
            "the controller-manager attaches again",
            lambda: by_controller(cluster),
        )


def by_controller(cluster: Cluster) -> bool:
    node = cluster.api.get("/api/v1/nodes/node1") or {"metadata": {}}
    return BY_CONTROLLER in (node["metadata"].get("annotations") or {})


def attaches(call: str) -> bool:
    """Whether only who attaches makes it; a call that failed has its reason behind it."""
    return call.split()[0] in ("attach", "isattached", "detach")


def test_an_attached_volume_lives_its_whole_life(
    k8s: Kubernetes, storage: Storage, attacher: str
) -> None:
    name = claimed(k8s)
    assert storage.node(name) == ""
    k8s.pod("web", node="node1")
    assert storage.node(name) == "node1"
    (device,) = storage.devices(name)
    k8s.shell("web", "echo hello > /data/greeting")
    k8s.apply(reader("second", "node1"))
    k8s.running("second")
    assert k8s.shell("second", "cat /data/greeting").stdout == "hello\n"
    assert "Read-only file system" in k8s.shell("second", "touch /data/new", check=False).stderr
    assert k8s.shell("web", "df /data | tail -1").stdout.split()[0] == device
    assert storage.devices(name) == [device]

    before = size_mib(k8s, "web")
    k8s.claim(size="640Mi", storage_class="attaching")
    wait_until("df follows", lambda: size_mib(k8s, "web") > before + 300, 120)
    wait_until(
        "the claim says so",
        lambda: k8s.find("pvc", "data")["status"]["capacity"]["storage"] == "640Mi",
    )

    k8s.delete("pod", "web", "second")
    # The claim is deleted at once, so that the deletion must wait until the volume is detached.
    k8s.delete("pvc", "data")
    k8s.until_gone("pv", name)
    assert not (storage.path / name).exists()
    assert storage.devices(name) == []

    calls = [call for call in storage.calls("node1", name) if not attaches(call)]
    assert calls[:3] == ["waitforattach", "mountdevice", "mount"]
    assert calls.count("mountdevice") == 1
    assert calls.count("mount") == 2
    assert "expandfs" in calls
    assert calls[-3:] == ["unmount", "unmount", "unmountdevice"]

    def attachments() -> list[str]:
        calls = storage.calls(attacher, name)
        return [call for call in calls if attaches(call) and call != "isattached"]

    wait_until("detach is logged", lambda: attachments() == ["attach", "detach"])
    assert all(attaches(call) for call in storage.calls("controller", name))
    assert not any(attaches(call) for call in storage.calls(NOT_ATTACHER[attacher], name))


def test_an_attachment_that_was_lost_is_made_again(k8s: Kubernetes, storage: Storage) -> None:
    name = claimed(k8s)
    unmounted = pod(
        "web",
        [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    )
    # Kubelet then mounts the volume for nobody, but the volume is attached.
    del unmounted["spec"]["containers"][0]["volumeMounts"]
    k8s.apply(
        {
            **unmounted,
            "spec": {
                **unmounted["spec"],
                "nodeSelector": {"kubernetes.io/hostname": "node1"},
            },
        }
    )
    storage.until_attached(name, "node1")
    wait_until(
        "it was looked at twice",
        lambda: storage.calls("controller", name).count("isattached") > 1,
    )
    assert storage.calls("controller", name).count("attach") == 1

    lost = storage.run("detach", name, "node1")

    assert json.loads(lost.stdout) == {"status": "Success"}
    wait_until(
        "it is attached again",
        lambda: storage.calls("controller", name).count("attach") == 2,
    )
    storage.until_attached(name, "node1")
    k8s.delete("pod", "web")
    storage.until_attached(name, "")
    k8s.delete("pvc", "data")


def test_kubelet_restarted_while_a_volume_is_attached(
    k8s: Kubernetes, storage: Storage, attacher: str
) -> None:
    cluster = k8s.cluster
    name = claimed(k8s)
    k8s.pod("web", node="node1")
    k8s.shell("web", "echo kept > /data/file")

    cluster.restart("kubelet", "node1")
    wait_until(
        "kubelet serves again",
        lambda: k8s.shell("web", "cat /data/file", check=False).stdout == "kept\n",
    )
    k8s.shell("web", "echo more >> /data/file && sync")

    cluster.kill("kubelet", "node1")
    try:  # after this kubelet knows nothing of the volume but the names of directories
        k8s.run("delete", "pod", "web", "--force", "--grace-period=0")
    finally:
        cluster.start("kubelet", "node1")
    wait_until(
        "it is unmounted",
        lambda: storage.calls("node1", name)[-2:] == ["unmount", "unmountdevice"],
    )
    # This kubelet does not know that it has attached the volume, until it attaches again.
    if attacher == "node1":
        wait_until(
            "the killed container has gone",
            lambda: not any(map(is_shown, storage.devices(name))),
        )
        k8s.pod("next", node="node1")
        assert "detach" not in storage.calls("node1", name)
        assert k8s.shell("next", "cat /data/file").stdout == "kept\nmore\n"
        k8s.delete("pod", "next")
    storage.until_attached(name, "")

    def calls() -> list[str]:
        """Without isattached, which is asked from time to time."""
        return [call for call in storage.calls(attacher, name) if call != "isattached"]

    # The driver logs a call after it has done its work.
    wait_until("detach is logged", lambda: calls()[-1] == "detach")
    assert not any(attaches(call) for call in storage.calls(NOT_ATTACHER[attacher], name))
    k8s.delete("pvc", "data")


def test_a_volume_leaves_a_dead_node_and_not_before(k8s: Kubernetes, storage: Storage) -> None:
    cluster = k8s.cluster
    name = claimed(k8s)
    node = cluster.nodes["node1"]
    # With a grace period the dead kubelet would have to report the pod's end.
    k8s.pod("web", node="node1", terminationGracePeriodSeconds=0)
    k8s.shell("web", "dd if=/dev/urandom of=/data/file bs=64k count=64 conv=fsync")
    written = k8s.shell("web", "md5sum /data/file").stdout
    try:
        # The node does not answer, but its pod still writes.
        cluster.kill("kubelet", "node1")
        cluster.kubectl(
            "taint",
            "node",
            "node1",
            OUT_OF_SERVICE + "=down:NoExecute",
            capture_output=True,
        )
        k8s.until_gone("pod", "web")
        k8s.pod("next", node="node2", wait=False)
        wait_until(
            "detach is refused",
            lambda: "detach Busy" in storage.calls("controller", name),
        )
        k8s.event(
            "next",
            "FailedAttachVolume",
            f"volume {name} is attached to node1; only one node can have it",
        )
        assert storage.node(name) == "node1"

        mounted = (
            f"/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexvol/attaching/mounts/{name}"
        )
        # What nobody synced is lost, as by a power cut.
        node.enter("xfs_io", "-x", "-c", "shutdown", mounted)
        node.cut_power()

        k8s.running("next")
        assert storage.node(name) == "node2"
        assert k8s.shell("next", "md5sum /data/file").stdout == written
        assert len(storage.devices(name)) == 1
        calls = [call for call in storage.calls("controller", name) if call in ("attach", "detach")]
        assert calls == ["attach", "detach", "attach"]
    finally:
        node.cut_power()
        node.boot()
        cluster.kubectl(
            "taint", "node", "node1", OUT_OF_SERVICE + "-", check=False, capture_output=True
        )

    wait_until(
        "the dead pod's directory is removed",
        lambda: storage.calls("node1", name)[-1] == "unmount",
    )
    k8s.apply(
        pod(
            "back",
            [{"name": "none", "emptyDir": {}}],
            nodeSelector={"kubernetes.io/hostname": "node1"},
        )
    )
    k8s.running("back")
    Kubernetes(cluster, "flexvol").run(
        "rollout", "status", "daemonset/flexvol-node", "--timeout=120s"
    )
    k8s.delete("pod", "next", "back")
    storage.until_attached(name, "")
    k8s.delete("pvc", "data")
