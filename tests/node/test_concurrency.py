"""Whatever is asked of one volume at once: one loop device, each pod as it asked, and no failure
but a clear one."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest

from tests.node.nodes import MIB, Node

AT_ONCE = 16
PODS = 50
CALLOUTS = 1000  # of a campaign
PLUGINS = "/var/lib/kubelet/plugins-exec"
SIZE = 320 * MIB  # xfs takes no less than 300
FILE_SYSTEMS = ("ext4", "xfs", "btrfs")
ACCESS = ("ro", "rw")


@pytest.fixture
def chance() -> random.Random:
    """The seed decides what is called, though never how the kernel interleaves it."""
    seed = os.environ.get("FLEXVOL_SEED") or str(time.time_ns())
    print(f"FLEXVOL_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def installed(node: Node) -> Node:
    """A node that runs the driver from where install put it, as kubelet does: with bytecode, so
    twice as fast."""
    node.command("install", PLUGINS)
    node.executable = [PLUGINS + "/flexvol~loop/loop"]
    return node


@pytest.fixture
def volume() -> str:
    """A name that no other run on this machine has, because sysfs shows only a path of each loop
    device."""
    return f"pvc-{os.getpid()}-{os.urandom(4).hex()}"


def images_of_devices(volume: str) -> list[str]:
    """What the loop devices of the volume have open; a deleted image too."""
    found = []
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            path = file.read_text().rstrip("\n")
        except OSError:  # it is going
            continue
        if f"/{volume}/" in path or ".deleted-" in path:
            found.append(path)
    return found


def flags_of_pods(node: Node) -> dict[str, set[str]]:
    """The flags of each pod's mount. A pod with two of them is a violation."""
    mounted = [(path.split("/")[5], set(flags.split(","))) for path, flags in node.mounts()]
    assert len(dict(mounted)) == len(mounted), f"mounted twice: {mounted}"
    return dict(mounted)


def call(node: Node, *argv: str) -> dict[str, Any]:
    """One callout in a process of its own."""
    process = node.start(*node.executable, *argv)
    printed = process.communicate(timeout=150)[0]
    assert process.returncode == 0, (argv, printed)
    reply: dict[str, Any] = json.loads(printed)
    return reply


def expect(reply: dict[str, Any], *allowed: tuple[str, str]) -> bool:
    """True for a success. Any other answer must be one of `allowed`, (reason, words of the
    message), or a Busy that says why."""
    if reply["status"] == "Success":
        return True
    allowed += (("Busy", "is locked, "), ("Busy", "is in use "), ("Busy", "cannot unmount "))
    assert any(
        reply["reason"] == reason and words in reply["message"] for reason, words in allowed
    ), reply
    return False


def check_pod(directory: Path, flags: set[str], access: str) -> None:
    """The pod has the flags it asked for, and they hold."""
    assert {access, "nosuid", "nodev"} <= flags, (directory, access, flags)
    try:
        (directory / f"written-{directory.parts[-4]}").write_text("x")
        held = "rw"
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        held = "ro"
    assert held == access, directory


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_pods_come_and_go_at_random(
    node: Node,
    volume: str,
    fs: str,
    chance: random.Random,
    campaign: bool,
    record_property: Callable[[str, object], None],
) -> None:
    node.provision(volume, SIZE, fs)
    (node.mount("first", volume) / "mark").write_text(volume)
    node.unmount("first", volume)
    pods = PodsAtRandom(node, volume, chance, CALLOUTS // 3 + 1 if campaign else 48)

    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE + 1) as threads:
        watcher = threads.submit(pods.watch)
        workers = [threads.submit(pods.work) for _ in range(AT_ONCE)]
        try:
            for worker in workers:
                worker.result()
        finally:
            pods.over.set()
        seen = watcher.result()

    print(f"{fs}: {sum(pods.outcomes.values())} callouts {dict(pods.outcomes)}, "
          f"{time.monotonic() - began:.0f} s, devices looked at {seen} times")  # fmt: skip
    record_property("concurrent callouts", sum(pods.outcomes.values()))
    assert flags_of_pods(node).keys() == pods.mounted.keys()
    for pod in pods.mounted:
        node.unmount(pod, volume)
    node.until_devices(0)
    assert images_of_devices(volume) == []
    check_image(node, volume, fs)


class PodsAtRandom:
    """Fifty pods that a number of threads mount and unmount. Each pod has one callout at a time, as
    kubelet sees to; a tide lets them grow to all and shrink to none, where first mounts and last
    unmounts meet."""

    def __init__(self, node: Node, volume: str, chance: random.Random, callouts: int) -> None:
        self.node = node
        self.volume = volume
        self.chance = chance
        self.left = callouts
        self.tide = min(100, callouts // 2)
        self.idle = [f"pod{number}" for number in range(PODS)]
        self.mounted: dict[str, str] = {}
        self.outcomes: Counter[str] = Counter()
        self.over = Event()
        self._lock = Lock()

    def work(self) -> None:
        while not self.over.is_set():
            with self._lock:
                if self.left == 0:
                    return
                self.left -= 1
                pod, access, is_mounted = self._take_one()
            directory = self.node.pod_dir(pod, self.volume)
            if is_mounted:
                reply = call(self.node, "unmount", directory)
                is_mounted = not expect(reply)
                assert (pod in flags_of_pods(self.node)) == is_mounted, reply
            else:
                reply = call(
                    self.node,
                    "mount",
                    directory,
                    self.node.options(self.volume, access),
                )
                is_mounted = expect(reply)
                if is_mounted:
                    shown = self.node.path(directory)
                    check_pod(shown, flags_of_pods(self.node)[pod], access)
                    assert (shown / "mark").read_text() == self.volume, (
                        "what is below the mount shows"
                    )
            with self._lock:
                self.outcomes[reply.get("reason", "Success")] += 1
                if is_mounted:
                    self.mounted[pod] = access
                else:
                    self.idle.append(pod)

    def _take_one(self) -> tuple[str, str, bool]:
        """A pod, its access, and whether it is mounted; it is no one else's until it is put
        back."""
        rising = self.left // self.tide % 2 == 1
        if not self.mounted or (self.idle and self.chance.random() < (0.85 if rising else 0.15)):
            return (
                self.idle.pop(self.chance.randrange(len(self.idle))),
                self.chance.choice(ACCESS),
                False,
            )
        pod = self.chance.choice(list(self.mounted))
        return pod, self.mounted.pop(pod), True

    def watch(self) -> int:
        """Looks at the loop devices all the time; returns how often."""
        seen = 0
        while not self.over.is_set():
            images = images_of_devices(self.volume)
            assert len(images) <= 1, images
            seen += 1
            time.sleep(0.002)
        return seen


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_a_volume_is_made_mounted_grown_and_deleted_at_once(
    installed: Node,
    volume: str,
    fs: str,
    chance: random.Random,
    campaign: bool,
    record_property: Callable[[str, object], None],
) -> None:
    node = installed
    life = LifeAtOnce(node, volume, fs, chance)
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for _ in range(CALLOUTS // 3 // AT_ONCE + 1 if campaign else 3):
            life.round(threads)
    for pod in list(life.mounted):
        node.unmount(pod, volume)

    print(
        f"{fs}: {sum(life.outcomes.values())} callouts {dict(life.outcomes)}, "
        f"{time.monotonic() - began:.0f} s"
    )
    record_property("concurrent callouts", sum(life.outcomes.values()))
    node.until_devices(0)
    assert images_of_devices(volume) == []
    if node.image(volume).exists():
        check_image(node, volume, fs)
        node.ok("delete", node.deletion(volume))


class LifeAtOnce:
    """Rounds of callouts for one volume, all at once; when a round is over, everything must fit
    together."""

    def __init__(self, node: Node, volume: str, fs: str, chance: random.Random) -> None:
        self.node = node
        self.volume = volume
        self.fs = fs
        self.chance = chance
        self.mounted: dict[str, str] = {}
        self.size = 0  # as it is, 0 if there is no volume
        self.outcomes: Counter[str] = Counter()

    def round(self, threads: ThreadPoolExecutor) -> None:
        """Each pod gets at most one callout in it."""
        free = [f"pod{number}" for number in range(PODS) if f"pod{number}" not in self.mounted]
        self.chance.shuffle(free)
        busy = list(self.mounted)
        self.chance.shuffle(busy)
        work = []
        calls = []
        for _ in range(AT_ONCE):
            verbs = ["provision", "delete", "list"]
            verbs += ["mount"] * 3 * bool(free) + ["unmount", "unmount", "grow"] * bool(busy)
            verb = self.chance.choice(verbs)
            pod = (
                free.pop() if verb == "mount" else busy.pop() if verb in ("unmount", "grow") else ""
            )
            access = self.chance.choice(ACCESS)
            if verb == "grow" and self.mounted[pod] == "ro":
                verb = "unmount"  # kubelet grows through a writable mount only
            calls.append((verb, pod, access))
            work.append(threads.submit(call, self.node, *self._line(verb, pod, access)))
        replies = [(*what, done.result()) for what, done in zip(calls, work, strict=True)]
        for verb, pod, access, reply in replies:
            self._settle(verb, pod, access, reply)
        self._check({verb for verb, _, _, reply in replies if reply["status"] == "Success"})

    def _line(self, verb: str, pod: str, access: str) -> list[str]:
        node = self.node
        volume = self.volume
        if verb == "provision":
            return ["provision", node.request(volume, SIZE, self.fs)]
        if verb == "delete":
            return ["delete", node.deletion(volume)]
        if verb == "list":
            return ["list"]
        directory = node.pod_dir(pod, volume)
        if verb == "mount":
            return ["mount", directory, node.options(volume, access)]
        if verb == "unmount":
            return ["unmount", directory]
        size = self.size + self.chance.randrange(1, 17) * MIB
        return [
            "expandfs",
            node.options(volume),
            "",
            directory,
            str(size),
            str(self.size),
        ]

    def _settle(self, verb: str, pod: str, access: str, reply: dict[str, Any]) -> None:
        allowed = {
            "mount": [("NotFound", "is not in pool")],
            "grow": [("Unavailable", "the kernel does not let us grow a mounted ext4")],
        }
        done = expect(reply, *allowed.get(verb, []))
        self.outcomes[f"{verb} {reply.get('reason', 'Success')}"] += 1
        if verb == "mount" and done:
            self.mounted[pod] = access
        elif verb == "unmount" and done:
            del self.mounted[pod]

    def _check(self, succeeded: set[str]) -> None:
        node = self.node
        pool = self.node.image(self.volume).parent.parent
        flags = flags_of_pods(node)
        assert flags.keys() == self.mounted.keys()
        node.until_devices(bool(self.mounted))
        devices = images_of_devices(self.volume)
        assert len(devices) == bool(self.mounted), devices
        assert len(node.loop_devices()) == len(devices), (
            "the device has another image than the volume"
        )
        assert {path.name for path in pool.iterdir()} <= {"pool.json", ".locks", self.volume}
        shown = {pod: node.path(node.pod_dir(pod, self.volume)) for pod in self.mounted}
        for pod, access in self.mounted.items():
            check_pod(shown[pod], flags[pod], access)
        for writer in [pod for pod, access in self.mounted.items() if access == "rw"][:1]:
            (shown[writer] / "mark").write_text(str(self.outcomes))
            for pod in self.mounted:
                assert (shown[pod] / "mark").read_text() == str(self.outcomes), (
                    f"{pod} sees another volume"
                )
        there = node.image(self.volume).exists()
        assert there or not self.mounted
        if "delete" not in succeeded:
            assert there == (self.size > 0 or "provision" in succeeded)
        elif "provision" not in succeeded:
            assert not there
        before = self.size
        self.size = node.image(self.volume).stat().st_size if there else 0
        if there:
            assert self.size == node.record(self.volume)["sizeBytes"]
            assert self.size >= (SIZE if "delete" in succeeded else before)


def check_image(node: Node, volume: str, fs: str) -> None:
    """The file system came through it whole."""
    image = str(node.image(volume))
    line = {
        "ext4": ["e2fsck", "-n", "-f", image],
        "xfs": ["xfs_repair", "-n", "-f", image],
        "btrfs": ["btrfs", "check", "--readonly", image],
    }[fs]
    done = subprocess.run(line, capture_output=True, check=False)
    assert done.returncode == 0, done
