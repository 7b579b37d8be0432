"""What the scheduler may count on: a CSIStorageCapacity for each class of ours, from what the
driver's pools have left.

The scheduler looks at these for every provisioner that has a CSIDriver object with storageCapacity:
true; it never asks whether the volume is CSI
(pkg/scheduler/framework/plugins/volumebinding/binder.go, hasEnoughCapacity). A driver that lists no
pools has nothing published, and must have no such object."""

from __future__ import annotations

import hashlib
import logging
import math
import random
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from cluster.controller import cluster, decide, quantities
from cluster.controller.listing import Listing
from cluster.controller.storage import Listed, Storage
from shared import protocol

Object = dict[str, Any]
# Labels of each object, with hashes for names: what may be published for is longer than a label.
NODE_LABEL = "flexvol/node"
PROVISIONER_LABEL = "flexvol/provisioner"
CLASS_LABEL = "flexvol/class"
ROOM_LABEL = "flexvol/room"  # see room_step
PASSED_OVER_LABEL = "flexvol/passed-over"  # "true" on a node that is to take no claim by itself
# A fiftieth of the time goes into looking for what changes without us: a disk that others fill, a
# pool that is mounted. A driver that takes long is asked again after _EVERY_SECONDS.
_OFTEN_SECONDS, _EVERY_SECONDS, _SHARE = 2.0, 15.0, 50
# A change of less than this part, which nothing of ours made, waits until _EXACT_SECONDS are over:
# each pod that writes takes room. At 1000 nodes a write of each every 15 s was 200 writes a second.
_ROUGHLY = 64
_EXACT_SECONDS = 300.0
_AT_MOST_EVERY_SECONDS = 1.0
_FOUND_AGAIN_SECONDS = 120.0
# So many steps of room are told apart in each doubling of it, by ROOM_LABEL.
_STEPS_A_DOUBLING = 4
_STEPS = 64 * _STEPS_A_DOUBLING
# A claim that is bound at once needs no more nodes compared than these; one object has about 1 KB.
_COMPARED = 16
_HASH_DIGITS = 16
_NODE_AT = len("flexvol-") + _HASH_DIGITS + 1
_log = logging.getLogger("capacity")


def wanted(
    classes: list[Object],
    pools: dict[str, list[Object]],
    us: decide.Identity,
    hostname: str,
    owner: Object | None,
    is_passed_over: Callable[[Object], bool] = lambda storage_class: False,
) -> dict[str, Object]:
    """The objects that should exist, by name. pools: by driver, as its `list` answered. owner: the
    reference to the pod with which they go. is_passed_over: whether the node is to take no claim of
    a class by itself while other nodes can. A class names its pool by the parameter `pool`; a
    class without it means the pool `default`, or the only one."""
    objects = {}
    for storage_class in classes:
        driver = us.drivers.get(storage_class["provisioner"])
        if driver is None or not pools.get(driver):
            continue
        class_name = storage_class["metadata"]["name"]
        parameters = storage_class.get("parameters") or {}
        pool = _pool_of(parameters, pools[driver])
        free, largest = _room(pool, decide.fs_type_of(parameters))
        # By the name deploy/policy.yaml knows whose the object is.
        name = f"flexvol-{_hash(class_name)}-{us.node}"
        objects[name] = {
            "metadata": {
                "name": name,
                "labels": {
                    NODE_LABEL: _hash(us.node),
                    PROVISIONER_LABEL: _hash(storage_class["provisioner"]),
                    CLASS_LABEL: _hash(class_name),
                    ROOM_LABEL: str(room_step(largest)),
                    PASSED_OVER_LABEL: str(is_passed_over(storage_class)).lower(),
                },
                "ownerReferences": [owner] if owner else [],
            },
            "nodeTopology": {"matchLabels": {decide.HOSTNAME: hostname}},
            "storageClassName": class_name,
            "capacity": str(free),
            "maximumVolumeSize": str(largest),
        }
    return objects


def _pool_of(parameters: dict[str, str], pools: list[Object]) -> Object:
    """The pool that the class means, as its driver lists it; {} if it is not on this node, or its
    disk is away."""
    name = pool_name(parameters, pools)
    for pool in pools:
        if pool.get("name") == name and not pool.get("error"):
            return pool
    return {}


def room_step(size_bytes: int) -> int:
    """Which step of room the largest possible volume is on: a quarter of a doubling each, so that
    nodes with more room can be asked for by label. 0 is no room."""
    if size_bytes < 1:
        return 0
    return min(_STEPS, 1 + int(math.log2(size_bytes) * _STEPS_A_DOUBLING))


def _room(pool: Object, fs_type: str) -> tuple[int, int]:
    """The bytes that volumes of that file system can have in the pool, and the largest one.

    Both are 0 where not even the smallest volume fits. A driver makes a smaller claim as large as
    its file system must be. A claim of 64Mi would otherwise seem to fit into 200 MiB, be refused
    as xfs needs 300 MiB, and be sent to the same node again, for ever."""
    free = max(0, int(pool.get("freeBytes", 0)))
    largest = min(free, max(0, int(pool.get("maximumVolumeBytes", free))))
    if largest < smallest_volume(fs_type, pool):
        return 0, 0
    return free, largest


def smallest_volume(fs_type: str, pool: Object) -> int:
    """The bytes of the smallest volume with that file system; 0 if the driver does not tell."""
    least = pool.get("minimumVolumeBytes")
    return int(least.get(fs_type, 0)) if isinstance(least, dict) else 0


def largest_volume(parameters: dict[str, str], pool: Object) -> int:
    """The bytes of the largest volume that a class with these parameters can have in the pool."""
    return _room(pool, decide.fs_type_of(parameters))[1]


def pool_name(parameters: dict[str, str], pools: list[Object]) -> str:
    """The name of the pool that the class means on a node with these pools, which may lack it."""
    return parameters.get("pool") or _default_name(pools)


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
    # Of the API server's cache: a second's age does not matter.
    path = cluster.selected(_collection(namespace), resourceVersion="0")
    found: dict[str, dict[str, int]] = {}
    for one in (get(path) or {"items": []})["items"]:
        hostname, room = _room_told(one)
        found.setdefault(one["storageClassName"], {})[hostname] = room
    return found


def _room_told(told: Object) -> tuple[str, int]:
    """The hostname that a published object is about, and the bytes of the largest volume there."""
    labels = (told.get("nodeTopology") or {}).get("matchLabels") or {}
    free = quantities.size_bytes(told.get("capacity", "0"))
    largest = quantities.size_bytes(told.get("maximumVolumeSize") or told.get("capacity", "0"))
    return labels.get(decide.HOSTNAME, ""), min(free, largest)


def _collection(namespace: str) -> str:
    return cluster.in_namespace(namespace, "csistoragecapacities", cluster.STORAGE)


class Rivals(NamedTuple):
    """The nodes that have as much room for a class as we, or more.

    rooms: bytes by hostname, of some of them. are_all: whether it is all of them. have_more: if
    not, whether one has more room than we."""

    rooms: dict[str, int]
    are_all: bool
    have_more: bool


_NOT_LOOKED = (float("-inf"), Rivals({}, True, False))


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
        self._api = api
        self._us = us
        self._owner = owner
        self._classes = classes
        self._hostname = hostname
        self._collection = _collection(namespace)
        # Called after each round, with whether our room has changed.
        self.after: list[Callable[[bool], None]] = []
        # As `wanted` asks it.
        self.is_passed_over: Callable[[Object], bool] = lambda storage_class: False
        self._published: dict[str, Object] = {}
        self._read_at = self._exact_at = float("-inf")
        self._pause_seconds = _OFTEN_SECONDS
        self._exact_seconds = _EXACT_SECONDS
        self._rivals: dict[str, tuple[float, Rivals]] = {}  # by class, and when they were read
        self._written = False
        self._lock = threading.Lock()
        self._changed = threading.Event()  # something of ours has
        self._has_late_list = False
        self._woken = threading.Event()  # by either
        self.listing = Listing(storage.list, us.drivers.values(), self.came_late)
        self.thread = threading.Thread(target=self._run, name="capacity", daemon=True)

    @property
    def listed(self) -> dict[str, Listed]:
        """By driver, as Listing.listed has it."""
        return self.listing.listed()

    def changed(self) -> None:
        """Something of ours took room or gave it back."""
        self._changed.set()
        self._woken.set()

    def came_late(self) -> None:
        """A driver has listed after it was not waited for any more."""
        self._has_late_list = True
        self._woken.set()

    def rivals(self, class_name: str) -> Rivals:
        """How our room for the class compares, as of a second ago. Raises Refused or
        Unreachable."""
        read_at, rivals = self._rivals.get(class_name, _NOT_LOOKED)
        if time.monotonic() - read_at > _AT_MOST_EVERY_SECONDS:
            rivals = self._read_rivals(class_name)
            self._rivals[class_name] = (time.monotonic(), rivals)
        return rivals

    def is_crowd(self, class_name: str) -> bool:
        """Whether, when we looked last, more nodes than are compared had as much room as we."""
        return not self._rivals.get(class_name, _NOT_LOOKED)[1].are_all

    def room(self, class_name: str) -> int | None:
        """The largest volume that we have published for the class; None if nothing is."""
        for one in list(self._published.values()):
            if one["storageClassName"] == class_name:
                return _room_told(one)[1]
        return None

    def all_rivals(self, class_name: str) -> Rivals:
        """As rivals, read now, with the nodes that are passed over."""
        return self._read_rivals(class_name, everyone=True)

    def others_fit(self, class_name: str, size_bytes: int) -> bool:
        """Whether a node that is not passed over has room for a volume of the class. Raises Refused
        or Unreachable."""
        steps = range(room_step(size_bytes), _STEPS + 1)
        some = self._of_class(class_name, steps, _COMPARED)
        rooms = dict(map(_room_told, some["items"]))
        rooms.pop(self._hostname(), None)  # we were not passed over a moment ago
        fits = any(room >= size_bytes for room in rooms.values())
        return fits or bool(some["metadata"].get("continue"))

    def _read_rivals(self, class_name: str, everyone: bool = False) -> Rivals:
        own = self.room(class_name)
        if own is None:
            return Rivals({}, True, False)
        step = room_step(own)
        alike = self._of_class(class_name, range(step, _STEPS + 1), _COMPARED, everyone)
        rooms = dict(map(_room_told, alike["items"]))
        if not alike["metadata"].get("continue"):
            return Rivals(rooms, True, False)
        above = self._of_class(class_name, range(step + 1, _STEPS + 1), 1, everyone)
        return Rivals(rooms, False, bool(above["items"]))

    def _of_class(
        self, class_name: str, steps: range, limit: int, everyone: bool = False
    ) -> Object:
        """The first objects that are published for the class with room on one of the steps.
        everyone: also those of nodes that are passed over."""
        if not steps:
            return {"items": [], "metadata": {}}
        words = f"{CLASS_LABEL}={_hash(class_name)},{ROOM_LABEL} in ({','.join(map(str, steps))})"
        if not everyone:
            words += f",{PASSED_OVER_LABEL} notin (true)"
        path = cluster.selected(self._collection, labelSelector=words, limit=str(limit))
        return self._api.get(path) or {"items": [], "metadata": {}}

    def has_pools(self, driver: str) -> bool:
        """False only if the driver was asked and lists none: its room is nowhere published."""
        listed = self.listed
        return driver not in listed or bool(listed[driver].pools)

    def publish(self, roughly: bool = False) -> None:
        """Brings the objects up to date, now. roughly: but for small changes, unless something of
        ours has changed. Raises Refused or Unreachable; and, when everything is published, the
        Failure of a driver that does not list."""
        failure = self._publish(roughly)
        if failure is not None:
            raise failure

    def _publish(self, roughly: bool, lists: bool = True) -> protocol.Failure | None:
        """As publish, but returns the Failure of a driver that does not list. lists: whether the
        drivers are asked before."""
        with self._lock:
            roughly, began = roughly and not self._changed.is_set(), time.monotonic()
            self._changed.clear()
            failure = self.listing.refresh() if lists else None
            looking_seconds = _SHARE * self.listing.slowest_seconds()
            self._pause_seconds = min(max(_OFTEN_SECONDS, looking_seconds), _EVERY_SECONDS)
            pools = {driver: listed.pools for driver, listed in self.listed.items()}
            objects = wanted(
                self._classes(),
                pools,
                self._us,
                self._hostname(),
                self._owner,
                self.is_passed_over,
            )
            if time.monotonic() - self._read_at > _FOUND_AGAIN_SECONDS:
                # Some may have been deleted, or be an older flexvol's.
                self._published = self._read_own()
                self._read_at = time.monotonic()
            for name, wish in objects.items():
                if not same(self._published.get(name), wish, roughly):
                    self._write(name, wish)
            unheard = self._unheard_classes()
            for name in [name for name in self._published if name not in objects]:
                if self._published[name]["storageClassName"] in unheard:
                    continue
                self._api.delete(
                    cluster.path_to(self._collection, name),
                    self._published[name]["metadata"]["uid"],
                )
                del self._published[name]
            if not roughly:
                self._exact_at = began
                self._exact_seconds = _EXACT_SECONDS * random.uniform(0.75, 1.25)
            return failure

    def _read_own(self) -> dict[str, Object]:
        """What is published of this node for the provisioners that we serve, by name; others on
        this node may serve others. It is of the API server's cache, so an object may be missing.
        Raises Unavailable where Kubernetes has no such objects."""
        provisioners = ",".join(sorted(map(_hash, self._us.drivers)))
        words = f"{NODE_LABEL}={_hash(self._us.node)},{PROVISIONER_LABEL} in ({provisioners})"
        path = cluster.selected(self._collection, labelSelector=words, resourceVersion="0")
        there = self._api.get(path)
        if there is None:
            raise protocol.Unavailable(
                "this Kubernetes has no CSIStorageCapacity in storage.k8s.io/v1: it is older than "
                "1.24, and flexvol needs 1.24 or newer"
            )
        names = {one["metadata"]["name"]: one for one in there["items"]}
        return {name: one for name, one in names.items() if name[_NODE_AT:] == self._us.node}

    def _unheard_classes(self) -> set[str]:
        """The names of the classes whose driver has not answered yet. What was published for them
        before this process began stays until then."""
        unheard = self.listing.unheard()
        return {
            storage_class["metadata"]["name"]
            for storage_class in self._classes()
            if self._us.drivers.get(storage_class["provisioner"]) in unheard
        }

    def _write(self, name: str, wish: Object) -> None:
        path = cluster.path_to(self._collection, name)
        try:
            written = self._replace(self._published.get(name), path, wish)
        except cluster.Refused as error:
            if error.status != 409:
                raise
            # It is there, and the list did not have it: of an older flexvol, or just made.
            written = self._replace(self._api.get(path), path, wish)
        self._published[name] = written
        self._written = True
        # What is known of the others is old now, but that there are many of them.
        self._rivals = {name: (_NOT_LOOKED[0], known) for name, (_, known) in self._rivals.items()}

    def _replace(self, there: Object | None, path: str, wish: Object) -> Object:
        """Makes what is there as wished; makes it anew where its topology, which cannot be changed,
        is another."""
        if there is not None and there.get("nodeTopology") != wish["nodeTopology"]:
            self._api.delete(path, there["metadata"]["uid"])
            there = None
        written = self._api.patch(path, wish) if there is not None else None
        return written or self._api.create(self._collection, wish)

    def _round(self) -> None:
        """Raises as `publish`, but not for a driver that does not list: its listing logs that. A
        list that came late is published as it is: a driver that is always late would otherwise be
        asked without a pause."""
        is_for_late_list = self._has_late_list and not self._changed.is_set()
        self._has_late_list = False
        roughly = time.monotonic() - self._exact_at < self._exact_seconds
        self._publish(roughly, lists=not is_for_late_list)
        written = self._written
        self._written = False
        for call in self.after:
            call(written)

    def _run(self) -> None:
        said = ""
        while True:
            self._woken.wait(self._pause_seconds)
            self._woken.clear()
            try:
                self._round()
                said = ""
            except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
                self._read_at = float("-inf")
                if str(error) != said:
                    _log.warning("capacity not published: %s", error)
                said = str(error)
            except Exception:
                self._read_at = float("-inf")
                _log.exception("bug while publishing capacity")
            time.sleep(_AT_MOST_EVERY_SECONDS)


def same(there: Object | None, wish: Object, roughly: bool) -> bool:
    """Whether what is published is as wished. roughly: a small difference in size does not
    count. Labels of others do not count either: a webhook may put them on whatever is written, and
    would do so again."""
    if there is None or there.get("nodeTopology") != wish["nodeTopology"]:
        return False
    labels = there["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in _names(wish).items()):
        return False
    if any(key not in there for key in ("capacity", "maximumVolumeSize")):
        return False
    owners = [one["uid"] for one in there["metadata"].get("ownerReferences") or []]
    return owners == [one["uid"] for one in wish["metadata"]["ownerReferences"]] and all(
        abs(quantities.size_bytes(there[key]) - int(wish[key]))
        <= (int(wish[key]) // _ROUGHLY if roughly else 0)
        for key in ("capacity", "maximumVolumeSize")
    )


def _names(wish: Object) -> dict[str, str]:
    """The labels that say what an object is about. That of its room changes with the room."""
    labels = wish["metadata"]["labels"]
    return {key: value for key, value in labels.items() if key != ROOM_LABEL}
