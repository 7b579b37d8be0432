"""The recipes of docs/backup.md back up and restore with the real restic, from a running
application and from its copies."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import backups, movers
from tests.cluster.commands import Ask
from tests.cluster.kube import images
from tests.cluster.kube.cluster import Cluster
from tests.cluster.namespaces import Kubernetes, hostname, ours, own_namespace, pod
from tests.cluster.page_commands import chapter
from tests.cluster.reflinks import reflink_class
from tests.waiting import wait_until

LOOP_CLASS = "flexvol-loop"
VOLUME = "pvc-8a6ad8b3-1111-4222-8333-944445555666"  # of the pages


@pytest.fixture(scope="module")
def restic(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image with restic, which both nodes have."""
    if shutil.which("restic") is None:
        pytest.skip("restic is missing: install the package restic")
    archive = images.restic(tmp_path_factory.mktemp("restic") / "restic.tar")
    for node in cluster.nodes.values():
        node.import_image(archive)
    return images.RESTIC


@pytest.fixture(scope="module")
def copying(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A class of ext4 volumes that are copied while a pod writes."""
    disks = tmp_path_factory.mktemp("disks")
    with reflink_class(cluster, disks, "backups", "ext4") as name:
        yield name


def start_application(k8s: Kubernetes, storage_class: str, **spec: Any) -> str:
    """Makes the claim `data` and a claim for the repository, and lets the pod `web` write on;
    returns the contents of `data`."""
    k8s.claim(storage_class=storage_class)
    start_web(k8s, **spec)
    k8s.claim(backups.CLAIM)
    # A copy and a new claim of one pod might be made on two nodes.
    k8s.pod("keeper", claim=backups.CLAIM, node=hostname(k8s, k8s.node_of("web")))
    wanted = backups.fill(k8s, "web")
    backups.write_on(k8s, "web")
    return wanted


def start_web(k8s: Kubernetes, **spec: Any) -> None:
    """Starts the application's pod, which has the label of the page."""
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    web = pod("web", volumes, **spec)
    web["metadata"]["labels"] = movers.application_labels()
    k8s.apply(web)
    k8s.running("web")


def mounts(k8s: Kubernetes, volume: str) -> list[str]:
    """The lines of the nodes' mount tables about the volume."""
    tables = [
        node.enter("cat", "/proc/self/mountinfo", capture_output=True).stdout
        for node in k8s.cluster.nodes.values()
    ]
    return [line for table in tables for line in table.splitlines() if volume in line]


def on_node(k8s: Kubernetes, code: str) -> str:
    """What a Python program prints on the node of the pod `web`, which gets the directory of the
    pod's volume as an argument: the pods of the tests have no tool for extended attributes."""
    uid = k8s.uid("pod", "web")
    volume = k8s.volume_of()["metadata"]["name"]
    path = f"/var/lib/kubelet/pods/{uid}/volumes/flexvol~loop/{volume}"
    node = k8s.cluster.nodes[k8s.node_of("web")]
    return str(node.enter("python3", "-c", code, path, capture_output=True).stdout)


def lose_claim(k8s: Kubernetes) -> None:
    """Ends the application, deletes the claim `data` with its volume, and makes a claim of the same
    name. A pod of a job that has ended keeps the claim, and no mount."""
    volume = k8s.volume_of()["metadata"]["name"]
    storage_class = k8s.find("pvc", "data")["spec"]["storageClassName"]
    k8s.delete("pod", "web")
    wait_until("the volume is unmounted", lambda: not mounts(k8s, volume))
    k8s.delete("job", "--all")
    k8s.delete("pvc", "data")
    k8s.until_gone("pv", volume)
    k8s.claim(storage_class=storage_class)


def test_a_backup_beside_the_running_application_comes_back_in_a_new_claim(
    k8s: Kubernetes, restic: str, tmp_path: Path
) -> None:
    wanted = start_application(k8s, LOOP_CLASS)
    attribute = "import os, sys; os.setxattr(sys.argv[1] + '/private', 'user.kind', b'kept')"
    on_node(k8s, attribute)

    printed = backups.back_up(k8s, backups.cron_job(k8s))

    assert "created restic repository" in printed
    web = k8s.find("pod", "web")
    assert web["status"]["containerStatuses"][0]["restartCount"] == 0
    (job,) = k8s.all("pods", "job-name=try-backup")
    assert job["spec"]["nodeName"] == web["spec"]["nodeName"]
    lose_claim(k8s)
    printed = backups.restore(k8s, tmp_path)
    assert re.search(r"^restoring <Snapshot \w+ of \[/data\] at ", printed, re.MULTILINE)
    assert re.search(r"^finished verifying \d+ files in /", printed, re.MULTILINE)
    start_web(k8s)
    assert backups.contents(k8s, "web") == wanted
    assert min(backups.written(k8s, "web")) > 0
    attribute = "import os, sys; print(os.getxattr(sys.argv[1] + '/private', 'user.kind'))"
    assert on_node(k8s, attribute) == "b'kept'\n"


def test_a_clone_is_backed_up_as_of_one_moment_and_goes_with_the_job(
    k8s: Kubernetes, restic: str, copying: str, tmp_path: Path
) -> None:
    wanted = start_application(k8s, copying)
    (volume,) = backups.fragment("volumes")
    template = volume["ephemeral"]["volumeClaimTemplate"]

    backups.back_up(k8s, backups.cron_job_of_copy(k8s, template, copying))

    expect_a_copy_of_one_moment(k8s, wanted, tmp_path)


def test_a_snapshot_is_backed_up_as_of_one_moment(
    k8s: Kubernetes, restic: str, copying: str, ask: Ask, tmp_path: Path
) -> None:
    wanted = start_application(k8s, copying)
    template = backups.fragment("volumeClaimTemplate")
    snapshot = f"before-{k8s.namespace}"
    template["metadata"]["annotations"]["flexvol/from-snapshot"] = snapshot
    with frozen(k8s):
        done = ask("snapshot", f"{k8s.namespace}/data", snapshot)
    assert done.returncode == 0, done.stderr
    try:
        k8s.shell("web", "echo later > /data/later; sync")

        backups.back_up(k8s, backups.cron_job_of_copy(k8s, template, copying))

        expect_a_copy_of_one_moment(k8s, wanted, tmp_path)
    finally:
        ask("snapshot", "--delete", snapshot)


@contextlib.contextmanager
def frozen(k8s: Kubernetes) -> Iterator[None]:
    """The volume of the pod `web`, which writes all the time, is frozen meanwhile, by the commands
    of docs/clone-and-snapshot.md on its node."""
    node = k8s.cluster.nodes[k8s.node_of("web")]
    freeze, thaw = (
        line.replace("/UID/", f"/{k8s.uid('pod', 'web')}/").replace(
            VOLUME, k8s.volume_of()["metadata"]["name"]
        )
        for line in chapter("How good a copy is", "fsfreeze")
    )
    node.enter(*freeze.split(), capture_output=True)
    try:
        yield
    finally:
        node.enter(*thaw.split(), capture_output=True)


def expect_a_copy_of_one_moment(k8s: Kubernetes, wanted: str, where: Path) -> None:
    """The copy goes with its job, and the files in the backup are of one moment."""
    k8s.delete("job", "try-backup")
    wait_until("the copy is gone", lambda: len(ours(k8s)) == 2)
    lose_claim(k8s)
    backups.restore(k8s, where)
    start_web(k8s)
    assert backups.contents(k8s, "web") == wanted
    first, second = backups.written(k8s, "web")
    assert first - second in (0, 1)


@pytest.mark.parametrize("method", ["Direct", "Clone"])
def test_a_mover_of_volsync_backs_up_and_restores(
    k8s: Kubernetes, restic: str, copying: str, method: str
) -> None:
    user = movers.replication_source()["moverSecurityContext"]
    wanted = start_application(k8s, copying, securityContext=user)
    k8s.apply(backups.secret(k8s))
    k8s.claim("cache", storage_class=movers.replication_source()["cacheStorageClassName"])
    source = "data"
    if method == "Clone":
        source = "volsync-data-src"
        movers.clone(k8s, "data", source)

    affinity = movers.replication_source()["moverAffinity"]
    k8s.apply(movers.mover(k8s, "backup", source, affinity=affinity))
    backups.complete(k8s, "mover-backup")

    lose_claim(k8s)
    k8s.apply(movers.mover(k8s, "restore", movers.replication_destination()["destinationPVC"]))
    backups.complete(k8s, "mover-restore")
    start_web(k8s, securityContext=user)
    assert backups.contents(k8s, "web") == wanted


def test_the_node_agent_of_velero_backs_up_a_running_pod_and_fills_a_pod_that_waits(
    k8s: Kubernetes, restic: str
) -> None:
    wanted = start_application(k8s, LOOP_CLASS)
    k8s.apply(backups.secret(k8s))
    volume = k8s.volume_of()["metadata"]["name"]
    node = k8s.node_of("web")
    agent = movers.NodeAgent(k8s, node)

    agent.back_up(agent.path_of(k8s.find("pod", "web"), volume))

    with own_namespace(k8s.cluster) as restored:
        restored.claim()
        restored.apply(movers.waiting_for_restore("web", node))
        new_volume = restored.volume_of()["metadata"]["name"]
        agent.restore(agent.path_when_mounted(restored.find("pod", "web"), new_volume))
        restored.running("web")
        assert backups.contents(restored, "web") == wanted
        end_below(agent, restored)
    end_below(agent, k8s)


def test_a_pod_that_ends_while_the_agent_reads_goes_when_the_agent_is_done(
    k8s: Kubernetes, restic: str
) -> None:
    start_application(k8s, LOOP_CLASS)
    k8s.apply(backups.secret(k8s))
    volume = k8s.volume_of()["metadata"]["name"]
    node = k8s.node_of("web")
    agent = movers.NodeAgent(k8s, node)
    path = agent.path_of(k8s.find("pod", "web"), volume)
    agent.run(f"sleep infinity < {path}/private >/dev/null 2>&1 & echo $! > /tmp/reader")
    k8s.run("delete", "pod", "web", "--wait=false")
    log = k8s.cluster.nodes[node].path("/var/log/flexvol/loop.log")

    def is_busy() -> bool:
        lines = log.read_text().splitlines()
        return any("loop unmount" in line and volume in line and "Busy" in line for line in lines)

    wait_until("kubelet has tried to unmount", is_busy)
    assert k8s.get("pod", "web") is not None

    agent.run("kill $(cat /tmp/reader)")

    end_below(agent, k8s)


def end_below(agent: movers.NodeAgent, k8s: Kubernetes) -> None:
    """Ends the pod `web` while the agent runs. Nobody has its volume mounted then, and the claim's
    volume can be deleted."""
    volume = k8s.volume_of()["metadata"]["name"]
    k8s.run("delete", "pod", "web", "--wait=false", "--ignore-not-found")
    k8s.until_gone("pod", "web")
    wait_until("the volume is unmounted", lambda: not mounts(k8s, volume))
    assert not agent.sees(volume)
    k8s.delete("pvc", "data")
    k8s.until_gone("pv", volume, 30)
