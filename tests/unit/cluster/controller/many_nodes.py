"""Any number of nodes, each with a provisioner and its own published room in one collection, which
answers as the API server does."""

from __future__ import annotations

import copy
import heapq
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cluster.controller import cluster
from cluster.controller.identity import Identity
from cluster.controller.objects import Claim, StorageClass
from cluster.controller.storage import Listed
from tests.unit.cluster.controller.objects import claim, storage_class
from tests.unit.cluster.controller.publishing import Publishing, publishing

GIB = 1 << 30
CLASS = {**storage_class(late=False), "metadata": {"name": "c"}}
_IN = re.compile(r"([a-z/]+) in \(([^)]*)\)|([a-z/]+)=([^,]*)")
_NOT_IN = re.compile(r"([-a-z/]+) notin \(([^)]*)\)")


class Collection:
    """The capacity objects of all nodes, and each node's hostname label."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.read: list[int] = []  # how many objects each list had
        self.specs: dict[str, dict[str, Any]] = {}  # of nodes, by name
        self._uids = 0

    def get(self, path: str) -> Any:
        parts = urlsplit(path)
        name = parts.path.rpartition("/")[2]
        if "/nodes/" in parts.path:
            labels = {"kubernetes.io/hostname": name}
            return {"metadata": {"labels": labels}, "spec": self.specs.get(name, {})}
        if name != "csistoragecapacities":
            return copy.deepcopy(self.objects.get(name))
        words = {key: values[0] for key, values in parse_qs(parts.query).items()}
        wanted = _selected(words.get("labelSelector", ""))
        items = [self.objects[key] for key in sorted(self.objects) if wanted(self.objects[key])]
        limit = int(words.get("limit", len(items)))
        metadata = {"continue": "more"} if len(items) > limit else {}
        self.read.append(len(items[:limit]))
        return {"items": copy.deepcopy(items[:limit]), "metadata": metadata}

    def create(self, path: str, wish: dict[str, Any]) -> dict[str, Any]:
        name = wish["metadata"]["name"]
        if name in self.objects:
            raise cluster.Refused(409, "it exists")
        self._uids += 1
        made = copy.deepcopy(wish)
        made["metadata"]["uid"] = str(self._uids)
        self.objects[name] = made
        return made

    def patch(self, path: str, wish: dict[str, Any]) -> dict[str, Any] | None:
        name = wish["metadata"]["name"]
        if name not in self.objects:
            return None
        uid = self.objects[name]["metadata"]["uid"]
        self.objects[name] = {
            **copy.deepcopy(wish),
            "metadata": {**wish["metadata"], "uid": uid},
        }
        return self.objects[name]

    def delete(self, path: str, uid: str) -> None:
        name = path.rpartition("/")[2]
        assert self.objects[name]["metadata"]["uid"] == uid
        del self.objects[name]


def _selected(selector: str) -> Callable[[dict[str, Any]], bool]:
    allowed = {}
    for match in _IN.finditer(selector):
        allowed[match[1] or match[3]] = set((match[2] or match[4]).split(","))
    excluded = {match[1]: set(match[2].split(",")) for match in _NOT_IN.finditer(selector)}

    def is_selected(one: dict[str, Any]) -> bool:
        labels = one["metadata"]["labels"]
        is_excluded = any(labels.get(key) in values for key, values in excluded.items())
        fits = all(labels.get(key) in values for key, values in allowed.items())
        return fits and not is_excluded

    return is_selected


def publisher(
    collection: Collection,
    node: str,
    free: int,
    drivers: dict[str, str] | None = None,
    classes: list[dict[str, Any]] | None = None,
) -> Publishing:
    """The node's parts, with one pool of so much room; it has published that."""
    pools = [{"name": "only", "freeBytes": free}]
    identity = Identity(drivers or {"loop.flexvol": "flexvol/loop"}, node, node)
    found = [CLASS] if classes is None else classes
    made = publishing(collection, lambda driver: Listed([], pools), identity, found)
    made.rooms._read_at = time.monotonic()  # nothing is there yet
    made.capacity.publish()
    return made


def nodes_of(
    rooms: list[int], specs: dict[str, dict[str, Any]] | None = None
) -> tuple[Collection, dict[str, Publishing]]:
    """specs: of the Node objects, by name."""
    collection = Collection()
    collection.specs = specs or {}
    nodes = {
        f"n{number}": publisher(
            collection,
            f"n{number}",
            free,
        )
        for number, free in enumerate(rooms)
    }
    return collection, nodes


def taken_by(
    nodes: dict[str, Publishing], uid: str, size: str = "1Gi", until_seconds: float = 60.0
) -> tuple[str, float]:
    """Who takes a claim that all nodes see at the same moment, and after how many seconds."""
    wanted = claim(resources={"requests": {"storage": size}})
    wanted["metadata"].update(uid=uid)
    looks = [(0.0, name) for name in nodes]
    heapq.heapify(looks)
    while looks:
        waited_seconds, name = heapq.heappop(looks)
        if waited_seconds > until_seconds:
            break
        turn_seconds = nodes[name].turns.seconds(
            Claim(wanted),
            StorageClass(CLASS),
            waited_seconds,
        )
        if turn_seconds is not None and turn_seconds <= waited_seconds:
            return name, waited_seconds
        if turn_seconds is not None:
            heapq.heappush(looks, (turn_seconds, name))
    return "", 0.0
