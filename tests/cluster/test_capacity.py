"""The scheduler knows what room each node has, though the driver is not CSI."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from tests.cluster.kube.node import Node
from tests.cluster.namespaces import Kubernetes, hostname, ours, published, storage_class
from tests.cluster.nodes import DRIVER, GIB, full, unmount
from tests.cluster.own_provisioner import claim as chosen_claim
from tests.waiting import wait_until

MIB = 1 << 20


@contextlib.contextmanager
def small_pool(node: Node, name: str) -> Iterator[str]:
    """A pool of the node on a disk of its own, of 200 MiB: what others write changes nothing there.
    Yields its directory."""
    directory = f"/var/lib/flexvol/{name}"
    node.enter("mkdir", directory)
    node.enter("mount", "-t", "tmpfs", "-o", "size=200m", name, directory)
    try:
        node.enter(DRIVER, "pool", "init", name, "--reserve", "0", capture_output=True)
        yield directory
    finally:
        unmount(node, directory)
        node.enter(DRIVER, "pool", "remove", name, "--away", capture_output=True)
        node.enter("rmdir", directory)


def both_rooms(k8s: Kubernetes) -> dict[str, int]:
    """The room of both nodes, in bytes by node, when what is published is about what the drivers
    say."""

    def known() -> dict[str, int] | None:
        seen = published(k8s)
        far = [
            name
            for name, node in k8s.cluster.nodes.items()
            if abs(seen.get(hostname(k8s, name), -GIB) - room(node)) >= 4 * GIB
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
    first = hostname(k8s, "node1")
    second = hostname(k8s, "node2")
    before = both_rooms(k8s)
    with full(k8s, "node1"):
        wait_until("node1's room is gone", lambda: published(k8s)[first] == 0, 30)
        size = before[second] // GIB // 2
        k8s.claim("small", size=f"{size}Gi")
        k8s.pod("web", claim="small")
        assert k8s.node_of("web") == "node2"
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
    assert k8s.node_of("waits") == "node1"


def test_a_new_class_has_its_room_published_and_a_deleted_one_has_not(k8s: Kubernetes) -> None:
    name = f"class-{k8s.namespace}"
    k8s.apply(storage_class(name, parameters={"pool": "default"}))
    rooms = wait_until(
        "the new class's room is published",
        lambda: len(p := published(k8s, name)) == 2 and p,
        10,
    )
    assert all(room > GIB for room in rooms.values())

    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)
    wait_until(
        "nothing is published for a class that is gone",
        lambda: not published(k8s, name),
        10,
    )


def test_less_room_than_the_smallest_volume_is_none(k8s: Kubernetes) -> None:
    """An xfs has 300 MiB at least, so a claim of 64Mi for one does not fit into 200 MiB."""
    node = k8s.cluster.nodes["node1"]
    first = hostname(k8s, "node1")
    names = {fs_type: f"{fs_type}-{k8s.namespace}" for fs_type in ("ext4", "xfs")}
    with small_pool(node, "small") as directory:
        for fs_type, name in names.items():
            k8s.apply(
                storage_class(
                    name,
                    parameters={"fsType": fs_type, "pool": "small"},
                )
            )
        wait_until(
            "node1 has room for an ext4",
            lambda: 100 * MIB < published(k8s, names["ext4"]).get(first, 0) < 300 * MIB,
            30,
        )
        wait_until(
            "but not for an xfs",
            lambda: published(k8s, names["xfs"]).get(first) == 0,
            5,
        )
        k8s.claim("small", size="64Mi", storage_class=names["xfs"])
        k8s.pod("web", claim="small", node="node1", wait=False)
        k8s.event("web", "FailedScheduling", "did not have enough free storage")
        assert k8s.all("events", fields="involvedObject.name=small,reason=Provisioning") == []

        node.enter("mount", "-o", "remount,size=1g", directory)
        k8s.running("web")
        k8s.delete("pod", "web")
        k8s.delete("pvc", "small")
        wait_until("its PV is gone", lambda: not ours(k8s))
    k8s.cluster.kubectl("delete", "storageclass", *names.values(), capture_output=True)


def test_a_nodes_new_hostname_label_is_that_of_the_next_volume_and_of_its_room(
    k8s: Kubernetes,
) -> None:
    def label(value: str) -> None:
        words = ("label", "node", "node2", f"kubernetes.io/hostname={value}", "--overwrite")
        k8s.cluster.kubectl(*words, capture_output=True)

    before = hostname(k8s, "node2")
    wait_until("both nodes' room is published", lambda: before in published(k8s))
    label("renamed")
    try:
        k8s.apply(chosen_claim("data", "flexvol-loop", "node2"))
        affinity = k8s.volume_of()["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert affinity[0]["matchExpressions"][0]["values"] == ["renamed"]
        wait_until(
            "its room is published under the new label",
            lambda: "renamed" in (names := published(k8s)) and before not in names,
            10,
        )
    finally:
        label(before)
    k8s.delete("pvc", "data")
    k8s.apply(chosen_claim("next", "flexvol-loop", "node2"))
    k8s.volume_of("next")
    wait_until(
        "its room is published under the old one",
        lambda: before in published(k8s),
        10,
    )


def test_a_nodes_room_goes_with_its_instance_and_comes_with_the_next(k8s: Kubernetes) -> None:
    """Its pod is gone for good, though nothing on the node could take the room away."""
    flexvol = Kubernetes(k8s.cluster, "flexvol")
    node2 = hostname(k8s, "node2")
    wait_until("both nodes' room is published", lambda: len(published(k8s)) == 2)
    (gone,) = flexvol.all("pods", "app=flexvol-node", "spec.nodeName=node2")
    k8s.cluster.kill("kubelet", "node2")
    try:
        flexvol.run(
            "delete",
            "pod",
            gone["metadata"]["name"],
            "--force",
            "--grace-period=0",
        )
        wait_until("its room is gone", lambda: node2 not in published(k8s))
    finally:
        k8s.cluster.start("kubelet", "node2")
        flexvol.run("rollout", "status", "daemonset/flexvol-node", "--timeout=120s")
    (next_one,) = wait_until(
        "the next one is there",
        lambda: flexvol.all("pods", "app=flexvol-node", "spec.nodeName=node2"),
    )
    assert next_one["metadata"]["uid"] != gone["metadata"]["uid"]

    def owners() -> set[str]:
        objects = [one["metadata"] for one in flexvol.all("csistoragecapacities")]
        return {
            owner["uid"]
            for one in objects
            if one["name"].endswith("-node2")
            for owner in one["ownerReferences"]
        }

    wait_until(
        "the next one's is published",
        lambda: owners() == {next_one["metadata"]["uid"]},
    )


def test_several_claims_at_once_into_the_last_room_all_find_a_place(k8s: Kubernetes) -> None:
    """Node1 is chosen for all, as by schedulers that each saw room; its driver gives it to two and
    sends the others on. Each node's pool is one of 200 MiB, where two volumes of 80 MiB fit."""
    name = f"last-room-{k8s.namespace}"
    names = [f"claim-{number}" for number in range(4)]

    def sent_on() -> set[str]:
        failed = k8s.all("events", fields="reason=ProvisioningFailed")
        words = "ResourceExhausted: pool small has no room"
        return {one["involvedObject"]["name"] for one in failed if words in one["message"]}

    with contextlib.ExitStack() as pools:
        for node in k8s.cluster.nodes.values():
            pools.enter_context(small_pool(node, "small"))
        k8s.apply(storage_class(name, parameters={"pool": "small"}))
        wait_until(
            "both nodes' room is published",
            lambda: [room > 150 * MIB for room in published(k8s, name).values()] == [True, True],
            30,
        )
        k8s.apply(*(chosen_claim(claim, name, "node1", "80Mi") for claim in names))
        wait_until("two are sent on", lambda: len(sent_on()) == 2)
        for claim in names:
            k8s.pod(claim, claim=claim, wait=False)
        for claim in names:
            k8s.running(claim)
        nodes = [k8s.node_of(claim) for claim in names]
        assert sorted(nodes) == ["node1", "node1", "node2", "node2"]

        k8s.delete("pod", *names)
        k8s.delete("pvc", *names)
        wait_until("their PVs are gone", lambda: not ours(k8s))
    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def test_a_cordoned_pool_gets_no_new_volume_and_what_is_in_it_lives_on(k8s: Kubernetes) -> None:
    node = k8s.cluster.nodes["node1"]
    first = hostname(k8s, "node1")
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
            notes = k8s.find("pvc", "new")["metadata"].get("annotations", {})
            return "volume.kubernetes.io/selected-node" not in notes

        wait_until("the node is given back", given_back)
        wait_until("node1's room is gone", lambda: published(k8s)[first] == 0, 30)
        k8s.pod("web", claim="new")
        assert k8s.node_of("web") == "node2"

        k8s.pod("after", claim="old")
        assert k8s.node_of("after") == "node1"
    finally:
        node.enter(DRIVER, "pool", "uncordon", "default", capture_output=True)
    wait_until("node1 has room again", lambda: published(k8s)[first] > GIB, 30)
