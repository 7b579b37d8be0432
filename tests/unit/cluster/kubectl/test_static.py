"""What a volume that is no claim's yet is made with."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller import volume_manifest
from cluster.controller.objects import Claim, StorageClass
from cluster.controller.storage import Listed
from cluster.kubectl.static import any_claim, class_of, planned
from shared import options, protocol

DRIVERS = {"loop.flexvol": "flexvol/loop"}


def storage_class(provisioner: str = "loop.flexvol", **parameters: str) -> StorageClass:
    return StorageClass(
        {
            "metadata": {"name": "c"},
            "provisioner": provisioner,
            "parameters": parameters,
            "reclaimPolicy": "Delete",
        }
    )


@pytest.mark.parametrize(
    "provisioner",
    [
        pytest.param("loop.flexvol", id="a class of flexvol"),
        pytest.param(
            "kubernetes.io/no-provisioner",
            id="a class for such claims alone",
        ),
    ],
)
def test_its_record_says_retain_and_that_it_awaits_any_claim(provisioner: str) -> None:
    used = class_of("c", storage_class(provisioner, pool="fast", fsType="xfs"), DRIVERS)

    request = volume_manifest.provision_request(
        Claim(any_claim("node1")), used, 64 << 20, "here", volume_manifest.Variant("films")
    )

    assert (request.volume, request.fs_type, request.own, request.node) == (
        "films",
        "xfs",
        {"pool": "fast"},
        "node1",
    )
    assert used.provisioner == "loop.flexvol"
    assert (request.reclaim_policy, request.cluster_uid) == ("Retain", "here")
    assert (request.claim.namespace, request.claim.name, request.claim.uid) == ("*", "*", "awaited")


@pytest.mark.parametrize(
    ("there", "said"),
    [
        pytest.param(
            None,
            "storage class c does not exist; name one of "
            "kubernetes.io/no-provisioner or loop.flexvol",
            id="a class that does not exist",
        ),
        pytest.param(
            storage_class("nfs.other"),
            "storage class c is of provisioner nfs.other",
            id="a class of another provisioner",
        ),
        pytest.param(
            storage_class(createSecret="true"),
            "has createSecret, which needs a claim",
            id="a class that makes a Secret for each claim",
        ),
    ],
)
def test_a_class_that_cannot_be_used(there: StorageClass | None, said: str) -> None:
    with pytest.raises(protocol.InvalidArgument, match=said):
        class_of("c", there, DRIVERS)


POOLS: list[dict[str, Any]] = [
    {"name": "default", "id": "5f", "byName": True},
    {"name": "fast", "id": "60"},
]
FREE: dict[str, Any] = {
    "name": "films",
    "owner": {"namespace": "*", "name": "*", "uid": options.AWAITED},
    "options": {"pool": "fast", "poolId": "60"},
    "sizeBytes": 128 << 20,
    "fsType": "xfs",
}


@pytest.mark.parametrize(
    ("parameters", "listed", "expected"),
    [
        pytest.param(
            {"fsType": "ext4"},
            Listed([], POOLS),
            ({"pool": "default", "poolId": "5f"}, 64 << 20, "ext4"),
            id="a volume that is not there gets the class's pool",
        ),
        pytest.param(
            {"pool": "fast"},
            Listed([FREE], POOLS),
            ({"pool": "fast", "poolId": "60"}, 128 << 20, "xfs"),
            id="a volume that is there is told as it is",
        ),
        pytest.param(
            {"fsType": "xfs"},
            Listed([], [{**POOLS[0], "minimumVolumeBytes": {"xfs": 300 << 20}}]),
            ({"pool": "default", "poolId": "5f"}, 300 << 20, "xfs"),
            id="a size below the file system's least",
        ),
        pytest.param(
            {},
            Listed([], [{**POOLS[0], "defaultFsType": "ext4"}]),
            ({"pool": "default", "poolId": "5f"}, 64 << 20, "ext4"),
            id="a class that names no file system gets the driver's own",
        ),
        pytest.param(
            {},
            Listed([], []),
            ({}, 64 << 20, ""),
            id="a driver without pools",
        ),
    ],
)
def test_what_is_printed_without_apply_is_found_without_making_anything(
    parameters: dict[str, str], listed: Listed, expected: tuple[dict[str, str], int, str]
) -> None:
    made = planned("films", 64 << 20, storage_class(**parameters), listed)

    assert (made["options"], made["capacityBytes"], made["fsType"]) == expected


@pytest.mark.parametrize(
    ("pool", "listed", "said"),
    [
        pytest.param(
            "fasst",
            Listed([], POOLS),
            "no pool 'fasst'.*default, fast",
            id="no pool",
        ),
        pytest.param(
            "default", Listed([], [{**POOLS[0], "error": "it is away"}]), "it is away", id="away"
        ),
        pytest.param(
            "fast",
            Listed([{**FREE, "owner": {"uid": "u1"}}], POOLS),
            "is on that node already and not free",
            id="a volume that is somebody's",
        ),
    ],
)
def test_what_cannot_be_made_is_not_printed(pool: str, listed: Listed, said: str) -> None:
    with pytest.raises(protocol.Failure, match=said):
        planned("films", 64 << 20, storage_class(pool=pool), listed)
