"""What cannot be made is said once, clearly, and nothing is left behind; what cannot be deleted now
stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import option_keys
from tests.cluster.namespaces import Kubernetes, Object, storage_class
from tests.cluster.nodes import POOL, volumes_on
from tests.waiting import wait_until


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        pytest.param(
            {"path": "/etc"},
            "unknown option 'path'",
            id="a parameter that is unknown",
        ),
        pytest.param(
            {"fsType": "ntfs"},
            "'ntfs' is unknown; known are: ext4, xfs, btrfs",
            id="a file system that is unknown",
        ),
        pytest.param(
            {"requestBytes": "1"},
            'parameter "requestBytes"',
            id="a parameter that is reserved",
        ),
        pytest.param({"thick": "maybe"}, "'maybe'", id="a value that is unknown"),
    ],
)
def test_a_class_that_cannot_be_served_is_explained_on_the_claim(
    k8s: Kubernetes, parameters: dict[str, str], said: str
) -> None:
    name = f"bad-{k8s.namespace}"
    k8s.apply(storage_class(name, parameters=parameters))
    k8s.claim(storage_class=name)
    k8s.pod("web", wait=False)

    k8s.event("data", "ProvisioningFailed", said)

    assert volumes_on(k8s.cluster) == set()
    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def with_option(name: str, key: str) -> Object:
    flex_volume = {"driver": "flexvol/loop", "options": {key: "a"}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Mi"},
            "accessModes": ["ReadWriteOnce"],
            "flexVolume": flex_volume,
        },
    }


def test_the_options_that_are_reserved_are_those_that_the_api_server_refuses(
    k8s: Kubernetes,
) -> None:
    """A driver that answered with one of them would have made a volume without a PV."""
    keys = dict(enumerate([*option_keys.REFUSED, *option_keys.ALLOWED]))
    volumes = [with_option(f"key-{number}", key) for number, key in keys.items()]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": volumes})

    done = k8s.run("create", "--dry-run=server", "-o", "name", "-f", "-", input=text, check=False)

    taken = {keys[int(name.rpartition("-")[2])] for name in done.stdout.split()}
    assert taken == set(option_keys.ALLOWED), done.stderr
    assert done.stderr.count("Invalid value") == len(option_keys.REFUSED)


def test_a_class_that_names_a_pool_that_no_node_has_is_explained_on_the_pod(
    k8s: Kubernetes,
) -> None:
    name = f"bad-{k8s.namespace}"
    k8s.apply(storage_class(name, parameters={"pool": "../x"}))
    k8s.claim(storage_class=name)
    k8s.pod("web", wait=False)

    k8s.event("web", "FailedScheduling", "did not have enough free storage")

    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param(
            {"accessModes": ["ReadWriteMany"]},
            "access mode ReadWriteMany",
            id="an access mode that no volume has",
        ),
        pytest.param(
            {"selector": {"matchLabels": {"a": "b"}}},
            "selector",
            id="a selector",
        ),
    ],
)
def test_a_claim_that_cannot_be_served_is_explained(
    k8s: Kubernetes, spec: dict[str, Any], said: str
) -> None:
    k8s.claim(**spec)
    k8s.pod("web", wait=False)

    k8s.event("data", "ProvisioningFailed", said)


def test_a_claim_too_large_for_its_node_gives_the_node_back_and_says_the_numbers(
    k8s: Kubernetes,
) -> None:
    k8s.claim(size="100Ti")
    # A scheduler that is behind chooses a node without room.
    k8s.run("annotate", "pvc", "data", "volume.kubernetes.io/selected-node=node1")

    k8s.event("data", "ProvisioningFailed", "ResourceExhausted: pool default has no room")

    def notes() -> dict[str, str]:
        annotations: dict[str, str] = k8s.find("pvc", "data")["metadata"]["annotations"]
        return annotations

    wait_until(
        "the node is given back",
        lambda: "volume.kubernetes.io/selected-node" not in notes(),
    )
    assert volumes_on(k8s.cluster) == set()


def test_a_pool_whose_disk_is_not_mounted_keeps_the_pv(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")
    name = k8s.volume_of()["metadata"]["name"]
    k8s.delete("pod", "web")
    settings = k8s.cluster.nodes["node1"].path(f"{POOL}/pool.json")
    hidden = settings.with_name(".pool.json.away")
    # The disk of the pool seems to be away, and its mount point an empty directory.
    settings.rename(hidden)
    try:
        k8s.delete("pvc", "data")
        k8s_default = Kubernetes(k8s.cluster, "default")
        k8s_default.event(
            name,
            "VolumeFailedDelete",
            "Unavailable: pool default is not mounted",
        )
        assert k8s.get("pv", name) is not None
    finally:
        hidden.rename(settings)

    k8s.until_gone("pv", name)
    assert volumes_on(k8s.cluster, "node1") == set()


def test_a_released_pv_with_an_edited_owner_deletes_nothing(k8s: Kubernetes) -> None:
    """A hand-made PV that points at a volume of someone else: the record in the pool decides."""
    k8s.claim()
    k8s.pod("web", node="node1")
    real = k8s.volume_of()
    name = real["metadata"]["name"]
    forged = json.loads(json.dumps(real))
    forged["metadata"] = {
        "name": "forged",
        "annotations": real["metadata"]["annotations"],
        "finalizers": real["metadata"]["finalizers"],
    }
    forged["spec"]["claimRef"] = {
        "namespace": k8s.namespace,
        "name": "gone",
        "uid": "00000000-0000-0000-0000-000000000000",
    }
    del forged["status"]
    k8s.run("create", "-f", "-", input=json.dumps(forged))

    k8s.until_gone("pv", "forged")

    assert volumes_on(k8s.cluster, "node1") == {name}
    assert k8s.shell("web", "touch /data/still-there").returncode == 0
