"""Files that must not be anything else: opened without following links, read and written whole."""

import errno
import os
import stat
import struct

from node.host.descriptors import Descriptor
from shared.protocol import Internal

_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
# Of statx(2): its flags, the bit that asks for the time of birth, and where struct statx has it.
_AT_EMPTY_PATH = 0x1000
_AT_STATX_FORCE_SYNC = 0x2000
_STATX_BIRTH = 0x800
_STATX_BYTES = 256
_BIRTH_OFFSET = 80


def open_path(path: str, flags: int) -> Descriptor:
    """Opens the file at `path`, which may lead through symbolic links."""
    return Descriptor(os.open(path, flags | os.O_CLOEXEC))


def open_directory(path: str) -> Descriptor:
    """Opens the directory at the absolute `path`. Raises NotADirectoryError if a component of the
    path is a symbolic link."""
    directory = open_path("/", _DIRECTORY)
    for name in path.split("/"):
        if name:
            with directory:
                inner = open_below(directory, name)
            directory = inner
    return directory


def open_below(directory: int, name: str) -> Descriptor:
    """Opens the directory `name` in the open directory. Raises NotADirectoryError if `name` is a
    symbolic link."""
    return Descriptor(os.open(name, _DIRECTORY | _NO_LINK, dir_fd=directory))


def open_file(directory: int, name: str, flags: int, mode: int = 0o600) -> Descriptor:
    """Opens the regular file `name` in the open directory. Raises Internal if `name` is a symbolic
    link or anything else."""
    try:
        number = os.open(name, flags | _NO_LINK | os.O_NONBLOCK, mode, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Internal("{} is a symbolic link; refused".format(name)) from None
        raise
    with Descriptor(number) as file:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Internal("{} is not a regular file; refused".format(name))
        return file.kept_open()


def first_link(path: str) -> str:
    """The first component of the absolute `path` that is a symbolic link, as a path; "" if no
    component is a link. open_directory refuses such a path."""
    current = ""
    for name in path.split("/"):
        if name:
            current += "/" + name
            if os.path.islink(current):
                return current
    return ""


def make_directory(directory: int, name: str) -> None:
    """Makes the directory `name` in the open directory, for root alone, unless `name` is there."""
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
    except FileExistsError:
        return


def identity(descriptor: int) -> str:
    """Tells an open file from every other file that had, or will have, its name or its inode
    number.

    Returns the inode number and, where the C library and the file system have it, the time of the
    file's birth, which nobody can set."""
    import ctypes

    number = os.fstat(descriptor).st_ino
    statx = getattr(ctypes.CDLL(None), "statx", None)  # glibc 2.28
    if statx is None:
        return str(number)
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    flags = _AT_EMPTY_PATH | _AT_STATX_FORCE_SYNC
    if statx(descriptor, b"", flags, _STATX_BIRTH, buffer) != 0:
        return str(number)
    (mask,) = struct.unpack_from("=I", buffer, 0)
    if not mask & _STATX_BIRTH:
        return str(number)
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, _BIRTH_OFFSET)
    return "{} {}.{:09}".format(number, seconds, nanoseconds)


def read(directory: int, name: str, limit_bytes: int = 1 << 20) -> bytes:
    """The whole content of a small file in the open directory."""
    with open_file(directory, name, os.O_RDONLY) as file:
        return os.read(file, limit_bytes)


def exists(directory: int, name: str) -> bool:
    """Whether the open directory has a file of that name. The kernel is asked for the name itself,
    because btrfs leaves out of an open directory's list what came after it was first read."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
        return True
    except FileNotFoundError:
        return False


def write(directory: int, name: str, content: bytes) -> None:
    """Replaces the file `name` in the open directory in one step that survives a power cut: write
    aside, fsync, rename, fsync."""
    aside = "." + name + ".new"
    if exists(directory, aside):  # left by a crash, or another name of a file that is not ours
        os.unlink(aside, dir_fd=directory)
    with open_file(directory, aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
        left = content
        while left:
            written = os.write(file, left)
            left = left[written:]
        os.fsync(file)
    os.rename(aside, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)
