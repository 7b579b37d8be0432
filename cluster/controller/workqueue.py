"""A queue of keys with delays: a key waits in it once, is never worked on twice at a time, and
backs off by itself."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_LIMIT_SECONDS = 300.0
SLOW_SECONDS = 300.0  # for what only a change can help
SOON_SECONDS = 1.0  # for what is on its way
_OUTDATED = 100  # so many outdated entries may always be there


class WorkQueue:
    """Workers loop over `get`, work, and `done`. All methods may be called by any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Hashable, float] = {}  # every waiting key and when its turn is
        # The same as a heap; entries can be outdated.
        self._order: list[tuple[float, int, Hashable]] = []
        self._working: set[Hashable] = set()
        self._failures: dict[Hashable, int] = {}
        self._count = 0
        self._stopped = False

    def add(self, key: Hashable, after_seconds: float = 0.0) -> None:
        """Puts `key` in, or brings its turn forward; it is never put off by adding it again."""
        with self._changed:
            due = time.monotonic() + after_seconds
            if due < self._due.get(key, float("inf")):
                self._due[key] = due
                self._count += 1
                heapq.heappush(self._order, (due, self._count, key))
                self._changed.notify_all()  # one worker alone may be one that does not take it

    def get(self, takes: Callable[[Any], bool] = lambda _: True) -> Hashable | None:
        """The next key whose turn it is, now being worked on; waits for one. takes: whether this
        worker works on a key. None once stopped."""
        with self._changed:
            while not self._stopped:
                key, wait_seconds = self._next(takes)
                if key is not None:
                    del self._due[key]
                    self._working.add(key)
                    return key
                self._changed.wait(wait_seconds)
            return None

    def _next(self, takes: Callable[[Any], bool]) -> tuple[Hashable | None, float | None]:
        left = []
        now = time.monotonic()
        found: tuple[Hashable | None, float | None] = (None, None)
        while self._order:
            due, _, key = self._order[0]
            if self._due.get(key) != due:
                heapq.heappop(self._order)  # outdated
            elif due > now:
                found = (None, due - now)
                break
            elif key in self._working or not takes(key):
                # Its turn comes when `done` says so, or is another worker's.
                left.append(heapq.heappop(self._order))
            else:
                heapq.heappop(self._order)
                found = (key, None)
                break
        for entry in left:
            heapq.heappush(self._order, entry)
        return found

    def done(
        self, key: Hashable, retry_after_seconds: float | None = None, failed: bool = False
    ) -> None:
        """Ends the work on `key`. failed: it comes again after its backoff, and not before
        retry_after_seconds.
        retry_after_seconds alone: it comes again after that. Neither: its failures are
        forgotten."""
        if failed:
            retry_after_seconds = max(self._backoff(key), retry_after_seconds or 0.0)
        with self._changed:
            self._working.discard(key)
            if not failed and retry_after_seconds is None:
                self._failures.pop(key, None)
            self._changed.notify_all()
        if retry_after_seconds is not None:
            self.add(key, retry_after_seconds)

    def hurry(self) -> None:
        """What all waited for has passed: everyone's turn is now, and the failures are
        forgotten."""
        with self._changed:
            self._failures.clear()
            keys = list(self._due)
        for key in keys:
            self.add(key)

    def waiting(self) -> int:
        """How many keys are in it."""
        return len(self.waiting_keys())

    def waiting_keys(self) -> list[Hashable]:
        """Those that are in it, and those that are just being tried again after a failure. Else a
        call that fails after ten minutes, again and again, would hardly ever seem to wait."""
        with self._changed:
            tried_again = [key for key in self._working if key in self._failures]
            return [*self._due, *(key for key in tried_again if key not in self._due)]

    def forget(self, key: Hashable) -> None:
        """Its object is gone, and with it its turn and the memory of its failures."""
        with self._changed:
            self._failures.pop(key, None)
            self._due.pop(key, None)
            if len(self._order) > 2 * len(self._due) + _OUTDATED:
                self._order = [
                    entry for entry in self._order if self._due.get(entry[2]) == entry[0]
                ]
                heapq.heapify(self._order)

    def _backoff(self, key: Hashable) -> float:
        with self._changed:
            count = self._failures.get(key, 0)
            self._failures[key] = count + 1
        seconds = min(BACKOFF_LIMIT_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** min(count, 30))
        return seconds * random.uniform(0.75, 1.25)

    def stop(self) -> None:
        """Wakes every worker; what they have in hand they finish."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
