"""How many calls of one driver may run, or hang in the kernel after they were given up."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shared import protocol

_LIST = "list"
_PROVISION = "provision"


@dataclass(frozen=True)
class _Hanging:
    """A call that was given up, and of which a process hangs in the kernel.

    processes: the numbers of those that still exist."""

    callout: str
    processes: Callable[[], list[int]]

    def __str__(self) -> str:
        processes = ", ".join(map(str, self.processes()))
        return f"{self.callout} in process {processes}"

    @property
    def makes(self) -> bool:
        """Whether the call makes a volume."""
        return self.callout == _PROVISION


class DriverCalls:
    """All methods may be called by any thread.

    As many calls that make volumes may run as calls that make none, so that a kind that hangs does
    not stop the other. At most one more run together: long copies do not keep deletions waiting,
    nor long deletions claims. Lists do not count: only one of them runs at a time."""

    def __init__(self, driver: str, at_once: int) -> None:
        """at_once: how many calls of each kind may run."""
        self._driver = driver
        self._at_once = at_once
        self._lock = threading.Lock()
        self._list_lock = threading.Lock()
        self._running: Counter[bool] = Counter()  # by whether they make volumes
        self._hanging: list[_Hanging] = []

    @property
    def running(self) -> int:
        """How many calls run that are no lists."""
        return self._running.total()

    @contextlib.contextmanager
    def counted(self, callout: str) -> Iterator[None]:
        """While a call that is no list runs. Raises as `check`."""
        makes = callout == _PROVISION
        hanging = self._hanging_but_lists()
        with self._lock:
            self._check(makes, hanging)
            self._running[makes] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[makes] -= 1

    def check(self, callout: str) -> None:
        """Checks that such a call would begin now.

        :raises Pending: if too many run.
        :raises Unavailable: if too many hang."""
        hanging = self._hanging_but_lists()
        with self._lock:
            self._check(callout == _PROVISION, hanging)

    def _check(self, makes: bool, hanging: list[_Hanging]) -> None:
        """The caller holds the lock. hanging: the calls that hang, but for lists."""
        if len(hanging) >= self._at_once:
            raise protocol.Unavailable(
                f"{len(hanging)} callouts of the driver {self._driver} were killed and hang in the "
                f"kernel, the first of them {hanging[0]}; see the disks of the driver, and dmesg"
            )
        hanging_alike = sum(call.makes == makes for call in hanging)
        alike = hanging_alike + self._running[makes]
        everything = len(hanging) + self.running
        if alike >= self._at_once or everything > self._at_once:
            raise protocol.Pending(
                f"{everything} callouts of the driver {self._driver} run already"
            )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While a list runs, and no other list runs or hangs: such processes would else become more
        and more.

        :raises Unavailable: if another list does not end, or hangs."""
        if not self._list_lock.acquire(timeout=protocol.CALLOUTS[_LIST].seconds):
            raise protocol.Unavailable(f"another list of the driver {self._driver} runs already")
        try:
            for hanging in self._still_hanging():
                if hanging.callout == _LIST:
                    raise protocol.Unavailable(
                        f"the driver {self._driver} is not asked for its list: {hanging} was "
                        "killed and hangs in the kernel; see the disks of the driver, and dmesg"
                    )
            yield
        finally:
            self._list_lock.release()

    def gave_up(self, callout: str, processes: Callable[[], list[int]]) -> None:
        """A call was killed, and a process of it hangs.

        processes: the numbers of its processes that still exist."""
        with self._lock:
            self._hanging.append(_Hanging(callout, processes))

    def _hanging_but_lists(self) -> list[_Hanging]:
        return [hanging for hanging in self._still_hanging() if hanging.callout != _LIST]

    def _still_hanging(self) -> list[_Hanging]:
        """The calls that were given up, of which a process still exists."""
        with self._lock:
            self._hanging = [hanging for hanging in self._hanging if hanging.processes()]
            return list(self._hanging)
