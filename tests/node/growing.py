"""The growth of a volume that is mounted, and of one that no pod uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.node.nodes import MIB, Node

CAP_SYS_RESOURCE = 1 << 24


def may_grow_mounted_ext4() -> bool:
    status = Path("/proc/self/status").read_text()
    (effective,) = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff")]
    return bool(int(effective, 16) & CAP_SYS_RESOURCE)


def size(directory: Path) -> int:
    disk = os.statvfs(directory)
    return disk.f_blocks * disk.f_frsize


def expand(node: Node, pod: str, new: int, old: int = 64 * MIB) -> list[str]:
    return ["expandfs", node.options(), "", node.pod_dir(pod), str(new), str(old)]


def grow_at_next_pod(node: Node, new: int) -> None:
    """The record says so much, as when a growth was asked for while no pod ran."""
    node.pod_dir("web")
    node.until_free()
    node.fails("Internal", *expand(node, "web", new))


tool_grows = pytest.mark.skipif(
    may_grow_mounted_ext4(),
    reason="the kernel grows it, no tool",
)
