"""A node that publishes its room, of the real parts, with an API server and drivers of the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from cluster.controller.capacity import Capacity
from cluster.controller.copy_sources import CopySources
from cluster.controller.identity import Identity
from cluster.controller.instance import Instance
from cluster.controller.listing import Listing
from cluster.controller.own_node import OwnNode
from cluster.controller.published_rooms import OwnRooms
from cluster.controller.rivals import Rivals
from cluster.controller.room_news import RoomNews
from cluster.controller.storage import Listed
from cluster.controller.storage_classes import StorageClasses
from cluster.controller.turns import Turns
from cluster.controller.waiting_claims import WaitingClaims
from cluster.controller.workqueue import Key, WorkQueue

NAMESPACE = "flexvol"


class WithNode:
    """An API server that also has the node, whose hostname label is `host`."""

    def __init__(self, api: Any) -> None:
        self._api = api

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def get(self, path: str) -> Any:
        if "/nodes/" in path:
            return {"metadata": {"labels": {"kubernetes.io/hostname": "host"}}}
        return self._api.get(path)


@dataclass(frozen=True)
class Publishing:
    """The parts of one node."""

    node: OwnNode
    rooms: OwnRooms
    news: RoomNews
    listing: Listing
    capacity: Capacity
    rivals: Rivals
    turns: Turns
    classes: StorageClasses


def publishing(
    api: Any,
    ask: Callable[[str], Listed],
    identity: Identity,
    classes: list[dict[str, Any]],
    patience_seconds: float = 10.0,
) -> Publishing:
    """ask: lists a driver."""
    nothing: Any = SimpleNamespace()
    work = WorkQueue[Key]()
    instance = Instance(api, identity, nothing, nothing, work, nothing)
    news = RoomNews()
    known = StorageClasses(WaitingClaims(work, identity), news)
    for storage_class in classes:
        known.changed(storage_class)
    news.take_change()
    news.wait_for_class(0)
    news.wait(0)
    listing = Listing(ask, identity.drivers.values(), news.came_late, patience_seconds)
    rooms = OwnRooms(api, identity, NAMESPACE)
    node = OwnNode(instance, known, rooms, news)
    capacity = Capacity(node, identity, listing, None)
    rivals = Rivals(api, NAMESPACE, rooms)
    turns = Turns(node, rivals, listing, CopySources(instance))
    return Publishing(node, rooms, news, listing, capacity, rivals, turns, known)
