"""The moments at which a call is killed: when the driver has begun a program for the first or the
last time, when the last one has ended, and at parts of the time that a whole call takes.

A busy machine moves the parts of the time to other lines of the driver, and not the programs."""

from node.sanity.check import NotJudged
from node.sanity.runner import Surroundings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List

    from node.sanity.runner import Call, Running

_PARTS = (0.2, 0.5, 0.8)
# A script runs a dozen different programs in a call; of one that runs more the first ones count.
_PROGRAMS = 12
_BEGAN = " began"


class Kill:
    """One moment. name: of the moment, as of Call.moments; "" for one that is told by the time.
    number: 1 for the first moment of that name. seconds: after the beginning of the call. has_hit:
    whether a call was killed, and had not ended before."""

    def __init__(self, name: str, number: int, seconds: float) -> None:
        self.name = name
        self.number = number
        self.seconds = seconds
        self.has_hit = False

    def end(self, running: "Running") -> None:
        """Kills the call at this moment, unless the call ends before."""
        if self.name:
            running.kill_at(self.name, self.number)
        else:
            running.kill_after(self.seconds)
        self.has_hit = running.was_killed

    def told(self) -> str:
        """The moment as words for a person."""
        if self.number > 1:
            return "was killed when {} for the {}. time".format(self.name, self.number)
        if self.name:
            return "was killed when {}".format(self.name)
        return "was killed after {:.2f} s".format(self.seconds)


def traced() -> Surroundings:
    """What a call needs around itself to be killed at a moment, and to have its moments seen."""
    around = Surroundings()
    around.is_traced = True
    return around


def of(whole: "Call") -> "Iterator[Kill]":
    """The moments at which calls like this one, which was traced, and has ended, are killed. Raises
    NotJudged at the end if each of them had ended before: then a kill was not tried."""
    kills = moments_of(whole)
    yield from kills
    if not any(kill.has_hit for kill in kills):
        raise NotJudged("{}: each call ended before it was killed".format(whole.callout))


def moments_of(whole: "Call") -> "List[Kill]":
    """The moments of a call that was traced, and has ended: of each program the first and the last
    beginning, the last end, and parts of the time."""
    began = [name for name in whole.moments if name.endswith(_BEGAN)]
    kills = []
    for name in list(dict.fromkeys(began))[:_PROGRAMS]:
        for number in sorted({1, began.count(name)}):
            kills.append(Kill(name, number, 0))
    for name in whole.moments[-1:]:
        if not name.endswith(_BEGAN):
            kills.append(Kill(name, whole.moments.count(name), 0))
    return kills + [Kill("", 0, part * whole.seconds) for part in _PARTS]
