"""The scheduler knows what room each node has, though the driver is not CSI."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from tests.cluster.conftest import DRIVER, POOL, Kubernetes
from tests.cluster.kube.cluster import wait_until
from tests.cluster.kube.node import Node
from tests.cluster.own_provisioner import claim as chosen_claim
from tests.cluster.test_claims import storage_class

GIB = 1 << 30


def published(k8s: Kubernetes, storage_class: str = "flexvol-loop") -> dict[str, int]:
    """Bytes by node."""
    done = k8s.cluster.kubectl(
        "-n", "flexvol", "get", "csistoragecapacities", "-o", "json", capture_output=True
    )
    items: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return {
        item["nodeTopology"]["matchLabels"]["kubernetes.io/hostname"]: _bytes(item["capacity"])
        for item in items
        if item["storageClassName"] == storage_class
    }


def _bytes(quantity: str) -> int:
    units = {
        "Ki": 1 << 10,
        "Mi": 1 << 20,
        "Gi": 1 << 30,
        "Ti": 1 << 40,
        "k": 10**3,
        "M": 10**6,
        "G": 10**9,
    }
    unit = next((unit for unit in units if quantity.endswith(unit)), "")
    return int(quantity.removesuffix(unit)) * units.get(unit, 1)


def hostname(k8s: Kubernetes, node: str) -> str:
    done = k8s.cluster.kubectl("get", "node", node, "-o", "json", capture_output=True)
    label: str = json.loads(done.stdout)["metadata"]["labels"]["kubernetes.io/hostname"]
    return label


@contextlib.contextmanager
def reserved(k8s: Kubernetes, node: str, reserve: str) -> Iterator[None]:
    """An administrator keeps so much of the node's pool in reserve meanwhile."""
    path = k8s.cluster.nodes[node].path(POOL) / "pool.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), "reserve": reserve}))
    try:
        yield
    finally:
        path.write_text(before)


def full(k8s: Kubernetes, node: str) -> contextlib.AbstractContextManager[None]:
    """The node's pool has no room to promise meanwhile."""
    return reserved(k8s, node, "100%")


def both_rooms(k8s: Kubernetes) -> dict[str, int]:
    """The room of both nodes, in bytes by node, when what is published is about what the drivers
    say."""

    def known() -> dict[str, int] | None:
        seen = published(k8s)
        far = [
            name
            for name, node in k8s.cluster.nodes.items()
            if abs(seen.get(hostname(k8s, name), -GIB) - room(node)) >= GIB
        ]
        return None if far else seen

    found: dict[str, int] = wait_until("both nodes' room is published", known)
    return found


def room(node: Node) -> int:
    """What the node's driver can promise, in bytes."""
    (pool,) = json.loads(node.enter(DRIVER, "list", capture_output=True).stdout)["pools"]
    free: int = pool["freeBytes"]
    return free


def test_a_volume_goes_to_the_node_with_room_and_one_too_big_waits_until_there_is_some(
    k8s: Kubernetes,
) -> None:
    first, second = hostname(k8s, "node1"), hostname(k8s, "node2")
    before = both_rooms(k8s)
    with full(k8s, "node1"):
        wait_until("node1's room is gone", lambda: published(k8s)[first] == 0, 30)
        size = before[second] // GIB // 2
        k8s.claim("small", size=f"{size}Gi")
        k8s.pod("web", claim="small")
        assert (k8s.get("pod", "web") or {})["spec"]["nodeName"] == "node2"
        wait_until(
            "the room it took is published",
            lambda: published(k8s)[second] < (size + 5) * GIB,
            10,
        )

        k8s.claim("large", size=f"{size + 10}Gi")
        k8s.pod("waits", claim="large", wait=False)
        k8s.event("waits", "FailedScheduling", "did not have enough free storage")
        assert k8s.all("events", fields="involvedObject.name=large,reason=Provisioning") == []
    k8s.running("waits")
    assert (k8s.get("pod", "waits") or {})["spec"]["nodeName"] == "node1"


def test_a_new_class_has_its_room_published_and_a_deleted_one_has_not(k8s: Kubernetes) -> None:
    name = f"class-{k8s.namespace}"
    k8s.apply(storage_class(name, parameters={"pool": "default"}))
    rooms = wait_until(
        "the new class's room is published", lambda: len(p := published(k8s, name)) == 2 and p, 10
    )
    assert all(room > GIB for room in rooms.values())

    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)
    wait_until(
        "nothing is published for a class that is gone", lambda: not published(k8s, name), 10
    )


def test_a_nodes_room_goes_with_its_instance_and_comes_with_the_next(k8s: Kubernetes) -> None:
    """Its pod is gone for good, though nothing on the node could take the room away."""
    flexvol, node2 = Kubernetes(k8s.cluster, "flexvol"), hostname(k8s, "node2")
    wait_until("both nodes' room is published", lambda: len(published(k8s)) == 2)
    (gone,) = flexvol.all("pods", "app=flexvol-node", "spec.nodeName=node2")
    k8s.cluster.kill("kubelet", "node2")
    try:
        flexvol.run("delete", "pod", gone["metadata"]["name"], "--force", "--grace-period=0")
        wait_until("its room is gone", lambda: node2 not in published(k8s))
    finally:
        k8s.cluster.start("kubelet", "node2")
        flexvol.run("rollout", "status", "daemonset/flexvol-node", "--timeout=120s")
    (next_one,) = flexvol.all("pods", "app=flexvol-node", "spec.nodeName=node2")
    assert next_one["metadata"]["uid"] != gone["metadata"]["uid"]

    def owners() -> set[str]:
        objects = [one["metadata"] for one in flexvol.all("csistoragecapacities")]
        return {
            owner["uid"]
            for one in objects
            if one["name"].endswith("-node2")
            for owner in one["ownerReferences"]
        }

    wait_until("the next one's is published", lambda: owners() == {next_one["metadata"]["uid"]})


def test_several_claims_at_once_into_the_last_room_all_find_a_place(k8s: Kubernetes) -> None:
    """Node1 is chosen for all, as by schedulers that each saw room; its driver gives it to two and
    sends the others on."""
    rooms = both_rooms(k8s)
    size = min(rooms.values()) // GIB * 2 // 5  # two fit on a node, four on both
    names = [f"claim-{number}" for number in range(4)]
    k8s.apply(*(chosen_claim(name, "flexvol-loop", "node1", f"{size}Gi") for name in names))

    def sent_on() -> list[dict[str, Any]]:
        said = k8s.all("events", fields="reason=ProvisioningFailed")
        return [
            one for one in said if "ResourceExhausted: pool default has no room" in one["message"]
        ]

    wait_until(
        "two are sent on",
        lambda: len({one["involvedObject"]["name"] for one in sent_on()}) == 2,
    )
    for name in names:
        k8s.pod(name, claim=name, wait=False)
    for name in names:
        k8s.running(name)

    nodes = [(k8s.get("pod", name) or {})["spec"]["nodeName"] for name in names]
    assert sorted(nodes) == ["node1", "node1", "node2", "node2"]


def test_a_cordoned_pool_gets_no_new_volume_and_what_is_in_it_lives_on(k8s: Kubernetes) -> None:
    node, first = k8s.cluster.nodes["node1"], hostname(k8s, "node1")
    k8s.claim("old")
    k8s.pod("before", claim="old", node="node1")
    k8s.delete("pod", "before")
    node.enter(DRIVER, "pool", "cordon", "default", capture_output=True)
    try:
        # The scheduler may not have heard of it yet: the driver refuses, says why, and the node is
        # given back.
        k8s.claim("new")
        k8s.run("annotate", "pvc", "new", "volume.kubernetes.io/selected-node=node1")
        k8s.event("new", "ProvisioningFailed", "pool default is cordoned")

        def given_back() -> bool:
            notes = (k8s.get("pvc", "new") or {})["metadata"].get("annotations", {})
            return "volume.kubernetes.io/selected-node" not in notes

        wait_until("the node is given back", given_back)
        wait_until("node1's room is gone", lambda: published(k8s)[first] == 0, 30)
        k8s.pod("web", claim="new")
        assert (k8s.get("pod", "web") or {})["spec"]["nodeName"] == "node2"

        k8s.pod("after", claim="old")
        assert (k8s.get("pod", "after") or {})["spec"]["nodeName"] == "node1"
    finally:
        node.enter(DRIVER, "pool", "uncordon", "default", capture_output=True)
    wait_until("node1 has room again", lambda: published(k8s)[first] > GIB, 30)
