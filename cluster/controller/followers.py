"""The interface of all parts that follow a watch of the API server."""

from __future__ import annotations

from typing import Any, Protocol

Object = dict[str, Any]


class Follower(Protocol):
    """A part that follows a watch. The thread of the watch makes one call at a time."""

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
        """As Follower has it."""
        for follower in self._followers:
            follower.changed(thing)

    def listed(self, uids: set[str]) -> None:
        """As Follower has it."""
        for follower in self._followers:
            follower.listed(uids)

    def gone(self, thing: Object) -> None:
        """As Follower has it."""
        for follower in self._followers:
            follower.gone(thing)
