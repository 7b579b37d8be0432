"""A disk that is full or fails: what was begun is taken back or said, what was fsynced is there, and it goes on after.

The first test fails each call that changes something, once, by itself; the second fills the disk under running pods.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node.conftest import MIB, Node
from tests.node.test_crash import CASES, STEPPER, clean_state

FAILED_CASES = ("provision-ext4", "delete", "adopt", "first-mount-ext4", "first-mount-btrfs", "unmount", "expandfs-xfs")
SAMPLE = 3


def step(node: Node, tmp_path: Path, words: list[str], fail_at: int, code: str) -> tuple[dict[str, Any], list[Any]]:
    """The reply of a callout whose `fail_at`-th changing call fails with `code`, and its calls."""
    report = tmp_path / "calls.json"
    line = [sys.executable, str(STEPPER), str(report), "--fail-at", str(fail_at), "--error", code, "--"]
    done = node.enter(*line, *node.executable, *words)
    assert (done.returncode, done.stderr) == (0, b""), done
    reply: dict[str, Any] = json.loads(done.stdout)
    return reply, json.loads(report.read_text())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="stepper.py knows the calls of x86-64 only")
@pytest.mark.parametrize("name", FAILED_CASES)
def test_whichever_call_fails_nothing_is_left_and_it_can_be_repeated(
    node: Node, tmp_path: Path, name: str, campaign: bool, record_property: Callable[[str, object], None]
) -> None:
    case = CASES[name](node)
    reply, calls = step(node, tmp_path, case.prepare(), 0, "EIO")
    assert reply["status"] == "Success"
    case.finish()
    before = clean_state(node)
    ours = [n for n, call in enumerate(calls, 1) if not call["tool"] and not call["pipe"] and call["call"] != "execve"]
    points = [n for n, call in enumerate(calls, 1) if n in ours or (campaign and call["tool"])]
    outcomes: dict[str, int] = {}
    for number, point in enumerate(points if campaign else points[len(name) % SAMPLE :: SAMPLE]):
        for code in ("EIO", "ENOSPC") if campaign else (("EIO", "ENOSPC")[number % 2],):
            words = case.prepare()
            at_rest = node.mounts()
            reply, _ = step(node, tmp_path, words, point, code)
            outcomes[reply["status"]] = outcomes.get(reply["status"], 0) + 1
            try:
                if reply["status"] != "Success":
                    assert "bug" not in reply["message"] and "hang" not in reply["message"], reply
                    if words[0] == "mount":
                        assert node.mounts() == at_rest
                        wait_until(lambda: not node.loop_devices())
                case.finish()
                assert clean_state(node) == before
            except BaseException:
                print(f"{name}: {code} at call {point} of {len(calls)}: {calls[point - 1]}: {reply}")
                raise
    print(f"{name}: {outcomes}")
    record_property("failed calls", sum(outcomes.values()))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk for pools that is soon full."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["truncate", "-s", str(400 * MIB), tmp_path / "image"], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", tmp_path / "image"], check=True)
    subprocess.run(["mount", "-o", "loop", tmp_path / "image", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


def write(path: Path, size: int) -> None:
    """As a careful pod does."""
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for piece in (MIB, 4096):
            with pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(piece))
        os.fsync(file.fileno())


def make_directories(where: Path, count: int) -> bool:
    """Writes metadata, each time on disk; False if the file system has stopped."""
    try:
        for number in range(count):
            (where / f"directory-{number}").mkdir()
            write(where / f"directory-{number}" / "file", 0)
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EROFS):
            raise
        return False
    return True


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_a_pool_that_fills_up_under_a_running_pod(
    tmp_path: Path, executable: list[str], small_disk: Path, fs: str
) -> None:
    node = Node(tmp_path / "node", executable, small_disk)
    try:
        node.command("pool", "init", "default", "--reserve", "0", "--overcommit", "4")
        node.provision(size=320 * MIB, fs=fs)
        pod = node.mount("web")
        write(pod / "kept", 8 * MIB)
        kept = (pod / "kept").read_bytes()
        filler = small_disk / "filler"
        fill(filler)

        with pytest.raises(OSError, match="No space left"):
            write(pod / "more", 128 * MIB)
        went_read_only = not make_directories(pod, 100 if fs == "xfs" else 3000)
        assert went_read_only == (fs != "xfs")
        doctor = node.enter(*node.executable, "doctor", "/var/lib/kubelet").stdout.decode()
        assert "free some space at once" in doctor
        filler.unlink()
        os.sync()

        (entry,) = json.loads(node.command("status", "--json"))["volumes"]
        if went_read_only:
            (trouble,) = entry["troubles"]
            assert trouble["what"] == f"its {fs} has gone read-only after an error"
            assert trouble["what"] in doctor
            with pytest.raises(OSError, match="Read-only"):
                write(pod / "again", 4 * MIB)
        else:
            assert entry["troubles"] == []
            write(pod / "again", 4 * MIB)  # by itself, without a new mount
        node.unmount("web")
        pod = node.mount("db")
        assert (pod / "kept").read_bytes() == kept
        write(pod / "after", 4 * MIB)
        node.unmount("db")
    finally:
        node.close()


POOLS: dict[str, tuple[list[str], int]] = {
    "ext4-1024-512": (["mkfs.ext4", "-q", "-b", "1024"], 512),
    "ext4-4096-4096": (["mkfs.ext4", "-q", "-b", "4096"], 4096),
    "xfs-1024-512": (["mkfs.xfs", "-q", "-b", "size=1024", "-m", "reflink=0"], 512),
    "xfs-4096-4096": (["mkfs.xfs", "-q", "-s", "size=4096"], 4096),
    "btrfs-4096-512": (["mkfs.btrfs", "-q", "-s", "4096"], 512),
    "btrfs-4096-4096": (["mkfs.btrfs", "-q", "-s", "4096"], 4096),
}


@pytest.fixture
def pool_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk with the file system, block and sector size of POOLS, or tmpfs."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    device = "none"
    if request.param != "tmpfs":
        make, sector = POOLS[request.param]
        subprocess.run(["truncate", "-s", "1G", tmp_path / "image"], check=True)
        line = ["losetup", "--find", "--show", "--sector-size", str(sector), str(tmp_path / "image")]
        device = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    try:
        if request.param != "tmpfs":
            subprocess.run([*make, device], check=True)
        subprocess.run(["mount", "-t", request.param.split("-")[0], device, disk], check=True)
        yield disk
        subprocess.run(["umount", disk], check=True)
    finally:
        if device != "none":
            subprocess.run(["losetup", "-d", device], check=True)


@pytest.mark.parametrize("pool_disk", [*POOLS, "tmpfs"], indirect=True)
def test_a_volumes_life_on_a_pool_of_each_kind(tmp_path: Path, executable: list[str], pool_disk: Path) -> None:
    node = Node(tmp_path / "node", executable, pool_disk)
    try:
        node.command("pool", "init", "default", "--reserve", "0")
        for fs, thick in (("ext4", "true"), ("xfs", "false"), ("btrfs", "false")):
            node.provision(size=300 * MIB, fs=fs, thick=thick)
            pod = node.mount("web")
            write(pod / "kept", 8 * MIB)
            kept = (pod / "kept").read_bytes()
            if fs != "ext4":
                node.ok("expandfs", node.options(), "", node.pod_dir("web"), str(320 * MIB), "0")
            node.unmount("web")
            assert (node.mount("db", access="ro") / "kept").read_bytes() == kept
            node.unmount("db")
            node.ok("delete", node.deletion())
        assert node.ok("list")["volumes"] == []
    finally:
        node.close()
