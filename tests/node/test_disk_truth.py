"""A disk that is full or fails: what was begun is taken back or said, what was fsynced is there,
and it goes on after.

The first test fails each call that changes something, once, by itself; the second fills the disk
under running pods."""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node.cases import CASES, clean_state, until_settled
from tests.node.contents import pool_of
from tests.node.killing import STEPPER
from tests.node.nodes import MIB, Node

FAILED_CASES = (
    "provision of ext4",
    "delete",
    "adopt",
    "first mount of ext4",
    "first mount of btrfs",
    "unmount",
    "expandfs of xfs",
)
CODES = ("EIO", "ENOSPC")
SAMPLE = 3
TOOL_SAMPLE = 40
# What no callout may do without, so that it fails with it; others are for its log, or undo what
# failed.
# A growth ("growth") is not: the volume then has the size that it had. Where tools make it grow,
# the calls that note their work may fail for the same reason.
GROWS_BY_TOOLS = "first mount of ext4"
NEEDED = {"fsync", "rename", "renameat", "ftruncate", "mkdirat", "ioctl", "LOOP_CONFIGURE"}


def step(
    node: Node, tmp_path: Path, words: list[str], fail_at: int, code: str
) -> tuple[dict[str, Any], list[Any]]:
    """The reply of a callout whose `fail_at`-th changing call fails with `code`, and its calls."""
    report = tmp_path / "calls.json"
    line = [
        sys.executable,
        str(STEPPER),
        str(report),
        "--fail-at",
        str(fail_at),
        "--error",
        code,
        "--",
    ]
    done = node.enter(*line, *node.executable, *words)
    assert (done.returncode, done.stderr) == (0, b""), done
    reply: dict[str, Any] = json.loads(done.stdout)
    return reply, json.loads(report.read_text())


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="stepper.py knows the calls of x86-64 only"
)
@pytest.mark.parametrize("name", FAILED_CASES)
def test_whichever_call_fails_nothing_is_left_and_it_can_be_repeated(
    node: Node,
    tmp_path: Path,
    name: str,
    campaign: bool,
    record_property: Callable[[str, object], None],
) -> None:
    case = CASES[name](node)
    reply, calls = step(node, tmp_path, case.prepare(), 0, "EIO")
    assert reply["status"] == "Success"
    case.finish()
    until_settled(node)
    before = clean_state(node)
    points = failing_points(calls, campaign)
    outcomes: dict[str, int] = {}
    for number, point in enumerate(points):
        for code in CODES if campaign else (CODES[number % 2],):
            words = case.prepare()
            at_rest = node.mounts()
            reply, made = step(node, tmp_path, words, point, code)
            outcomes[reply["status"]] = outcomes.get(reply["status"], 0) + 1
            # The tools may make fewer calls this time: then none of them failed.
            failed = made[min(point, len(made)) - 1]
            try:
                if is_needed(failed) and name != GROWS_BY_TOOLS:
                    assert reply["status"] == "Failure"
                # A tool that makes other calls this time moves the failure to the pipe by which a
                # child answers: then the child's work is done, or not, as after a kill.
                if reply["status"] != "Success" and not failed["pipe"]:
                    check_failure(node, words[0], reply, at_rest, made[: point - 1])
                elif words[0] == "mount":
                    # A growth that fails keeps no pod from its data; the next pod's mount grows it.
                    node.ok("unmount", words[1])
                case.finish()
                node.until_devices(before[1])
                assert clean_state(node) == before
            except BaseException:
                print(f"{name}: {code} at call {point} of {len(calls)}: {failed}: {reply}")
                raise
    print(f"{name}: {outcomes}")
    record_property("failed calls", sum(outcomes.values()))


def failing_points(calls: list[dict[str, Any]], campaign: bool) -> list[int]:
    """The numbers of the calls that are to fail: the needed ones, and a sample of the others."""
    points = []
    for point, call in enumerate(calls, 1):
        if call["pipe"] or call["call"] == "execve":
            continue
        sample = TOOL_SAMPLE if call["tool"] else SAMPLE
        if is_needed(call) or campaign or point % sample == 0:
            points.append(point)
    return points


def check_failure(
    node: Node,
    callout: str,
    reply: dict[str, Any],
    at_rest: list[tuple[str, str]],
    made: list[dict[str, Any]],
) -> None:
    """at_rest: the mounts before the callout. made: its calls before the one that failed."""
    assert "bug" not in reply["message"] and "hang" not in reply["message"], reply
    if callout == "mount":
        assert node.mounts() == at_rest
        node.until_devices(0)
    if callout == "provision":
        renamed = [call["call"] for call in made].count("renameat")
        is_published = renamed == 2  # first its record, and then its directory
        volumes = ["pvc-1"] if is_published else []
        assert pool_of(node) == {"pool.json", ".locks", *volumes}


def is_needed(call: dict[str, Any]) -> bool:
    return call["call"] in NEEDED and not call["tool"]


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

        # What happens to commit before that write, or in it, has stopped already; xfs stops for
        # nothing.
        stopped = "" if fs == "xfs" else "|Read-only|Input/output"
        with pytest.raises(OSError, match="No space left" + stopped):
            write(pod / "more", 128 * MIB)
        went_read_only = not make_directories(pod, 100 if fs == "xfs" else 3000)
        assert went_read_only == (fs != "xfs")
        doctor = node.enter(*node.executable, "doctor", "/var/lib/kubelet").stdout.decode()
        assert "free some space at once" in doctor
        filler.unlink()
        os.sync()

        (entry,) = json.loads(node.command("status", "--json"))["volumes"]
        # Only ext4 notes errors in its superblock.
        assert node.ok("list")["volumes"][0]["damaged"] == (fs == "ext4")
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
        assert node.ok("list")["volumes"][0]["damaged"] is False
        node.unmount("db")
    finally:
        node.close()


def grows_at_the_next_mount(node: Node, size: int) -> bytes:
    """Makes the volume, an ext4 with a file `kept` whose content it returns, so that tools must
    grow it."""
    node.provision()
    pod = node.mount("web")
    write(pod / "kept", 8 * MIB)
    kept = (pod / "kept").read_bytes()
    node.unmount("web")
    node.until_devices(0)
    assert "next pod" in node.fails(
        "Internal", "expandfs", node.options(), "", node.pod_dir("web"), str(size), str(64 * MIB)
    )
    return kept


def test_growth_by_tools_is_not_begun_on_a_full_pool(
    tmp_path: Path, executable: list[str], small_disk: Path
) -> None:
    """It would end in the middle, and what it overwrote could not be kept."""
    node = Node(tmp_path / "node", executable, small_disk)
    try:
        node.command("pool", "init", "default", "--reserve", "0", "--overcommit", "100")
        kept = grows_at_the_next_mount(node, 6 << 30)
        fill(small_disk / "filler")
        os.truncate(
            small_disk / "filler",
            (small_disk / "filler").stat().st_size - 12 * MIB,
        )

        pod = node.mount("web")

        assert (pod / "kept").read_bytes() == kept
        assert os.statvfs(pod).f_blocks * os.statvfs(pod).f_frsize < 64 * MIB
        assert "its growth needs 22 MiB of the pool's disk, which has less" in log_of(node)
        node.unmount("web")
        assert {entry.name for entry in node.image().parent.iterdir()} == {"image", "volume.json"}
        (small_disk / "filler").unlink()
        pod = node.mount("web")
        assert (pod / "kept").read_bytes() == kept
        assert os.statvfs(pod).f_blocks * os.statvfs(pod).f_frsize > 64 * MIB
        node.unmount("web")
    finally:
        node.close()


def test_growth_by_a_tool_that_fails_leaves_a_sound_volume(node: Node, tmp_path: Path) -> None:
    """Half a resize is what neither the kernel nor e2fsck -p takes. This tool fails at its end, so
    what it leaves is sound and is kept."""
    kept = grows_at_the_next_mount(node, 128 * MIB)
    failing = tmp_path / "bin/resize2fs"
    failing.parent.mkdir()
    failing.write_text(
        '#!/bin/sh\nPATH=/usr/sbin:/sbin resize2fs "$@" && echo it was full at last && exit 1\n'
    )
    failing.chmod(0o755)
    path = f"PATH={failing.parent}:{os.environ['PATH']}"

    done = node.enter(
        "env",
        path,
        *node.executable,
        "mount",
        node.pod_dir("web"),
        node.options(),
    )

    assert json.loads(done.stdout)["status"] == "Success", done
    assert "it was full at last" in log_of(node)
    pod = node.path(node.pod_dir("web"))
    assert (pod / "kept").read_bytes() == kept
    node.unmount("web")
    assert {entry.name for entry in node.image().parent.iterdir()} == {"image", "volume.json"}
    node.until_devices(0)
    assert (
        subprocess.run(
            ["e2fsck", "-f", "-n", node.image()], capture_output=True, check=False
        ).returncode
        == 0
    )
    pod = node.mount("web")
    assert (pod / "kept").read_bytes() == kept
    assert os.statvfs(pod).f_blocks * os.statvfs(pod).f_frsize > 110 * MIB


def log_of(node: Node) -> str:
    return node.path("/var/log/flexvol/loop.log").read_text()


# The file system of a pool -> the command that makes it, and the size of its disk's sectors.
POOLS: dict[str, tuple[list[str], int]] = {
    "ext4 in blocks of 1024": (["mkfs.ext4", "-q", "-b", "1024"], 512),
    "ext4 on sectors of 4096": (["mkfs.ext4", "-q", "-b", "4096"], 4096),
    "xfs in blocks of 1024": (
        ["mkfs.xfs", "-q", "-b", "size=1024", "-m", "reflink=0"],
        512,
    ),
    "xfs on sectors of 4096": (["mkfs.xfs", "-q", "-s", "size=4096"], 4096),
    "btrfs on sectors of 512": (["mkfs.btrfs", "-q", "-s", "4096"], 512),
    "btrfs on sectors of 4096": (["mkfs.btrfs", "-q", "-s", "4096"], 4096),
}


@pytest.fixture
def pool_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk with the file system of POOLS, or tmpfs."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    device = "none"
    if request.param != "tmpfs":
        make, sector = POOLS[request.param]
        subprocess.run(["truncate", "-s", "1G", tmp_path / "image"], check=True)
        line = [
            "losetup",
            "--find",
            "--show",
            "--sector-size",
            str(sector),
            str(tmp_path / "image"),
        ]
        device = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    try:
        if request.param != "tmpfs":
            subprocess.run([*make, device], check=True)
        subprocess.run(
            ["mount", "-t", request.param.split()[0], device, disk],
            check=True,
        )
        yield disk
        subprocess.run(["umount", disk], check=True)
    finally:
        if device != "none":
            subprocess.run(["losetup", "-d", device], check=True)


@pytest.mark.parametrize("pool_disk", [*POOLS, "tmpfs"], indirect=True)
def test_a_volumes_life_on_a_pool_of_each_kind(
    tmp_path: Path, executable: list[str], pool_disk: Path
) -> None:
    node = Node(tmp_path / "node", executable, pool_disk)
    try:
        node.command("pool", "init", "default", "--reserve", "0")
        for fs, thick in (("ext4", "true"), ("xfs", "false"), ("btrfs", "false")):
            node.provision(size=300 * MIB, fs=fs, thick=thick)
            pod = node.mount("web")
            write(pod / "kept", 8 * MIB)
            kept = (pod / "kept").read_bytes()
            if fs != "ext4":
                node.ok(
                    "expandfs",
                    node.options(),
                    "",
                    node.pod_dir("web"),
                    str(320 * MIB),
                    "0",
                )
            node.unmount("web")
            assert (node.mount("db", access="ro") / "kept").read_bytes() == kept
            node.unmount("db")
            node.ok("delete", node.deletion())
        assert node.ok("list")["volumes"] == []
    finally:
        node.close()


@pytest.mark.parametrize(
    "pool_disk", ["btrfs on sectors of 512", "ext4 on sectors of 4096"], indirect=True
)
def test_a_thick_volume_can_be_overwritten_when_the_pools_disk_is_full(
    tmp_path: Path, executable: list[str], pool_disk: Path
) -> None:
    """On btrfs what is overwritten would take new blocks."""
    node = Node(tmp_path / "node", executable, pool_disk)
    try:
        node.command("pool", "init", "default", "--reserve", "0")
        node.provision(size=300 * MIB, thick="true")
        pod = node.mount("web")
        write(pod / "data", 200 * MIB)
        fill(pool_disk / "filler")

        for _ in range(2):
            write_over(pod / "data", 200 * MIB)

        node.unmount("web")
    finally:
        node.close()


def write_over(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())
