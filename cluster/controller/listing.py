"""The last list of each driver. Each driver is asked for itself, so that a driver that fails or
hangs takes nothing away from the others, and nobody relies on an old list of that driver.

A list that fails once may be due to a node with too much to do: the list before stands. From the
second failure in a row on nothing is known of the driver but the names of its pools."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from cluster.controller.storage import Listed
from shared import protocol

# A driver that takes longer is not waited for: its list is taken when the driver has answered.
_PATIENCE_SECONDS = 10.0
# After so many failures in a row the list before does not stand any more.
_FAILURES = 2
_KEPT_OF_A_POOL = ("name", "id", "byName")
_log = logging.getLogger("listing")


class _Driver:
    """One driver and its lists.

    listed: the list that stands; None before the first one.
    failure: why the last list failed; None if it did not.
    failures: how many lists have failed in a row.
    since: when the last list that succeeded came, or when the driver was first asked.
    took_seconds: the last list, whether it succeeded or failed.
    is_asked: whether a list is being waited for.
    is_late: whether that list is not waited for any more."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.listed: Listed | None = None
        self.failure: protocol.Failure | None = None
        self.failures = 0
        self.since = time.monotonic()
        self.took_seconds = 0.0
        self.is_asked = False
        self.is_late = False

    def succeeded(self, listed: Listed) -> None:
        """The driver has listed."""
        if self.failure is not None:
            _log.info("driver %s lists its volumes again", self.name)
        self.listed = listed
        self.failure = None
        self.failures = 0
        self.since = time.monotonic()

    def failed(self, failure: protocol.Failure) -> None:
        """The driver has failed to list. The same failure is logged once."""
        if str(failure) != str(self.failure):
            _log.warning("driver %s does not list its volumes: %s", self.name, failure)
        self.failure = failure
        self.failures += 1
        if self.failures >= _FAILURES and self.listed is not None:
            self.listed = _unknown(self.listed, str(failure))


class Listing:
    """The lists of all drivers of an instance. All methods may be called by any thread."""

    def __init__(
        self,
        ask: Callable[[str], Listed],
        drivers: Iterable[str],
        came_late: Callable[[], None] = lambda: None,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        """ask: lists one driver, or raises a Failure.

        came_late: called when a driver has answered for which `refresh` did not wait.
        patience_seconds: how long `refresh` waits."""
        self._ask = ask
        self._came_late = came_late
        self._patience_seconds = patience_seconds
        self._names = list(drivers)
        self._changed = threading.Condition()
        self._drivers: dict[str, _Driver] = {}

    def refresh(self) -> protocol.Failure | None:
        """Asks all drivers at once, but for those that are being asked already. Returns the failure
        of one that does not list; None if all of them do."""
        with self._changed:
            for name in self._names:
                driver = self._drivers.setdefault(name, _Driver(name))
                if not driver.is_asked:
                    driver.is_asked = True
                    self._start_list(driver)
            self._changed.wait_for(self._has_all, self._patience_seconds)
            for driver in self._drivers.values():
                driver.is_late = driver.is_asked
            failures = [driver.failure for driver in self._drivers.values()]
        return next((failure for failure in failures if failure is not None), None)

    def _start_list(self, driver: _Driver) -> None:
        threading.Thread(target=self._list, args=(driver,), daemon=True).start()

    def _has_all(self) -> bool:
        """Whether each driver has answered, but for those that were late before."""
        return all(driver.is_late or not driver.is_asked for driver in self._drivers.values())

    def _list(self, driver: _Driver) -> None:
        answer: Listed | protocol.Failure
        began = time.monotonic()
        try:
            answer = self._ask(driver.name)
        except protocol.Failure as failure:
            answer = failure
        except Exception as bug:
            _log.exception("bug while driver %s was asked for its list", driver.name)
            answer = protocol.Internal(f"bug: {bug}")
        with self._changed:
            if isinstance(answer, Listed):
                driver.succeeded(answer)
            else:
                driver.failed(answer)
            driver.took_seconds = time.monotonic() - began
            was_late = driver.is_late
            driver.is_asked = False
            driver.is_late = False
            self._changed.notify_all()
        if was_late:
            self._came_late()

    def listed(self) -> dict[str, Listed]:
        """The lists, by driver; none for a driver that has never listed. The list of a driver that
        does not answer any more has its pools, with an error and without figures."""
        with self._changed:
            return {
                name: driver.listed
                for name, driver in self._drivers.items()
                if driver.listed is not None
            }

    def has_pools(self, driver: str) -> bool:
        """False only if the driver was asked and lists no pools: its room is nowhere published."""
        listed = self.listed()
        return driver not in listed or bool(listed[driver].pools)

    def failing(self) -> set[str]:
        """The drivers whose last list failed."""
        with self._changed:
            return {name for name, driver in self._drivers.items() if driver.failure is not None}

    def unheard(self) -> set[str]:
        """The drivers that have never listed, and may yet do so, as they did not fail twice."""
        with self._changed:
            return {
                name
                for name, driver in self._drivers.items()
                if driver.listed is None and driver.failures < _FAILURES
            }

    def ages_seconds(self) -> dict[str, float]:
        """By driver, how long ago the driver listed, or how long it has been asked in vain."""
        now = time.monotonic()
        with self._changed:
            return {name: now - driver.since for name, driver in self._drivers.items()}

    def slowest_seconds(self) -> float:
        """How long the slowest driver took to answer when it was asked last."""
        with self._changed:
            return max((driver.took_seconds for driver in self._drivers.values()), default=0.0)

    def forget(self) -> None:
        """Another instance asks the drivers now."""
        with self._changed:
            self._drivers = {}


def _unknown(before: Listed, error: str) -> Listed:
    """The list of a driver that does not answer any more: what is still known of its pools."""
    pools: list[dict[str, Any]] = []
    for pool in before.pools:
        kept = {key: pool[key] for key in _KEPT_OF_A_POOL if key in pool}
        pools.append({**kept, "error": error})
    return Listed([], pools)
