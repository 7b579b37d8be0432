"""What the size that a volume is made with does to its file system for good: the journal of an
ext4, and the groups of an xfs that grew. Needs root. docs/expansion.md has the numbers;
tests/node/test_shapes.py compares them.

The images are sparse files, made with the options that volumes are made with."""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from node.host import filesystems
from shared import table

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
GIB = 1 << 30
# Where mkfs.ext4 begins to make a larger journal, and the smallest volume.
JOURNAL_SIZES = (
    16 * MIB, 128 * MIB, GIB, 2 * GIB, 16 * GIB, 32 * GIB, 64 * GIB, 128 * GIB,
)  # fmt: skip
# The smallest xfs, a fiftieth of what it grows to, and an xfs that has that size from the start.
GROWN_BYTES = 200 * GIB
GROWN_FROM = (300 * MIB, GROWN_BYTES // 50, GROWN_BYTES)


class Grown(NamedTuple):
    """An xfs that grew to GROWN_BYTES. groups: how many it has. used_bytes: what the empty file
    system takes of the pool's disk. mount_reads: how often a mount reads from the disk.
    mount_seconds: the median of several mounts."""

    groups: int
    used_bytes: int
    mount_reads: int
    mount_seconds: float


def run(*line: object) -> str:
    words = [str(word) for word in line]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{words[0]} ended with status {done.returncode}: {done.stderr}")
    return done.stdout


def make(image: Path, fs_type: str, size_bytes: int) -> None:
    """Makes a thin volume's file system in a new file."""
    descriptor = os.open(image, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    lock = os.open(image.parent, os.O_RDONLY)
    try:
        os.truncate(descriptor, size_bytes)
        file_system = filesystems.get(fs_type)
        file_system.make(
            descriptor,
            str(uuid.uuid4()),
            thick=False,
            options=[],
            lock=lock,
        )
    finally:
        os.close(lock)
        os.close(descriptor)


def journal_bytes(directory: Path, size_bytes: int) -> int:
    """The journal of an ext4 that is made with this size."""
    image = directory / f"ext4-{size_bytes}"
    make(image, "ext4", size_bytes)
    try:
        stated = re.search(
            r"Total journal size: +(\d+)([kMG])",
            run("dumpe2fs", "-h", image),
        )
    finally:
        image.unlink()
    assert stated, "dumpe2fs states no size of the journal"
    shift = {"k": 10, "M": 20, "G": 30}[stated[2]]
    return int(stated[1]) << shift


def grown(directory: Path, size_bytes: int, mounts: int) -> Grown:
    """An xfs that is made with this size and grows to GROWN_BYTES, mounted so many times.

    The mounts are made in a mount namespace of their own: a copy of a mount in the namespace of
    another process would keep the file system in the kernel, and the next mount would be quick."""
    words: list[object] = [sys.executable, "-m", __name__, directory, size_bytes, mounts]
    return Grown(*json.loads(run("unshare", "--mount", *words)))


def _grow_and_mount(directory: Path, size_bytes: int, mounts: int) -> Grown:
    image = directory / f"xfs-{size_bytes}"
    mounted = directory / "mounted"
    mounted.mkdir(exist_ok=True)
    make(image, "xfs", size_bytes)
    os.truncate(image, GROWN_BYTES)
    # As a pod's volume is attached, where the disk lets it.
    attach = ["losetup", "--find", "--show", "--sector-size", "4096", "--direct-io=on", image]
    device = run(*attach).strip()
    seconds = []
    reads = 0
    try:
        run("mount", "-o", "discard", device, mounted)
        run("xfs_growfs", mounted)
        stated = re.search(r"agcount=(\d+)", run("xfs_info", mounted))
        run("umount", mounted)
        for _ in range(mounts):
            before = _reads(device)
            began = time.perf_counter()
            run("mount", "-o", "discard", device, mounted)
            seconds.append(time.perf_counter() - began)
            reads = _reads(device) - before
            run("umount", mounted)
    finally:
        # The device goes at the latest when the namespace goes with its mount.
        run("losetup", "--detach", device)
    assert stated, "xfs_info states no number of groups"
    used_bytes = image.stat().st_blocks * 512
    image.unlink()
    return Grown(int(stated[1]), used_bytes, reads, statistics.median(seconds))


def _reads(device: str) -> int:
    """How often the device was read from so far (the kernel's Documentation/block/stat.rst)."""
    return int(Path(f"/sys/block/{Path(device).name}/stat").read_text().split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(prog="build.sh bench shapes", description=__doc__)
    parser.add_argument(
        "--mounts",
        type=int,
        default=5,
        help="of each xfs (default %(default)s)",
    )
    mounts = parser.parse_args().mounts
    with tempfile.TemporaryDirectory(prefix="flexvol-shapes-") as name:
        directory = Path(name)
        journals = [
            [table.human_bytes(size), table.human_bytes(journal_bytes(directory, size))]
            for size in JOURNAL_SIZES
        ]
        groups = [
            [
                table.human_bytes(size),
                str(found.groups),
                table.human_bytes(found.used_bytes),
                str(found.mount_reads),
                f"{found.mount_seconds:.2f}",
            ]
            for size, found in ((size, grown(directory, size, mounts)) for size in GROWN_FROM)
        ]
    print(table.aligned(["ext4 made with", "journal"], journals))
    print(f"\nxfs grown to {table.human_bytes(GROWN_BYTES)}:\n")
    print(
        table.aligned(
            ["made with", "groups", "takes, empty", "reads a mount", "mounts in s"],
            groups,
        )
    )


if __name__ == "__main__":
    print(
        json.dumps(
            _grow_and_mount(
                Path(sys.argv[1]),
                int(sys.argv[2]),
                int(sys.argv[3]),
            )
        )
    )
