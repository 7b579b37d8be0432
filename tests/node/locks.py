"""The files on which the driver locks a volume."""

from __future__ import annotations

import binascii
from pathlib import Path

from tests.node.nodes import Node


def lock_file(node: Node, volume: str = "pvc-1") -> Path:
    return node.path(f"/var/lib/flexvol/default/.locks/{volume}.lock")


def older_lock_file(node: Node, volume: str = "pvc-1") -> Path:
    """The lock file that an older flexvol used for the volume, and for others of the same hash."""
    number = binascii.crc32(volume.encode()) % 1024
    return node.path(f"/var/lib/flexvol/default/.locks/{number:03x}")
