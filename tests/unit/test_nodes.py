"""What a node's pod tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from administration import nodes


@pytest.mark.parametrize(
    ("args", "drivers"),
    [
        (["--node=x", "--health-port=9808"], ("flexvol/loop",)),
        (["--node=x", "--driver=flexvol/directory"], ("flexvol/directory",)),
        (["--driver", "a/b", "--driver=c/d", "--node", "x"], ("a/b", "c/d")),
        (None, ("flexvol/loop",)),
    ],
)
def test_the_drivers_of_a_node_are_those_that_its_provisioner_serves(
    args: Any, drivers: tuple[str, ...]
) -> None:
    assert nodes._drivers({"args": args}) == drivers


def test_of_two_pods_on_a_node_the_one_that_runs_and_is_not_about_to_go_is_asked() -> None:
    def pod(phase: str, deleted: str | None = None) -> dict[str, Any]:
        return {"metadata": {"deletionTimestamp": deleted}, "status": {"phase": phase}}

    best = [pod("Running", "now"), pod("Pending"), pod("Running")]
    assert sorted([best[2], best[0], best[1]], key=nodes._worth) == best
