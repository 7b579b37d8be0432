"""Snapshots of a volume get numbers one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.drivers.loop import records, snapshot_numbers
from node.drivers.loop.pools import Pool
from tests.unit.node import own_pool

LARGEST = records.NUMBERS - 1


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with own_pool.open_pool(tmp_path) as opened:
        yield opened


def snapshot(pool: Pool, name: str, number: int | None, source: str = "pvc-1", **more: Any) -> None:
    own_pool.add(pool, name, name=name, kind=records.SNAPSHOT, source=source, number=number, **more)


def names(pool: Pool) -> list[str]:
    return [record.name for record in snapshot_numbers.in_order(pool, "pvc-1")]


def test_the_first_snapshot_has_the_number_one(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")

    assert snapshot_numbers.next_number(pool, "pvc-1") == 1


def test_only_snapshots_of_the_volume_count(pool: Pool) -> None:
    own_pool.add(pool, "clone", name="clone", source="pvc-1")
    snapshot(pool, "a", 2)
    snapshot(pool, "b", 1)
    snapshot(pool, "other", 9, source="pvc-2")
    snapshot(pool, "a-damaged", 7)
    Path(pool.path, "a-damaged", "volume.json").write_text("{")

    assert names(pool) == ["b", "a"]
    assert snapshot_numbers.next_number(pool, "pvc-1") == 3


def test_those_without_a_number_get_theirs_after_all_others_in_the_order_of_their_time(
    pool: Pool,
) -> None:
    snapshot(pool, "numbered", 4, created="2027")
    snapshot(pool, "late", None, created="2026")
    snapshot(pool, "early", None, created="2025")

    assert snapshot_numbers.next_number(pool, "pvc-1") == 7

    assert names(pool) == ["numbered", "early", "late"]
    numbers = [record.number for record in snapshot_numbers.in_order(pool, "pvc-1")]
    assert numbers == [4, 5, 6]


def test_no_number_is_larger_than_json_can_hold(pool: Pool) -> None:
    snapshot(pool, "last", LARGEST)
    snapshot(pool, "later", None)

    assert snapshot_numbers.next_number(pool, "pvc-1") == LARGEST
    assert {record.number for record in snapshot_numbers.in_order(pool, "pvc-1")} == {LARGEST}
