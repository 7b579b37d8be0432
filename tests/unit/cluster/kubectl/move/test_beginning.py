"""Which volume may begin to move."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller import cluster
from cluster.controller.objects import Volume
from cluster.controller.storage import Listed
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.beginning import check_unused, pool_with_room
from tests.unit.cluster.kubectl.move.manifests import (
    JSON,
    node,
)


class _Api:
    """A cluster without claims. node: the one that the PV names, if it is there."""

    def __init__(self, node: dict[str, Any] | None) -> None:
        self._node = node

    def get(self, path: str) -> Any:
        assert path == cluster.path_to(cluster.NODES, "node1")
        return self._node

    def claim(self, whose: dict[str, Any]) -> None:
        return None


class _NoObjects:
    def get(self, path: str) -> None:
        return None


@pytest.mark.parametrize(
    ("old_node", "changes", "refused"),
    [
        pytest.param(node("True"), {}, True, id="its node is there, and deletes it"),
        pytest.param(
            node("Unknown"),
            {},
            True,
            id="its node is silent, and may be back",
        ),
        pytest.param(
            None,
            {},
            False,
            id="its node is gone, so nobody else would ever delete it",
        ),
        pytest.param(
            None, {"deletionTimestamp": "now"}, True, id="a person deletes the PV of a node gone"
        ),
    ],
)
def test_a_volume_whose_claim_is_gone_moves_only_if_its_node_cannot_delete_it(
    old_node: dict[str, Any] | None, changes: dict[str, Any], refused: bool
) -> None:
    api: Any = _Api(old_node)
    access = Access(api, {"loop.flexvol": "flexvol/loop"}, "flexvol", print)
    volume = Volume({**JSON, "metadata": {**JSON["metadata"], **changes}})
    if refused:
        with pytest.raises(NotMoved, match="is being deleted, or its claim shop/data is not bound"):
            check_unused(access, volume, "node1")
    else:
        check_unused(access, volume, "node1")


@pytest.mark.parametrize(
    ("pools", "said"),
    [
        pytest.param(
            [{"name": "ssd"}, {"name": "default"}],
            r"its pools: default, ssd\); mount .* loop pool init fast",
            id="other pools",
        ),
        pytest.param([], "its pools: none", id="no pool at all"),
        pytest.param(
            [{"name": "fast", "error": "it is not mounted"}],
            "has no pool fast for pvc-u1: it is not mounted",
            id="the pool is away",
        ),
    ],
)
def test_a_node_without_the_pool_is_refused_with_what_to_do(
    pools: list[dict[str, Any]], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api: Any = _Api(None)
    access = Access(api, {}, "flexvol", print)
    monkeypatch.setattr(Access, "listed", lambda *_: Listed([], pools))
    volume = Volume({**JSON, "metadata": {**JSON["metadata"], "name": "pvc-u1"}})

    with pytest.raises(NotMoved, match=said):
        pool_with_room(access, "node2", volume, 1 << 20)


def test_a_claim_without_its_namespace_is_told_how_a_claim_is_named() -> None:
    api: Any = _NoObjects()
    access = Access(api, {}, "flexvol", print)

    with pytest.raises(NotMoved, match=r"there is no PV data; a claim .* as in NAMESPACE/data"):
        access.volume("data")
