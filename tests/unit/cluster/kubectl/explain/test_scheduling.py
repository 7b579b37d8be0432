"""Whether a pod and a node take each other, a row for each rule of the scheduler."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller.objects import Node, Pod
from cluster.kubectl.explain import scheduling

NODE: dict[str, Any] = {"metadata": {"name": "node1", "labels": {"zone": "a", "disks": "4"}}}


def term(operator: str, *values: str, key: str = "zone") -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


NAMED = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node1"]}]}


@pytest.mark.parametrize(
    ("terms", "is_selected"),
    [
        pytest.param([term("In", "a", "b")], True, id="a value of several"),
        pytest.param([term("In", "b")], False, id="another value"),
        pytest.param(
            [term("In", "b", key="rack")],
            False,
            id="a label that is not there",
        ),
        pytest.param([term("NotIn", "a")], False, id="a value that is left out"),
        pytest.param(
            [term("NotIn", "b", key="rack")],
            True,
            id="left out, and not there",
        ),
        pytest.param([term("Exists")], True, id="a label that is there"),
        pytest.param(
            [term("Exists", key="rack")],
            False,
            id="a label that must be there",
        ),
        pytest.param(
            [term("DoesNotExist")],
            False,
            id="a label that must not be there",
        ),
        pytest.param(
            [term("DoesNotExist", key="rack")],
            True,
            id="a label that is rightly not",
        ),
        pytest.param([term("Gt", "3", key="disks")], True, id="a greater number"),
        pytest.param(
            [term("Gt", "4", key="disks")],
            False,
            id="a number that is not greater",
        ),
        pytest.param([term("Lt", "5", key="disks")], True, id="a smaller number"),
        pytest.param(
            [term("Lt", "4", key="disks")],
            False,
            id="a number that is not smaller",
        ),
        pytest.param([term("Gt", "3")], False, id="a label that is no number"),
        pytest.param(
            [term("Lt", "3", key="rack")],
            False,
            id="a number that is not there",
        ),
        pytest.param(
            [term("SomeNewOne", "x")],
            True,
            id="an operator that nobody knows here",
        ),
        pytest.param([term("In", "b"), term("In", "a")], True, id="one of two terms"),
        pytest.param([NAMED], True, id="the node's own name"),
        pytest.param(
            [{**NAMED, **term("In", "b")}],
            False,
            id="the name, but another zone",
        ),
        pytest.param([{}], False, id="a term without parts"),
        pytest.param([], False, id="no terms"),
    ],
)
def test_a_node_selector_means_the_nodes_that_the_scheduler_takes_it_for(
    terms: list[dict[str, Any]], is_selected: bool
) -> None:
    assert scheduling.selects({"nodeSelectorTerms": terms}, Node(NODE)) == is_selected


def test_no_selector_means_every_node() -> None:
    assert scheduling.selects(None, Node(NODE))


TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "is_tolerated"),
    [
        pytest.param({"operator": "Exists"}, True, id="everything"),
        pytest.param({"key": "dedicated", "operator": "Exists"}, True, id="the key"),
        pytest.param({"key": "dedicated", "value": "db"}, True, id="the value"),
        pytest.param({"key": "dedicated", "value": "web"}, False, id="another value"),
        pytest.param({"key": "other", "operator": "Exists"}, False, id="another key"),
        pytest.param(
            {"key": "dedicated", "operator": "Exists", "effect": "NoExecute"},
            False,
            id="another effect",
        ),
    ],
)
def test_a_taint_keeps_the_pods_that_do_not_tolerate_it(
    toleration: dict[str, str], is_tolerated: bool
) -> None:
    pod = Pod({"spec": {"tolerations": [toleration]}})
    node = Node({**NODE, "spec": {"taints": [TAINT]}})

    refusal = scheduling.refusal(pod, node)

    assert (refusal == "") == is_tolerated
    assert refusal in ("", "has the taint dedicated=db:NoSchedule, which the pod does not tolerate")


@pytest.mark.parametrize(
    "taint",
    [
        pytest.param(
            {**TAINT, "effect": "PreferNoSchedule"},
            id="a taint that only prefers",
        ),
        pytest.param(
            {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}, id="told as not ready"
        ),
        pytest.param(scheduling.UNSCHEDULABLE, id="told as cordoned"),
    ],
)
def test_a_taint_that_keeps_no_pod_or_is_told_otherwise_is_no_refusal(taint: Any) -> None:
    node = Node({**NODE, "spec": {"taints": [taint]}})

    assert scheduling.refusal(Pod({"spec": {}}), node) == ""
