"""Nodes that go, for a while or for good, and nodes that come back with another pool."""

from __future__ import annotations

import functools
import itertools
import json
import os
import queue
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.claims import bound_at_once, forge, looked_again, warnings
from tests.cluster.killed_provisioner import KillingProxy
from tests.cluster.kube.cluster import STATE, Cluster
from tests.cluster.namespaces import Kubernetes, Object, hostname, pod, published, storage_class
from tests.cluster.nodes import DRIVER, POOL, cordoned, volumes_on
from tests.cluster.proxy import kubeconfig
from tests.sources import ROOT
from tests.waiting import wait_until

SELECTED = "volume.kubernetes.io/selected-node"
LOST = "flexvol/lost"


@pytest.fixture(autouse=True)
def elected(cluster: Cluster) -> None:
    flexvol = Kubernetes(cluster, "flexvol")
    flexvol.run("rollout", "status", "deployment/flexvol-cluster", "--timeout=120s")
    wait_until(
        "one is elected",
        lambda: metric(cluster, 'flexvol_leader{lease="flexvol-cluster-loop.flexvol"}') == 1,
    )


def metric(cluster: Cluster, name: str) -> float:
    flexvol = Kubernetes(cluster, "flexvol")
    for one in flexvol.all("pods", "app=flexvol-cluster"):
        path = f"/api/v1/namespaces/flexvol/pods/{one['metadata']['name']}:9808/proxy/metrics"
        told = cluster.api.text(path)
        found = re.search(rf"^{re.escape(name)} (\S+)$", told, re.MULTILINE)
        if found:
            return float(found[1])
    return -1


def release(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    """The command of docs/disaster-recovery.md, in the pod of flexvol-cluster."""
    command = ("exec", "deployment/flexvol-cluster", "--", "provisioner", "release", *words)
    return Kubernetes(cluster, "flexvol").run(*command, check=False)


def release_by_person(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    """With an administrator's kubeconfig, which may ask the nodes."""
    beside = [str(word) for word in cluster.kubectl_line()[:2]]
    kubeconfig_file = f"--kubeconfig={STATE / 'admin.kubeconfig'}"
    line = [*beside, str(ROOT / "dist/provisioner"), "release", *words, kubeconfig_file]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def giving_up(k8s: Kubernetes) -> Iterator[str]:
    """A class whose volumes are given up with their node."""
    name = f"release-{k8s.namespace}"
    k8s.apply(storage_class(name, parameters={"onNodeGone": "release"}))
    yield name
    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def mark_of(k8s: Kubernetes, name: str) -> str:
    return str((k8s.find("pv", name)["metadata"].get("annotations") or {}).get(LOST, ""))


def unmounted(k8s: Kubernetes, node: str, name: str) -> bool:
    shown: str = (
        k8s.cluster.nodes[node].enter("cat", "/proc/self/mountinfo", capture_output=True).stdout
    )
    return name not in shown


def delete_by_hand(k8s: Kubernetes, node: str, volume: Object) -> None:
    """What is left of a volume that was given up; refused as long as the node has it mounted."""
    name = volume["metadata"]["name"]
    claim = volume["spec"]["claimRef"]
    assert name in volumes_on(k8s.cluster, node)
    owner = {f"kubernetes.io/pvc.{key}": claim[key] for key in ("namespace", "name", "uid")}
    request = {
        "kubernetes.io/pvOrVolumeName": name,
        **owner,
        **volume["spec"]["flexVolume"]["options"],
    }

    def deleted() -> bool:
        done = k8s.cluster.nodes[node].enter(
            DRIVER, "delete", json.dumps(request), capture_output=True
        )
        return bool(json.loads(done.stdout)["status"] == "Success")

    wait_until("it is deleted by hand", deleted, 90)


def test_a_driver_that_only_a_daemonset_was_told_of_is_looked_after(k8s: Kubernetes) -> None:
    """Its pods run nowhere; what is looked at is what they are told. The policies have to be told
    of its provisioner, too."""
    flexvol = Kubernetes(k8s.cluster, "flexvol")
    name = f"other-{k8s.namespace}"
    container = {
        "name": "main",
        "image": "none",
        "args": ["--node=n", "--driver=other/thing"],
    }
    pod_spec = {"nodeSelector": {"kubernetes.io/os": "none"}, "containers": [container]}
    labels = {"app": name}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod_spec},
    }
    metadata = {"name": name, "namespace": "flexvol"}
    flexvol.apply(
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec}
    )
    k8s.apply(storage_class(name, provisioner="thing.other"))
    role = k8s.cluster.kubectl(
        "get", "clusterrole", "flexvol-served", "-o", "json", capture_output=True
    )
    rules = json.loads(role.stdout)["rules"]

    def serve(rules: list[Object]) -> None:
        k8s.cluster.kubectl(
            "patch",
            "clusterrole",
            "flexvol-served",
            "-p",
            json.dumps({"rules": rules}),
            capture_output=True,
        )

    serve([*rules, {**rules[0], "resourceNames": ["thing.other"]}])
    try:
        k8s.claim(storage_class=name)
        k8s.run("annotate", "pvc", "data", f"{SELECTED}=no-such-node")
        k8s.event(
            "data",
            "NodeGone",
            "node 'no-such-node', chosen for it, does not exist",
        )
    finally:
        serve(rules)
        flexvol.delete("daemonset", name)
        k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def test_a_claim_that_waits_for_a_node_that_is_gone_gets_another(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.run("annotate", "pvc", "data", f"{SELECTED}=node9")

    k8s.event("data", "NodeGone", "node 'node9', chosen for it, does not exist")

    k8s.pod("web")
    assert k8s.volume_of()["metadata"]["annotations"]["flexvol/identity"] in k8s.cluster.nodes


def leaders(cluster: Cluster) -> list[str]:
    """The instances that may do the duties, by what each says of itself."""
    flexvol = Kubernetes(cluster, "flexvol")
    found = []
    for name in staying(flexvol):
        told = cluster.api.text(f"/api/v1/namespaces/flexvol/pods/{name}:9808/proxy/metrics")
        if re.search(r"^flexvol_leader(\{.*\})? 1\.0$", told, re.MULTILINE):
            found.append(name)
    return found


def staying(flexvol: Kubernetes) -> set[str]:
    """Those that are not being deleted; one that is gone would be waited for, when it is asked."""
    pods = [one["metadata"] for one in flexvol.all("pods", "app=flexvol-cluster")]
    return {one["name"] for one in pods if "deletionTimestamp" not in one}


def test_of_two_instances_one_does_the_duties_and_the_other_takes_over(k8s: Kubernetes) -> None:
    flexvol = Kubernetes(k8s.cluster, "flexvol")
    flexvol.run("scale", "deployment/flexvol-cluster", "--replicas=2")
    try:
        flexvol.run("rollout", "status", "deployment/flexvol-cluster", "--timeout=120s")
        both = staying(flexvol)
        assert len(both) == 2
        (first,) = wait_until("one leads", lambda: leaders(k8s.cluster))
        # It is the one that goes; long before, as kube-controller-manager may hear of it late.
        cheapest = "controller.kubernetes.io/pod-deletion-cost=-1"
        flexvol.run("annotate", "pod", first, cheapest)
        with bound_at_once(k8s) as name:
            k8s.claim(storage_class=name, volumeMode="Block")
            k8s.event("data", "ProvisioningFailed", "volumeMode Block")
            looked_again(k8s, name)
            (event,) = warnings(k8s, "data")  # two would each say it
            assert event["count"] == 1
        assert leaders(k8s.cluster) == [first]
    finally:
        flexvol.run("scale", "deployment/flexvol-cluster", "--replicas=1")
    wait_until("the first is told to go", lambda: staying(flexvol) == both - {first})
    wait_until("the other leads", lambda: leaders(k8s.cluster) == [*(both - {first})])

    k8s.claim("waits")
    k8s.run("annotate", "pvc", "waits", f"{SELECTED}=node9")
    k8s.event("waits", "NodeGone", "node 'node9', chosen for it, does not exist")


@pytest.mark.parametrize("value", ["Release", "delete"])
def test_a_class_with_another_word_is_refused(k8s: Kubernetes, value: str) -> None:
    name = f"bad-{k8s.namespace}"
    k8s.apply(storage_class(name, parameters={"onNodeGone": value}))
    k8s.claim(storage_class=name)
    k8s.pod("web", wait=False)
    k8s.event("data", "ProvisioningFailed", f"is '{value}'; it is keep or release")
    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def test_a_volume_of_a_gone_node_is_reported_and_released_by_the_command_and_no_other_is(
    k8s: Kubernetes,
) -> None:
    k8s.claim("living")
    k8s.pod("web", claim="living")
    living = k8s.volume_of("living")["metadata"]["name"]
    gone = forge(k8s, "gone", "node9")

    k8s.event(
        "data",
        "VolumeNodeGone",
        "its node node9 is gone; bring it back; if its disk is in another node",
    )
    Kubernetes(k8s.cluster, "default").event(
        gone, "VolumeNodeGone", f"the storage of {k8s.namespace}/data is lost"
    )
    wait_until(
        "it is counted",
        lambda: metric(k8s.cluster, 'flexvol_volumes_lost{reason="node-gone"}') == 1,
    )
    refused = release(k8s.cluster, living)
    assert refused.returncode != 0
    assert "is not lost: its node node" in refused.stderr
    assert k8s.get("pv", gone) and k8s.get("pvc", "data")

    done = release(k8s.cluster, gone)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"deletes the claim {k8s.namespace}/data, then {gone}" in done.stdout
    assert k8s.get("pvc", "data") is None
    k8s.until_gone("pv", gone)
    assert k8s.volume_of("living")["status"]["phase"] == "Bound"
    wait_until(
        "nothing is lost",
        lambda: metric(k8s.cluster, 'flexvol_volumes_lost{reason="node-gone"}') == 0,
        30,
    )
    assert "there is no PV" in release(k8s.cluster, gone).stderr


def test_giving_up_goes_on_where_it_was_killed(
    k8s: Kubernetes, tmp_path: Path, campaign: bool
) -> None:
    """At each of its writes, before the answer is heard. Before the API server has the next write
    all is as it was then, so only a campaign kills there, too."""
    for when in ("before", "after") if campaign else ("after",):
        killed_at_each_write(k8s, tmp_path, when)


def killed_at_each_write(k8s: Kubernetes, tmp_path: Path, when: str) -> None:
    number = 0
    killed = True
    with KillingProxy() as proxy:
        (tmp_path / "kubeconfig").write_text(kubeconfig(proxy.url))
        beside = k8s.cluster.kubectl_line()[:2]
        while killed:
            number += 1
            gone = forge(k8s, f"gone-{number}", "node9")
            line = [
                *beside,
                ROOT / "dist/provisioner",
                "release",
                gone,
                f"--kubeconfig={tmp_path}/kubeconfig",
            ]
            killed = killed_at(proxy, when, number, [*map(str, line)])
            again = subprocess.run(
                [*map(str, line)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert again.returncode == 0 or "there is no PV" in again.stderr
            wait_until("the PV is gone", functools.partial(absent, k8s, gone))
            assert k8s.get("pvc", "data") is None
    assert number > 3


def absent(k8s: Kubernetes, volume: str) -> bool:
    return k8s.get("pv", volume) is None


def killed_at(proxy: KillingProxy, when: str, number: int, line: list[str]) -> bool:
    """Runs it; whether it came to the write with that number, and was killed there."""
    writes = itertools.count(1)
    proxy.arm(
        when,
        lambda _, words: not words.startswith("GET") and next(writes) == number,
    )
    started: queue.Queue[int] = queue.Queue()  # it may write before we know its number
    proxy.victim = lambda: os.killpg(started.get(timeout=60), signal.SIGKILL)
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, start_new_session=True)
    started.put(process.pid)
    status = process.wait(60)
    proxy.armed = None
    assert status in (0, -signal.SIGKILL)
    return status != 0


def stateful_set(claim_class: str) -> Object:
    template: Object = pod("ignored", [{"name": "data", "emptyDir": {}}])["spec"]
    del template["volumes"]
    claim: dict[str, Any] = {
        "storageClassName": claim_class,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "32Mi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "replicas": 1,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": template},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        },
    }


def ready(cluster: Cluster, node: str) -> bool:
    found = cluster.api.get(f"/api/v1/nodes/{node}") or {"status": {}}
    conditions = found["status"].get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def test_a_node_goes_and_only_what_its_class_releases_starts_empty_elsewhere(
    k8s: Kubernetes, giving_up: str
) -> None:
    flexvol = Kubernetes(k8s.cluster, "flexvol")
    (ours,) = wait_until(
        "no second flexvol-cluster is ending",
        lambda: len(pods := flexvol.all("pods", "app=flexvol-cluster")) == 1 and pods,
    )
    stays = ours["spec"]["nodeName"]
    (goes,) = set(k8s.cluster.nodes) - {stays}
    with cordoned(k8s, stays):
        k8s.claim("kept")
        k8s.pod("keeper", claim="kept", node=goes)
        k8s.apply(stateful_set(giving_up))
        k8s.running("db-0")
    k8s.shell("db-0", "echo old > /data/file && sync")
    kept = k8s.volume_of("kept")
    left = k8s.volume_of("data-db-0")
    assert left["metadata"]["annotations"]["flexvol/on-node-gone"] == "release"

    k8s.cluster.kill("kubelet", goes)
    try:
        k8s.cluster.kubectl("delete", "node", goes, capture_output=True)
        k8s.run("delete", "pod", "db-0", "keeper", "--force")

        k8s.event("kept", "VolumeNodeGone", f"its node {goes} is gone")
        k8s.until_gone("pv", left["metadata"]["name"], 90)
        k8s.running("db-0")
        assert k8s.node_of("db-0") == stays
        assert k8s.shell("db-0", "ls /data").stdout.split() in ([], ["lost+found"])
        assert k8s.find("pv", kept["metadata"]["name"])["status"]["phase"] == "Bound"
        done = release(k8s.cluster, kept["metadata"]["name"])
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        k8s.cluster.start("kubelet", goes)
        wait_until("the node is back", lambda: ready(k8s.cluster, goes), 120)
        wait_until(
            "the DaemonSet knows it",
            lambda: flexvol.all("pods", "app=flexvol-node", f"spec.nodeName={goes}"),
        )
        k8s.cluster.kubectl(
            "-n",
            "flexvol",
            "rollout",
            "status",
            "daemonset/flexvol-node",
            "--timeout=120s",
            capture_output=True,
        )
    for volume in (kept, left):
        delete_by_hand(k8s, goes, volume)  # nothing of ours has done that


def test_a_living_node_whose_disk_is_away_or_another_gives_up_nothing_without_a_person(
    k8s: Kubernetes, giving_up: str
) -> None:
    k8s.claim("kept")
    k8s.claim("left", storage_class=giving_up)
    for name in ("kept", "left"):
        k8s.pod(name, claim=name, node="node1")
    k8s.shell("kept", "echo kept > /data/file && sync")
    k8s.claim("given-up")
    k8s.run("annotate", "pvc", "given-up", f"{SELECTED}=node1")
    kept, left, given_up = (k8s.volume_of(name) for name in ("kept", "left", "given-up"))
    names = [volume["metadata"]["name"] for volume in (kept, left, given_up)]
    k8s.delete("pod", "kept", "left")
    for name in names:
        wait_until(
            "it is unmounted",
            functools.partial(unmounted, k8s, "node1", name),
        )
    refused = release_by_person(k8s.cluster, names[0], "--disk-is-gone")
    assert (refused.returncode, "node node1 has its pool default" in refused.stderr) == (1, True)
    first = hostname(k8s, "node1")
    pool = k8s.cluster.nodes["node1"].path(POOL)
    aside = pool.parent.with_name("pool-aside")
    pool.rename(aside)
    try:
        wait_until("the pool is missed", lambda: not published(k8s).get(first), 40)
        k8s.pod("stuck", claim="left", wait=False)
        wait_until(
            "it is on its node",
            lambda: k8s.find("pod", "stuck")["spec"].get("nodeName"),
        )
        give_up_a_dead_disk(k8s, names[2])
        assert [mark_of(k8s, name) for name in names[:2]] == ["", ""]

        replace = [DRIVER, "pool", "init", "default", "--replace"]
        k8s.cluster.nodes["node1"].enter(*replace, capture_output=True)
        k8s.event("kept", "VolumeLost", "pool default of the node was replaced")
        wait_until(
            "both are marked",
            lambda: all(mark_of(k8s, name) for name in names[:2]),
        )
        lost = 'flexvol_volumes_lost{reason="pool-replaced"}'
        wait_until("both are counted", lambda: metric(k8s.cluster, lost) == 2)
        later = forge(k8s, "later", "node9", claim="later", giving_up=True)
        k8s.until_gone("pv", later)
        assert k8s.get("pvc", "left") and k8s.get("pv", names[1]), "its class decides no such thing"

        done = release_by_person(k8s.cluster, names[1])
        assert done.returncode == 0, done.stdout + done.stderr
        assert k8s.get("pvc", "left") is None
        k8s.until_gone("pod", "stuck")
        wait_until("one is counted", lambda: metric(k8s.cluster, lost) == 1)
        assert k8s.get("pvc", "kept")
    finally:
        if pool.exists():  # aside first: a driver at work makes lock files in it
            shutil.rmtree(pool.rename(aside.with_name("pool-replaced")))
        aside.rename(pool)
        # The pool that is back is the one that takes new volumes again.
        again = [DRIVER, "pool", "init", "default", "--replace"]
        k8s.cluster.nodes["node1"].enter(*again, capture_output=True)
    wait_until("the mark is gone", lambda: not mark_of(k8s, names[0]), 40)
    k8s.pod("again", claim="kept")
    assert k8s.shell("again", "cat /data/file").stdout == "kept\n"
    for volume in (left, given_up):
        delete_by_hand(k8s, "node1", volume)


def give_up_a_dead_disk(k8s: Kubernetes, volume: str) -> None:
    """The claim given-up, whose pool is away on a node that lives: only a person gives it up, and
    only after the node was asked."""
    refused = release(k8s.cluster, volume)
    assert (refused.returncode == 0, "--disk-is-gone" in refused.stderr) == (False, True)
    refused = release(k8s.cluster, volume, "--disk-is-gone")
    assert "cannot be asked whether its disk is gone" in refused.stderr
    assert k8s.get("pvc", "given-up") and k8s.get("pv", volume)

    done = release_by_person(k8s.cluster, volume, "--disk-is-gone")

    assert done.returncode == 0, done.stdout + done.stderr
    assert k8s.get("pvc", "given-up") is None
    k8s.until_gone("pv", volume)
