"""What a StorageClass may say of its volumes' file systems, and what a claim's access mode means on
the node."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.node.nodes import MIB, Node

FILE_SYSTEMS = ("ext4", "xfs", "btrfs")


def owner_and_mode(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid, status.st_mode & 0o7777


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_the_roots_owner_and_mode_are_set_once_by_the_first_mount(node: Node, fs: str) -> None:
    node.provision(fs=fs, uid="1000", gid="2000", mode="2770")
    root = node.mount("first", access="ro")
    assert owner_and_mode(root) == (1000, 2000, 0o2770)
    node.unmount("first")

    again = node.mount("second")
    again.chmod(0o700)  # as a pod may
    os.chown(again, 5, 6)
    node.unmount("second")

    assert owner_and_mode(node.mount("third")) == (5, 6, 0o700)


def test_an_owner_alone_leaves_the_mode(node: Node) -> None:
    node.provision(gid="2000")
    assert owner_and_mode(node.mount("web")) == (0, 2000, 0o755)


def superblock_options(node: Node) -> list[str]:
    lines = (
        node.enter("grep", " /var/lib/kubelet/pods/", "/proc/self/mountinfo")
        .stdout.decode()
        .splitlines()
    )
    return [line.split()[-1] for line in lines]


@pytest.mark.parametrize(
    ("fs", "asked", "flag", "option"),
    [
        pytest.param("ext4", "noatime,commit=33,data=journal", "noatime", "commit=33", id="ext4"),
        pytest.param("xfs", "noexec,allocsize=64k", "noexec", "allocsize=64k", id="xfs"),
        pytest.param(
            "btrfs", "nodiratime,compress=zstd:3", "nodiratime", "compress=zstd:3", id="btrfs"
        ),
    ],
)
def test_mount_options_of_the_class_hold_for_every_pod(
    node: Node, fs: str, asked: str, flag: str, option: str
) -> None:
    node.provision(fs=fs, also={"kubernetes.io/mountOptions": asked})
    node.mount("first", access="ro")
    node.mount("second")

    flags = [set(words.split(",")) for _, words in node.mounts()]
    assert [flag in words for words in flags] == [True, True]
    assert [("ro" in words, "rw" in words) for words in flags] == [(True, False), (False, True)]
    assert all(option in options.split(",") for options in superblock_options(node))


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param("fsopen,open_tree", id="a kernel without fsopen and open_tree"),
        pytest.param("mount_setattr", id="a kernel without mount_setattr"),
    ],
)
def test_they_hold_on_an_older_kernel_too(node: Node, calls: str) -> None:
    """What such a kernel answers is injected by strace, so that the older calls run for real."""
    node.provision(
        also={"kubernetes.io/mountOptions": "noatime,noexec,commit=33"},
        gid="7",
    )
    for pod, access in (("first", "ro"), ("second", "rw")):
        line = [
            "strace",
            "-f",
            "-o",
            "/dev/null",
            "-e",
            f"inject={calls}:error=ENOSYS",
            *node.executable,
        ]
        done = node.enter(*line, "mount", node.pod_dir(pod), node.options(access=access))
        assert done.stdout == b'{"status": "Success"}\n', done

    flags = [set(words.split(",")) for _, words in node.mounts()]
    assert [{"noatime", "noexec", "nosuid", "nodev"} <= words for words in flags] == [True, True]
    assert ["ro" in words for words in flags] == [True, False]
    assert node.path(node.pod_dir("second")).stat().st_gid == 7


def test_mkfs_options_of_the_class(node: Node) -> None:
    node.provision(mkfsOptions="-i 65536 -m 3")

    shown = subprocess.run(
        ["dumpe2fs", "-h", node.image()], capture_output=True, text=True, check=True
    ).stdout

    fields = dict(line.split(":", 1) for line in shown.splitlines() if ":" in line)
    assert int(fields["Inode count"]) == 1024
    assert int(fields["Reserved block count"]) == 64 * MIB // 4096 * 3 // 100


def test_the_nodes_config_alone_may_allow_suid_and_devices(node: Node) -> None:
    node.provision()
    node.path("/etc/flexvol/config.json").write_text(json.dumps({"mountFlags": ["nodev"]}))
    node.mount("web")
    assert [{"nosuid", "nodev"} & set(words.split(",")) for _, words in node.mounts()] == [
        {"nodev"}
    ]

    node.path("/etc/flexvol/config.json").write_text(json.dumps({"mountFlags": ["exec"]}))
    assert "mountFlags" in node.fails("Unavailable", "mount", node.pod_dir("other"), node.options())
    node.path("/etc/flexvol/config.json").write_text(json.dumps({"mountflags": ["noexec"]}))
    assert "mountflags is no setting" in node.fails(
        "Unavailable", "mount", node.pod_dir("other"), node.options()
    )


def test_a_volume_for_one_pod_refuses_a_second_one_in_kubelets_words(node: Node) -> None:
    node.provision(also={"kubernetes.io/pvc.accessModes": "ReadWriteOncePod"})
    node.mount("first")
    node.mount("first")  # repeated, as after a restart of kubelet

    message = node.fails("Busy", "mount", node.pod_dir("second"), node.options())

    words = "volume uses the ReadWriteOncePod access mode and is already in use by another pod"
    assert words in message
    node.unmount("first")
    node.mount("second")


def allocated_bytes(node: Node) -> int:
    return node.image().stat().st_blocks * 512


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_a_thick_volume_keeps_its_blocks_whatever_the_pod_frees(node: Node, fs: str) -> None:
    size: int = node.provision(fs=fs, thick="true")["capacityBytes"]
    assert allocated_bytes(node) >= size
    pod = node.mount("web")
    (pod / "data").write_bytes(os.urandom(8 * MIB))
    (pod / "data").unlink()
    os.sync()

    node.enter("fstrim", node.pod_dir("web"))  # as root of a privileged pod may

    assert allocated_bytes(node) >= size
    node.unmount("web")
    node.mount("web")
    assert allocated_bytes(node) >= size


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_a_thin_volume_gives_back_what_the_pod_frees(node: Node, fs: str) -> None:
    node.provision("pvc-thick", thick="true")
    node.mount("before", "pvc-thick")  # the next volume is likely to get its loop device
    node.unmount("before", "pvc-thick")
    size: int = node.provision(size=300 * MIB, fs=fs)["capacityBytes"]
    assert allocated_bytes(node) < size // 4
    pod = node.mount("web")
    before = allocated_bytes(node)
    (pod / "data").write_bytes(os.urandom(32 * MIB))
    os.sync()
    written = allocated_bytes(node)
    (pod / "data").unlink()

    deadline = time.monotonic() + 60  # btrfs discards some time after
    while allocated_bytes(node) > before + 8 * MIB:
        os.sync()
        assert time.monotonic() < deadline, (before, written, allocated_bytes(node))
        time.sleep(0.2)
    assert written >= before + 32 * MIB - (4 * MIB if fs == "btrfs" else MIB)
