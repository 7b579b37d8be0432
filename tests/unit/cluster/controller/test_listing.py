"""What the drivers listed last, whatever becomes of each of them."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.controller.listing import Listing
from cluster.controller.storage import Listed
from shared import protocol

DRIVERS = ("flexvol/a", "flexvol/b")
POOL = {"name": "default", "id": "5f", "freeBytes": 7, "usedBytes": 1}
VOLUMES: list[dict[str, Any]] = [{"name": "pvc-1"}]
UNKNOWN = {"name": "default", "id": "5f", "error": "gone"}
WELL = st.booleans()


class Drivers:
    """Which of them list now."""

    def __init__(self) -> None:
        self.well = dict.fromkeys(DRIVERS, True)

    def list(self, driver: str) -> Listed:
        if not self.well[driver]:
            raise protocol.Unavailable("gone")
        return Listed(VOLUMES, [POOL])


@settings(max_examples=60)
@given(st.lists(st.tuples(WELL, WELL), min_size=1, max_size=8))
def test_each_driver_is_known_by_its_own_lists_alone(rounds: list[tuple[bool, bool]]) -> None:
    """The model: what was listed stands for one failure, and for no second one in a row."""
    drivers = Drivers()
    listing = Listing(drivers.list, DRIVERS)

    for number, round_of_both in enumerate(rounds):
        drivers.well = dict(zip(DRIVERS, round_of_both, strict=True))
        failure = listing.refresh()

        assert (failure is None) == all(round_of_both)
        listed = listing.listed()
        for index, driver in enumerate(DRIVERS):
            outcomes = [one[index] for one in rounds[: number + 1]]
            assert (driver in listing.failing()) == (not outcomes[-1])
            if True not in outcomes:
                assert driver not in listed
                assert (driver in listing.unheard()) == (len(outcomes) < 2)
            elif outcomes[-2:] == [False, False]:
                assert listed[driver] == ([], [UNKNOWN])
            else:
                assert listed[driver] == (VOLUMES, [POOL])


def test_the_age_of_a_list_grows_while_the_driver_fails_and_begins_anew_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(
        "cluster.controller.listing.time", SimpleNamespace(monotonic=lambda: clock[0])
    )
    drivers = Drivers()
    listing = Listing(drivers.list, DRIVERS)
    assert listing.ages_seconds() == {}
    listing.refresh()
    drivers.well["flexvol/b"] = False
    clock[0] += 60

    listing.refresh()
    assert listing.ages_seconds() == {"flexvol/a": 0, "flexvol/b": 60}
    drivers.well["flexvol/b"] = True
    listing.refresh()

    assert listing.ages_seconds() == {"flexvol/a": 0, "flexvol/b": 0}


def test_a_driver_that_hangs_is_not_asked_again_until_it_answers() -> None:
    go = threading.Event()
    asked = []
    late = threading.Event()

    def ask(driver: str) -> Listed:
        asked.append(driver)
        if driver == "flexvol/a":
            go.wait(30)
        return Listed([], [])

    # The one that answers may have to wait for a processor; only the first refresh takes so long.
    listing = Listing(ask, DRIVERS, late.set, patience_seconds=1)
    for _ in range(3):
        listing.refresh()

    assert sorted(asked) == ["flexvol/a", *["flexvol/b"] * 3]
    assert sorted(listing.listed()) == ["flexvol/b"]
    go.set()
    assert late.wait(10)
    assert sorted(listing.listed()) == [*DRIVERS]


def test_a_bug_while_a_driver_is_asked_is_a_failure_of_that_driver() -> None:
    def ask(driver: str) -> Listed:
        if driver == "flexvol/a":
            raise KeyError("bug")
        return Listed([], [])

    listing = Listing(ask, DRIVERS)
    failure = listing.refresh()

    assert isinstance(failure, protocol.Internal)
    assert sorted(listing.listed()) == ["flexvol/b"]


def test_who_stands_by_knows_nothing() -> None:
    listing = Listing(Drivers().list, DRIVERS)
    listing.refresh()

    listing.forget()

    assert (listing.listed(), listing.failing(), listing.ages_seconds()) == ({}, set(), {})
