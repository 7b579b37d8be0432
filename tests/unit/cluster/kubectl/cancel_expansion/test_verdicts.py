"""When an expansion may be cancelled, and what explain says of it."""

from __future__ import annotations

import pytest

from cluster.controller.objects import Claim, Volume
from cluster.kubectl.cancel_expansion import verdicts
from cluster.kubectl.cancel_expansion.sizes import Sizes, Truth
from tests.unit.cluster.kubectl.cancel_expansion.world import (
    GIB,
    INFEASIBLE,
    MIB,
    PENDING,
    World,
)

GROWING = Sizes(request=GIB, capacity=64 * MIB, allocated=GIB, resize=PENDING, volume=GIB)
FAILING = GROWING._replace(has_failed=True, has_conditions=True)


@pytest.mark.parametrize(
    ("now", "truth", "words"),
    [
        pytest.param(
            GROWING,
            Truth(64 * MIB, "fast", 960 * MIB),
            "pool fast has room for 960 MiB more",
            id="a growth that the pool has room for is left to kubelet",
        ),
        pytest.param(
            FAILING,
            Truth(64 * MIB, "fast", 960 * MIB),
            "--even-if-it-fits",
            id="so is one that has failed and fits now, unless told otherwise",
        ),
        pytest.param(
            GROWING,
            Truth(GIB, "fast", 0),
            "has 1 GiB on its node already",
            id="a volume that has grown only waits for kubelet's word",
        ),
        pytest.param(
            GROWING,
            Truth(64 * MIB, "", None),
            "has not failed yet",
            id="where the room is unknown the first failure is waited for",
        ),
        pytest.param(
            FAILING, Truth(64 * MIB, "", None), "", id="where the room is unknown a failure counts"
        ),
        pytest.param(
            GROWING,
            Truth(64 * MIB, "fast", 959 * MIB),
            "",
            id="a growth that one MiB lacks for is cancelled, also before it was tried",
        ),
        pytest.param(
            GROWING._replace(resize=INFEASIBLE),
            Truth(64 * MIB, "fast", 960 * MIB),
            "",
            id="what kubelet has stopped trying is cancelled although it fits",
        ),
    ],
)
def test_it_is_refused_while_the_growth_can_succeed(now: Sizes, truth: Truth, words: str) -> None:
    why = verdicts.refusal(now, truth)

    assert words in why
    assert bool(why) == bool(words)


def test_explain_names_the_way_out_of_an_expansion_that_does_not_fit_and_of_no_other() -> None:
    world = World(900 * GIB)
    entry = {"name": "pvc-1", "sizeBytes": 64 * MIB, "pool": "fast"}

    def advice(free: int) -> str:
        pools = [{"name": "fast", "freeBytes": free}]
        return verdicts.advice(Claim(world.claim), Volume(world.volume), entry, pools)

    assert advice(5 * MIB) == (
        "it asks for 900 GiB, its volume has 64 MiB, and its pool fast can promise 5 "
        "MiB more; make room on the node, or give the expansion up, which keeps "
        "data, claim and pods: kubectl flexvol cancel-expansion shop/data"
    )
    assert advice(1000 * GIB) == ""
    while world.we_go_on():
        pass
    assert advice(5 * MIB) == ""


@pytest.mark.parametrize(
    ("resize", "size", "held_at", "is_told"),
    [
        pytest.param(INFEASIBLE, 64, "1Gi", True, id="kubelet has stopped trying, and it fits"),
        pytest.param(PENDING, 64, "1Gi", False, id="kubelet tries, and it fits"),
        pytest.param(INFEASIBLE, 1024, "1Gi", True, id="a cancellation of what grew was killed"),
        pytest.param(INFEASIBLE, 1024, "2Gi", False, id="it has grown before kubelet stopped"),
        pytest.param(PENDING, 1024, "1Gi", False, id="it has grown"),
    ],
)
def test_explain_tells_of_what_fits_only_if_kubelet_was_stopped(
    resize: str, size: int, held_at: str, is_told: bool
) -> None:
    world = World(GIB)
    world.status(
        allocatedResources={"storage": held_at}, allocatedResourceStatuses={"storage": resize}
    )
    entry = {"name": "pvc-1", "sizeBytes": size * MIB, "pool": "fast"}
    pools = [{"name": "fast", "freeBytes": 2 * GIB}]

    said = verdicts.advice(Claim(world.claim), Volume(world.volume), entry, pools)

    assert bool(said) == is_told


def settled(**status: object) -> World:
    """A claim of 1 GiB that nothing is asked for beyond."""
    world = World(GIB, size=GIB, recorded=GIB)
    world.status(**status)
    return world


@pytest.mark.parametrize(
    ("world", "truth", "words"),
    [
        pytest.param(
            settled(), Truth(GIB, "fast", 0), "its PV say 1Gi; data and pods", id="no room is left"
        ),
        pytest.param(
            settled(),
            Truth(GIB, "fast", MIB - 1),
            "data and pods are as they were",
            id="less than a MiB is left",
        ),
        pytest.param(
            settled(),
            Truth(GIB, "fast", 512 * MIB + 5),
            '{"storage": "1536Mi"}',
            id="the most that fits is proposed in whole MiB",
        ),
        pytest.param(
            settled(), Truth(GIB, "fast", None), "data and pods", id="the room is not known"
        ),
        pytest.param(
            World(GIB), Truth(GIB, "fast", GIB), "has grown to 1 GiB meanwhile", id="it has grown"
        ),
    ],
)
def test_what_a_person_is_told_at_the_end(world: World, truth: Truth, words: str) -> None:
    told = verdicts.outcome(Claim(world.claim), world.now, truth)

    assert words in told
    assert ("patch pvc data" in told) == ("1536Mi" in words)


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        pytest.param(
            5 * MIB,
            "which asks for 1 GiB; its volume has 64 MiB, and its pool fast can promise 5 MiB more",
            id="the room is known",
        ),
        pytest.param(None, "which asks for 1 GiB; its volume has 64 MiB", id="it is not"),
    ],
)
def test_what_a_person_is_told_of_a_growth(room: int | None, expected: str) -> None:
    assert verdicts.situation(GROWING, Truth(64 * MIB, "fast", room)) == expected
