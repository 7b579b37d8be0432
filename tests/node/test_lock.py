"""The kernel's lock on the image is the only guard of "one loop device per image": each way to get
past it.

A kill between LOOP_SET_FD and LOOP_SET_STATUS64, which leaves a device that holds the lock for
ever, is one of the points of test_crash's old kernel; a device made by hand and a mount in another
namespace are in test_mount."""

from __future__ import annotations

import binascii
import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.host.descriptors import Descriptor
from tests.node import edits
from tests.node.killing import OLD_KERNEL, STEPPER, step
from tests.node.locks import lock_file, older_lock_file
from tests.node.nodes import MIB, Node
from tests.precompiled import precompile


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
    node.until_free()
    assert (other.mount("db") / "data").read_text() == "kept"
    assert "in use" in node.fails("Busy", "delete", node.deletion())
    other.unmount("db")
    other.ok("delete", other.deletion())
    assert "is not in pool" in node.fails("NotFound", "mount", node.pod_dir("web"), node.options())


def test_a_pod_of_the_same_node_is_not_taken_for_one_of_another(
    node: Node, make_node: Callable[..., Node]
) -> None:
    """A provisioner's container sees none of the node's locks, and all of its loop devices. The
    container knows a device by the volume's name only, which is unique on a machine: no test that
    runs beside this one has a volume of the same name."""
    volume = f"pvc-{uuid.uuid4()}"
    container = make_node("container", node.directory / "var/lib/flexvol")
    assert container.enter("mount", "--bind", "/dev/null", "/proc/locks").returncode == 0
    node.provision(volume)
    node.mount("web", volume)
    (device,) = node.loop_devices()

    said = container.fails("Busy", "delete", container.deletion(volume))

    assert f"is in use on this node: a pod, or whatever else has {device}" in said
    assert "another node" not in said


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
@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        pytest.param(True, "Busy", id="another volume is there"),
        pytest.param(False, "NotFound", id="no volume is there"),
    ],
)
def test_an_image_that_went_while_its_lock_was_waited_for_is_not_taken_for_the_volume(
    node: Node, for_python: Path, callout: str, replaced: bool, reason: str
) -> None:
    node.provision()
    words = [node.pod_dir("web"), node.options()] if callout == "mount" else [node.deletion()]
    volume = node.image().parent
    aside = volume.parent / ".aside"
    with node.image().open("rb+") as image:
        fcntl.flock(image, fcntl.LOCK_EX)
        line = [*waiting_for_images(node, for_python), callout, *words]
        waiting = node.start(*line, stdin=subprocess.DEVNULL)
        wait_until_open(waiting, image.fileno())
        volume.rename(aside)
        if replaced:
            shutil.copytree(aside, volume)  # the same name, another file
    reply = json.loads(waiting.communicate(timeout=30)[0])

    assert (reply["status"], reply["reason"]) == ("Failure", reason), reply
    what = "replaced meanwhile; try again" if replaced else "deleted meanwhile; nothing is left"
    assert reply["message"].startswith(f"volume pvc-1 was {what}")
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
@pytest.mark.parametrize(
    ("denied", "call"),
    [
        pytest.param((), "LOOP_CONFIGURE", id="this kernel"),
        pytest.param(OLD_KERNEL, "LOOP_SET_BLOCK_SIZE", id="a kernel before 5.8"),
    ],
)
def test_a_device_whose_pages_are_cached_is_tried_again(
    node: Node, tmp_path: Path, denied: tuple[str, ...], call: str
) -> None:
    """LOOP_CONFIGURE says EAGAIN then, or before 5.8 LOOP_SET_BLOCK_SIZE, one of the ioctls that do
    its work. Another test may take the device before either."""
    node.provision()
    report = tmp_path / "calls.json"
    line = [
        sys.executable,
        str(STEPPER),
        str(report),
        "--deny",
        *denied,
        "--after",
        call,
        "--fail-at",
        "0",
        "--error",
        "EAGAIN",
    ]
    words = ["mount", node.pod_dir("web"), node.options()]

    done = node.enter(*line, "--", *node.executable, *words)

    assert done.stdout == b'{"status": "Success"}\n', done
    names = [made["call"] for made in json.loads(report.read_text())]
    failed = names.index(call)
    assert names[failed + 1] == names[failed]  # tried again, at once
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
        assert Descriptor(locked.fileno()).try_lock()

        assert Descriptor(free.fileno()).lock_holder() is None
        assert f"process {os.getpid()} " in str(Descriptor(locked.fileno()).lock_holder())


def test_who_locked_a_file_in_a_subvolume_is_named(
    mounted: Callable[..., Path], tmp_path: Path
) -> None:
    """Its device is one number in stat and another in /proc/locks."""
    subprocess.run(["truncate", "-s", str(128 * MIB), tmp_path / "disk"], check=True)
    subprocess.run(["mkfs.btrfs", "-q", tmp_path / "disk"], check=True)
    inner = mounted("-o", "loop", str(tmp_path / "disk")) / "inner"
    subprocess.run(["btrfs", "-q", "subvolume", "create", inner], check=True)
    with (inner / "file").open("w") as locked:
        assert Descriptor(locked.fileno()).try_lock()

        assert f"process {os.getpid()} " in str(Descriptor(locked.fileno()).lock_holder())


CALLOUTS_OF_ONE = ["mount", "delete", "provision"]


@pytest.fixture
def hasty(node: Node, for_python: Path) -> Node:
    """A node whose driver waits one second for the lock of a volume."""
    short = edits.LOCK_SECONDS.to(1)
    node.executable = edits.edited(for_python, node.directory / "hasty", short)
    precompile(node.directory / "hasty")
    return node


def waiting_for_images(node: Node, for_python: Path) -> list[str]:
    """The node's driver, but one that waits for an image until the test lets it go. The installed
    driver gives up after two seconds, within which a busy machine may not run the test at all."""
    return edits.edited(
        for_python,
        node.directory / "patient",
        edits.IN_USE_SECONDS.to(60),
    )


def words_of(node: Node, callout: str, volume: str = "pvc-1") -> list[str]:
    words = {
        "mount": [node.pod_dir("web", volume), node.options(volume)],
        "delete": [node.deletion(volume)],
        "provision": [node.request(volume)],
    }
    return [callout, *words[callout]]


@pytest.mark.parametrize("callout", CALLOUTS_OF_ONE)
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(lock_file, id="the volume's lock file"),
        pytest.param(older_lock_file, id="the lock file of an older flexvol"),
    ],
)
def test_a_callout_waits_for_a_lock_only_so_long_and_says_who_has_it(
    hasty: Node, callout: str, file: Callable[[Node], Path]
) -> None:
    hasty.provision()
    with file(hasty).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        began = time.monotonic()

        message = hasty.fails("Busy", *words_of(hasty, callout))

        assert 1 <= time.monotonic() - began < 30
    assert re.fullmatch(
        rf"volume pvc-1 is locked, process {os.getpid()} \(.*\) has it; gave up after 1 s",
        message,
    )
    hasty.ok(*words_of(hasty, callout))


def of_one_hash(volume: str) -> str:
    """Another volume's name, with the same hash of 10 bits."""
    wanted = binascii.crc32(volume.encode()) % 1024
    names = (f"pvc-{number}" for number in range(2, 1 << 20))
    return next(name for name in names if binascii.crc32(name.encode()) % 1024 == wanted)


@pytest.mark.parametrize("callout", CALLOUTS_OF_ONE)
@pytest.mark.parametrize(
    "served_before",
    [False, True],
    ids=["a new pool", "an older pool"],
)
def test_a_callout_that_hangs_holds_up_no_other_volume(
    hasty: Node, for_python: Path, callout: str, served_before: bool
) -> None:
    """While a mount of one volume waits for its image, each callout of another one goes on, also
    of one whose name has the same hash."""
    hasty.provision()
    if served_before:
        older_lock_file(hasty).touch()
    other = of_one_hash("pvc-1")
    if callout != "provision":
        hasty.provision(other)
    with hasty.image().open("rb+") as image:
        fcntl.flock(image, fcntl.LOCK_EX)
        line = [*waiting_for_images(hasty, for_python), *words_of(hasty, "mount")]
        hanging = hasty.start(*line, stdin=subprocess.DEVNULL)
        wait_until_open(hanging, image.fileno())
        stop(hanging.pid)
        assert "is locked" in hasty.fails("Busy", *words_of(hasty, "mount"))

        hasty.ok(*words_of(hasty, callout, other))

        stop(hanging.pid, signal.SIGCONT)
    hanging.communicate(timeout=30)


def stop(pid: int, how: signal.Signals = signal.SIGSTOP) -> None:
    os.kill(pid, how)
    for child in children(pid):
        with contextlib.suppress(ProcessLookupError):  # a child that has just ended
            os.kill(child, how)


def test_a_lock_file_goes_with_its_volume(node: Node) -> None:
    node.provision()
    node.provision("pvc-2")
    locks = lock_file(node).parent
    assert "is not in pool" in node.fails("NotFound", *words_of(node, "mount", "pvc-3"))
    assert {path.name for path in locks.iterdir()} == {"pool", "pvc-1.lock", "pvc-2.lock"}

    node.ok("delete", node.deletion())

    assert {path.name for path in locks.iterdir()} == {"pool", "pvc-2.lock"}
    # A callout that is killed in its last step leaves the volume like this.
    lock_file(node, "pvc-9").touch()
    node.ok("list")
    assert {path.name for path in locks.iterdir()} == {"pool", "pvc-2.lock"}


def test_whoever_waited_for_the_lock_of_a_volume_that_went_takes_the_new_file(node: Node) -> None:
    node.provision()
    with lock_file(node).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = node.start(
            *node.executable, *words_of(node, "provision"), stdin=subprocess.DEVNULL
        )
        wait_until_open(waiting, held.fileno())
        lock_file(node).unlink()
        with lock_file(node).open("w") as new:
            fcntl.flock(new, fcntl.LOCK_EX)
            fcntl.flock(held, fcntl.LOCK_UN)
            wait_until_open(waiting, new.fileno())
            assert waiting.poll() is None
    assert b"Success" in waiting.communicate(timeout=30)[0]


def test_looking_at_a_volume_makes_no_lock_file(node: Node) -> None:
    node.provision()
    lock_file(node).unlink()
    # A volume whose record cannot be read is looked at with its lock.
    node.image().with_name("volume.json").write_text("{")
    node.path("/var/lib/flexvol/default/.new-pvc-3").mkdir()

    node.command("status")
    assert node.enter(*node.executable, "doctor").returncode == 1

    assert [path.name for path in lock_file(node).parent.iterdir()] == ["pool"]


def test_a_pool_whose_directory_of_locks_was_lost_has_it_again(node: Node) -> None:
    node.provision()
    shutil.rmtree(lock_file(node).parent)

    node.mount("web")

    assert lock_file(node).parent.stat().st_mode & 0o7777 == 0o700
