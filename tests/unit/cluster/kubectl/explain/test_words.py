"""What is said of a word that names no claim, by the whole of `explain`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.controller import cluster
from cluster.kubectl import explain
from shared import protocol

Object = dict[str, Any]
PODS = "/api/v1/namespaces/shop/pods"
OURS: Object = {
    "metadata": {"name": "flexvol-node-1", "labels": {"app": "flexvol-node"}},
    "spec": {
        "nodeName": "node1",
        "containers": [{"name": "provisioner", "args": ["--node=node1"]}],
    },
    "status": {"phase": "Running"},
}
RELEASED: Object = {
    "metadata": {"name": "pvc-1"},
    "spec": {"claimRef": {"namespace": "shop", "name": "data", "uid": "u1"}},
}
POD: Object = {
    "metadata": {"namespace": "shop", "name": "web", "uid": "p1"},
    "spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]},
    "status": {"phase": "Pending"},
}


class _Objects:
    """What the API server would have, by collection."""

    def __init__(self, **collections: list[Object]) -> None:
        self._there = {
            "/api/v1/namespaces/flexvol/pods": [OURS],
            cluster.VOLUMES: collections.get("volumes", []),
            PODS: collections.get("pods", []),
        }

    def items(self, path: str) -> Iterator[Object]:
        return iter(self._there.get(path, []))

    def get(self, path: str) -> Object | None:
        collection, _, name = path.rpartition("/")
        things = self._there.get(collection, [])
        return next((one for one in things if one["metadata"]["name"] == name), None)

    def claim(self, _: Object) -> Object | None:
        return None


def run(words: str, **collections: list[Object]) -> int:
    settings = argparse.Namespace(
        claim=words, claim_namespace="shop", pod=None, namespace="flexvol", driver=None
    )
    api: Any = _Objects(**collections)
    return explain.run(api, {"loop.flexvol": "flexvol/loop"}, settings)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            "pvc-1", "^the PV pvc-1 is bound to no claim; see", id="a PV whose claim is gone"
        ),
        pytest.param(
            "pvc-2",
            "^there is no claim pvc-2 in namespace shop, and no PV of that name",
            id="neither a claim nor a PV",
        ),
        pytest.param(
            "shop/data",
            "^there is no claim data in namespace shop; -n names another namespace$",
            id="namespace and name, which no PV has",
        ),
    ],
)
def test_a_word_that_names_no_claim_is_answered_with_what_was_looked_for(
    words: str, said: str
) -> None:
    with pytest.raises(protocol.NotFound, match=said):
        run(words, volumes=[RELEASED])


def test_a_claim_that_a_pod_uses_and_that_is_not_there_is_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("data", pods=[POD]) == 1
    head = capsys.readouterr().out.splitlines()[0]
    assert head == "shop/data: there is no claim data in namespace shop, and a pod uses it"
