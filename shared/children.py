"""Work of ours in child processes, so that a system call that hangs in the kernel (D state) hangs a
child and not the callout, and so that work may outlive the callout."""

import os
import select
import sys
import time

from shared import process_table
from shared.deadlines import REAP_SECONDS, Deadline, TimedOut, read_output, reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Iterator, List, Optional, Sequence

_CHUNK_BYTES = 1 << 16


def bounded(work: "Callable[[], bytes]", seconds: float) -> "Optional[bytes]":
    """Does the work in a child and returns what `work` returns. After `seconds` the child and all
    that it started are killed, not waited for, and None is returned.

    Also None if the child ended without an answer. The child stays in our process group, to be
    killed with us."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            _write(writer, work())
            os.close(writer)  # closing the others may hang
        finally:
            os._exit(0)
    os.close(writer)
    try:
        return read_output(reader, Deadline(seconds), sys.maxsize, "the callout") or None
    except TimedOut:
        process_table.kill_tree(pid)
        return None
    finally:
        os.close(reader)
        reap(pid, Deadline(REAP_SECONDS))


def detached(
    work: "Callable[[], bytes]", keep: "Sequence[int]", seconds: float
) -> "Optional[bytes]":
    """Does the work in a process that is none of our descendants, and in no group or session of
    ours, so that the process outlives us whatever ends us.

    keep: the descriptors that the process has of ours; it has no others, since whoever reads what
    we print waits for the end of all who could write there. Returns what `work` returns; None if
    the work goes on after `seconds`; empty if the process ended without an answer."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _keep_only(*keep, writer)
                _tell(writer, work())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    try:
        return read_output(reader, Deadline(seconds), sys.maxsize, "the work")
    except TimedOut:
        return None
    finally:
        os.close(reader)


def _tell(writer: int, answer: bytes) -> None:
    try:
        _write(writer, answer)
    except BrokenPipeError:
        return  # nobody waits any more


def _write(writer: int, answer: bytes) -> None:
    while answer:
        written = os.write(writer, answer)
        answer = answer[written:]


class Answer:
    """What came of one work of `side_by_side`. output: what the work yielded. complete: whether the
    work ended by itself, and without an exception. in_time: whether its child ended before the
    deadline; a child that is not complete then has failed, or somebody else has killed it."""

    def __init__(self, output: bytes, complete: bool, in_time: bool) -> None:
        self.output = output
        self.complete = complete
        self.in_time = in_time


class _Child:
    """A process that does one work, and the output that has come from the process until now.
    reader: from which the output is read; -1 when the process has closed its output."""

    def __init__(self, pid: int, reader: int, deadline: float) -> None:
        self.pid = pid
        self.reader = reader
        self.deadline = deadline
        self.output = b""


def side_by_side(
    works: "Sequence[Callable[[], Iterator[bytes]]]", quiet_seconds: float, seconds: float
) -> "List[Answer]":
    """Does each work in a child of its own, all at the same time, so that a work that hangs keeps
    no other. What a work yields is its output.

    A child is killed when nothing has come from it for `quiet_seconds`, and when `seconds` are
    over. A child that the kernel does not let die is not waited for. A child has none of our
    descriptors, so that it holds no lock, and nobody waits for the end of its output."""
    end = time.monotonic() + seconds
    children = [_start(work, quiet_seconds, end) for work in works]
    _Gathering(children, quiet_seconds, end).run()
    for child in children:
        if child.reader >= 0:
            os.close(child.reader)
            process_table.kill_tree(child.pid)
    reaped_by = Deadline(REAP_SECONDS)
    answers = []
    for child in children:
        status = reap(child.pid, reaped_by)
        in_time = child.reader < 0
        answers.append(Answer(child.output, in_time and status == 0, in_time))
    return answers


class _Gathering:
    """Reads what the children give until each has closed its output, which sets its reader to -1,
    or has let its deadline pass."""

    def __init__(self, children: "List[_Child]", quiet_seconds: float, end: float) -> None:
        self._quiet_seconds = quiet_seconds
        self._end = end
        self._open: "Dict[int, _Child]" = {child.reader: child for child in children}
        self._poll = select.poll()
        for reader in self._open:
            self._poll.register(reader, select.POLLIN)

    def run(self) -> None:
        while self._open:
            now = time.monotonic()
            for child in list(self._open.values()):
                if child.deadline <= now:
                    self._leave(child.reader)
            if not self._open:
                return
            first = min(child.deadline for child in self._open.values())
            for reader, _ in self._poll.poll((first - now) * 1000):
                self._read(self._open[reader])

    def _read(self, child: _Child) -> None:
        chunk = os.read(child.reader, _CHUNK_BYTES)
        child.output += chunk
        child.deadline = min(self._end, time.monotonic() + self._quiet_seconds)
        if not chunk:
            self._leave(child.reader)
            os.close(child.reader)
            child.reader = -1

    def _leave(self, reader: int) -> None:
        self._poll.unregister(reader)
        del self._open[reader]


def _start(work: "Callable[[], Iterator[bytes]]", quiet_seconds: float, end: float) -> _Child:
    """Starts the child that does the work."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid != 0:
        os.close(writer)
        return _Child(pid, reader, min(end, time.monotonic() + quiet_seconds))
    status = 1
    try:
        _keep_only(writer)
        for piece in work():
            _write(writer, piece)
        status = 0
    finally:
        os._exit(status)


def _keep_only(*descriptors: int) -> None:
    """Closes all other descriptors; those of the standard streams lead nowhere then."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number not in descriptors:
            try:
                os.close(number)
            except OSError:  # the descriptor with which the directory was read
                continue
