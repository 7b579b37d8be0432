"""Which node has the disk of a volume, and whether the other node is off."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller.objects import Node, Volume
from cluster.controller.storage import Listed
from cluster.kubectl.move.carried import has_pool, has_volume, is_off
from tests.unit.cluster.kubectl.move.manifests import (
    JSON,
    VOLUME,
    node,
)


@pytest.mark.parametrize(
    ("pools", "expected"),
    [
        pytest.param([{"name": "fast", "id": "5f"}], True, id="the very pool"),
        pytest.param(
            [{"name": "other", "id": "5f"}],
            True,
            id="the very pool, by another name",
        ),
        pytest.param(
            [{"name": "fast", "id": "77"}],
            False,
            id="another pool of that name",
        ),
        pytest.param(
            [{"name": "fast", "id": "5f", "error": "it is not mounted"}],
            False,
            id="a pool that is known and away",
        ),
        pytest.param([{"name": "fast"}], False, id="a pool without an id"),
        pytest.param([], False, id="no pool"),
    ],
)
def test_a_node_has_the_volumes_disk_if_it_has_the_pool_of_that_id(
    pools: list[dict[str, Any]], expected: bool
) -> None:
    assert has_pool(VOLUME, Listed([], pools)) == expected


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param(
            [{"name": "pvc-u1", "poolId": "5f"}],
            True,
            id="the volume in that pool",
        ),
        pytest.param(
            [{"name": "pvc-u1", "poolId": "77"}], False, id="a volume of that name elsewhere"
        ),
        pytest.param(
            [{"name": "pvc-u2", "poolId": "5f"}],
            False,
            id="a cloned node's own volumes",
        ),
        pytest.param([], False, id="a cloned node without volumes"),
    ],
)
def test_a_cloned_nodes_pool_is_where_the_volume_can_be_copied_to(
    entries: list[dict[str, Any]], expected: bool
) -> None:
    assert has_volume(VOLUME, Listed(entries, [{"name": "fast", "id": "5f"}])) == expected


def test_a_volume_that_names_no_pool_by_id_is_on_no_other_nodes_disk() -> None:
    spec = {**JSON["spec"], "flexVolume": {"driver": "a/b", "options": {"pool": "fast"}}}
    assert not has_pool(Volume({**JSON, "spec": spec}), Listed([], [{"name": "fast"}]))


OUT = "node.kubernetes.io/out-of-service"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(
            None,
            True,
            id="a Node object that is gone is somebody's decision",
        ),
        pytest.param(node("True"), False, id="a node that runs"),
        pytest.param(
            node("Unknown"),
            False,
            id="a node that is only silent may still write",
        ),
        pytest.param(
            node("Unknown", "node.kubernetes.io/unreachable"),
            False,
            id="Kubernetes' own taint of a silent node is nobody's word",
        ),
        pytest.param(
            node("Unknown", OUT),
            True,
            id="a silent node that a person calls off",
        ),
        pytest.param(
            node("False", OUT),
            True,
            id="a node that is not ready, and called off",
        ),
        pytest.param(node("True", OUT), False, id="a node that is called off and runs"),
        pytest.param({"spec": {}}, False, id="a node that was never heard of"),
    ],
)
def test_a_node_is_off_if_a_person_says_so_and_it_is_silent(
    found: dict[str, Any] | None, expected: bool
) -> None:
    assert is_off(Node.of(found)) == expected
