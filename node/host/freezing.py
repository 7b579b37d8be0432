"""Frozen file systems: FIFREEZE lets whatever writes to a file system wait until FITHAW.

Backup tools freeze one for the moment in which they copy its disk, and so do our snapshots. Who
dies in between leaves it frozen. What is asked here writes nothing, so that it never waits."""

import errno
import fcntl
import os
import struct

from node.host import abi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

# Of include/uapi/linux/fs.h.
_FREEZE = abi.ioctl(abi.READ_WRITE, 0x58, 119, 4)  # FIFREEZE
_THAW = abi.ioctl(abi.READ_WRITE, 0x58, 120, 4)  # FITHAW
# Where ext4 keeps the words of its features, and which bits say that it has a journal, and that the
# journal is to be replayed (fs/ext4/ext4.h).
_EXT4_FEATURES_AT, _EXT4_FEATURES = 1024 + 0x5C, struct.Struct("<II")
_EXT4_HAS_JOURNAL, _EXT4_NEEDS_RECOVERY = 4, 4
# XFS_IOC_GET_RESBLKS and struct xfs_fsop_resblks (fs/xfs/libxfs/xfs_fs.h).
_XFS_RESERVED = struct.Struct("=QQ")
_XFS_GET_RESERVED = abi.ioctl(abi.READ, 0x58, 115, _XFS_RESERVED.size)


def freeze(root: int) -> None:
    """Freezes the file system of the open directory: returns when all that was written is on its
    disk. Raises OSError with EBUSY if it is frozen already."""
    fcntl.ioctl(root, _FREEZE, 0)


def thaw(root: int) -> bool:
    """Thaws the file system of the open directory. Returns whether it was frozen."""
    try:
        fcntl.ioctl(root, _THAW, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def is_frozen(fs_type: str, device: str, root: int) -> "Optional[bool]":
    """Whether the file system that is mounted, writable, from the block device `device` is frozen;
    None if that cannot be seen. root: a descriptor of its root.

    No kernel tells. But ext4 marks its journal as one to be replayed for as long as it is mounted
    and not frozen; and xfs gives up its reserved blocks while it is frozen. btrfs shows nothing."""
    if fs_type == "ext4":
        compatible, incompatible = _ext4_features(device)
        if not compatible & _EXT4_HAS_JOURNAL:
            return None
        return not incompatible & _EXT4_NEEDS_RECOVERY
    if fs_type == "xfs":
        try:
            answer = fcntl.ioctl(root, _XFS_GET_RESERVED, bytes(_XFS_RESERVED.size))
        except PermissionError:
            return None
        return bool(_XFS_RESERVED.unpack(answer)[0] == 0)
    return None


def _ext4_features(device: str) -> "Tuple[int, int]":
    """Those of the superblock as the kernel has it in memory, which is what reading its device
    shows."""
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        block = os.pread(descriptor, _EXT4_FEATURES.size, _EXT4_FEATURES_AT)
    finally:
        os.close(descriptor)
    compatible, incompatible = _EXT4_FEATURES.unpack(block)
    return compatible, incompatible
