"""When the power fails at any call of a callout, each volume is there whole or not at all, what was
answered holds, and what a pod fsynced is read again.

The pool lies on a disk of its own: an ext4 in a file, on a loop device. What reached that device is
what a disk would have got; what is still in the page cache of the pool's file system is not in the
file. So a copy of the file, taken while the callout is stopped, is the disk after a power cut, and
each copy is mounted as the pool of a new node. commit= and noauto_da_alloc keep ext4 from writing
by itself, so that only what the driver synced is there."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node.contents import DATA, check_data, pool_of, total_bytes, with_data
from tests.node.killing import STEPPER
from tests.node.nodes import MIB, Node

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="stepper.py knows the calls of x86-64 only"
)

OTHERS = {"pool.json", ".locks"}


class Disk:
    """The file, and a directory where it is mounted."""

    def __init__(self, file: Path, directory: Path) -> None:
        self.file = file
        self.directory = directory

    def mount(self) -> None:
        self.directory.mkdir(exist_ok=True)
        subprocess.run(
            ["mount", "-o", "loop,commit=300,noauto_da_alloc", self.file, self.directory],
            check=True,
        )

    def unmount(self) -> None:
        if self.directory.is_mount():
            subprocess.run(["umount", self.directory], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = Disk(tmp_path / "disk", tmp_path / "mounted")
    subprocess.run(["truncate", "-s", str(640 * MIB), disk.file], check=True)
    subprocess.run(["mkfs.ext4", "-q", disk.file], check=True)
    disk.mount()
    yield disk
    disk.unmount()


@pytest.fixture
def node(disk: Disk, tmp_path: Path, executable: list[str]) -> Iterator[Node]:
    node = Node(tmp_path / "node", executable, disk.directory)
    node.command("pool", "init", "default", "--reserve", "0")
    yield node
    node.close()


def power_cuts(node: Node, disk: Disk, words: list[str], tmp_path: Path) -> tuple[list[Path], int]:
    """Runs the callout; returns copies of the disk as it was before each of its calls, each only
    once and without the very last, and the number of calls."""
    copies = tmp_path / "copies"
    copies.mkdir()
    report = tmp_path / "calls.json"
    line = [
        sys.executable,
        str(STEPPER),
        str(report),
        "--between",
        f"cp --sparse=always {disk.file} {copies}/$STEP",
    ]
    done = node.enter(*line, "--", *node.executable, *words)
    assert json.loads(done.stdout)["status"] == "Success", done
    seen: dict[bytes, Path] = {}
    for copy in sorted(copies.iterdir(), key=lambda path: int(path.name)):
        if seen.setdefault(_digest(copy), copy) != copy:
            copy.unlink()
    return list(seen.values()), len(json.loads(report.read_text()))


def _digest(path: Path) -> bytes:
    """Of what is in a sparse file, holes left out."""
    digest = hashlib.sha256()
    end = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while end < size:
            try:
                begin = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:  # nothing but a hole
                break
            end = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            digest.update(b"%d:" % begin + os.pread(file.fileno(), end - begin, begin))
    return digest.digest()


def after(copy: Path, tmp_path: Path, executable: list[str], check: Callable[[Node], None]) -> None:
    """What `check` finds on a node that starts with the copy as its disk."""
    disk = Disk(copy, tmp_path / "after")
    disk.mount()
    try:
        node = Node(tmp_path / "node-after", executable, disk.directory)
        try:
            check(node)
        finally:
            node.close()
    finally:
        disk.unmount()


class Story:
    """words: of the callout. whenever: what must hold after a cut at any of its calls. answered:
    and when it had answered, and `then` had been done."""

    words: list[str]

    def whenever(self, node: Node) -> None:
        raise NotImplementedError

    def then(self) -> None:
        return

    def answered(self, node: Node) -> None:
        raise NotImplementedError


class Provision(Story):
    def __init__(self, node: Node, fs: str, **own: str) -> None:
        self.node = node
        self.words = ["provision", node.request("pvc-1", 300 * MIB, fs, None, **own)]

    def whenever(self, node: Node) -> None:
        there = "pvc-1" in pool_of(node)
        before = node.record() if there else {}
        made = node.ok(*self.words)["volume"]
        assert made["capacityBytes"] == 300 * MIB
        if there:  # then it was whole already
            assert node.record() == before
        assert pool_of(node) == OTHERS | {"pvc-1"}
        with_data_in(node)
        node.ok("delete", node.deletion())
        assert pool_of(node) == OTHERS

    def then(self) -> None:
        self.made = self.node.record()

    def answered(self, node: Node) -> None:
        assert node.record() == self.made


class FirstMount(Story):
    def __init__(self, node: Node, fs: str) -> None:
        self.node = node
        node.provision(size=300 * MIB, fs=fs, uid="1000", mode="0700")
        self.words = ["mount", node.pod_dir("web"), node.options()]

    def whenever(self, node: Node) -> None:
        root = node.mount("web")
        assert (root.stat().st_uid, root.stat().st_mode & 0o777) == (1000, 0o700)
        with_data_in(node, "web")

    def then(self) -> None:
        file = self.node.path(self.node.pod_dir("web")) / "data"
        file.write_bytes(DATA)
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())

    def answered(self, node: Node) -> None:
        assert not node.record()["blank"], "an undo of its claim would delete it"
        node.mount("check")
        check_data(node, "check")


class Grow(Story):
    def __init__(self, node: Node, fs: str) -> None:
        self.node = node
        with_data(node, fs, 300 * MIB)
        node.mount("web")
        os.sync()
        self.words = [
            "expandfs",
            node.options(),
            "",
            node.pod_dir("web"),
            str(400 * MIB),
            "0",
        ]

    def whenever(self, node: Node) -> None:
        assert node.record()["sizeBytes"] in (300 * MIB, 400 * MIB)
        node.mount("web")
        check_data(node, "web")
        node.ok(*self.words)
        assert total_bytes(node.path(node.pod_dir("web"))) > 310 * MIB
        check_data(node, "web")

    def answered(self, node: Node) -> None:
        assert node.record()["sizeBytes"] == 400 * MIB
        assert total_bytes(node.mount("check")) > 310 * MIB


class Delete(Story):
    def __init__(self, node: Node) -> None:
        with_data(node)
        os.sync()
        self.words = ["delete", node.deletion()]

    def whenever(self, node: Node) -> None:
        if "pvc-1" in pool_of(node):
            node.mount("web")
            check_data(node, "web")
            node.unmount("web")
        node.ok(*self.words)
        node.ok("list")
        assert pool_of(node) == OTHERS

    def answered(self, node: Node) -> None:
        assert "pvc-1" not in pool_of(node)


class Adopt(Story):
    def __init__(self, node: Node) -> None:
        with_data(node)
        os.sync()
        self.words = [
            "adopt",
            node.request("pvc-1", pool="default").replace('"shop"', '"bank"'),
        ]

    def whenever(self, node: Node) -> None:
        namespace = node.record()["owner"]["namespace"]
        assert namespace in ("shop", "bank")
        node.ok("mount", node.pod_dir("web"), node.options(namespace=namespace))
        check_data(node, "web")

    def answered(self, node: Node) -> None:
        assert node.record()["owner"]["namespace"] == "bank"


def with_data_in(node: Node, pod: str = "web") -> None:
    directory = node.mount(pod) if pod not in str(node.mounts()) else node.path(node.pod_dir(pod))
    (directory / "data").write_bytes(DATA)
    node.unmount(pod)
    node.mount(pod)
    check_data(node, pod)
    node.unmount(pod)


STORIES: dict[str, Callable[[Node], Any]] = {
    "provision of ext4": lambda node: Provision(node, "ext4"),
    "provision of thick xfs": lambda node: Provision(node, "xfs", thick="true"),
    "first mount of ext4": lambda node: FirstMount(node, "ext4"),
    "first mount of xfs": lambda node: FirstMount(node, "xfs"),
    "first mount of btrfs": lambda node: FirstMount(node, "btrfs"),
    "expandfs of xfs": lambda node: Grow(node, "xfs"),
    "expandfs of btrfs": lambda node: Grow(node, "btrfs"),
    "delete": Delete,
    "adopt": Adopt,
}


@pytest.mark.parametrize("name", STORIES)
def test_after_a_power_cut_at_any_call(
    node: Node,
    disk: Disk,
    tmp_path: Path,
    executable: list[str],
    name: str,
    record_property: Callable[..., None],
) -> None:
    story: Story = STORIES[name](node)
    copies, calls = power_cuts(node, disk, story.words, tmp_path)
    story.then()
    last = tmp_path / "last"
    subprocess.run(["cp", "--sparse=always", disk.file, last], check=True)
    node.close()  # with all its mounts: the kernel mounts no second xfs of the same UUID
    disk.unmount()
    for copy in copies:
        try:
            after(copy, tmp_path, executable, story.whenever)
        except BaseException:
            print(f"{name}: power cut at call {copy.name} of {calls}")
            raise
        copy.unlink()

    def answered(node: Node) -> None:
        story.answered(node)
        story.whenever(node)

    after(last, tmp_path, executable, answered)
    record_property("power cuts", len(copies) + 1)
    print(f"{name}: {len(copies) + 1} disks of {calls} calls")
