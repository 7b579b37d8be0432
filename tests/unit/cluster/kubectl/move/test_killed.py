"""A move that is killed after any of its changes: whatever is said next leads to one whole volume.
tests/cluster/test_move.py kills the same on a real cluster, after some of its changes."""

from __future__ import annotations

import contextlib

import pytest

from cluster.kubectl import nodes
from cluster.kubectl.move import ending
from cluster.kubectl.move.access import NotMoved
from cluster.kubectl.nodes import FlexvolNode, FlexvolPod
from tests.unit.cluster.kubectl.move.world import DRIVER, Killed, Storage, World

# A move from node1 to node2 makes so many changes: the plan; the policy; the copy; the plan again;
# the old PV, its finalizers, the new PV; the policy; the old copy; the plan.
CHANGES = 10
# From then on the PV is being made anew, and the move cannot be cancelled.
UNTIL_REPLACED = 4


class _Events:
    def __init__(self, *_: object) -> None:
        pass

    def normal(self, *_: object) -> None:
        pass

    def close(self, _: float) -> None:
        pass


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(nodes, "NodeStorage", Storage)
    monkeypatch.setattr(
        nodes,
        "get",
        lambda api, namespace, name: FlexvolNode(
            name, (FlexvolPod(f"flexvol/{name}", (DRIVER,), name),)
        ),
    )
    monkeypatch.setattr(ending, "Events", _Events)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return World()


def check_at(world: World, node: str) -> None:
    """The volume is on that node alone, its PV is as before, and no plan is left."""
    assert world.pv is not None
    assert (world.pv.identity, world.pv.reclaim_policy) == (node, "Delete")
    assert world.pv.pool_id == f"p-{node}"
    assert "backup.example/keep" in world.pv.finalizers
    assert list(world.copies) == [node]
    assert "state" not in world.copies[node]
    assert not world.is_planned


def kill(world: World, changes: int) -> None:
    with pytest.raises(Killed):
        world.move("node2", killed_after=changes)


def test_a_move_makes_as_many_changes_as_the_other_tests_kill_it_after(world: World) -> None:
    world.move("node2", killed_after=CHANGES + 1)

    check_at(world, "node2")


@pytest.mark.parametrize(
    "changes", range(1, CHANGES + 1), ids=lambda number: f"killed after {number} changes"
)
def test_the_same_command_ends_a_killed_move(world: World, changes: int) -> None:
    kill(world, changes)

    world.move("node2")

    check_at(world, "node2")


@pytest.mark.parametrize(
    "changes", range(1, UNTIL_REPLACED), ids=lambda number: f"killed after {number} changes"
)
@pytest.mark.parametrize("again", range(6), ids=lambda number: f"and the cancelling after {number}")
def test_a_killed_move_is_cancelled_by_its_old_node_also_if_that_is_killed(
    world: World, changes: int, again: int
) -> None:
    kill(world, changes)
    if again:
        with contextlib.suppress(Killed):
            world.move("node1", killed_after=again)

    world.move("node1")

    check_at(world, "node1")


@pytest.mark.parametrize(
    "changes",
    range(UNTIL_REPLACED, CHANGES),
    ids=lambda number: f"killed after {number} changes",
)
def test_a_move_whose_pv_is_being_replaced_is_ended_and_not_cancelled(
    world: World, changes: int
) -> None:
    kill(world, changes)

    with pytest.raises(NotMoved, match="is being made anew for node node2 already; end that move"):
        world.move("node1")
    world.move("node2")

    check_at(world, "node2")


def test_a_move_that_is_not_done_goes_to_no_third_node(world: World) -> None:
    kill(world, 3)

    with pytest.raises(NotMoved, match="is on its way to node node2; that comes first"):
        world.move("node3")


def test_a_cancelled_move_does_not_go_on_before_it_is_cancelled_to_the_end(world: World) -> None:
    kill(world, 3)
    with pytest.raises(Killed):
        world.move("node1", killed_after=1)

    with pytest.raises(NotMoved, match="is on its way to node node1; that comes first"):
        world.move("node2")
