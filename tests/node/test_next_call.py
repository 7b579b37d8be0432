"""After a callout was killed at any of its system calls, every call may be the next one: of
kubelet, of the provisioner, of a person, or a reboot. Each converges, and nothing is left in the
end. That the same callout converges when it is repeated is shown in test_crash.

Without --campaign each killed callout has a sample of its kill points, and a next call for each in
turn; with it each call comes after each kill point of the driver itself."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.node.cases import clean_state, needs_stepper
from tests.node.contents import DATA
from tests.node.killing import LACKING, deny, step
from tests.node.nodes import MIB, Node

pytestmark = needs_stepper
POINTS = 4
BUSY_SECONDS = 20
SIZES = {"ext4": 64 * MIB, "xfs": 300 * MIB, "btrfs": 112 * MIB}
KILLED = (
    "provision", "delete", "adopt", "first mount", "first mount read-only",
    "first mount on an old kernel", "first mount on kernel 5.10", "second mount",
    "second mount on an old kernel", "second mount on kernel 5.10", "unmount",
    "unmount on an old kernel", "expandfs", "snapshot",
)  # fmt: skip


class World:
    """A node with at most one volume, pvc-1, whose pods are first and web. killed: the callout
    that is killed."""

    def __init__(self, node: Node, killed: str) -> None:
        self.node = node
        self.killed = killed
        self.fs = "xfs" if killed == "expandfs" else "ext4"
        self.executable = node.executable
        self.has_data = False
        denied = next(
            (calls for kernel, calls in LACKING.items() if killed.endswith(kernel)),
            (),
        )
        if denied:
            deny(node, denied)

    def prepare(self) -> list[str]:
        """Brings the node to where the callout starts; returns its words."""
        node = self.node
        self.has_data = self.killed != "provision"
        if self.has_data:
            node.provision(size=SIZES[self.fs], fs=self.fs)
            (node.mount("first") / "data").write_bytes(DATA)
            if not self.killed.startswith(("second", "expandfs")):
                node.unmount("first")
        kind = self.killed.split(" ")[0]
        if kind == "unmount":
            node.mount("web")
        access = "ro" if "read-only" in self.killed else "rw"
        grown = str(SIZES[self.fs] + 16 * MIB)
        return {
            "provision": ["provision", node.request("pvc-1")],
            "delete": ["delete", node.deletion()],
            "adopt": ["adopt", node.request("pvc-1", pool="default")],
            "first": ["mount", node.pod_dir("web"), node.options(access=access)],
            "second": ["mount", node.pod_dir("web"), node.options(access="ro")],
            "unmount": ["unmount", node.pod_dir("web")],
            "expandfs": ["expandfs", node.options(), "", node.pod_dir("first"), grown, "0"],
            "snapshot": ["snapshot", "pvc-1", "kept"],
        }[kind]

    def call(self, *words: str) -> str:
        """Calls as kubelet and the provisioner do: again while it is Busy. Returns the reason of
        the failure, or "". What is Busy for ever fails the test."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            reply = self.node.run(*words)
            reason = "" if reply["status"] == "Success" else str(reply.get("reason"))
            if reason != "Busy":
                assert reason in ("", "NotFound"), reply
                return reason
            assert time.monotonic() < deadline, reply
            time.sleep(0.2)

    def command(self, *words: str) -> bytes:
        """Runs a command of a person, which may fail with a sentence."""
        done = self.node.enter(*self.node.executable, *words)
        assert b"Traceback" not in done.stderr and b"bug in" not in done.stderr, done
        return done.stdout

    def exists(self) -> bool:
        return self.node.image().exists()

    def check_data(self, pod: str) -> None:
        if self.has_data:
            assert (self.node.path(self.node.pod_dir(pod)) / "data").read_bytes() == DATA

    def unmount_all(self) -> None:
        for path in self.node.path("/var/lib/kubelet/pods").glob("*/volumes/*/pvc-1"):
            pod = path.parts[-4]
            assert self.call("unmount", self.node.pod_dir(pod)) == ""

    def finish(self) -> None:
        """Whatever came before: a volume that is there can be mounted and has its data, and when
        it is deleted nothing is left."""
        self.unmount_all()
        if self.exists():
            assert self.call("mount", self.node.pod_dir("check"), self.node.options()) == ""
            self.check_data("check")
            self.unmount_all()
        if self.node.image("kept").exists():
            self.node.command("snapshot", "--delete", "kept")
        assert self.call("delete", self.node.deletion()) == ""


def unmount(world: World) -> None:
    assert world.call("unmount", world.node.pod_dir("web")) == ""


def delete(world: World) -> None:
    world.unmount_all()
    assert world.call("delete", world.node.deletion()) == ""
    assert not world.exists()


def mount_for_another_pod(world: World) -> None:
    reason = world.call("mount", world.node.pod_dir("db"), world.node.options())
    assert reason == ("" if world.exists() else "NotFound")
    if not reason:
        world.check_data("db")


def mount_read_only(world: World) -> None:
    reason = world.call(
        "mount",
        world.node.pod_dir("db"),
        world.node.options(access="ro"),
    )
    assert reason == ("" if world.exists() else "NotFound")
    if not reason:
        flags = dict(world.node.mounts())[world.node.pod_dir("db")]
        assert {"ro", "nosuid", "nodev"} <= set(flags.split(","))


def expand(world: World) -> None:
    """As for a pod that uses the volume; ext4 has to grow unmounted on this machine."""
    if not world.exists():
        return
    mount_for_another_pod(world)
    size = str(SIZES[world.fs] + 32 * MIB)
    words = ["expandfs", world.node.options(), "", world.node.pod_dir("db"), size, "0"]
    reply = world.node.run(*words)
    assert reply["status"] == "Success" or "CAP_SYS_RESOURCE" in reply["message"], reply


def snapshot(world: World) -> None:
    world.command("snapshot", "pvc-1", "another")
    if world.node.image("another").exists():
        world.node.command("snapshot", "--delete", "another")


def export(world: World) -> None:
    world.command("export", "pvc-1", "--pool", "default")


def status(world: World) -> None:
    entries = json.loads(world.node.command("status", "--json"))["volumes"]
    assert ("pvc-1" in {entry["name"] for entry in entries}) == world.exists()


def doctor(world: World) -> None:
    assert b"pool default at" in world.command("doctor")


def adopt(world: World) -> None:
    reason = world.call("adopt", world.node.request("pvc-1", pool="default"))
    assert reason == ("" if world.exists() else "NotFound")


def list_volumes(world: World) -> None:
    reply = world.node.ok("list")
    listed = {entry["name"]: entry for entry in reply["volumes"]}
    assert ("pvc-1" in listed) == world.exists()
    assert not [entry for entry in listed.values() if "error" in entry]


def trim(world: World) -> None:
    world.command("trim")


def provision(world: World) -> None:
    # Otherwise the volume is a new one of that name.
    world.has_data = world.has_data and world.exists()
    size = world.node.record()["sizeBytes"] if world.exists() else SIZES[world.fs]
    assert world.call("provision", world.node.request("pvc-1", size, world.fs)) == ""


def reboot(world: World) -> None:
    """All mounts and devices go, and /run with them; the files stay as they are."""
    old = world.node
    old.close()
    old.until_devices(0)
    shutil.rmtree(old.directory / "run/flexvol")
    old.boot()
    shutil.rmtree(old.directory / "var/lib/kubelet/pods", ignore_errors=True)


NEXT: dict[str, Callable[[World], None]] = {
    function.__name__: function
    for function in (
        unmount,
        delete,
        mount_for_another_pod,
        mount_read_only,
        expand,
        snapshot,
        export,
        status,
        doctor,
        adopt,
        list_volumes,
        trim,
        provision,
        reboot,
    )
}


@pytest.mark.parametrize("callout", ["mount", "unmount"])
def test_a_stage_is_cleared_by_the_next_callout_of_whatever_volume(
    node: Node, callout: str
) -> None:
    """As a kernel before 5.2 leaves it when a mount is killed and its pod is deleted then."""
    node.provision()
    node.provision("pvc-2")
    node.mount("web")
    node.mount("other", "pvc-2")
    (device,) = (name for name in node.loop_devices() if of_volume(node, name, "pvc-1"))
    stage = "/run/flexvol/stage/" + Path(device).name
    for line in (
        ["mkdir", "-p", stage],
        ["mount", "--bind", node.pod_dir("web"), stage],
        ["umount", node.pod_dir("web")],
    ):
        assert node.enter(*line).returncode == 0
    assert "in use" in node.fails("Busy", "delete", node.deletion())

    if callout == "mount":
        node.mount("another", "pvc-2")
        node.unmount("another", "pvc-2")
    else:
        node.unmount("other", "pvc-2")

    node.until_devices(1 if callout == "mount" else 0)
    node.ok("delete", node.deletion())
    assert not node.path(stage).exists()
    node.unmount("other", "pvc-2")
    node.ok("delete", node.deletion("pvc-2"))


def of_volume(node: Node, device: str, volume: str) -> bool:
    backing = Path("/sys/block", Path(device).name, "loop/backing_file").read_text()
    return backing.rstrip().endswith(f"/{volume}/image")


def points_and_next_calls(
    calls: list[dict[str, object]], campaign: bool, offset: int
) -> Iterator[tuple[int, str]]:
    """Which call comes after a kill at which point."""
    points = [number + 1 for number, call in enumerate(calls) if not call["tool"]]
    if campaign:
        yield from ((point, name) for point in points for name in NEXT)
        return
    names = list(NEXT)
    chosen = {points[index * len(points) // POINTS] for index in range(POINTS)}
    for index, point in enumerate(sorted(chosen)):
        yield point, names[(offset + index) % len(names)]


@pytest.mark.parametrize("killed", KILLED)
def test_whatever_comes_after_a_kill_converges(
    node: Node,
    tmp_path: Path,
    killed: str,
    campaign: bool,
    record_property: Callable[[str, object], None],
) -> None:
    world = World(node, killed)
    # No call has this number: the run counts the calls.
    calls = step(node, tmp_path, world.prepare(), kill_at=1 << 30)
    world.finish()
    node.until_devices(0)
    before = clean_state(node)
    assert before == ([], 0, {"pool.json", ".locks"}, [])
    tried = 0
    for point, name in points_and_next_calls(calls, campaign, 5 * KILLED.index(killed)):
        words = world.prepare()
        made = step(node, tmp_path, words, point)
        try:
            NEXT[name](world)
            world.finish()
            node.until_devices(before[1])
            assert clean_state(node) == before
        except BaseException:
            what = made[-1] if made else None
            print(f"{killed}: killed at call {point} of {len(calls)}, {what}; then {name}")
            raise
        tried += 1
    record_property("next calls tried", tried)
    print(f"{killed}: {tried} next calls after kills, all converged")
