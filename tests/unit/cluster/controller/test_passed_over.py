"""A claim that binds at once goes to a node that pods can go to as long as one has room for it, and
to no node that its class does not allow, whoever wrote the claim's node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.controller import objects, rivals
from tests.unit.cluster.controller.many_nodes import GIB, nodes_of, taken_by
from tests.unit.cluster.controller.one_node import Parts, driver, our_class, waiting

CONTROL_PLANE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
CORDONED = {"unschedulable": True}
CLOSED = [
    CORDONED,
    {"taints": [CONTROL_PLANE]},
    {"taints": [{"key": "x", "effect": "NoExecute"}]},
]


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "_RECENT_SECONDS", -1.0)


@pytest.mark.parametrize(
    ("spec", "takes"),
    [
        pytest.param({}, True, id="a node takes pods"),
        pytest.param({"taints": None}, True, id="no taint keeps nobody away"),
        pytest.param(CLOSED[0], False, id="a cordoned node takes none"),
        pytest.param(CLOSED[1], False, id="a control-plane node takes none"),
        pytest.param(CLOSED[2], False, id="a node that evicts pods takes none"),
        pytest.param(
            {
                "taints": [
                    {
                        "key": "x",
                        "effect": "PreferNoSchedule",
                    }
                ]
            },
            True,
            id="a wish is no ban",
        ),
        pytest.param(
            {"unschedulable": False, "taints": []},
            True,
            id="an uncordoned node",
        ),
    ],
)
def test_a_node_takes_pods_unless_it_is_cordoned_or_tainted(
    spec: dict[str, Any], takes: bool
) -> None:
    assert objects.Node({"spec": spec}).takes_pods == takes


NODES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                0,
                GIB // 2,
                GIB,
                3 * GIB,
                50 * GIB,
            ]
        ),
        st.sampled_from([{}, *CLOSED]),
    ),
    min_size=1,
    max_size=24,
)


@settings(max_examples=60, deadline=None)
@given(NODES)
def test_a_node_that_pods_cannot_go_to_takes_a_claim_only_while_no_other_fits(
    nodes: list[tuple[int, dict[str, Any]]],
) -> None:
    specs = {f"n{number}": spec for number, (_, spec) in enumerate(nodes)}
    _, provisioners = nodes_of([room for room, _ in nodes], specs)
    fitting = {f"n{number}" for number, (room, _) in enumerate(nodes) if room >= GIB}
    open_ones = {name for name in fitting if not specs[name]}

    name, _ = taken_by(provisioners, "a")

    if open_ones:
        assert name in open_ones
    elif fitting:
        assert name in fitting
    else:
        assert name == ""


def test_a_node_that_was_cordoned_a_moment_ago_looks_before_it_takes_the_claim() -> None:
    collection, nodes = nodes_of([50 * GIB, GIB])
    assert taken_by(nodes, "a")[0] == "n0"
    collection.specs = {"n0": CORDONED}

    assert nodes["n0"].node.has_changed()

    assert taken_by(nodes, "a")[0] == "n1"
    assert not nodes["n0"].node.has_changed()


def test_all_nodes_are_cordoned_at_once_and_one_takes_the_claim() -> None:
    collection, nodes = nodes_of([50 * GIB, GIB])
    collection.specs = {"n0": CORDONED, "n1": CORDONED}
    for node in nodes.values():
        assert node.node.has_changed()
        node.capacity.publish()  # as it does when its node has changed

    assert taken_by(nodes, "a")[0] == "n0"


def test_a_node_that_the_class_does_not_allow_is_no_reason_to_pass_another_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, nodes = nodes_of([GIB, 50 * GIB], {"n0": CORDONED})
    monkeypatch.setattr(nodes["n1"].node, "is_allowed", lambda storage_class: False)
    nodes["n1"].capacity.publish()

    assert taken_by(nodes, "a")[0] == "n0"


def zoned(version: str) -> dict[str, Any]:
    part = {"key": "zone", "values": ["a"]}
    return {
        **our_class(version, late=False),
        "allowedTopologies": [{"matchLabelExpressions": [part]}],
    }


@pytest.mark.parametrize(
    ("zone", "called"),
    [
        pytest.param("a", True, id="an allowed node makes the volume"),
        pytest.param("b", False, id="a node in another zone gives the claim back"),
        pytest.param("", False, id="a node in no zone gives the claim back"),
    ],
)
def test_a_node_that_somebody_wrote_into_the_claim_is_compared_with_the_class(
    zone: str, called: bool, tmp_path: Path
) -> None:
    parts = Parts(tmp_path)
    parts.api.node["metadata"]["labels"] = {
        "kubernetes.io/hostname": "node1",
        "zone": zone,
    }
    noted = tmp_path / "noted"
    failure = '{"status": "Failure", "reason": "Busy", "message": "x"}'
    driver(tmp_path, f"echo $1 >>{noted}; echo '{failure}'")
    parts.classes.changed(zoned("2"))
    parts.claims.changed(waiting("mine"))

    parts.provision.sync(("claim", "mine"))

    if called:
        assert noted.read_text() == "provision\n"
        assert parts.api.patched == []
    else:
        assert not noted.exists()
        assert "node node1 is not in allowedTopologies of the storage class c" in parts.said[0]
        (change,) = parts.api.patched
        assert change[1]["metadata"]["annotations"] == {objects.SELECTED_NODE: None}
