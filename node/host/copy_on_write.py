"""Whether a block of a file keeps its place on the disk when it is written over.

On btrfs it does not: each write takes a new block and leaves the old one, unless the file was told
to overwrite in place while it was empty. A file that overwrites in place has no checksums. Every
other file system overwrites in place by itself."""

import fcntl
import struct

from node.host import abi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

# FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_NOCOW_FL of include/uapi/linux/fs.h.
_GET_FLAGS = abi.ioctl(abi.READ, 0x66, 1, abi.LONG_BYTES)
_SET_FLAGS = abi.ioctl(abi.WRITE, 0x66, 2, abi.LONG_BYTES)
_NO_COPY_ON_WRITE = 0x00800000
# BTRFS_IOC_FS_INFO, which only btrfs answers.
_BTRFS_INFO_BYTES = 1024
_BTRFS_INFO = abi.ioctl(abi.READ, 0x94, 31, _BTRFS_INFO_BYTES)
# The first kernel whose btrfs takes the checksum of what it really writes with direct I/O.
_SOUND_DIRECT_IO = (6, 15)


def overwrite_in_place(descriptor: int, in_place: bool = True) -> None:
    """Tells the empty open file to overwrite its blocks in place, or, with in_place=False, to take
    new blocks. Does nothing where the file system overwrites in place by itself."""
    flags = _btrfs_flags(descriptor)
    if flags is None:
        return
    wanted = flags | _NO_COPY_ON_WRITE if in_place else flags & ~_NO_COPY_ON_WRITE
    fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("=Q", wanted))


def is_overwritten_in_place(descriptor: int) -> bool:
    """Whether a write to a block of the open file goes to that same block."""
    flags = _btrfs_flags(descriptor)
    return flags is None or bool(flags & _NO_COPY_ON_WRITE)


def may_have_direct_io(descriptor: int) -> bool:
    """Whether direct I/O leaves the open file whole.

    Before kernel 6.15 btrfs takes the checksum of a block, and writes what the block holds a moment
    later, when a pod may have changed it; the block then cannot be read any more."""
    return abi.kernel() >= _SOUND_DIRECT_IO or is_overwritten_in_place(descriptor)


def _btrfs_flags(descriptor: int) -> "Optional[int]":
    """The inode flags of an open file on btrfs; None on every other file system."""
    if not _is_on_btrfs(descriptor):
        return None
    flags = bytearray(8)
    fcntl.ioctl(descriptor, _GET_FLAGS, flags)
    return int(struct.unpack("=Q", flags)[0])


def _is_on_btrfs(descriptor: int) -> bool:
    try:
        fcntl.ioctl(descriptor, _BTRFS_INFO, bytes(_BTRFS_INFO_BYTES))
        return True
    except OSError:
        return False
