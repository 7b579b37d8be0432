"""What a crash leaves in a pool is removed, and what is kept for a time is left for that time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.drivers.loop import clock, sweeping, volumes
from node.drivers.loop.pools import Pool
from tests.unit.node import own_pool

HOUR = 3600.0


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with own_pool.open_pool(tmp_path) as opened:
        yield opened


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time since boot; a test adds to it."""
    now = [1000.0]
    monkeypatch.setattr(clock, "_now", lambda: ("boot", now[0]))
    return now


def test_each_hidden_name_is_in_the_table_once() -> None:
    prefixes = [hidden.prefix for hidden in sweeping.HIDDEN]

    assert sorted(prefixes) == sorted(
        [volumes.MAKING, volumes.DELETING, volumes.IMPORTING, volumes.ARCHIVED]
    )
    assert all(prefix.startswith(".") for prefix in prefixes)


def test_what_crashes_left_is_removed_and_no_volume(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")
    own_pool.add(pool, ".deleted-00112233")
    own_pool.add(pool, ".new-pvc-2", name="pvc-2")
    Path(pool.path, ".new-pvc-3").mkdir()  # killed before it had a record

    sweeping.sweep(pool)

    assert own_pool.entries(pool) == {"pvc-1"}


def test_a_half_made_copy_whose_record_is_damaged_is_removed(pool: Pool) -> None:
    own_pool.add(pool, ".new-pvc-2", name="pvc-2", copied_bytes=5)
    Path(pool.path, ".new-pvc-2", "volume.json").write_text("{")

    sweeping.sweep(pool)

    assert own_pool.entries(pool) == set()


def test_the_lock_of_a_volume_that_is_gone_is_removed(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")
    pool.volume_lock("pvc-1").release()
    pool.volume_lock("pvc-2").release()
    locks = Path(pool.path, ".locks")
    (locks / "pvc-3.lock").touch()  # left by a killed callout

    sweeping.sweep(pool)

    assert {path.name for path in locks.glob("*.lock")} == {"pvc-1.lock"}


def test_a_volume_that_is_being_made_is_left(pool: Pool) -> None:
    own_pool.add(pool, ".new-pvc-2", name="pvc-2")

    with pool.volume_lock("pvc-2"):
        sweeping.sweep(pool)

        assert own_pool.entries(pool) == {".new-pvc-2"}


def test_a_copy_between_two_calls_is_left_for_an_hour(pool: Pool, passed: list[float]) -> None:
    own_pool.add(pool, ".new-pvc-2", name="pvc-2", copied_bytes=5)

    sweeping.sweep(pool)
    passed[0] += HOUR - 1
    sweeping.sweep(pool)
    assert own_pool.entries(pool) == {".new-pvc-2"}

    passed[0] += 1
    sweeping.sweep(pool)
    assert own_pool.entries(pool) == set()


def test_each_step_of_a_copy_gives_the_copy_another_hour(pool: Pool, passed: list[float]) -> None:
    own_pool.add(pool, ".new-pvc-2", name="pvc-2", copied_bytes=5)
    sweeping.sweep(pool)
    passed[0] += HOUR - 1
    volume = volumes.find(pool, "pvc-2", volumes.MAKING)
    assert volume is not None
    with volume:
        volume.save(copied_bytes=7)

    sweeping.sweep(pool)
    passed[0] += HOUR - 1
    sweeping.sweep(pool)

    assert own_pool.entries(pool) == {".new-pvc-2"}


@pytest.mark.parametrize(
    ("is_same_file", "is_same_time"),
    [
        pytest.param(True, False, id="in a file of the same number"),
        pytest.param(False, True, id="in the same moment"),
    ],
)
def test_a_step_of_a_copy_is_seen_although_its_record_was_written(
    pool: Pool, passed: list[float], is_same_file: bool, is_same_time: bool
) -> None:
    own_pool.add(pool, ".new-pvc-2", name="pvc-2", copied_bytes=5)
    sweeping.kept_seconds(pool)
    passed[0] += HOUR
    record = Path(pool.path, ".new-pvc-2", "volume.json")
    written_ns = record.stat().st_mtime_ns
    if not is_same_file:
        shutil.copy(record, record.with_name("new"))
        record.with_name("new").replace(record)
    if not is_same_time:
        written_ns += 1
    os.utime(record, ns=(written_ns, written_ns))

    assert sweeping.kept_seconds(pool) == {".new-pvc-2": 0.0}


def test_what_has_come_of_a_stream_is_left_for_a_day(pool: Pool, passed: list[float]) -> None:
    own_pool.add(pool, ".importing-pvc-2", name="pvc-2", imported_bytes=5)

    sweeping.sweep(pool)
    passed[0] += 24 * HOUR - 1
    sweeping.sweep(pool)
    assert own_pool.entries(pool) == {".importing-pvc-2"}

    passed[0] += 1
    sweeping.sweep(pool)
    assert own_pool.entries(pool) == set()


def test_a_stream_that_was_cut_before_it_had_a_record_leaves_nothing(pool: Pool) -> None:
    """The next stream could not go on with it, and it would hold its whole room for a day."""
    hidden = Path(pool.path, ".importing-pvc-3")
    hidden.mkdir()
    (hidden / "image").write_bytes(bytes(4096))
    Path(pool.path, ".importing-pvc-4").touch()  # no directory, so nothing of ours

    with pool.volume_lock("pvc-3"):  # a stream is just beginning
        sweeping.sweep(pool)
    assert hidden.exists()

    sweeping.sweep(pool)
    assert own_pool.entries(pool) == {".importing-pvc-4"}


def test_an_archive_is_not_swept_here(pool: Pool, passed: list[float]) -> None:
    own_pool.add(pool, ".archived-0011223344556677-pvc-1")

    sweeping.sweep(pool)
    passed[0] += 1000000 * HOUR
    sweeping.sweep(pool)

    assert own_pool.entries(pool) == {".archived-0011223344556677-pvc-1"}
    assert sweeping.kept_seconds(pool) == {".archived-0011223344556677-pvc-1": 1000000 * HOUR}


def test_the_age_of_an_archive_is_that_of_its_name(pool: Pool, passed: list[float]) -> None:
    archive = ".archived-0011223344556677-pvc-1"
    own_pool.add(pool, archive)
    sweeping.kept_seconds(pool)
    passed[0] += HOUR
    with volumes.get(pool, archive) as volume:
        volume.save(cluster_uid="elsewhere")

    assert sweeping.kept_seconds(pool) == {archive: HOUR}


def test_only_what_is_kept_has_an_age(pool: Pool) -> None:
    own_pool.add(pool, ".deleted-00112233")
    own_pool.add(pool, ".new-pvc-2", name="pvc-2")

    assert sweeping.kept_seconds(pool) == {}


@pytest.mark.parametrize(
    ("name", "seconds", "goes_on"),
    [
        pytest.param(".new-pvc-1", HOUR - 1, True, id="a copy that a call has just left"),
        pytest.param(".new-pvc-1", HOUR, False, id="a copy that no call has gone on with"),
        pytest.param(".new-pvc-1", None, False, id="what was never a copy"),
        pytest.param(".importing-pvc-1", 1.0, False, id="a stream"),
        pytest.param(".archived-0011223344556677-pvc-1", 1.0, False, id="an archive"),
    ],
)
def test_the_next_call_goes_on_with(name: str, seconds: float | None, goes_on: bool) -> None:
    ages = {} if seconds is None else {name: seconds}

    assert sweeping.goes_on(name, ages) == goes_on


def test_a_look_that_writes_nothing_lets_no_time_pass(pool: Pool, passed: list[float]) -> None:
    own_pool.add(pool, ".archived-0011223344556677-pvc-1")

    for _ in range(3):
        passed[0] += HOUR
        assert set(sweeping.kept_seconds(pool, write=False).values()) == {0.0}
