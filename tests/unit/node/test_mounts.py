"""node/host/mounts.py: which paths a mount may have, and how a directory of a mount that nobody
sees is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.host import mount_table, mounts
from shared.protocol import InvalidArgument
from tests.sources import ROOT

# Mounts a tmpfs unseen, and shows its directory `volume` at the first argument, after `change`.
SHOW = """
import os, sys
from node.host import mount_calls, mount_table, mounts
from node.host.mount_calls import Superblock

target, mount_table.STAGES = sys.argv[1:3]
{constants}
with mounts.open_unseen(Superblock("nas", "tmpfs", ["size=1m"])) as unseen:
    root = unseen.root
    os.mkdir("volume", dir_fd=root)
    os.mkdir("volume/inner", dir_fd=root)
    directory = os.open("volume", os.O_RDONLY, dir_fd=root)
    {change}
    try:
        unseen.show(directory, target, ["nodev", "nosuid", "ro"])
        with open("/proc/self/mountinfo") as file:
            lines = [line.split() for line in file]
        print([line[3:6] for line in lines if line[4] == target], os.listdir(target))
    except mounts.NotShown as failure:
        print(failure.reason, failure)
    os.close(directory)
if os.path.exists(target):
    os.rmdir(target + "/inner")
"""
# As a kernel before 5.2, which lacks the system call of that number.
WITHOUT_MOUNT_API = "mount_calls._FSOPEN = 9999"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("", id="no path is refused"),
        pytest.param("pods/web", id="a relative path is refused"),
        pytest.param("/", id="the root is refused"),
        pytest.param("/pods/../web", id="a way up is refused"),
        pytest.param("/pods/./web", id="a dot is refused"),
        pytest.param("/pods//web", id="a doubled slash is refused"),
        pytest.param("/pods/web/", id="a slash at the end is refused"),
    ],
)
def test_a_path_that_mountinfo_writes_otherwise_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a plain absolute path"):
        mounts.check_path(path)


def test_a_plain_path_need_not_be_there() -> None:
    mounts.check_path("/nowhere/at all/..web")


def test_a_directory_to_mount_at_must_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    mounts.check_directory(str(tmp_path))

    for name in ("file", "link", "missing"):
        with pytest.raises(InvalidArgument, match="is not a directory"):
            mounts.check_directory(str(tmp_path / name))


def shown(tmp_path: Path, constants: str, change: str) -> tuple[str, str]:
    """What SHOW prints, and how its last statement fails."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    (tmp_path / "target").mkdir()
    script = SHOW.format(constants=constants, change=change)
    words = ["unshare", "-m", sys.executable, "-c", script]

    done = subprocess.run(
        [*words, str(tmp_path / "target"), str(tmp_path / "stage")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    left = [path.name for path in (tmp_path / "stage").iterdir()]
    assert [name for name in left if not name.endswith(".lock")] == []
    last_line = done.stderr.strip().rpartition("\n")[2]
    return done.stdout.strip(), last_line


each_kernel = pytest.mark.parametrize(
    "constants",
    [
        pytest.param("pass", id="with the mount API"),
        pytest.param(WITHOUT_MOUNT_API, id="without the mount API"),
    ],
)


@each_kernel
def test_the_directory_that_was_opened_is_shown_whatever_its_name_leads_to(
    tmp_path: Path, constants: str
) -> None:
    change = (
        'os.rename("volume", "away", src_dir_fd=root, dst_dir_fd=root);'
        ' os.symlink("/etc", "volume", dir_fd=root)'
    )

    printed, end = shown(tmp_path, constants, change)

    lines = [["/away", str(tmp_path / "target"), "ro,nosuid,nodev,relatime"]]
    assert printed == f"{lines} ['inner']"
    assert "Read-only file system" in end


@each_kernel
def test_a_pods_directory_that_is_gone_is_not_the_servers_fault(
    tmp_path: Path, constants: str
) -> None:
    printed, _ = shown(tmp_path, constants, "os.rmdir(target)")

    assert printed.startswith("Internal the mount is made, and this node does not let it appear at")
    assert "No such file or directory; see that the directory is still there" in printed


def test_a_node_without_room_for_a_stage_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(mount_table, "STAGES", str(tmp_path / "file/stage"))

    with pytest.raises(mounts.NotShown, match=r"no mount can be prepared in .*; see that root may"):
        mounts._Stage("x").prepared()
