"""What a driver has written in its root: files, and lines of the system log."""

import contextlib
import os
import socket
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List, Sequence

    from node.sanity.sandbox import Inside

_LOG_SOCKET = "/dev/log"
_LONGEST_LINE = 1 << 16
# A file that is larger holds a volume's data.
_READ_BYTES = 4 << 20


class File:
    """A file that was written. path: in the root. is_exposed: whether others than root may read the
    file. content: its beginning."""

    def __init__(self, path: str, is_exposed: bool, content: bytes) -> None:
        self.path = path
        self.is_exposed = is_exposed
        self.content = content


def paths(inside: "Inside", directories: bool = False) -> "List[str]":
    """The paths of all files that are written in the root and are there still. Nodes of devices are
    left out: the root gets one for a loop device that another program frees.

    directories: also those of directories"""
    found = []
    for top, names, directory in _walk(inside):
        if directories:
            found.append(top)
        found += [os.path.join(top, name) for name in names if not _is_device(name, directory)]
    return found


def files_with(inside: "Inside", words: "Sequence[bytes]") -> "Iterator[File]":
    """The files that hold one of the words. A file that goes away meanwhile is left out."""
    for top, names, directory in _walk(inside):
        for name in names:
            try:
                content = _read(name, directory)
                mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            except OSError:
                continue
            if any(word in content for word in words):
                path = os.path.join(top, name)
                yield File(path, bool(mode & 0o044) and _can_be_entered(top), content)


def _is_device(name: str, directory: int) -> bool:
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except OSError:  # the file is gone by now
        return False
    return stat.S_ISBLK(mode) or stat.S_ISCHR(mode)


def _read(name: str, directory: int) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    # Before it is opened, which a device in /dev notices.
    if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return b""
    with open(os.open(name, flags, dir_fd=directory), "rb") as file:
        return file.read(_READ_BYTES)


def _can_be_entered(path: str) -> bool:
    """Whether others than root may enter the directory."""
    while path != "/":
        try:
            if not os.stat(path).st_mode & 0o011:
                return False
        except OSError:  # something is mounted over it
            return True
        path = os.path.dirname(path)
    return True


def _walk(inside: "Inside") -> "Iterator[tuple[str, List[str], int]]":
    """Each directory in which something is written: its path in the root, the names of its files,
    and the open directory."""
    for place, path in inside.places:
        for top, _, names, directory in os.fwalk(".", dir_fd=place):
            yield os.path.normpath(os.path.join(path, top)), names, directory


class SystemLog:
    """The system log of the root, which keeps all that is written to it. lines: what was written,
    as far as it was read."""

    def __init__(self) -> None:
        self.lines: "List[bytes]" = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(_LOG_SOCKET)
        self._socket.setblocking(False)

    def read(self) -> None:
        """Reads what was written. The kernel keeps ten lines; whoever writes one more waits until
        they are read."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.lines.append(self._socket.recv(_LONGEST_LINE))
