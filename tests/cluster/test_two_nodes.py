"""Two nodes share a class, and each touches only what is its own: the PV's identity is compared at
delete."""

from __future__ import annotations

import json

from tests.cluster.namespaces import Kubernetes
from tests.cluster.nodes import volumes_on
from tests.cluster.own_provisioner import bound, claim
from tests.waiting import wait_until

NODES = ("node1", "node2")


def provisioner_log(k8s: Kubernetes, node: str) -> str:
    flexvol = Kubernetes(k8s.cluster, "flexvol")
    pods = flexvol.all("pods", "app=flexvol-node", f"spec.nodeName={node}")
    return "".join(flexvol.run("logs", pod["metadata"]["name"]).stdout for pod in pods)


def test_each_volume_is_made_and_deleted_by_the_instance_of_its_node(k8s: Kubernetes) -> None:
    k8s.apply(*(claim(node, "flexvol-loop", node) for node in NODES))
    found = bound(k8s, *NODES)
    for node in NODES:
        assert volumes_on(k8s.cluster, node) == {found[node]}

    k8s.delete("pvc", *NODES)

    wait_until(
        "the PVs are gone",
        lambda: not any(k8s.get("pv", name) for name in found.values()),
    )
    for node, other in (NODES, NODES[::-1]):
        assert volumes_on(k8s.cluster, node) == set()
        lines = [f"{what} {found[node]}" for what in ("provisioned", "deleted")]

        def logged(node: str = node, lines: list[str] = lines) -> bool:
            log = provisioner_log(k8s, node)
            return all(line in log for line in lines)

        wait_until(f"both are logged on {node}", logged)
        assert found[other] not in provisioner_log(k8s, node)


def test_a_released_pv_under_another_nodes_name_deletes_nothing_on_either(k8s: Kubernetes) -> None:
    """A copy of node1's PV that says node2: that instance is asked, and finds that the pool is not
    its own."""
    k8s.apply(claim("data", "flexvol-loop", "node1"))
    name = bound(k8s, "data")["data"]
    real = k8s.get("pv", name) or {}
    forged = json.loads(json.dumps(real))
    forged["metadata"] = {
        "name": f"forged-{k8s.namespace}",
        "annotations": {**real["metadata"]["annotations"], "flexvol/identity": "node2"},
        "finalizers": real["metadata"]["finalizers"],
    }
    forged["spec"]["claimRef"] |= {"name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}
    del forged["status"]
    k8s.run("create", "-f", "-", input=json.dumps(forged))
    forged_name = forged["metadata"]["name"]
    try:
        Kubernetes(k8s.cluster, "default").event(
            forged_name, "VolumeFailedDelete", "Unavailable: pool default"
        )
        assert volumes_on(k8s.cluster, "node1") == {name}
        assert forged_name not in provisioner_log(k8s, "node1")
    finally:
        k8s.run(
            "patch", "pv", forged_name, "--type=merge", "-p", '{"metadata": {"finalizers": null}}'
        )
        k8s.delete("pv", forged_name)
