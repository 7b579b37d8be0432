"""node/host/mount_table.py: the list of mounts is read until two readings agree.

An old kernel leaves lines out of a list that changes while it is read, which no kernel of today can
be made to do."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from node.host import config, files, mount_table

LINE = "{0} 1 7:{0} / /pods/{0} rw - ext4 /dev/loop{0} rw\n"
ALL = "".join(LINE.format(number) for number in (1, 2, 3))
TORN = "".join(LINE.format(number) for number in (1, 3))


def paths_read(monkeypatch: pytest.MonkeyPatch, readings: list[str]) -> list[str]:
    left = iter(readings)

    def reading(*_: object) -> io.BytesIO:
        return io.BytesIO(next(left).encode())

    monkeypatch.setattr(mount_table, "open", reading, raising=False)
    return [mount.path for mount in mount_table.table()]


@pytest.mark.parametrize(
    "readings",
    [[ALL, ALL], [TORN, ALL, ALL], [ALL, TORN, ALL, ALL], [TORN, ALL, TORN, ALL, ALL]],
    ids=["at rest", "torn first", "torn in between", "torn twice"],
)
def test_a_torn_reading_hides_no_mount(
    monkeypatch: pytest.MonkeyPatch, readings: list[str]
) -> None:
    assert paths_read(monkeypatch, readings) == ["/pods/1", "/pods/2", "/pods/3"]


def test_a_list_that_never_stands_still_is_not_read_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readings = ["".join(LINE.format(number) for number in range(last)) for last in range(1, 50)]
    assert paths_read(monkeypatch, readings)[-1] == "/pods/9"


@pytest.mark.parametrize(
    ("fs_type", "shared"),
    [
        pytest.param("nfs4", True, id="nfs is shared"),
        pytest.param("fuse.glusterfs", True, id="glusterfs is shared"),
        pytest.param("ext4", False, id="ext4 is of one machine"),
        pytest.param("fuse.ntfs", False, id="a disk through fuse is of one machine"),
    ],
)
def test_a_disk_is_shared_if_its_own_file_system_is_one_of_networks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fs_type: str, shared: bool
) -> None:
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    lines = f"1 1 {number} / /pool rw - {fs_type} server:/ rw\n2 1 0:9999 / /x rw - nfs4 s:/ rw\n"
    monkeypatch.setattr(mount_table, "open", lambda *_: io.BytesIO(lines.encode()), raising=False)
    with files.open_directory(str(tmp_path)) as directory:
        assert mount_table.may_be_shared(directory) == shared


def mounted(line: str, process: int | str = "self") -> mount_table.Mount:
    return mount_table.Mount(line, process)


def test_a_line_is_read_field_by_field() -> None:
    mount = mounted(
        "36 35 98:0 /sub\\040dir /pods/a\\134b rw,noatime master:1 - ext4 /dev/loop3 rw,errors=x"
    )

    assert (mount.device, mount.root, mount.path) == ("98:0", "/sub dir", "/pods/a\\b")
    assert (mount.flags, mount.super_flags) == ("rw,noatime", "rw,errors=x")
    assert (mount.fs_type, mount.source) == ("ext4", "/dev/loop3")


def test_a_mount_of_another_namespace_is_reached_through_its_process() -> None:
    line = LINE.format(1)
    assert mounted(line).reach == "/pods/1"
    assert mounted(line).command("umount", "/pods/1") == "umount /pods/1"
    assert mounted(line, 12).reach == "/proc/12/root/pods/1"
    assert mounted(line, 12).command("umount", "/x") == "nsenter -t 12 -m umount /x"


@pytest.mark.parametrize(
    ("fs_type", "is_of"),
    [
        pytest.param("btrfs", True, id="a btrfs is known by the device's name"),
        pytest.param("ext4", False, id="an ext4 of another number is another device's"),
    ],
)
def test_a_mount_of_another_number_is_of_the_device(fs_type: str, is_of: bool) -> None:
    mount = mounted(f"1 1 0:50 / /pods/1 rw - {fs_type} /dev/loop1 rw")

    assert mount.is_of("7:1", "/dev/loop1") == is_of
    assert mount.is_of("0:50", "/dev/loop2")
    assert not mount.is_of("7:2", "/dev/loop2")


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param("ro,seclabel", id="a file system that an error made read-only"),
        pytest.param("rw,emergency_ro", id="an ext4 of a kernel since 6.16"),
        pytest.param("rw,shutdown", id="a file system that was shut down"),
    ],
)
def test_a_file_system_that_stopped_after_an_error_is_known(flags: str) -> None:
    assert "after an error" in mounted(f"1 1 0:50 / / rw - ext4 /dev/loop1 {flags}").stopped()
    assert mounted("1 1 0:50 / / ro - ext4 /dev/loop1 rw,errors=remount-ro").stopped() == ""


def test_where_no_pool_ever_was_the_mounts_are_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "ROOT", str(tmp_path / "absent"))

    assert list(mount_table._kubelets()) == []
