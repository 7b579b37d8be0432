"""A pool's clock never shows more time than has passed, whatever its nodes do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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
