"""What the scheduler may count on: a CSIStorageCapacity for each class of ours, from what the
driver's pools have left.

The scheduler looks at these for every provisioner that has a CSIDriver object with storageCapacity:
true; it never asks whether the volume is CSI
(pkg/scheduler/framework/plugins/volumebinding/binder.go, hasEnoughCapacity). A driver that lists no
pools has nothing published, and must have no such object."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import protocol
from controller import cluster, decide
from controller.storage import Listed, Storage

Object = dict[str, Any]
NODE_LABEL = "flexvol/node"
# A fiftieth of the time goes into looking for what changes without us: a disk that others fill, a
# pool that is mounted.
_OFTEN_SECONDS, _EVERY_SECONDS, _SHARE = 2.0, 15.0, 50
# until _EVERY_SECONDS are over a change of less than this part waits: each pod that writes takes
# room
_ROUGHLY = 64
_AT_MOST_EVERY_SECONDS = 1.0
_FOUND_AGAIN_SECONDS = 120.0
_HASH_DIGITS = 16
_NODE_AT = len("flexvol-") + _HASH_DIGITS + 1
_log = logging.getLogger("capacity")


def wanted(
    classes: list[Object],
    pools: dict[str, list[Object]],
    us: decide.Identity,
    hostname: str,
    owner: Object | None,
) -> dict[str, Object]:
    """The objects that should exist, by name. pools: by driver, as its `list` answered. owner: the
    reference to the pod with which they go. A class names its pool by the parameter `pool`; a
    class without it means the pool `default`, or the only one."""
    objects = {}
    for storage_class in classes:
        driver = us.drivers.get(storage_class["provisioner"])
        if driver is None or not pools.get(driver):
            continue
        class_name = storage_class["metadata"]["name"]
        pool = _pool_of(storage_class.get("parameters") or {}, pools[driver])
        free = max(0, int(pool.get("freeBytes", 0)))
        largest = max(0, int(pool.get("maximumVolumeBytes", free)))
        # by which deploy/policy.yaml knows whose it is
        name = f"flexvol-{_hash(class_name)}-{us.node}"
        objects[name] = {
            "metadata": {
                "name": name,
                "labels": {NODE_LABEL: _hash(us.node)},
                "ownerReferences": [owner] if owner else [],
            },
            "nodeTopology": {"matchLabels": {"kubernetes.io/hostname": hostname}},
            "storageClassName": class_name,
            "capacity": str(free),
            "maximumVolumeSize": str(min(free, largest)),
        }
    return objects


def _pool_of(parameters: dict[str, str], pools: list[Object]) -> Object:
    """The pool that the class means, as its driver lists it; {} if it is not on this node, or its
    disk is away."""
    name = parameters.get("pool") or _default_name(pools)
    for pool in pools:
        if pool.get("name") == name and not pool.get("error"):
            return pool
    return {}


def _default_name(pools: list[Object]) -> str:
    """The pool of a class that names none: `default`, or the only one, unless its driver says
    that a class gets it only by its name (`byName`)."""
    only = pools[0]
    if len(pools) > 1 or only.get("byName"):
        return "default"
    return str(only.get("name"))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]


def rooms(get: Callable[[str], Object | None], namespace: str) -> dict[str, dict[str, int]]:
    """How large a volume all nodes can make: by class, bytes by hostname. get: reads a path, as
    Cluster.get."""
    found: dict[str, dict[str, int]] = {}
    for one in (get(_collection(namespace)) or {"items": []})["items"]:
        hostname = ((one.get("nodeTopology") or {}).get("matchLabels") or {}).get(
            "kubernetes.io/hostname", ""
        )
        free = cluster.size_bytes(one.get("capacity", "0"))
        largest = cluster.size_bytes(one.get("maximumVolumeSize") or one.get("capacity", "0"))
        found.setdefault(one["storageClassName"], {})[hostname] = min(free, largest)
    return found


def _collection(namespace: str) -> str:
    return f"/apis/storage.k8s.io/v1/namespaces/{namespace}/csistoragecapacities"


class Capacity:
    """Publishes in a thread of its own, soon after `changed` and every now and then."""

    def __init__(
        self,
        api: cluster.Cluster,
        storage: Storage,
        us: decide.Identity,
        namespace: str,
        owner: Object | None,
        classes: Callable[[], list[Object]],
        hostname: Callable[[], str],
    ) -> None:
        """owner: the reference to our pod. classes: those known now. hostname: the node's label;
        raises Unavailable."""
        self._api, self._storage, self._us, self._owner = api, storage, us, owner
        self._classes, self._hostname = classes, hostname
        self._namespace, self._collection = namespace, _collection(namespace)
        self.after: list[
            Callable[[bool], None]
        ] = []  # called after each round: whether our room has changed
        self.listed: dict[str, Listed] = {}  # what the drivers said last
        self._published: dict[str, Object] = {}
        self._read_at = self._exact_at = float("-inf")
        self._pause_seconds = _OFTEN_SECONDS
        self._all_rooms: tuple[float, dict[str, dict[str, int]]] = (float("-inf"), {})
        self._written = False
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self.thread = threading.Thread(target=self._run, name="capacity", daemon=True)

    def changed(self) -> None:
        """Something of ours took room or gave it back."""
        self._changed.set()

    def rooms(self, class_name: str) -> dict[str, int]:
        """Bytes by hostname that the nodes have for the class, as of a second ago. Raises Refused
        or Unreachable."""
        read_at, found = self._all_rooms
        if time.monotonic() - read_at > _AT_MOST_EVERY_SECONDS:
            found = rooms(self._api.get, self._namespace)
            self._all_rooms = (time.monotonic(), found)
        return found.get(class_name, {})

    def has_pools(self, driver: str) -> bool:
        """False only if the driver was asked and lists none: its room is nowhere published."""
        return driver not in self.listed or bool(self.listed[driver].pools)

    def publish(self, roughly: bool = False) -> None:
        """Brings the objects up to date, now. roughly: but for small changes, unless something of
        ours has changed. Raises Refused, Unreachable or a Failure; also after a driver did not
        list, when its known pools are published without room."""
        with self._lock:
            roughly, began = roughly and not self._changed.is_set(), time.monotonic()
            self._changed.clear()
            try:
                failure = self._list()
            finally:
                self._pause_seconds = min(
                    max(_OFTEN_SECONDS, _SHARE * (time.monotonic() - began)), _EVERY_SECONDS
                )
            pools = {driver: listed.pools for driver, listed in self.listed.items()}
            objects = wanted(self._classes(), pools, self._us, self._hostname(), self._owner)
            if (
                time.monotonic() - self._read_at > _FOUND_AGAIN_SECONDS
            ):  # some may have been deleted, or be older
                selector = f"?labelSelector={NODE_LABEL}%3D{_hash(self._us.node)}"
                there = self._api.get(self._collection + selector) or {"items": []}
                names = {one["metadata"]["name"]: one for one in there["items"]}
                self._published = {
                    name: one for name, one in names.items() if name[_NODE_AT:] == self._us.node
                }
                self._read_at = time.monotonic()
            for name, wish in objects.items():
                if not same(self._published.get(name), wish, roughly):
                    self._write(name, wish)
            for name in [name for name in self._published if name not in objects]:
                self._api.delete(
                    f"{self._collection}/{name}", self._published[name]["metadata"]["uid"]
                )
                del self._published[name]
            if failure is not None:
                raise failure
            self._exact_at = self._exact_at if roughly else began

    def _list(self) -> protocol.Failure | None:
        """Asks the drivers. Returns why one of them did not list. Its pools are then known by name
        only: nobody may rely on the room that they had, and metrics must not call them well.
        Raises that Failure if none of its pools is known."""
        failure = None
        listed = {}
        for driver in self._us.drivers.values():
            try:
                listed[driver] = self._storage.list(driver)
            except protocol.Failure as error:
                if driver not in self.listed:
                    raise
                failure = error
                listed[driver] = _unknown(self.listed[driver], str(error))
        self.listed = listed
        return failure

    def _write(self, name: str, wish: Object) -> None:
        there = self._published.get(name)
        if (
            there is not None and there.get("nodeTopology") != wish["nodeTopology"]
        ):  # which cannot be changed
            self._api.delete(f"{self._collection}/{name}", there["metadata"]["uid"])
            there = None
        written = self._api.patch(f"{self._collection}/{name}", wish) if there is not None else None
        self._published[name] = written or self._api.create(self._collection, wish)
        self._written, self._all_rooms = True, (float("-inf"), {})

    def _run(self) -> None:
        said = ""
        while True:
            self._changed.wait(self._pause_seconds)
            try:
                self.publish(roughly=time.monotonic() - self._exact_at < _EVERY_SECONDS)
                said, (written, self._written) = "", (self._written, False)
                for call in self.after:
                    call(written)
            except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
                self._read_at = float("-inf")
                if str(error) != said:
                    _log.warning("capacity not published: %s", error)
                said = str(error)
            except Exception:
                self._read_at = float("-inf")
                _log.exception("bug while publishing capacity")
            time.sleep(_AT_MOST_EVERY_SECONDS)


def _unknown(before: Listed, error: str) -> Listed:
    """What is left of an earlier list when a driver does not list any more."""
    kept = ("name", "id", "byName")
    pools = [
        {**{key: pool[key] for key in kept if key in pool}, "error": error} for pool in before.pools
    ]
    return Listed([], pools)


def same(there: Object | None, wish: Object, roughly: bool) -> bool:
    """Whether what is published is as wished. roughly: a small difference in size does not
    count."""
    if there is None or there.get("nodeTopology") != wish["nodeTopology"]:
        return False
    owners = [one["uid"] for one in there["metadata"].get("ownerReferences") or []]
    return owners == [one["uid"] for one in wish["metadata"]["ownerReferences"]] and all(
        abs(cluster.size_bytes(there[key]) - int(wish[key]))
        <= (int(wish[key]) // _ROUGHLY if roughly else 0)
        for key in ("capacity", "maximumVolumeSize")
    )
