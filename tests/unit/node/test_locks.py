"""The locks of a pool: no two holders at once, and no file is left of a volume that is gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.drivers.loop import locks
from node.drivers.loop.pools import Pool
from node.host.descriptors import Descriptor
from shared.protocol import Busy
from tests.unit.node import own_pool

LOCK_OF_VOLUME = "pvc-1.lock"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with own_pool.open_pool(tmp_path) as opened:
        yield opened


def lock_files(pool: Pool) -> set[str]:
    return {path.name for path in Path(pool.path, locks.DIRECTORY).iterdir()}


def older_lock_file(pool: Pool) -> Path:
    """The file with which an older flexvol locks the volume pvc-1, by its own rule."""
    return Path(pool.path, locks.DIRECTORY, "33e")


def test_a_volume_has_one_holder_at_a_time(pool: Pool) -> None:
    with pool.volume_lock("pvc-1"), pytest.raises(Busy, match="volume pvc-1 is locked"):
        pool.volume_lock("pvc-1", seconds=0)

    pool.volume_lock("pvc-1", seconds=0).release()


def test_two_volumes_do_not_wait_for_each_other(pool: Pool) -> None:
    with pool.volume_lock("pvc-1"), pool.volume_lock("pvc-2", seconds=0):
        pass


def test_the_room_has_one_holder_at_a_time(pool: Pool) -> None:
    with pool.lock():
        assert pool.room_lock is not None
        with pytest.raises(Busy, match="pool default is locked"):
            pool.locks.lock_room(seconds=0)

    assert pool.room_lock is None
    pool.lock(seconds=0).release()


def test_the_file_of_a_lock_goes_with_the_volume(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")
    with pool.volume_lock("pvc-1"), pool.volume_lock("pvc-2"):
        assert lock_files(pool) == {LOCK_OF_VOLUME, "pvc-2.lock"}

    assert lock_files(pool) == {LOCK_OF_VOLUME}


def test_whoever_waits_for_the_lock_of_a_removed_file_gets_that_of_the_new_file(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[int] = []
    lock = Descriptor.lock

    def removed_meanwhile(file: Descriptor, what: str, seconds: float) -> None:
        lock(file, what, seconds)
        if not removed:
            Path(pool.path, locks.DIRECTORY, LOCK_OF_VOLUME).unlink()
            removed.append(os.fstat(file).st_ino)

    monkeypatch.setattr(Descriptor, "lock", removed_meanwhile)

    with pool.volume_lock("pvc-1") as held:
        named = Path(pool.path, locks.DIRECTORY, LOCK_OF_VOLUME).stat()
        assert os.fstat(held.descriptor).st_ino == named.st_ino
        assert os.fstat(held.descriptor).st_nlink == 1
    assert removed


def test_a_look_makes_no_file_and_keeps_callouts_away(pool: Pool) -> None:
    with pool.look("pvc-1", seconds=0):
        assert not Path(pool.path, locks.DIRECTORY).exists()

    own_pool.add(pool, "pvc-1")
    pool.volume_lock("pvc-1").release()
    with pool.look("pvc-1", seconds=0), pool.look("pvc-1", seconds=0), pytest.raises(Busy):
        pool.volume_lock("pvc-1", seconds=0)
    with pool.volume_lock("pvc-1"), pytest.raises(Busy):
        pool.look("pvc-1", seconds=0)


def test_an_older_flexvol_is_kept_away_only_if_it_has_served_the_pool(pool: Pool) -> None:
    pool.volume_lock("pvc-1").release()
    assert not older_lock_file(pool).exists()

    with pool.locks.lock_out_older("pvc-1") as older:
        assert len(older.descriptors) == 1
        assert older_lock_file(pool).exists()


def test_an_older_flexvol_at_work_keeps_this_one_away(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")
    pool.volume_lock("pvc-1").release()
    pool.locks.lock_out_older("pvc-1").release()
    with Descriptor(os.open(older_lock_file(pool), os.O_RDWR)) as older:
        assert older.try_lock()
        with pytest.raises(Busy):
            pool.volume_lock("pvc-1", seconds=0)
        with pytest.raises(Busy):
            pool.look("pvc-1", seconds=0)

    with pool.volume_lock("pvc-1", seconds=0), pool.look("pvc-2", seconds=0):
        pass


def test_a_sweep_removes_the_files_of_volumes_that_are_gone(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")
    pool.volume_lock("pvc-1").release()
    with pool.volume_lock("pvc-3"):
        for name in ("pvc-2.lock", "pool", "33e", "..lock"):
            Path(pool.path, locks.DIRECTORY, name).touch()

        pool.locks.sweep()

        assert lock_files(pool) == {LOCK_OF_VOLUME, "pvc-3.lock", "pool", "33e", "..lock"}


def test_a_pool_without_lock_files_is_swept(pool: Pool) -> None:
    pool.locks.sweep()

    assert not Path(pool.path, locks.DIRECTORY).exists()


def test_the_lock_files_go_with_the_pool(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")
    pool.volume_lock("pvc-1").release()

    pool.locks.remove()

    assert not Path(pool.path, locks.DIRECTORY).exists()
