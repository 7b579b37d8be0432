"""The room of a pool: how large its disk is, how much of that was promised to volumes, and how much
may still be promised.

The promise: with overcommit 1 every image may be written full at once. An image that has a block
to itself is written in place. A block that two images share is on the disk once and was promised
twice, so that the first of them that writes it needs another block. So

    room = available to us + blocks that are ours alone - reserve - metadata - promised

where "promised" is the sum of the images' lengths, and "ours alone" leaves out shared blocks as
shared_blocks.py has it."""

import os
import stat

from node.host import disks
from shared.protocol import ResourceExhausted, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from node.drivers.loop.pools import Pool

IMAGE = "image"
_MIB = 1 << 20
_STATUS_BLOCK_BYTES = 512  # the unit of st_blocks, on every file system
# How much room the file system needs for itself, by the bytes that are still to be written. Full
# tables of extents of a file that was written at random take 0.8 % on ext4 and xfs (16 bytes for
# each 4 KiB, half-filled leaves).
_METADATA_PER_MILLE = 10
_BTRFS_METADATA_PER_MILLE = 30


class Figures:
    """A pool's accounting, all in bytes.

    capacity: of the disk's file system. promised: the lengths of all images. owned: the blocks they
    have that no one else can need. reserve: what stays free, by pool.json. metadata: what the file
    system itself will need when all images are full. others: everything else on the disk, also what
    its file system keeps and what images share. left: what may still be promised; below 0 where
    others took what was promised. largest_image: how long one image can be. obstacle: why nothing
    can be made on the disk, or "". loses_by_sharing: whether images that come to share blocks make
    less room; on xfs they do not.

        (capacity - reserve - others - metadata) * overcommit = promised + left"""

    def __init__(
        self, disk: "disks.Disk", promised: int, owned: int, reserve: int, overcommit: float
    ) -> None:
        self.capacity = disk.capacity
        self.promised = promised
        self.owned = owned
        self.reserve = reserve
        self.metadata = _metadata_bytes(disk, promised - owned)
        self.overcommit = overcommit
        self.others = max(0, disk.capacity - disk.available - owned)
        usable = disk.available + owned - reserve - self.metadata
        self.left = int(usable * overcommit) - promised
        self.largest_image = _in_whole_mib(disk.largest_file)
        self.obstacle = disk.obstacle
        self.loses_by_sharing = disk.kind != disks.XFS
        self._is_full = disk.full

    @property
    def free(self) -> int:
        """How much may be promised to a new volume, in whole MiB, as images are."""
        if self.obstacle:
            return 0
        return max(0, _in_whole_mib(self.left))

    def check(self, pool: str, more_bytes: int, size_bytes: int) -> None:
        """As Pool.check_room. pool: its name."""
        refused = "pool {} has no room for {} MiB more: ".format(pool, _mib_up(more_bytes))
        if self.obstacle:
            kind = ResourceExhausted if self._is_full else Unavailable
            raise kind(
                "{}nothing can be made on its disk, as {}; loop doctor tells more".format(
                    refused, self.obstacle
                )
            )
        if more_bytes > self.left:
            raise ResourceExhausted(
                "{}{}; free some, grow the disk, or see pool.json".format(refused, self.terms())
            )
        if size_bytes > self.largest_image:
            raise ResourceExhausted(
                "pool {} has no room for a volume of {} MiB: one file ends at {} MiB there, by the "
                "disk's file system or a limit of this process (ulimit -f); use a pool on "
                "xfs".format(pool, size_bytes // _MIB, self.largest_image // _MIB)
            )

    def terms(self) -> str:
        """Returns a sentence with how much may still be promised, and the terms of that sum, in
        whole MiB that add up."""
        capacity = self.capacity // _MIB
        reserve = _mib_up(self.reserve)
        metadata = _mib_up(self.metadata)
        promised = _mib_up(self.promised)
        usable = (self.capacity - self.reserve - self.metadata - self.others) // _MIB
        # This term takes the rounding of the others, as it is the least exact one.
        others = capacity - reserve - metadata - usable
        room = int(usable * self.overcommit)
        times = ""
        if self.overcommit != 1:
            times = ", times overcommit {:g} = {} MiB".format(self.overcommit, room)
        left = "{} MiB are left".format(room - promised)
        if room < promised:
            left = "{} MiB more than there are".format(promised - room)
        return (
            "{} MiB can still be promised (capacity {} MiB - reserve {} MiB - metadata {} MiB - "
            "used by others {} MiB = {} MiB{}; promised {} MiB, {})"
        ).format(
            max(0, room - promised),
            capacity,
            reserve,
            metadata,
            others,
            usable,
            times,
            promised,
            left,
        )


def _metadata_bytes(disk: "disks.Disk", unwritten_bytes: int) -> int:
    per_mille = _METADATA_PER_MILLE
    if disk.kind == disks.BTRFS:
        per_mille = _BTRFS_METADATA_PER_MILLE
    return max(0, unwritten_bytes) * per_mille // 1000


def _in_whole_mib(size_bytes: int) -> int:
    """So many bytes or less, as a multiple of 1 MiB."""
    return size_bytes // _MIB * _MIB


def _mib_up(size_bytes: int) -> int:
    """So many bytes in MiB, rounded up."""
    return -(-size_bytes // _MIB)


class CountedImage:
    """An image of a pool. entry: the name of its directory. length: of the file. taken: the blocks
    that the file has. Both are in bytes."""

    def __init__(self, entry: str, status: "os.stat_result") -> None:
        self.entry = entry
        self.path = entry + "/" + IMAGE
        self.inode = str(status.st_ino)
        self.length = status.st_size
        self.taken = status.st_blocks * _STATUS_BLOCK_BYTES


def figures(pool: "Pool", disk: "disks.Disk", reserve_bytes: int, overcommit: float) -> Figures:
    """Counts every image of the pool, published or not. The blocks that other files on the same
    disk take, and those that root may not use, are not ours to promise."""
    images = _images(pool)
    promised = sum(image.length for image in images)
    owned = sum(image.taken for image in images)
    if disk.shares and not disk.obstacle:
        from node.drivers.loop import shared_blocks  # late: few disks let files share blocks

        sharing = shared_blocks.find(pool, images)
        owned -= sum(image.shared_bytes for image in sharing)
        if disk.kind == disks.XFS:
            owned += shared_blocks.bytes_counted_once(sharing)
    return Figures(disk, promised, owned, reserve_bytes, overcommit)


def _images(pool: "Pool") -> "List[CountedImage]":
    images = []
    for entry in pool.names() + pool.hidden():
        path = entry + "/" + IMAGE
        try:
            status = os.stat(path, dir_fd=pool.directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISREG(status.st_mode):
            images.append(CountedImage(entry, status))
    return images
