"""What claims cost on the test cluster, two real nodes on this machine. Needs root and what the
cluster's tests need.

burst: many claims at once, until all are bound and until all PVs are gone again.
pods: many pods at once, each with a new claim of its own, beside the same pods on emptyDir.
crowd: how long a provisioner takes to be ready in a cluster full of objects, and how much memory.

burst and pods are measured with the stock kube-controller-manager, which binds some 4 claims a
second whatever the provisioner does, and with that limit lifted."""

from __future__ import annotations

import argparse
import collections
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bundle import packages
from shared import table
from tests.cluster.kube import build, images
from tests.cluster.kube import cluster as kube
from tests.cluster.kube.api import Api
from tests.waiting import wait_until

Object = dict[str, Any]
OVERLAY = Path(__file__).parents[1] / "cluster/kube/overlay"
CORE = "/api/v1"
CLASS = "flexvol-loop"
SIZE = "32Mi"
PROVISIONERS = "system:serviceaccount:flexvol:flexvol-node"
# The account by which kube-controller-manager binds claims.
BINDER = "system:serviceaccount:kube-system:persistent-volume-binder"
# What the API server is asked a second by each of its controllers, and how much at once before
# that.
CONTROLLER_MANAGERS = {"stock": (20, 30), "unlimited": (2000, 4000)}
MEASUREMENTS = ("burst", "pods", "crowd")
_WAIT_SECONDS = 600.0
_QUIET_SECONDS = 3.0


class Followed:
    """A collection as it is now, and when each of its objects first was as wanted."""

    def __init__(self, api: Api, path: str, wanted: Callable[[Object], bool]) -> None:
        self.there: set[str] = set()
        self.reached: dict[str, float] = {}
        self._path = path
        self._wanted = wanted
        self._changed = threading.Condition()
        version = api.call("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
        threading.Thread(target=self._follow, args=(api.watch(path, version),), daemon=True).start()

    def _follow(self, events: Iterator[Object]) -> None:
        for event in events:
            name = event["object"]["metadata"]["name"]
            with self._changed:
                if event["type"] == "DELETED":
                    self.there.discard(name)
                else:
                    self.there.add(name)
                    if self._wanted(event["object"]):
                        self.reached.setdefault(name, time.monotonic())
                self._changed.notify_all()

    def wait(self, count: int) -> float:
        """Until so many were as wanted; when the last of them was."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: len(self.reached) >= count,
                _WAIT_SECONDS,
            )
            assert done, f"{self._path}: {len(self.reached)} of {count} after {_WAIT_SECONDS:g} s"
            return max(self.reached.values())

    def wait_gone(self) -> float:
        """Until nothing is left; when that was."""
        with self._changed:
            done = self._changed.wait_for(lambda: not self.there, _WAIT_SECONDS)
            assert done, f"{self._path}: {len(self.there)} are left after {_WAIT_SECONDS:g} s"
            return time.monotonic()


class Audit:
    """What the provisioners and the controller-manager's binder asked of the API server, from its
    own audit log."""

    def __init__(self, work: Path) -> None:
        self._log = work / "audit.log"
        policy = work / "audit.json"
        policy.write_text(
            json.dumps(
                {
                    "apiVersion": "audit.k8s.io/v1",
                    "kind": "Policy",
                    "omitStages": ["RequestReceived"],
                    "rules": [{"level": "Metadata", "users": [PROVISIONERS, BINDER]}],
                }
            )
        )
        self.flags = [f"--audit-policy-file={policy}", f"--audit-log-path={self._log}"]

    def mark(self) -> int:
        return self._log.stat().st_size

    def mark_when_quiet(self) -> int:
        """Once nothing more comes."""
        size = self.mark()
        changed = time.monotonic()
        while time.monotonic() - changed < _QUIET_SECONDS:
            time.sleep(0.2)
            if self.mark() != size:
                size = self.mark()
                changed = time.monotonic()
        return size

    def asked(self, user: str, begin: int, end: int) -> collections.Counter[str]:
        """How often what was asked between two marks: "create persistentvolumes" -> 200."""
        with self._log.open("rb") as log:
            log.seek(begin)
            text = log.read(end - begin)
        entries = [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]
        of_user = [one for one in entries if one["user"]["username"] == user]
        return collections.Counter(
            f"{one['verb']} {one['objectRef']['resource']}" for one in of_user
        )


def processes() -> Iterator[tuple[int, list[str]]]:
    """Every process's number and command line."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                yield (
                    int(process.name),
                    (process / "cmdline").read_text(errors="replace").split("\0"),
                )
            except OSError:  # it ended
                continue


def provisioners() -> dict[str, int]:
    """The nodes' processes, by node."""
    return {
        word.removeprefix("--node="): number
        for number, words in processes()
        if "/usr/local/bin/provisioner" in words
        for word in words
        if word.startswith("--node=")
    }


def sandboxes() -> int:
    """How many pods containerd has, whatever the API server knows of them."""
    return sum(words[0].endswith("/containerd-shim-runc-v2") for _, words in processes())


def memory_mib(process: int, field: str = "VmRSS") -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def age_seconds(process: int) -> float:
    ticks = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def claim(name: str, node: str = "") -> Object:
    notes = {"volume.kubernetes.io/selected-node": node} if node else {}
    spec = {
        "storageClassName": CLASS,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": SIZE}},
    }
    return {"metadata": {"name": name, "annotations": notes}, "spec": spec}


def pod(name: str, source: Object) -> Object:
    container = {
        "name": "main",
        "image": images.SHELL,
        "command": ["sleep", "infinity"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    volumes = [{"name": "data", **source}]
    spec = {
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": volumes,
    }
    return {"metadata": {"name": name}, "spec": spec}


def is_bound(claim: Object) -> bool:
    return bool(claim["status"].get("phase") == "Bound")


def is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


class Bench:
    def __init__(self, cluster: kube.Cluster, api: Api, audit: Audit) -> None:
        self._cluster = cluster
        self._api = api
        self._audit = audit
        self._spaces = 0

    def space(self) -> str:
        """The path of a new namespace that takes pods."""
        self._spaces += 1
        name = f"bench-{self._spaces}"
        self._api.call("POST", f"{CORE}/namespaces", {"metadata": {"name": name}})
        path = f"{CORE}/namespaces/{name}"
        wait_until(
            "the namespace takes pods",
            lambda: self._api.status(f"{path}/serviceaccounts/default") == 200,
        )
        return path

    def controller_manager(self, rate: int, burst: int) -> None:
        """Starts it anew, and waits until a pod with a claim has run and is gone."""
        flags = [f"--kube-api-qps={rate}", f"--kube-api-burst={burst}"]
        self._cluster.flags["kube-controller-manager"] = flags
        self._cluster.restart("kube-controller-manager")
        self.pods(1, own_claim=True)

    def burst(self, count: int) -> list[str]:
        space = self.space()
        mark = self._audit.mark()
        claims = Followed(self._api, f"{space}/persistentvolumeclaims", is_bound)
        volumes = Followed(self._api, f"{CORE}/persistentvolumes", lambda _: True)
        nodes = list(self._cluster.nodes)
        wanted = [claim(f"claim-{number}", nodes[number % len(nodes)]) for number in range(count)]
        began = time.monotonic()
        sent = self._api.all(
            "POST",
            [(f"{space}/persistentvolumeclaims", one) for one in wanted],
        )
        taken = claims.wait(count) - began
        waits = sorted(claims.reached[name] - sent[name] for name in sent)
        asked = self._audit.asked(PROVISIONERS, mark, self._audit.mark_when_quiet())
        writes = {
            what: number
            for what, number in asked.items()
            if what.split()[0] not in ("get", "list", "watch")
        }
        print(
            f"  asked for {count} claims: "
            f"{', '.join(f'{what} {n}' for what, n in asked.most_common())}"
        )
        rss = "/".join(f"{memory_mib(process):.0f}" for process in provisioners().values())
        began = time.monotonic()
        self._api.call("DELETE", f"{space}/persistentvolumeclaims")
        claims.wait_gone()
        gone = volumes.wait_gone() - began
        figures = (
            taken,
            waits[len(waits) // 2],
            waits[int(len(waits) * 0.99)],
            count / taken,
        )
        return [f"{figure:.1f}" for figure in (*figures, sum(writes.values()) / count)] + [
            rss,
            f"{gone:.1f}",
        ]

    def pods(self, count: int, own_claim: bool) -> tuple[float, float, int]:
        """Seconds until all of them run, and until nothing of them is left in the API, and what the
        binder asked until they ran. Returns when their containers have ended too, which takes
        longer, so that what is measured next has the machine for itself."""
        space = self.space()
        before = sandboxes()
        mark = self._audit.mark()
        pods = Followed(self._api, f"{space}/pods", is_ready)
        claims = Followed(self._api, f"{space}/persistentvolumeclaims", is_bound)
        volumes = Followed(self._api, f"{CORE}/persistentvolumes", lambda _: True)
        requests = []
        for name in (f"pod-{number}" for number in range(count)):
            source: Object = (
                {"persistentVolumeClaim": {"claimName": name}} if own_claim else {"emptyDir": {}}
            )
            if own_claim:
                requests.append((f"{space}/persistentvolumeclaims", claim(name)))
            requests.append((f"{space}/pods", pod(name, source)))
        began = time.monotonic()
        self._api.all("POST", requests)
        ready = pods.wait(count) - began
        binding = self._audit.asked(BINDER, mark, self._audit.mark()).total()
        began = time.monotonic()
        self._api.call("DELETE", f"{space}/pods")
        self._api.call("DELETE", f"{space}/persistentvolumeclaims")
        gone = max(one.wait_gone() for one in (pods, claims, volumes)) - began
        wait_until(
            "the containers have ended",
            lambda: sandboxes() <= before,
            _WAIT_SECONDS,
        )
        return ready, gone, binding

    def start_up(self) -> list[str]:
        """A new process on the first node, until it is ready."""
        node = next(iter(self._cluster.nodes))
        before = provisioners()[node]
        which = f"labelSelector=app%3Dflexvol-node&fieldSelector=spec.nodeName%3D{node}"
        listed = self._api.call("GET", f"{CORE}/namespaces/flexvol/pods?{which}")
        (name,) = [one["metadata"]["name"] for one in listed["items"]]
        os.kill(before, 9)
        ready = f"{CORE}/namespaces/flexvol/pods/{name}:9808/proxy/readyz"

        def renewed() -> int:
            process = provisioners().get(node, before)
            return 0 if process == before else process

        process = wait_until("the provisioner starts again", renewed)
        while self._api.status(ready) != 200:
            time.sleep(0.02)
        seconds = age_seconds(process)
        time.sleep(_QUIET_SECONDS)
        return [
            f"{seconds:.1f}",
            f"{memory_mib(process):.0f}",
            f"{memory_mib(process, 'VmHWM'):.0f}",
        ]

    def fill(self, claims: int, volumes: int) -> None:
        """Claims of another provisioner, and PVs that look as if the first node had made and bound
        them; without the controller manager, which would find that their claims are not there."""
        self._cluster.kill("kube-controller-manager")
        space = f"{CORE}/namespaces/default"
        node = next(iter(self._cluster.nodes))
        foreign = [claim(f"foreign-{number}") for number in range(claims)]
        for one in foreign:
            one["spec"]["storageClassName"] = "another"
        self._api.all(
            "POST",
            [(f"{space}/persistentvolumeclaims", one) for one in foreign],
        )
        own = [own_volume(f"pvc-bench-{number}", node) for number in range(volumes)]
        self._api.all("POST", [(f"{CORE}/persistentvolumes", one) for one in own])
        bound = [
            {"metadata": {"name": one["metadata"]["name"]}, "status": {"phase": "Bound"}}
            for one in own
        ]
        self._api.all(
            "PATCH",
            [(f"{CORE}/persistentvolumes/{one['metadata']['name']}/status", one) for one in bound],
        )


def own_volume(name: str, node: str) -> Object:
    term = {
        "matchExpressions": [
            {
                "key": "kubernetes.io/hostname",
                "operator": "In",
                "values": [node],
            }
        ]
    }
    return {
        "metadata": {
            "name": name,
            "finalizers": ["external-provisioner.volume.kubernetes.io/finalizer"],
            "annotations": {
                "pv.kubernetes.io/provisioned-by": "loop.flexvol",
                "flexvol/identity": node,
            },
        },
        "spec": {
            "capacity": {"storage": SIZE},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "kind": "PersistentVolumeClaim",
                "namespace": "default",
                "name": name,
                "uid": name,
            },
            "flexVolume": {
                "driver": "flexvol/loop",
                "fsType": "ext4",
                "options": {"pool": "default"},
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
    }


def measure(bench: Bench, settings: argparse.Namespace) -> None:
    bursts = []
    pods = []
    for title in settings.controller_manager:
        rate, at_once = CONTROLLER_MANAGERS[title]
        bench.controller_manager(rate, at_once)
        for _ in range(settings.rounds):
            if "burst" in settings.only:
                bursts.append([title, *bench.burst(settings.claims)])
                print("  burst", *bursts[-1], flush=True)
            if "pods" in settings.only:
                (plain, plain_gone, _), (own, gone, asked) = (
                    bench.pods(settings.pods, own) for own in (False, True)
                )
                figures = (plain, plain_gone, own, gone, own / plain)
                binding = max(0, asked - at_once) / rate
                pods.append(
                    [
                        title,
                        *(f"{figure:.1f}" for figure in figures),
                        str(asked),
                        f"{binding:.1f}",
                    ]
                )
                print("  pods", *pods[-1], flush=True)
    if bursts:
        print(f"\n{settings.claims} claims of {SIZE}, ext4, at once")
        heads = [
            "controller manager",
            "all bound s",
            "p50 s",
            "p99 s",
            "claims/s",
            "API writes/claim",
            "RSS MiB",
        ]
        print(table.aligned([*heads, "all gone s"], bursts))
    if pods:
        print(f"\n{settings.pods} pods at once, on emptyDir and each with a new claim of {SIZE}")
        heads = ["emptyDir ready s", "gone s", "claims ready s", "gone s", "ready, x emptyDir"]
        heads += ["binder's requests", "its limit makes that s"]
        print(table.aligned(["controller manager", *heads], pods))
    if "crowd" in settings.only:
        rows = [["empty", *bench.start_up()]]
        bench.fill(settings.foreign_claims, settings.own_volumes)
        crowd = f"{settings.foreign_claims} foreign claims, {settings.own_volumes} PVs of its own"
        rows.append([crowd, *bench.start_up()])
        print("\nA provisioner's start in a cluster with so much in it")
        print(table.aligned(["cluster", "ready after s", "RSS MiB", "peak MiB"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="build.sh bench claims",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", action="append", choices=MEASUREMENTS, help="default: all; repeatable"
    )
    parser.add_argument(
        "--controller-manager",
        action="append",
        choices=list(CONTROLLER_MANAGERS),
        help="default: both; repeatable",
    )
    parser.add_argument(
        "--rounds", type=int, default=2, metavar="N", help="of burst and pods (default %(default)s)"
    )
    parser.add_argument(
        "--claims", type=int, default=200, metavar="N", help="in a burst (default %(default)s)"
    )
    parser.add_argument(
        "--pods", type=int, default=40, metavar="N", help="at once (default %(default)s)"
    )
    parser.add_argument(
        "--foreign-claims", type=int, default=10_000, metavar="N", help="default %(default)s"
    )
    parser.add_argument(
        "--own-volumes", type=int, default=2_000, metavar="N", help="default %(default)s"
    )
    settings = parser.parse_args()
    settings.only = settings.only or list(MEASUREMENTS)
    settings.controller_manager = settings.controller_manager or list(CONTROLLER_MANAGERS)
    lacking = packages.install("bench") or kube.missing()
    if lacking:
        raise SystemExit(lacking)
    with tempfile.TemporaryDirectory(prefix="flexvol-bench-") as scratch:
        work = Path(scratch)
        audit = Audit(work)
        cluster = kube.Cluster(build.programs(), flags={"kube-apiserver": audit.flags})
        try:
            cluster.up([images.busybox(work / "busybox.tar"), images.product()])
            cluster.kubectl("apply", "-k", OVERLAY, capture_output=True)
            rollout = ("rollout", "status", "daemonset/flexvol-node", "--timeout=120s")
            cluster.kubectl("-n", "flexvol", *rollout, capture_output=True)
            api = cluster.api
            try:
                measure(Bench(cluster, api, audit), settings)
            finally:
                api.close()
        finally:
            cluster.close()
