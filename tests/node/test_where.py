"""Where the driver runs: in a container with a copy of /dev, behind a filter of system calls, on a
pool whose file system has checksums, beside a kubelet in a mount namespace of its own."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.node import edits
from tests.node.nodes import MIB, Node

NEW_CALLS = ["fsopen", "fsconfig", "fsmount", "open_tree", "mount_setattr", "move_mount"]


def with_denied(node: Node, calls: str, error: str, *callout: str) -> dict[str, str]:
    """The reply of a callout to which the kernel answers these system calls with an error."""
    inject = f"inject={calls}:error={error}"
    strace = ["strace", "-f", "-o", "/dev/null", "-e", inject, *node.executable]
    reply: dict[str, str] = json.loads(node.enter(*strace, *callout).stdout)
    return reply


@pytest.mark.parametrize(
    "error", [pytest.param("EPERM", id="forbidden"), pytest.param("ENOSYS", id="unknown")]
)
@pytest.mark.parametrize("call", NEW_CALLS)
def test_a_filter_of_system_calls_that_does_not_know_a_new_one_is_no_obstacle(
    node: Node, call: str, error: str
) -> None:
    node.provision(gid="7", also={"kubernetes.io/mountOptions": "noatime,commit=33"})
    for pod, access in (("first", "ro"), ("second", "rw")):
        reply = with_denied(
            node, call, error, "mount", node.pod_dir(pod), node.options(access=access)
        )
        assert reply == {"status": "Success"}

    flags = [set(words.split(",")) for _, words in node.mounts()]
    assert [{"noatime", "nosuid", "nodev"} <= words for words in flags] == [True, True]
    assert ["ro" in words for words in flags] == [True, False]
    assert node.path(node.pod_dir("second")).stat().st_gid == 7
    node.unmount("first")
    node.unmount("second")
    node.until_devices(0)


def test_a_mount_that_is_really_forbidden_is_reported_as_such(node: Node) -> None:
    node.provision()
    pod_dir = node.pod_dir("web")

    reply = with_denied(node, "fsopen,mount", "EPERM", "mount", pod_dir, node.options())

    assert reply["reason"] == "Internal"
    assert "cannot mount" in reply["message"]
    assert "Operation not permitted" in reply["message"]
    assert node.mounts() == []
    node.until_devices(0)
    node.mount("web")


def copy_dev(node: Node, options: str = "rw") -> None:
    """Gives the node a /dev that is a copy, made before any loop device was there."""
    script = f"""
        mount -t tmpfs tmpfs /mnt
        cp -a /dev/null /dev/zero /dev/urandom /dev/loop-control /mnt/
        mount -o remount,{options} /mnt
        mount --move /mnt /dev
    """
    done = node.enter("sh", "-ec", script)
    assert done.returncode == 0, done


def test_a_dev_that_is_a_copy_gets_the_nodes_of_the_loop_devices_that_are_used(node: Node) -> None:
    node.provision("pvc-1")
    node.provision("pvc-2")
    copy_dev(node)
    (node.mount("web") / "file").write_text("one")
    (node.mount("db", "pvc-2") / "file").write_text("two")
    assert (node.mount("again") / "file").read_text() == "one"
    nodes = {"/dev/" + path.name for path in node.path("/dev").glob("loop[0-9]*")}
    assert nodes >= set(node.loop_devices())

    # kubelet's container is made anew while the volumes are in use
    node.enter("sh", "-c", "rm /dev/loop[0-9]*")

    assert (node.mount("third") / "file").read_text() == "one"
    doctor = node.enter(*node.executable, "doctor").stdout.decode()
    assert "is not in /dev" not in doctor
    for pod in ("web", "again", "third"):
        node.unmount(pod)
    node.unmount("db", "pvc-2")
    node.until_devices(0)
    node.ok("delete", node.deletion())


def test_what_is_missing_in_dev_is_said_with_the_command_that_makes_it(node: Node) -> None:
    node.provision()
    copy_dev(node, "ro")

    for _ in range(20):  # another process of this machine may take the device in between
        reply = node.run("mount", node.pod_dir("web"), node.options())
        if reply["status"] == "Success":
            break
        assert reply["reason"] == "Unavailable"
        assert "/dev here is a copy" in reply["message"]
        assert "mknod -m 660 /dev/loop" in reply["message"]
        command = reply["message"].rpartition("run there: ")[2]
        node.enter("mount", "-o", "remount,rw", "/dev")
        assert node.enter("sh", "-c", command).returncode == 0, command
        node.enter("mount", "-o", "remount,ro", "/dev")

    assert node.mounts() != []


def test_a_file_where_the_node_of_a_loop_device_should_be_is_never_used(node: Node) -> None:
    node.provision()
    copy_dev(node)
    for number in range(64):  # one of them is the next free one
        node.path(f"/dev/loop{number}").write_text("written past a missing node")

    replaced = 0
    for _ in range(20):  # another process of this machine may take the device in between
        reply = node.run("mount", node.pod_dir("web"), node.options())
        if reply["status"] == "Success":
            break
        assert "is not the device that the kernel has by that name" in reply["message"]
        command = reply["message"].rpartition("replace it, ")[2]
        assert node.enter("sh", "-c", command).returncode == 0, command
        replaced += 1

    assert replaced > 0
    assert node.mounts() != []


@pytest.fixture
def btrfs_node(make_node: Callable[..., Node], tmp_path: Path) -> Node:
    """A node whose default pool is a disk with btrfs."""
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(1024 * MIB)
    subprocess.run(["mkfs.btrfs", "-q", disk], check=True, capture_output=True)
    node = make_node()
    script = f"mkdir /var/lib/flexvol/default; mount -o loop {disk} /var/lib/flexvol/default"
    assert node.enter("sh", "-ec", script).returncode == 0
    node.command("pool", "init", "default", "--reserve", "0")
    return node


@dataclasses.dataclass(frozen=True)
class DirectIo:
    """sound_since: the kernel from which on direct I/O spoils no checksum, as the driver knows it.
    thick: whether the volume is. is_used: whether its device then reads and writes directly."""

    sound_since: str
    thick: str
    is_used: bool


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            DirectIo("(6, 15)", "false", is_used=True),
            id="a kernel that copies what it checks",
        ),
        pytest.param(
            DirectIo("(99, 0)", "false", is_used=False),
            id="an older kernel, a file with checksums",
        ),
        pytest.param(
            DirectIo("(99, 0)", "true", is_used=True),
            id="an older kernel, a file without checksums",
        ),
    ],
)
@pytest.mark.parametrize("calls", ["LOOP_CONFIGURE", "the calls before it"])
def test_direct_io_is_not_used_where_it_spoils_checksums(
    btrfs_node: Node, tmp_path: Path, built: Path, row: DirectIo, calls: str
) -> None:
    node = btrfs_node
    node.provision(thick=row.thick)
    if row.thick == "false":  # as older versions made it, with checksums
        image = node.image()
        shutil.copy(image, image.with_name("copy"))
        image.with_name("copy").rename(image)
    changes = [edits.DIRECT_IO_IS_SOUND_SINCE.to(row.sound_since)]
    if calls != "LOOP_CONFIGURE":
        changes.append(edits.LOOP_CONFIGURE.to("0x4CFF"))
    driver = edits.edited(built, tmp_path / "loop", *changes)

    done = node.enter(*driver, "mount", node.pod_dir("web"), node.options())

    assert done.stdout == b'{"status": "Success"}\n', done
    found = [mount.split("/")[2] for mount in sources(node)]
    direct = Path(f"/sys/block/{found[0]}/loop/dio").read_text().strip()
    assert direct == ("1" if row.is_used else "0")
    node.unmount("web")


def sources(node: Node) -> list[str]:
    """The devices that the pods' directories show."""
    lines = node.enter("grep", " /var/lib/kubelet/pods/", "/proc/self/mountinfo").stdout.decode()
    return [line.split()[-2] for line in lines.splitlines()]


@contextmanager
def hidden_kubelet(node: Node) -> Iterator[str]:
    """The number of a process called kubelet, which is in a mount namespace of its own: what it
    mounts is not seen on the rest of the node."""
    script = "mount --make-rprivate / && exec bash -c 'exec -a kubelet sleep 600'"
    running = node.start("unshare", "-m", "sh", "-c", script)
    name = Path(f"/proc/{running.pid}/cmdline")
    deadline = time.monotonic() + 20
    while not name.read_bytes().startswith(b"kubelet\0"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield str(running.pid)
    finally:
        running.kill()
        running.communicate()


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_a_person_sees_what_a_kubelet_in_a_mount_namespace_of_its_own_has_mounted(
    node: Node, fs: str
) -> None:
    node.provision(size=320 * MIB, fs=fs)
    pod_dir = node.pod_dir("web")
    with hidden_kubelet(node) as kubelet:
        inside = ["nsenter", "-t", kubelet, "-m"]
        mounted = node.enter(*inside, *node.executable, "mount", pod_dir, node.options())
        assert mounted.stdout == b'{"status": "Success"}\n', mounted
        assert node.mounts() == []

        status = json.loads(node.command("status", "--json"))["volumes"][0]
        assert status["troubles"] == []
        assert [mount["path"] for mount in status["mounts"]] == [pod_dir]
        assert "umount" not in node.enter(*node.executable, "doctor").stdout.decode()
        assert "not mounted" not in node.command("trim")

        done = node.enter(*inside, *node.executable, "unmount", pod_dir)
        assert done.stdout == b'{"status": "Success"}\n', done
    node.until_devices(0)


def test_a_snapshot_freezes_what_a_hidden_kubelet_has_mounted(btrfs_node: Node) -> None:
    node = btrfs_node
    node.provision()
    pod_dir = node.pod_dir("web")
    with hidden_kubelet(node) as kubelet:
        inside = ["nsenter", "-t", kubelet, "-m"]
        node.enter(*inside, *node.executable, "mount", pod_dir, node.options())

        said = node.command("snapshot", "pvc-1")

        assert "was frozen" in said
        node.enter(*inside, *node.executable, "unmount", pod_dir)
    node.until_devices(0)


SYNC_HANGS = ["strace", "-f", "-o", "/dev/null", "-e", "inject=sync:delay_enter=100000000"]


@pytest.mark.parametrize(
    "seen",
    [True, False],
    ids=["its mount is seen", "its mount is not seen"],
)
def test_a_clone_of_a_volume_in_use_does_not_wait_for_a_dead_server(
    btrfs_node: Node, tmp_path: Path, seen: bool
) -> None:
    """A call of sync that takes 100 s stands for the server."""
    node = btrfs_node
    node.provision()
    pod_dir = node.pod_dir("web")
    (node.mount("web") / "file").write_text("written and not fsynced")
    request = node.request("pvc-2", also={"sourceVolume": "pvc-1"})
    hidden = ["unshare", "-m", "sh", "-c", f'umount {pod_dir}; exec "$@"', "-"]
    line = [
        *([] if seen else hidden),
        *SYNC_HANGS,
        *node.executable,
        "provision",
        request,
    ]
    answer = tmp_path / "answer"

    with answer.open("wb") as out:  # strace goes on as long as the call does
        running = node.start(*line, stdout=out)
    deadline = time.monotonic() + 60
    while not answer.read_bytes().endswith(b"\n"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.kill()
    running.wait()

    assert json.loads(answer.read_bytes())["status"] == "Success"
    if seen:
        assert (node.mount("db", "pvc-2") / "file").read_text() == "written and not fsynced"
