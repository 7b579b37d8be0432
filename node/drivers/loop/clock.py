"""A pool's own clock: for how long what is kept for a time has been there.

The wall clock may be set, and be wrong by years until a node has reached a time server. So a pool
counts for itself the time that was seen to pass: by the kernel's clock since boot, between two
looks within one boot of a node. The time in which no node was up is not counted, nor that between
a node's start and its first look. So what is kept is kept for too long, and never too short.

The clock is a file beside the pool's locks. It also holds since when each hidden directory is as it
is. A clock that is lost or damaged begins anew, and so does the time of all it knew."""

import os
import time

from node.host import files
from shared.protocol import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

    from node.drivers.loop.pools import Pool

FILE = "clock"
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
    """What the file holds. seconds: the pool's time. boots: for each boot of a node the seconds
    since that boot, and the pool's time, when it last looked. since: for each hidden directory what
    it was recognised by, and the pool's time when it was first seen so."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.boots: "Dict[str, List[float]]" = {}
        self.since: "Dict[str, List[Any]]" = {}

    def see(self, boot: str, uptime: float) -> None:
        """Lets the time pass that a node has seen pass since its last look. Where two nodes share a
        pool both have seen the same time, so the pool's time becomes the later one of both, and not
        their sum.

        A clock that shows less than at the last look is another container's, or that of a machine
        set back to a saved state: what it saw last stays, and nothing passes."""
        last_uptime, last_seconds = self.boots.get(boot, [uptime, self.seconds])
        if uptime < last_uptime:
            return
        self.seconds = max(self.seconds, last_seconds + uptime - last_uptime)
        self.boots[boot] = [uptime, self.seconds]

    def recognise(self, marks: "Dict[str, str]") -> None:
        """Notes which hidden directories are there: a new one, or one whose mark has changed,
        from now on."""
        self.since = {
            name: self.since[name]
            if name in self.since and self.since[name][0] == mark
            else [mark, self.seconds]
            for name, mark in marks.items()
        }

    def ages(self) -> "Dict[str, float]":
        """For how many seconds each hidden directory has been as it is."""
        return {name: self.seconds - since for name, (_, since) in self.since.items()}

    def forget_old_boots(self) -> None:
        oldest = self.seconds - _FORGET_SECONDS
        self.boots = {boot: seen for boot, seen in self.boots.items() if seen[1] >= oldest}


def ages(pool: "Pool", marks: "Dict[str, str]", write: bool = True) -> "Dict[str, float]":
    """For how many seconds each of the hidden directories `marks` has been in the pool as it is.

    marks: a text for each, which changes when there is something new in it. write: whether what was
    seen is noted, as it must be for time to pass; it is then noted now and then, since `list`
    looks very often.
    """
    if not marks:
        return {}
    clock = _read(pool)
    noted_seconds, noted_marks = clock.seconds, _marks(clock)
    boot, uptime = _now()
    is_known = boot in clock.boots
    clock.see(boot, uptime)
    clock.recognise(marks)
    is_due = clock.seconds - noted_seconds >= _WRITE_SECONDS or not is_known
    if write and (is_due or set(marks) != set(noted_marks)):
        _note(pool, marks)
    return clock.ages()


def _marks(clock: Clock) -> "Dict[str, str]":
    return {name: mark for name, (mark, _) in clock.since.items()}


def _now() -> "Tuple[str, float]":
    """Which boot of which node this is, and how many seconds ago it was."""
    with open(_BOOT_ID) as file:
        boot = file.read().strip()
    return boot, time.clock_gettime(_CLOCK_BOOTTIME)


def _note(pool: "Pool", marks: "Dict[str, str]") -> None:
    """Reads the clock again under the pool's lock, and writes what it shows now."""
    import json

    try:
        with pool.lock(seconds=0):
            clock = _read(pool)
            clock.see(*_now())
            clock.recognise(marks)
            clock.forget_old_boots()
            content = {"seconds": clock.seconds, "boots": clock.boots, "since": clock.since}
            directory = pool.locks.open_directory(make=True)
            try:
                files.write(directory, FILE, json.dumps(content).encode("ascii"))
            finally:
                os.close(directory)
    except (Failure, OSError):
        return  # another is at it, or the disk is full: the next look notes what passes until then


def _read(pool: "Pool") -> Clock:
    """The clock as it was last noted; a new one if it is missing or damaged."""
    import json

    clock = Clock()
    try:
        directory = pool.locks.open_directory(make=False)
        try:
            content = json.loads(files.read(directory, FILE).decode("ascii"))
        finally:
            os.close(directory)
        seconds, boots, since = content["seconds"], content["boots"], content["since"]
        right = _is_time(seconds) and _are_boots(boots, seconds) and _are_marks(since, seconds)
    except (Failure, OSError, ValueError, LookupError, TypeError, RecursionError):
        return clock
    if right:
        clock.seconds = float(seconds)
        clock.boots = boots
        clock.since = since
    return clock


def _is_time(value: "Any") -> bool:
    return type(value) in (int, float) and 0 <= value < _LARGEST_SECONDS


def _are_boots(boots: "Any", seconds: float) -> bool:
    """A boot's last look was not later than the pool's time."""
    return isinstance(boots, dict) and all(
        isinstance(seen, list)
        and len(seen) == 2
        and all(map(_is_time, seen))
        and seen[1] <= seconds
        for seen in boots.values()
    )


def _are_marks(since: "Any", seconds: float) -> bool:
    return isinstance(since, dict) and all(
        isinstance(seen, list)
        and len(seen) == 2
        and isinstance(seen[0], str)
        and _is_time(seen[1])
        and seen[1] <= seconds
        for seen in since.values()
    )
