"""Sees every program that a process and its children execute, and its end, by ptrace(2).

For commands that look at a foreign program; no callout imports this module. Numbers are those of
include/uapi/linux/ptrace.h."""

import _signal as signal
import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Set

WAIT_ALL = 0x40000000  # __WALL: also children that are threads

_TRACE_ME = 0
_CONTINUE = 7
_SET_OPTIONS = 0x4200
# Stops at fork, vfork, clone, exec and exit; and all are killed at our end.
_OPTIONS = 0x2 | 0x4 | 0x8 | 0x10 | 0x40 | 0x100000
_EVENT_EXEC = 4
_EVENT_EXIT = 6

_libc = ctypes.CDLL(None, use_errno=True)


def begin() -> None:
    """In a child, before it executes the program: has the parent trace this process. Raises
    OSError if the kernel does not allow that."""
    if _ptrace(_TRACE_ME, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "ptrace")
    os.kill(os.getpid(), signal.SIGSTOP)


class Tracer:
    """Lets traced processes go on whenever they stop.

    executed: called with the number of a process that has just executed a program, and that waits
    for our return. exiting: as executed, for a process that has nothing left to do but to end."""

    def __init__(self, executed: "Callable[[int], None]", exiting: "Callable[[int], None]") -> None:
        self._executed = executed
        self._exiting = exiting
        self._known: "Set[int]" = set()

    def go_on(self, pid: int, status: int) -> None:
        """For a process of which waitpid has returned the status of a stop."""
        number = os.WSTOPSIG(status)
        passed_on = number
        if status >> 16:
            passed_on = 0
            if status >> 16 == _EVENT_EXEC:
                self._executed(pid)
            elif status >> 16 == _EVENT_EXIT:
                self._exiting(pid)
        elif number == signal.SIGSTOP and pid not in self._known:
            passed_on = 0  # the stop with which each new process begins
            self._known.add(pid)
            _ptrace(_SET_OPTIONS, pid, _OPTIONS)
        _ptrace(_CONTINUE, pid, passed_on)  # fails for a process that was killed meanwhile


def _ptrace(request: int, pid: int, data: int) -> int:
    result: int = _libc.ptrace(
        ctypes.c_long(request), ctypes.c_long(pid), None, ctypes.c_long(data)
    )
    return result
