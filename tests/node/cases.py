"""A callout for each test that kills it: how the node gets to where the callout starts, and what is
true when the callout has been repeated."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node.contents import check_data, pool_of, total_bytes, with_data
from tests.node.killing import step
from tests.node.nodes import MIB, Node

needs_stepper = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="stepper.py knows the calls of x86-64 only"
)
SAMPLE = 40
STEP = 16 * MIB
OWNER = (1000, 2000, 0o2770)


class Case:
    """One callout to be killed. prepare: brings the node to where the callout starts, each time
    anew, and returns its words. finish: does what its caller would do after the kill until it is
    done, and checks what is then there."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def prepare(self) -> list[str]:
        raise NotImplementedError

    def finish(self) -> None:
        raise NotImplementedError


class Provision(Case):
    def __init__(self, node: Node, fs: str, size: int, **own: str) -> None:
        super().__init__(node)
        self.words = ["provision", node.request("pvc-1", size, fs, None, **own)]
        self.size = size

    def prepare(self) -> list[str]:
        return self.words

    def finish(self) -> None:
        assert self.node.ok(*self.words)["volume"]["capacityBytes"] == self.size
        assert pool_of(self.node) == {"pool.json", ".locks", "pvc-1"}
        self.node.mount("check")
        self.node.unmount("check")
        self.node.ok("delete", self.node.deletion())


class Delete(Case):
    def __init__(self, node: Node) -> None:
        super().__init__(node)
        node.provision("pvc-2")

    def prepare(self) -> list[str]:
        self.node.provision()
        return ["delete", self.node.deletion()]

    def finish(self) -> None:
        self.node.ok("delete", self.node.deletion())
        assert pool_of(self.node) == {"pool.json", ".locks", "pvc-2"}


class Adopt(Case):
    def __init__(self, node: Node) -> None:
        super().__init__(node)
        with_data(node)
        self.words = [
            "adopt",
            node.request("pvc-1", pool="default").replace('"shop"', '"bank"'),
        ]

    def prepare(self) -> list[str]:
        self.node.ok("adopt", self.node.request("pvc-1", pool="default"))
        return self.words

    def finish(self) -> None:
        self.node.ok(*self.words)
        assert self.node.record()["owner"]["namespace"] == "bank"
        self.node.ok(
            "mount",
            self.node.pod_dir("check"),
            self.node.options(namespace="bank"),
        )
        check_data(self.node, "check")
        self.node.unmount("check")


class FirstMount(Case):
    """With all that a first mount may have to do: growth of a smaller file system, and its root's
    owner."""

    def __init__(self, node: Node, fs: str) -> None:
        super().__init__(node)
        self.total = with_data(node, fs, 256 * MIB)
        self.size = node.record()["sizeBytes"]

    def prepare(self) -> list[str]:
        self.size += STEP
        self.node.fails(
            "Internal",
            "expandfs",
            self.node.options(),
            "",
            self.pod(),
            str(self.size),
            "0",
        )
        change_record(
            self.node,
            root={"uid": OWNER[0], "gid": OWNER[1], "mode": OWNER[2]},
        )
        return ["mount", self.pod(), self.node.options(access="ro")]

    def pod(self) -> str:
        return self.node.pod_dir("web")

    def finish(self) -> None:
        repeat_mount(self.node, self.pod(), access="ro")
        status = self.node.path(self.pod()).stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == OWNER
        flags = [words for path, words in split(self.node.mounts()) if path == self.pod()]
        assert [("ro" in words, "nosuid" in words) for words in flags] == [(True, True)]
        self.total = grown(self.node, "web", self.total)
        assert len(self.node.loop_devices()) == 1
        check_data(self.node, "web")
        self.node.unmount("web")


class Repair(FirstMount):
    """The kernel noted errors, so that a tool checks the image, and grows it, before it is
    mounted."""

    def prepare(self) -> list[str]:
        words = super().prepare()
        done = self.node.enter(
            "debugfs",
            "-w",
            "-R",
            "set_super_value state 2",
            self.image(),
        )
        assert done.returncode == 0, done
        return words

    def image(self) -> str:
        return "/var/lib/flexvol/default/pvc-1/image"


class Recover(Repair):
    """A growth was killed before it removed what its tool had kept of the image, and that is put
    back first."""

    def prepare(self) -> list[str]:
        words = FirstMount.prepare(self)
        undo = self.image().replace("/image", "/undo")
        for line in (["e2fsck", "-f", "-p", self.image()], ["resize2fs", "-z", undo, self.image()]):
            done = self.node.enter(*line)
            assert done.returncode == 0, done
        assert self.node.image().with_name("undo").exists()
        return words


class SecondMount(Case):
    def __init__(self, node: Node) -> None:
        super().__init__(node)
        with_data(node)
        node.mount("first", access="ro")

    def prepare(self) -> list[str]:
        return ["mount", self.node.pod_dir("second"), self.node.options()]

    def finish(self) -> None:
        repeat_mount(self.node, self.node.pod_dir("second"))
        flags = {
            path.split("/")[5]: words
            for path, words in split(self.node.mounts())
            if "/pods/" in path
        }
        assert {pod: "ro" in words for pod, words in flags.items()} == {
            "first": True,
            "second": False,
        }
        assert len(self.node.loop_devices()) == 1
        check_data(self.node, "second")
        self.node.unmount("second")


class Unmount(Case):
    def __init__(self, node: Node) -> None:
        super().__init__(node)
        with_data(node)

    def prepare(self) -> list[str]:
        self.node.mount("web")
        self.path = self.node.pod_dir("web")
        return ["unmount", self.path]

    def finish(self) -> None:
        self.node.ok("unmount", self.path)
        assert not self.node.path(self.path).exists()
        assert self.node.mounts() == []
        self.node.mount("check")
        check_data(self.node, "check")
        self.node.unmount("check")


class Grow(Case):
    """Of a mounted volume; ext4, where the kernel does not let us, is unmounted for a moment: its
    pod has not begun."""

    def __init__(self, node: Node, fs: str) -> None:
        super().__init__(node)
        self.fs = fs
        self.total = with_data(node, fs, 256 * MIB)
        node.mount("web")
        self.size = node.record()["sizeBytes"]

    def prepare(self) -> list[str]:
        self.size += STEP
        return [
            "expandfs",
            self.node.options(),
            "",
            self.node.pod_dir("web"),
            str(self.size),
            "0",
        ]

    def finish(self) -> None:
        if self.fs == "ext4":
            # Kubelet mounts before it tries again to start a pod.
            repeat_mount(self.node, self.node.pod_dir("web"))
        words = [
            "expandfs",
            self.node.options(),
            "",
            self.node.pod_dir("web"),
            str(self.size),
            "0",
        ]
        assert self.node.ok(*words)["volumeNewSize"] == self.size
        assert self.node.image().stat().st_size == self.size == self.node.record()["sizeBytes"]
        self.total = grown(self.node, "web", self.total)
        check_data(self.node, "web")


def grown(node: Node, pod: str, before: int) -> int:
    """The size of the file system, which must have grown by a step since it was `before`."""
    total = total_bytes(node.path(node.pod_dir(pod)))
    assert total > before + 0.4 * STEP, "it was not grown"
    return total


def change_record(node: Node, **fields: Any) -> None:
    record = node.image().with_name("volume.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), **fields}))


def repeat_mount(node: Node, path: str, access: str = "rw") -> None:
    """As kubelet does: a directory that is a mount point needs no other callout."""
    if path not in [mounted for mounted, _ in node.mounts()]:
        node.ok("mount", path, node.options(access=access))


def split(mounts: list[tuple[str, str]]) -> list[tuple[str, set[str]]]:
    return [(path, set(flags.split(","))) for path, flags in mounts]


CASES: dict[str, Callable[[Node], Case]] = {
    "provision of ext4": lambda node: Provision(node, "ext4", 64 * MIB),
    "provision of thick xfs": lambda node: Provision(node, "xfs", 300 * MIB, thick="true"),
    "provision of btrfs": lambda node: Provision(node, "btrfs", 112 * MIB),
    "delete": Delete,
    "adopt": Adopt,
    "first mount of ext4": lambda node: FirstMount(node, "ext4"),
    "first mount of xfs": lambda node: FirstMount(node, "xfs"),
    "first mount of btrfs": lambda node: FirstMount(node, "btrfs"),
    "first mount of xfs on an old kernel": lambda node: FirstMount(node, "xfs"),
    "second mount": SecondMount,
    "second mount on an old kernel": SecondMount,
    "first mount of btrfs on kernel 5.10": lambda node: FirstMount(node, "btrfs"),
    "second mount on kernel 5.10": SecondMount,
    "unmount": Unmount,
    "first mount of ext4 that is repaired": lambda node: Repair(node, "ext4"),
    "first mount of ext4 whose repair was cut": lambda node: Recover(node, "ext4"),
    "expandfs of ext4": lambda node: Grow(node, "ext4"),
    "expandfs of xfs": lambda node: Grow(node, "xfs"),
    "expandfs of btrfs": lambda node: Grow(node, "btrfs"),
}


def kill_everywhere(name: str, case: Case, tmp_path: Path, campaign: bool, every: int = 1) -> int:
    """Kills the case's callout at each of its calls, or where it takes long, outside a campaign, at
    each `every`th; returns how many those were."""
    node = case.node
    calls = step(node, tmp_path, case.prepare())
    case.finish()
    until_settled(node)
    points = [
        n + 1 for n, call in enumerate(calls) if campaign or not call["tool"] or n % SAMPLE == 0
    ]
    points = points if campaign else points[::every]
    before = clean_state(node)
    for point in points:
        words = case.prepare()
        made = step(node, tmp_path, words, point)
        try:
            case.finish()
            node.until_devices(before[1])
            assert clean_state(node) == before
        except BaseException:
            print(f"{name}: killed at call {point} of {len(calls)}: {made[-1] if made else None}")
            raise
    print(f"{name}: {len(points)} of {len(calls)} calls, all converged")
    return len(points)


def until_settled(node: Node) -> None:
    """Until only volumes that are mounted have a loop device."""
    mounted = {path.rpartition("/")[2] for path, _ in node.mounts()}
    for image in node.path("/var/lib/flexvol/default").glob("*/image"):
        if image.parent.name not in mounted:
            node.until_free(image.parent.name)


def clean_state(node: Node) -> tuple[list[tuple[str, str]], int, set[str], list[str]]:
    stage = node.path("/run/flexvol/stage")
    # An empty directory there is the next one's who gets that loop device, which under load is
    # another test.
    staged = [entry.name for entry in stage.glob("*/") if any(entry.iterdir())]
    return sorted(node.mounts()), len(node.loop_devices()), pool_of(node), staged
