"""Which volume may begin to move."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller import cluster
from cluster.controller.objects import Volume
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.beginning import check_unused
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
