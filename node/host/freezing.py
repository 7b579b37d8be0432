"""Frozen file systems: FIFREEZE lets whatever writes to a file system wait until FITHAW.

Backup tools freeze a file system for the moment in which they copy its disk, and so do our
snapshots. Whoever dies in between leaves the file system frozen. The questions here write nothing,
so that they never wait."""

import errno
import fcntl
import os
import struct

from node.host import abi, files, loopdev, mount_table, mounts
from node.host.mount_calls import Superblock
from shared.protocol import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

    from node.host.mount_table import Mount

# Of include/uapi/linux/fs.h.
_FREEZE = abi.ioctl(abi.READ_WRITE, 0x58, 119, 4)  # FIFREEZE
_THAW = abi.ioctl(abi.READ_WRITE, 0x58, 120, 4)  # FITHAW
# Where ext4 keeps the words of its features, and which bits say that it has a journal, and that the
# journal is to be replayed (fs/ext4/ext4.h).
_EXT4_FEATURES_AT = 1024 + 0x5C
_EXT4_FEATURES = struct.Struct("<II")
_EXT4_HAS_JOURNAL = 4
_EXT4_NEEDS_RECOVERY = 4
# XFS_IOC_GET_RESBLKS and struct xfs_fsop_resblks (fs/xfs/libxfs/xfs_fs.h).
_XFS_RESERVED = struct.Struct("=QQ")
_XFS_GET_RESERVED = abi.ioctl(abi.READ, 0x58, 115, _XFS_RESERVED.size)


def freeze(root: int) -> None:
    """Freezes the file system of the open directory: returns when all that was written is on its
    disk. Raises OSError with EBUSY if the file system is frozen already."""
    fcntl.ioctl(root, _FREEZE, 0)


def thaw(root: int) -> bool:
    """Thaws the file system of the open directory. Returns whether the file system was frozen."""
    try:
        fcntl.ioctl(root, _THAW, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def is_frozen(fs_type: str, device: str, root: int) -> "Optional[bool]":
    """Whether the file system that is mounted, writable, from the block device `device` is frozen;
    None if that cannot be seen. root: the open root of the file system.

    No kernel tells that. But ext4 marks its journal as to be replayed for as long as the file
    system is mounted and not frozen; and xfs gives up its reserved blocks while it is frozen. btrfs
    shows nothing."""
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
    """The compatible and incompatible features in the superblock as the kernel has it in memory,
    which is what reading its device shows."""
    with files.open_path(device, os.O_RDONLY) as superblock:
        block = os.pread(superblock, _EXT4_FEATURES.size, _EXT4_FEATURES_AT)
    compatible, incompatible = _EXT4_FEATURES.unpack(block)
    return compatible, incompatible


def is_frozen_by_others(mount: "Mount", device: str) -> bool:
    """Whether the file system on the block device that `mount` shows is frozen, and not by a
    snapshot of ours.

    False where that cannot be seen, and for a file system that stopped after an error, which
    answers no question."""
    if mount.stopped():
        return False
    try:
        root = mounts.open_root(mount.path)
    except (FileNotFoundError, PermissionError):
        return False  # unmounted meanwhile; or we may not look
    with root:
        frozen = is_frozen(mount.fs_type, device, root)
        return frozen is True and root.try_lock()  # a snapshot of ours holds that lock


def thaw_left(mount: "Mount") -> None:
    """Thaws the file system of a mount that is gone, if it was frozen and nobody has it any more.
    What cannot be thawed now is thawed by its next mount, and named by status and doctor."""
    try:
        thaw_unmounted(mount.source, mount.fs_type)
    except (Failure, OSError):
        return


def thaw_unmounted(device: str, fs_type: str) -> bool:
    """Thaws the file system on a loop device if it was frozen and then unmounted everywhere.
    Returns whether it was.

    Such a file system is still there, although nobody can reach the file system: it keeps its
    device, and with the device the lock on the image. The kernel shows the file system again to
    whoever mounts the device."""
    if not os.path.exists("/sys/block/{}/loop".format(os.path.basename(device))):
        return False  # the device went away with its last mount, as it should
    if not mount_table.is_nowhere(device) or not loopdev.is_taken(device):
        return False
    thawed = []
    superblock = Superblock(device, fs_type, ())
    mounts.mount_unseen(superblock, lambda root: thawed.append(thaw(root)))
    return thawed == [True]
