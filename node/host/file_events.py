"""Sees what happens to files in directories, also what is undone at once, by inotify(7).

For commands that look at a foreign program; no callout imports this module. Numbers are those of
include/uapi/linux/inotify.h."""

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Dict, List, Optional, Tuple, Type

_WORDS = (
    (0x002, "written"),
    (0x004, "given other attributes"),
    (0x040, "renamed"),
    (0x080, "made"),
    (0x100, "made"),
    (0x200, "removed"),
    (0x400, "removed"),
    (0x800, "renamed"),
)
_HEAD = struct.Struct("iIII")
_LONGEST_READ = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Watches a directory and all below it, as they are at the beginning. A context manager.

    Raises OSError."""

    def __init__(self, directory: str) -> None:
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = _checked(_libc.inotify_init1(ctypes.c_int(flags)), directory)
        self._paths: "Dict[int, str]" = {}
        for top, _, _ in os.walk(directory):
            self._add(top)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self,
        kind: "Optional[Type[BaseException]]",
        error: "Optional[BaseException]",
        traceback: "Optional[TracebackType]",
    ) -> None:
        os.close(self._descriptor)

    def _add(self, path: str) -> None:
        mask = 0
        for bit, _ in _WORDS:
            mask |= bit
        number = _libc.inotify_add_watch(
            ctypes.c_int(self._descriptor), os.fsencode(path), ctypes.c_uint32(mask)
        )
        self._paths[_checked(number, path)] = path

    def events(self) -> "List[Tuple[str, str]]":
        """What happened since the last call: the path, and a word for what was done to it."""
        found: "List[Tuple[str, str]]" = []
        while True:
            try:
                data = os.read(self._descriptor, _LONGEST_READ)
            except BlockingIOError:
                return found
            while data:
                number, mask, _, length = _HEAD.unpack_from(data)
                name = os.fsdecode(data[_HEAD.size : _HEAD.size + length].rstrip(b"\0"))
                data = data[_HEAD.size + length :]
                if number in self._paths:
                    path = os.path.join(self._paths[number], name) if name else self._paths[number]
                    found += [(path, word) for bit, word in _WORDS if mask & bit]


def _checked(number: int, path: str) -> int:
    if number < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return number
