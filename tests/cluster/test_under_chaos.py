"""More than a minute (ten with --campaign) of kills in random order, while claims come, are used,
grow and go on both nodes. Afterwards claims, PVs, volumes in the pools and loop devices correspond
one to one, and no data is lost."""

from __future__ import annotations

import functools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.cluster.kube import machine
from tests.cluster.kube.cluster import DATA
from tests.cluster.namespaces import Kubernetes, ours, storage_class
from tests.cluster.nodes import DRIVER, volumes_on
from tests.cluster.processes import processes
from tests.waiting import wait_until

NODES = ("node1", "node2")
USERS = 4
CLASS = "chaos-xfs"
SIZE_MIB = 320
GROWN_MIB = 352
SETTLED_SECONDS = 240


def kill(found: Iterator[int]) -> int:
    number = 0
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
            number += 1
        except ProcessLookupError:
            continue
    return number


class Faults:
    """Kills one thing after another, and counts what really died."""

    def __init__(self, k8s: Kubernetes, chance: random.Random, until: float) -> None:
        self._cluster = k8s.cluster
        self._chance = chance
        self._until = until
        self.counts = dict.fromkeys(
            ("provisioner", "driver", "kubelet", "kube-apiserver"),
            0,
        )

    def run(self) -> None:
        kinds: list[tuple[str, Callable[[], int]]] = [
            ("provisioner", self._provisioner),
            ("driver", self._driver),
            ("driver", self._driver),
            ("kubelet", self._kubelet),
            ("kube-apiserver", self._server),
        ]
        due: list[tuple[str, Callable[[], int]]] = []
        while time.monotonic() < self._until:
            if not due:  # each of them once, before any of them again
                due = self._chance.sample(kinds, len(kinds))
            name, fault = due.pop()
            self.counts[name] += fault()
            # This is a pause between faults; nothing is waited for.
            time.sleep(self._chance.uniform(1, 5))

    def _provisioner(self) -> int:
        """Killed, and its pod with it, or the growing pauses between restarts would spare it from
        then on."""
        node = self._chance.choice(NODES)
        killed = kill(processes("provisioner", f"--node={node}"))
        pods = (
            "delete",
            "pods",
            "-l",
            "app=flexvol-node",
            f"--field-selector=spec.nodeName={node}",
        )
        self._cluster.kubectl(
            "-n", "flexvol", *pods, "--force", "--grace-period=0", check=False, capture_output=True
        )
        return killed

    def _driver(self) -> int:
        """Whatever callout is running or comes in the next seconds; its child may live on, as after
        a crash."""
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            running = list(processes(DRIVER))
            if running:
                return kill(iter([self._chance.choice(running)]))
            time.sleep(0.01)
        return 0

    def _kubelet(self) -> int:
        self._cluster.restart("kubelet", self._chance.choice(NODES))
        return 1

    def _server(self) -> int:
        self._cluster.kill("kube-apiserver")
        time.sleep(self._chance.uniform(0, 5))  # it is away for so long
        self._cluster.start("kube-apiserver")
        return 1


class User:
    """Makes claims, uses them, and deletes most of them; `kept` are those that live on, with their
    sizes."""

    def __init__(self, k8s: Kubernetes, number: int, seed: int, until: float) -> None:
        self._k8s = k8s
        self._number = number
        self._until = until
        self._chance = random.Random(seed)
        self.kept: dict[str, int] = {}
        self.lives = 0

    def run(self) -> None:
        while time.monotonic() < self._until:
            name = f"u{self._number}-{self.lives}"
            self._live(name, self._chance.choice(NODES))
            self.lives += 1

    def _live(self, name: str, node: str) -> None:
        k8s = self._k8s
        size = SIZE_MIB
        self._insist(lambda: k8s.claim(name, f"{size}Mi", storage_class=CLASS))
        if self._chance.random() < 0.15:  # gone before or while it is made
            self._insist(lambda: k8s.delete("pvc", name))
            return
        self._insist(lambda: k8s.pod(name, claim=name, node=node, wait=False))
        self._insist(lambda: k8s.running(name, 120))
        self._insist(lambda: k8s.shell(name, f"echo {name} > /data/id && sync"))
        if self._chance.random() < 0.4:
            size = GROWN_MIB
            body = f'{{"spec": {{"resources": {{"requests": {{"storage": "{size}Mi"}}}}}}}}'
            self._insist(lambda: k8s.run("patch", "pvc", name, "-p", body))
        if self._chance.random() < 0.5:
            self._insist(lambda: k8s.run("delete", "pod", name, "--ignore-not-found"))
            self._insist(lambda: k8s.pod(name, claim=name, wait=False))
            self._insist(lambda: k8s.running(name, 120))
        self._insist(lambda: self._check(name))
        if self._chance.random() < 0.3:
            self.kept[name] = size
        else:
            self._insist(
                lambda: k8s.run("delete", "pod,pvc", name, "--ignore-not-found", "--wait=false")
            )

    def _check(self, name: str) -> None:
        assert self._k8s.shell(name, "cat /data/id").stdout == name + "\n"

    def _insist(self, do: Callable[[], object]) -> None:
        """Until it succeeds: the API server may be away, and a pod not be reached."""
        deadline = time.monotonic() + SETTLED_SECONDS
        while True:
            try:
                do()
                return
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.5)


def test_after_chaos_everything_corresponds_and_nothing_is_lost(
    k8s: Kubernetes, campaign: bool
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    k8s.apply(storage_class(CLASS, parameters={"fsType": "xfs"}))
    until = time.monotonic() + (600 if campaign else 75)
    faults = Faults(k8s, chance, until)
    users = [User(k8s, number, chance.randrange(1 << 32), until) for number in range(USERS)]

    with ThreadPoolExecutor(USERS + 1) as threads:
        running = [
            threads.submit(faults.run),
            *(threads.submit(user.run) for user in users),
        ]
    for one in running:
        one.result()

    kept = {name: size for user in users for name, size in user.kept.items()}
    print(f"{sum(user.lives for user in users)} claims, {len(kept)} kept; killed: {faults.counts}")
    assert all(faults.counts.values()), faults.counts
    wait_until("the API server is ready", k8s.cluster.api_ready)  # it may have been killed last
    # The controller-manager's watch of an API server that was killed may hear of nothing for
    # minutes: claims kept their pvc-protection finalizer for five. This test is about flexvol,
    # which recovers by itself.
    k8s.cluster.restart("kube-controller-manager")

    deadline = time.monotonic() + SETTLED_SECONDS
    while (wrong := not_right_yet(k8s, kept)) and time.monotonic() < deadline:
        time.sleep(1)
    assert not wrong

    # Kubelet may be what was killed last: then the pod answers later.
    for name in kept:
        wait_until(f"{name} has its data", functools.partial(has_its_data, k8s, name))
    k8s.cluster.kubectl(
        "-n",
        "flexvol",
        "rollout",
        "status",
        "daemonset/flexvol-node",
        "--timeout=120s",
        capture_output=True,
    )

    k8s.run("delete", "pods,pvc", "--all", "--wait=true")
    wait_until("the PVs are gone", lambda: not ours(k8s), SETTLED_SECONDS)
    wait_until(
        "the pools are empty",
        lambda: not any(volumes_on(k8s.cluster, node) for node in NODES),
    )
    wait_until(
        "the devices are gone",
        lambda: not machine.left_behind(DATA).get("loop devices"),
    )
    k8s.run("delete", "storageclass", CLASS)


def not_right_yet(k8s: Kubernetes, kept: dict[str, int]) -> str:
    """What does not correspond yet; "" if everything does. kept: the sizes of the claims that
    there are to be, in MiB."""
    claims = {one["metadata"]["name"]: one for one in k8s.all("pvc")}
    volumes = sorted(one["metadata"]["name"] for one in ours(k8s))
    if set(claims) != set(kept):
        return f"claims {sorted(set(claims) ^ set(kept))}"
    if sorted(claim["spec"].get("volumeName", "") for claim in claims.values()) != volumes:
        return f"PVs {volumes}"
    for name, size in kept.items():
        if claims[name]["status"].get("capacity") != {"storage": f"{size}Mi"}:
            return f"{name} has {claims[name]['status']}"
    in_pools = sorted(name for node in NODES for name in volumes_on(k8s.cluster, node))
    if in_pools != volumes:
        return f"pools {in_pools}, PVs {volumes}"
    devices = machine.left_behind(DATA).get("loop devices", [])
    if len(devices) != len(kept):
        return f"{len(kept)} volumes in use, devices {devices}"
    return ""


def has_its_data(k8s: Kubernetes, name: str) -> bool:
    return k8s.shell(name, "cat /data/id", check=False).stdout == name + "\n"
