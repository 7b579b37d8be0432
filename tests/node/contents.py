"""What is in a volume and in a pool: tests write it, and check it after what they do."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from tests.node.nodes import MIB, Node

DATA = b"written before and fsynced\n" * 4000


def with_data(node: Node, fs: str = "ext4", size: int = 64 * MIB) -> int:
    """Makes the volume with a file in it; returns the size of its file system."""
    node.provision(size=size, fs=fs)
    directory = node.mount("writer")
    (directory / "data").write_bytes(DATA)
    total = total_bytes(directory)
    node.unmount("writer")
    node.until_free()
    return total


def total_bytes(directory: Path) -> int:
    disk = os.statvfs(directory)
    return disk.f_blocks * disk.f_frsize


def check_data(node: Node, pod: str) -> None:
    kept = (node.path(node.pod_dir(pod)) / "data").read_bytes()
    assert hashlib.sha256(kept).digest() == hashlib.sha256(DATA).digest()


def pool_of(node: Node) -> set[str]:
    return {entry.name for entry in node.path("/var/lib/flexvol/default").iterdir()}


def fill(root: Path, number: int = 30) -> str:
    """Files with random content, fsynced; returns their checksum."""
    (root / "data").mkdir()
    for index in range(number):
        with (root / "data" / str(index)).open("wb") as file:
            file.write(os.urandom(50_000 + index))
            os.fsync(file.fileno())
    os.mkfifo(root / "data/fifo")
    return checksum(root)


def checksum(root: Path) -> str:
    total = hashlib.sha256()
    for path in sorted((root / "data").iterdir()):
        total.update(f"{path.name} {path.lstat().st_mode} {path.lstat().st_size}".encode())
        total.update(path.read_bytes() if path.is_file() else b"")
    return total.hexdigest()


def uuid_of(node: Node, volume: str) -> str:
    line = ["blkid", "-p", "-o", "value", "-s", "UUID", str(node.image(volume))]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def check_sound(node: Node, volume: str) -> None:
    """The tools find nothing to complain of in an image that is not mounted."""
    fs = node.record(volume)["fsType"]
    image = str(node.image(volume))
    lines = {
        "ext4": ["e2fsck", "-f", "-n"],
        "xfs": ["xfs_repair", "-n", "-f"],
        "btrfs": ["btrfs", "check"],
    }
    done = subprocess.run(
        [*lines[fs], image],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
