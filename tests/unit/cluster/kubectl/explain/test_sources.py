"""What hinders a claim that is to be a copy: a row for each cause."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller.objects import Object
from cluster.kubectl.explain.scene import Scene
from cluster.kubectl.explain.sources import on_source
from tests.unit.cluster.kubectl.explain.scenes import (
    DRIVER,
    FROM,
    SNAPSHOT,
    claim,
    pool,
    scene,
    storage_class,
    volume,
    waiting,
)

OF_CLAIM: dict[str, Any] = {"dataSource": {"kind": "PersistentVolumeClaim", "name": "old"}}
FULL = {"node1": [pool(free=0)], "node2": [pool()]}


@pytest.mark.parametrize(
    ("asked", "there", "words"),
    [
        pytest.param(
            claim("data", notes=FROM),
            scene(),
            "no node has a snapshot 'before' of namespace shop",
            id="a snapshot that no node has",
        ),
        pytest.param(
            claim("data", notes=FROM),
            scene(listed=[{**SNAPSHOT, "owner": {"namespace": "bank"}}]),
            "no node has a snapshot 'before' of namespace shop",
            id="a snapshot of another namespace",
        ),
        pytest.param(
            claim("data", notes=FROM),
            scene(silent={("node2", DRIVER): "x"}),
            "no node that answered has a snapshot 'before' of namespace shop; node node2 did not",
            id="a snapshot that a silent node may have",
        ),
        pytest.param(
            claim("data", notes=FROM),
            scene(listed=[SNAPSHOT], pools=FULL),
            "the snapshot before is on node node1, so the copy is made there, and "
            "pool default has room for 0 B there",
            id="a snapshot whose node is full",
        ),
        pytest.param(
            claim("data", notes=FROM, size="512Mi"),
            scene(listed=[SNAPSHOT]),
            "before has 1 GiB, and the claim asks for 512 MiB; a copy is as large as its source",
            id="a claim smaller than its snapshot",
        ),
        pytest.param(
            claim("data", notes=FROM),
            scene(listed=[{**SNAPSHOT, "pool": "ssd"}]),
            "the snapshot before is in pool ssd of node node1",
            id="a snapshot in another pool than the class's",
        ),
        pytest.param(
            claim("data", **OF_CLAIM), scene(), "is not there, or not bound", id="no source claim"
        ),
        pytest.param(
            claim("data", **OF_CLAIM),
            scene([claim("old", "pv-old")], [volume("pv-old", "node1", "old")], FULL),
            "the volume of the claim old is on node node1, so the copy is made there, and pool",
            id="a source claim whose node is full",
        ),
        pytest.param(
            claim("data", notes=FROM), scene(listed=[SNAPSHOT]), "", id="a snapshot with room"
        ),
        pytest.param(claim("data"), scene(), "", id="no copy at all"),
    ],
)
def test_a_copy_is_told_what_its_source_hinders(asked: Object, there: Scene, words: str) -> None:
    findings = on_source(waiting(asked, storage_class()), there)

    assert [one.is_wrong for one in findings] == [True] * bool(words)
    assert words in "".join(one.sentence for one in findings)
