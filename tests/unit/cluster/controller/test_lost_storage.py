"""Which PVs are lost, and why."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cluster.controller import lost_storage
from cluster.controller.objects import ON_NODE_GONE, Volume
from cluster.controller.storage import Listed
from tests.unit.cluster.controller.objects import DRIVERS, volume_of_node


@pytest.mark.parametrize(
    ("given", "node_exists", "reason", "words"),
    [
        pytest.param(volume_of_node(), True, "", "", id="its node is there"),
        pytest.param(
            volume_of_node(), False, "node-gone", "its node node1 is gone", id="its node is gone"
        ),
        pytest.param(
            volume_of_node("pool x was replaced"),
            True,
            "pool-replaced",
            "pool x was replaced",
            id="its pool was replaced",
        ),
        pytest.param(
            volume_of_node("pool x was replaced"),
            False,
            "node-gone",
            "its node node1 is gone",
            id="its node is gone after its pool was replaced",
        ),
        pytest.param(
            volume_of_node(by="other"),
            False,
            "",
            "",
            id="a PV of another provisioner is no matter of ours",
        ),
        pytest.param(
            volume_of_node(affinity=None),
            False,
            "",
            "",
            id="a PV that is reachable from everywhere is on no node",
        ),
    ],
)
def test_lost(given: dict[str, Any], node_exists: bool, reason: str, words: str) -> None:
    found, sentence = lost_storage.why(Volume(given), DRIVERS, node_exists)

    assert found == reason
    assert words in sentence
    if reason:
        assert "shop/data" in sentence
        assert sentence.endswith(
            "kubectl flexvol release pvc-u1"
            if node_exists
            else "its class says to give it up (onNodeGone)"
        ), "only a node that is gone was somebody's decision"
        kept = copy.deepcopy(given)
        kept["metadata"]["annotations"][ON_NODE_GONE] = "keep"
        assert lost_storage.why(Volume(kept), DRIVERS, node_exists)[1].endswith(
            "kubectl flexvol release pvc-u1"
        )


@pytest.mark.parametrize(
    ("options", "pools", "expected"),
    [
        pytest.param(
            {"pool": "a", "poolId": "1"}, [{"name": "a", "id": "1"}], "", id="its pool is there"
        ),
        pytest.param(
            {"pool": "a", "poolId": "1"},
            [{"name": "b", "id": "1"}],
            "",
            id="its pool is there under another name",
        ),
        pytest.param(
            {"pool": "a", "poolId": "1"},
            [{"name": "a", "id": "2"}],
            "its id is 2, the volume's is '1'",
            id="another pool has its pool's name",
        ),
        pytest.param(
            {"pool": "a", "poolId": "1"},
            [{"name": "a", "error": "away"}],
            None,
            id="the disk of its pool is away, and its id is not known",
        ),
        pytest.param(
            {"pool": "a", "poolId": "1"},
            [{"name": "a", "id": "1", "error": "away"}],
            "",
            id="the disk of its pool is away, and its id is known",
        ),
        pytest.param(
            {"pool": "a", "poolId": "1"},
            [{"name": "a", "id": "2", "error": "away"}],
            None,
            id="another pool has its pool's name, and is away",
        ),
        pytest.param(
            {"pool": "a", "poolId": "1"},
            [{"name": "b", "id": "2"}],
            None,
            id="its pool is not there, and no other has its name",
        ),
        pytest.param({"pool": "a", "poolId": "1"}, [], None, id="no pool is listed"),
        pytest.param(
            {"pool": "a", "poolId": "1"},
            [{"name": "b", "error": "away"}, {"name": "c"}, {"name": "a", "id": "2"}],
            "its id is 2, the volume's is '1'",
            id="another pool has its pool's name, and is listed after pools that are away",
        ),
        pytest.param(
            {}, [{"name": "a", "id": "2"}], "", id="a PV without a pool is never lost by a pool"
        ),
    ],
)
def test_pool_replaced(
    options: dict[str, str], pools: list[dict[str, str]], expected: str | None
) -> None:
    found = lost_storage.pool_replaced(Volume.of(volume_of_node(**options)), pools)

    assert found == expected if not expected else expected in str(found)


HERE = {"name": "default", "id": "1"}


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        pytest.param({}, "", id="no node answers"),
        pytest.param({"node1": Listed([], [])}, "", id="the node has no pool at all"),
        pytest.param(
            {"node1": Listed([], [{**HERE, "error": "away"}])}, "", id="the pool's disk is away"
        ),
        pytest.param(
            {"node1": Listed([], [{**HERE, "id": "2"}])}, "", id="another disk is in its place"
        ),
        pytest.param(
            {"node1": Listed([], [HERE])},
            "node node1 has its pool default (id 1)",
            id="the pool is there, whatever it holds",
        ),
        pytest.param(
            {"node1": Listed([], [{"name": "b", "id": "1"}])},
            "node node1 has its pool b",
            id="the pool has another name now",
        ),
        pytest.param(
            {"node1": Listed([], []), "node2": Listed([], [HERE])},
            "node node2 has its pool",
            id="the disk is in another node",
        ),
        pytest.param(
            {"node1": Listed([{"name": "pvc-u1", "poolId": "1"}], [])},
            "node node1 lists the volume",
            id="the volume is listed, and its pool is not",
        ),
        pytest.param(
            {"node1": Listed([{"name": "pvc-u1", "poolId": "2"}], [])},
            "",
            id="a volume of its name is in another pool",
        ),
        pytest.param(
            {"node1": Listed([{"name": "pvc-u1", "error": "damaged", "poolId": "1"}], [])},
            "",
            id="the volume is listed as one that cannot be read",
        ),
    ],
)
def test_a_disk_that_a_node_shows_is_not_gone(listed: dict[str, Listed], shown: str) -> None:
    volume = Volume(volume_of_node(pool="default", poolId="1"))

    node, sentence = lost_storage.where_it_is(volume, listed)

    assert shown in sentence
    assert bool(sentence) == bool(shown)
    assert f"node {node} " in sentence if node else not sentence


def test_a_driver_without_pools_shows_a_volume_by_listing_it() -> None:
    itself = {"node1": Listed([{"name": "pvc-u2"}, {"name": "pvc-u1"}], [])}
    another = {"node1": Listed([{"name": "pvc-u2"}], [])}

    assert lost_storage.where_it_is(Volume(volume_of_node()), itself)[0] == "node1"
    assert lost_storage.where_it_is(Volume(volume_of_node()), another) == ("", "")
