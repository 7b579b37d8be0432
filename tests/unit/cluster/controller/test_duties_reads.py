"""What the duties read while a claim waits that no node can take, however many nodes there are."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from cluster.controller import cluster_duties
from cluster.controller.cluster_duties import ClusterDuties, Settings
from tests.unit.cluster.controller.objects import claim, storage_class

GIB = 1 << 30


class Api:
    """A cluster of so many nodes, each with 1 GiB of room, and what is read of it."""

    def __init__(self, nodes: int) -> None:
        self.read: list[str] = []
        self._told = [told(number) for number in range(nodes)]

    def items(self, path: str) -> list[Any]:
        return []

    def get(self, path: str) -> Any:
        collection = urlsplit(path).path
        self.read.append(collection.rpartition("/")[2])
        if collection.endswith("/csistoragecapacities"):
            return {"items": self._told}
        return {**storage_class(late=False), "metadata": {"name": "c"}}


def told(number: int) -> dict[str, Any]:
    return {
        "storageClassName": "c",
        "nodeTopology": {"matchLabels": {"kubernetes.io/hostname": f"h{number}"}},
        "capacity": str(GIB),
    }


def node(number: int) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": f"h{number}"}
    return {"metadata": {"name": f"n{number}", "uid": f"n{number}", "labels": labels}}


@pytest.mark.parametrize(
    ("nodes", "lists"),
    [
        pytest.param(2, 120, id="of two nodes in each round"),
        pytest.param(1000, 2, id="of a thousand nodes once a minute"),
    ],
)
def test_nodes_are_never_read_and_their_room_seldom(
    nodes: int, lists: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    clock = SimpleNamespace(monotonic=lambda: now, time=time.time)
    monkeypatch.setattr(cluster_duties, "time", clock)
    said: list[str] = []
    events: Any = SimpleNamespace(
        warning=lambda about, reason, message: said.append(message), normal=lambda *_: None
    )
    known: Any = Api(nodes)
    drivers = {"loop.flexvol": "flexvol/loop"}
    duties = ClusterDuties(known, events, drivers, Settings("flexvol", 60.0), lambda: True)
    for number in range(nodes):
        duties.nodes.changed(node(number))
    waits = claim(node="", resources={"requests": {"storage": "2Gi"}})
    waits["metadata"].update(uid="u", resourceVersion="1", namespace="shop", name="data")
    duties.claims.changed(waits)

    for second in range(130):
        now = float(second)
        duties._round()

    assert known.read.count("nodes") == 0
    assert known.read.count("csistoragecapacities") == pytest.approx(lists, abs=2)
    assert len(said) == 1
    assert "no node has room for 2048 MiB: the most is 1024 MiB, on h" in said[0]
