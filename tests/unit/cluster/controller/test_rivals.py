"""Which node takes a claim that is bound at once, and how much it reads for that, among any number
of nodes: each with its own objects in one collection, which answers as the API server does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.controller import published_rooms, rivals
from cluster.controller.pool_rooms import STEPS, room_step
from tests.unit.cluster.controller.many_nodes import (
    CLASS,
    GIB,
    Collection,
    nodes_of,
    publisher,
    taken_by,
)


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "_RECENT_SECONDS", -1.0)


@given(st.integers(0, 1 << 62), st.integers(0, 1 << 62))
def test_more_room_is_never_on_a_lower_step(one: int, other: int) -> None:
    low, high = sorted((one, other))

    assert 0 <= room_step(low) <= room_step(high) <= STEPS
    assert (room_step(low) == 0) == (low == 0)
    if 0 < low <= high // 2:
        assert room_step(low) < room_step(high)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from([0, GIB // 2, GIB, 3 * GIB, 50 * GIB]),
        min_size=1,
        max_size=30,
    )
)
def test_a_node_of_about_the_most_room_takes_the_claim(rooms: list[int]) -> None:
    _, nodes = nodes_of(rooms)

    for uid in ("a", "b"):
        name, seconds = taken_by(nodes, uid)
        if max(rooms) < GIB:
            assert name == ""
        else:
            assert rooms[int(name[1:])] == max(rooms)
            assert seconds <= 10


def test_few_nodes_are_compared_exactly_and_the_first_takes_it_at_once() -> None:
    _, nodes = nodes_of([GIB, 5 * GIB, 5 * GIB + 4096])

    assert taken_by(nodes, "a") == ("n2", 0.0)


def test_of_many_equals_one_looks_and_takes_the_claim() -> None:
    collection, nodes = nodes_of([10 * GIB] * 400)
    taken_by(nodes, "first")
    for node in nodes.values():  # each has looked once since it started
        node.rivals.compared("c")
    collection.read.clear()

    taken = {taken_by(nodes, f"claim-{number}") for number in range(20)}

    assert len({name for name, _ in taken}) > 10  # not always the same
    assert len(collection.read) == 20 * 2  # two lists a claim, of all nodes together
    assert max(collection.read) <= rivals.COMPARED
    assert max(seconds for _, seconds in taken) < 1


def test_of_many_nodes_the_one_with_the_most_room_takes_it_and_each_read_is_short() -> None:
    collection, nodes = nodes_of([10 * GIB] * 399 + [90 * GIB])
    taken_by(nodes, "first")
    collection.read.clear()

    name, seconds = taken_by(nodes, "second")

    assert name == "n399"
    assert seconds <= 3
    assert max(collection.read) <= rivals.COMPARED


def test_a_claim_that_fits_on_no_node_costs_nothing() -> None:
    collection, nodes = nodes_of([10 * GIB] * 50)
    collection.read.clear()

    assert taken_by(nodes, "a", size="11Gi") == ("", 0.0)
    assert collection.read == []


def test_two_provisioners_of_one_node_leave_each_others_objects_alone() -> None:
    collection = Collection()
    other_class = {**CLASS, "metadata": {"name": "d"}, "provisioner": "directory.flexvol"}
    classes = [CLASS, other_class]
    directory = {"directory.flexvol": "flexvol/directory"}
    one = publisher(collection, "n", GIB, classes=classes)
    two = publisher(collection, "n", 2 * GIB, directory, classes)

    for publishing in (one, two):
        publishing.rooms.read_again()
        publishing.capacity.publish()
    assert {one["storageClassName"] for one in collection.objects.values()} == {"c", "d"}

    for publishing in (one, two):
        publishing.classes.gone(other_class)
        publishing.rooms.read_again()
        publishing.capacity.publish()
    assert {one["storageClassName"] for one in collection.objects.values()} == {"c"}


def test_an_object_that_the_list_does_not_have_is_taken_over() -> None:
    """It is an older flexvol's, without our labels, or too young for the API server's cache."""
    collection = Collection()
    publisher(collection, "n", GIB)
    (told,) = collection.objects.values()
    told["metadata"]["labels"] = {}

    publisher(collection, "n", 2 * GIB)

    (told,) = collection.objects.values()
    assert told["capacity"] == str(2 * GIB)
    assert told["metadata"]["labels"][published_rooms.ROOM_LABEL] == str(room_step(2 * GIB))
