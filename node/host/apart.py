"""Each pool is looked at by a process of its own, so that a pool whose disk or server hangs keeps
neither the other pools nor the answer.

A look that hangs is killed. The kernel may not let it die before the disk answers; until then the
pool is not looked at again, so that such processes do not become more and more."""

import binascii
import os

from shared import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

# Within this time a sound disk answers, also a busy disk.
QUIET_SECONDS = 15
# All looks of a callout end by then; `list` has 60 s.
ALL_SECONDS = 45
# SIGKILL, which is 9, in the masks of pending signals (proc_pid_status(5)).
_KILLED = 1 << 8
# The kernel keeps 15 characters of a process's name.
_MARK = "fv-look"


class Look:
    """What was seen of a pool. entries: what the work yielded. error: why that is not all, or "".
    ended_early: whether the process that looked was ended by somebody else, or failed."""

    def __init__(self, entries: "List[Any]", error: str, ended_early: bool = False) -> None:
        self.entries = entries
        self.error = error
        self.ended_early = ended_early


def look(
    names: "Sequence[str]",
    work: "Callable[[str], Iterator[Any]]",
    quiet_seconds: float = QUIET_SECONDS,
    seconds: float = ALL_SECONDS,
) -> "Dict[str, Look]":
    """Does the work on each of the pools, all at once.

    work: takes the pool's name, yields what JSON can say, and handles its failures. quiet_seconds:
    how long nothing may come from a work. seconds: how long all works may take. Returns a Look for
    each pool."""
    stuck = _stuck()
    looks: "Dict[str, Look]" = {}
    asked = []
    for name in names:
        process_number = stuck.get(_mark(name))
        if process_number is None:
            asked.append(name)
        else:
            looks[name] = Look([], unanswered(name, process_number))
    works = [_lines_of(name, work) for name in asked]
    answers = children.side_by_side(works, quiet_seconds, seconds)
    for name, answer in zip(asked, answers):
        entries = _parsed(answer.output)
        if answer.complete:
            looks[name] = Look(entries, "")
        elif answer.in_time:
            looks[name] = Look(entries, _ended_early(name), ended_early=True)
        else:
            looks[name] = Look(entries, unanswered(name))
    return {name: looks[name] for name in names}


def unanswered(name: str, process_number: "Optional[int]" = None) -> str:
    """The sentence about a pool that does not answer. process_number: of the look that waits for
    the pool since an earlier call."""
    sentence = "pool {} does not answer, so its disk or server hangs".format(name)
    if process_number is not None:
        sentence += " (process {}, which looked at it before, waits for it)".format(process_number)
    return sentence + "; see that disk or server, and dmesg"


def _ended_early(name: str) -> str:
    """The sentence about a pool whose look ended before it had seen all, and not for time."""
    return (
        "the process that looked at pool {} was ended before it had seen all; see dmesg, where "
        "the kernel says so if this node or this container is out of memory".format(name)
    )


def _lines_of(name: str, work: "Callable[[str], Iterator[Any]]") -> "Callable[[], Iterator[bytes]]":
    def lines() -> "Iterator[bytes]":
        import json

        with open("/proc/self/comm", "w") as file:
            file.write(_mark(name))
        for entry in work(name):
            yield json.dumps(entry).encode("ascii") + b"\n"

    return lines


def _parsed(output: bytes) -> "List[Any]":
    """The entries of the whole lines."""
    import json

    return [json.loads(line.decode("ascii")) for line in output.split(b"\n")[:-1]]


def _mark(name: str) -> str:
    """The name of a process that looks at the pool."""
    return "{}{:08x}".format(_MARK, binascii.crc32(name.encode()))


def _stuck() -> "Dict[str, int]":
    """The looks that were killed and have not died, by their marks, with their numbers."""
    stuck: "Dict[str, int]" = {}
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = _status(number)
        except OSError:  # the process ended meanwhile
            continue
        mark = fields.get("Name", "")
        if mark.startswith(_MARK) and _is_dying(fields):
            stuck[mark] = int(number)
    return stuck


def _status(number: str) -> "Dict[str, str]":
    """The fields of /proc/PID/status."""
    fields = {}
    with open("/proc/{}/status".format(number)) as file:
        for line in file:
            name, _, value = line.rstrip("\n").partition(":\t")
            fields[name] = value
    return fields


def _is_dying(fields: "Dict[str, str]") -> bool:
    """Whether the process was killed and has not ended."""
    if fields.get("State", "").startswith("Z"):
        return False
    pending = int(fields.get("SigPnd", "0"), 16) | int(fields.get("ShdPnd", "0"), 16)
    return bool(pending & _KILLED)
