"""From claim, class and reply to a PV, and from a PV to a delete request."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller import objects, volume_manifest
from cluster.controller.identity import Identity
from cluster.controller.objects import Claim, StorageClass, Volume
from cluster.controller.volume_manifest import Variant
from shared import options, schemas

NODE = Identity({"loop.flexvol": "flexvol/loop"}, "node1", "node1")
CLAIM: dict[str, Any] = {
    "metadata": {
        "name": "data",
        "namespace": "shop",
        "uid": "u1",
        "resourceVersion": "7",
        "annotations": {},
    },
    "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast"},
}
CLASS: dict[str, Any] = {
    "metadata": {"name": "fast"},
    "provisioner": "loop.flexvol",
    "reclaimPolicy": "Delete",
    "mountOptions": ["noatime", "discard"],
    "parameters": {"fsType": "xfs", "pool": "disk2"},
}
MADE = {"options": {"pool": "disk2", "poolId": "ab"}, "capacityBytes": 64 << 20, "fsType": "xfs"}


def provision_request(
    claim: dict[str, Any], storage_class: dict[str, Any], *more: Any
) -> options.Options:
    request = volume_manifest.provision_request(Claim(claim), StorageClass(storage_class), *more)
    return checked("provision", request)


def delete_request(volume: dict[str, Any], *more: Any) -> options.Options:
    return checked("delete", volume_manifest.delete_request(Volume(volume), *more))


def adopt_request(volume: dict[str, Any], *more: Any) -> options.Options:
    return checked("adopt", volume_manifest.adopt_request(Volume(volume), *more))


def checked(callout: str, request: options.Options) -> options.Options:
    """The request, which keeps to the schema of its callout."""
    assert schemas.errors(f"{callout}.request", json.loads(request.text())) == []
    return request


def persistent_volume(
    claim: dict[str, Any], storage_class: dict[str, Any], *more: Any
) -> dict[str, Any]:
    return volume_manifest.persistent_volume(Claim(claim), StorageClass(storage_class), *more)


def existing(name: str, claim: dict[str, Any]) -> dict[str, Any]:
    """The PV for a volume that exists."""
    volume = persistent_volume(claim, CLASS, MADE, NODE, "host-1")
    return volume_manifest.volume_that_exists(name, volume)


def test_the_request_holds_the_parameters_and_what_only_we_may_say() -> None:
    chosen = {
        **CLAIM,
        "metadata": {**CLAIM["metadata"], "annotations": {objects.SELECTED_NODE: "node1"}},
    }

    request = provision_request(chosen, CLASS, (1 << 30) + 1, "c1")

    assert request.own == {"pool": "disk2"}
    assert (request.volume, request.fs_type, request.request_bytes) == (
        "pvc-u1",
        "xfs",
        (1 << 30) + 1,
    )
    assert (request.claim.namespace, request.claim.name, request.claim.uid) == (
        "shop",
        "data",
        "u1",
    )
    assert request.mount_options == ["noatime", "discard"]
    assert (request.class_name, request.reclaim_policy, request.node, request.cluster_uid) == (
        "fast",
        "Delete",
        "node1",
        "c1",
    )
    assert '"requestMiB": "1025"' in request.text()
    assert '"requestGiB": "2"' in request.text()


@pytest.mark.parametrize(
    ("parameters", "fs_type"),
    [
        pytest.param({"fsType": "xfs", "csi.storage.k8s.io/fstype": "xfs"}, "xfs", id="both alike"),
        pytest.param({"csi.storage.k8s.io/fstype": "xfs"}, "xfs", id="CSI's name alone"),
        pytest.param({"pool": "disk2"}, "", id="neither"),
    ],
)
def test_both_names_of_the_file_systems_kind_are_the_provisioners(
    parameters: dict[str, str], fs_type: str
) -> None:
    request = provision_request(CLAIM, {**CLASS, "parameters": parameters}, 1, "c1")

    assert request.fs_type == fs_type
    assert set(request.own) <= {"pool"}


def test_parameters_never_stand_for_reserved_keys() -> None:
    hostile = {
        **CLASS,
        "parameters": {"requestBytes": "1", "kubernetes.io/pvOrVolumeName": "other", "a": "b"},
    }

    request = provision_request(CLAIM, hostile, 5, "c1")

    assert (request.volume, request.request_bytes, request.own) == ("pvc-u1", 5, {"a": "b"})


def test_the_pv_of_a_node() -> None:
    volume = persistent_volume(CLAIM, CLASS, MADE, NODE, "host-1")

    assert volume["metadata"] == {
        "name": "pvc-u1",
        "annotations": {
            "pv.kubernetes.io/provisioned-by": "loop.flexvol",
            "flexvol/identity": "node1",
        },
        "finalizers": ["external-provisioner.volume.kubernetes.io/finalizer"],
    }
    assert volume["spec"] == {
        "capacity": {"storage": "64Mi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Delete",
        "storageClassName": "fast",
        "volumeMode": "Filesystem",
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": "shop",
            "name": "data",
            "uid": "u1",
            "resourceVersion": "7",
        },
        "flexVolume": {
            "driver": "flexvol/loop",
            "fsType": "xfs",
            "options": {"pool": "disk2", "poolId": "ab"},
        },
        "nodeAffinity": {
            "required": {
                "nodeSelectorTerms": [
                    {
                        "matchExpressions": [
                            {
                                "key": "kubernetes.io/hostname",
                                "operator": "In",
                                "values": ["host-1"],
                            },
                        ]
                    }
                ]
            }
        },
    }


def test_what_is_done_when_the_node_is_gone_is_kept_on_the_pv_and_not_told_to_the_driver() -> None:
    told = {**CLASS, "parameters": {"pool": "disk2", "onNodeGone": "release"}}

    assert provision_request(CLAIM, told, 5, "c1").own == {"pool": "disk2"}
    notes = persistent_volume(CLAIM, told, MADE, NODE, "host-1")["metadata"]["annotations"]
    assert notes["flexvol/on-node-gone"] == "release"


@pytest.mark.parametrize(
    ("parameters", "asked"),
    [
        pytest.param({"createSecret": "true"}, "createSecret", id="one is to be made"),
        pytest.param(
            {"secretName": "a", "secretNamespace": "b"}, "secretName", id="one is referred to"
        ),
        pytest.param({"createSecret": "false"}, "", id="none is to be made"),
        pytest.param({}, "", id="nothing is said"),
    ],
)
def test_the_driver_is_told_that_a_class_asks_for_a_secret_and_nothing_of_it(
    parameters: dict[str, str], asked: str
) -> None:
    told = {**CLASS, "parameters": {"pool": "disk2", **parameters}}

    request = json.loads(provision_request(CLAIM, told, 5, "c1").text())

    assert request.get("kubernetes.io/storageClass.secret", "") == asked
    assert [key for key in request if "ecret" in key] == (
        ["kubernetes.io/storageClass.secret"] if asked else []
    )


def test_a_shared_pv_goes_anywhere() -> None:
    shared = Identity({"loop.flexvol": "flexvol/loop"}, "shared", "")

    assert "nodeAffinity" not in persistent_volume(CLAIM, CLASS, MADE, shared, "")["spec"]


def test_what_a_pv_says_at_delete_cannot_stand_for_what_we_know() -> None:
    volume = copy.deepcopy(persistent_volume(CLAIM, CLASS, MADE, NODE, "host-1"))
    volume["spec"]["flexVolume"]["options"].update(
        {options.CLAIM_UID: "other", options.VOLUME: "other"}
    )

    request = delete_request(volume)

    assert (request.volume, request.claim.uid, request.own) == (
        "pvc-u1",
        "u1",
        {"pool": "disk2", "poolId": "ab"},
    )


def test_the_pv_of_a_volume_that_exists_awaits_its_claim_and_holds_nothing_until_then() -> None:
    known: dict[str, Any] = {
        "metadata": {"namespace": "shop", "name": "data"},
        "spec": CLAIM["spec"],
    }

    volume = existing("pvc-u0", known)

    assert volume["metadata"]["name"] == "pvc-u0"
    assert volume["metadata"]["annotations"]["flexvol/awaits-claim"] == "true"
    assert volume["metadata"]["finalizers"] == []
    reference = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": "shop",
        "name": "data",
    }
    assert volume["spec"]["claimRef"] == reference
    as_made = persistent_volume(CLAIM, CLASS, MADE, NODE, "host-1")["spec"]
    assert {**volume["spec"], "claimRef": None} == {**as_made, "claimRef": None}


def test_where_the_claim_is_there_nothing_is_awaited_and_for_any_claim_there_is_no_name() -> None:
    there: dict[str, Any] = {
        **CLAIM,
        "metadata": {"namespace": "shop", "name": "data", "uid": "u1"},
    }
    volume = existing("pvc-u0", there)
    assert "flexvol/awaits-claim" not in volume["metadata"]["annotations"]
    assert volume["spec"]["claimRef"]["uid"] == "u1"

    nobody: dict[str, Any] = {"metadata": {}, "spec": CLAIM["spec"]}
    volume = existing("disk", nobody)
    assert "claimRef" not in volume["spec"]
    assert volume["metadata"]["annotations"]["flexvol/awaits-claim"] == "true"


def test_a_pv_tells_of_its_claim_only_where_that_is_awaited_and_a_person_names_the_cluster() -> (
    None
):
    volume = persistent_volume(CLAIM, CLASS, MADE, NODE, "host-1")

    told = adopt_request(volume)
    adopted = adopt_request(volume, "c1")

    assert (told.only_if_awaited, told.cluster_uid, told.claim.uid) == (True, "", "u1")
    assert (adopted.only_if_awaited, adopted.cluster_uid) == (False, "c1")


def test_a_pv_that_is_bound_to_another_claim_names_the_owner_that_was_read() -> None:
    volume = persistent_volume(CLAIM, CLASS, MADE, NODE, "host-1")

    told = adopt_request(volume, "c1", "u0")

    assert (told.only_if_owner, told.cluster_uid, told.claim.uid) == ("u0", "c1", "u1")
    assert not told.only_if_awaited


def test_a_copy_has_its_own_name_and_says_of_what_it_is_one() -> None:
    request = provision_request(CLAIM, CLASS, 1 << 20, "c1", Variant(source="pvc-source"))

    assert request.volume == volume_manifest.volume_name(Claim(CLAIM))
    assert request.source_volume == "pvc-source"


def test_a_pv_names_the_secret_that_kubelet_is_to_give_to_the_driver() -> None:
    pv = persistent_volume(CLAIM, CLASS, MADE, NODE, "host-1", ("vault", "key"))

    assert pv["spec"]["flexVolume"]["secretRef"] == {"namespace": "vault", "name": "key"}
    assert (pv["apiVersion"], pv["kind"]) == ("v1", "PersistentVolume")


ENTRY = {
    "name": "pvc-u1",
    "owner": {"namespace": "shop", "name": "data", "uid": "u1"},
    "options": {"pool": "disk2", "poolId": "ab", options.CLAIM_UID: "u9"},
}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        pytest.param({}, {}, id="as a person deletes it"),
        pytest.param({"only_if_blank": True}, {options.ONLY_IF_BLANK: "true"}, id="if blank"),
        pytest.param(
            {"cancelled_move": "m1"}, {options.CANCELLED_MOVE: "m1"}, id="the copy of a move"
        ),
    ],
)
def test_a_listed_volume_is_deleted_where_it_is_and_as_its_owners(
    conditions: dict[str, Any], expected: dict[str, str]
) -> None:
    request = checked("delete", volume_manifest.listed_request(ENTRY, **conditions))

    assert json.loads(request.text()) == {
        "pool": "disk2",
        "poolId": "ab",
        options.VOLUME: "pvc-u1",
        options.CLAIM_NAMESPACE: "shop",
        options.CLAIM_NAME: "data",
        options.CLAIM_UID: "u1",
        **expected,
    }


def test_a_retained_volume_is_adopted_only_to_be_kept() -> None:
    request = volume_manifest.listed_request(ENTRY, only_if_blank=True)

    assert checked("adopt", request).only_if_blank


KEYS = st.text(max_size=8) | st.sampled_from(
    [options.VOLUME, options.REQUEST_BYTES, options.SOURCE_VOLUME, "kubernetes.io/x", "fsType"]
)
HOSTILE = st.dictionaries(KEYS, st.text(max_size=8), max_size=4)


@given(
    parameters=HOSTILE,
    size_bytes=st.integers(0, (1 << 63) - 1),
    source=st.sampled_from(["", "pvc-source"]),
    only_find=st.booleans(),
)
def test_a_request_to_make_a_volume_keeps_to_its_schema_whatever_the_class_says(
    parameters: dict[str, str], size_bytes: int, source: str, only_find: bool
) -> None:
    variant = Variant(source=source, only_find=only_find)

    provision_request(CLAIM, {**CLASS, "parameters": parameters}, size_bytes, "c1", variant)


@given(edited=HOSTILE, only_if_blank=st.booleans(), move=st.sampled_from(["", "m1"]))
def test_a_request_about_a_volume_keeps_to_its_schema_whatever_the_pv_says(
    edited: dict[str, str], only_if_blank: bool, move: str
) -> None:
    volume = persistent_volume(CLAIM, CLASS, {**MADE, "options": edited}, NODE, "host-1")

    delete_request(volume, only_if_blank, move)
    adopt_request(volume, "c1", "u0")
