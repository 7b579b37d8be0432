"""A device that is there but not mounted here: a killed callout left it, or another mount namespace
has it. The next mount does all that a first one does, as far as nobody else has the file system
mounted."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.node.devices import attach
from tests.node.nodes import MIB, Node


def leave_device(node: Node) -> str:
    """A loop device on the volume's image with its lock, as a callout leaves it that is killed
    after LOOP_SET_FD."""
    with node.image().open("r+b") as image:
        fcntl.flock(image, fcntl.LOCK_EX)
        return attach(image.fileno())


@contextmanager
def another_namespace(node: Node) -> Iterator[None]:
    """A process whose mount namespace has all that is mounted now, and keeps it."""
    line = [
        "nsenter",
        "-t",
        str(node.holder_pid),
        "-m",
        "unshare",
        "-m",
        "sh",
        "-c",
        "echo ready; read forever",
    ]
    with subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield
        process.communicate()


def size_mib(path: Path) -> int:
    shown = os.statvfs(path)
    return shown.f_blocks * shown.f_frsize >> 20


def test_what_is_written_through_it_is_never_taken_for_blank(node: Node) -> None:
    node.provision()
    leave_device(node)

    (node.mount("web") / "data").write_text("kept")

    assert node.record()["blank"] is False
    node.unmount("web")
    node.until_devices(0)
    request = {**json.loads(node.deletion()), "kubernetes.io/onlyIfBlank": "true"}
    assert "may hold data" in node.fails("InvalidArgument", "delete", json.dumps(request))


def test_a_thick_volume_stays_thick_on_it(node: Node) -> None:
    node.provision(thick="true")
    device = leave_device(node)
    allocated = node.image().stat().st_blocks

    node.mount("web")
    node.enter("fstrim", node.pod_dir("web"))

    assert Path("/sys/block", Path(device).name, "queue/discard_max_bytes").read_text() == "0\n"
    assert node.image().stat().st_blocks >= allocated
    node.unmount("web")
    node.until_devices(0)


def test_growth_that_was_killed_after_its_last_tool_is_not_undone_under_a_pod(node: Node) -> None:
    node.provision()
    (node.mount("web") / "old").write_text("old")
    node.unmount("web")
    node.until_devices(0)
    grow = [
        "expandfs",
        node.options(),
        "",
        node.pod_dir("web"),
        str(128 * MIB),
        str(64 * MIB),
    ]
    # Image and record have grown.
    assert "not mounted on this node" in node.fails("Internal", *grow)
    device = leave_device(node)
    undo = node.image().with_name("undo")
    for line in (["e2fsck", "-f", "-p", device], ["resize2fs", "-z", str(undo), device]):
        done = node.enter(*line)
        assert done.returncode == 0, done
    assert undo.exists()

    pod = node.mount("web")
    assert not undo.exists()
    assert size_mib(pod) > 110
    for number in range(100):
        (pod / f"new{number}").write_bytes(bytes([number]) * (256 << 10))
    node.unmount("web")
    node.until_devices(0)

    assert (
        subprocess.run(
            ["e2fsck", "-f", "-n", node.image()], capture_output=True, check=False
        ).returncode
        == 0
    )
    pod = node.mount("web")
    assert (pod / "old").read_text() == "old"
    assert all(
        (pod / f"new{number}").read_bytes() == bytes([number]) * (256 << 10)
        for number in range(100)
    )
    node.unmount("web")


def test_growth_that_another_namespace_holds_up_does_not_keep_a_pod_from_starting(
    node: Node,
) -> None:
    node.provision()
    node.mount("web")
    with another_namespace(node):
        node.run(
            "expandfs",
            node.options(),
            "",
            node.pod_dir("web"),
            str(128 * MIB),
            str(64 * MIB),
        )
        assert node.record()["sizeBytes"] == 128 * MIB
        node.enter("umount", node.pod_dir("web"))

        node.mount("next")
        node.unmount("next")
    node.until_devices(0)
    assert size_mib(node.mount("last")) > 110


def test_growth_that_was_killed_before_the_device_took_it_goes_on(node: Node) -> None:
    node.provision(size=320 * MIB, fs="xfs")
    node.mount("web")
    with another_namespace(node):
        record = node.image().with_name("volume.json")
        with node.image().open("r+b") as image:
            image.truncate(640 * MIB)
        record.write_text(json.dumps({**node.record(), "sizeBytes": 640 * MIB}))
        node.enter("umount", node.pod_dir("web"))

        assert size_mib(node.mount("next")) > 500
        node.unmount("next")
    node.until_devices(0)


def test_a_volume_for_one_pod_is_in_use_while_a_subpath_of_it_is(node: Node) -> None:
    node.provision(also={"kubernetes.io/pvc.accessModes": "ReadWriteOncePod"})
    (node.mount("first") / "part").mkdir()
    part = "/var/lib/kubelet/pods/first/volume-subpaths/part"
    node.path(part).mkdir(parents=True)
    assert node.enter("mount", "--bind", node.pod_dir("first") + "/part", part).returncode == 0
    node.unmount("first")

    assert "already in use by another pod" in node.fails(
        "Busy", "mount", node.pod_dir("second"), node.options()
    )

    node.enter("umount", part)
    node.until_devices(0)
    node.mount("second")


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_a_pod_is_not_given_a_file_system_that_has_stopped(node: Node, fs: str) -> None:
    node.provision(size=320 * MIB, fs=fs)
    (node.mount("web") / "data").write_text("kept")
    web = node.pod_dir("web")
    stop = {"ext4": "mount -o remount,abort {}", "xfs": "xfs_io -x -c shutdown {}"}[fs]
    node.enter("sh", "-c", stop.format(web))

    message = node.fails("Unavailable", "mount", node.pod_dir("second"), node.options())

    assert "pvc-1" in message and "after an error" in message
    node.ok("unmount", web)
    node.until_devices(0)
    node.mount("second")


def test_a_pod_whose_sandbox_is_made_keeps_its_mount_while_ext4_cannot_grow(node: Node) -> None:
    node.provision()
    pod = node.mount("web")
    node.path("/var/log/pods/shop_web_web").mkdir()
    held = (pod / "file").open("w")

    reply = node.run(
        "expandfs", node.options(), "", node.pod_dir("web"), str(128 * MIB), str(64 * MIB)
    )

    assert reply["status"] == "Success" or "grows when" in reply["message"], reply
    held.close()
    assert [path for path, _ in node.mounts()] == [node.pod_dir("web")]
    assert (pod / "file").exists()
