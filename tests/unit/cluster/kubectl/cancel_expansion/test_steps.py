"""Which step is due: tried against models of the programs that interfere, at random."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from cluster.kubectl.cancel_expansion import steps, verdicts
from cluster.kubectl.cancel_expansion.sizes import Sizes, Truth
from cluster.kubectl.cancel_expansion.steps import HOLD
from tests.unit.cluster.kubectl.cancel_expansion.world import (
    GIB,
    MIB,
    PENDING,
    World,
    merged,
)

ACTORS = [
    World.we_go_on,
    World.controller_starts,
    World.kubelet_expands,
    World.kubelet_fails_late,
    World.user_lowers,
    World.controller_notes_late,
    World.room_appears,
    World.call_that_had_begun_succeeds,
]
sizes_in_bytes = st.integers(64 * MIB - 5000, 64 * MIB)


@example(
    64 * MIB - 5000,
    [World.we_go_on, World.we_go_on, World.controller_starts, World.kubelet_expands],
)
@example(64 * MIB, [World.we_go_on] * 3 + [World.controller_starts])
@example(
    64 * MIB,
    [World.we_go_on] * 3
    + [World.controller_starts, World.room_appears, World.call_that_had_begun_succeeds],
)
@given(sizes_in_bytes, st.lists(st.sampled_from(ACTORS), max_size=25))
def test_whoever_interferes_the_end_is_the_truth_and_the_volume_grows_again(
    recorded: int, turns: list[Any]
) -> None:
    world = World(900 * GIB, recorded=recorded)
    for turn in turns:
        turn(world)

    for _ in range(12):
        if not world.we_go_on():
            break

    now = world.now
    assert steps.next_step(now, world.size) == ""
    assert now.resize in ("", PENDING)
    assert now.asked <= world.size, "claim and PV promise no more than there is"
    if now.resize == "":
        assert now.request <= now.capacity <= world.size
        assert not now.is_noted
    else:
        assert max(now.capacity, world.kubelet_knows) < now.asked, "kubelet has something to do"
    world.room = 2000 * GIB
    grown = {"resources": {"requests": {"storage": "1000Gi"}}}
    world.claim = merged(world.claim, {"spec": grown})
    for _ in range(3):
        world.controller_starts()
        world.kubelet_expands()
    assert world.now.capacity == world.now.volume == world.size == 1000 * GIB


@given(sizes_in_bytes, st.lists(st.sampled_from(ACTORS[:1] + ACTORS[3:6]), max_size=8))
def test_without_room_claim_and_volume_say_the_true_size(recorded: int, turns: list[Any]) -> None:
    world = World(900 * GIB, recorded=recorded)
    for turn in turns:
        turn(world)
    while world.we_go_on():
        pass

    assert world.size == 64 * MIB == world.now.volume == world.now.capacity
    assert world.now.request <= 64 * MIB
    assert not world.now.has_conditions
    assert not world.now.is_noted


def test_a_killed_run_is_not_refused_when_it_is_repeated() -> None:
    world = World(900 * GIB)
    while world.we_go_on():
        room_for_all = Truth(world.size, "default", 2000 * GIB)
        assert verdicts.refusal(world.now, room_for_all) == ""


GROWING = Sizes(request=GIB, capacity=64 * MIB, allocated=GIB, resize=PENDING, volume=GIB)


def test_a_volume_whose_file_system_cannot_be_grown_is_recorded_as_it_is_when_told() -> None:
    world = World(1 * GIB)
    world.size = 1 * GIB
    assert steps.next_step(world.now, world.size) == ""

    while step := steps.next_step(world.now, world.size, records=True):
        world.do(step)

    assert world.now.capacity == world.now.volume == world.now.request == 1 * GIB
    assert not world.now.resize


def test_what_a_late_failure_leaves_on_the_claim_is_cleared() -> None:
    assert steps.next_step(GROWING, 64 * MIB) == HOLD
    leftover = Sizes(GIB, GIB, GIB, "", GIB, has_conditions=True)
    assert steps.next_step(leftover, GIB) == HOLD
    assert steps.next_step(leftover._replace(has_conditions=False), GIB) == ""
