"""All nodes share one account, and none can touch what is another's: deploy/policy.yaml, with the
tokens of pods."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

from tests.cluster.conftest import Kubernetes, Object, volumes_on
from tests.cluster.kube.cluster import wait_until
from tests.cluster.test_secrets import MADE_IN, vault

SELECTED = "volume.kubernetes.io/selected-node"
POLICIES = (
    "flexvol-node-volumes",
    "flexvol-node-claims",
    "flexvol-node-capacities",
    "flexvol-node-secrets",
)
__all__ = ["vault"]  # a fixture
Writer = Callable[..., subprocess.CompletedProcess[str]]


def holder_of(k8s: Kubernetes, *bound: str) -> Writer:
    """kubectl with a token of the nodes' account, as one who has stolen it uses it."""
    token = k8s.run("-n", "flexvol", "create", "token", "flexvol-node", *bound).stdout.strip()
    return lambda *argv, **keywords: k8s.run("--token", token, *argv, check=False, **keywords)


def node_account(k8s: Kubernetes, node: str) -> Writer:
    pods = Kubernetes(k8s.cluster, "flexvol").all(
        "pods", "app=flexvol-node", f"spec.nodeName={node}"
    )
    return holder_of(
        k8s, "--bound-object-kind=Pod", f"--bound-object-name={pods[0]['metadata']['name']}"
    )


def patch(kind: str, name: str, body: Object, *more: str) -> list[str]:
    return ["patch", kind, name, "--type=merge", "-p", json.dumps(body), *more]


def annotation(key: str, value: str | None) -> Object:
    return {"metadata": {"annotations": {key: value}}}


def refused(done: subprocess.CompletedProcess[str], words: str) -> bool:
    assert done.returncode != 0, done.stdout
    assert "ValidatingAdmissionPolicy" in done.stderr and words in done.stderr, done.stderr
    return True


def allowed(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode == 0, done.stderr
    return True


def test_another_nodes_token_neither_deletes_nor_changes_nor_forges_a_nodes_pv(
    k8s: Kubernetes,
) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")
    volume = k8s.volume_of()
    name = volume["metadata"]["name"]
    owner, thief = node_account(k8s, "node1"), node_account(k8s, "node2")

    mine = 'the annotation flexvol/identity is "node1", and the token is of node "node2"'
    assert refused(thief("delete", "pv", name, "--wait=false"), mine)
    changes: list[Object] = [
        {"metadata": {"finalizers": []}},
        annotation("flexvol/identity", "node2"),
    ]
    for body in changes:
        assert refused(thief(*patch("pv", name, body)), mine)
    forged = {
        **volume,
        "metadata": {"name": "forged", "annotations": volume["metadata"]["annotations"]},
    }
    assert refused(thief("create", "-f", "-", input=json.dumps(forged)), mine)
    notes = {**volume["metadata"]["annotations"], "flexvol/identity": "node2"}
    hostile: list[tuple[dict[str, Any], str]] = [
        ({"nodeAffinity": None}, "whose node affinity is one kubernetes.io/hostname"),
        ({"flexVolume": None, "hostPath": {"path": "/"}}, "only FlexVolume PVs"),
        (
            {"flexVolume": {**volume["spec"]["flexVolume"], "driver": "other/driver"}},
            "only FlexVolume PVs",
        ),
        (
            {
                "flexVolume": {
                    **volume["spec"]["flexVolume"],
                    "secretRef": {"namespace": "kube-system", "name": "any"},
                }
            },
            "a secret that it may not read",
        ),
    ]
    for change, words in hostile:
        spec = {
            key: value for key, value in {**volume["spec"], **change}.items() if value is not None
        }
        body = {**forged, "metadata": {"name": "forged", "annotations": notes}, "spec": spec}
        assert refused(thief("create", "-f", "-", input=json.dumps(body)), words)

    assert refused(
        owner(*patch("pv", name, annotation("flexvol/identity", "node2"))), "neither what a PV says"
    )
    assert refused(
        owner(*patch("pv", name, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})),
        "neither what",
    )
    assert refused(
        owner(*patch("pv", name, {"metadata": {"finalizers": []}})),
        "no finalizer but flexvol's own",
    )
    assert allowed(owner("delete", "pv", name, "--dry-run=server"))
    unchanged = k8s.get("pv", name) or {}
    assert (unchanged["spec"], unchanged["metadata"]) == (volume["spec"], volume["metadata"])
    assert k8s.get("pv", "forged") is None
    assert volumes_on(k8s.cluster, "node1") == {name}


def test_a_node_changes_nothing_of_a_claim_but_its_own_selection(k8s: Kubernetes) -> None:
    k8s.claim(storage_class="nobodys")
    k8s.run("annotate", "pvc", "data", "mine=1")
    before = (k8s.get("pvc", "data") or {})["metadata"]
    node2 = node_account(k8s, "node2")
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "web",
        "uid": "00000000-0000-0000-0000-000000000000",
    }
    changes: list[Object] = [
        annotation("mine", "2"),
        annotation("mine", None),
        annotation("other", "1"),
        {"metadata": {"labels": {"a": "b"}}},
        {"metadata": {"finalizers": []}},
        {"metadata": {"ownerReferences": [owner]}},
        {"spec": {"volumeName": "forged"}},
    ]
    for body in changes:
        assert refused(node2(*patch("pvc", "data", body)), "changes nothing of a claim but"), body
    assert refused(
        node2(*patch("pvc", "data", annotation(SELECTED, "node1"))), "only claims for itself"
    )
    assert (k8s.get("pvc", "data") or {})["metadata"] == before

    assert allowed(node2(*patch("pvc", "data", annotation(SELECTED, "node2"))))
    node1 = node_account(k8s, "node1")
    for value in ("node1", None):
        assert refused(
            node1(*patch("pvc", "data", annotation(SELECTED, value))), "only claims for itself"
        )
    assert allowed(node2(*patch("pvc", "data", annotation(SELECTED, None))))


def test_a_node_publishes_only_its_own_room(k8s: Kubernetes) -> None:
    def published() -> Object | None:
        objects = Kubernetes(k8s.cluster, "flexvol").all("csistoragecapacities")
        return next((one for one in objects if one["metadata"]["name"].endswith("-node1")), None)

    room = wait_until("node1's room is published", published)
    name, node2 = room["metadata"]["name"], node_account(k8s, "node2")
    words = "under a name that ends in -node2"

    assert refused(
        node2("-n", "flexvol", *patch("csistoragecapacity", name, {"capacity": "0"})), words
    )
    assert refused(node2("-n", "flexvol", "delete", "csistoragecapacity", name), words)
    forged = {
        **room,
        "metadata": {"name": name.replace("-node1", "-a-node1"), "namespace": "flexvol"},
    }
    assert refused(node2("-n", "flexvol", "create", "-f", "-", input=json.dumps(forged)), words)
    assert allowed(
        node_account(k8s, "node1")(
            "-n", "flexvol", "delete", "csistoragecapacity", name, "--dry-run=server"
        )
    )


def test_a_token_that_names_no_node_writes_nothing(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")
    name, unbound = k8s.volume_of()["metadata"]["name"], holder_of(k8s)

    assert allowed(unbound("get", "pv", name))
    assert refused(unbound("delete", "pv", name, "--wait=false"), 'the token is of node ""')
    assert refused(
        unbound(*patch("pvc", "data", annotation(SELECTED, "node1"))), "a token that names no node"
    )


def volume_secret(
    name: str, node: str, volume: str = "", kind: str = "flexvol/loop", **notes: str
) -> str:
    """As a node's provisioner makes one for a volume."""
    notes = {"flexvol/identity": node, "flexvol/volume": volume or name.rpartition("-")[0], **notes}
    metadata = {"name": name, "namespace": MADE_IN, "annotations": notes}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": kind,
            "metadata": metadata,
            "stringData": {"key": "x"},
        }
    )


def test_a_node_makes_and_deletes_only_the_secrets_of_its_own_volumes(vault: Kubernetes) -> None:
    vault.run("create", "-f", "-", input=volume_secret("pvc-1-a", "node1"))
    node1, node2, unbound = (
        node_account(vault, "node1"),
        node_account(vault, "node2"),
        holder_of(vault),
    )
    probe = ("create", "--dry-run=server", "-f", "-")
    forged = volume_secret("pvc-2-b", "node1")
    wait_until(
        "the policy holds",
        lambda: "ValidatingAdmissionPolicy" in node2(*probe, input=forged).stderr,
    )

    mine = 'the annotation flexvol/identity is "node1", and the token is of node "node2"'
    assert refused(node2("delete", "secret", "pvc-1-a", "--wait=false"), mine)
    assert refused(node2("create", "-f", "-", input=forged), mine)
    assert refused(unbound("create", "-f", "-", input=forged), 'the token is of node ""')
    none_but = "no secrets but those of volumes, and changes none"
    token = {
        "kubernetes.io/service-account.name": "default"
    }  # of which Kubernetes would write a token into it
    account = volume_secret("pvc-2-b", "node2", kind="kubernetes.io/service-account-token", **token)
    assert refused(node2("create", "-f", "-", input=account), none_but)
    assert refused(
        node2("create", "-f", "-", input=volume_secret("pvc-2-b", "node2", volume="another")),
        none_but,
    )

    change = patch("secret", "pvc-1-a", {"stringData": {"key": "y"}})
    assert "cannot patch resource" in node1(*change).stderr
    vault.run("create", "role", "careless", "--verb=patch", "--resource=secrets")
    vault.run(
        "create",
        "rolebinding",
        "careless",
        "--role=careless",
        "--serviceaccount=flexvol:flexvol-node",
    )
    wait_until(
        "it may", lambda: "cannot patch resource" not in node1(*change, "--dry-run=server").stderr
    )
    assert refused(node1(*change), none_but)

    assert [one["metadata"]["name"] for one in vault.all("secrets")] == ["pvc-1-a"]
    assert allowed(node2("create", "-f", "-", input=volume_secret("pvc-2-b", "node2")))
    assert allowed(node2("delete", "secret", "pvc-2-b", "--wait=false"))
    assert allowed(node1("delete", "secret", "pvc-1-a", "--wait=false"))
    assert vault.all("secrets") == []


def test_the_policies_expressions_fit_the_objects_they_are_for(
    k8s: Kubernetes, vault: Kubernetes
) -> None:
    for name in POLICIES:

        def checked(name: str = name) -> Object:
            status: Object = (k8s.get("validatingadmissionpolicy", name) or {}).get("status", {})
            return status if status.get("observedGeneration") else {}

        assert "expressionWarnings" not in wait_until(f"{name} is checked", checked).get(
            "typeChecking", {}
        )
