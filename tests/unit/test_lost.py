"""Which PVs are lost, and why."""

from __future__ import annotations

from typing import Any

import pytest

from controller import lost
from controller.decide import ON_NODE_GONE, PROVISIONED_BY

DRIVERS = {"loop.flexvol": "flexvol/loop"}
AFFINITY: dict[str, Any] = {"required": {}}


def volume(
    mark: str = "", by: str = "loop.flexvol", affinity: Any = AFFINITY, **options: str
) -> dict[str, Any]:
    notes = {
        PROVISIONED_BY: by,
        "flexvol/identity": "node1",
        ON_NODE_GONE: "release",
        "flexvol/lost": mark,
    }
    return {
        "metadata": {"name": "pvc-u1", "uid": "v1", "annotations": notes},
        "spec": {
            "nodeAffinity": affinity,
            "claimRef": {"namespace": "shop", "name": "data", "uid": "u1"},
            "flexVolume": {"driver": "flexvol/loop", "options": options},
        },
    }


@pytest.mark.parametrize(
    ("given", "node_exists", "reason", "said"),
    [
        (volume(), True, "", ""),
        (volume(), False, "node-gone", "its node node1 is gone"),
        (volume("pool x was replaced"), True, "pool-replaced", "pool x was replaced"),
        (volume("pool x was replaced"), False, "node-gone", "its node node1 is gone"),
        (volume(by="other"), False, "", ""),
        (volume(affinity=None), False, "", ""),
    ],
)
def test_lost(given: dict[str, Any], node_exists: bool, reason: str, said: str) -> None:
    found, sentence = lost.why(given, DRIVERS, node_exists)

    assert found == reason
    assert said in sentence
    if reason:
        assert "shop/data" in sentence
        assert sentence.endswith("its class says to give it up (onNodeGone)")
        given["metadata"]["annotations"][ON_NODE_GONE] = "keep"
        assert lost.why(given, DRIVERS, node_exists)[1].endswith("provisioner release pvc-u1")


@pytest.mark.parametrize(
    ("options", "pools", "expected"),
    [
        ({"pool": "a", "poolId": "1"}, [{"name": "a", "id": "1"}], ""),
        ({"pool": "a", "poolId": "1"}, [{"name": "b", "id": "1"}], ""),
        (
            {"pool": "a", "poolId": "1"},
            [{"name": "a", "id": "2"}],
            "its id is 2, the volume's is '1'",
        ),
        ({"pool": "a", "poolId": "1"}, [{"name": "a", "error": "away"}], None),
        ({"pool": "a", "poolId": "1"}, [{"name": "a", "id": "1", "error": "away"}], ""),
        ({"pool": "a", "poolId": "1"}, [{"name": "a", "id": "2", "error": "away"}], None),
        ({"pool": "a", "poolId": "1"}, [{"name": "b", "id": "2"}], None),
        ({"pool": "a", "poolId": "1"}, [], None),
        ({}, [{"name": "a", "id": "2"}], ""),
    ],
)
def test_pool_replaced(
    options: dict[str, str], pools: list[dict[str, str]], expected: str | None
) -> None:
    found = lost.pool_replaced(volume(**options), pools)

    assert found == expected if not expected else expected in str(found)
