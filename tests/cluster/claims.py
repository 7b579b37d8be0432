"""Claims in the states that tests need, and what is known of their volumes."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

from tests.cluster.namespaces import Kubernetes, Object, published, storage_class
from tests.waiting import wait_until

HOSTNAME = "kubernetes.io/hostname"


@contextlib.contextmanager
def bound_at_once(k8s: Kubernetes, **changes: Any) -> Iterator[str]:
    """A class of the loop driver that does not wait for a pod, and its room known."""
    name = f"at-once-{k8s.namespace}"
    k8s.apply(storage_class(name, volumeBindingMode="Immediate", **changes))
    try:
        wait_until("its room is published", lambda: len(published(k8s, name)) == 2, 30)
        yield name
    finally:
        k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def node_of(volume: Object) -> str:
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    (expression,) = term["matchExpressions"]
    assert expression["key"] == HOSTNAME
    assert [volume["metadata"]["annotations"]["flexvol/identity"]] == expression["values"]
    return str(expression["values"][0])


def warnings(k8s: Kubernetes, about: str) -> list[Object]:
    return k8s.all("events", fields=f"involvedObject.name={about},type=Warning")


def looked_again(k8s: Kubernetes, storage_class: str) -> None:
    """Waits until all claims have been looked at once more: a new one, the last in that round, is
    explained."""
    k8s.claim("newest", storage_class=storage_class, volumeMode="Block")
    k8s.event("newest", "ProvisioningFailed", "volumeMode Block")


def size_mib(k8s: Kubernetes, name: str) -> float:
    return int(k8s.shell(name, "df -k /data | tail -1").stdout.split()[1]) / 1024


TOO_LARGE = "900Gi"


def raise_claim(k8s: Kubernetes, size: str) -> None:
    k8s.run(
        "patch",
        "pvc",
        "data",
        "-p",
        f'{{"spec":{{"resources":{{"requests":{{"storage":"{size}"}}}}}}}}',
    )


def wait_for_volume(k8s: Kubernetes, size: str) -> None:
    wait_until(
        f"the PV says {size}",
        lambda: k8s.volume_of()["spec"]["capacity"] == {"storage": size},
    )


def forge(
    k8s: Kubernetes, name: str, node: str, claim: str = "data", giving_up: bool = False
) -> str:
    """A PV as our instance on that node would have made it, and its claim. giving_up: its class
    says that it is given up with its node."""
    name = f"pvc-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{name}-{k8s.namespace}')}"
    policy = {"flexvol/on-node-gone": "release"} if giving_up else {}
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    k8s.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {
                "name": name,
                "annotations": {
                    "pv.kubernetes.io/provisioned-by": "loop.flexvol",
                    "flexvol/identity": node,
                    **policy,
                },
                "finalizers": ["external-provisioner.volume.kubernetes.io/finalizer"],
            },
            "spec": {
                "capacity": {"storage": "64Mi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "flexvol-loop",
                "persistentVolumeReclaimPolicy": "Delete",
                "claimRef": {"namespace": k8s.namespace, "name": claim},
                "flexVolume": {
                    "driver": "flexvol/loop",
                    "options": {"pool": "default", "poolId": "0"},
                },
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
            },
        }
    )
    k8s.claim(claim, volumeName=name)
    if not giving_up:
        k8s.until_phase("pvc", claim, "Bound")
    return name
