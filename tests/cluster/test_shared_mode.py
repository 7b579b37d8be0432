"""Storage that every node reaches: bound at once, by one elected provisioner, with a driver that
knows no flexvol."""

from __future__ import annotations

import json

from tests.cluster.commands import provisioner
from tests.cluster.namespaces import Kubernetes, storage_class
from tests.cluster.nodes import SHARED
from tests.waiting import wait_until


def holder(flexvol: Kubernetes) -> str:
    lease = flexvol.get("lease", "flexvol-shared.flexvol") or {}
    return str(lease.get("spec", {}).get("holderIdentity") or "")


def leading_pod(flexvol: Kubernetes) -> str:
    """The pod whose log says that it leads."""
    for pod in flexvol.all("pods", "app=flexvol-shared"):
        name: str = pod["metadata"]["name"]
        log = flexvol.run("logs", name, check=False).stdout
        if log.rfind("leading") > log.rfind("the lease is lost"):
            return name
    return ""


def test_a_claim_is_bound_at_once_and_read_on_both_nodes(
    k8s: Kubernetes, shared: Kubernetes
) -> None:
    k8s.apply(
        storage_class(
            "shared",
            provisioner="shared.flexvol",
            volumeBindingMode="Immediate",
        )
    )
    k8s.claim(storage_class="shared", accessModes=["ReadWriteMany"])
    volume = k8s.volume_of()  # no pod yet
    assert "nodeAffinity" not in volume["spec"]
    assert volume["spec"]["flexVolume"]["options"] == {"export": "a"}
    assert volume["metadata"]["annotations"]["flexvol/identity"] == "shared"

    k8s.pod("one", node="node1")
    k8s.pod("two", node="node2")
    k8s.shell("one", "echo hello > /data/greeting")
    assert k8s.shell("two", "cat /data/greeting").stdout == "hello\n"

    name = volume["metadata"]["name"]
    k8s.run("patch", "pv", name, "-p", '{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}')
    stolen = {"name": "stolen", "annotations": {"flexvol/from-snapshot": "anybodys"}}
    spec = {
        "storageClassName": "shared",
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "64Mi"}},
    }
    k8s.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": stolen,
            "spec": spec,
        }
    )
    k8s.event("stolen", "ProvisioningFailed", "has no snapshot 'anybodys' of namespace")

    k8s.delete("pod", "one", "two")
    k8s.delete("pvc", "data", "stolen")
    k8s.run("delete", "pv", name)
    adopted_by_another_claim(k8s, name)

    k8s.run("patch", "pv", name, "-p", '{"spec": {"persistentVolumeReclaimPolicy": "Delete"}}')
    k8s.delete("pvc", "again")
    k8s.until_gone("pv", name)
    assert list(SHARED.iterdir()) == []


def adopted_by_another_claim(k8s: Kubernetes, name: str) -> None:
    """A person gives the volume, which has no PV any more, to the claim `again`."""
    claim = f"{k8s.namespace}/again"
    printed = provisioner("adopt", f"{k8s.namespace}/data", "--claim", claim)
    assert "adopted; it awaits its claim" in printed, printed
    volume = k8s.get("pv", name) or {}
    assert volume["metadata"]["annotations"]["flexvol/identity"] == "shared"
    assert "nodeAffinity" not in volume["spec"]

    # A claim that comes before kube-controller-manager knows its PV gets another one.
    k8s.until_phase("pv", name, "Available")
    k8s.claim("again", storage_class="shared", accessModes=["ReadWriteMany"])
    assert k8s.volume_of("again")["metadata"]["name"] == name
    uid = k8s.uid("pvc", "again")

    def owner() -> str:
        found: str = json.loads((SHARED / name / ".record").read_text())["owner"]["uid"]
        return found

    wait_until("its record names the claim", lambda: owner() == uid)


def test_when_the_leader_stops_the_other_takes_over_at_once(
    k8s: Kubernetes, shared: Kubernetes
) -> None:
    leader = wait_until("one leads", lambda: leading_pod(shared), 60)
    before = holder(shared)

    shared.run("delete", "pod", leader, "--wait=true")

    # 14 s are less than the lease lasts: the old holder has released it.
    wait_until("another holds the lease", lambda: holder(shared) not in ("", before), 14)
    k8s.apply(
        storage_class(
            "shared",
            provisioner="shared.flexvol",
            volumeBindingMode="Immediate",
        )
    )
    k8s.claim(storage_class="shared")
    name = k8s.volume_of()["metadata"]["name"]
    k8s.delete("pvc", "data")
    k8s.until_gone("pv", name)
