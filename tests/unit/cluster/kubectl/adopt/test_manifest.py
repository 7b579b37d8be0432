"""The PV that an adopted volume gets."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from cluster.controller import cluster
from cluster.controller.objects import Claim, Object
from cluster.kubectl.adopt.manifest import made, volume_for
from shared import protocol
from tests.unit.cluster.kubectl.adopt.volumes import (
    CLAIM,
    archive,
    found,
)

CLASS: Object = {
    "metadata": {"name": "fast"},
    "provisioner": "loop.flexvol",
    "reclaimPolicy": "Delete",
    "parameters": {"onNodeGone": "release", "createSecret": "true"},
}


class Api:
    """A cluster with one node and one class."""

    def __init__(self, storage_class: Object | None = CLASS) -> None:
        self._storage_class = storage_class

    def get(self, path: str) -> Any:
        if path == cluster.path_to(cluster.CLASSES, "fast"):
            return self._storage_class
        assert path == cluster.path_to(cluster.NODES, "node1")
        return {"metadata": {"name": "node1", "labels": {"kubernetes.io/hostname": "host-1"}}}


def adopted(
    there: Any, claim: Object | None = None, recorded: bool = False, api: Any = None
) -> Object:
    settings = argparse.Namespace(namespace="flexvol", recorded_policy=recorded)
    api = Api() if api is None else api
    return volume_for(api, settings, there, CLAIM, Claim.of(claim)).json


def claim(bound_to: str = "", **annotations: str) -> Object:
    metadata = {"namespace": "shop", "name": "data", "uid": "new", "annotations": annotations}
    return {"metadata": metadata, "spec": {"volumeName": bound_to} if bound_to else {}}


def test_an_adopted_volume_gets_a_pv_that_keeps_it() -> None:
    there = found(reclaimPolicy="Delete", accessModes=["ReadWriteOncePod"], **{"class": "fast"})

    pv = adopted(there)

    assert pv["metadata"] == {
        "name": "pvc-1",
        "annotations": {
            "pv.kubernetes.io/provisioned-by": "loop.flexvol",
            "flexvol/identity": "node1",
            "flexvol/on-node-gone": "release",
            "flexvol/awaits-claim": "true",
        },
        "finalizers": [],
    }
    spec = pv["spec"]
    assert spec["persistentVolumeReclaimPolicy"] == "Retain"
    assert spec["storageClassName"] == "fast"
    assert spec["capacity"] == {"storage": "64Mi"}
    assert spec["accessModes"] == ["ReadWriteOncePod"]
    assert "host-1" in str(spec["nodeAffinity"])
    assert spec["flexVolume"] == {
        "driver": "flexvol/loop",
        "fsType": "ext4",
        "options": {"pool": "default", "poolId": "ab"},
        "secretRef": {"namespace": "flexvol-secrets", "name": "pvc-1-key.node1"},
    }
    reference = spec["claimRef"]
    assert (reference["namespace"], reference["name"]) == ("shop", "data")
    assert "uid" not in reference


@pytest.mark.parametrize(
    ("recorded", "policy", "expected"),
    [
        pytest.param(False, "Delete", "Retain", id="nothing is said, so the volume is kept"),
        pytest.param(True, "Delete", "Delete", id="the recorded policy is wanted"),
        pytest.param(True, None, "Retain", id="the recorded policy is wanted, and there is none"),
    ],
)
def test_the_policy_of_an_adopted_volume(recorded: bool, policy: Any, expected: str) -> None:
    pv = adopted(found(reclaimPolicy=policy), recorded=recorded)

    assert pv["spec"]["persistentVolumeReclaimPolicy"] == expected


@pytest.mark.parametrize(
    ("there", "uid"),
    [
        pytest.param(None, None, id="a claim that is not there is awaited by its name"),
        pytest.param(claim(), None, id="a claim that waits may go, and is awaited by its name"),
        pytest.param(claim("pvc-1"), "new", id="a claim that has lost this PV takes only its own"),
    ],
)
def test_whom_the_pv_of_an_adopted_volume_is_for(there: Object | None, uid: str | None) -> None:
    pv = adopted(found(), there)

    assert pv["spec"]["claimRef"].get("uid") == uid
    assert ("flexvol/awaits-claim" in pv["metadata"]["annotations"]) == (uid is None)


@pytest.mark.parametrize(
    ("named", "storage_class"),
    [
        pytest.param("fast", None, id="its class is gone"),
        pytest.param("fast", {**CLASS, "provisioner": "other"}, id="its class is another one's"),
        pytest.param("../nodes/node1", CLASS, id="its class has the name of a path"),
        pytest.param(None, CLASS, id="it names no class"),
    ],
)
def test_parameters_are_taken_of_its_own_class_alone(
    named: str | None, storage_class: Object | None
) -> None:
    recorded: Object = {"class": named}

    pv = adopted(found(**recorded), api=Api(storage_class))

    assert "flexvol/on-node-gone" not in pv["metadata"]["annotations"]
    assert "secretRef" not in pv["spec"]["flexVolume"]
    assert pv["spec"]["storageClassName"] == (named or "")


@pytest.mark.parametrize(
    ("listed", "modes"),
    [
        pytest.param(None, ["ReadWriteOnce"], id="none"),
        pytest.param([], ["ReadWriteOnce"], id="an empty list"),
        pytest.param("ReadWriteMany", ["ReadWriteOnce"], id="no list"),
        pytest.param(
            ["ReadWriteMany", "ReadWriteOnce"], ["ReadWriteMany", "ReadWriteOnce"], id="two"
        ),
    ],
)
def test_the_access_modes_are_those_that_its_driver_lists(listed: Any, modes: list[str]) -> None:
    assert adopted(found(accessModes=listed))["spec"]["accessModes"] == modes


@pytest.mark.parametrize(
    ("there", "named"),
    [
        pytest.param(claim(team="web"), "of-web", id="the claim is there"),
        pytest.param(None, None, id="the claim is not there"),
    ],
)
def test_a_secret_that_the_claim_names_needs_the_claim(
    there: Object | None, named: str | None
) -> None:
    parameters = {
        "secretName": "of-${pvc.annotations['team']}",
        "secretNamespace": "${pvc.namespace}",
    }
    api = Api({**CLASS, "parameters": parameters})
    volume = found(**{"class": "fast"})

    if named is None:
        with pytest.raises(protocol.InvalidArgument, match="secretName"):
            adopted(volume, there, api=api)
    else:
        secret = adopted(volume, there, api=api)["spec"]["flexVolume"]["secretRef"]
        assert secret == {"namespace": "shop", "name": named}


def test_an_archive_comes_back_under_the_volumes_name() -> None:
    assert adopted(archive())["metadata"]["name"] == "pvc-1"


def test_storage_that_every_node_reaches_is_on_no_node() -> None:
    pv = adopted(found(node=""))

    assert "nodeAffinity" not in pv["spec"]
    assert pv["metadata"]["annotations"]["flexvol/identity"] == "shared"


def test_a_provisioner_that_does_not_say_who_it_is_adopts_nothing() -> None:
    with pytest.raises(protocol.Unavailable, match="does not tell its provisioner's --identity"):
        adopted(found()._replace(identity=""))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"options": None}, id="no options"),
        pytest.param({"options": {"pool": 1}}, id="an option that is no text"),
        pytest.param(
            {"options": {"kubernetes.io/pvc.uid": "x"}},
            id="an option of ours",
        ),
        pytest.param({"sizeBytes": 0}, id="a size of nothing"),
        pytest.param({"sizeBytes": True}, id="a size that is a truth value"),
        pytest.param({"sizeBytes": "64Mi"}, id="a size that is a text"),
        pytest.param({"fsType": None}, id="no file system"),
    ],
)
def test_a_driver_that_does_not_say_enough_is_not_guessed_at(changes: dict[str, Any]) -> None:
    with pytest.raises(protocol.Internal, match="in full"):
        made(found(**changes).entry)


@pytest.mark.parametrize("size", [1, 64 << 20], ids=["one byte", "64 MiB"])
def test_what_the_driver_says_is_taken_as_it_is(size: int) -> None:
    assert made(found(sizeBytes=size).entry) == {
        "options": {"pool": "default", "poolId": "ab"},
        "capacityBytes": size,
        "fsType": "ext4",
    }
