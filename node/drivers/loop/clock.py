"""A pool's own clock, which counts for how long a hidden directory has been in the pool.

The wall clock may be set, and be wrong by years until a node has reached a time server. So a pool
counts for itself the time that was seen to pass: by the kernel's clock since boot, between two
looks within one boot of a node. The time in which no node was up is not counted, nor that between
a node's start and its first look. So what is kept is kept for too long, and never too short.

The clock is a file beside the pool's locks. It also holds since when each hidden directory is as it
is. A clock that is lost or damaged begins anew, and so does the time of all directories it knew."""

import time

from node.host import files
from shared.protocol import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

    from node.drivers.loop.pools import Pool

FILE = "clock"
# What reading a file that anybody may have written can raise, as JSON and as a clock.
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
# The kernel's clock since boot, which runs on while the machine sleeps; Python 3.6 has no name for
# it. The file /proc/uptime is not that everywhere: lxcfs shows a container's age in it.
_CLOCK_BOOTTIME = 7
# How much time a look may lose that does not write what it saw. `list` looks every few seconds.
_WRITE_SECONDS = 60.0
# The boots of nodes that have not looked for so long are forgotten; a shared pool has many nodes.
_FORGET_SECONDS = 30 * 24 * 3600.0
_LARGEST_SECONDS = 1e11  # more than 3,000 years: no clock of ours shows that


class Clock:
    """The clock of a pool, as the file holds it.

    seconds: the pool's time.
    boots: for each boot of a node the seconds since that boot, and the pool's time, when it last
    looked.
    since: for each hidden directory the mark that it was recognised by, and the pool's time when it
    was first seen with that mark."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.boots: "Dict[str, List[float]]" = {}
        self.since: "Dict[str, List[Any]]" = {}

    def see(self, boot: str, uptime: float) -> None:
        """Lets the time pass that a node has seen pass since its last look. Where two nodes share a
        pool both have seen the same time, so the pool's time becomes the later one of both, and not
        their sum.

        A clock that shows less than at the last look is another container's, or that of a machine
        set back to a saved state: the last look of that clock stays, and no time passes."""
        last_uptime, last_seconds = self.boots.get(boot, [uptime, self.seconds])
        if uptime < last_uptime:
            return
        passed = uptime - last_uptime
        self.seconds = max(self.seconds, last_seconds + passed)
        self.boots[boot] = [uptime, self.seconds]

    def recognise(self, marks: "Dict[str, str]") -> None:
        """Notes which hidden directories are there. The time of a new directory, and of a directory
        whose mark has changed, begins now."""
        since: "Dict[str, List[Any]]" = {}
        for name, mark in marks.items():
            known = self.since.get(name)
            if known is None or known[0] != mark:
                known = [mark, self.seconds]
            since[name] = known
        self.since = since

    def ages(self) -> "Dict[str, float]":
        """For how many seconds each hidden directory has been as it is."""
        return {name: self.seconds - since for name, (_, since) in self.since.items()}

    def forget_old_boots(self) -> None:
        """Forgets the boots of nodes that have not looked for a month."""
        oldest = self.seconds - _FORGET_SECONDS
        self.boots = {boot: look for boot, look in self.boots.items() if look[1] >= oldest}


def ages(pool: "Pool", marks: "Dict[str, str]", write: bool = True) -> "Dict[str, float]":
    """For how many seconds each of the hidden directories `marks` has been in the pool as it is.

    marks: for each directory a text that changes when something new is in the directory.
    write: whether this look may be noted. A time passes only between two looks that are noted; a
    look is noted once a minute, since `list` looks very often."""
    if not marks:
        return {}
    clock = _read(pool)
    noted_seconds = clock.seconds
    noted_names = set(clock.since)
    boot, uptime = _now()
    is_first_look = boot not in clock.boots
    clock.see(boot, uptime)
    clock.recognise(marks)
    is_due = is_first_look or clock.seconds - noted_seconds >= _WRITE_SECONDS
    if write and (is_due or set(marks) != noted_names):
        _note(pool, marks)
    return clock.ages()


def _now() -> "Tuple[str, float]":
    """The id of this boot of this node, and the seconds since then."""
    with open(_BOOT_ID) as file:
        boot = file.read().strip()
    return boot, time.clock_gettime(_CLOCK_BOOTTIME)


def _note(pool: "Pool", marks: "Dict[str, str]") -> None:
    """Reads the clock again under the pool's lock, and writes the time of now."""
    try:
        with pool.lock(seconds=0):
            clock = _read(pool)
            boot, uptime = _now()
            clock.see(boot, uptime)
            clock.recognise(marks)
            clock.forget_old_boots()
            _write(pool, clock)
    except (Failure, OSError):
        return  # another is at it, or the disk is full: the next look notes what passes until then


def _write(pool: "Pool", clock: Clock) -> None:
    import json

    content = json.dumps({"seconds": clock.seconds, "boots": clock.boots, "since": clock.since})
    with pool.locks.open_directory(make=True) as directory:
        files.write(directory, FILE, content.encode("ascii"))


def _read(pool: "Pool") -> Clock:
    """The clock as it was last noted; a new clock if the file is missing or damaged."""
    import json

    try:
        with pool.locks.open_directory(make=False) as directory:
            content = json.loads(files.read(directory, FILE).decode("ascii"))
        return _clock_of(content)
    except (Failure, OSError, *_DAMAGED):
        return Clock()


def _clock_of(content: "Any") -> Clock:
    """The clock that the file's content holds. Raises one of _DAMAGED if the content is no
    clock's."""
    seconds = content["seconds"]
    if not _is_time(seconds):
        raise ValueError
    clock = Clock()
    clock.seconds = float(seconds)
    for boot, (uptime, last_seconds) in content["boots"].items():
        if not _is_time(uptime) or not _is_past(last_seconds, seconds):
            raise ValueError
        clock.boots[boot] = [uptime, last_seconds]
    for name, (mark, first_seconds) in content["since"].items():
        if not isinstance(mark, str) or not _is_past(first_seconds, seconds):
            raise ValueError
        clock.since[name] = [mark, first_seconds]
    return clock


def _is_time(value: "Any") -> bool:
    return type(value) in (int, float) and 0 <= value < _LARGEST_SECONDS


def _is_past(value: "Any", now: float) -> bool:
    return _is_time(value) and bool(value <= now)
