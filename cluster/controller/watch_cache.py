"""What a watch reports, as far as its reader wants it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from cluster.controller.objects import ApiObject, Object

View = TypeVar("View", bound=ApiObject)


class WatchCache(Generic[View]):
    """Follows a watch, and keeps the objects that `trim` wants, by their uids."""

    def __init__(
        self,
        trim: Callable[[Object], View | None],
        woken: Callable[[], None],
    ) -> None:
        """trim: what to keep of an object; None for nothing.

        woken: called when what is kept may have changed."""
        self._trim = trim
        self._woken = woken
        self._lock = threading.Lock()
        self._things: dict[str, View] = {}

    def changed(self, thing: Object) -> None:
        """The object is there, or has changed."""
        trimmed = self._trim(thing)
        uid = thing["metadata"]["uid"]
        with self._lock:
            before = self._things.pop(uid, None)
            if trimmed is not None:
                self._things[uid] = trimmed
        if before != trimmed:
            self._woken()

    def listed(self, uids: set[str]) -> None:
        """The objects with these uids are there, and no others."""
        with self._lock:
            self._things = {uid: thing for uid, thing in self._things.items() if uid in uids}
        self._woken()

    def gone(self, thing: Object) -> None:
        """The object was deleted."""
        with self._lock:
            self._things.pop(thing["metadata"]["uid"], None)
        self._woken()

    def is_wanted(self, thing: Object) -> bool:
        """Whether something of the object is kept."""
        return self._trim(thing) is not None

    def all(self) -> list[View]:
        """What is kept, of all objects."""
        with self._lock:
            return list(self._things.values())
