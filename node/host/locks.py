"""The wait for a lock on a file, and who holds that lock."""

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Optional

# The pauses between attempts: a lock that is held for a moment only is had at once, and a lock that
# is held for long is asked for twenty times a second.
_FIRST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.05


def attempts(seconds: float) -> "Iterator[int]":
    """Counts attempts, with growing pauses between them, until `seconds` are over. At least two
    attempts are made."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE_SECONDS
    number = 0
    while True:
        yield number
        if number and time.monotonic() >= deadline:
            return
        number += 1
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def holder(descriptor: int) -> "Optional[str]":
    """Who holds the lock on the open file, as a sentence. None if no process of this node does, or
    a process in a container does: /proc/locks does not show its locks."""
    file = _name_in_table(descriptor)
    with open("/proc/locks") as table:
        for line in table:
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == file:
                return _process(words[4])
    return None


def _name_in_table(descriptor: int) -> str:
    """The name of an open file in /proc/locks: MAJOR:MINOR:INODE. The device is the mount's, which
    on btrfs is another than stat's."""
    with open("/proc/self/fdinfo/{}".format(descriptor)) as info:
        (mount,) = [line.split()[1] for line in info if line.startswith("mnt_id:")]
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            words = line.split(" ", 3)
            if words[0] != mount:
                continue
            major, minor = map(int, words[2].split(":"))
            inode = os.fstat(descriptor).st_ino
            return "{:02x}:{:02x}:{}".format(major, minor, inode)
    return ""


def _process(pid: str) -> str:
    """The holder by the number of the process that took the lock. That process may have passed the
    lock on and ended."""
    try:
        with open("/proc/{}/comm".format(pid)) as file:
            return "process {} ({}) has it".format(pid, file.read().strip())
    except FileNotFoundError:
        return "a loop device, a mount or a child of process {} has it".format(pid)
