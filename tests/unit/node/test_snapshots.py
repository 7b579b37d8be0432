"""Which snapshots `--keep` deletes, for every number that is there and every number to keep."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from node.drivers.loop import records
from node.drivers.loop.by_hand import snapshots
from node.drivers.loop.records import Record


def record(number: int, created: str = "2026", name: str = "") -> Record:
    return records.new(number=number, created=created, name=name or f"snapshot-{number}")


def kept(there: list[Record], new: Record, keep: int) -> list[Record]:
    """What a run with --keep leaves that finds these snapshots, its own new one among them."""
    ordered = sorted(there, key=lambda snapshot: snapshot.snapshot_order)
    deleted = snapshots.surplus(ordered, new.snapshot_order, keep)
    return [one for one in ordered if one not in deleted]


@given(there=st.integers(0, 40), keep=st.integers(1, 50))
def test_the_newest_are_left_as_many_as_were_asked_for(there: int, keep: int) -> None:
    everything = [record(number) for number in range(1, there + 2)]

    left = kept(everything, everything[-1], keep)

    assert left == everything[-min(there + 1, keep) :]


@given(keeps=st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_made_one_after_the_other_with_any_numbers_to_keep_the_newest_are_left(
    keeps: list[int],
) -> None:
    there: list[Record] = []
    for number, keep in enumerate(keeps, 1):
        before = len(there)
        there.append(record(number))
        there = kept(there, there[-1], keep)
        assert [one.number for one in there] == list(
            range(number - min(before + 1, keep) + 1, number + 1)
        )


@given(
    there=st.integers(0, 9),
    runs=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    order=st.randoms(use_true_random=False),
)
def test_runs_at_once_delete_no_newer_one_than_their_own(
    there: int, runs: list[int], order: Any
) -> None:
    everything = [record(number) for number in range(1, there + len(runs) + 1)]
    mine = list(zip(everything[there:], runs, strict=True))
    order.shuffle(mine)  # all have made theirs; now each deletes what it finds too many

    left = everything
    for own, keep in mine:
        before, left = left, kept(left, own, keep)
        assert [one for one in before if one.number > own.number] == [
            one for one in left if one.number > own.number
        ]

    assert left[-1] == everything[-1]


@given(
    times=st.lists(st.integers(1000, 9999), max_size=9),
    now=st.integers(0, 9999),
    keep=st.integers(1, 9),
)
def test_those_without_a_number_are_older_whatever_their_time(
    times: list[int], now: int, keep: int
) -> None:
    old = [records.new(created=str(when), name=f"old-{n}") for n, when in enumerate(times)]
    new = record(1, str(now), "new")

    left = kept([*old, new], new, keep)

    assert left[-1] == new
    assert len(left) == min(len(times) + 1, keep)
    assert [one.created for one in left[:-1]] == sorted(map(str, times))[
        len(times) + 1 - len(left) :
    ]
