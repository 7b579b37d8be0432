"""At most one instance holds the Lease, and soon one does, whatever their wall clocks show."""

from __future__ import annotations

import copy
import datetime
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller import election
from cluster.controller.cluster import Refused, Unreachable
from cluster.controller.election import LEASE_SECONDS, Election

EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
# A holder asks every 2.4 s at the latest, and an answer takes 4 s at most.
_SOON_SECONDS = LEASE_SECONDS + 2 * 2.4
INSTANCES = ("a", "b", "c")


class Server:
    """The Lease as the API server keeps it. cut: no request arrives. unheard: no answer does."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.cut = False
        self.unheard = False
        self._version = 0

    def get(self, path: str, seconds: float) -> dict[str, Any] | None:
        if self.cut:
            raise Unreachable("cut")
        return copy.deepcopy(self.lease)

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if self.lease is not None:
            raise Refused(409, "it exists")
        return self._write(body["metadata"], body["spec"])

    def patch(self, path: str, body: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        assert self.lease is not None
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Refused(409, "it changed")
        return self._write(self.lease["metadata"], {**self.lease["spec"], **body["spec"]})

    def _write(self, metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
        if self.lease is None or spec != self.lease["spec"]:  # else it is no change to the server
            self._version += 1
        self.lease = {
            "metadata": {**metadata, "resourceVersion": str(self._version)},
            "spec": spec,
        }
        if self.unheard:
            raise Unreachable("unheard")
        return copy.deepcopy(self.lease)


class World:
    """Some instances, true time, and what the wall clock of each shows."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.server = Server()
        self.instances = {name: self.instance(name) for name in INSTANCES}
        self.wall_seconds = dict.fromkeys(INSTANCES, 0.0)

    def instance(self, name: str) -> Election:
        api: Any = self.server
        return Election(api, "flexvol", "lease", name, lambda: self.seconds)

    def attempt(self, name: str) -> None:
        shown = EPOCH + datetime.timedelta(seconds=self.wall_seconds[name])
        with mock.patch.object(election, "wall_time", return_value=shown):
            self.instances[name].attempt()

    def holders(self) -> list[str]:
        return [name for name, instance in self.instances.items() if instance.held()]


# So much time passes, and the wall clock of an instance is set and stands still. Then it tries,
# or nothing that it asks arrives, or no answer arrives, or it ends and a new one has its name.
STEPS = st.lists(
    st.tuples(
        st.floats(0, 20),
        st.sampled_from(INSTANCES),
        st.sampled_from(["tries", "tries", "cut", "unheard", "release"]),
        st.integers(-90_000, 90_000),
    ),
    max_size=40,
)


@given(STEPS)
def test_never_two_hold_it_and_soon_one_does(steps: list[tuple[float, str, str, int]]) -> None:
    world = World()
    for seconds, name, event, wall_seconds in steps:
        world.seconds += seconds
        assert len(world.holders()) <= 1
        world.wall_seconds[name] = wall_seconds
        world.server.cut = event == "cut"
        world.server.unheard = event == "unheard"
        if event == "release":
            world.instances[name].release()
            world.instances[name] = world.instance(name)
        else:
            world.attempt(name)
        assert len(world.holders()) <= 1
    world.server.cut = world.server.unheard = False

    began = world.seconds
    while not world.holders():
        assert world.seconds - began <= _SOON_SECONDS
        for name in INSTANCES:
            world.attempt(name)
        world.seconds += 2.4


@given(st.lists(st.tuples(st.floats(0, 2.4), st.integers(-90_000, 90_000)), min_size=1))
def test_who_renews_keeps_it_whatever_the_wall_clocks_show(steps: list[tuple[float, int]]) -> None:
    world = World()
    world.attempt("a")
    for seconds, wall_seconds in steps:
        world.seconds += seconds
        world.wall_seconds = {
            "a": -wall_seconds,
            "b": wall_seconds,
            "c": 3 * wall_seconds,
        }
        for name in ("b", "a", "c"):
            world.attempt(name)
        assert world.holders() == ["a"]


def test_a_holder_that_is_gone_is_followed_after_its_time_and_not_before() -> None:
    world = World()
    world.attempt("a")
    world.attempt("b")
    world.wall_seconds["b"] = -3600.0

    world.seconds += LEASE_SECONDS - 0.1
    world.attempt("b")
    assert world.server.lease is not None and world.server.lease["spec"]["holderIdentity"] == "a"
    world.seconds += 0.1
    world.attempt("b")

    assert world.holders() == ["b"]
    assert world.server.lease["spec"]["leaseTransitions"] == 2


def test_a_lease_that_is_given_up_is_anyones_at_once() -> None:
    world = World()
    world.attempt("a")
    world.instances["a"].release()
    world.attempt("a")  # the thread of the election may still run
    world.attempt("b")

    assert world.server.lease is not None and world.server.lease["spec"]["holderIdentity"] == "b"
    assert world.holders() == ["b"]


def test_a_holder_whose_lease_another_wrote_stops_at_once() -> None:
    world = World()
    world.attempt("a")
    assert world.server.lease is not None
    world.server.lease["spec"]["holderIdentity"] = "someone else"

    world.attempt("a")

    assert world.holders() == []


def test_a_lease_that_is_no_lease_is_taken() -> None:
    world = World()
    world.server.lease = {"metadata": {"resourceVersion": "0"}, "spec": {}}

    world.attempt("a")

    assert world.holders() == ["a"]


def test_a_refusal_is_logged_once_and_silence_never(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.server.cut = True
    world.attempt("a")
    assert caplog.records == []

    def refuse(path: str, seconds: float) -> None:
        raise Refused(403, 'leases is forbidden: User "u" cannot get resource "leases"')

    with mock.patch.object(world.server, "get", refuse):
        world.attempt("a")
        world.attempt("a")

    assert [record.getMessage() for record in caplog.records] == [
        "cannot take part in the election: "
        'leases is forbidden: User "u" cannot get resource "leases"'
    ]


def test_the_clock_of_the_election_only_grows() -> None:
    before = election.seconds_since_boot()

    assert before <= election.seconds_since_boot()
