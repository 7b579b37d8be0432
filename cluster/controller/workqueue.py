"""A queue of keys with delays. A key waits in the queue once, is never worked on twice at a time,
and comes again after a failure by itself."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cluster.controller.retry import Pause

# What is worked on, as a kind and a name: ("claim", uid), ("volume", name).
Key = tuple[str, str]
# How many outdated entries the heap may always have before they are taken out.
_OUTDATED = 100


K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, order=True)
class _Entry(Generic[K]):
    """One entry of the heap; number: equal times keep the order in which they were added."""

    due: float
    number: int
    key: K = field(compare=False)


class WorkQueue(Generic[K]):
    """Workers loop over `get`, work, and `done`, `again` or `failed`. All methods may be called by
    any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # Each waiting key, and the time of its turn.
        self._due: dict[K, float] = {}
        # The same as a heap, with outdated entries among them.
        self._order: list[_Entry[K]] = []
        self._working: set[K] = set()
        # Failures in a row, by key.
        self._failures: dict[K, int] = {}
        self._count = 0
        self._stopped = False

    def add(self, key: K, after_seconds: float = 0.0) -> None:
        """Puts the key in, or brings its turn forward. A turn is never put off by adding its key
        again."""
        with self._changed:
            due = time.monotonic() + after_seconds
            if due >= self._due.get(key, float("inf")):
                return
            self._due[key] = due
            self._count += 1
            heapq.heappush(self._order, _Entry(due, self._count, key))
            # All workers, because a single one may be one that does not take this key.
            self._changed.notify_all()

    def get(self, takes: Callable[[K], bool] = lambda _: True) -> K | None:
        """Waits for the next key whose turn has come; from now on the key is being worked on.

        takes: whether this worker works on a key. Returns None once the queue is stopped."""
        with self._changed:
            while not self._stopped:
                now = time.monotonic()
                entry = self._next(takes, now)
                if entry is None:
                    self._changed.wait()
                elif entry.due > now:
                    self._changed.wait(entry.due - now)
                else:
                    del self._due[entry.key]
                    self._working.add(entry.key)
                    return entry.key
            return None

    def _next(self, takes: Callable[[K], bool], now: float) -> _Entry[K] | None:
        """The entry whose turn is next for a worker, taken out if that is now."""
        passed_over = []
        following = None
        while self._order:
            entry = self._order[0]
            if self._due.get(entry.key) != entry.due:
                heapq.heappop(self._order)  # outdated
                continue
            if entry.due > now:
                following = entry
                break
            heapq.heappop(self._order)
            if entry.key not in self._working and takes(entry.key):
                following = entry
                break
            # Either `done` of the worker that has the key wakes us, or another worker takes it.
            passed_over.append(entry)
        for entry in passed_over:
            heapq.heappush(self._order, entry)
        return following

    def done(self, key: K) -> None:
        """Ends the work on the key, and forgets the failures of the key."""
        with self._changed:
            self._working.discard(key)
            self._failures.pop(key, None)
            self._changed.notify_all()

    def again(self, key: K, after_seconds: float) -> None:
        """Ends the work on the key, which comes again after so long. Its failures still count."""
        with self._changed:
            self._working.discard(key)
            self._changed.notify_all()
        self.add(key, after_seconds)

    def failed(self, key: K, pause: Pause, at_least_seconds: float = 0.0) -> None:
        """Ends the work on the key, which comes again after the pause. The failure counts if the
        pause is one that grows, and the pause is then spread by a quarter, so that what failed
        together does not come again together."""
        if not pause.grows:
            self.again(key, max(pause.first_seconds, at_least_seconds))
            return
        with self._changed:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
        seconds = pause.seconds(failures) * random.uniform(0.75, 1.25)
        self.again(key, max(seconds, at_least_seconds))

    def hurry(self) -> None:
        """The cause of all failures has passed: the turn of every key is now, and the failures are
        forgotten."""
        with self._changed:
            self._failures.clear()
            keys = list(self._due)
        for key in keys:
            self.add(key)

    def waiting(self) -> int:
        """How many keys wait."""
        return len(self.waiting_keys())

    def waiting_keys(self) -> list[K]:
        """The keys that wait, and those that are just being tried again after a failure. Without
        these, a call that fails after ten minutes, again and again, would hardly ever seem to
        wait."""
        with self._changed:
            tried_again = [
                key for key in self._working if key in self._failures and key not in self._due
            ]
            return [*self._due, *tried_again]

    def forget(self, key: K) -> None:
        """The object of the key is gone, and with it the turn of the key and the memory of its
        failures."""
        with self._changed:
            self._failures.pop(key, None)
            self._due.pop(key, None)
            if len(self._order) <= 2 * len(self._due) + _OUTDATED:
                return
            self._order = [entry for entry in self._order if self._due.get(entry.key) == entry.due]
            heapq.heapify(self._order)

    def stop(self) -> None:
        """Wakes every worker. Each finishes the key that it works on."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
