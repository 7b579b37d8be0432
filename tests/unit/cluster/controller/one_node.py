"""A node's part that makes volumes, with a driver that is a script and an API server that has the
node and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cluster.controller.provision import Provision
from cluster.controller.secrets import Secrets
from cluster.controller.storage import Storage
from cluster.controller.workqueue import WorkQueue
from tests.unit.cluster.controller.objects import NODE as US
from tests.unit.cluster.controller.objects import claim, storage_class

NODE = {"metadata": {"name": "node1", "labels": {"kubernetes.io/hostname": "node1"}}}


class Api:
    """Knows the node, and notes what is read, and what it is asked to change."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.patched: list[tuple[str, Any]] = []
        self.node: dict[str, Any] = copy.deepcopy(NODE)

    def uid(self) -> str:
        return "cluster"

    def get(self, path: str) -> Any:
        self.read.append(path)
        return self.node if path == "/api/v1/nodes/node1" else None

    def patch(self, path: str, change: Any) -> None:
        self.patched.append((path, change))


class Parts:
    def __init__(self, plugins: Path) -> None:
        self.api, self.work, self.said = Api(), WorkQueue(), list[str]()
        self.announced: list[str] = []  # the reasons of the events that are no warnings
        events: Any = SimpleNamespace(
            normal=lambda about, reason, message: self.announced.append(reason),
            warning=lambda about, reason, message: self.said.append(message),
        )
        api: Any = self.api
        secrets = Secrets(api, US, "flexvol")
        self.storage = Storage(str(plugins))
        self.provision = Provision(api, self.storage, events, self.work, US, secrets)


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
