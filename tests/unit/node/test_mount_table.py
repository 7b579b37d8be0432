"""node/host/mount_table.py: the list of mounts is read until two readings agree.

An old kernel leaves lines out of a list that changes while it is read, which no kernel of today can
be made to do."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from node.host import files, mount_table

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
