"""What the disk below a pool can give: whether a file can be made on the disk at all, how long one
file can be, and which blocks of a file no other file shares.

Nothing here leaves anything behind, also if we are killed: the file made for a look has no name."""

import errno
import fcntl
import os
import struct

from node.host import abi, copying
from node.host.descriptors import Descriptor
from shared.protocol import system_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Tuple

    from shared.protocol import Failure

_FIEMAP = abi.ioctl(abi.READ_WRITE, 0x66, 11, 32)  # FS_IOC_FIEMAP
_HEADER = struct.Struct("=QQIIII")  # struct fiemap: start, length, flags, mapped, count, reserved
_EXTENT = struct.Struct("=QQQ16xI12x")  # struct fiemap_extent: logical, physical, length, flags
_LAST = 0x1  # FIEMAP_EXTENT_LAST
_SHARED = 0x2000  # FIEMAP_EXTENT_SHARED
# So many extents are read with one call: 112 KiB of answer.
_EXTENTS_A_CALL = 2048
# A look at whether a file shares blocks reads so many extents at so many positions.
_SAMPLES = 8
_EXTENTS_A_SAMPLE = 16
# XFS_IOC_FSGEOMETRY_V1 and BTRFS_IOC_FS_INFO, which only xfs and only btrfs answer.
_XFS_GEOMETRY_BYTES = 112
_XFS_GEOMETRY = abi.ioctl(abi.READ, 0x58, 100, _XFS_GEOMETRY_BYTES)
_BTRFS_INFO_BYTES = 1024
_BTRFS_INFO = abi.ioctl(abi.READ, 0x94, 31, _BTRFS_INFO_BYTES)
# The largest position that the kernel takes (off_t).
_LONGEST_BYTES = (1 << 63) - 1
# No volume is smaller (ext4's minimum_bytes).
_SMALLEST_IMAGE_BYTES = 16 << 20
# A volume is a directory, an image, a record and the record's next version.
_MADE_FILES = 4
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (errno.EROFS, errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE)
# What the open of a nameless file answers where the file system has no such thing.
_NO_NAMELESS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
XFS = "xfs"
BTRFS = "btrfs"
OTHER = "other"
_KINDS = (
    (XFS, _XFS_GEOMETRY, _XFS_GEOMETRY_BYTES),
    (BTRFS, _BTRFS_INFO, _BTRFS_INFO_BYTES),
)


class Disk:
    """A pool's disk at one moment.

    capacity: of its file system, in bytes. available: what the file system still gives to us, in
    bytes. largest_file: how long one file can be, in bytes. shares: whether two files may have
    blocks in common. kind: XFS, BTRFS or OTHER. obstacle: why no file can be made on the disk now,
    or "". full: whether that reason is want of something, and not a disk that cannot be written
    to."""

    def __init__(self, directory: int) -> None:
        status = os.fstatvfs(directory)
        self.capacity = status.f_blocks * status.f_frsize
        self.available = status.f_bavail * status.f_frsize
        self.largest_file = 0
        self.shares = True
        self.kind = _kind(directory)
        self.obstacle = ""
        self.full = False
        if status.f_flag & os.ST_RDONLY:
            self.obstacle = "it is mounted read-only, by hand or by the kernel after an error"
            return
        if status.f_files and status.f_favail < _MADE_FILES:
            self.obstacle = "it has no inodes left, however much room it has"
            self.full = True
            return
        self._try(directory)
        self._limit_by_process()

    def _try(self, directory: int) -> None:
        """Makes a file without a name, which is gone with its descriptor."""
        path = "/proc/self/fd/{}".format(directory)
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        try:
            file = Descriptor(os.open(path, flags, 0o600))
        except OSError as error:
            if error.errno in _NO_NAMELESS_FILES:
                self.largest_file = _LONGEST_BYTES  # not known; the call that makes it finds out
                return
            self.obstacle = "no file can be made on it: {}".format(error.strerror)
            self.full = error.errno in _NO_SPACE
            return
        with file:
            self.largest_file = _largest_bytes(file)
            self.shares = _can_share(file)

    def _limit_by_process(self) -> None:
        """Whoever started us may have limited the length of our files (ulimit -f)."""
        import resource  # late: only what makes or counts images needs it

        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit == resource.RLIM_INFINITY:
            return
        self.largest_file = min(self.largest_file, limit)
        if limit < _SMALLEST_IMAGE_BYTES and not self.obstacle:
            self.obstacle = "a limit of this process ends its files at {} bytes (ulimit -f)".format(
                limit
            )
            self.full = True


def _kind(descriptor: int) -> str:
    for kind, request, size_bytes in _KINDS:
        try:
            fcntl.ioctl(descriptor, request, bytes(size_bytes))
        except OSError:
            continue
        return kind
    return OTHER


def _largest_bytes(file: int) -> int:
    """How long the file could be. The kernel refuses to seek beyond that, so nothing is written:
    ext4 with blocks of 4 KiB ends at 16 TiB, xfs and btrfs at 8 EiB."""
    low = 0
    high = _LONGEST_BYTES
    while low < high:
        middle = (low + high + 1) // 2
        try:
            os.lseek(file, middle, os.SEEK_SET)
        except OSError:
            high = middle - 1
        else:
            low = middle
    return low


def _can_share(file: int) -> bool:
    """Whether the file system knows to share blocks. The empty file is to share its no bytes
    with itself, which changes nothing."""
    try:
        copying.clone_range(file, file, 0)
    except OSError as error:
        return error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY)
    return True


def shared_bytes(file: int, most_extents: int) -> "Tuple[Optional[int], int]":
    """How many bytes of the open file lie in blocks that another file has too, and how many extents
    were read for that.

    most_extents: how many extents may be read. The first is None if the file has more extents, or
    if the file system does not tell; then no extents were read."""
    length = os.fstat(file).st_size
    begin = 0
    shared = 0
    seen = 0
    while begin < length:
        extents = _extents(file, begin, length, _EXTENTS_A_CALL)
        if extents is None or seen > most_extents:
            return None, seen
        if not extents:
            break
        seen += len(extents)
        shared += sum(size for _, _, size, flags in extents if flags & _SHARED)
        logical, _, size, flags = extents[-1]
        begin = logical + size
        if flags & _LAST:
            break
    return shared, seen


def may_share(file: int) -> "Optional[bool]":
    """Whether any of a few extents, spread over the open file, is shared with another file. A copy
    of a whole file shows in each of them. None where the file system does not tell."""
    length = os.fstat(file).st_size
    for sample in range(_SAMPLES):
        begin = length * sample // _SAMPLES
        extents = _extents(file, begin, length, _EXTENTS_A_SAMPLE)
        if extents is None:
            return None
        if any(flags & _SHARED for _, _, _, flags in extents):
            return True
    return False


def _extents(
    file: int, begin: int, end: int, count: int
) -> "Optional[List[Tuple[int, int, int, int]]]":
    """The first extents between two positions: logical, physical, length, flags. None where the
    file system does not tell."""
    answer = bytearray(_HEADER.size + _EXTENT.size * count)
    _HEADER.pack_into(answer, 0, begin, end - begin, 0, 0, count, 0)
    try:
        fcntl.ioctl(file, _FIEMAP, answer)
    except OSError:
        return None
    mapped = _HEADER.unpack_from(answer, 0)[3]
    table = bytes(answer[_HEADER.size : _HEADER.size + _EXTENT.size * mapped])
    return list(_EXTENT.iter_unpack(table))


def failure_in(text: str, about: str) -> "Optional[Failure]":
    """The failure of a program that printed why the disk of `about` cannot (with LC_ALL=C); None if
    it printed anything else."""
    for number in _NO_SPACE + _NOT_WRITABLE:
        if os.strerror(number) in text:
            return system_failure(OSError(number, os.strerror(number)), about)
    return None
