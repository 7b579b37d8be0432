"""What a volume that is no claim's yet is made with."""

from __future__ import annotations

from typing import Any

import pytest

import protocol
from administration.static import any_claim, class_of
from controller import volume_manifest

DRIVERS = {"loop.flexvol": "flexvol/loop"}


def storage_class(provisioner: str = "loop.flexvol", **parameters: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "c"},
        "provisioner": provisioner,
        "parameters": parameters,
        "reclaimPolicy": "Delete",
    }


@pytest.mark.parametrize("provisioner", ["loop.flexvol", "kubernetes.io/no-provisioner"])
def test_its_record_says_retain_and_that_it_awaits_any_claim(provisioner: str) -> None:
    used = class_of("c", storage_class(provisioner, pool="fast", fsType="xfs"), DRIVERS)

    request = volume_manifest.provision_request(
        any_claim("node1"), used, 64 << 20, "here", name="films"
    )

    assert (request.volume, request.fs_type, request.own, request.node) == (
        "films",
        "xfs",
        {"pool": "fast"},
        "node1",
    )
    assert used["provisioner"] == "loop.flexvol"
    assert (request.reclaim_policy, request.cluster_uid) == ("Retain", "here")
    assert (request.claim.namespace, request.claim.name, request.claim.uid) == ("*", "*", "awaited")


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (
            None,
            (
                "storage class c does not exist; name one of kubernetes.io/no-provisioner or "
                "loop.flexvol"
            ),
        ),
        (storage_class("nfs.other"), "storage class c is of provisioner nfs.other"),
        (storage_class(createSecret="true"), "has createSecret, which needs a claim"),
    ],
)
def test_a_class_that_cannot_be_used(there: dict[str, Any] | None, said: str) -> None:
    with pytest.raises(protocol.InvalidArgument, match=said):
        class_of("c", there, DRIVERS)
