"""What is shown while the old copy is on its way."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.controller import cluster
from cluster.kubectl.move import copying
from cluster.kubectl.move.access import NotMoved
from shared import protocol
from shared.progress import Progress

GIB = 1 << 30


@pytest.mark.parametrize(
    ("entry", "begin", "left"),
    [
        pytest.param({"usedBytes": 2 * GIB, "sizeBytes": 8 * GIB}, 0, 2 * GIB, id="all of it"),
        pytest.param(
            {"usedBytes": 2 * GIB, "sizeBytes": 8 * GIB}, 4 * GIB, GIB, id="half of the image"
        ),
        pytest.param(
            {"usedBytes": GIB, "sizeBytes": GIB}, 2 * GIB, 0, id="more has come than there is"
        ),
        pytest.param({"sizeBytes": GIB}, 0, 0, id="the node does not tell"),
        pytest.param(None, 0, 0, id="the node does not list the volume"),
    ],
)
def test_about_how_much_is_still_to_be_sent(
    entry: dict[str, Any] | None, begin: int, left: int
) -> None:
    access: Any = SimpleNamespace(entry=lambda volume, node: entry)
    plan: Any = SimpleNamespace(volume=None, source="node1")

    assert copying._left_bytes(access, plan, begin) == left


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(NotMoved("is its disk mounted?"), id="its pool is away"),
        pytest.param(protocol.Unavailable("list: no answer"), id="its driver does not list"),
        pytest.param(cluster.Unreachable("no route"), id="the API server is away"),
    ],
)
def test_a_node_that_does_not_tell_ends_no_move(failure: Exception) -> None:
    def entry(volume: object, node: str) -> dict[str, Any]:
        raise failure

    access: Any = SimpleNamespace(entry=entry)
    plan: Any = SimpleNamespace(volume=None, source="node1")

    assert copying._left_bytes(access, plan, 0) == 0


def test_all_that_is_sent_is_counted_and_passed_on() -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 40
        return now

    log = io.StringIO()
    with Progress("pvc-1", 8 << 20, log, clock) as progress:
        sent = list(copying._counted(iter([bytes(1 << 20), bytes(2 << 20)]), progress))

    assert list(map(len, sent)) == [1 << 20, 2 << 20]
    assert log.getvalue() == "pvc-1: 3 MiB of 8 MiB, 38%, 38.4 KiB/s, 2 min left\n"
