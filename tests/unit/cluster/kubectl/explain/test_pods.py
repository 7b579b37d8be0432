"""Why a pod waits: each state that keeps a pod from its data is a row."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller.objects import SELECTED_NODE, Object
from cluster.controller.storage import Listed
from cluster.kubectl.explain.findings import Finding
from cluster.kubectl.explain.scene import Scene
from tests.unit.cluster.kubectl.explain.scenes import (
    AT_NODE1,
    BOUND,
    DRIVER,
    EPHEMERAL,
    FROM,
    GIB,
    SNAPSHOT,
    TAINT,
    TOLERATION,
    claim,
    labelled,
    node,
    of_pod,
    pod,
    pool,
    scene,
    volume,
)

PRESSURE = {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}
ONLY_NODE2 = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node1"]}
                    ]
                }
            ]
        }
    }
}


@pytest.mark.parametrize(
    ("waits", "there", "words"),
    [
        pytest.param(
            pod("data"),
            scene(BOUND, AT_NODE1, nodes=[node("node1", unschedulable=True), node("node2")]),
            (
                "pod web can only run on node node1",
                "is cordoned (undone by: kubectl uncordon node1)",
                "kubectl flexvol move pv-data --to NODE",
                "the scheduler says: 0/2 nodes are available",
            ),
            id="the volume's node is cordoned",
        ),
        pytest.param(
            pod("data"),
            scene(BOUND, AT_NODE1, nodes=[node("node1", ready="Unknown"), node("node2")]),
            ("node1, where the volume of its claim data is, and that node is not ready",),
            id="the volume's node is down",
        ),
        pytest.param(
            pod("data"),
            scene(BOUND, AT_NODE1, nodes=[node("node2")]),
            ("that node does not exist",),
            id="the volume's node is gone",
        ),
        pytest.param(
            pod("data"),
            scene(BOUND, AT_NODE1, nodes=[node("node1", taints=[TAINT]), node("node2")]),
            ("has the taint dedicated=db:NoSchedule, which the pod does not tolerate",),
            id="the volume's node has a taint",
        ),
        pytest.param(
            pod("data", nodeSelector={"kubernetes.io/hostname": "node2"}),
            scene(BOUND, AT_NODE1),
            ("has not the label kubernetes.io/hostname=node2, which the pod asks for",),
            id="the pod asks for another node",
        ),
        pytest.param(
            pod("data", affinity=ONLY_NODE2),
            scene(BOUND, AT_NODE1),
            ("that node is not one that the pod asks for (nodeAffinity)",),
            id="the pod's affinity is for another node",
        ),
        pytest.param(
            pod("data"),
            scene(BOUND, AT_NODE1, nodes=[node("node1", taints=[PRESSURE]), node("node2")]),
            ("has the taint node.kubernetes.io/disk-pressure:NoSchedule",),
            id="the disk of the volume's node is full",
        ),
        pytest.param(
            pod("data"),
            scene(BOUND, AT_NODE1, nodes=[labelled("node1", "other"), node("node2")]),
            (
                "that node has the label kubernetes.io/hostname=other, and the PV "
                "pv-data asks for kubernetes.io/hostname=node1; give the node that "
                "label again",
            ),
            id="the volume's node has another hostname label now",
        ),
        pytest.param(
            pod("data"),
            scene(BOUND, AT_NODE1, nodes=[node("node1", "False", unschedulable=True)]),
            (
                "that node is not ready: no kubelet; or if its disk is in another "
                "node now, keep the claim: kubectl flexvol move pv-data --to NODE",
            ),
            id="the volume's node is down, and cordoned for that",
        ),
        pytest.param(
            pod("data", "logs"),
            scene(
                [*BOUND, claim("logs", "pv-logs")],
                [*AT_NODE1, volume("pv-logs", "node2", "logs")],
            ),
            ("data on node node1 and logs on node node2, so no node has them all",),
            id="two claims with volumes on two nodes",
        ),
        pytest.param(
            pod("data", "logs"),
            scene(
                [*BOUND, claim("logs", size="4Gi")],
                AT_NODE1,
                {"node1": [pool(free=GIB)], "node2": [pool()]},
            ),
            (
                "uses the claims data and logs; the volume of data is on node node1",
                "pool default has room for 1 GiB there, and 4 GiB are asked for",
            ),
            id="no room for the second claim where the first one is",
        ),
        pytest.param(
            pod("data", "logs"),
            scene([*BOUND, claim("logs")], AT_NODE1, {"node1": [pool("ssd")], "node2": [pool()]}),
            ("that node has no pool default (it has: ssd)",),
            id="no pool for the second claim where the first one is",
        ),
        pytest.param(
            pod("data", "logs"),
            scene(BOUND, AT_NODE1),
            ("pod web uses the claim logs, which does not exist; create it",),
            id="a claim of the pod does not exist",
        ),
        pytest.param(
            pod("data", nodeName="node1"),
            scene([claim("data")]),
            (
                "names its node node1 itself (spec.nodeName), so no scheduler looks at it",
                "nodeSelector {kubernetes.io/hostname: node1} instead",
            ),
            id="spec.nodeName with late binding",
        ),
        pytest.param(
            pod("data", nodeName="node2"),
            scene(BOUND, AT_NODE1),
            ("is on node node2 (spec.nodeName), and the volume of its claim data is on node node1"),
            id="spec.nodeName of another node than the volume's",
        ),
        pytest.param(
            pod("data", nodeName="node1"),
            scene(BOUND, AT_NODE1, nodes=[node("node1", ready="Unknown"), node("node2")]),
            ("pod web is on node node1, which is not ready: no kubelet",),
            id="the pod's node went down while it started",
        ),
        pytest.param(
            pod(**EPHEMERAL),
            scene(),
            ("web-scratch of pod web is not there yet; kube-controller-manager makes it",),
            id="an ephemeral volume without its claim",
        ),
        pytest.param(
            pod(**EPHEMERAL),
            scene([claim("web-scratch")]),
            ("and the claim of that name was not made for this pod",),
            id="a foreign claim with the name of an ephemeral volume's",
        ),
        pytest.param(
            pod("data", schedulerName="other"),
            scene(BOUND, AT_NODE1),
            ("the scheduler says",),
            id="the scheduler has a word of its own",
        ),
    ],
)
def test_a_pod_that_waits_is_told_why_and_that_somebody_must_act(
    waits: Object, there: Scene, words: tuple[str, ...]
) -> None:
    findings = of_pod(waits, there)

    told = "\n".join(one.sentence for one in findings)
    assert all(part in told for part in ([words] if isinstance(words, str) else words)), told
    assert any(one.is_wrong for one in findings)


def without_condition(**spec: Any) -> Object:
    waits = pod("data", **spec)
    waits["status"] = {"phase": "Pending"}
    return waits


def running() -> Object:
    runs = pod("data", nodeName="node1")
    runs["status"]["containerStatuses"] = [{"name": "main", "state": {"running": {}}}]
    return runs


@pytest.mark.parametrize(
    ("waits", "words"),
    [
        pytest.param(running(), "", id="a pod that runs"),
        pytest.param(
            pod("data", nodeName="node1"),
            "is being started on node node1",
            id="starts",
        ),
        pytest.param(
            without_condition(schedulingGates=[{"name": "quota"}]),
            "has scheduling gates (quota)",
            id="a gate",
        ),
        pytest.param(
            without_condition(),
            "default-scheduler has not looked at it",
            id="just made",
        ),
    ],
)
def test_a_pod_that_nobody_has_to_act_for_is_no_error(waits: Object, words: str) -> None:
    findings = of_pod(waits, scene(BOUND, AT_NODE1))

    assert [one.is_wrong for one in findings] == [False] * bool(words)
    assert words in "".join(one.sentence for one in findings)


DRAINED = [node("node1", ready="Unknown", unschedulable=True), node("node2")]


@pytest.mark.parametrize(
    "nodes", [[node("node1", ready="Unknown")], DRAINED], ids=["down", "down and cordoned"]
)
@pytest.mark.parametrize("runs", [False, True], ids=["a pod that starts", "a pod that ran"])
def test_a_pod_that_cannot_end_because_its_node_is_down_is_told_so(
    nodes: list[Object], runs: bool
) -> None:
    going = running() if runs else pod("data", nodeName="node1")
    going["metadata"]["deletionTimestamp"] = "now"
    down = scene(BOUND, AT_NODE1, nodes=nodes)

    assert of_pod(going, scene(BOUND, AT_NODE1)) == [Finding("pod web is being deleted", False)]
    assert of_pod(going, down) == [
        Finding("pod web is being deleted, and its node node1 is not ready: no kubelet", True)
    ]


def test_a_pod_that_ran_on_a_node_that_is_down_is_told_so() -> None:
    """Its status says for ever that it runs, as kubelet tells nothing more."""
    down = scene(BOUND, AT_NODE1, nodes=[node("node1", ready="Unknown"), node("node2")])

    (finding,) = of_pod(running(), down)

    assert finding.is_wrong
    assert "ran when its node node1 was heard of last, and that node is not" in finding.sentence


def test_a_cordoned_node_keeps_no_pod_that_is_on_it_already() -> None:
    cordoned = scene(BOUND, AT_NODE1, nodes=[node("node1", unschedulable=True), node("node2")])
    starting = pod("data", nodeName="node1")

    (fine,) = of_pod(starting, cordoned)
    (warned,) = of_pod(starting, cordoned, "FailedMount: volume pv-data is in use")

    assert fine == Finding("pod web is being started on node node1", False)
    assert "kubelet says: FailedMount" in warned.sentence


def test_a_cordoned_node_does_not_keep_a_pod_of_a_daemonset() -> None:
    cordoned = scene(BOUND, AT_NODE1, nodes=[node("node1", unschedulable=True), node("node2")])
    tolerations = [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]

    findings = of_pod(pod("data", tolerations=tolerations), cordoned)

    assert "cordoned" not in "".join(one.sentence for one in findings)


def test_a_pod_whose_volume_is_being_made_is_not_told_that_nobody_has_looked_at_it() -> None:
    chosen = claim("data", notes={SELECTED_NODE: "node1"})

    findings = of_pod(without_condition(), scene([chosen]))

    assert findings == [
        Finding(
            "pod web is to run on node node1 when the volume of its claim data is made there", False
        )
    ]


def test_the_claim_of_an_earlier_pod_of_the_same_name_is_told_from_a_foreign_one() -> None:
    """As of a pod of a StatefulSet, which is made anew under its name."""
    earlier = claim("web-scratch")
    earlier["metadata"]["ownerReferences"] = [{"kind": "Pod", "name": "web", "uid": "before"}]

    first, *_ = of_pod(pod(**EPHEMERAL), scene([earlier]))

    assert not first.is_wrong
    assert "was made for an earlier pod web, and goes with it" in first.sentence


def test_a_pod_of_a_scheduler_that_does_not_run_is_told_its_name() -> None:
    (finding,) = of_pod(without_condition(schedulerName="mine"), scene(BOUND, AT_NODE1))

    assert finding.is_wrong
    assert "its scheduler mine has not looked at it yet" in finding.sentence


def test_kubelets_own_words_are_told_of_a_pod_that_does_not_start() -> None:
    starting = pod("data", nodeName="node1")
    there = scene(BOUND, AT_NODE1)

    (warned,) = of_pod(starting, there, "FailedMount: volume pv-data is in use")
    starting["status"]["containerStatuses"] = [
        {
            "name": "main",
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no image"}},
        }
    ]
    (waiting,) = of_pod(starting, there)

    assert "kubelet says: FailedMount: volume pv-data is in use" in warned.sentence
    assert "its container main waits: ImagePullBackOff: no image" in waiting.sentence
    assert warned.is_wrong and waiting.is_wrong


def test_what_hinders_the_claim_of_an_ephemeral_volume_is_told() -> None:
    finding, *_ = of_pod(pod(**EPHEMERAL), scene(), "FailedBinding: exceeded quota")

    assert finding.sentence.endswith("ephemeral volume, and says: FailedBinding: exceeded quota")


def test_a_taint_that_the_pod_tolerates_keeps_it_from_nothing() -> None:
    tainted = scene(BOUND, AT_NODE1, nodes=[node("node1", taints=[TAINT]), node("node2")])

    findings = of_pod(pod("data", tolerations=[TOLERATION]), tainted)

    assert "taint" not in "".join(one.sentence for one in findings)


def test_a_pod_with_a_volume_elsewhere_than_its_copys_source_is_told_so() -> None:
    there = scene([*BOUND, claim("copy", notes=FROM)], AT_NODE1, listed=[])
    at_node2 = there._replace(
        listed={**there.listed, ("node2", DRIVER): Listed([SNAPSHOT], [pool()])}
    )

    findings = of_pod(pod("data", "copy"), at_node2)

    assert "data on node node1 and copy on node node2" in findings[0].sentence


def test_a_pod_of_a_copy_is_not_told_that_the_copy_is_there() -> None:
    cordoned = [node("node1", unschedulable=True), node("node2")]
    there = scene([claim("copy", notes=FROM)], nodes=cordoned, listed=[SNAPSHOT])

    first, *_ = of_pod(pod("copy"), there)

    assert "node1, where the volume of its claim copy has to be made" in first.sentence
    assert "move" not in first.sentence
