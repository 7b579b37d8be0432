"""node/host/descriptors.py: open files that close themselves and carry locks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.host import files
from node.host.descriptors import Descriptor
from shared.protocol import Busy, Internal


def is_open(descriptor: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{descriptor}")


def opened(path: Path) -> Descriptor:
    return files.open_path(str(path), os.O_RDWR | os.O_CREAT)


def test_the_end_of_a_with_closes_the_file(tmp_path: Path) -> None:
    with opened(tmp_path / "file") as file:
        assert os.write(file, b"content") == 7

    assert not is_open(file)


def test_a_file_that_is_closed_early_is_closed_once(tmp_path: Path) -> None:
    with opened(tmp_path / "file") as file:
        file.close()
        other = opened(tmp_path / "other")  # which gets the number that is free again

    assert other == file
    assert is_open(other)
    other.close()


def test_a_file_that_was_taken_over_stays_open(tmp_path: Path) -> None:
    with opened(tmp_path / "file") as file:
        kept = file.kept_open()

    assert is_open(kept)
    kept.close()
    assert not is_open(kept)


def test_a_lock_keeps_others_away_until_the_file_is_closed(tmp_path: Path) -> None:
    with opened(tmp_path / "file") as first, opened(tmp_path / "file") as second:
        assert first.try_lock()
        assert not second.try_lock()
        with pytest.raises(Busy, match=rf"volume v is locked, process {os.getpid()} .* has it"):
            second.lock("volume v", 0.01)
        first.close()
        second.lock("volume v", 0.01)


def test_a_shared_lock_is_had_by_several(tmp_path: Path) -> None:
    with opened(tmp_path / "file") as first, opened(tmp_path / "file") as second:
        assert first.try_lock(shared=True)
        assert second.try_lock(shared=True)
        assert not second.try_lock()


def test_a_file_is_at_its_name_until_the_file_is_replaced(tmp_path: Path) -> None:
    with files.open_directory(str(tmp_path)) as directory, opened(tmp_path / "file") as file:
        assert file.is_at(directory, "file")
        (tmp_path / "file").rename(tmp_path / "other")
        assert not file.is_at(directory, "file")
        (tmp_path / "file").touch()
        assert not file.is_at(directory, "file")


def test_a_file_with_a_second_name_is_at_neither(tmp_path: Path) -> None:
    with files.open_directory(str(tmp_path)) as directory, opened(tmp_path / "file") as file:
        os.link(tmp_path / "file", tmp_path / "second")

        assert not file.is_at(directory, "file")
        assert not file.is_at(directory, "second")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.symlink_to("elsewhere"), id="a symbolic link is refused"),
        pytest.param(lambda path: os.mkfifo(path), id="a pipe is refused"),
    ],
)
def test_what_is_no_regular_file_is_refused(make: object, tmp_path: Path) -> None:
    assert callable(make)
    make(tmp_path / "file")
    before = os.listdir("/proc/self/fd")
    with files.open_directory(str(tmp_path)) as directory, pytest.raises(Internal, match="refused"):
        files.open_file(directory, "file", os.O_RDONLY)

    assert os.listdir("/proc/self/fd") == before
