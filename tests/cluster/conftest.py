"""The cluster for the tests: two real nodes, flexvol installed as a user installs it, started once
a session."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.controller.quantities import size_bytes
from tests.cluster.halves import HALF
from tests.cluster.kube import build, images, machine
from tests.cluster.kube import cluster as kube
from tests.cluster.kube.api import path_of
from tests.cluster.kube.machine import PREFIX
from tests.cluster.kube.node import Node
from tests.conftest import ROOT
from tests.waiting import wait_until

OVERLAY = Path(__file__).parent / "kube/overlay"
DRIVER = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/flexvol~loop/loop"
POOL = "/var/lib/flexvol/default"
Object = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/cluster/" in item.nodeid:
            item.add_marker(pytest.mark.cluster)
    HALF.order(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Passes over the tests that the other of two runs has: that run reports them."""
    return None if HALF.has(item.path) else True


class Kubernetes:
    """What a person does with kubectl, in one namespace."""

    def __init__(self, cluster: kube.Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def run(
        self, *argv: object, check: bool = True, **keywords: Any
    ) -> subprocess.CompletedProcess[str]:
        done = self.cluster.kubectl(
            "-n", self.namespace, *argv, check=False, capture_output=True, **keywords
        )
        assert done.returncode == 0 or not check, f"kubectl {argv}: {done.stderr}"
        return done

    def apply(self, *objects: Object) -> None:
        """As kubectl does; but what is not there yet is made without one, as each kubectl takes a
        third of a second of a busy machine."""
        rest = [one for one in objects if not self._is_made(one)]
        if rest:
            self.run("apply", "-f", "-", input=yaml.safe_dump_all(rest))

    def _is_made(self, one: Object) -> bool:
        kind = str(one["kind"]).lower()
        path = path_of(kind, self.namespace) or path_of(kind + "s", self.namespace)
        return path is not None and self.cluster.api.create(path, one)

    def get(self, kind: str, name: str) -> Object | None:
        path = path_of(kind, self.namespace, name)
        if path is not None:
            return self.cluster.api.get(path)
        done = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout else None

    def all(self, kind: str, labels: str = "", fields: str = "") -> list[Object]:
        """All of the namespace, by selectors as kubectl takes them."""
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        path = path_of(
            kind, self.namespace, **{key: value for key, value in selectors.items() if value}
        )
        assert path is not None, f"kube/api.py does not know {kind}"
        found = self.cluster.api.get(path) or {"items": []}
        kinds = {
            "apiVersion": found.get("apiVersion"),
            "kind": str(found.get("kind", "")).removesuffix("List"),
        }
        return [{**kinds, **item} for item in found["items"]]

    def delete_all(self, kind: str) -> None:
        """Does not wait until they are gone."""
        path = path_of(kind, self.namespace)
        assert path is not None, f"kube/api.py does not know {kind}"
        self.cluster.api.call("DELETE", path)

    def delete(self, kind: str, *names: str) -> None:
        self.run("delete", kind, *names, "--wait=true")

    def shell(self, pod: str, line: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("exec", pod, "--", "sh", "-c", line, check=check)

    def claim(
        self,
        name: str = "data",
        size: str = "64Mi",
        storage_class: str = "flexvol-loop",
        **spec: Any,
    ) -> None:
        resources = {"requests": {"storage": size}}
        spec = {
            "storageClassName": storage_class,
            "accessModes": ["ReadWriteOnce"],
            "resources": resources,
            **spec,
        }
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name},
                "spec": spec,
            }
        )

    def pod(
        self, name: str, claim: str = "data", node: str = "", wait: bool = True, **spec: Any
    ) -> None:
        """A pod with the claim at /data; `node` is asked for as a user may ask, by label."""
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
        self.apply(
            pod(
                name,
                volumes,
                **({"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}),
                **spec,
            )
        )
        if wait:
            self.running(name)

    def running(self, name: str, seconds: float = 90) -> None:
        def ready() -> bool:
            found = self.get("pod", name) or {}
            conditions = found.get("status", {}).get("conditions", [])
            return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

        wait_until(f"pod {name} runs", ready, seconds)

    def volume_of(self, claim: str = "data") -> Object:
        """The PV the claim is bound to."""

        def bound() -> str:
            return ((self.get("pvc", claim) or {}).get("spec") or {}).get("volumeName") or ""

        volume = self.get("pv", wait_until(f"claim {claim} is bound", bound))
        assert volume is not None
        return volume

    def event(self, about: str, reason: str, words: str, seconds: float = 60) -> str:
        """Waits for an event with that reason and those words; returns its message."""

        def said() -> str:
            events = self.all("events", fields=f"involvedObject.name={about},reason={reason}")
            return next((event["message"] for event in events if words in event["message"]), "")

        found: str = wait_until(f"event {reason} on {about} with {words!r}", said, seconds)
        return found


def pod(name: str, volumes: list[Object], **spec: Any) -> Object:
    """A pod that sleeps, with its first volume at /data. Once its API object is gone, its volumes
    are unmounted: that is so of no pod without a grace period, and then what is to be deleted next
    is refused as in use at first."""
    container = {
        "name": "main",
        "image": images.SHELL,
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"],
        "volumeMounts": [{"name": volumes[0]["name"], "mountPath": "/data"}],
    }
    body = {
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": volumes,
        **spec,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body}


def volumes_on(cluster: kube.Cluster, node: str) -> set[str]:
    """The names of the volumes in the node's default pool; hidden ones too, as a leak is one."""
    path = cluster.nodes[node].path(POOL)
    return {entry.name for entry in path.iterdir()} - {"pool.json", ".locks"}


def processes(*words: str) -> Iterator[int]:
    """Those of this cluster whose command line holds all the words."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path("/proc", name, "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it ended
            continue
        if all(word in line for word in words) and machine.is_in_cluster(int(name), kube.STATE):
            yield int(name)


def one_process(*words: str) -> int:
    """The one process whose command line holds all the words. A program that it starts has its
    command line for a moment, which is waited out."""

    def only() -> list[int]:
        found = list(processes(*words))
        return found if len(found) == 1 else []

    pids: list[int] = wait_until(f"there is one process with {' '.join(words)}", only)
    return pids[0]


def storage_class(name: str, **changes: object) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "loop.flexvol",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
        **changes,
    }


def run_command(
    *words: object, kubeconfig: Path = kube.STATE / "admin.kubeconfig"
) -> subprocess.CompletedProcess[str]:
    """Runs what `kubectl flexvol` runs; by default with the administrator's kubeconfig."""
    line = [
        "nsenter",
        f"--net=/run/netns/{PREFIX}cp",
        "env",
        f"SHIV_ROOT={kube.STATE}/shiv",
        ROOT / "dist/provisioner",
        *words,
        "--kubeconfig",
        kubeconfig,
    ]
    return subprocess.run(
        list(map(str, line)), capture_output=True, text=True, check=False, timeout=300
    )


def provisioner(*words: object, check: bool = True) -> str:
    """As run_command; what it printed, and its exit status."""
    done = run_command(*words)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return f"{done.stdout}{done.stderr}status {done.returncode}"


def published(k8s: Kubernetes, storage_class: str = "flexvol-loop") -> dict[str, int]:
    """The room that each node has published for the class: bytes by hostname."""
    items = Kubernetes(k8s.cluster, "flexvol").all("csistoragecapacities")
    return {
        item["nodeTopology"]["matchLabels"]["kubernetes.io/hostname"]: size_bytes(item["capacity"])
        for item in items
        if item["storageClassName"] == storage_class
    }


def hostname(k8s: Kubernetes, node: str) -> str:
    label: str = (k8s.get("node", node) or {})["metadata"]["labels"]["kubernetes.io/hostname"]
    return label


def install(cluster: kube.Cluster) -> None:
    """kubectl apply -k, and nothing by hand; done when every node's pod is ready."""
    cluster.kubectl("apply", "-k", OVERLAY, capture_output=True)
    cluster.kubectl(
        "-n",
        "flexvol",
        "rollout",
        "status",
        "daemonset/flexvol-node",
        "--timeout=120s",
        capture_output=True,
    )


def set_reserve(node: Node, reserve: str) -> str:
    """What the node's default pool keeps free from now on; returns what it kept free before."""
    path = node.path(POOL) / "pool.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "reserve": reserve}))
    return str(settings["reserve"])


def unmount(node: Node, path: str) -> None:
    """Waits while a driver that lists its pools has something open there."""

    def is_unmounted() -> bool:
        done = node.enter("umount", path, check=False, capture_output=True)
        return bool(done.returncode == 0)

    wait_until(f"{path} is unmounted", is_unmounted)


def keep_little_in_reserve(cluster: kube.Cluster) -> None:
    """Both nodes' pools lie on this machine's disk, of which other tests take some meanwhile; a
    fifth of it may be all that is free."""
    for node in cluster.nodes.values():
        set_reserve(node, "1%")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kube.Cluster]:
    """The running cluster with flexvol in it."""
    lacking = kube.missing()
    if lacking:
        pytest.skip(lacking)
    cluster = kube.Cluster(build.programs())
    shell = images.busybox(tmp_path_factory.mktemp("images") / "busybox.tar")
    product = images.product()
    try:
        try:
            cluster.up([shell, product])
            install(cluster)
            keep_little_in_reserve(cluster)
        except Exception:
            print(
                cluster.report(), file=sys.stderr
            )  # once; the failure itself is told for every test
            raise
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def k8s(cluster: kube.Cluster) -> Iterator[Kubernetes]:
    """A namespace of the test's own. Afterwards nothing of it is left: no PV, no volume, no loop
    device."""
    with own_namespace(cluster) as k8s:
        yield k8s


@contextlib.contextmanager
def own_namespace(cluster: kube.Cluster) -> Iterator[Kubernetes]:
    k8s = Kubernetes(cluster, "t-" + uuid.uuid4().hex[:8])
    about = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": k8s.namespace}}
    cluster.api.call("POST", "/api/v1/namespaces", about)
    wait_until("the namespace takes pods", lambda: k8s.get("serviceaccount", "default"))
    yield k8s
    # All at once: the namespace's own end begins with the pods, and takes ten seconds.
    for kind in ("statefulsets", "deployments", "pods", "pvc"):
        k8s.delete_all(kind)
    cluster.api.call("DELETE", f"/api/v1/namespaces/{k8s.namespace}")
    wait_until(
        "the namespace's pods and claims are gone",
        lambda: not k8s.all("pods") + k8s.all("pvc"),
        120,
    )
    for volume in ours(k8s):
        if volume["spec"]["persistentVolumeReclaimPolicy"] != "Delete":
            name = volume["metadata"]["name"]  # it may be gone by now
            cluster.kubectl("delete", "pv", name, "--ignore-not-found", capture_output=True)
    wait_until("the namespace's PVs are gone", lambda: not ours(k8s))


def ours(k8s: Kubernetes) -> list[Object]:
    return [
        pv
        for pv in k8s.all("pv")
        if pv["spec"].get("claimRef", {}).get("namespace") == k8s.namespace
    ]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """On a failure, what a person would look at next."""
    outcome: Any = yield
    report = outcome.get_result()
    k8s = getattr(item, "funcargs", {}).get("k8s")
    if (
        report.failed and isinstance(k8s, Kubernetes) and kube.STATE.exists()
    ):  # else it is the cluster's own end
        try:
            for title, text in diagnosis(k8s):
                report.sections.append((title, text[-8000:]))
        except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as error:
            # The cluster may be what has failed. An exception here would end the whole run.
            report.sections.append(("no more can be found out", str(error)[-2000:]))
            log = k8s.cluster.log("kube-apiserver")
            report.sections.append(("kube-apiserver", log[-4000:]))


def diagnosis(k8s: Kubernetes) -> Iterator[tuple[str, str]]:
    cluster = k8s.cluster
    yield "objects", k8s.run("get", "pvc,pv,pods", "-o", "wide", check=False).stdout
    yield "events", k8s.run("get", "events", "--sort-by=.lastTimestamp", check=False).stdout
    logs = cluster.kubectl(
        "-n",
        "flexvol",
        "logs",
        "-l",
        "app=flexvol-node",
        "--tail=40",
        "--prefix",
        check=False,
        capture_output=True,
    )
    yield "provisioners", logs.stdout
    names = [volume["metadata"]["name"] for volume in ours(k8s)] or [k8s.namespace]
    for node in cluster.nodes.values():
        log = node.path("/var/log/flexvol/loop.log")
        yield (
            f"{node.name}: driver",
            "\n".join(log.read_text().splitlines()[-30:]) if log.exists() else "no log",
        )
        lines = cluster.log(f"{node.name}-kubelet").splitlines()
        yield (
            f"{node.name}: kubelet",
            "\n".join([line for line in lines if any(name in line for name in names)][-20:]),
        )
