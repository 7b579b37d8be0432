"""A cluster of two nodes with one volume, as the command `move` sees it: an API server, and a
driver on each node. The process of the command can be killed after each of its changes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from cluster.controller import cluster
from cluster.controller.objects import Object, Volume
from cluster.controller.storage import Listed
from cluster.kubectl.move.access import Access
from cluster.kubectl.move.moving import move
from cluster.kubectl.move.plans import plan_path
from cluster.kubectl.nodes import FlexvolNode
from shared.options import Options

DRIVER = "flexvol/loop"
NAME = "pvc-u1"
CLAIM = {"namespace": "shop", "name": "data", "uid": "u1"}
PIECES = [b"first", b"second"]
FINALIZERS = ["kubernetes.io/pv-protection", "backup.example/keep"]


class Killed(BaseException):
    """The process of the command is gone."""


def merged(existing: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(existing) if isinstance(existing, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def volume() -> Object:
    annotations = {
        "flexvol/identity": "node1",
        "pv.kubernetes.io/provisioned-by": "loop.flexvol",
    }
    return {
        "metadata": {
            "name": NAME,
            "uid": "v0",
            "resourceVersion": "0",
            "annotations": annotations,
            "finalizers": FINALIZERS,
        },
        "spec": {
            "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": CLAIM,
            "flexVolume": {"driver": DRIVER, "options": {"pool": "fast", "poolId": "p-node1"}},
            "nodeAffinity": {"required": {}},
        },
        "status": {"phase": "Bound"},
    }


def node(name: str) -> Object:
    labels = {"kubernetes.io/hostname": f"host-{name}"}
    ready = {"type": "Ready", "status": "True"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {"conditions": [ready]},
    }


class World:
    """Stands in for the Cluster. copies: the volume as each node lists it."""

    name = "world"

    def __init__(self) -> None:
        self.copies: dict[str, Object] = {"node1": self._entry("node1")}
        self.said: list[str] = []
        self.phase_of_new = "Bound"  # of a PV when it is made
        self._left = 0
        self._versions = 0
        claim_path = cluster.claim_path("shop", "data")
        claim = {"metadata": CLAIM, "spec": {"volumeName": NAME}, "status": {"phase": "Bound"}}
        self._objects = {
            claim_path: claim,
            cluster.path_to(cluster.VOLUMES, NAME): volume(),
            cluster.path_to(cluster.NODES, "node1"): node("node1"),
            cluster.path_to(cluster.NODES, "node2"): node("node2"),
        }

    def move(self, to: str, killed_after: int = 0) -> None:
        """killed_after: how many changes; 0 for a process that lives."""
        self._left = killed_after
        api: Any = self
        drivers = {"loop.flexvol": DRIVER}
        move(Access(api, drivers, "flexvol", self.said.append), NAME, to)

    @property
    def pv(self) -> Volume | None:
        return Volume.of(self.get(cluster.path_to(cluster.VOLUMES, NAME)))

    @property
    def is_planned(self) -> bool:
        return self.get(plan_path("flexvol", NAME)) is not None

    def _entry(self, name: str) -> Object:
        pool = {"pool": "fast", "poolId": f"p-{name}"}
        return {"name": NAME, **pool, "sizeBytes": 1 << 30, "owner": CLAIM, "options": pool}

    def changed(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Killed

    # The API server.

    def get(self, path: str, seconds: float = 0) -> Object | None:
        if path.endswith("/pods"):
            return {"items": []}
        found = self._objects.get(path)
        if found is None:
            return None
        metadata = found["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            del self._objects[path]
            return None
        return copy.deepcopy(found)

    def claim(self, reference: Object) -> Object | None:
        return self.get(cluster.claim_path(reference["namespace"], reference["name"]))

    def create(self, path: str, body: Object) -> Object:
        whole = copy.deepcopy(body)
        whole["metadata"].update(self._new_version(), uid=f"uid-{self._versions}")
        if path == cluster.VOLUMES:
            whole["status"] = {"phase": self.phase_of_new}
        self._objects[cluster.path_to(path, body["metadata"]["name"])] = whole
        self.changed()
        return copy.deepcopy(whole)

    def patch(self, path: str, body: Object, seconds: float = 0) -> Object | None:
        changed: Object = merged(self._objects[path], body)
        changed["metadata"].update(self._new_version())
        self._objects[path] = changed
        self.changed()
        return copy.deepcopy(changed)

    def delete(self, path: str, uid: str) -> None:
        metadata = self._objects[path]["metadata"]
        assert metadata["uid"] == uid
        if metadata.get("finalizers"):
            metadata["deletionTimestamp"] = "now"
        else:
            del self._objects[path]
        self.changed()

    def _new_version(self) -> dict[str, str]:
        self._versions += 1
        return {"resourceVersion": str(self._versions)}

    # The nodes.

    def execute(
        self,
        pod: str,
        argv: list[str],
        feed: Iterator[bytes] | None = None,
        take: Callable[[bytes], None] | None = None,
        seconds: float = 0,
    ) -> tuple[int, bytes, str]:
        _, _, name = pod.partition("/")
        if "export" in argv:
            assert take is not None
            self.copies[name].update(state="moving", move=argv[argv.index("--move") + 1])
            for piece in PIECES:
                take(piece)
            return 0, b"", ""
        if "--arrived" in argv:
            return 0, b"0\n", ""
        if feed is not None:
            assert list(feed) == PIECES
            self.copies[name] = {**self._entry(name), "move": argv[argv.index("--move") + 1]}
            self.changed()
        return 0, b"", ""


class Storage:
    """The driver of a node; stands in for NodeStorage."""

    def __init__(self, world: World, flexvol: FlexvolNode) -> None:
        self._world = world
        self._node = flexvol.name

    def list(self, driver: str) -> Listed:
        pool = {"name": "fast", "id": f"p-{self._node}", "freeBytes": 8 << 30}
        entry = self._world.copies.get(self._node)
        return Listed([] if entry is None else [copy.deepcopy(entry)], [pool])

    def delete(self, driver: str, request: Options) -> None:
        del self._world.copies[self._node]
        self._world.changed()

    def adopt(self, driver: str, request: Options) -> None:
        entry = self._world.copies[self._node]
        self._world.copies[self._node] = {
            key: value for key, value in entry.items() if key not in ("state", "move")
        }
        self._world.changed()
