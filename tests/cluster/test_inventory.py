"""What a person asks from anywhere with kubectl's own plugin: which volumes there are, in which
state, and what becomes of a claim. Installed as docs/kubectl-plugin.md says, and with kubectl's
kubeconfig."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.commands import Ask, rows
from tests.cluster.kube.cluster import STATE, Cluster
from tests.cluster.namespaces import Kubernetes, Object, own_namespace, pod
from tests.cluster.nodes import DRIVER, POOL, cordoned
from tests.cluster.own_provisioner import bound, claim
from tests.sources import ROOT
from tests.waiting import wait_until

KEY = "kubernetes.io/"


@pytest.fixture(scope="module")
def k8s(cluster: Cluster) -> Iterator[Kubernetes]:
    """One for all of them: taking a namespace away takes longer than most of these tests."""
    with own_namespace(cluster) as k8s:
        yield k8s


def by_hand(cluster: Cluster, node: str, callout: str, name: str, **more: str) -> None:
    """A call of the driver on a node, for a volume that no claim is for."""
    request = {
        f"{KEY}pvOrVolumeName": name,
        f"{KEY}pvc.namespace": "gone",
        f"{KEY}pvc.name": "data",
        f"{KEY}pvc.uid": "u",
        **({"pool": "default", "poolId": pool_id(cluster, node)} if callout == "delete" else {}),
        **more,
    }
    done = cluster.nodes[node].enter(
        DRIVER,
        callout,
        json.dumps(request),
        capture_output=True,
    )
    assert json.loads(done.stdout)["status"] == "Success", done.stdout


def pool_id(cluster: Cluster, node: str) -> str:
    found: str = json.loads((cluster.nodes[node].path(POOL) / "pool.json").read_text())["id"]
    return found


@pytest.fixture
def volumes_by_hand(k8s: Kubernetes) -> Iterator[list[str]]:
    """One that is ours and was never mounted, and one of another cluster, with no PV and no
    claim."""
    uid = k8s.run("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}").stdout
    names = [f"{kind}-{k8s.namespace}" for kind in ("blank", "foreign")]
    for name, of in zip(names, (uid, "another-cluster"), strict=True):
        asked = {
            "requestBytes": str(32 << 20),
            f"{KEY}clusterUid": of,
            f"{KEY}reclaimPolicy": "Delete",
        }
        by_hand(
            k8s.cluster,
            "node1",
            "provision",
            name,
            **asked,
            **{f"{KEY}pvc.accessModes": "ReadWriteOnce"},
        )
    yield names
    for name in names:
        by_hand(k8s.cluster, "node1", "delete", name)


@contextlib.contextmanager
def storage_class(k8s: Kubernetes, **settings: Any) -> Iterator[str]:
    name = f"inventory-{k8s.namespace}"
    metadata = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
    }
    k8s.apply(
        {
            "provisioner": "loop.flexvol",
            "volumeBindingMode": "WaitForFirstConsumer",
            **metadata,
            **settings,
        }
    )
    try:
        yield name
    finally:
        k8s.delete("storageclass", name)


def test_the_plugin_lists_what_a_person_does_and_nothing_else(ask: Ask) -> None:
    done = ask("--help")

    assert done.returncode == 0
    assert done.stdout.startswith("kubectl flexvol COMMAND")
    assert re.search("^  inventory +Lists the volumes", done.stdout, re.MULTILINE)
    assert re.search(
        "^  cancel-expansion +Cancels an expansion",
        done.stdout,
        re.MULTILINE,
    )
    assert "--node" not in done.stdout
    wrong = ask("--node=node1")
    assert wrong.returncode == 2 and "there is no command" in wrong.stderr
    assert "usage: kubectl flexvol inventory" in ask("inventory", "--help").stdout


def test_every_volume_is_shown_with_its_state_and_anything_wrong_is_an_exit_status(
    k8s: Kubernetes, ask: Ask, volumes_by_hand: list[str]
) -> None:
    cluster = k8s.cluster
    blank, foreign = volumes_by_hand
    with storage_class(k8s, reclaimPolicy="Retain") as retain:
        k8s.apply(
            claim("used", "flexvol-loop"),
            claim("kept", retain),
            claim("lost", "flexvol-loop", "node2"),
        )
        found = bound(k8s, "used", "kept", "lost")
        used, kept, lost = (found[name] for name in ("used", "kept", "lost"))
        k8s.pod("web", claim="used", wait=False)
        k8s.delete("pvc", "kept")
        k8s.until_phase("pv", kept, "Released")
        place = cluster.nodes["node2"].path(POOL) / lost
        aside = cluster.nodes["node2"].path(POOL).parent.parent / lost
        place.rename(aside)
        try:
            status, seen, _ = rows(ask)
            assert status == 1
            assert {name: seen[name]["state"] for name in (used, kept, lost, blank, foreign)} == {
                used: "bound",
                kept: "released",
                lost: "missing",
                blank: "orphan",
                foreign: "foreign",
            }
            assert [name for name in (used, kept, lost, blank, foreign) if seen[name]["wrong"]] == [
                lost,
                blank,
            ]
            assert seen[used] | {"usedBytes": 0} == bound_row(used, f"{k8s.namespace}/used", "web")
            assert "does not list it" in seen[lost]["why"] and seen[lost]["node"] == "node2"
            table = ask("inventory", "-o", "wide").stdout
            assert any(
                line.split()[:3] == [used, "node1", "default"] for line in table.splitlines()
            ), table
            assert f"{lost} on node node2 is missing: its driver does not list it" in table
            check_dry_run(ask, blank, foreign, others=(used, kept, lost))
            check_one_node(ask, blank, lost)
        finally:
            aside.rename(place)
        k8s.delete("pv", kept)
        status, seen, _ = rows(ask)
        assert (seen[kept]["state"], seen[kept]["reason"], seen[lost]["state"]) == (
            "orphan",
            "retained",
            "bound",
        )
        kept_too = delete_what_no_claim_has(k8s, ask, used, kept, retain)
        gone = {kept, kept_too, blank, foreign}
        done = ask("delete", kept, kept_too, blank, foreign, "--yes")
        assert done.returncode == 0, done
        assert done.stdout.count(": deleted") == 4
        assert not gone & set(rows(ask)[1])
        assert k8s.get("pv", kept_too) is None
        assert rows(ask)[1][used]["state"] == "bound"


def bound_row(volume: str, claim: str, pod: str) -> Object:
    """The row of a volume on node1 that a pod uses, of which nothing is used yet."""
    return {
        "name": volume,
        "node": "node1",
        "driver": "flexvol/loop",
        "pool": "default",
        "sizeBytes": 32 << 20,
        "usedBytes": 0,
        "claim": claim,
        "pods": [pod],
        "state": "bound",
        "reason": "",
        "why": "",
        "wrong": False,
    }


def check_dry_run(ask: Ask, blank: str, foreign: str, others: tuple[str, ...]) -> None:
    """A dry run says what would be done with each orphan, and nothing of other volumes."""
    dry = ask("inventory", "--dry-run").stdout
    assert f"{blank} on node node1 would be deleted: it was never mounted" in dry
    left_alone = "would be left alone: it is foreign; it was made for the cluster"
    assert f"{foreign} on node node1 {left_alone}" in dry
    assert not any(name in dry for name in others)


def check_one_node(ask: Ask, on_node1: str, on_node2: str) -> None:
    """Only the volumes of a node are shown where the node is named."""
    here, one_node, _ = rows(ask, "--node", "node1")
    assert here == 1 and on_node2 not in one_node and on_node1 in one_node
    no_node = ask("inventory", "--node", "node7")
    assert no_node.returncode == 1 and "nodes with one: node1, node2" in no_node.stderr


def delete_what_no_claim_has(k8s: Kubernetes, ask: Ask, used: str, orphan: str, retain: str) -> str:
    """Deletes nothing: what a claim has is refused, and so is an answer that is no yes. Returns a
    volume whose claim is gone, and whose PV the policy Retain keeps."""
    refused = ask("delete", orphan, used, "--yes")
    assert refused.returncode == 1
    assert f"{used} is bound to the claim {k8s.namespace}/used, so it is not" in refused.stderr
    doubted = ask("delete", orphan, answer="no\n")
    assert doubted.returncode == 1 and "nothing was deleted" in doubted.stderr
    assert (
        f"{orphan}  node1  default" in doubted.stdout and "Delete that for good?" in doubted.stdout
    )
    waiting = k8s.cluster.nodes["node1"].path(POOL) / orphan / "image"
    assert waiting.exists()
    k8s.apply(claim("kept-too", retain))
    released = bound(k8s, "kept-too")["kept-too"]
    k8s.delete("pvc", "kept-too")
    k8s.until_phase("pv", released, "Released")
    return released


def test_a_node_that_does_not_answer_is_said_and_the_others_are_shown(
    k8s: Kubernetes, ask: Ask
) -> None:
    k8s.apply(
        claim("here", "flexvol-loop", "node1"),
        claim("there", "flexvol-loop", "node2"),
    )
    found = bound(k8s, "here", "there")
    k8s.cluster.kill("kubelet", "node2")
    try:
        status, seen, said = rows(ask)
        lines = ask("inventory").stdout.splitlines()
        of_node1 = ask("inventory", "--pools", "--node", "node1")
        of_all = ask("inventory", "--pools")
    finally:
        k8s.cluster.start("kubelet", "node2")

    assert status == 1
    assert (seen[found["here"]]["state"], seen[found["there"]]["state"]) == ("bound", "unseen")
    (silent,) = said["driversSilent"]
    assert silent["node"] == "node2" and silent["error"] == seen[found["there"]]["why"]
    (told,) = [line for line in lines if "did not answer" in line]
    assert told.startswith(
        "node node2 did not answer: its kubelet cannot be reached, or hangs; see"
    )
    assert of_all.returncode == 1
    assert [line for line in of_all.stdout.splitlines() if "did not answer" in line] == [told]
    assert of_node1.returncode == 0
    heading, pool, *rest = of_node1.stdout.splitlines()
    assert heading.split()[:3] == ["NODE", "POOL", "STATE"] and rest == []
    assert pool.startswith("node1  default  takes volumes  ")
    wait_until("node2 answers again", lambda: rows(ask)[0] == 0, 60)


def test_on_a_node_it_lists_without_an_api_server_and_in_a_pod_it_may_not_reach_others(
    k8s: Kubernetes,
) -> None:
    k8s.apply(claim("alone", "flexvol-loop", "node1"))
    name = bound(k8s, "alone")["alone"]
    alone = k8s.cluster.nodes["node1"].enter(
        "env",
        "-u",
        "KUBECONFIG",
        f"SHIV_ROOT={STATE}/shiv",
        "unshare",
        "--net",
        ROOT / "dist/provisioner",
        "inventory",
        "--local",
        "--output=wide",
        capture_output=True,
    )
    (line,) = [line for line in alone.stdout.splitlines() if line.startswith(name)]
    assert (
        line.split()[1:3] == ["-", "default"]
        and f"{k8s.namespace}/alone" in line
        and "listed" in line
    )

    inside = Kubernetes(k8s.cluster, "flexvol").run(
        "exec", "daemonset/flexvol-node", "--", "provisioner", "inventory", check=False
    )
    assert inside.returncode == 1 and "403" in inside.stderr


def explained(ask: Ask, k8s: Kubernetes, name: str) -> tuple[int, list[str]]:
    done = ask("explain", name, "-n", k8s.namespace)
    assert not done.stderr, done.stderr
    head, *sentences = done.stdout.splitlines()
    assert head.startswith(f"{k8s.namespace}/{name}: ")
    return done.returncode, [line.removeprefix("- ") for line in sentences]


def test_explain_says_that_a_claim_waits_for_a_pod_and_then_where_its_volume_is(
    k8s: Kubernetes, ask: Ask
) -> None:
    k8s.claim("data")
    status, said = explained(ask, k8s, "data")
    assert status == 0
    assert said[:2] == [
        "it waits for a pod that uses it to be scheduled",
        "no pod uses the claim yet",
    ]
    assert said[2].startswith("room for its class: node1 ") and "node2 " in said[2]

    k8s.pod("reader", node="node2")
    status, said = explained(ask, k8s, "data")
    name = k8s.volume_of()["metadata"]["name"]
    assert status == 0
    assert said[0].startswith(f"it is bound: PV {name}, 64Mi, on node node2, in pool default, ")
    assert said[1:] == [
        "used by pod reader",
        "deleting the claim deletes the volume and its data, when no pod uses it",
    ]

    k8s.run("patch", "pv", name, "-p", '{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}')
    assert (
        "leaves the volume and its PV, whose reclaim policy is Retain"
        in explained(ask, k8s, "data")[1][-1]
    )
    k8s.run("patch", "pv", name, "-p", '{"spec": {"persistentVolumeReclaimPolicy": "Delete"}}')
    nowhere = ask("explain", "nothing", "-n", k8s.namespace)
    assert nowhere.returncode == 1 and "there is no claim nothing" in nowhere.stderr


def test_explain_says_what_the_event_says_of_a_class_that_can_never_serve(
    k8s: Kubernetes, ask: Ask
) -> None:
    """Already while it waits for a pod; and what only the driver can know, in its words, once it
    has said them."""
    with storage_class(k8s, parameters={f"{KEY}node.name": "x"}) as name:
        k8s.claim("reserved", storage_class=name)
        status, (sentence,) = explained(ask, k8s, "reserved")
        assert status == 1
        assert sentence.startswith(
            f'the parameter "{KEY}node.name" of storage class "{name}" is reserved; remove it'
        )
        assert f"a StorageClass cannot be changed: make '{name}' anew" in sentence
        k8s.apply(claim("placed", name))
        assert k8s.event("placed", "ProvisioningFailed", "reserved").endswith(": " + sentence)
    with storage_class(k8s, parameters={"colour": "blue"}) as name:
        k8s.apply(claim("blue", name))
        event = k8s.event("blue", "ProvisioningFailed", "colour")
        status, said = explained(ask, k8s, "blue")
        assert status == 1 and said[-1] == f"last warning: ProvisioningFailed: {event}"


def test_explain_says_that_a_claim_of_no_class_waits_for_a_pv(k8s: Kubernetes, ask: Ask) -> None:
    k8s.claim("classless", storage_class="")

    assert explained(ask, k8s, "classless") == (
        0,
        [
            'this claim asks for no storage class (storageClassName: ""), so nothing is '
            "provisioned for it; it waits for an existing PV without a class"
        ],
    )


def test_explain_says_that_no_node_has_room(k8s: Kubernetes, ask: Ask) -> None:
    with storage_class(k8s, volumeBindingMode="Immediate") as name:
        k8s.claim("now", "90Ti", name)
        wait_until(
            "what room there is is known",
            lambda: "no node has room" in explained(ask, k8s, "now")[1][1],
        )
        status, said = explained(ask, k8s, "now")
        assert status == 1
        # The amount may change between the two messages.
        k8s.event("now", "ProvisioningFailed", said[1].partition(": the most is")[0])
    k8s.claim("later", "90Ti")
    k8s.pod("late", claim="later", wait=False)

    def scheduler() -> str:
        return next(
            (line for line in explained(ask, k8s, "later")[1] if line.startswith("pod late ")),
            "",
        )

    wait_until(
        "the scheduler has said",
        lambda: "did not have enough free storage" in scheduler(),
    )
    status, said = explained(ask, k8s, "later")
    assert status == 1 and any(
        line.startswith("no node has room for 94371840 MiB: the most is ") for line in said
    )


def told(ask: Ask, k8s: Kubernetes, name: str, words: str) -> str:
    """Waits until explain says those words of the claim, and that somebody must act."""

    def said() -> str:
        status, sentences = explained(ask, k8s, name)
        return "\n".join(sentences) if status == 1 else ""

    found: str = wait_until(
        f"explain says {words!r} of {name}", lambda: words in (text := said()) and text
    )
    return found


def test_explain_answers_for_the_pod_whatever_keeps_it(k8s: Kubernetes, ask: Ask) -> None:
    k8s.claim("kept", "32Mi")
    k8s.pod("first", claim="kept", node="node2")
    name = k8s.volume_of("kept")["metadata"]["name"]
    k8s.delete("pod", "first")
    with cordoned(k8s, "node2"):
        k8s.pod("again", claim="kept", wait=False)
        explained = told(ask, k8s, "kept", "the scheduler says")
        assert (
            "pod again can only run on node node2, where the volume of its claim kept" in explained
        )
        assert "is cordoned (undone by: kubectl uncordon node2)" in explained
        assert f"kubectl flexvol move {name} --to NODE" in explained
    k8s.running("again")

    k8s.claim("huge", "90Ti")
    both = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in ("kept", "huge")]
    k8s.apply(pod("both", both))
    second = told(ask, k8s, "huge", "the scheduler says")
    assert "uses the claims kept and huge; the volume of kept is on node node2" in second
    assert "pool default has room for" in second
    assert "uses the claims kept and huge" in told(ask, k8s, "kept", "pod both")
    of_pod = ask("explain", "--pod", "both", "-n", k8s.namespace)
    assert of_pod.returncode == 1
    assert f"{k8s.namespace}/kept: " in of_pod.stdout and f"{k8s.namespace}/huge: " in of_pod.stdout

    k8s.claim("named", "32Mi")
    k8s.pod("fixed", claim="named", wait=False, nodeName="node1")
    assert "nodeSelector {kubernetes.io/hostname: node1}" in told(
        ask, k8s, "named", "spec.nodeName"
    )
    k8s.apply(claim("copy", "flexvol-loop", ""))
    k8s.run("annotate", "pvc", "copy", "flexvol/from-snapshot=never-made")
    told(
        ask,
        k8s,
        "copy",
        f"no node has a snapshot 'never-made' of namespace {k8s.namespace}",
    )
    with storage_class(k8s, parameters={"pool": "fasst"}) as wrong:
        k8s.claim("typo", "32Mi", wrong)
        typo = told(
            ask,
            k8s,
            "typo",
            f"no node has the pool fasst that its storage class {wrong}",
        )
        assert "pools there are: default" in typo
