"""What follows a watch: one interface, which each part has that wants to know of a kind of
objects."""

from __future__ import annotations

from typing import Any, Protocol

Object = dict[str, Any]


class Follower(Protocol):
    """Is called by the thread of its watch, one call at a time."""

    def changed(self, thing: Object, /) -> None:
        """The object is there, or has changed. Each object of a list is a call, too."""

    def listed(self, uids: set[str], /) -> None:
        """A list has ended: the objects with these uids are there, and no others."""

    def gone(self, thing: Object, /) -> None:
        """The object was deleted."""


class Followers:
    """Passes the news of one watch on to several followers, in their order."""

    def __init__(self, *followers: Follower) -> None:
        self._followers = followers

    def changed(self, thing: Object) -> None:
        for follower in self._followers:
            follower.changed(thing)

    def listed(self, uids: set[str]) -> None:
        for follower in self._followers:
            follower.listed(uids)

    def gone(self, thing: Object) -> None:
        for follower in self._followers:
            follower.gone(thing)
