"""What is told of a claim whose node is chosen."""

from __future__ import annotations

import pytest

from cluster.kubectl.explain.scene import Scene
from cluster.kubectl.explain.waiting import on_making
from tests.unit.cluster.kubectl.explain.scenes import (
    DRIVER,
    flexvol,
    labelled,
    node,
    scene,
)

BROKEN = "its container install waits: CrashLoopBackOff"


@pytest.mark.parametrize(
    ("chosen", "there", "words", "is_wrong"),
    [
        pytest.param(
            "node1",
            scene(),
            "is being made on node node1",
            False,
            id="all is well",
        ),
        pytest.param(
            "node9",
            scene(),
            "no pod of flexvol that serves flexvol/loop is on that node",
            True,
            id="no pod",
        ),
        pytest.param(
            "node2",
            scene(
                nodes=[node("node1"), labelled("node2", "node2", **{"flexvol/exclude": ""})],
                flexvol_nodes={"node1": flexvol("node1")},
            ),
            "that node has the label flexvol/exclude, so flexvol is not there "
            "(undone by: kubectl label node node2 flexvol/exclude-)",
            True,
            id="a node that was excluded meanwhile",
        ),
        pytest.param(
            "node1",
            scene(
                flexvol_nodes={
                    "node1": flexvol("node1", "its container install waits: CrashLoopBackOff")
                }
            ),
            "by flexvol's pod p-node1, which does not work: its container install waits",
            True,
            id="flexvol's own pod does not run",
        ),
        pytest.param(
            "node1",
            scene(nodes=[node("node1", ready="False")]),
            "that node is not ready: no kubelet",
            True,
            id="the chosen node is down",
        ),
        pytest.param(
            "node1",
            scene(nodes=[node("node1", ready="False", unschedulable=True)]),
            "that node is not ready: no kubelet",
            True,
            id="the chosen node is down, and cordoned for that",
        ),
    ],
)
def test_a_chosen_node_is_told_with_what_hinders_it(
    chosen: str, there: Scene, words: str, is_wrong: bool
) -> None:
    finding = on_making(chosen, DRIVER, there)

    assert words in finding.sentence
    assert finding.is_wrong == is_wrong
