"""A second volume that is made from the first one."""

from __future__ import annotations

from typing import Any

from tests.node.nodes import MIB, Node

FILE_SYSTEMS = ("ext4", "xfs", "btrfs")
SIZES = {"ext4": 64 * MIB, "xfs": 300 * MIB, "btrfs": 112 * MIB}
OTHER = "9b7be9c4-1111-4222-8333-944445555666"


def clone_request(
    node: Node, name: str = "pvc-2", source: str = "pvc-1", size: int = 0, **changes: Any
) -> str:
    """As large as its source unless another size is given."""
    size = size or node.record("pvc-1")["sizeBytes"]
    also = {
        "sourceVolume": source,
        "kubernetes.io/pvc.uid": OTHER,
        **changes.pop("also", {}),
    }
    return node.request(name, size, changes.pop("fs", "ext4"), also, **changes)


def clone(
    node: Node, name: str = "pvc-2", source: str = "pvc-1", size: int = 0, **changes: Any
) -> dict[str, Any]:
    made: dict[str, Any] = node.ok("provision", clone_request(node, name, source, size, **changes))[
        "volume"
    ]
    return made


def hidden(node: Node) -> list[str]:
    return [path.name for path in node.path("/var/lib/flexvol/default").glob(".new*")]
