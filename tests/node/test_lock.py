"""The kernel's lock on the image is the only guard of "one loop device per image": each way to get
past it.

A kill between LOOP_SET_FD and LOOP_SET_STATUS64, which leaves a device that holds the lock for
ever, is one of the points of test_crash's old kernel; a device made by hand and a mount in another
namespace are in test_mount."""

from __future__ import annotations

import binascii
import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host import files
from tests.node.conftest import MIB, Node, edited
from tests.node.test_crash import OLD_KERNEL, STEPPER, step


@pytest.fixture
def other(make_node: Callable[..., Node], node: Node) -> Node:
    """Another machine that shares the pools: it sees neither this one's loop devices nor who holds
    its locks."""
    other = make_node("other", node.directory / "var/lib/flexvol")
    assert other.enter("mount", "-t", "tmpfs", "none", "/sys/block").returncode == 0
    assert other.enter("mount", "--bind", "/dev/null", "/proc/locks").returncode == 0
    return other


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_a_pool_that_two_nodes_share(node: Node, other: Node, fs: str) -> None:
    node.provision(size=300 * MIB, fs=fs)
    (node.mount("web") / "data").write_text("kept")
    record = node.record()

    for words in (
        ("mount", other.pod_dir("db"), other.options()),
        ("delete", other.deletion()),
    ):
        assert "on another node" in other.fails("Busy", *words)
    assert (other.record(), other.mounts()) == (record, [])

    node.unmount("web")
    assert (other.mount("db") / "data").read_text() == "kept"
    assert "in use" in node.fails("Busy", "delete", node.deletion())
    other.unmount("db")
    other.ok("delete", other.deletion())
    assert "is not in pool" in node.fails("NotFound", "mount", node.pod_dir("web"), node.options())


def test_a_device_that_a_process_keeps_open_is_mounted_again_and_never_doubled(node: Node) -> None:
    node.provision()
    (node.mount("web") / "data").write_text("kept")
    (device,) = node.loop_devices()
    with open(device, "rb"):
        node.unmount("web")
        assert node.loop_devices() == [device]
        assert "in use" in node.fails("Busy", "delete", node.deletion())

        assert (node.mount("db") / "data").read_text() == "kept"

        assert node.loop_devices() == [device]
        node.unmount("db")
    node.until_devices(0)
    node.ok("delete", node.deletion())


@pytest.mark.parametrize("callout", ["mount", "delete"])
@pytest.mark.parametrize(("replaced", "reason"), [(True, "Busy"), (False, "NotFound")])
def test_an_image_that_went_while_its_lock_was_waited_for_is_not_taken_for_the_volume(
    node: Node, callout: str, replaced: bool, reason: str
) -> None:
    node.provision()
    words = [node.pod_dir("web"), node.options()] if callout == "mount" else [node.deletion()]
    volume = node.image().parent
    aside = volume.parent / ".aside"
    with node.image().open("rb+") as image:
        fcntl.flock(image, fcntl.LOCK_EX)
        waiting = node.start(*node.executable, callout, *words, stdin=subprocess.DEVNULL)
        wait_until_open(waiting, image.fileno())
        volume.rename(aside)
        if replaced:
            shutil.copytree(aside, volume)  # the same name, another file
    reply = json.loads(waiting.communicate(timeout=30)[0])

    assert (reply["status"], reply["reason"]) == ("Failure", reason), reply
    assert reply["message"] == (
        f"volume pvc-1 was {'replaced meanwhile; try again' if replaced else 'deleted meanwhile'}"
    )
    assert (aside / "image").exists()
    assert volume.exists() == replaced
    assert node.mounts() == []
    if replaced:
        shutil.rmtree(aside)
    else:
        aside.rename(volume)
    node.until_devices(0)
    node.ok(callout, *words)


def wait_until_open(process: subprocess.Popen[bytes], descriptor: int) -> None:
    """Until the callout, or its child, has the file open too."""
    wanted = os.fstat(descriptor)
    deadline = time.monotonic() + 20
    while True:
        for path in [f"/proc/{pid}/fd" for pid in (process.pid, *children(process.pid))]:
            for number in os.listdir(path) if os.path.isdir(path) else []:
                try:
                    status = os.stat(f"{path}/{number}")
                except OSError:  # closed, or ended, meanwhile
                    continue
                if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            found = [int(word) for word in file.read().split()]
    except OSError:  # it ended
        return []
    return found + [inner for child in found for inner in children(child)]


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="stepper.py knows the calls of x86-64 only"
)
@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_after_a_reboot_no_lock_is_left_and_the_data_is_there(
    node: Node, make_node: Callable[..., Node], fs: str, tmp_path: Path
) -> None:
    """All mounts and loop devices go at once, under running pods, one of them after a callout that
    was killed."""
    node.provision(size=300 * MIB, fs=fs)
    kept = os.urandom(MIB)
    for pod in ("web", "db"):
        with (node.mount(pod) / pod).open("wb") as file:
            file.write(kept)
            os.fsync(file.fileno())
    grow = ["expandfs", node.options(), "", node.pod_dir("web")]
    calls = step(node, tmp_path, [*grow, str(350 * MIB), "0"], kill_at=1 << 30)  # never
    assert (
        len(step(node, tmp_path, [*grow, str(400 * MIB), "0"], kill_at=len(calls) // 2))
        == len(calls) // 2
    )
    node.close()

    again = make_node("again", node.directory / "var/lib/flexvol")
    directory = again.mount("web")
    assert (directory / "web").read_bytes() == (directory / "db").read_bytes() == kept
    asked = again.record()["sizeBytes"]
    assert asked in (350 * MIB, 400 * MIB)
    assert again.image().stat().st_size >= asked
    again.unmount("web")
    again.ok("delete", again.deletion())


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="stepper.py knows the calls of x86-64 only"
)
@pytest.mark.parametrize(("denied", "call"), [((), 0), (OLD_KERNEL, 3)])
def test_a_device_whose_pages_are_cached_is_tried_again(
    node: Node, tmp_path: Path, denied: tuple[str, ...], call: int
) -> None:
    """LOOP_CONFIGURE says EAGAIN then, or before 5.8 the third of the ioctls that do its work,
    LOOP_SET_BLOCK_SIZE."""
    node.provision()
    node.mount("web")  # so that every later mount makes the same calls
    node.unmount("web")
    report = tmp_path / "calls.json"
    line = [
        sys.executable,
        str(STEPPER),
        str(report),
        "--deny",
        *denied,
        "--error",
        "EAGAIN",
        "--fail-at",
    ]
    words = ["mount", node.pod_dir("web"), node.options()]
    done = node.enter(*line, "0", "--", *node.executable, *words)  # none fails
    assert done.stdout == b'{"status": "Success"}\n', done
    node.unmount("web")
    names = [made["call"] for made in json.loads(report.read_text())]
    begin = names.index("LOOP_CONFIGURE")
    assert names[begin + 1 : begin + 1 + call] == ["ioctl"] * call

    node.pod_dir("web")
    done = node.enter(*line, str(begin + 1 + call), "--", *node.executable, *words)

    assert done.stdout == b'{"status": "Success"}\n', done
    again = [made["call"] for made in json.loads(report.read_text())]
    assert len(again) == len(names) + 1
    (device,) = node.loop_devices()
    assert Path("/sys/block", Path(device).name, "queue/logical_block_size").read_text() == "4096\n"


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts file systems of this test's own."""
    made: list[Path] = []

    def mount(*words: str) -> Path:
        path = tmp_path / f"mounted-{len(made)}"
        path.mkdir()
        subprocess.run(["mount", *words, path], check=True)
        made.append(path)
        return path

    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    yield mount
    for path in made:
        subprocess.run(["umount", path], check=True)


def test_who_locked_a_file_of_the_same_number_on_another_disk_is_not_named(
    mounted: Callable[..., Path],
) -> None:
    one, other = (mounted("-t", "tmpfs", "none") / "file" for _ in range(2))
    with one.open("w") as locked, other.open("w") as free:
        assert os.fstat(locked.fileno()).st_ino == os.fstat(free.fileno()).st_ino
        assert files.try_lock(locked.fileno())

        assert files.lock_holder(free.fileno()) is None
        assert f"process {os.getpid()} " in str(files.lock_holder(locked.fileno()))


def test_who_locked_a_file_in_a_subvolume_is_named(
    mounted: Callable[..., Path], tmp_path: Path
) -> None:
    """Its device is one number in stat and another in /proc/locks."""
    subprocess.run(["truncate", "-s", str(128 * MIB), tmp_path / "disk"], check=True)
    subprocess.run(["mkfs.btrfs", "-q", tmp_path / "disk"], check=True)
    inner = mounted("-o", "loop", str(tmp_path / "disk")) / "inner"
    subprocess.run(["btrfs", "-q", "subvolume", "create", inner], check=True)
    with (inner / "file").open("w") as locked:
        assert files.try_lock(locked.fileno())

        assert f"process {os.getpid()} " in str(files.lock_holder(locked.fileno()))


@pytest.mark.parametrize("callout", ["mount", "delete", "provision"])
def test_a_callout_waits_for_a_lock_only_so_long_and_says_who_has_it(
    node: Node, for_python: Path, callout: str
) -> None:
    node.provision()
    node.executable = edited(
        for_python,
        node.directory / "hasty",
        "drivers/loop/pool.py",
        {"_LOCK_SECONDS = 20": "_LOCK_SECONDS = 1"},
    )
    words = {
        "mount": [node.pod_dir("web"), node.options()], "delete": [node.deletion()],
        "provision": [node.request("pvc-1")],
    }  # fmt: skip
    number = binascii.crc32(b"pvc-1") % 1024
    with node.path(f"/var/lib/flexvol/default/.locks/{number:03x}").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        began = time.monotonic()

        message = node.fails("Busy", callout, *words[callout])

        assert 1 <= time.monotonic() - began < 10
    assert re.fullmatch(
        rf"volume pvc-1 is locked, process {os.getpid()} \(.*\) has it; gave up after 1 s", message
    )
    node.ok(callout, *words[callout])
