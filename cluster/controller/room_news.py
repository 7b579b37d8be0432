"""The bell between the parts that take room or give it back, and the thread that publishes the
room."""

from __future__ import annotations

import threading


class RoomNews:
    """All methods may be called by any thread. Where no room is published, nobody listens."""

    def __init__(self) -> None:
        self._has_changed = threading.Event()
        self._has_new_class = threading.Event()
        self._has_late_list = threading.Event()
        self._woken = threading.Event()  # by either

    def changed(self) -> None:
        """Something of ours took room, gave it back, or changed what is published of it."""
        self._has_changed.set()
        self._woken.set()

    def class_came(self) -> None:
        """A class is there, or another one of that name, for which nothing is published yet."""
        self._has_new_class.set()
        self.changed()

    def came_late(self) -> None:
        """A driver has listed after nobody waited for its list any more."""
        self._has_late_list.set()
        self._woken.set()

    def wait(self, seconds: float) -> None:
        """Returns when there is news, or after so long."""
        self._woken.wait(seconds)
        self._woken.clear()

    def wait_for_class(self, seconds: float) -> bool:
        """Returns when there is a new class, or after so long; whether there is one."""
        has_come = self._has_new_class.wait(max(0.0, seconds))
        if has_come:
            self._has_new_class.clear()
        return has_come

    def take_change(self) -> bool:
        """Whether something has changed since this was asked last."""
        has_changed = self._has_changed.is_set()
        self._has_changed.clear()
        return has_changed

    def take_late_list(self) -> bool:
        """Whether a late list is all that has happened since this was asked last."""
        is_all = self._has_late_list.is_set() and not self._has_changed.is_set()
        self._has_late_list.clear()
        return is_all
