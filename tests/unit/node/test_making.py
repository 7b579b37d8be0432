"""A volume that is made is there whole or not at all, and a copy goes on where it was stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node.drivers.loop import making, records, volumes
from node.drivers.loop.pool_settings import PoolSettings
from node.drivers.loop.pools import Pool
from node.drivers.loop.records import Record
from node.drivers.loop.volumes import Volume
from node.host import files
from shared.protocol import Busy, Internal, Pending, ResourceExhausted
from tests.unit.node import own_pool

HIDDEN = ".new-pvc-1"
COPY = own_pool.RECORD.changed(blank=False, source="pvc-0", copy_of="pvc-0 as it was")


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with own_pool.open_pool(tmp_path) as opened:
        yield opened


def nothing(volume: Volume) -> None:
    """Leaves the image empty."""


def stopped_at(progress: int, error: Exception) -> Callable[[Volume], None]:
    """Copies so many bytes, notes that, and stops."""

    def fill(volume: Volume) -> None:
        with volume.open_image() as image:
            volume.save(copied_bytes=progress, copied_to=files.identity(image))
        raise error

    return fill


def progress_of(pool: Pool, record: Record) -> list[int | None]:
    """Makes the volume; returns how far the copy was when the image was filled."""
    seen: list[int | None] = []

    def fill(volume: Volume) -> None:
        seen.append(volume.record.copied_bytes)

    making.make(pool, record, fill).close()
    return seen


def test_a_volume_has_its_record_and_an_image_of_its_size(pool: Pool) -> None:
    making.make(pool, own_pool.RECORD, nothing).close()

    assert own_pool.entries(pool) == {"pvc-1"}
    assert os.stat(Path(pool.path, "pvc-1", "image")).st_size == own_pool.RECORD.size_bytes
    with volumes.get(pool, "pvc-1") as volume:
        assert volume.record == own_pool.RECORD


def test_what_a_crash_left_is_no_part_of_the_volume(pool: Pool) -> None:
    own_pool.add(pool, HIDDEN)
    Path(pool.path, HIDDEN, "undo").touch()

    making.make(pool, own_pool.RECORD, nothing).close()

    names = {path.name for path in Path(pool.path, "pvc-1").iterdir()}
    assert names == {"image", "volume.json"}


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Internal("mkfs is missing"), id="a failure"),
        pytest.param(Pending("later"), id="a stop before anything was copied"),
        pytest.param(OSError(5, "the disk is broken"), id="an error of the disk"),
        pytest.param(KeyboardInterrupt(), id="an interrupt"),
    ],
)
def test_nothing_is_left_after(error: BaseException, pool: Pool) -> None:
    def fill(volume: Volume) -> None:
        raise error

    with pytest.raises(type(error)):
        making.make(pool, own_pool.RECORD, fill)

    assert own_pool.entries(pool) == set()


def test_a_cordoned_pool_takes_no_new_volume(pool: Pool) -> None:
    closed = PoolSettings("id", "0", 1.0, True)
    cordoned = Pool("default", pool.path, pool.directory, closed)

    with pytest.raises(ResourceExhausted, match="is cordoned"):
        making.make(cordoned, own_pool.RECORD, nothing)

    assert own_pool.entries(pool) == set()


def test_a_volume_that_is_larger_than_the_pool_is_not_begun(pool: Pool) -> None:
    with pytest.raises(ResourceExhausted, match="has no room for"):
        making.make(pool, own_pool.RECORD.changed(size_bytes=1 << 60), nothing)

    assert own_pool.entries(pool) == set()


def test_no_directory_stays_open_after_a_failure(pool: Pool) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = open_files()
    with pytest.raises(Pending):
        making.make(pool, COPY, stopped_at(7, Pending("later")))
    assert open_files() == before

    making.make(pool, COPY.changed(copy_of="pvc-0 as it is now"), nothing).close()
    assert open_files() == before

    own_pool.add(pool, ".new-pvc-2", name="pvc-2")
    assert making.find_unfinished(pool, "pvc-2") is None
    assert open_files() == before


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(Pending("the time is over"), id="its time was over"),
        pytest.param(Busy("the source is in use"), id="its source was in use"),
    ],
)
def test_a_copy_goes_on_where_it_was_stopped(stop: Exception, pool: Pool) -> None:
    with pytest.raises(type(stop)):
        making.make(pool, COPY, stopped_at(7, stop))
    assert own_pool.entries(pool) == {HIDDEN}

    assert progress_of(pool, COPY) == [7]

    assert own_pool.entries(pool) == {"pvc-1"}
    with volumes.get(pool, "pvc-1") as volume:
        assert volume.record == COPY.changed(copy_of=None)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"copy_of": "pvc-0 as it is now"}, id="its source was written to"),
        pytest.param({"size_bytes": 2 << 20}, id="another size is asked for"),
        pytest.param({"thick": True}, id="all its blocks are asked for"),
    ],
)
def test_a_copy_begins_anew_where(changes: dict[str, Any], pool: Pool) -> None:
    with pytest.raises(Pending):
        making.make(pool, COPY, stopped_at(7, Pending("later")))

    assert progress_of(pool, COPY.changed(**changes)) == [None]


def test_a_copy_begins_anew_where_its_image_is_another_file(pool: Pool) -> None:
    with pytest.raises(Pending):
        making.make(pool, COPY, stopped_at(7, Pending("later")))
    image = Path(pool.path, HIDDEN, "image")
    image.rename(image.with_name("other"))
    image.touch()
    image.with_name("other").unlink()

    assert progress_of(pool, COPY) == [None]


def test_a_copy_that_fails_is_not_gone_on_with(pool: Pool) -> None:
    with pytest.raises(Internal):
        making.make(pool, COPY, stopped_at(7, Internal("the source cannot be read")))

    assert own_pool.entries(pool) == set()


def test_snapshots_get_numbers_one_after_the_other(pool: Pool) -> None:
    numbers = []
    for name in ("b", "a"):
        of_snapshot = COPY.changed(name=name, kind=records.SNAPSHOT, source="pvc-1")
        with making.make(pool, of_snapshot, nothing) as snapshot:
            numbers.append(snapshot.record.number)

    assert numbers == [1, 2]


def test_a_half_made_copy_is_found_and_removed(pool: Pool) -> None:
    own_pool.add(pool, HIDDEN)
    assert making.find_unfinished(pool, "pvc-1") is None  # nobody goes on with it

    with pytest.raises(Pending):
        making.make(pool, COPY, stopped_at(7, Pending("later")))
    unfinished = making.find_unfinished(pool, "pvc-1")
    assert unfinished is not None
    with unfinished:
        making.remove_unfinished(unfinished)

    assert own_pool.entries(pool) == set()
