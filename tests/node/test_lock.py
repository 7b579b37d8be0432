"""The kernel's lock on the image is the only guard of "one loop device per image": each way to get past it.

A kill between LOOP_SET_FD and LOOP_SET_STATUS64, which leaves a device that holds the lock for ever, is one of the
points of test_crash's old kernel; a device made by hand and a mount in another namespace are in test_mount.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.node.conftest import MIB, Node


@pytest.fixture
def other(make_node: Callable[..., Node], node: Node) -> Node:
    """Another machine that shares the pools: it sees neither this one's loop devices nor who holds its locks."""
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
    wait_until_detached(node)
    node.ok("delete", node.deletion())


@pytest.mark.parametrize("callout", ["mount", "delete"])
def test_an_image_that_went_while_its_lock_was_waited_for_is_not_taken_for_the_volume(node: Node, callout: str) -> None:
    node.provision()
    words = [node.pod_dir("web"), node.options()] if callout == "mount" else [node.deletion()]
    volume = node.image().parent
    aside = volume.parent / ".aside"
    with node.image().open("rb+") as image:
        fcntl.flock(image, fcntl.LOCK_EX)
        waiting = node.start(*node.executable, callout, *words, stdin=subprocess.DEVNULL)
        wait_until_open(waiting, image.fileno())
        volume.rename(aside)
        shutil.copytree(aside, volume)  # the same name, another file
    reply = json.loads(waiting.communicate(timeout=30)[0])

    assert (reply["status"], reply["reason"]) == ("Failure", "Busy"), reply
    assert "was replaced meanwhile" in reply["message"]
    assert (aside / "image").exists()
    assert (volume / "image").exists()
    assert node.mounts() == []
    shutil.rmtree(aside)
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


def wait_until_detached(node: Node) -> None:
    deadline = time.monotonic() + 10
    while node.loop_devices():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_after_a_reboot_no_lock_is_left_and_the_data_is_there(
    node: Node, make_node: Callable[..., Node], fs: str
) -> None:
    """All mounts and loop devices go at once, under running pods, one of them after a callout that was killed."""
    node.provision(size=300 * MIB, fs=fs)
    kept = os.urandom(MIB)
    for pod in ("web", "db"):
        with (node.mount(pod) / pod).open("wb") as file:
            file.write(kept)
            os.fsync(file.fileno())
    growing = node.start(*node.executable, "expandfs", node.options(), "", node.pod_dir("web"), str(400 * MIB), "0")
    time.sleep(0.1)
    growing.kill()
    growing.communicate()
    node.close()

    again = make_node("again", node.directory / "var/lib/flexvol")
    directory = again.mount("web")
    assert (directory / "web").read_bytes() == (directory / "db").read_bytes() == kept
    asked = again.record()["sizeBytes"]
    assert asked in (300 * MIB, 400 * MIB)
    assert again.image().stat().st_size >= asked
    again.unmount("web")
    again.ok("delete", again.deletion())
