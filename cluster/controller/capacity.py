"""The room of this node is published for each class of ours, from what the drivers' pools have
left, so that the scheduler can count on it."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

from cluster.controller import cluster, published_rooms
from cluster.controller.identity import Identity
from cluster.controller.listing import Listing
from cluster.controller.objects import Object
from cluster.controller.own_node import OwnNode
from shared import protocol

# Where nothing rings, the drivers are asked this often for what changes without us: a disk that
# others fill, a pool that is mounted.
_OFTEN_SECONDS = 2.0
# A driver that takes long to answer is asked more seldom, so that a fiftieth of its time goes into
# that, but at least this often.
_EVERY_SECONDS = 15.0
_SHARE = 50
# A small change that nothing of ours made waits until this time is over: each pod that writes takes
# room. At 1000 nodes a write of each every 15 s was 200 writes a second.
_EXACT_SECONDS = 300.0
# The drivers are not asked more often than this.
_AT_MOST_EVERY_SECONDS = 1.0
_log = logging.getLogger("capacity")


class Capacity:
    """Publishes in a thread of its own, soon after each change and every now and then."""

    def __init__(
        self,
        node: OwnNode,
        identity: Identity,
        listing: Listing,
        owner: Object | None,
        after: Sequence[Callable[[bool], None]] = (),
    ) -> None:
        """listing: of the drivers.

        owner: the reference to our pod, with which the objects go.
        after: called after each round, with whether our room has changed."""
        self._node = node
        self._identity = identity
        self._listing = listing
        self._owner = owner
        self._after = after
        self._lock = threading.Lock()
        self._pause_seconds = _OFTEN_SECONDS
        self._exact_at = float("-inf")
        self._exact_seconds = _EXACT_SECONDS
        self._reported_writes = 0
        self._has_begun = False
        self._logged = ""

    def not_ready(self) -> str:
        """Why a pod that comes now might not find the node's room; "" if it does. A node that
        cannot publish its room is ready too: it has other work, and its log says why."""
        return "" if self._has_begun else "the room of the node is not published yet"

    def publish(self, roughly: bool = False) -> None:
        """Brings the objects up to date, now.

        roughly: but for small changes, unless something of ours has changed.
        :raises Refused, Unreachable: by the API server.
        :raises Failure: when everything is published, that of a driver that does not list."""
        failure = self._publish(roughly)
        if failure is not None:
            raise failure

    def _publish(self, roughly: bool, lists: bool = True) -> protocol.Failure | None:
        """As publish, but returns the failure of a driver that does not list.

        lists: whether the drivers are asked before."""
        with self._lock:
            began = time.monotonic()
            if self._node.news.take_change():
                roughly = False
            failure = self._listing.refresh() if lists else None
            asking_seconds = _SHARE * self._listing.slowest_seconds()
            self._pause_seconds = min(max(_OFTEN_SECONDS, asking_seconds), _EVERY_SECONDS)
            self._node.rooms.publish(self._wanted(), self._unheard_classes(), roughly)
            if not roughly:
                self._exact_at = began
                # Spread in time, so that many nodes do not write all at once.
                self._exact_seconds = _EXACT_SECONDS * random.uniform(0.75, 1.25)
            return failure

    def _wanted(self) -> dict[str, Object]:
        listed = self._listing.listed()
        return published_rooms.wanted(
            self._node.classes.all(),
            {driver: listed[driver].pools for driver in listed},
            self._identity,
            self._node.recent_hostname(),
            self._owner,
            self._node.is_passed_over,
        )

    def _unheard_classes(self) -> set[str]:
        """The names of the classes whose driver has not answered yet. What was published for them
        before this process began stays until then."""
        unheard = self._listing.unheard()
        return {
            storage_class.name
            for storage_class in self._node.classes.all()
            if self._identity.drivers.get(storage_class.provisioner) in unheard
        }

    def run(self) -> None:
        """Never returns."""
        while True:
            self._node.news.wait(self._pause_seconds)
            self._try(self._round)
            self._has_begun = True
            rests_until = time.monotonic() + _AT_MOST_EVERY_SECONDS
            while self._node.news.wait_for_class(rests_until - time.monotonic()):
                self._try(self._publish_classes)

    def _try(self, call: Callable[[], None]) -> None:
        """The same failure is logged once."""
        try:
            call()
            self._logged = ""
        except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
            self._node.rooms.read_again()
            if str(error) != self._logged:
                _log.warning("capacity not published: %s", error)
            self._logged = str(error)
        except Exception:
            self._node.rooms.read_again()
            _log.exception("bug while publishing capacity")

    def _publish_classes(self) -> None:
        """Publishes the room of new classes from the last lists, without asking a driver: the
        scheduler takes a class without objects for one without room, and says so on the first pod.
        The round that follows a new class asks the drivers.

        :raises Refused, Unreachable: by the API server."""
        with self._lock:
            self._node.rooms.add(self._wanted())

    def _round(self) -> None:
        """Raises as `publish`, but not for a driver that does not list: its listing logs that. A
        list that came late is published as it is: a driver that is always late would otherwise be
        asked without a pause."""
        if self._node.news.wait_for_class(0):
            self._publish_classes()
        is_for_late_list = self._node.news.take_late_list()
        roughly = time.monotonic() - self._exact_at < self._exact_seconds
        self._publish(roughly, lists=not is_for_late_list)
        writes = self._node.rooms.writes
        has_written = writes != self._reported_writes
        self._reported_writes = writes
        for call in self._after:
            call(has_written)
