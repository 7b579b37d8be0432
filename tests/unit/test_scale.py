"""A provisioner's memory grows with the work that waits for it, not with the cluster's objects."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller import cluster, decide
from controller.delete import Delete
from controller.events import Events
from controller.provision import Provision
from controller.storage import Storage
from controller.workqueue import WorkQueue

Object = dict[str, Any]
COUNT = 5000
LITTLE_BYTES, MUCH_BYTES = 400_000, COUNT * 1000


def claim(number: int, provisioner: str, node: str, volume: str = "") -> Object:
    notes = {decide.PROVISIONER[0]: provisioner, decide.SELECTED_NODE: node}
    spec = {"storageClassName": "c", "resources": {"requests": {"storage": "1Gi"}}, "volumeName": volume}
    metadata = {"name": f"claim-{number}", "namespace": "n", "uid": f"uid-{number}", "resourceVersion": str(number)}
    return {"metadata": {**metadata, "annotations": notes}, "spec": spec}


def volume(number: int, identity: str) -> Object:
    metadata = {"name": f"pvc-uid-{number}", "uid": f"uid-{number}", "finalizers": [decide.FINALIZER]}
    notes = {decide.PROVISIONED_BY: "loop.flexvol", decide.IDENTITY: identity}
    spec = {"persistentVolumeReclaimPolicy": "Delete", "flexVolume": {"driver": "flexvol/loop"}}
    return {"metadata": {**metadata, "annotations": notes}, "spec": spec, "status": {"phase": "Bound"}}


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Provision, Delete, WorkQueue]:
    """All that hears of claims and PVs, as it is; the API server is never asked for anything."""
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    api, work = cluster.Cluster(str(tmp_path / "kubeconfig")), WorkQueue()
    us = decide.Identity({"loop.flexvol": "flexvol/loop"}, "node1", "node1")
    shared = (api, Storage(str(tmp_path)), Events(api, "test"), work, us)
    return Provision(*shared), Delete(*shared), work


@pytest.fixture
def held_bytes(parts: object) -> Iterator[Callable[[], int]]:
    """How much is held that was taken since the parts were made."""

    def now() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    yield now
    tracemalloc.stop()


def test_what_is_not_ours_or_needs_nothing_is_not_kept(
    parts: tuple[Provision, Delete, WorkQueue], held_bytes: Callable[[], int]
) -> None:
    provision, delete, work = parts

    for number in range(COUNT):
        provision.claim_changed(claim(number, "other.example", "node1"))
        provision.claim_changed(claim(number, "loop.flexvol", "node2"))
        provision.claim_changed(claim(number, "loop.flexvol", "node1", f"pvc-uid-{number}"))
        delete.volume_changed(volume(number, "node1"))
        delete.volume_changed(volume(number, "node2"))

    assert held_bytes() < LITTLE_BYTES
    assert work.waiting() == 0


def test_what_waits_is_kept_until_it_is_gone(
    parts: tuple[Provision, Delete, WorkQueue], held_bytes: Callable[[], int]
) -> None:
    provision, _, work = parts

    for number in range(COUNT):
        provision.claim_changed(claim(number, "loop.flexvol", "node1"))

    assert held_bytes() > MUCH_BYTES
    assert work.waiting() == COUNT

    for number in range(COUNT):
        key = work.get()
        assert key == ("claim", f"uid-{number}")
        work.done(key)
        provision.claim_gone(claim(number, "loop.flexvol", "node1"))

    assert held_bytes() < LITTLE_BYTES
    assert work.waiting() == 0
