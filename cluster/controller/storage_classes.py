"""The storage classes of the cluster, as their watch tells them."""

from __future__ import annotations

import threading

from cluster.controller.objects import Object, StorageClass
from cluster.controller.room_news import RoomNews
from cluster.controller.waiting_claims import WaitingClaims


class StorageClasses:
    """Follows the watch of the classes. The other methods may be called by any thread."""

    def __init__(self, claims: WaitingClaims, news: RoomNews) -> None:
        """claims: those of a class that changes are looked at again.

        news: of every class, because room is published by class."""
        self._claims = claims
        self._news = news
        self._lock = threading.Lock()
        self._classes: dict[str, StorageClass] = {}

    def changed(self, thing: Object) -> None:
        """As followers.Follower has it."""
        storage_class = StorageClass(thing)
        with self._lock:
            before = self._classes.get(storage_class.name)
            if before and before.resource_version == storage_class.resource_version:
                return
            self._classes[storage_class.name] = storage_class
        self._news.class_came()
        self._claims.wake_class(storage_class.name)

    def listed(self, uids: set[str]) -> None:
        """As followers.Follower has it."""
        with self._lock:
            self._classes = {
                name: storage_class
                for name, storage_class in self._classes.items()
                if storage_class.uid in uids
            }

    def gone(self, thing: Object) -> None:
        """As followers.Follower has it."""
        with self._lock:
            self._classes.pop(StorageClass(thing).name, None)
        self._news.changed()

    def get(self, name: str) -> StorageClass | None:
        """The class of that name; None if there is none, or if the watch has not told it yet."""
        with self._lock:
            return self._classes.get(name)

    def all(self) -> list[StorageClass]:
        """All classes, those of other provisioners too."""
        with self._lock:
            return list(self._classes.values())
