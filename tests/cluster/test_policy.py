"""What each account of flexvol may write, and that it can write nothing beside it: RBAC and
deploy/policy.yaml, with the tokens of pods. All nodes share one account, and none can touch what is
another's."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.controller.secrets import made_name
from tests.cluster.accounts import (
    MADE_IN,
    allowed,
    annotation,
    cluster_account,
    holder_of,
    node_account,
    patch,
    pod_of,
    refused,
    sent,
    sent_patch,
    token_of,
    until_a_policy_refuses,
)
from tests.cluster.claims import bound_at_once, forge
from tests.cluster.installing import render
from tests.cluster.namespaces import Kubernetes, Object, storage_class
from tests.cluster.nodes import volumes_on
from tests.sources import ROOT
from tests.waiting import wait_until

SELECTED = "volume.kubernetes.io/selected-node"
POLICIES = (
    "flexvol-node-volumes",
    "flexvol-node-claims",
    "flexvol-node-capacities",
    "flexvol-node-events",
    "flexvol-node-classes",
    "flexvol-node-secrets",
    "flexvol-cluster-volumes",
    "flexvol-cluster-claims",
    "flexvol-cluster-classes",
    "flexvol-cluster-evictions",
    "flexvol-cluster-events",
    "flexvol-shared-volumes",
    "flexvol-shared-claims",
    "flexvol-shared-classes",
    "flexvol-shared-events",
    "flexvol-shared-secrets",
)
PROVISIONER = "volume.kubernetes.io/storage-provisioner"


def test_another_nodes_token_neither_deletes_nor_changes_nor_forges_a_nodes_pv(
    k8s: Kubernetes,
) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")
    volume = k8s.volume_of()
    name = volume["metadata"]["name"]
    owner = node_account(k8s, "node1")
    thief = node_account(k8s, "node2")

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
        body = {
            **forged,
            "metadata": {"name": "forged", "annotations": notes},
            "spec": spec,
        }
        assert refused(thief("create", "-f", "-", input=json.dumps(body)), words)

    assert refused(
        owner(*patch("pv", name, annotation("flexvol/identity", "node2"))),
        "neither what a PV says",
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
    k8s.run("annotate", "pvc", "data", "mine=1", f"{PROVISIONER}=loop.flexvol")
    before = k8s.find("pvc", "data")["metadata"]
    node2 = node_account(k8s, "node2")
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "web",
        "uid": "00000000-0000-0000-0000-000000000000",
    }
    notes_of_writers_away = {"managedFields": [{}], "annotations": {"mine": "2"}}
    changes: list[Object] = [
        annotation("mine", "2"),
        annotation("mine", None),
        annotation("other", "1"),
        annotation(PROVISIONER, "other.example"),
        annotation("pv.kubernetes.io/bind-completed", "yes"),
        {"metadata": notes_of_writers_away},
        {"metadata": {"labels": {"a": "b"}}},
        {"metadata": {"finalizers": []}},
        {"metadata": {"ownerReferences": [owner]}},
        {"spec": {"volumeName": "forged"}},
    ]
    for body in changes:
        for manager in ("kubectl-patch", "kubectl-annotate"):  # who wrote `mine` before
            line = patch("pvc", "data", body, f"--field-manager={manager}")
            assert refused(node2(*line), "changes nothing of a claim but"), body
    assert refused(
        node2(*patch("pvc", "data", annotation(SELECTED, "node1"))),
        "only claims for itself",
    )
    assert k8s.find("pvc", "data")["metadata"] == before

    assert allowed(node2(*patch("pvc", "data", annotation(SELECTED, "node2"))))
    node1 = node_account(k8s, "node1")
    for value in ("node1", None):
        assert refused(
            node1(*patch("pvc", "data", annotation(SELECTED, value))),
            "only claims for itself",
        )
    assert allowed(node2(*patch("pvc", "data", annotation(SELECTED, None))))


@pytest.mark.parametrize(
    ("note", "said"),
    [
        pytest.param(
            {PROVISIONER: "other.example"},
            "waits for other.example",
            id="another's",
        ),
        pytest.param(
            {},
            "waits for none",
            id="a claim that waits for nobody, or for its pod",
        ),
    ],
)
def test_a_node_takes_no_claim_of_another_provisioner_and_so_draws_no_pod_of_it(
    k8s: Kubernetes, note: dict[str, str], said: str
) -> None:
    k8s.claim(storage_class="nobodys")
    k8s.run("annotate", "pvc", "data", "mine=1", *(f"{key}={note[key]}" for key in note))
    node2 = node_account(k8s, "node2")

    assert refused(node2(*patch("pvc", "data", annotation(SELECTED, "node2"))), said)
    both = {"metadata": {"annotations": {SELECTED: "node2", PROVISIONER: "loop.flexvol"}}}
    assert refused(node2(*patch("pvc", "data", both)), "changes nothing of a claim but")


def test_a_node_makes_a_pv_for_no_claim_of_another_provisioner(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.pod("web", node="node2")
    volume = k8s.volume_of()
    node2 = node_account(k8s, "node2")
    foreign = f"foreign-{k8s.namespace}"
    k8s.apply(storage_class(foreign, provisioner="other.example"))
    k8s.claim("wanted", storage_class=foreign)
    claim = k8s.find("pvc", "wanted")["metadata"]
    whose = {"namespace": k8s.namespace, "name": "wanted", "uid": claim["uid"]}
    notes = volume["metadata"]["annotations"]
    fitting = {"name": f"pvc-{claim['uid']}", "annotations": notes}
    spec = {**volume["spec"], "claimRef": whose, "storageClassName": foreign}
    other = {
        "metadata": {
            "name": fitting["name"],
            "annotations": {**notes, "pv.kubernetes.io/provisioned-by": "driver.other"},
        },
        "spec": {
            **spec,
            "storageClassName": "nobodys",
            "flexVolume": {**spec["flexVolume"], "driver": "other/driver"},
        },
    }
    own_class = {**spec, "storageClassName": "flexvol-loop"}
    forged: list[tuple[Object, str]] = [
        ({"metadata": fitting, "spec": spec}, f"the class {foreign} is of other.example"),
        (other, "driver.other is not among those that a ClusterRole"),
        ({"metadata": {**fitting, "name": "any"}, "spec": own_class}, "the name pvc-"),
        (
            {"metadata": fitting, "spec": {**spec, "storageClassName": ""}},
            "that have a class",
        ),
    ]
    kind = {"apiVersion": "v1", "kind": "PersistentVolume"}
    # The policy has yet to hear of the new class.
    of_new_class = json.dumps({**kind, **forged[0][0]})
    until_a_policy_refuses(node2, "create", "--dry-run=server", "-f", "-", request=of_new_class)
    for body, words in forged:
        done = node2("create", "-f", "-", input=json.dumps({**kind, **body}))
        assert refused(done, words)
    k8s.cluster.kubectl("delete", "storageclass", foreign, capture_output=True)


@contextlib.contextmanager
def stamped(k8s: Kubernetes) -> Iterator[None]:
    """Each claim and event of the namespace, PV, published room and Lease is stamped whenever it is
    written, as by a webhook that mutates."""
    name = f"stamps-{k8s.namespace}"
    stamp = (
        "Object{metadata: Object.metadata{"
        "annotations: {'stamp.example/at': object.metadata.?resourceVersion.orValue('new')}, "
        "labels: {'stamp.example/by': 'us'}}}"
    )
    namespaces = [k8s.namespace, "flexvol"]
    one_of = {
        "key": "kubernetes.io/metadata.name",
        "operator": "In",
        "values": namespaces,
    }
    operations = {"apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"]}
    rules = [
        {"apiGroups": [group], "resources": resources, **operations}
        for group, resources in (
            ("", ["persistentvolumeclaims", "persistentvolumes", "events"]),
            ("storage.k8s.io", ["csistoragecapacities"]),
            ("coordination.k8s.io", ["leases"]),
        )
    ]
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    policy = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {
            "namespaceSelector": {"matchExpressions": [one_of]},
            "resourceRules": rules,
        },
        "mutations": [
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": stamp},
            }
        ],
    }
    k8s.apply(
        {**kind, "kind": "MutatingAdmissionPolicy", "spec": policy},
        {**kind, "kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": name}},
    )
    try:
        yield
    finally:
        for plural in ("mutatingadmissionpolicybinding", "mutatingadmissionpolicy"):
            k8s.cluster.kubectl("delete", plural, name, capture_output=True)


def test_a_webhook_that_stamps_all_that_we_write_keeps_nobody_from_their_work(
    k8s: Kubernetes,
) -> None:
    if not k8s.run("api-resources", "-o", "name").stdout.count("mutatingadmissionpolicies"):
        pytest.skip("this Kubernetes has no MutatingAdmissionPolicy")

    def stamp() -> str:
        k8s.run("annotate", "pvc", "probe", "again=1", "--overwrite")
        notes: Object = k8s.find("pvc", "probe")["metadata"].get("annotations") or {}
        return str(notes.get("stamp.example/at", ""))

    k8s.claim("probe", storage_class="nobodys")
    k8s.run("annotate", "pvc", "probe", f"{PROVISIONER}=loop.flexvol")
    with bound_at_once(k8s) as name, stamped(k8s):
        wait_until("claims are stamped", stamp)
        node2 = node_account(k8s, "node2")
        both = {"metadata": {"annotations": {SELECTED: "node2", "other": "1"}}}
        assert refused(
            node2(*patch("pvc", "probe", both)),
            "changes nothing of a claim but",
        )
        assert allowed(node2(*patch("pvc", "probe", annotation(SELECTED, "node2"))))
        assert allowed(node2(*patch("pvc", "probe", annotation(SELECTED, None))))

        k8s.claim(storage_class=name)

        volume = k8s.volume_of()["metadata"]  # a node's own provisioner took it
        taken = k8s.find("pvc", "data")["metadata"]
        assert SELECTED in taken["annotations"]
        for stamped_one in (taken, volume):
            assert stamped_one["labels"]["stamp.example/by"] == "us"
        by_us = "stamp.example/by=us"
        k8s.event("data", "ProvisioningSucceeded", "Successfully provisioned")
        assert "data" in {one["involvedObject"]["name"] for one in k8s.all("events", by_us)}
        flexvol = Kubernetes(k8s.cluster, "flexvol")
        wait_until("room is stamped", lambda: flexvol.all("csistoragecapacities", by_us))
        wait_until("Leases are stamped", lambda: flexvol.all("leases", by_us))

        k8s.delete("pvc", "data")

        k8s.until_gone("pv", volume["name"])


def test_a_node_publishes_only_its_own_room(k8s: Kubernetes) -> None:
    def published() -> Object | None:
        objects = Kubernetes(k8s.cluster, "flexvol").all("csistoragecapacities")
        # That of another class may go at any moment, if a test before made the class.
        ours = [one for one in objects if one["storageClassName"] == "flexvol-loop"]
        return next(
            (one for one in ours if one["metadata"]["name"].endswith("-node1")),
            None,
        )

    room = wait_until("node1's room is published", published)
    name = room["metadata"]["name"]
    node2 = node_account(k8s, "node2")
    words = "under a name that ends in -node2"

    assert refused(
        node2("-n", "flexvol", *patch("csistoragecapacity", name, {"capacity": "0"})),
        words,
    )
    assert refused(node2("-n", "flexvol", "delete", "csistoragecapacity", name), words)
    forged = {
        **room,
        "metadata": {"name": name.replace("-node1", "-a-node1"), "namespace": "flexvol"},
    }
    assert refused(
        node2("-n", "flexvol", "create", "-f", "-", input=json.dumps(forged)),
        words,
    )
    assert allowed(
        node_account(k8s, "node1")(
            "-n", "flexvol", "delete", "csistoragecapacity", name, "--dry-run=server"
        )
    )


def test_a_token_that_names_no_node_writes_nothing(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")
    name = k8s.volume_of()["metadata"]["name"]
    unbound = holder_of(k8s)

    assert allowed(unbound("get", "pv", name))
    assert refused(
        unbound("delete", "pv", name, "--wait=false"),
        'the token is of node ""',
    )
    assert refused(
        unbound(*patch("pvc", "data", annotation(SELECTED, "node1"))),
        "a token that names no node",
    )


def volume_secret(
    volume: str, node: str, name: str = "", kind: str = "flexvol/loop", **notes: str
) -> str:
    """As a node's provisioner makes one for a volume."""
    notes = {"flexvol/identity": node, "flexvol/volume": volume, **notes}
    name = name or made_name(volume, node)
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
    first = made_name("pvc-1", "node1")
    second = made_name("pvc-2", "node2")
    vault.run("create", "-f", "-", input=volume_secret("pvc-1", "node1"))
    node1 = node_account(vault, "node1")
    node2 = node_account(vault, "node2")
    unbound = holder_of(vault)
    probe = ("create", "--dry-run=server", "-f", "-")
    forged = volume_secret("pvc-2", "node1")
    until_a_policy_refuses(node2, *probe, request=forged)

    mine = 'the annotation flexvol/identity is "node1", and the token is of node "node2"'
    assert refused(node2("delete", "secret", first, "--wait=false"), mine)
    assert refused(node2("create", "-f", "-", input=forged), mine)
    assert refused(unbound("create", "-f", "-", input=forged), 'the token is of node ""')
    none_but = "no secrets but those of volumes, and changes none"
    # Kubernetes would write a token of this account into the secret.
    token = {"kubernetes.io/service-account.name": "default"}
    account = volume_secret(
        "pvc-2",
        "node2",
        kind="kubernetes.io/service-account-token",
        **token,
    )
    others = [
        made_name("pvc-3", "node1"),
        "pvc-3",
        "pvc-3-anything",
        made_name("pvc-4", "node2"),
    ]
    # The name that a node called b.node2 would use for pvc-3.
    other_node = volume_secret("pvc-3-key.b", "node2", name=made_name("pvc-3", "b.node2"))
    for body in (
        account,
        other_node,
        *(volume_secret("pvc-3", "node2", name=name) for name in others),
    ):
        assert refused(node2("create", "-f", "-", input=body), none_but), body

    change = patch("secret", first, {"stringData": {"key": "y"}})
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
        "it may",
        lambda: "cannot patch resource" not in node1(*change, "--dry-run=server").stderr,
    )
    assert refused(node1(*change), none_but)
    vault.run("delete", "rolebinding,role", "careless")

    assert [one["metadata"]["name"] for one in vault.all("secrets")] == [first]
    assert allowed(node2("create", "-f", "-", input=volume_secret("pvc-2", "node2")))
    assert allowed(node2("delete", "secret", second, "--wait=false"))
    assert allowed(node1("delete", "secret", first, "--wait=false"))
    assert vault.all("secrets") == []


def event(component: str, kind: str, name: str = "data", namespace: str = "default") -> str:
    about = {"kind": kind, "name": name}
    if kind != "Node":
        about["namespace"] = namespace
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{name}.{kind.lower()}", "namespace": namespace},
            "source": {"component": component},
            "involvedObject": about,
            "reason": "Provisioning",
            "message": "x",
            "type": "Normal",
        }
    )


def test_an_account_writes_only_its_own_events_on_claims_and_pvs(k8s: Kubernetes) -> None:
    node2 = node_account(k8s, "node2")
    cluster = cluster_account(k8s)
    create = ("create", "--dry-run=server", "-f", "-")
    claim = "PersistentVolumeClaim"
    ours = k8s.namespace
    mine = "only its own events"
    elsewhere = "only on claims, on PVs and on itself"

    assert allowed(
        node2(
            *create,
            input=event("loop.flexvol node2", claim, namespace=ours),
        )
    )
    assert allowed(
        node2(
            "-n",
            "default",
            *create,
            input=event("loop.flexvol node2", "Node", "node2"),
        )
    )
    done = node2("-n", "default", *create, input=event("loop.flexvol node2", "Node", "node1"))
    assert refused(done, elsewhere)
    for kind in ("Pod", "Deployment"):
        body = event("loop.flexvol node2", kind, namespace=ours)
        assert refused(node2(*create, input=body), elsewhere)
    for component in ("loop.flexvol node1", "quota.flexvol node2", "kubelet", ""):
        body = event(component, claim, namespace=ours)
        assert refused(node2(*create, input=body), mine)
        assert refused(cluster(*create, input=body), mine)
    assert allowed(
        cluster(
            *create,
            input=event("loop.flexvol cluster", claim, namespace=ours),
        )
    )

    k8s.run("create", "-f", "-", input=event("kubelet", "Pod", namespace=ours))
    k8s.run("create", "-f", "-", input=event("loop.flexvol node2", claim, namespace=ours))
    events = f"/api/v1/namespaces/{ours}/events"
    foreign = f"{events}/data.pod"
    own = f"{events}/data.{claim.lower()}"
    node_token = token_of(k8s, pod_of(k8s, "flexvol-node", "node2"), "flexvol-node")
    cluster_token = token_of(k8s, pod_of(k8s, "flexvol-cluster"), "flexvol-cluster")
    for token in (node_token, cluster_token):
        assert mine in sent_patch(token, foreign, {"count": 2})
    assert "how often they were seen" in sent_patch(node_token, own, {"message": "y"})
    assert json.loads(sent_patch(node_token, own, {"count": 2}))["count"] == 2


def bound_claim_of_another(k8s: Kubernetes, name: str, class_name: str) -> str:
    """A claim that is bound to a PV of that name that somebody else made; returns the name."""
    capacity = {"storage": "64Mi"}
    k8s.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": capacity,
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": class_name,
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": k8s.namespace, "name": name},
                "hostPath": {"path": "/tmp"},
            },
        },
    )
    k8s.claim(name, storage_class=class_name, volumeName=name)
    k8s.until_phase("pvc", name, "Bound")
    return name


def refused_to_cluster(
    gone: str, foreign: str, foreign_class: str, not_provisioned: tuple[str, ...]
) -> list[tuple[list[str], str]]:
    """What the account of flexvol-cluster may not do, and the words of each refusal.

    gone: a PV of a node that is gone. foreign: a claim and a PV of another provisioner, whose class
    is foreign_class. not_provisioned: claims and PVs that no class made."""
    return [
        (["delete", "pv", gone, "--wait=false"], "whose reclaim policy is Retain"),
        (["delete", "pv", foreign, "--wait=false"], "only those that a node made"),
        (
            patch("pv", foreign, annotation("flexvol/identity", "node9")),
            "only those that a node",
        ),
        (
            patch("pv", gone, {"spec": {"capacity": {"storage": "65Mi"}}}),
            "its reclaim policy, to",
        ),
        (
            patch("pv", gone, annotation("flexvol/identity", "node1")),
            "not change whose a PV is",
        ),
        (
            patch("pv", gone, annotation("flexvol/awaits-claim", "1")),
            "what its annotations and",
        ),
        (
            patch("pv", gone, {"metadata": {"labels": {"disk": "b"}}}),
            "what its annotations and",
        ),
        (
            patch("pv", gone, {"metadata": {"finalizers": []}}),
            "finalizer but flexvol's own",
        ),
        (patch("pvc", "data", annotation("mine", "1")), "selected-node away"),
        (patch("pvc", "free", annotation("mine", "2")), "selected-node away"),
        (patch("pvc", "free", annotation(SELECTED, "node1")), "selected-node away"),
        (
            patch("pvc", "other", annotation(SELECTED, None)),
            "that are not bound and wait for",
        ),
        (["delete", "pvc", "free", "--wait=false"], "only claims that are bound"),
        (
            ["delete", "pvc", foreign, "--wait=false"],
            f"the class {foreign_class} is of other.example",
        ),
        *(
            (["delete", "pvc", claim, "--wait=false"], "have a class and a PV called pvc-UID")
            for claim in not_provisioned
        ),
    ]


def test_the_account_of_flexvol_cluster_gives_up_volumes_and_takes_no_storage_along(
    k8s: Kubernetes,
) -> None:
    cluster = cluster_account(k8s)
    gone = forge(k8s, "gone", "node9")
    other_class = f"foreign-{k8s.namespace}"
    k8s.apply(storage_class(other_class, provisioner="other.example"))
    foreign = bound_claim_of_another(k8s, f"pvc-{uuid.uuid4()}", other_class)
    no_class = bound_claim_of_another(k8s, f"pvc-{uuid.uuid4()}", "")
    by_hand = bound_claim_of_another(k8s, f"by-hand-{k8s.namespace}", "of-no-object")
    k8s.run("label", "pv", gone, "disk=a")
    k8s.claim("free", storage_class="nobodys")
    k8s.claim("other", storage_class="nobodys")
    k8s.run("annotate", "pvc", "free", "mine=1", f"{PROVISIONER}=loop.flexvol")
    k8s.run("annotate", "pvc", "other", f"{PROVISIONER}=other.example", f"{SELECTED}=node1")
    finalizer = "external-provisioner.volume.kubernetes.io/finalizer"

    hostile = refused_to_cluster(gone, foreign, other_class, (no_class, by_hand))
    # The policy has yet to hear of the class.
    until_a_policy_refuses(cluster, "delete", "pvc", foreign, "--wait=false", "--dry-run=server")
    for line, words in hostile:
        assert refused(cluster(*line), words)
    path = f"/api/v1/namespaces/{k8s.namespace}/pods/any/eviction"
    eviction: Object = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "any"},
    }
    done = cluster("create", "--raw", path, "-f", "-", input=json.dumps(eviction))
    assert refused(done, "the very pod that it looked at")

    k8s.run("annotate", "pvc", "free", f"{SELECTED}=node9")
    wait_until(
        "the real one takes a node that is gone off the claim",
        lambda: SELECTED not in k8s.find("pvc", "free")["metadata"]["annotations"],
    )
    kept = {
        "metadata": {"finalizers": ["kubernetes.io/pv-protection"]},
        "spec": {"persistentVolumeReclaimPolicy": "Retain"},
    }
    assert finalizer in k8s.find("pv", gone)["metadata"]["finalizers"]
    assert allowed(cluster(*patch("pv", gone, kept)))
    back = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}
    assert refused(cluster(*patch("pv", gone, back)), "its reclaim policy, to Retain")
    assert allowed(cluster("delete", "pvc", "data"))
    assert allowed(cluster("delete", "pv", gone))

    foreigners = (foreign, no_class, by_hand)
    k8s.delete("pvc", *foreigners)
    k8s.cluster.kubectl("delete", "pv", *foreigners, capture_output=True)
    k8s.cluster.kubectl("delete", "storageclass", other_class, capture_output=True)


# Who may write which kinds, by RBAC: each entry has a test above or is named here as harmless.
# A Lease of flexvol's namespace only decides which of our own instances works.
_PROVISIONS = {
    "persistentvolumeclaims: patch",
    "persistentvolumes: create, delete, patch",
    "events: create, patch",
}
WRITES = {
    "flexvol-node": {
        "flexvol": _PROVISIONS | {"csistoragecapacities: create, delete, patch"},
        "flexvol-secrets": _PROVISIONS | {"secrets: create, delete"},
        "default": _PROVISIONS,
    },
    "flexvol-shared": {
        "flexvol": _PROVISIONS | {"leases: create, patch"},
        "flexvol-secrets": _PROVISIONS | {"secrets: create, delete"},
        "default": _PROVISIONS,
    },
    "flexvol-cluster": {
        namespace: {
            "persistentvolumeclaims: delete, patch",
            "persistentvolumes: delete, patch",
            "pods/eviction: create",
            "events: create, patch",
            *more,
        }
        for namespace, more in {
            "flexvol": ["leases: create, patch"],
            "flexvol-secrets": [],
            "default": [],
        }.items()
    },
}


def writes_of(token: str, namespace: str) -> set[str]:
    """What the token's account may write in the namespace, as RBAC says it to the token."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    answer = json.loads(sent("POST", token, path, review))
    verbs: dict[str, set[str]] = {}
    for rule in answer["status"]["resourceRules"]:
        if not {"flexvol", "authorization.k8s.io", "authentication.k8s.io"} & set(
            rule["apiGroups"]
        ):
            for resource in rule["resources"]:
                writing = set(rule["verbs"]) - {"get", "list", "watch"}
                verbs.setdefault(resource, set()).update(writing)
    return {
        f"{resource}: {', '.join(sorted(verbs[resource]))}" for resource in verbs if verbs[resource]
    }


@pytest.fixture
def shared_account(k8s: Kubernetes) -> Iterator[None]:
    """The account of deploy/shared with its rights and policies, and no pod of it."""
    done = k8s.cluster.kubectl("kustomize", ROOT / "deploy/shared", capture_output=True)
    objects = [one for one in yaml.safe_load_all(done.stdout) if one["kind"] != "Deployment"]
    text = yaml.safe_dump_all(objects)
    k8s.cluster.kubectl("apply", "-f", "-", input=text, capture_output=True)
    yield
    k8s.cluster.kubectl("delete", "--wait=true", "-f", "-", input=text, capture_output=True)


def test_each_account_may_write_what_its_table_says_and_nothing_else(
    k8s: Kubernetes, vault: Kubernetes, shared_account: None
) -> None:
    def writes_exactly(token: str, namespace: str, expected: set[str]) -> bool:
        return writes_of(token, namespace) == expected

    for account, table in WRITES.items():
        token = token_of(k8s, "", account)
        for namespace, expected in table.items():
            wait_until(
                f"{account} may write this in {namespace}: {sorted(expected)}",
                functools.partial(writes_exactly, token, namespace, expected),
                15,
            )


def test_the_account_of_shared_mode_writes_no_nodes_pv_and_chooses_no_node(
    k8s: Kubernetes, shared_account: None
) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")
    volume = k8s.volume_of()
    name = volume["metadata"]["name"]
    k8s.claim("free", storage_class="nobodys")
    k8s.run("annotate", "pvc", "free", "mine=1", f"{PROVISIONER}=shared.flexvol")
    shared = holder_of(k8s, account="flexvol-shared")
    until_a_policy_refuses(shared, "delete", "pv", name, "--wait=false", "--dry-run=server")

    of_node = 'the annotation flexvol/identity is "node1"'
    assert refused(shared("delete", "pv", name, "--wait=false"), of_node)
    assert refused(shared(*patch("pv", name, {"metadata": {"finalizers": []}})), of_node)
    whose = {"namespace": k8s.namespace, "name": "free", "uid": "u1"}
    spec = {**volume["spec"], "claimRef": whose, "nodeAffinity": None}
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": "pvc-u1",
            "annotations": {
                "flexvol/identity": "shared",
                "pv.kubernetes.io/provisioned-by": "shared.flexvol",
            },
        },
        "spec": {
            **spec,
            "flexVolume": {**spec["flexVolume"], "driver": "flexvol/shared"},
        },
    }
    create = ("create", "--dry-run=server", "-f", "-")
    until_a_policy_refuses(shared, *create, request=json.dumps(body))
    done = shared("create", "-f", "-", input=json.dumps(body))
    assert refused(done, "the class flexvol-loop is of loop.flexvol")
    forged: Object = copy.deepcopy(body)
    forged["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] = "loop.flexvol"
    forged["spec"]["flexVolume"]["driver"] = "flexvol/loop"
    done = shared("create", "-f", "-", input=json.dumps(forged))
    assert refused(done, 'only its own PVs: this one is of "loop.flexvol"')
    with_affinity: Object = copy.deepcopy(body)
    with_affinity["spec"].update(
        nodeAffinity=volume["spec"]["nodeAffinity"], storageClassName="nobodys"
    )
    done = shared("create", "-f", "-", input=json.dumps(with_affinity))
    assert refused(done, "that has a node affinity")
    other_identity: Object = copy.deepcopy(body)
    other_identity["metadata"]["annotations"]["flexvol/identity"] = "archive"
    other_identity["spec"]["storageClassName"] = "nobodys"
    done = shared("create", "-f", "-", input=json.dumps(other_identity))
    assert refused(done, 'the annotation flexvol/identity is "archive"')
    k8s.claim("other", storage_class="nobodys")
    k8s.run("annotate", "pvc", "other", f"{PROVISIONER}=loop.flexvol", f"{SELECTED}=node1")
    line = patch("pvc", "other", annotation(SELECTED, None))
    until_a_policy_refuses(shared, *line, "--dry-run=server")
    assert refused(shared(*line), "this one waits for loop.flexvol")
    about = "PersistentVolumeClaim"
    foreign = event("loop.flexvol node1", about, namespace=k8s.namespace)
    until_a_policy_refuses(shared, *create, request=foreign)
    assert refused(shared(*create, input=foreign), "only its own events")
    own = event("shared.flexvol shared", about, namespace=k8s.namespace)
    assert allowed(shared(*create, input=own))
    assert refused(
        shared(*patch("pvc", "free", annotation(SELECTED, "node1"))), "selected-node away"
    )
    k8s.run("annotate", "pvc", "free", f"{SELECTED}=node1")
    both = {"metadata": {"annotations": {SELECTED: None, "mine": None}}}
    assert refused(shared(*patch("pvc", "free", both)), "selected-node away")
    assert allowed(shared(*patch("pvc", "free", annotation(SELECTED, None))))


def test_the_account_of_shared_mode_neither_takes_a_key_of_a_nodes_volume_nor_its_name(
    vault: Kubernetes, shared_account: None
) -> None:
    of_node = made_name("pvc-1", "node1")
    vault.run("create", "-f", "-", input=volume_secret("pvc-1", "node1"))
    shared = holder_of(vault, account="flexvol-shared")
    probe = ("create", "--dry-run=server", "-f", "-")
    own = volume_secret("pvc-2", "shared")
    hostile = volume_secret("pvc-2", "node2")
    until_a_policy_refuses(shared, *probe, request=hostile)

    identities = "only secrets of the identities that"
    assert refused(shared("delete", "secret", of_node, "--wait=false"), identities)
    assert refused(shared(*probe, input=hostile), identities)
    for name in (made_name("pvc-2", "node2"), "pvc-2", "pvc-2-anything"):
        body = volume_secret("pvc-2", "shared", name=name)
        assert refused(shared(*probe, input=body), "each is called VOLUME-key.shared")
    assert allowed(shared("create", "-f", "-", input=own))
    assert allowed(
        shared(
            "delete",
            "secret",
            made_name("pvc-2", "shared"),
            "--wait=false",
        )
    )
    vault.run("delete", "secret", of_node)


def test_names_that_kustomize_changes_switch_no_policy_off(k8s: Kubernetes, tmp_path: Path) -> None:
    """The accounts, their rights and the policies of a base with a prefix; no pod of it but one
    with the nodes' account."""
    kinds = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy",
             "ValidatingAdmissionPolicyBinding")  # fmt: skip
    rendered = render(
        k8s, tmp_path, namePrefix="prod-", nameSuffix="-v1", resources=[ROOT / "deploy"]
    )
    text = json.dumps([one for one in rendered if one["kind"] in kinds])
    # The policies of the base that is installed would hold for this account as well.
    for word in ("name('node')", '"resourceNames": ["node"]'):
        assert word in text
        text = text.replace(word, word.replace("node", "renamed"))
    text = yaml.safe_dump_all(json.loads(text))
    account = "prod-flexvol-node-v1"
    container = {"name": "main", "image": "none.invalid/none"}
    spec = {"serviceAccountName": account, "nodeName": "node2", "containers": [container]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": account, "namespace": "flexvol"},
        "spec": {**spec, "terminationGracePeriodSeconds": 0},
    }
    k8s.claim(storage_class="nobodys")
    k8s.cluster.kubectl("apply", "-f", "-", input=text, capture_output=True)
    try:
        k8s.run("-n", "flexvol", "create", "-f", "-", input=json.dumps(pod))
        node2 = holder_of(k8s, account, account)
        line = patch("pvc", "data", annotation(SELECTED, "node2"), "--dry-run=server")

        def said() -> str:
            return node2(*line).stderr

        wait_until("the policy holds", lambda: "prod-flexvol-node-claims-v1" in said())
        assert "waits for none" in said()
        k8s.run("annotate", "pvc", "data", f"{PROVISIONER}=loop.flexvol")
        wait_until("its other rights hold, too", lambda: node2(*line).returncode == 0)
    finally:
        k8s.run("-n", "flexvol", "delete", "pod", account, "--force", "--grace-period=0")
        k8s.cluster.kubectl("delete", "-f", "-", input=text, capture_output=True)


def test_the_component_without_policies_leaves_out_these_and_nothing_else(
    k8s: Kubernetes, tmp_path: Path
) -> None:
    resources = [ROOT / "deploy", ROOT / "deploy/shared", ROOT / "deploy/secrets"]
    whole = render(k8s, tmp_path, resources=resources)

    left = render(
        k8s,
        tmp_path,
        resources=resources,
        components=[ROOT / "deploy/without-policies"],
    )

    assert left == [one for one in whole if "AdmissionPolicy" not in one["kind"]]
    assert len(left) < len(whole)


def test_the_policies_expressions_fit_the_objects_they_are_for(
    k8s: Kubernetes, vault: Kubernetes, shared_account: None
) -> None:
    for name in POLICIES:

        def checked(name: str = name) -> Object:
            status: Object = k8s.find("validatingadmissionpolicy", name).get("status", {})
            return status if status.get("observedGeneration") else {}

        assert "expressionWarnings" not in wait_until(f"{name} is checked", checked).get(
            "typeChecking", {}
        )
