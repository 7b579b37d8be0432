"""Where a volume is made: by late binding where the scheduler says, at once on the node with the
most room."""

from __future__ import annotations

from tests.cluster.claims import HOSTNAME, bound_at_once, looked_again, node_of, warnings
from tests.cluster.namespaces import Kubernetes, Object, pod, published, storage_class
from tests.cluster.nodes import GIB, cordoned, full, left, volumes_on
from tests.waiting import wait_until

SELECTED_NODE = "volume.kubernetes.io/selected-node"


def on_hostnames(*names: str) -> list[Object]:
    return [{"matchLabelExpressions": [{"key": HOSTNAME, "values": list(names)}]}]


def test_a_claim_bound_at_once_goes_to_the_node_with_room_and_its_pod_follows(
    k8s: Kubernetes,
) -> None:
    with bound_at_once(k8s) as name, full(k8s, "node1"):
        wait_until("node1's room is gone", lambda: published(k8s, name)["node1"] == 0, 30)
        k8s.claim(storage_class=name)
        assert node_of(k8s.volume_of()) == "node2"
    k8s.pod("web")
    assert k8s.node_of("web") == "node2"
    assert warnings(k8s, "data") == []


def test_many_claims_bound_at_once_are_each_made_once(k8s: Kubernetes) -> None:
    before = volumes_on(k8s.cluster)
    names = [f"claim-{number}" for number in range(8)]
    with bound_at_once(k8s) as storage:
        for name in names:
            k8s.claim(name, storage_class=storage, size="32Mi")
        made = {
            k8s.volume_of(name)["metadata"]["name"]: node_of(k8s.volume_of(name)) for name in names
        }

    for node in ("node1", "node2"):
        assert volumes_on(k8s.cluster, node) - before == {
            volume for volume, at in made.items() if at == node
        }
    assert [event for name in names for event in warnings(k8s, name)] == []


def test_a_claim_that_no_node_has_room_for_says_so_once_and_is_made_when_there_is_room(
    k8s: Kubernetes,
) -> None:
    with bound_at_once(k8s) as name:
        with full(k8s, "node1"), full(k8s, "node2"):
            wait_until(
                "no room is left",
                lambda: set(published(k8s, name).values()) == {0},
                30,
            )
            k8s.claim(storage_class=name)
            k8s.event(
                "data",
                "ProvisioningFailed",
                "no node has room for 64 MiB: the most is 0 MiB, on node",
                40,
            )
            looked_again(k8s, name)
            (event,) = warnings(k8s, "data")
            assert event["count"] == 1
        k8s.volume_of()


def test_room_that_proves_too_small_is_given_back_without_a_storm(k8s: Kubernetes) -> None:
    """A node that was chosen, and a pool that has less than was thought, as after a race."""
    with bound_at_once(k8s) as name:
        rooms = published(k8s, name)
        # So large that it stays too large if other tests free some of the machine's disk.
        size = max(rooms.values()) // GIB + 200
        k8s.claim(size=f"{size}Gi", storage_class=name)
        k8s.run("annotate", "pvc", "data", "volume.kubernetes.io/selected-node=node1")

        k8s.event(
            "data",
            "ProvisioningFailed",
            "ResourceExhausted: pool default has no room",
        )
        k8s.event("data", "ProvisioningFailed", "no node has room for", 40)

        tried = k8s.all("events", fields="involvedObject.name=data,reason=Provisioning")
        assert sum(event["count"] for event in tried) == 1


def test_a_class_bound_at_once_keeps_to_its_topologies(k8s: Kubernetes) -> None:
    with bound_at_once(k8s, allowedTopologies=on_hostnames("node2")) as name:
        for number in range(3):
            k8s.claim(f"claim-{number}", storage_class=name, size="32Mi")
        assert {node_of(k8s.volume_of(f"claim-{number}")) for number in range(3)} == {"node2"}

        spec = {
            "storageClassName": name,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "32Mi"}},
        }
        chosen = {"name": "chosen", "annotations": {SELECTED_NODE: "node1"}}
        kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        k8s.apply({**kind, "metadata": chosen, "spec": spec})
        assert node_of(k8s.volume_of("chosen")) == "node2"
        k8s.event(
            "chosen",
            "ProvisioningFailed",
            "node node1 is not in allowedTopologies of",
        )


def test_a_cordoned_node_gets_a_claim_that_binds_at_once_only_while_no_other_fits(
    k8s: Kubernetes,
) -> None:
    with bound_at_once(k8s) as name, left(k8s, "node2", 2 * GIB):
        wait_until(
            "node2 has little room",
            lambda: published(k8s, name)["node2"] < 3 * GIB,
            30,
        )
        with cordoned(k8s, "node1"):
            k8s.claim("small", storage_class=name, size="1Gi")
            assert node_of(k8s.volume_of("small")) == "node2"
            k8s.claim("large", storage_class=name, size="3Gi")
            assert node_of(k8s.volume_of("large")) == "node1"


def test_topologies_that_no_node_is_in_are_explained(k8s: Kubernetes) -> None:
    with bound_at_once(k8s, allowedTopologies=on_hostnames("nowhere")) as name:
        k8s.claim(storage_class=name)
        k8s.event(
            "data",
            "ProvisioningFailed",
            "no node has the labels that allowedTopologies",
            40,
        )
        assert volumes_on(k8s.cluster) == set()


def test_a_claim_bound_at_once_that_cannot_be_served_is_told_so_by_one(k8s: Kubernetes) -> None:
    with bound_at_once(k8s) as name:
        k8s.claim("many", storage_class=name, accessModes=["ReadWriteMany"])
        k8s.claim("block", storage_class=name, volumeMode="Block")
        k8s.claim("chosen", storage_class=name, selector={"matchLabels": {"a": "b"}})
        wrong = {
            "many": "ReadWriteMany",
            "block": "volumeMode Block",
            "chosen": "selector",
        }
        for claim, said in wrong.items():
            k8s.event(claim, "ProvisioningFailed", said)
        looked_again(k8s, name)
        for claim in wrong:
            (event,) = warnings(k8s, claim)
            assert (event["count"], event["source"]["component"]) == (1, "loop.flexvol cluster")


def test_with_late_binding_the_scheduler_keeps_to_the_topologies(k8s: Kubernetes) -> None:
    name = f"late-{k8s.namespace}"
    k8s.apply(storage_class(name, allowedTopologies=on_hostnames("node2")))
    k8s.claim(storage_class=name)
    k8s.pod("web")

    assert k8s.node_of("web") == "node2"
    assert node_of(k8s.volume_of()) == "node2"
    k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def test_a_pod_with_several_claims_and_an_ephemeral_volume_has_them_all_on_one_node(
    k8s: Kubernetes,
) -> None:
    for name in ("one", "two"):
        k8s.claim(name, size="32Mi")
    template = {
        "storageClassName": "flexvol-loop", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "32Mi"}},
    }  # fmt: skip
    volumes: list[Object] = [
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": template}}},
        *({"name": name, "persistentVolumeClaim": {"claimName": name}} for name in ("one", "two")),
    ]
    web = pod("web", volumes)
    web["spec"]["containers"][0]["volumeMounts"] += [
        {"name": name, "mountPath": f"/{name}"} for name in ("one", "two")
    ]
    k8s.apply(web)
    k8s.running("web")

    node = k8s.node_of("web")
    assert {node_of(k8s.volume_of(claim)) for claim in ("one", "two", "web-scratch")} == {node}
    assert k8s.shell("web", "touch /data/a /one/a /two/a").returncode == 0
    scratch = k8s.volume_of("web-scratch")["metadata"]["name"]
    k8s.delete("pod", "web")
    k8s.until_gone("pv", scratch)
