"""Which volume a claim that is to be a copy begins with, by the cluster and the driver's list."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cluster.controller.copy_sources import CopySources
from cluster.controller.instance import Instance
from cluster.controller.objects import Claim
from cluster.controller.storage import Listed
from shared import protocol
from tests.unit.cluster.controller.objects import NODE, claim, of_snapshot, volume

DRIVER = "flexvol/loop"
SOURCE = "/api/v1/namespaces/shop/persistentvolumeclaims/old"
PV = "/api/v1/persistentvolumes/pvc-u1"
A_CLAIM = {"kind": "PersistentVolumeClaim", "name": "old"}


class Cluster:
    """The source's claim and its PV, and a driver with one snapshot of the namespace."""

    def __init__(self) -> None:
        found = volume(phase="Bound")
        found["spec"].update(claimRef={"uid": "u0"}, nodeAffinity={"required": {}})
        self.objects: dict[str, Any] = {
            SOURCE: {
                "metadata": {"name": "old", "namespace": "shop", "uid": "u0"},
                "spec": {"storageClassName": "c", "volumeName": "pvc-u1"},
                "status": {"phase": "Bound"},
            },
            PV: found,
        }
        self.namespace = "shop"
        api: Any = SimpleNamespace(get=self._get)
        storage: Any = SimpleNamespace(list=self._list)
        nothing: Any = None
        self.sources = CopySources(Instance(api, NODE, storage, nothing, nothing, nothing))

    def _get(self, path: str) -> Any:
        assert path in (SOURCE, PV)
        return self.objects.get(path)

    def _list(self, driver: str) -> Listed:
        assert driver == DRIVER
        owner = {"namespace": self.namespace, "name": "data", "uid": "u0"}
        return Listed([{"name": "before", "kind": "snapshot", "owner": owner}], [])


@pytest.mark.parametrize(
    ("of", "name"),
    [
        pytest.param(claim(), "", id="a claim that is no copy"),
        pytest.param(claim(dataSourceRef=A_CLAIM), "pvc-u1", id="a copy of a claim"),
        pytest.param(of_snapshot(claim()), "before", id="a copy of a snapshot"),
    ],
)
def test_what_a_claim_begins_with(of: dict[str, Any], name: str) -> None:
    assert Cluster().sources.volume_name(Claim(of), DRIVER) == name


@pytest.mark.parametrize(
    ("gone", "is_there"),
    [
        pytest.param("", True, id="all is there"),
        pytest.param(SOURCE, False, id="the claim is gone"),
        pytest.param(PV, False, id="the PV is gone"),
    ],
)
def test_a_source_that_is_gone_is_none(gone: str, is_there: bool) -> None:
    cluster = Cluster()
    cluster.objects.pop(gone, None)
    copy = Claim(claim(dataSourceRef=A_CLAIM))

    assert cluster.sources.has_source(copy, DRIVER) == is_there
    if not is_there:
        with pytest.raises(protocol.NotFound, match="is not there, or not bound"):
            cluster.sources.volume_name(copy, DRIVER)


def test_a_source_that_was_never_bound_is_none() -> None:
    cluster = Cluster()
    del cluster.objects[SOURCE]["spec"]["volumeName"]

    assert not cluster.sources.has_source(Claim(claim(dataSourceRef=A_CLAIM)), DRIVER)


def test_a_source_on_another_node_is_none_here() -> None:
    cluster = Cluster()
    cluster.objects[PV]["metadata"]["annotations"]["flexvol/identity"] = "node2"

    with pytest.raises(protocol.Unavailable, match="is on node node2"):
        cluster.sources.volume_name(Claim(claim(dataSourceRef=A_CLAIM)), DRIVER)


def test_the_snapshot_of_another_namespace_is_none() -> None:
    cluster = Cluster()
    cluster.namespace = "bank"

    assert not cluster.sources.has_source(Claim(of_snapshot(claim())), DRIVER)
