"""A pool's clock never shows more time than has passed, whatever its nodes do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.drivers.loop import clock as clocks
from node.drivers.loop.clock import Clock

NODES = st.integers(0, 2)
# What happens: so much time passes, then a node looks, or is started anew, or shows a wrong time.
EVENTS = st.lists(
    st.tuples(st.integers(0, 10_000), NODES, st.sampled_from(["look", "boot", "set back"]))
)


@given(EVENTS)
def test_it_never_goes_back_nor_ahead_of_the_time_that_has_passed(
    events: list[tuple[int, int, str]],
) -> None:
    clock, now = Clock(), 0
    booted = [-500, -70, 0]
    looked: set[tuple[int, int]] = set()
    for seconds, node, event in events:
        now += seconds
        before = clock.seconds
        if event == "boot":
            booted[node] = now
        shown = now - booted[node]
        if event == "set back" and (node, booted[node]) in looked:  # back to before another look
            shown -= 40
        looked.add((node, booted[node]))
        clock.see(f"{node}-{booted[node]}", max(0, shown))
        assert before <= clock.seconds <= now


@given(st.lists(st.tuples(st.integers(0, 10_000), NODES), min_size=1))
def test_it_shows_all_the_time_that_one_of_its_nodes_has_seen_pass(
    looks: list[tuple[int, int]],
) -> None:
    clock, now = Clock(), 0
    first: dict[int, int] = {}
    for seconds, node in looks:
        now += seconds
        clock.see(str(node), 1000 * node + now)
        first.setdefault(node, now)
        assert clock.seconds >= now - first[node]


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 3))))
def test_an_age_is_counted_from_the_last_change(looks: list[tuple[int, int]]) -> None:
    clock, now, changed = Clock(), 0, 0
    last = None
    for seconds, mark in looks:
        now += seconds
        clock.see("boot", now)
        clock.recognise({"copy": str(mark), "archive": ""})
        if mark != last:
            changed, last = now, mark
        assert clock.ages()["copy"] == now - changed
    clock.recognise({})
    assert clock.ages() == {}


WHOLE: dict[str, Any] = {"seconds": 9, "boots": {"a": [5, 8.5]}, "since": {".new-x": ["m", 7]}}


def test_a_clock_is_read_as_it_was_written() -> None:
    clock = clocks._clock_of(WHOLE)

    assert (clock.seconds, clock.boots, clock.since) == (9, WHOLE["boots"], WHOLE["since"])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([], id="it is a list"),
        pytest.param({}, id="it is empty"),
        pytest.param({**WHOLE, "seconds": "9"}, id="its time is a word"),
        pytest.param({**WHOLE, "seconds": True}, id="its time is a flag"),
        pytest.param({**WHOLE, "seconds": -1}, id="its time is before its beginning"),
        pytest.param({**WHOLE, "seconds": 1e12}, id="its time is after all time"),
        pytest.param({**WHOLE, "boots": []}, id="its boots are a list"),
        pytest.param({**WHOLE, "boots": {"a": [5]}}, id="a boot looked at no time"),
        pytest.param({**WHOLE, "boots": {"a": [5, 9.5]}}, id="a boot looked later than now"),
        pytest.param({**WHOLE, "since": None}, id="it knows no directories"),
        pytest.param({**WHOLE, "since": {"x": [1, 2]}}, id="a mark is a number"),
        pytest.param({**WHOLE, "since": {"x": ["m", 10]}}, id="a directory came later than now"),
        pytest.param({**WHOLE, "since": {"x": "m1"}}, id="a directory has a word for its time"),
    ],
)
def test_a_damaged_clock_is_no_clock(content: Any) -> None:
    with pytest.raises(clocks._DAMAGED):
        clocks._clock_of(content)
