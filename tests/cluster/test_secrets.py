"""A pod's driver gets the secret that its class means, and nobody else sees it: deploy/secrets, on
the real kubelet."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Iterator

import pytest

from cluster.controller.secrets import made_name
from tests.cluster.accounts import MADE_IN, may
from tests.cluster.killed_provisioner import USES_SECRET
from tests.cluster.kube.cluster import Cluster
from tests.cluster.namespaces import Kubernetes, Object, ours, storage_class
from tests.cluster.nodes import DRIVER, SHARED
from tests.waiting import wait_until

IDENTITY = "shared"  # deploy/shared


def secret_class(name: str, **parameters: str) -> Object:
    changes = {
        "provisioner": "shared.flexvol",
        "volumeBindingMode": "Immediate",
        "parameters": parameters,
    }
    return storage_class(name, **changes)


def shows_nowhere(k8s: Kubernetes, value: bytes) -> None:
    """No log of ours, no event and no PV has it, neither as it is nor as kubelet writes it."""
    cluster = k8s.cluster

    def log_of(app: str) -> str:
        line = ("-n", "flexvol", "logs", "-l", f"app={app}", "--tail=-1", "--all-containers")
        return k8s.run(*line, check=False).stdout

    apps = ("flexvol-node", "flexvol-shared")
    wait_until("it is logged", lambda: any("provisioned" in log_of(app) for app in apps))
    seen = {
        "pvs": json.dumps(ours(k8s)),
        "events": k8s.run("get", "events", "-A", "-o", "json").stdout,
    }
    for app in apps:
        seen[app] = log_of(app)
    for node in cluster.nodes.values():
        log = node.path("/var/log/flexvol/loop.log")
        seen[f"{node.name}: driver"] = log.read_text() if log.exists() else ""
    assert "provisioned" in seen["flexvol-node"] + seen["flexvol-shared"]
    assert k8s.namespace in seen["pvs"] and k8s.namespace in seen["events"]
    for text in (value.decode(), base64.b64encode(value).decode()):
        assert {where for where, what in seen.items() if text in what} == set()


@contextlib.contextmanager
def using_secrets(cluster: Cluster, node: str) -> Iterator[None]:
    """The node's loop driver uses secrets meanwhile, as far as anybody can tell."""
    driver = cluster.nodes[node].path(DRIVER)
    real = driver.with_name(".real")
    wrapper = driver.with_name(".wrapper")
    os.link(driver, real)
    wrapper.write_text(USES_SECRET + f'exec "{DRIVER.rpartition("/")[0]}/.real" "$@"\n')
    wrapper.chmod(0o755)
    wrapper.rename(driver)
    try:
        yield
    finally:
        real.rename(driver)


def value_of(vault: Kubernetes, name: str, key: str = "key") -> bytes:
    return base64.b64decode((vault.get("secret", name) or {})["data"][key])


def received(k8s: Kubernetes, pod: str) -> dict[str, str]:
    """The digests of what the driver was given when it mounted the pod's volume."""
    digests: dict[str, str] = json.loads(k8s.shell(pod, "cat /data/.received").stdout)
    return digests


def test_without_the_rights_it_is_said_what_to_apply_and_with_them_all_is_well(
    k8s: Kubernetes, request: pytest.FixtureRequest
) -> None:
    with using_secrets(k8s.cluster, "node1"):
        says_what_to_apply_and_goes_on(k8s, request)


def says_what_to_apply_and_goes_on(k8s: Kubernetes, request: pytest.FixtureRequest) -> None:
    name = f"own-{k8s.namespace}"
    k8s.apply(storage_class(name, parameters={"createSecret": "true"}))
    k8s.claim(storage_class=name)
    k8s.pod("web", node="node1", wait=False)
    k8s.event("data", "ProvisioningFailed", "apply deploy/secrets")

    vault: Kubernetes = request.getfixturevalue("vault")
    # The annotation makes the next attempt come sooner than by itself, which takes minutes.
    k8s.run("annotate", "pvc", "data", "again=1")
    k8s.running("web")
    k8s.pod("second")  # kubelet reads it at each mount

    events = k8s.all(
        "events",
        fields="involvedObject.name=data,reason=ProvisioningFailed",
    )
    assert len(events) == 1
    volume = k8s.volume_of()
    volume_name = volume["metadata"]["name"]
    source = volume["spec"]["flexVolume"]
    made = made_name(volume_name, "node1")
    assert source["secretRef"] == {"name": made, "namespace": MADE_IN}
    assert set(source["options"]) == {"pool", "poolId"}
    secret = vault.get("secret", made) or {}
    assert (secret["type"], secret["immutable"]) == ("flexvol/loop", True)
    assert secret["metadata"]["annotations"] == {
        "flexvol/volume": volume_name,
        "flexvol/claim-namespace": k8s.namespace,
        "flexvol/claim-name": "data",
        "flexvol/claim-uid": volume["spec"]["claimRef"]["uid"],
        "flexvol/identity": "node1",
    }
    value = value_of(vault, made)
    assert len(base64.urlsafe_b64decode(value)) == 32
    shows_nowhere(k8s, value)

    k8s.delete("pod", "web", "second")
    k8s.delete("pvc", "data")
    k8s.until_gone("pv", volume_name)
    assert vault.all("secrets") == []
    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def test_a_driver_that_uses_no_secret_refuses_a_class_that_asks_for_one(
    k8s: Kubernetes, vault: Kubernetes
) -> None:
    name = f"vain-{k8s.namespace}"
    k8s.apply(storage_class(name, parameters={"createSecret": "true"}))
    k8s.claim(storage_class=name)
    k8s.pod("web", node="node1", wait=False)

    k8s.event(
        "data",
        "ProvisioningFailed",
        "and this driver uses no secret; leave createSecret",
    )

    assert vault.all("secrets") == []
    assert ours(k8s) == []
    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def test_a_pods_driver_gets_the_secret_that_its_class_names(
    k8s: Kubernetes, shared: Kubernetes, vault: Kubernetes
) -> None:
    name = f"named-{k8s.namespace}"
    templates = {
        "secretName": "${pvc.annotations['team']}-key",
        "secretNamespace": "${pvc.namespace}",
    }
    k8s.apply(secret_class(name, **templates))
    account = "--serviceaccount=flexvol:flexvol-shared"
    k8s.run("create", "rolebinding", "flexvol", "--clusterrole=flexvol-secret-reader", account)
    wait_until("the account may read", lambda: may(k8s, "flexvol-shared", "get"))

    k8s.claim(storage_class=name)
    k8s.event(
        "data",
        "ProvisioningFailed",
        "${pvc.annotations['team']}\", for which there is no value",
    )
    k8s.run("annotate", "pvc", "data", "team=blue")
    k8s.event(
        "data",
        "ProvisioningFailed",
        f"secret {k8s.namespace}/blue-key does not exist",
    )
    value = b"swordfish-" + k8s.namespace.encode()
    k8s.run(
        "create",
        "secret",
        "generic",
        "blue-key",
        "--type=flexvol/shared",
        f"--from-literal=password={value.decode()}",
    )
    k8s.pod("web")  # nobody said that it is there now

    assert k8s.volume_of()["spec"]["flexVolume"]["secretRef"] == {
        "name": "blue-key",
        "namespace": k8s.namespace,
    }
    assert received(k8s, "web") == {"password": hashlib.sha256(value).hexdigest()}
    shows_nowhere(k8s, value)

    k8s.run("create", "secret", "generic", "red-key", "--from-literal=password=x")
    k8s.claim("other", storage_class=name)
    k8s.run("annotate", "pvc", "other", "team=red")
    said = k8s.event("other", "ProvisioningFailed", "red-key is of type")
    assert "'Opaque'" in said and "type flexvol/shared" in said

    k8s.delete("pod", "web")
    k8s.delete("pvc", "data", "other")
    wait_until("the PV is gone", lambda: ours(k8s) == [])
    assert k8s.get("secret", "blue-key") is not None
    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def test_a_secret_made_for_a_volume_is_given_to_its_driver_and_does_not_outlive_it(
    k8s: Kubernetes, shared: Kubernetes, vault: Kubernetes
) -> None:
    name = f"made-{k8s.namespace}"
    k8s.apply(secret_class(name, createSecret="true"))
    broken = SHARED / ".broken"
    broken.touch()
    try:
        k8s.claim("vanishes", storage_class=name)
        k8s.event("vanishes", "ProvisioningFailed", "the storage is broken")
        uid = k8s.uid("pvc", "vanishes")
        k8s.delete("pvc", "vanishes")
    finally:
        broken.unlink()
    logs = ("logs", "-l", "app=flexvol-shared", "--tail=-1")
    wait_until(
        "it is undone",
        lambda: f"deleted pvc-{uid} again" in shared.run(*logs).stdout,
    )
    assert vault.all("secrets") == []
    assert list(SHARED.iterdir()) == []

    k8s.claim(storage_class=name)
    k8s.pod("web")
    volume = k8s.volume_of()["metadata"]["name"]
    made = k8s.volume_of()["spec"]["flexVolume"]["secretRef"]["name"]
    value = value_of(vault, made)
    assert received(k8s, "web") == {"key": hashlib.sha256(value).hexdigest()}
    shows_nowhere(k8s, value)

    thief = f"thief-{k8s.namespace}"
    k8s.apply(
        secret_class(
            thief,
            secretName="${pvc.annotations['want']}",
            secretNamespace=MADE_IN,
        )
    )
    k8s.claim("thief", storage_class=thief)
    k8s.run("annotate", "pvc", "thief", f"want={made}")
    k8s.event("thief", "ProvisioningFailed", f"{made} is there, but not for this claim")

    k8s.delete("pod", "web")
    k8s.delete("pvc", "data", "thief")
    k8s.until_gone("pv", volume)
    assert vault.all("secrets") == []
    k8s.cluster.kubectl("delete", "storageclass", name, thief, capture_output=True)


def test_a_secret_of_that_name_that_is_not_the_volumes_is_neither_used_nor_taken_away(
    k8s: Kubernetes, shared: Kubernetes, vault: Kubernetes
) -> None:
    name = f"made-{k8s.namespace}"
    k8s.apply(
        {
            **secret_class(name, createSecret="true"),
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )
    k8s.claim(storage_class=name)
    volume = "pvc-" + k8s.uid("pvc", "data")
    made = made_name(volume, IDENTITY)
    vault.run("create", "secret", "generic", made, "--type=flexvol/shared", "--from-literal=key=x")

    # The scheduler would choose the node like this.
    k8s.run("annotate", "pvc", "data", "volume.kubernetes.io/selected-node=node1")

    k8s.event("data", "ProvisioningFailed", f"{made} is there, but not for this claim")
    k8s.delete("pvc", "data")
    assert value_of(vault, made) == b"x"
    assert list(SHARED.iterdir()) == []
    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)
