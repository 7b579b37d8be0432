"""Why a claim is not taken."""

from __future__ import annotations

import pytest

from controller import gone_nodes

GIB = 1 << 30


def labels(hostname: str, zone: str) -> dict[str, str]:
    return {"kubernetes.io/hostname": hostname, "zone": zone}


@pytest.mark.parametrize(
    ("rooms", "zones", "kind", "said"),
    [
        ({"h1": 5 * GIB, "h2": 9 * GIB}, [], "room", "for 10240 MiB: the most is 9216 MiB, on h2"),
        ({"h1": 5 * GIB, "h2": 90 * GIB}, ["a"], "room", "the most is 5120 MiB, on h1"),
        ({"h1": 5 * GIB, "h2": 90 * GIB}, [], "slow", "node h2 has room for it"),
        ({"h1": 5 * GIB}, ["c"], "labels", "no node has the labels"),
        ({}, [], "nobody", "no provisioner has told"),
    ],
)
def test_why_not_taken(rooms: dict[str, int], zones: list[str], kind: str, said: str) -> None:
    notes = {"volume.kubernetes.io/storage-provisioner": "loop.flexvol"}
    claim = {
        "metadata": {"annotations": notes},
        "spec": {"storageClassName": "c", "accessModes": ["ReadWriteOnce"]},
    }
    topologies = [{"matchLabelExpressions": [{"key": "zone", "values": zones}]}] if zones else []
    storage_class = {
        "metadata": {"name": "c"},
        "provisioner": "loop.flexvol",
        "allowedTopologies": topologies,
    }

    found = gone_nodes.why_not_taken(
        claim, storage_class, 10 * GIB, rooms, [labels("h1", "a"), labels("h2", "b")]
    )

    assert found[0] == kind
    assert said in found[1]
    assert "does not exist" in gone_nodes.why_not_taken(claim, None, 1, {}, [])[1]


def test_a_copy_that_no_node_takes_has_its_own_reason() -> None:
    notes = {
        "volume.kubernetes.io/storage-provisioner": "loop.flexvol",
        "flexvol/from-snapshot": "before",
    }
    claim = {
        "metadata": {"annotations": notes},
        "spec": {"storageClassName": "c", "accessModes": ["ReadWriteOnce"]},
    }
    storage_class = {"metadata": {"name": "c"}, "provisioner": "loop.flexvol"}

    kind, said = gone_nodes.why_not_taken(claim, storage_class, 1, {"h1": GIB}, [labels("h1", "a")])

    assert (kind, said) == (
        "source",
        "no node has what it is to be a copy of, or that is not bound",
    )
