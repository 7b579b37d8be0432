"""A node's part that makes volumes, with a driver that is a script and an API server that has the
node and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cluster.controller.cluster import claim_path
from cluster.controller.companions import Companions
from cluster.controller.copy_sources import CopySources
from cluster.controller.instance import Instance
from cluster.controller.own_node import OwnNode
from cluster.controller.provision import NodeParts, Provision
from cluster.controller.rivals import Comparison
from cluster.controller.room_news import RoomNews
from cluster.controller.secrets import Secrets
from cluster.controller.storage import Storage
from cluster.controller.storage_classes import StorageClasses
from cluster.controller.taking import Taking
from cluster.controller.turns import Turns
from cluster.controller.waiting_claims import VolumesOfClaims, WaitingClaims
from cluster.controller.workqueue import Key, WorkQueue
from tests.unit.cluster.controller.objects import NODE as US
from tests.unit.cluster.controller.objects import claim, storage_class

NODE = {"metadata": {"name": "node1", "labels": {"kubernetes.io/hostname": "node1"}}}


class Api:
    """Knows the node, and notes what is read, and what it is asked to change and to create.

    objects: what else there is, by path."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.patched: list[tuple[str, Any]] = []
        self.created: list[Any] = []
        self.objects: dict[str, Any] = {}
        self.node: dict[str, Any] = copy.deepcopy(NODE)

    def uid(self) -> str:
        return "cluster"

    def get(self, path: str) -> Any:
        self.read.append(path)
        return self.node if path == "/api/v1/nodes/node1" else self.objects.get(path)

    def claim(self, reference: Any) -> Any:
        return self.objects.get(claim_path(reference["namespace"], reference["name"]))

    def create(self, _: str, body: Any) -> None:
        self.created.append(body)

    def patch(self, path: str, change: Any) -> None:
        self.patched.append((path, change))


class Parts:
    """The parts that serve claims on a node. The scheduler's side is a node with room for all, with
    which no other compares."""

    def __init__(self, plugins: Path) -> None:
        self.api = Api()
        self.said: list[str] = []
        self.announced: list[str] = []  # the reasons of the events that are no warnings
        events: Any = SimpleNamespace(
            normal=lambda about, reason, message: self.announced.append(reason),
            warning=lambda about, reason, message: self.said.append(message),
        )
        api: Any = self.api
        self.storage = Storage(str(plugins))
        self.work = WorkQueue[Key]()
        secrets = Secrets(api, US, "flexvol")
        instance = Instance(api, US, self.storage, events, self.work, secrets)
        self.news = RoomNews()
        self.claims = WaitingClaims(self.work, US)
        self.volumes = VolumesOfClaims(self.claims)
        self.classes = StorageClasses(self.claims, self.news)
        room = 1 << 30
        rooms: Any = SimpleNamespace(of_class=lambda name: room)
        rivals: Any = SimpleNamespace(
            are_crowd=lambda name: False, compared=lambda name: Comparison({"node1": room})
        )
        listing: Any = SimpleNamespace(has_pools=lambda driver: True)
        capacity: Any = SimpleNamespace(publish=lambda: None)
        self.node = OwnNode(instance, self.classes, rooms, self.news)
        turns = Turns(self.node, rivals, listing, CopySources(instance))
        taking = Taking(instance, self.claims, self.node, turns, capacity)
        self.seconds = 0.0  # since the node began
        companions = Companions(instance, self.claims, self.classes, lambda: self.seconds)
        on_node = NodeParts(self.node, taking, companions)
        self.provision = Provision(
            instance,
            self.claims,
            self.classes,
            self.news,
            on_node,
        )


def our_class(version: str, late: bool = True) -> dict[str, Any]:
    return {
        **storage_class(late=late),
        "metadata": {"name": "c", "uid": "class", "resourceVersion": version},
    }


def driver(plugins: Path, script: str) -> None:
    path = plugins / "flexvol~loop/loop"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)


def waiting(uid: str, **changes: Any) -> dict[str, Any]:
    made = claim(resources={"requests": {"storage": "1Mi"}}, **changes)
    made["metadata"].update(name=uid, uid=uid, resourceVersion="7")
    return made
