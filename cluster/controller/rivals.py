"""How the room of this node compares with that of the others, for a claim that any of them might
take. Few objects are read for that, however many nodes there are."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cluster.controller import cluster, pool_rooms
from cluster.controller.objects import Object
from cluster.controller.published_rooms import (
    CLASS_LABEL,
    PASSED_OVER_LABEL,
    ROOM_LABEL,
    OwnRooms,
    PublishedRoom,
    collection,
    hashed,
)

# No more nodes than these are compared for a claim that is bound at once; an object has about 1 KB.
COMPARED = 16
# A comparison is as good as new for this time.
_RECENT_SECONDS = 1.0


@dataclass(frozen=True)
class Comparison:
    """The nodes that have as much room for a class as this one, or more.

    rooms: bytes by hostname, of some of them.
    are_all: whether these are all of them.
    have_more: whether one has more room than this node; only known if these are not all."""

    rooms: dict[str, int]
    are_all: bool = True
    have_more: bool = False


@dataclass(frozen=True)
class _Look:
    """writes: how often our own room had been written when the others' was read."""

    at_seconds: float
    writes: int
    comparison: Comparison


class Rivals:
    """All methods may be called by any thread."""

    def __init__(self, api: cluster.Cluster, namespace: str, own: OwnRooms) -> None:
        """namespace: of the objects that publish the rooms. own: those of this node."""
        self._api = api
        self._collection = collection(namespace)
        self._own = own
        self._looks: dict[str, _Look] = {}  # by class

    def compared(self, class_name: str) -> Comparison:
        """How our room for the class compares, as of a second ago.

        :raises Refused, Unreachable: if that cannot be read."""
        look = self._looks.get(class_name)
        if look is None or not self._is_recent(look):
            writes = self._own.writes
            comparison = self._compare(class_name)
            look = _Look(time.monotonic(), writes, comparison)
            self._looks[class_name] = look
        return look.comparison

    def _is_recent(self, look: _Look) -> bool:
        """After a write of our own, the others are compared anew."""
        if look.writes != self._own.writes:
            return False
        return time.monotonic() - look.at_seconds <= _RECENT_SECONDS

    def are_crowd(self, class_name: str) -> bool:
        """Whether, when we looked last, more nodes than are compared had as much room as this
        one."""
        look = self._looks.get(class_name)
        return look is not None and not look.comparison.are_all

    def compared_with_all(self, class_name: str) -> Comparison:
        """As `compared`, read now, with the nodes that are passed over."""
        return self._compare(class_name, passed_over=True)

    def others_fit(self, class_name: str, size_bytes: int, hostname: str) -> bool:
        """Whether a node that is not passed over has room for a volume of the class.

        hostname: of this node, which does not count, although it was not passed over a moment ago.
        :raises Refused, Unreachable: if that cannot be read."""
        lowest = pool_rooms.room_step(size_bytes)
        page = self._page(class_name, lowest, COMPARED)
        rooms = _rooms(page)
        rooms.pop(hostname, None)
        if any(room >= size_bytes for room in rooms.values()):
            return True
        return _has_more(page)

    def _compare(self, class_name: str, passed_over: bool = False) -> Comparison:
        own = self._own.of_class(class_name)
        if own is None:
            return Comparison({})
        step = pool_rooms.room_step(own)
        alike = self._page(class_name, step, COMPARED, passed_over)
        if not _has_more(alike):
            return Comparison(_rooms(alike))
        above = self._page(class_name, step + 1, 1, passed_over)
        return Comparison(_rooms(alike), are_all=False, have_more=bool(above["items"]))

    def _page(self, class_name: str, lowest: int, limit: int, passed_over: bool = False) -> Object:
        """The first objects that are published for the class.

        lowest: the step of room that they have at least.
        passed_over: whether those of nodes that are passed over are among them."""
        if lowest > pool_rooms.STEPS:
            return {"items": [], "metadata": {}}
        steps = ",".join(map(str, range(lowest, pool_rooms.STEPS + 1)))
        labels = f"{CLASS_LABEL}={hashed(class_name)},{ROOM_LABEL} in ({steps})"
        if not passed_over:
            labels += f",{PASSED_OVER_LABEL} notin (true)"
        path = cluster.selected(self._collection, labelSelector=labels, limit=str(limit))
        return self._api.get(path) or {"items": [], "metadata": {}}


def _rooms(page: Object) -> dict[str, int]:
    rooms = map(PublishedRoom, page["items"])
    return {room.hostname: room.largest_bytes for room in rooms}


def _has_more(page: Object) -> bool:
    return bool(page["metadata"].get("continue"))
