"""Two drivers of one's own in shared mode, with the accounts that ./build.sh new-driver and
deploy/secrets give them: neither can touch what is the other's."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bundle import new_driver
from cluster.controller.secrets import made_name
from tests.cluster.accounts import (
    MADE_IN,
    Writer,
    allowed,
    annotation,
    holder_of,
    may,
    patch,
    refused,
    until_a_policy_refuses,
)
from tests.cluster.installing import render
from tests.cluster.namespaces import Kubernetes, Object
from tests.sources import ROOT
from tests.waiting import wait_until

OWN = "archive"
OTHER = "films"
SELECTED = "volume.kubernetes.io/selected-node"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
PODS = {"Deployment", "DaemonSet"}
TRY = ("create", "--dry-run=server", "-f", "-")


@pytest.fixture
def drivers(vault: Kubernetes, tmp_path: Path) -> Iterator[None]:
    """All that is in the manifests of both drivers, without their pods."""
    manifests = []
    for name in (OWN, OTHER):
        new_driver.write(tmp_path / name, new_driver.SHARED, "\n")
        manifests.append(tmp_path / name / "deploy")
        kustomization = manifests[-1] / "kustomization.yaml"
        text = kustomization.read_text()
        kustomization.write_text(text.replace("resources:\n", "resources:\n  - secrets.yaml\n"))
    account = ROOT / "deploy/shared/account"
    rendered = render(vault, tmp_path, resources=[account, *manifests])
    text = yaml.safe_dump_all([one for one in rendered if one["kind"] not in PODS])
    vault.cluster.kubectl("apply", "-f", "-", input=text, capture_output=True)
    for name in (OWN, OTHER):
        wait_until(f"{name} has its rights", functools.partial(may, vault, account_of(name), "get"))
    yield
    vault.cluster.kubectl("delete", "--wait=true", "-f", "-", input=text, capture_output=True)


def account_of(driver: str) -> str:
    return f"flexvol-driver-{driver}"


@pytest.fixture
def thief(k8s: Kubernetes, drivers: None) -> Writer:
    """Who has the token of the first driver's pod."""
    account = holder_of(k8s, account=account_of(OWN))
    until_a_policy_refuses(account, *TRY, request=json.dumps(volume(OTHER)))
    return account


def volume(driver: str, identity: str = "", uid: str = "u1") -> Object:
    """A PV as the driver's provisioner makes one. identity: in place of the driver's own."""
    notes = {
        "flexvol/identity": identity or driver,
        "pv.kubernetes.io/provisioned-by": f"{driver}.flexvol",
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{uid}", "annotations": notes},
        "spec": {
            "capacity": {"storage": "1Mi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": driver,
            "claimRef": {"namespace": "default", "name": "nobodys", "uid": uid},
            "flexVolume": {"driver": f"flexvol/{driver}"},
        },
    }


def test_a_drivers_account_writes_pvs_of_its_own_identity_and_provisioner_alone(
    k8s: Kubernetes, thief: Writer
) -> None:
    theirs = volume(OTHER, uid=f"theirs-{k8s.namespace}")
    name = theirs["metadata"]["name"]
    k8s.apply(theirs)
    try:
        identity = f'the annotation flexvol/identity is "{OTHER}"'
        assert refused(thief("delete", "pv", name, "--wait=false"), identity)
        for change in (annotation("flexvol/identity", OWN), {"metadata": {"finalizers": ["a/b"]}}):
            assert refused(thief(*patch("pv", name, change)), identity)
        assert k8s.get("pv", name) is not None
    finally:
        k8s.cluster.kubectl("delete", "pv", name, capture_output=True)
    forged = json.dumps(volume(OTHER, identity=OWN))
    assert refused(thief(*TRY, input=forged), f'this one is of "{OTHER}.flexvol"')
    forged = json.dumps(volume(OWN, identity=OTHER))
    assert refused(thief(*TRY, input=forged), identity)
    assert refused(thief(*TRY, input=json.dumps(volume(OWN, identity="node1"))), 'is "node1"')
    assert refused(thief(*TRY, input=json.dumps(volume("loop", OWN))), 'is of "loop.flexvol"')

    assert allowed(thief(*TRY, input=json.dumps(volume(OWN))))


def secret(driver: str, of_volume: str = "pvc-1") -> str:
    """As the driver's provisioner makes one for a volume."""
    notes = {"flexvol/identity": driver, "flexvol/volume": of_volume}
    name = made_name(of_volume, driver)
    return json.dumps({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": f"flexvol/{driver}",
        "metadata": {"name": name, "namespace": MADE_IN, "annotations": notes},
        "stringData": {"key": "x"},
    })  # fmt: skip


def test_a_drivers_account_makes_and_deletes_the_keys_of_its_own_volumes_alone(
    vault: Kubernetes, drivers: None
) -> None:
    vault.run("create", "-f", "-", input=secret(OTHER))
    thief = holder_of(vault, account=account_of(OWN))
    until_a_policy_refuses(thief, *TRY, request=secret(OTHER, "pvc-2"))

    identities = f'flexvol/identity is "{OTHER}"'
    assert refused(thief("delete", "secret", made_name("pvc-1", OTHER)), identities)
    assert refused(thief(*TRY, input=secret(OTHER, "pvc-2")), identities)

    assert allowed(thief("create", "-f", "-", input=secret(OWN)))
    assert allowed(thief("delete", "secret", made_name("pvc-1", OWN)))
    vault.run("delete", "secret", made_name("pvc-1", OTHER))


def test_a_drivers_account_leaves_the_others_claims_events_and_lease(
    k8s: Kubernetes, thief: Writer
) -> None:
    about = {"kind": "PersistentVolumeClaim", "name": "data", "namespace": k8s.namespace}

    def event(component: str) -> str:
        return json.dumps({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "data.any", "namespace": k8s.namespace},
            "source": {"component": component},
            "involvedObject": about,
            "reason": "Provisioning",
            "message": "x",
            "type": "Normal",
        })  # fmt: skip

    for provisioner, identity in ((OTHER, OTHER), (OTHER, OWN), (OWN, OTHER), ("loop", "node1")):
        done = thief(*TRY, input=event(f"{provisioner}.flexvol {identity}"))
        assert refused(done, "only its own events"), (provisioner, identity)
    both = event(f"{OWN}.flexvol+{OTHER}.flexvol {OWN}")
    assert refused(thief(*TRY, input=both), "only its own events")
    assert allowed(thief(*TRY, input=event(f"{OWN}.flexvol {OWN}")))

    for name in (OWN, OTHER):
        k8s.claim(name, storage_class="nobodys")
        k8s.run("annotate", "pvc", name, f"{PROVISIONER}={name}.flexvol", f"{SELECTED}=node1")
    away = annotation(SELECTED, None)
    assert refused(thief(*patch("pvc", OTHER, away)), f"this one waits for {OTHER}.flexvol")
    assert allowed(thief(*patch("pvc", OWN, away)))

    lease = "lease/flexvol-{}.flexvol"
    for name, answer in ((OTHER, "no"), (OWN, "yes")):
        line = ("auth", "can-i", "patch", lease.format(name), "-n", "flexvol")
        assert thief(*line).stdout.strip() == answer, name
