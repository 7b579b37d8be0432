"""Archives: which volumes become one, which archive a name means, and when an archive goes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.drivers.loop import archives, clock, sweeping, volumes
from node.drivers.loop.pools import Pool
from node.drivers.loop.records import Archiving, Move
from shared.protocol import InvalidArgument, NotFound
from tests.unit.node import own_pool

HOUR = 3600
KEPT = {"blank": False, "archive": Archiving(2 * HOUR, 0)}


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with own_pool.open_pool(tmp_path) as opened:
        yield opened


def archive(pool: Pool, name: str = "pvc-1", **changes: Any) -> str:
    """Makes a volume and an archive of it; returns the archive's name."""
    own_pool.add(pool, name, name=name, **{**KEPT, **changes})
    with volumes.get(pool, name) as volume:
        return archives.make(volume)


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time since boot; a test adds to it."""
    now = [1000.0]
    monkeypatch.setattr(clock, "_now", lambda: ("boot", now[0]))
    return now


@pytest.mark.parametrize(
    ("changes", "is_archived"),
    [
        pytest.param({}, True, id="a volume whose class says so"),
        pytest.param({"archive": Archiving(0, 0)}, True, id="a volume that is kept for ever"),
        pytest.param({"archive": None}, False, id="a volume whose class does not say so"),
        pytest.param({"blank": True}, False, id="a volume that was never mounted"),
        pytest.param({"move": Move("m", "node-2")}, False, id="the old copy of a moved volume"),
        pytest.param({"move": Move("m", "")}, True, id="the new copy of a moved volume"),
    ],
)
def test_a_deleted_volume_is_archived(
    pool: Pool, changes: dict[str, Any], is_archived: bool
) -> None:
    own_pool.add(pool, "pvc-1", **{**KEPT, **changes})

    with volumes.get(pool, "pvc-1") as volume:
        assert archives.is_archived_when_deleted(volume) == is_archived


def test_a_volume_without_an_image_is_not_archived(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1", **KEPT)
    Path(pool.path, "pvc-1", "image").unlink()

    with volumes.get(pool, "pvc-1") as volume:
        assert not archives.is_archived_when_deleted(volume)


def test_an_archive_is_hidden_and_has_a_name(pool: Pool) -> None:
    name = archive(pool)

    assert name.startswith("archived-")
    assert name.endswith("-pvc-1")
    assert pool.names() == []
    assert archives.names(pool) == [name]
    assert archives.hidden_names(pool) == ["." + name]
    found = archives.find(pool, name)
    assert found is not None
    with found as opened:
        assert archives.is_archive(opened)
        assert not archives.is_archived_when_deleted(opened)
    assert archives.find(pool, "pvc-1") is None


def test_a_name_means_the_volume_before_its_archive(pool: Pool) -> None:
    archive(pool)
    own_pool.add(pool, "pvc-1")

    with archives.get_volume_or_archive(pool, "pvc-1") as opened:
        assert opened.name == "pvc-1"


def test_a_name_means_the_only_archive_of_the_volume(pool: Pool) -> None:
    name = archive(pool)
    archive(pool, "other-pvc-1")

    assert archives.is_in(pool, "pvc-1")
    assert archives.is_in(pool, name)
    for meant in ("pvc-1", name):
        with archives.get_volume_or_archive(pool, meant) as opened:
            assert opened.name == "." + name


def test_no_archive_is_chosen_of_several(pool: Pool) -> None:
    names = sorted([archive(pool), archive(pool)])

    with pytest.raises(InvalidArgument) as refused:
        archives.get_volume_or_archive(pool, "pvc-1")

    assert str(refused.value).endswith(", ".join(names))
    with archives.get_volume_or_archive(pool, names[0]) as opened:
        assert opened.name == "." + names[0]


def test_a_name_that_nothing_has_is_not_found(pool: Pool) -> None:
    archive(pool)

    assert not archives.is_in(pool, "pvc-2")
    with pytest.raises(NotFound):
        archives.get_volume_or_archive(pool, "pvc-2")


def test_a_restored_volume_is_the_volume_it_was(pool: Pool) -> None:
    before = own_pool.RECORD.changed(**KEPT)
    name = archive(pool)

    with archives.get_volume_or_archive(pool, name) as opened:
        assert archives.restore(opened) == "pvc-1"

    assert own_pool.entries(pool) == {"pvc-1"}
    with volumes.get(pool, "pvc-1") as volume:
        assert volume.record == before


def test_an_archive_takes_the_place_of_no_volume(pool: Pool) -> None:
    name = archive(pool)
    own_pool.add(pool, "pvc-1")

    with archives.get_volume_or_archive(pool, name) as opened, pytest.raises(InvalidArgument):
        archives.restore(opened)

    assert own_pool.entries(pool) == {"pvc-1", "." + name}


def test_an_archive_goes_when_its_time_is_over(pool: Pool, passed: list[float]) -> None:
    name = archive(pool)
    passed[0] += 2 * HOUR - 1
    archives.sweep(pool)
    assert archives.names(pool) == [name]

    passed[0] += 1
    archives.sweep(pool)

    assert archives.names(pool) == []


@pytest.mark.parametrize(
    "archiving",
    [
        pytest.param(Archiving(0, 0), id="whose class names no time"),
        pytest.param(None, id="whose record says nothing of archives"),
    ],
)
def test_an_archive_stays_for_ever(
    pool: Pool, passed: list[float], archiving: Archiving | None
) -> None:
    own_pool.add(pool, ".archived-0011223344556677-pvc-1", archive=archiving)
    archives.sweep(pool)
    passed[0] += 1e9

    archives.sweep(pool)

    assert archives.names(pool) == ["archived-0011223344556677-pvc-1"]


def test_an_archive_that_the_clock_has_not_seen_stays(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made after the sweep looked at the clock."""
    name = archive(pool, archive=Archiving(1, 0))
    monkeypatch.setattr(sweeping, "kept_seconds", lambda _: {})

    archives.sweep(pool)

    assert archives.names(pool) == [name]


def test_a_damaged_archive_keeps_no_other_from_going(pool: Pool, passed: list[float]) -> None:
    names = sorted([archive(pool), archive(pool, "pvc-2")])
    Path(pool.path, "." + names[0], "volume.json").write_text("{")
    passed[0] += 2 * HOUR

    archives.sweep(pool)

    assert archives.names(pool) == names[:1]


def test_a_clock_that_is_behind_does_not_end_the_time_early(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1", **KEPT)
    written = 4_000_000_000
    os.utime(Path(pool.path, "pvc-1", "image"), (written, written))
    with volumes.get(pool, "pvc-1") as volume:
        name = archives.make(volume)

    with archives.get_volume_or_archive(pool, name) as opened:
        entry = archives.describe(opened)

    assert entry == {
        "name": name,
        "archiveOf": "pvc-1",
        "state": "archived",
        "archivedAt": "2096-10-02T07:06:40Z",
        "keptUntil": "2096-10-02T09:06:40Z",
    }


def test_an_archive_for_ever_has_no_end(pool: Pool) -> None:
    name = archive(pool, archive=Archiving(0, 0))

    with archives.get_volume_or_archive(pool, name) as opened:
        assert set(archives.describe(opened)) == {"name", "archiveOf", "state", "archivedAt"}


def test_an_archive_whose_record_says_nothing_of_archives_has_no_times(pool: Pool) -> None:
    name = archive(pool)
    with archives.get_volume_or_archive(pool, name) as opened:
        opened.save(archive=None)
        assert set(archives.describe(opened)) == {"name", "archiveOf", "state"}


@pytest.mark.parametrize(
    ("archiving", "entry"),
    [
        pytest.param(None, {"onDelete": "delete"}, id="is deleted"),
        pytest.param(
            Archiving(HOUR, 0), {"onDelete": "archive", "archiveSeconds": HOUR}, id="is archived"
        ),
        pytest.param(
            Archiving(0, 0), {"onDelete": "archive", "archiveSeconds": 0}, id="is kept for ever"
        ),
    ],
)
def test_the_list_tells_of_a_volume_that_it(
    pool: Pool, archiving: Archiving | None, entry: dict[str, Any]
) -> None:
    own_pool.add(pool, "pvc-1", archive=archiving)

    with volumes.get(pool, "pvc-1") as volume:
        assert archives.describe_class(volume) == entry
