"""Drivers of one's own, with the accounts that ./build.sh new-driver and deploy/secrets give
them: in shared mode none can touch what is another's, in node mode none on the same node."""

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
from tests.cluster.claims import forge
from tests.cluster.installing import render
from tests.cluster.namespaces import Kubernetes, Object
from tests.sources import ROOT
from tests.waiting import wait_until

OWN = "archive"
OTHER = "films"
ON_NODE = "quota"
MODES = {OWN: new_driver.SHARED, OTHER: new_driver.SHARED, ON_NODE: new_driver.NODE}
SELECTED = "volume.kubernetes.io/selected-node"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
PODS = {"Deployment", "DaemonSet"}
TRY = ("create", "--dry-run=server", "-f", "-")


@pytest.fixture
def drivers(vault: Kubernetes, tmp_path: Path) -> Iterator[None]:
    """All that is in the manifests of the drivers, without their pods."""
    manifests = []
    for name, mode in MODES.items():
        new_driver.write(tmp_path / name, mode, "\n")
        manifests.append(tmp_path / name / "deploy")
        kustomization = manifests[-1] / "kustomization.yaml"
        text = kustomization.read_text()
        kustomization.write_text(text.replace("resources:\n", "resources:\n  - secrets.yaml\n"))
    account = ROOT / "deploy/shared/account"
    rendered = render(vault, tmp_path, resources=[account, *manifests])
    text = yaml.safe_dump_all([one for one in rendered if one["kind"] not in PODS])
    vault.cluster.kubectl("apply", "-f", "-", input=text, capture_output=True)
    for name in MODES:
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


@pytest.fixture
def pod_on_node(k8s: Kubernetes, drivers: None) -> Iterator[str]:
    """A pod of the node's driver on node1, which never runs. Its account has its name."""
    account = account_of(ON_NODE)
    container = {"name": "main", "image": "none.invalid/none"}
    spec = {"serviceAccountName": account, "nodeName": "node1", "containers": [container]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": account, "namespace": "flexvol"},
        "spec": {**spec, "terminationGracePeriodSeconds": 0},
    }
    k8s.run("-n", "flexvol", "create", "-f", "-", input=json.dumps(pod))
    try:
        thief = holder_of(k8s, account, account)
        until_a_policy_refuses(thief, *TRY, request=json.dumps(volume("loop", "node1")))
        yield account
    finally:
        k8s.run("-n", "flexvol", "delete", "pod", account, "--force", "--grace-period=0")


def test_a_drivers_account_leaves_alone_what_is_of_another_driver_of_its_node(
    k8s: Kubernetes, vault: Kubernetes, pod_on_node: str
) -> None:
    thief = holder_of(k8s, pod_on_node, pod_on_node)
    in_vault = holder_of(vault, pod_on_node, pod_on_node)
    theirs = forge(k8s, "theirs", "node1", claim="theirs")
    by_serving = "loop.flexvol is not among those that a ClusterRole"
    try:
        assert refused(thief("delete", "pv", theirs, "--wait=false"), by_serving)
        assert refused(thief(*patch("pv", theirs, annotation("other", "1"))), by_serving)
    finally:
        k8s.delete("pvc", "theirs")
        let_go = patch("pv", theirs, {"metadata": {"finalizers": None}})
        k8s.cluster.kubectl(*let_go, capture_output=True)
        k8s.cluster.kubectl("delete", "pv", theirs, "--ignore-not-found", capture_output=True)
    for name in ("loop", OWN):
        assert refused(thief(*TRY, input=json.dumps(on_node(volume(name, "node1")))), "serves, and")
    assert allowed(thief(*TRY, input=json.dumps(on_node(volume(ON_NODE, "node1")))))

    for driver, is_own in (("loop", False), (ON_NODE, True)):
        body = json.loads(secret("node1"))
        body["type"] = f"flexvol/{driver}"
        vault.run("create", "-f", "-", input=json.dumps(body))
        name = body["metadata"]["name"]
        done = in_vault("delete", "secret", name, "--wait=false", "--dry-run=server")
        assert allowed(done) if is_own else refused(done, 'this one is of type "flexvol/loop"')
        vault.run("delete", "secret", name)
        made = in_vault(*TRY, input=json.dumps(body))
        assert allowed(made) if is_own else refused(made, 'this one is of type "flexvol/loop"')

    for name in ("loop", ON_NODE):
        k8s.claim(name, storage_class="nobodys")
        k8s.run("annotate", "pvc", name, f"{PROVISIONER}={name}.flexvol")
    taken = annotation(SELECTED, "node1")
    assert refused(thief(*patch("pvc", "loop", taken)), "waits for loop.flexvol")
    assert allowed(thief(*patch("pvc", ON_NODE, taken)))


def on_node(volume: Object) -> Object:
    """The PV as it is in node mode."""
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}
    terms = [{"matchExpressions": [term]}]
    spec = {**volume["spec"], "nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}
    return {**volume, "spec": spec}
