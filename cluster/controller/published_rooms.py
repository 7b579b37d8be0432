"""The room of nodes as it is published: a CSIStorageCapacity for each node and class.

The scheduler looks at these for every provisioner that has a CSIDriver object with storageCapacity:
true, and does not ask whether the volume is CSI
(pkg/scheduler/framework/plugins/volumebinding/binder.go, hasEnoughCapacity). A driver that lists no
pools has nothing published, and must have no such object."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping

from cluster.controller import cluster, pool_rooms
from cluster.controller.identity import Identity
from cluster.controller.objects import HOSTNAME, ApiObject, Object, StorageClass, table, text
from cluster.controller.quantities import size_bytes
from shared import protocol

# Labels of each object, with hashes for names: those can be longer than a label.
NODE_LABEL = "flexvol/node"
PROVISIONER_LABEL = "flexvol/provisioner"
CLASS_LABEL = "flexvol/class"
ROOM_LABEL = "flexvol/room"  # see pool_rooms.room_step
PASSED_OVER_LABEL = "flexvol/passed-over"  # "true" on a node that is to take no claim by itself
_HASH_DIGITS = 16
# Where the name of the node begins in the name of an object, which deploy/policy.yaml looks at.
_NODE_AT = len("flexvol-") + _HASH_DIGITS + 1
# A smaller part than this of the published size is a small change.
_ROUGHLY = 64
# After this time our own objects are read again: some may have been deleted.
_READ_AGAIN_SECONDS = 120.0
_SIZES = ("capacity", "maximumVolumeSize")
_CONFLICT = 409


class PublishedRoom(ApiObject):
    """A CSIStorageCapacity of ours."""

    @property
    def class_name(self) -> str:
        """The storage class for which the room is."""
        return text(self.json.get("storageClassName"))

    @property
    def topology(self) -> Object:
        """Which node it is, by labels; the API lets nobody change that."""
        return table(self.json.get("nodeTopology"))

    @property
    def hostname(self) -> str:
        """The hostname label of the node that has the room."""
        return text(table(self.topology.get("matchLabels")).get(HOSTNAME))

    @property
    def largest_bytes(self) -> int:
        """The largest volume that the node can make of the class."""
        free = text(self.json.get("capacity")) or "0"
        largest = text(self.json.get("maximumVolumeSize")) or free
        return min(size_bytes(free), size_bytes(largest))

    @property
    def owner_uids(self) -> list[str]:
        """The pod with which the object goes."""
        return [owner["uid"] for owner in self.owner_references]


def collection(namespace: str) -> str:
    """The path of the objects in a namespace."""
    return cluster.in_namespace(namespace, "csistoragecapacities", cluster.STORAGE)


def hashed(name: str) -> str:
    """A name as a label's value."""
    return hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]


def rooms(get: Callable[[str], Object | None], namespace: str) -> dict[str, dict[str, int]]:
    """The largest volume that each node can make: by class, bytes by hostname.

    get: reads a path, as Cluster.get."""
    # Of the API server's cache, because an age of a second does not matter.
    path = cluster.selected(collection(namespace), resourceVersion="0")
    by_class: dict[str, dict[str, int]] = {}
    for room in map(PublishedRoom, (get(path) or {"items": []})["items"]):
        by_class.setdefault(room.class_name, {})[room.hostname] = room.largest_bytes
    return by_class


def wanted(
    classes: Iterable[StorageClass],
    pools: Mapping[str, list[Object]],
    identity: Identity,
    hostname: str,
    owner: Object | None,
    is_passed_over: Callable[[StorageClass], bool] = lambda storage_class: False,
) -> dict[str, Object]:
    """The objects that should exist for a node, by name.

    pools: by driver, as its `list` answers.
    owner: the reference to the pod with which the objects go.
    is_passed_over: whether the node is to take no claim of a class by itself while other nodes
        can."""
    objects = {}
    for storage_class in classes:
        driver = identity.drivers.get(storage_class.provisioner, "")
        if not pools.get(driver):
            continue
        class_hash = hashed(storage_class.name)
        parameters = storage_class.parameters
        pool = pool_rooms.pool_of(parameters, pools[driver])
        largest = pool_rooms.largest_volume(parameters, pool)
        # By this name deploy/policy.yaml knows the node of the object.
        name = f"flexvol-{class_hash}-{identity.node}"
        labels = {
            NODE_LABEL: hashed(identity.node),
            PROVISIONER_LABEL: hashed(storage_class.provisioner),
            CLASS_LABEL: class_hash,
            ROOM_LABEL: str(pool_rooms.room_step(largest)),
            PASSED_OVER_LABEL: str(is_passed_over(storage_class)).lower(),
        }
        objects[name] = {
            "metadata": {
                "name": name,
                "labels": labels,
                "ownerReferences": [owner] if owner else [],
            },
            "nodeTopology": {"matchLabels": {HOSTNAME: hostname}},
            "storageClassName": storage_class.name,
            "capacity": str(pool_rooms.free_bytes(parameters, pool)),
            "maximumVolumeSize": str(largest),
        }
    return objects


def same(published: PublishedRoom | None, wanted_json: Object, roughly: bool) -> bool:
    """Whether an object is published as it is wanted.

    roughly: a small difference in size does not count. Labels of others never count: a webhook may
        put them on whatever is written, and would do so again."""
    if published is None:
        return False
    room = PublishedRoom(wanted_json)
    if published.topology != room.topology or published.owner_uids != room.owner_uids:
        return False
    for key, value in room.labels.items():
        # The label of the room changes with the room.
        if key != ROOM_LABEL and published.labels.get(key) != value:
            return False
    for key in _SIZES:
        if not _is_same_size(published.json.get(key), int(room.json[key]), roughly):
            return False
    return True


def _is_same_size(quantity: object, wanted_bytes: int, roughly: bool) -> bool:
    if not isinstance(quantity, str):
        return False
    allowed_bytes = wanted_bytes // _ROUGHLY if roughly else 0
    return abs(size_bytes(quantity) - wanted_bytes) <= allowed_bytes


class OwnRooms:
    """The objects of this node for the provisioners that its instance serves. One thread at a time
    brings them up to date; the others may ask for them."""

    def __init__(self, api: cluster.Cluster, identity: Identity, namespace: str) -> None:
        """namespace: of the objects."""
        self._api = api
        self._identity = identity
        self._collection = collection(namespace)
        self._published: dict[str, PublishedRoom] = {}  # by name
        self._read_at = float("-inf")
        self._writes = 0

    @property
    def writes(self) -> int:
        """How often something was written."""
        return self._writes

    def of_class(self, class_name: str) -> int | None:
        """The largest volume that is published for the class; None if nothing is."""
        for room in list(self._published.values()):
            if room.class_name == class_name:
                return room.largest_bytes
        return None

    def publish(self, objects: Mapping[str, Object], unheard: set[str], roughly: bool) -> None:
        """Brings what is published up to date.

        objects: that should exist, by name.
        unheard: the classes whose objects stay although they are not among these.
        roughly: but for small changes of size.
        :raises Refused, Unreachable: by the API server.
        :raises Unavailable: if Kubernetes has no such objects."""
        if time.monotonic() - self._read_at > _READ_AGAIN_SECONDS:
            self._published = self._read()
            self._read_at = time.monotonic()
        for name, json in objects.items():
            if not same(self._published.get(name), json, roughly):
                self._write(name, json)
        for name, room in list(self._published.items()):
            if name not in objects and room.class_name not in unheard:
                self._api.delete(cluster.path_to(self._collection, name), room.uid)
                del self._published[name]

    def add(self, objects: Mapping[str, Object]) -> None:
        """Publishes those of the objects that are not published at all. What is published stays as
        it is, because the caller may not know yet what else should exist.

        :raises Refused, Unreachable: by the API server."""
        for name, json in objects.items():
            if name not in self._published:
                self._write(name, json)

    def read_again(self) -> None:
        """The next `publish` reads the objects first, because nobody knows which ones exist."""
        self._read_at = float("-inf")

    def _read(self) -> dict[str, PublishedRoom]:
        """The objects of this node and these provisioners, by name; other instances on this node
        may serve others. Read from the API server's cache, so that an object may be missing."""
        provisioners = ",".join(sorted(map(hashed, self._identity.drivers)))
        node = hashed(self._identity.node)
        labels = f"{NODE_LABEL}={node},{PROVISIONER_LABEL} in ({provisioners})"
        path = cluster.selected(
            self._collection,
            labelSelector=labels,
            resourceVersion="0",
        )
        answer = self._api.get(path)
        if answer is None:
            raise protocol.Unavailable(
                "this Kubernetes has no CSIStorageCapacity in storage.k8s.io/v1: it is older than "
                "1.24, and flexvol needs 1.24 or newer"
            )
        by_name = {room.name: room for room in map(PublishedRoom, answer["items"])}
        return {
            name: room for name, room in by_name.items() if name[_NODE_AT:] == self._identity.node
        }

    def _write(self, name: str, json: Object) -> None:
        path = cluster.path_to(self._collection, name)
        try:
            written = self._replace(self._published.get(name), path, json)
        except cluster.Refused as error:
            if error.status != _CONFLICT:
                raise
            # The object exists, and the list did not have it: an older flexvol made the object, or
            # the object was just made.
            published = PublishedRoom.of(self._api.get(path))
            written = self._replace(published, path, json)
        self._published[name] = written
        self._writes += 1

    def _replace(self, published: PublishedRoom | None, path: str, json: Object) -> PublishedRoom:
        """Changes or makes the object; makes a new one where the topology, which cannot be changed,
        is another."""
        if published is not None and published.topology != json["nodeTopology"]:
            self._api.delete(path, published.uid)
            published = None
        written = None
        if published is not None:
            written = self._api.patch(path, json)
        return PublishedRoom(written or self._api.create(self._collection, json))
