"""A volume is mounted complete or not at all, for each pod as that pod asked, with a limit nobody
gets past."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node.nodes import MIB, Node

FILE_SYSTEMS = ("ext4", "xfs", "btrfs")


@pytest.mark.short
@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_two_pods_share_a_volume_each_with_its_own_flags(node: Node, fs: str) -> None:
    node.provision(fs=fs)
    reader = node.mount("reader", access="ro")  # the first mount is the read-only one
    writer = node.mount("writer")

    (writer / "greeting").write_text("hello")

    assert (reader / "greeting").read_text() == "hello"
    with pytest.raises(OSError) as refused:
        (reader / "other").write_text("no")
    assert refused.value.errno == errno.EROFS
    flags = {path.split("/")[5]: set(words.split(",")) for path, words in node.mounts()}
    assert {"ro", "nosuid", "nodev"} <= flags["reader"]
    assert {"rw", "nosuid", "nodev"} <= flags["writer"]
    assert len(node.loop_devices()) == 1


@pytest.mark.short
@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_data_survives_the_last_pod_and_nothing_else_does(node: Node, fs: str) -> None:
    node.provision(fs=fs)
    (node.mount("first") / "data").write_text("kept")
    node.unmount("first")

    assert node.mounts() == []
    node.until_devices(0)
    assert not node.path("/var/lib/kubelet/pods/first/volumes/flexvol~loop/pvc-1").exists()
    assert (node.mount("second") / "data").read_text() == "kept"


def test_the_size_is_a_hard_limit(node: Node) -> None:
    node.provision(size=64 * MIB)
    pod = node.mount("web")

    with pytest.raises(OSError) as full, open(pod / "data", "wb", buffering=0) as file:
        for _ in range(100):
            file.write(b"x" * MIB)
            os.fsync(file.fileno())

    assert full.value.errno == errno.ENOSPC
    image = node.image().stat()
    assert image.st_size == 64 * MIB
    assert image.st_blocks * 512 <= 64 * MIB


def test_df_shows_the_asked_size_less_the_file_systems_own(node: Node) -> None:
    node.provision(size=64 * MIB)
    disk = os.statvfs(node.mount("web"))

    assert round(disk.f_bavail * disk.f_frsize / MIB, 1) == 54.7
    node.unmount("web")
    shown = subprocess.run(
        ["dumpe2fs", "-h", node.image()], capture_output=True, text=True, check=True
    ).stdout
    assert "Reserved block count:     0\n" in shown  # for root


@pytest.mark.short
def test_a_repeated_mount_changes_nothing(node: Node) -> None:
    node.provision()
    node.mount("web")
    before = node.mounts()

    node.mount("web")

    assert node.mounts() == before


@pytest.mark.short
def test_unmount_may_be_repeated_and_removes_the_empty_directory_only(node: Node) -> None:
    node.provision()
    node.mount("web")
    node.unmount("web")
    path = node.pod_dir("web")
    (node.path(path) / "written past the volume").write_text("precious")

    message = node.fails("Internal", "unmount", path)

    assert "not empty" in message
    assert (node.path(path) / "written past the volume").read_text() == "precious"


def test_unmount_leaves_a_mount_alone_that_is_not_of_a_volume(node: Node) -> None:
    path = node.pod_dir("web")
    assert node.enter("mount", "-t", "tmpfs", "none", path).returncode == 0

    assert "left alone" in node.fails("InvalidArgument", "unmount", path)

    assert node.enter("mountpoint", path).returncode == 0


def test_unmount_while_a_file_is_open_is_busy_and_works_after(node: Node) -> None:
    node.provision()
    pod = node.mount("web")
    path = node.pod_dir("web")
    (pod / "file").write_text("x")
    with (pod / "file").open():
        assert path in node.fails("Busy", "unmount", path)
    node.unmount("web")


@pytest.mark.short
def test_a_pod_of_another_namespace_is_refused(node: Node) -> None:
    node.provision()

    message = node.fails(
        "InvalidArgument", "mount", node.pod_dir("thief"), node.options(namespace="evil")
    )

    assert "'shop'" in message and "'evil'" in message and "adopt" in message
    assert node.mounts() == []


def test_after_adopt_the_new_owners_pods_mount_and_the_old_ones_do_not(node: Node) -> None:
    node.provision()
    node.ok("adopt", node.request("pvc-1", pool="default").replace('"shop"', '"bank"'))

    node.ok("mount", node.pod_dir("new"), node.options(namespace="bank"))

    assert "'bank'" in node.fails("InvalidArgument", "mount", node.pod_dir("old"), node.options())


def _no_file_system(node: Node) -> None:
    with node.image().open("r+b") as image:
        image.write(bytes(MIB))


def _another_file_system(node: Node) -> None:
    make = "mkfs.xfs" if node.record()["fsType"] == "btrfs" else "mkfs.btrfs"
    subprocess.run([make, "-q", "-f", str(node.image())], check=True)


def _another_volumes_image(node: Node) -> None:
    node.provision("pvc-2", node.record()["sizeBytes"], node.record()["fsType"])
    shutil.copyfile(node.image("pvc-2"), node.image())


def _another_uuid(node: Node) -> None:
    record = node.image().with_name("volume.json")
    record.write_text(
        record.read_text().replace(
            node.record()["fsUuid"],
            "8a6ad8b3-1111-4222-8333-944445555666",
        )
    )


def _cut(node: Node) -> None:
    os.truncate(node.image(), 32 * MIB)


def _a_link(node: Node) -> None:
    node.image().rename(node.image().with_name("elsewhere"))
    node.image().symlink_to("elsewhere")


NEWER = ("fsUuid", "root", "kind", "source", "newUuid")  # than schema 1


def _newer_record(node: Node) -> None:
    record = node.image().with_name("volume.json")
    record.write_text(record.read_text().replace('"schema": 3', '"schema": 4'))


def _another_name(node: Node) -> None:
    record = node.image().with_name("volume.json")
    record.write_text(record.read_text().replace("pvc-1", "pvc-2"))


def _no_record(node: Node) -> None:
    node.image().with_name("volume.json").unlink()


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(
            _no_file_system,
            "its image does not carry the {} that its record says; ",
            id="an image without a file system",
        ),
        pytest.param(
            _another_file_system,
            "its image does not carry the {} that its record says; ",
            id="an image with another file system",
        ),
        pytest.param(
            _another_volumes_image,
            "does not carry the {} that its record says was made in it",
            id="the image of another volume",
        ),
        pytest.param(
            _another_uuid,
            "does not carry the {} that its record says was made in it",
            id="an image with another UUID",
        ),
        pytest.param(_cut, "bytes and its ", id="an image that was cut"),
    ],
)
def test_an_image_that_is_not_what_was_made_is_left_alone(
    node: Node, fs: str, damage: Callable[[Node], None], said: str
) -> None:
    node.provision(size=300 * MIB, fs=fs)
    damage(node)
    check_left_alone(node, said.format(fs))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(_a_link, "symbolic link", id="a link in the place of the image"),
        pytest.param(_newer_record, "schema 4", id="a record of a newer flexvol"),
        pytest.param(_another_name, "it names volume", id="a record of another volume"),
        pytest.param(_no_record, "volume.json is missing", id="no record"),
    ],
)
def test_a_link_and_a_record_that_is_not_of_this_volume_are_left_alone(
    node: Node, damage: Callable[[Node], None], said: str
) -> None:
    node.provision()
    damage(node)
    check_left_alone(node, said)


def check_left_alone(node: Node, said: str) -> None:
    before = node.snapshot()
    image = hashlib.sha256(node.image().read_bytes()).digest()

    message = node.fails("Internal", "mount", node.pod_dir("web"), node.options())

    assert said in message
    assert (node.snapshot(), hashlib.sha256(node.image().read_bytes()).digest()) == (before, image)
    assert node.mounts() == []


@pytest.mark.parametrize(
    ("fs", "field"),
    [
        pytest.param("ext4", 1024 + 0x10, id="ext4"),
        pytest.param("xfs", 0x80, id="xfs"),
        pytest.param("btrfs", 65536 + 0x80, id="btrfs"),
    ],
)
def test_a_damaged_superblock_is_refused_and_left_as_it_is(node: Node, fs: str, field: int) -> None:
    """In a field that only its checksum guards."""
    node.provision(fs=fs)
    with node.image().open("r+b") as image:
        image.seek(field)
        image.write(b"\xff\xee\xff")
    before = node.image().read_bytes()

    assert "cannot mount" in node.fails("Internal", "mount", node.pod_dir("web"), node.options())

    assert node.image().read_bytes() == before
    assert node.mounts() == []


def test_a_record_of_schema_1_is_read(node: Node) -> None:
    """It had no fsUuid, no root, and nothing of copies."""
    node.provision()
    file = node.image().with_name("volume.json")
    old = {key: value for key, value in node.record().items() if key not in NEWER}
    file.write_text(json.dumps({**old, "schema": 1}))

    node.mount("web")

    assert node.record()["schema"] == 3


def test_a_device_attached_by_hand_is_not_joined_by_a_second_one(node: Node) -> None:
    node.provision()
    device = (
        node.enter("losetup", "-f", "--show", "/var/lib/flexvol/default/pvc-1/image")
        .stdout.decode()
        .strip()
    )
    try:
        message = node.fails("Busy", "mount", node.pod_dir("web"), node.options())
        assert device in message and "losetup -d" in message
        assert "losetup -d" in node.fails("Busy", "delete", node.deletion())
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
    node.until_devices(0)
    node.mount("web")


def test_a_volume_that_another_mount_namespace_has_is_mounted_again_from_the_same_device(
    make_node: Callable[..., Node], node: Node
) -> None:
    node.provision()
    other = make_node("other", pool=node.directory / "var/lib/flexvol")
    (other.mount("web") / "data").write_text("seen")

    assert (node.mount("web") / "data").read_text() == "seen"

    assert len(node.loop_devices()) == 1


@pytest.mark.short
def test_mount_and_bind_are_complete_on_a_kernel_without_the_mount_api(node: Node) -> None:
    """What a kernel before 5.2 answers is injected by strace, so the older calls run for real."""
    node.provision()
    calls = "fsopen,open_tree"
    for pod, access in (("reader", "ro"), ("writer", "rw")):
        line = [
            "strace",
            "-f",
            "-o",
            "/dev/null",
            "-e",
            f"inject={calls}:error=ENOSYS",
            *node.executable,
        ]
        path = node.pod_dir(pod)
        done = node.enter(*line, "mount", path, node.options(access=access))
        assert done.stdout == b'{"status": "Success"}\n', done

    flags = {path.split("/")[5]: set(words.split(",")) for path, words in node.mounts()}
    assert flags.keys() == {"reader", "writer"}
    assert {"ro", "nosuid", "nodev"} <= flags["reader"]
    assert {"rw", "nosuid", "nodev"} <= flags["writer"]
    assert not [entry for entry in node.path("/run/flexvol/stage").iterdir() if entry.is_dir()]


def test_pods_of_one_volume_may_mount_and_unmount_at_once(node: Node) -> None:
    node.provision()
    running = [
        (node.start(*node.executable, "mount", node.pod_dir(f"pod{number}"), node.options()))
        for number in range(8)
    ]
    replies = [process.communicate()[0] for process in running]

    assert replies == [b'{"status": "Success"}\n'] * 8
    assert len(node.mounts()) == 8
    assert len(node.loop_devices()) == 1
    running = [
        node.start(*node.executable, "unmount", node.pod_dir(f"pod{number}")) for number in range(8)
    ]
    assert [process.communicate()[0] for process in running] == [b'{"status": "Success"}\n'] * 8
    node.until_devices(0)


def test_a_pod_that_starts_while_the_last_one_ends_sees_the_volume(node: Node) -> None:
    """The mount it binds from may go at any moment; it must never be shown the directory below
    it."""
    node.provision()
    (node.mount("pod0") / "data").write_text("kept")
    for number in range(20):
        ending = node.start(*node.executable, "unmount", node.pod_dir(f"pod{number}"))
        pod = node.mount(f"pod{number + 1}")
        ended = ending.communicate()[0]

        assert b'"Success"' in ended
        assert (pod / "data").read_text() == "kept"


def test_a_mount_during_an_update_of_the_driver_is_answered(node: Node) -> None:
    node.provision()
    driver = node.path("/var/lib/kubelet/loop")
    driver.write_bytes(Path(node.executable[0]).read_bytes())
    driver.chmod(0o755)
    path = node.pod_dir("web")
    running = node.start("strace", "-f", "-o", "/dev/null", "-e", "inject=ioctl:delay_enter=100000",
                         "/var/lib/kubelet/loop", "mount", path, node.options())  # fmt: skip
    wait_until_attached(node)
    aside = driver.with_name("newer")
    aside.write_bytes(
        b"#!/bin/sh\n# another version, with everything at another place\n"
        + driver.read_bytes()[10:]
    )
    aside.chmod(0o755)
    aside.rename(driver)

    assert running.communicate()[0] == b'{"status": "Success"}\n'


def wait_until_attached(node: Node) -> None:
    deadline = time.monotonic() + 30
    while not node.loop_devices():
        assert time.monotonic() < deadline


def test_a_loop_mount_that_is_not_a_volume_is_left_alone(node: Node, tmp_path: Path) -> None:
    node.provision()
    foreign = tmp_path / "disk.img"
    subprocess.run(["truncate", "-s", str(32 * MIB), foreign], check=True)
    subprocess.run(["mkfs.ext4", "-q", foreign], check=True)
    path = node.pod_dir("web")
    assert node.enter("mount", "-o", "loop", str(foreign), path).returncode == 0
    before = node.mounts()

    assert "not of a flexvol volume; it is left alone" in node.fails(
        "InvalidArgument", "unmount", path
    )

    assert node.mounts() == before != []
    assert node.enter("umount", path).returncode == 0


def test_a_volume_that_was_moved_away_and_removed_is_still_unmounted(node: Node) -> None:
    node.provision()
    node.mount("web")
    moved = node.path("/var/lib/flexvol/moved")
    node.image().parent.rename(moved)
    (moved / "image").unlink()

    node.unmount("web")

    assert node.mounts() == []


def test_a_volume_whose_image_was_renamed_in_its_pool_is_still_unmounted(node: Node) -> None:
    node.provision()
    node.mount("web")
    node.image().rename(node.image().parent.with_name(".aside"))

    node.unmount("web")

    assert node.mounts() == []
