"""Why no node takes a claim that is bound at once."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller.objects import Claim, StorageClass
from cluster.controller.unplaced_claims import why_not_taken

GIB = 1 << 30
NODES = [
    {"kubernetes.io/hostname": "h1", "zone": "a"},
    {"kubernetes.io/hostname": "h2", "zone": "b"},
]


def claim(**annotations: str) -> Claim:
    notes = {"volume.kubernetes.io/storage-provisioner": "loop.flexvol", **annotations}
    return Claim({
        "metadata": {"annotations": notes},
        "spec": {"storageClassName": "c", "accessModes": ["ReadWriteOnce"]},
    })  # fmt: skip


def storage_class(zones: list[str] | None = None) -> StorageClass:
    topologies: list[Any] = []
    if zones:
        topologies = [{"matchLabelExpressions": [{"key": "zone", "values": zones}]}]
    return StorageClass({
        "metadata": {"name": "c"},
        "provisioner": "loop.flexvol",
        "allowedTopologies": topologies,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("rooms", "zones", "kind", "words"),
    [
        pytest.param(
            {"h1": 5 * GIB, "h2": 9 * GIB},
            [],
            "room",
            "for 10240 MiB: the most is 9216 MiB, on h2",
            id="no node has room",
        ),
        pytest.param(
            {"h1": 5 * GIB, "h2": 90 * GIB},
            ["a"],
            "room",
            "the most is 5120 MiB, on h1",
            id="the class does not allow the node that has room",
        ),
        pytest.param(
            {"h1": 5 * GIB, "h2": 90 * GIB},
            [],
            "slow",
            "node h2 has room for it",
            id="a node has room and has not taken the claim",
        ),
        pytest.param(
            {"h1": 5 * GIB}, ["c"], "labels", "no node has the labels", id="the class allows none"
        ),
        pytest.param(
            {}, [], "nobody", "no provisioner has told", id="no node has said what room it has"
        ),
    ],
)
def test_why_not_taken(rooms: dict[str, int], zones: list[str], kind: str, words: str) -> None:
    found = why_not_taken(claim(), storage_class(zones), 10 * GIB, rooms, NODES)

    assert found.kind == kind
    assert words in found.sentence


def test_a_claim_whose_class_does_not_exist_has_that_as_its_reason() -> None:
    assert "does not exist" in why_not_taken(claim(), None, 1, {}, []).sentence


@pytest.mark.parametrize(
    ("passed_over", "node"),
    [
        pytest.param(set(), "h2", id="the node with the most room is named"),
        pytest.param({"h2"}, "h1", id="a cordoned node leaves the claim to the other"),
        pytest.param({"h1", "h2"}, "h2", id="where all are cordoned one of them takes it"),
    ],
)
def test_the_node_is_named_that_is_to_take_the_claim(passed_over: set[str], node: str) -> None:
    rooms = {"h1": 5 * GIB, "h2": 9 * GIB}

    found = why_not_taken(claim(), storage_class(), GIB, rooms, NODES, frozenset(passed_over))

    assert found.kind == "slow"
    assert f"node {node} has room for it" in found.sentence


def test_a_copy_that_no_node_takes_has_its_own_reason() -> None:
    copy = claim(**{"flexvol/from-snapshot": "before"})

    found = why_not_taken(copy, storage_class(), 1, {"h1": GIB}, NODES[:1])

    assert found == (
        "source",
        "no node has what it is to be a copy of, or that is not bound",
    )
