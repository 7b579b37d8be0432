"""The one table of what follows a driver's failure, which provision, delete and owners read. Its
copy for authors of drivers is in docs/your-own-driver.md.

The outcomes are those of the reference library, sig-storage-lib-external-provisioner, for the
reasons of the drivers' contract (shared/protocol.py)."""

from __future__ import annotations

from dataclasses import dataclass

from shared import protocol

_DOUBLINGS = 30  # 2.0**30 s are 34 years: more than any pause


@dataclass(frozen=True)
class Pause:
    """The pause before the next attempt: the first one, and the last, up to which each failure in
    a row doubles the pause."""

    first_seconds: float
    last_seconds: float

    @property
    def grows(self) -> bool:
        """Whether the pause is longer after each failure in a row."""
        return self.first_seconds < self.last_seconds

    def seconds(self, failures: int) -> float:
        """The pause after so many failures in a row before this one."""
        doubled = self.first_seconds * 2.0 ** min(failures, _DOUBLINGS)
        return min(self.last_seconds, doubled)


# The defaults of --retry-interval-start and --retry-interval-max of kubernetes-csi's
# external-provisioner.
GROWING = Pause(1.0, 300.0)
# For a failure that only a change of claim, class or PV can end.
SLOW = Pause(300.0, 300.0)
# For an operation that goes on by itself.
SOON = Pause(1.0, 1.0)


@dataclass(frozen=True)
class Retry:
    """One row of the table.

    pause: before the next attempt.
    warns: whether the failure is written as an event, logged and counted.
    elsewhere: whether another node may succeed, so that the node of a claim is chosen again.
    may_exist: whether the volume may exist in spite of the failure, whole or half."""

    pause: Pause
    warns: bool = True
    elsewhere: bool = False
    may_exist: bool = False


AFTER: dict[type[protocol.Failure], Retry] = {
    protocol.InvalidArgument: Retry(SLOW),
    protocol.NotSupported: Retry(SLOW),
    protocol.ResourceExhausted: Retry(GROWING, elsewhere=True),
    protocol.Unavailable: Retry(GROWING, elsewhere=True),
    protocol.NotFound: Retry(GROWING),
    protocol.Busy: Retry(GROWING, may_exist=True),  # an earlier call may still be at work
    protocol.Pending: Retry(SOON, warns=False, may_exist=True),
    protocol.Internal: Retry(GROWING, may_exist=True),
}


def after(failure: protocol.Failure) -> Retry:
    """The row for the failure's reason."""
    return AFTER[protocol.FAILURES[failure.reason]]
