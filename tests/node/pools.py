"""Pools on disks of their own."""

from __future__ import annotations

import os
import subprocess

from tests.node.nodes import Node

POOL = "/var/lib/flexvol/default"


def pool_on(node: Node, fs: str, size: int = 6 << 30, *options: str) -> None:
    """Makes the default pool anew on a disk of its own. options: of mkfs."""
    disk = node.directory / "disk"
    disk.touch()
    os.truncate(disk, size)
    subprocess.run([f"mkfs.{fs}", "-q", *options, disk], check=True)
    assert node.enter("mount", "-o", "loop", str(disk), POOL).returncode == 0
    node.command("pool", "init", "default", "--reserve", "0", "--replace")


def promise_without_end(node: Node) -> None:
    """From now on the default pool promises a hundred times what its disk has."""
    settings = node.path(POOL) / "pool.json"
    text = settings.read_text()
    assert '"overcommit": 1.0' in text
    settings.write_text(text.replace('"overcommit": 1.0', '"overcommit": 100'))
