"""The end of a child, awaited until a deadline: its output is read, and its status reaped."""

import os
import select
import time

from shared import process_table
from shared.protocol import Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

# How often a program is looked at for progress.
_LOOK_SECONDS = 5
# To be reaped takes a killed child milliseconds; a child that the kernel does not let die is not
# waited for.
REAP_SECONDS = 2
_FIRST_PAUSE_SECONDS = 0.0005
_LONGEST_PAUSE_SECONDS = 0.05
_CHUNK_BYTES = 1 << 16


class TimedOut(Internal):
    """The program was killed because its time was over.

    group: the number of its process group, in which the kernel may keep a process alive (see
    process_table.survivors); 0 if there was no such group."""

    def __init__(self, message: str, group: int = 0) -> None:
        super().__init__(message)
        self.group = group


class Deadline:
    """The time that a program may take."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """How many seconds are left; 0 or less if the time is over."""
        return self._end - time.monotonic()


class WhileAtWork(Deadline):
    """The time for which a program may make no progress: use no processor, read and write
    nothing."""

    def __init__(self, seconds: float, pid: int) -> None:
        super().__init__(seconds)
        self._pid = pid
        self._seen: "List[str]" = []

    def left(self) -> float:
        now = process_table.progress(self._pid)
        if now != self._seen:
            self._seen = now
            self._end = time.monotonic() + self.seconds
        return super().left()


def read_output(reader: int, deadline: Deadline, limit_bytes: int, name: str) -> bytes:
    """All that comes through the pipe `reader` until its other end is closed.

    name: of the program, for a message. Raises TimedOut at the deadline, Internal if more than
    `limit_bytes` come."""
    chunks: "List[bytes]" = []
    size = 0
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while True:
        left = deadline.left()
        if left <= 0:
            raise TimedOut(
                "{} did not end, or did not close its output, within {:g} s".format(
                    name, deadline.seconds
                )
            )
        if not poll.poll(min(left, _LOOK_SECONDS) * 1000):
            continue
        chunk = os.read(reader, _CHUNK_BYTES)
        if not chunk:
            return b"".join(chunks)
        size += len(chunk)
        if size > limit_bytes:
            raise Internal(
                "{} printed more than {} bytes and was stopped; run it by hand to see why".format(
                    name, limit_bytes
                )
            )
        chunks.append(chunk)


def reap(pid: int, deadline: Deadline) -> "Optional[int]":
    """How the child ended: its exit status, or minus the number of the signal that ended it. None
    if the child is there still at the deadline."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done and os.WIFSIGNALED(status):
            return -os.WTERMSIG(status)
        if done:
            return os.WEXITSTATUS(status)
        if deadline.left() <= 0:
            return None
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
