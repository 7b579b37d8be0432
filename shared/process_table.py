"""The processes of this machine, read from /proc: which of ours are left, and how to end them."""

import _signal as signal  # what the module signal wraps; that one imports enum, 2 ms
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Set

# The places of some fields of /proc/PID/stat, counted from the state on (proc_pid_stat(5)).
_STATE = 0
_PARENT = 1
_GROUP = 2
_PROCESSOR_TIMES = slice(11, 13)
_BEGAN = 19
_ENDED = "Z"
# The children of ours for whose end somebody waits.
awaited: "Set[int]" = set()


class Survivor:
    """A process that was killed and has not died: the process waits in the kernel, for a dead disk
    for example."""

    def __init__(self, pid: int, began: str) -> None:
        self.pid = pid
        self._began = began

    def lives(self) -> bool:
        """Whether the process is there still. Another process of the same number began at another
        time."""
        fields = _stat(self.pid)
        if not fields or fields[_STATE] == _ENDED:
            return False
        return fields[_BEGAN] == self._began


def survivors(group: int) -> "List[Survivor]":
    """The processes of a killed process group that are alive."""
    alive = []
    for pid in _processes():
        fields = _stat(pid)
        if fields and fields[_GROUP] == str(group) and fields[_STATE] != _ENDED:
            alive.append(Survivor(pid, fields[_BEGAN]))
    return alive


def reap_strays(ended_before: "Set[int]") -> "Set[int]":
    """Reaps the children that have ended and that nobody waits for. The first process of a
    container gets as its children all whose own parent has ended.

    ended_before: what the last call returned. A child is reaped when two calls have found it ended,
    because whoever has only just started it may not wait for it yet. Returns the children that have
    ended and were not reaped."""
    ours = str(os.getpid())
    ended = set()
    for pid in _processes():
        fields = _stat(pid)
        if fields and fields[_STATE] == _ENDED and fields[_PARENT] == ours:
            ended.add(pid)
    strays = (ended & ended_before) - awaited
    for pid in strays:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # whoever had started it waited for it now
            continue
    return ended - strays


def progress(pid: int) -> "List[str]":
    """What grows while the process, or a process that it started, works: the time on a processor
    and the bytes read and written."""
    figures = []
    for process in [pid, *_descendants(pid)]:
        try:
            with open("/proc/{}/stat".format(process)) as stat:
                figures += _fields(stat.read())[_PROCESSOR_TIMES]
            with open("/proc/{}/io".format(process)) as counters:
                figures.append(counters.read())
        except OSError:  # the process ended, or this container may not read that
            continue
    return figures


def kill_tree(pid: int) -> None:
    """Kills the process and all that it has started."""
    os.kill(pid, signal.SIGSTOP)  # so that it starts nothing more
    for descendant in [*_descendants(pid), pid]:
        try:
            os.kill(descendant, signal.SIGKILL)
        except ProcessLookupError:
            continue


def kill_group(pid: int) -> None:
    """Kills the process group that `pid` leads, unless the group is gone."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _descendants(pid: int) -> "List[int]":
    """The processes that `pid` started, and those that they did."""
    children: "Dict[int, List[int]]" = {}
    for process in _processes():
        fields = _stat(process)
        if fields:
            children.setdefault(int(fields[_PARENT]), []).append(process)
    descendants = list(children.get(pid, []))
    for child in descendants:  # which grows
        descendants.extend(children.get(child, []))
    return descendants


def _processes() -> "List[int]":
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> "List[str]":
    """The fields of /proc/PID/stat from the state on; empty if there is no such process."""
    try:
        with open("/proc/{}/stat".format(pid)) as stat:
            return _fields(stat.read())
    except OSError:
        return []


def _fields(stat: str) -> "List[str]":
    """The fields behind the name of the program, which may hold blanks and brackets."""
    return stat.rpartition(")")[2].split()
