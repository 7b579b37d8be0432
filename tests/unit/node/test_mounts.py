"""node/host/mounts.py: which paths a mount may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.host import mounts
from shared.protocol import InvalidArgument


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
