"""A volume goes with the files of flexvol in it, and with no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.drivers.loop import removing, volumes
from node.drivers.loop.pools import Pool
from shared.protocol import Busy, Internal
from tests.unit.node import own_pool


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with own_pool.open_pool(tmp_path) as opened:
        yield opened


def test_a_deleted_volume_leaves_nothing(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")

    with volumes.get(pool, "pvc-1") as volume:
        removing.delete(volume)

    assert own_pool.entries(pool) == set()


def test_a_volume_is_taken_away_under_a_name_that_no_other_has(pool: Pool) -> None:
    taken = []
    for _ in range(2):
        own_pool.add(pool, "pvc-1")
        with volumes.get(pool, "pvc-1") as volume:
            taken.append(removing.take_away(volume, ".archived-", "-pvc-1", blank=False))

    assert own_pool.entries(pool) == set(taken)
    assert len(set(taken)) == 2
    for name in taken:
        assert re.fullmatch(r"\.archived-[0-9a-f]{16}-pvc-1", name)
        with volumes.get(pool, name) as volume:
            assert not volume.record.blank


def test_a_volume_without_image_is_taken_away_too(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")
    Path(pool.path, "pvc-1", "image").unlink()

    with volumes.get(pool, "pvc-1") as volume:
        removing.delete(volume)

    assert own_pool.entries(pool) == set()


def test_a_volume_that_is_in_use_stays(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "_IN_USE_SECONDS", 0)
    own_pool.add(pool, "pvc-1")

    with volumes.get(pool, "pvc-1") as volume, volume.open_image() as image:
        assert image.try_lock()  # as a loop device has it
        with pytest.raises(Busy, match="is in use on this node"):
            removing.delete(volume)

    assert own_pool.entries(pool) == {"pvc-1"}


def test_nothing_is_touched_where_a_strange_file_lies(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")
    Path(pool.path, "pvc-1", "notes.txt").touch()

    sentence = "holds 'notes.txt', which is not flexvol's"
    with volumes.get(pool, "pvc-1") as volume, pytest.raises(Internal, match=sentence):
        removing.delete(volume)

    assert own_pool.entries(pool) == {"pvc-1"}
    assert {path.name for path in Path(pool.path, "pvc-1").iterdir()} == {
        "image",
        "notes.txt",
        "volume.json",
    }


def test_a_hidden_directory_with_a_strange_file_stays_with_that_file(pool: Pool) -> None:
    own_pool.add(pool, ".deleted-1")
    Path(pool.path, ".deleted-1", ".nfs0001").touch()

    removing.remove(pool, ".deleted-1")

    assert [path.name for path in Path(pool.path, ".deleted-1").iterdir()] == [".nfs0001"]


def test_to_remove_what_is_gone_is_fine(pool: Pool) -> None:
    removing.remove(pool, ".deleted-1")
