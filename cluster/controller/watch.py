"""A collection of the API server is followed for ever: listed in pages, then watched, and listed
again only where the watch cannot go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cluster.controller.api_errors import Refused, pause_seconds, translated
from cluster.controller.cluster import Cluster, Object, is_cut
from cluster.controller.followers import Follower

# A watch that ends sooner, without any event, counts as a failure.
_AT_LEAST_SECONDS = 10.0
# Log a broken watch from the second failure in a row; single disconnects are normal.
_LOGGED_AFTER = 2
_TOO_MANY_REQUESTS = 429
_NOT_OPEN = float("inf")  # in place of the time at which the watch was opened
_IS_GOOD = float("-inf")  # the same, once an event has come
_log = logging.getLogger("cluster")


class Watch:
    """Follows one collection in the thread that calls `run`."""

    def __init__(
        self, api: Cluster, path: str, follower: Follower, back: Callable[[], None]
    ) -> None:
        """path: one of CLAIMS, VOLUMES, CLASSES, NODES.

        back: called when the API server answers again after it did not."""
        self.path = path
        # Why the collection cannot be followed now; "" if it is followed.
        self.trouble = ""
        self._api = api
        self._follower = follower
        self._back = back
        self._version = ""  # from which a watch can go on; "" if a list is needed first
        self._failures = 0  # in a row
        self._opened_at = _NOT_OPEN

    def run(self) -> None:
        """Never returns. Errors are survived with growing pauses and logged once."""
        while True:
            self._opened_at = _NOT_OPEN
            try:
                self._follow()
            except Exception as error:  # Whatever it is: a watch that has ended unseen is worse.
                time.sleep(self._failed(error))

    def _follow(self) -> None:
        """One watch, from its list or from where the last watch was, to its end."""
        if not self._version:
            self._version = self._list()
        events = self._api.watch(self.path, self._version)
        self._opened_at = time.monotonic()
        if self._failures >= _LOGGED_AFTER:
            _log.info("watching %s again", self.path)
            self._back()
        self.trouble = ""
        for event in events:
            self._pass_on(event)
        if not self._has_lasted():
            raise ConnectionError("the watch ended at once")
        self._failures = 0

    def _list(self) -> str:
        """Returns the version from which a watch goes on."""
        uids: set[str] = set()
        following = ""
        while True:
            page = self._api.page(self.path, following)
            for thing in page.get("items") or []:
                uids.add(thing["metadata"]["uid"])
                self._follower.changed(thing)
            version = str(page["metadata"]["resourceVersion"])
            following = page["metadata"].get("continue") or ""
            if not following:
                self._follower.listed(uids)
                return version

    def _pass_on(self, event: Object) -> None:
        self._failures = 0
        self._opened_at = _IS_GOOD
        thing = event["object"]
        self._version = thing["metadata"]["resourceVersion"]
        if event["type"] in ("ADDED", "MODIFIED"):
            self._follower.changed(thing)
        elif event["type"] == "DELETED":
            self._follower.gone(thing)

    def _has_lasted(self) -> bool:
        return time.monotonic() - self._opened_at >= _AT_LEAST_SECONDS

    def _failed(self, error: Exception) -> float:
        """Returns how many seconds to wait before the next attempt."""
        trouble = translated(error, "WATCH " + self.path)
        if not _can_go_on(error, trouble):
            self._version = ""
        self._failures = 1 if self._has_lasted() else self._failures + 1
        if self._failures >= _LOGGED_AFTER:
            self.trouble = str(trouble)
        if self._failures == _LOGGED_AFTER:
            _log.warning("cannot watch: %s", trouble)
        return pause_seconds(self._failures, trouble, lists_anew=not self._version)


def _can_go_on(error: Exception, trouble: Exception) -> bool:
    """Whether a watch can go on from where the last one was: after a connection that was cut, and
    while the server is busy. After 410 Gone, any other refusal, or something odd it cannot."""
    if isinstance(trouble, Refused) and trouble.status == _TOO_MANY_REQUESTS:
        return True
    return is_cut(error)
