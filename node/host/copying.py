"""The content of one file in another: shared blocks, copied blocks, and the write-back before."""

import errno
import fcntl
import os
import struct
import time

from node.host import abi
from shared import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

_CLONE_RANGE = abi.ioctl(abi.WRITE, 0x94, 13, 32)  # FICLONERANGE
# Why the kernel shares no blocks: the file system cannot, or cannot with these two files.
_NOT_SHARED = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV)
# Copied and put on disk at once: little enough that a copy soon sees that its time is over.
_CHUNK_BYTES = 8 << 20


def write_back(root: "Optional[int]", seconds: float) -> None:
    """Has the kernel write to disk what it holds back of a file system, and waits for that.

    root: an open file of the file system; None for all file systems. seconds: the longest wait; the
    kernel goes on after it. The kernel begins with all file systems at once, so a dead server keeps
    only the process that waits, and that process has no lock of ours."""
    keep = () if root is None else (root,)
    children.detached(lambda: _sync(root), keep, seconds)


def _sync(root: "Optional[int]") -> bytes:
    if root is None:
        os.sync()
        return b"done"
    import ctypes  # late: few callouts need it

    if ctypes.CDLL(None, use_errno=True).syncfs(root) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return b"done"


def share(source: int, target: int, size_bytes: int) -> bool:
    """Lets the open file `target` begin with `size_bytes` of the open file `source`, as they are at
    one moment, on the same blocks. False if the file system cannot do that with these two files."""
    try:
        clone_range(source, target, size_bytes)
        return True
    except OSError as error:
        if error.errno in _NOT_SHARED:
            return False
        raise


def clone_range(source: int, target: int, size_bytes: int) -> None:
    """The system call of `share`; raises OSError where that is impossible (ioctl_ficlonerange(2)).
    size_bytes: 0 for all of `source`."""
    fcntl.ioctl(target, _CLONE_RANGE, struct.pack("=qQQQ", source, 0, size_bytes, 0))


def copy(source: int, target: int, begin: int, end: int, deadline: float) -> int:
    """Copies the data between two positions of the open file `source` to the same place in
    `target`, and leaves out the holes.

    begin, end: in bytes. deadline: on the monotonic clock; after it no further chunk is begun, but
    one chunk is always copied. Returns the position where the copy stopped; all before it is on
    disk."""
    position = begin
    while position < end:
        data = _data_after(source, position, end)
        if data is None:
            return end
        position, hole = data
        chunk = os.pread(source, min(hole, end, position + _CHUNK_BYTES) - position, position)
        while chunk:
            written = os.pwrite(target, chunk, position)
            position += written
            chunk = chunk[written:]
        # Little by little, so that no great rest is left for when the time is over.
        os.fdatasync(target)
        if time.monotonic() >= deadline:
            break
    return position


def data_bytes(source: int, begin: int, end: int) -> int:
    """How many bytes of the open file lie between two positions, and in no hole."""
    total = 0
    position = begin
    while position < end:
        data = _data_after(source, position, end)
        if data is None:
            break
        first, hole = data
        position = min(hole, end)
        total += max(0, position - first)
        if position <= first:
            break
    return total


def _data_after(source: int, position: int, end: int) -> "Optional[Tuple[int, int]]":
    """Where the next data begin, `end` at the latest, and where the next hole begins after that.
    None if nothing but a hole follows."""
    try:
        data = min(os.lseek(source, position, os.SEEK_DATA), end)
        hole = os.lseek(source, data, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    return data, hole
