"""Files that must not be anything else: opened without following links, locked with a time limit,
written whole."""

import errno
import fcntl
import os
import struct
import time

from node.host import abi
from shared import process
from shared.protocol import Busy, Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Optional

_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
# FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_NOCOW_FL; BTRFS_IOC_FS_INFO, which only btrfs answers;
# FICLONERANGE.
_GET_FLAGS = abi.ioctl(abi.READ, 0x66, 1, abi.LONG_BYTES)
_SET_FLAGS = abi.ioctl(abi.WRITE, 0x66, 2, abi.LONG_BYTES)
_NO_COPY_ON_WRITE = 0x00800000
_BTRFS_FS_INFO = abi.ioctl(abi.READ, 0x94, 31, 1024)
_CLONE_RANGE = abi.ioctl(abi.WRITE, 0x94, 13, 32)
# Of statx: flags, the bit of the time of birth, and where struct statx has it.
_AT_EMPTY_PATH, _AT_STATX_FORCE_SYNC = 0x1000, 0x2000
_STATX_BIRTH, _BIRTH_OFFSET = 0x800, 80
_CHUNK_BYTES = 8 << 20
_SOUND_DIRECT_IO = (6, 15)


def open_directory(path: str) -> int:
    """A descriptor of the directory at the absolute `path`, of which no component may be a link."""
    descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in path.split("/"):
        if name:
            try:
                inner = open_below(descriptor, name)
            finally:
                os.close(descriptor)
            descriptor = inner
    return descriptor


def first_link(path: str) -> str:
    """The first component of the absolute `path` that is a symbolic link, as a path; "" if none
    is. open_directory refuses such a path."""
    current = ""
    for name in path.split("/"):
        if name:
            current += "/" + name
            if os.path.islink(current):
                return current
    return ""


def make_directory(directory: int, name: str) -> None:
    """Makes the directory `name` in `directory`, for root alone, unless it is there."""
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
    except FileExistsError:
        return


def open_below(directory: int, name: str) -> int:
    """A descriptor of the directory `name` in `directory`. Raises NotADirectoryError if it is a
    link."""
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK, dir_fd=directory)


def open_file(directory: int, name: str, flags: int, mode: int = 0o600) -> int:
    """A descriptor of the regular file `name` in `directory`; Internal if it is a link or anything
    else."""
    try:
        descriptor = os.open(name, flags | _NO_LINK | os.O_NONBLOCK, mode, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Internal("{} is a symbolic link; refused".format(name)) from None
        raise
    if not _is_regular(descriptor):
        os.close(descriptor)
        raise Internal("{} is not a regular file; refused".format(name))
    return descriptor


def _is_regular(descriptor: int) -> bool:
    return os.fstat(descriptor).st_mode & 0o170000 == 0o100000


def identity(descriptor: int) -> str:
    """What tells an open file from every other that had, or will have, its name or its inode
    number: that number and, where the C library and the file system have it, the time of its birth,
    which nobody can set."""
    import ctypes

    number = os.fstat(descriptor).st_ino
    statx = getattr(ctypes.CDLL(None), "statx", None)  # glibc 2.28
    buffer = ctypes.create_string_buffer(256)
    flags = _AT_EMPTY_PATH | _AT_STATX_FORCE_SYNC
    if statx is None or statx(descriptor, b"", flags, _STATX_BIRTH, buffer) != 0:
        return str(number)
    (mask,) = struct.unpack_from("=I", buffer, 0)
    if not mask & _STATX_BIRTH:
        return str(number)
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, _BIRTH_OFFSET)
    return "{} {}.{:09}".format(number, seconds, nanoseconds)


def overwrite_in_place(descriptor: int, in_place: bool = True) -> None:
    """Sees to it that what is written over a block of the file goes to that block. btrfs takes a
    new one, also of an allocated file, unless the file is told otherwise while it is empty; such a
    file has no checksums. Other file systems need no telling."""
    flags = _btrfs_flags(descriptor)
    if flags is None:
        return
    wanted = flags | _NO_COPY_ON_WRITE if in_place else flags & ~_NO_COPY_ON_WRITE
    fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("=Q", wanted))


def is_overwritten_in_place(descriptor: int) -> bool:
    flags = _btrfs_flags(descriptor)
    return flags is None or bool(flags & _NO_COPY_ON_WRITE)


def _btrfs_flags(descriptor: int) -> "Optional[int]":
    """The inode flags of a file on btrfs; None on every other file system."""
    if not _is_on_btrfs(descriptor):
        return None
    flags = bytearray(8)
    fcntl.ioctl(descriptor, _GET_FLAGS, flags)
    return int(struct.unpack("=Q", flags)[0])


def _is_on_btrfs(descriptor: int) -> bool:
    try:
        fcntl.ioctl(descriptor, _BTRFS_FS_INFO, bytes(1024))
        return True
    except OSError:
        return False


def may_have_direct_io(descriptor: int) -> bool:
    """Whether direct I/O leaves the open file whole. Before kernel 6.15 btrfs takes the checksum of
    a block, and writes what the block holds a moment later, when a pod may have changed it; the
    block then cannot be read any more. A file that is overwritten in place has no checksums."""
    return abi.kernel() >= _SOUND_DIRECT_IO or is_overwritten_in_place(descriptor)


def write_back(root: "Optional[int]", seconds: float) -> None:
    """Has the kernel write what the file system of the open file `root` holds back, or all file
    systems if that is None, and waits for so long at most. The kernel begins with all of them at
    once, so a dead server keeps only whoever waits; and that process has no lock of ours."""
    keep = () if root is None else (root,)
    process.detached(lambda: _sync(root), keep, seconds)


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
    """Lets the file `target` begin with so many bytes of `source`, as they are at one moment, on
    the same blocks. False where the file system cannot do that, with these two files."""
    try:
        fcntl.ioctl(target, _CLONE_RANGE, struct.pack("=qQQQ", source, 0, size_bytes, 0))
        return True
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV):
            return False
        raise


def copy(source: int, target: int, begin: int, end: int, deadline: float) -> int:
    """Copies what is no hole between two positions of the file `source` to the same place in
    `target`, on disk when it
    returns. Returns where it stopped: at `end`, or, after some way, when the monotonic clock was at
    `deadline`."""
    while begin < end:
        try:
            begin = min(os.lseek(source, begin, os.SEEK_DATA), end)
            hole = os.lseek(source, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return end  # there is nothing more but a hole
        chunk = os.pread(source, min(hole, end, begin + _CHUNK_BYTES) - begin, begin)
        while chunk:
            written = os.pwrite(target, chunk, begin)
            begin, chunk = begin + written, chunk[written:]
        # Little by little, so that no great rest is left for when the time is over.
        os.fdatasync(target)
        if time.monotonic() >= deadline:
            break
    return begin


def read(directory: int, name: str, limit_bytes: int = 1 << 20) -> bytes:
    """The whole content of a small file."""
    descriptor = open_file(directory, name, os.O_RDONLY)
    try:
        return os.read(descriptor, limit_bytes)
    finally:
        os.close(descriptor)


def exists(directory: int, name: str) -> bool:
    """Asks for the name itself: btrfs leaves out of an open directory's list what came after it was
    first read."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
        return True
    except FileNotFoundError:
        return False


def write(directory: int, name: str, content: bytes) -> None:
    """Replaces the file `name` in one step that survives a power cut: write aside, fsync, rename,
    fsync."""
    aside = "." + name + ".new"
    if exists(directory, aside):  # left by a crash, or another name of a file that is not ours
        os.unlink(aside, dir_fd=directory)
    descriptor = open_file(directory, aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        left = content
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(aside, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def try_lock(descriptor: int, shared: bool = False) -> bool:
    """True if the lock on the open file was free and is ours now. shared: ours and that of others
    who share it."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def lock(descriptor: int, what: str, seconds: float, shared: bool = False) -> None:
    """Takes the lock on an open file, as try_lock has it. Raises Busy, naming who holds it, after
    `seconds`."""
    for _ in attempts(seconds):
        if try_lock(descriptor, shared):
            return
    holder = (
        lock_holder(descriptor) or "another container, or another node that shares the pool, has it"
    )
    raise Busy("{} is locked, {}; gave up after {:g} s".format(what, holder, seconds))


def lock_holder(descriptor: int) -> "Optional[str]":
    """Who holds the lock, as far as the kernel tells. None if no one on this node does, or someone
    in a container."""
    file = _in_table(descriptor)
    with open("/proc/locks") as table:
        for line in table:
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == file:
                return _process(words[4])
    return None


def _in_table(descriptor: int) -> str:
    """How /proc/locks names an open file. Its device is that of the mount, which on btrfs is
    another than stat's."""
    with open("/proc/self/fdinfo/{}".format(descriptor)) as info:
        (mount,) = [line.split()[1] for line in info if line.startswith("mnt_id:")]
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            words = line.split(" ", 3)
            if words[0] == mount:
                major, minor = map(int, words[2].split(":"))
                return "{:02x}:{:02x}:{}".format(major, minor, os.fstat(descriptor).st_ino)
    return ""


def _process(pid: str) -> str:
    """The holder by the number of the process that took the lock, which may have passed it on and
    ended."""
    try:
        with open("/proc/{}/comm".format(pid)) as file:
            return "process {} ({}) has it".format(pid, file.read().strip())
    except FileNotFoundError:
        return "a loop device, a mount or a child of process {} has it".format(pid)


def attempts(seconds: float) -> "Iterator[int]":
    """Counts attempts with growing pauses between them until `seconds` are over; at least two are
    made."""
    deadline = time.monotonic() + seconds
    pause, number = 0.001, 0
    while True:
        yield number
        if number and time.monotonic() >= deadline:
            return
        number += 1
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
