"""Why a claim or its pod waits: each state that keeps a pod from its data is a row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller import decide
from cluster.controller.storage import Listed
from cluster.kubectl import reasons
from cluster.kubectl.nodes import Node
from cluster.kubectl.reasons import Finding, Scene

Object = dict[str, Any]
GIB = 1 << 30
DRIVER = "flexvol/loop"
DRIVERS = {"loop.flexvol": DRIVER}


def claim(
    name: str, volume: str = "", size: str = "1Gi", notes: Object | None = None, **spec: Any
) -> Object:
    asked = {"resources": {"requests": {"storage": size}}, "storageClassName": "fast", **spec}
    if volume:
        asked["volumeName"] = volume
    metadata = {"namespace": "shop", "name": name, "uid": f"uid-{name}"}
    annotations = {decide.PROVISIONER[0]: "loop.flexvol", **(notes or {})}
    status = {"phase": "Bound" if volume else "Pending"}
    return {"metadata": {**metadata, "annotations": annotations}, "spec": asked, "status": status}


def volume(name: str, node: str, of: str) -> Object:
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "metadata": {
            "name": name,
            "annotations": {decide.PROVISIONED_BY: "loop.flexvol", decide.IDENTITY: node},
        },
        "spec": {
            "flexVolume": {"driver": DRIVER, "options": {"pool": "default"}},
            "claimRef": {"namespace": "shop", "name": of, "uid": f"uid-{of}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
            "persistentVolumeReclaimPolicy": "Delete",
        },
    }


def storage_class(late: bool = True, topologies: Any = None, **parameters: str) -> Object:
    return {
        "metadata": {"name": "fast"},
        "provisioner": "loop.flexvol",
        "volumeBindingMode": "WaitForFirstConsumer" if late else "Immediate",
        "allowedTopologies": topologies,
        "parameters": parameters,
    }


def node(name: str, ready: str = "True", **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": ready, "message": "no kubelet"}]},
    }


def labelled(name: str, hostname: str, **labels: str) -> Object:
    of_node = {decide.HOSTNAME: hostname, **labels}
    return {**node(name), "metadata": {"name": name, "labels": of_node}}


def pool(name: str = "default", free: int = 8 * GIB, **more: Any) -> Object:
    return {"name": name, "freeBytes": free, "maximumVolumeBytes": free, "byName": True, **more}


def pod(*claims: str, **spec: Any) -> Object:
    volumes = [
        {"name": f"v{number}", "persistentVolumeClaim": {"claimName": name}}
        for number, name in enumerate(claims)
    ]
    unscheduled = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}
    return {
        "metadata": {"namespace": "shop", "name": "web", "uid": "uid-web"},
        "spec": {"volumes": volumes, **spec},
        "status": {"conditions": [] if spec.get("nodeName") else [unscheduled]},
    }


def scene(
    claims: list[Object] | None = None,
    volumes: list[Object] | None = None,
    pools: dict[str, list[Object]] | None = None,
    nodes: list[Object] | None = None,
    listed: list[Object] | None = None,
    **more: Any,
) -> Scene:
    """Two nodes with flexvol, each with the pool default, unless something else is said. listed:
    the entries of node1."""
    pools = {"node1": [pool()], "node2": [pool()]} if pools is None else pools
    of_node1 = listed or []
    known = nodes or [node("node1"), node("node2")]
    answers = {
        (name, DRIVER): Listed(of_node1 if name == "node1" else [], of_node)
        for name, of_node in pools.items()
    }
    fields: dict[str, Any] = {
        "drivers": DRIVERS,
        "claims": {one["metadata"]["name"]: one for one in claims or []},
        "volumes": {one["metadata"]["name"]: one for one in volumes or []},
        "classes": {"fast": storage_class()},
        "nodes": {one["metadata"]["name"]: one for one in known},
        "ours": {
            name: Node(name, f"flexvol/p-{name}", (DRIVER,), name) for name in ("node1", "node2")
        },
        "listed": answers,
        "silent": {},
        "published": {},
    }
    return Scene(**{**fields, **more})


BOUND = [claim("data", "pv-data")]
AT_NODE1 = [volume("pv-data", "node1", "data")]
AWAY = "pool default is not mounted"
TAINT = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
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
TOLERATION = {"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}
EPHEMERAL = {"volumes": [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}]}


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
                "that node has the label kubernetes.io/hostname=other, and the PV pv-data asks for "
                "kubernetes.io/hostname=node1; give the node that label again",
            ),
            id="the volume's node has another hostname label now",
        ),
        pytest.param(
            pod("data"),
            scene(BOUND, AT_NODE1, nodes=[node("node1", "False", unschedulable=True)]),
            (
                "that node is not ready: no kubelet; or if its disk is in another node now, keep "
                "the claim: kubectl flexvol move pv-data --to NODE",
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
                "uses the claims data and logs; the first one's volume is on node node1",
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
    findings = reasons.on_pod(waits, there)

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
        pytest.param(pod("data", nodeName="node1"), "is being started on node node1", id="starts"),
        pytest.param(
            without_condition(schedulingGates=[{"name": "quota"}]),
            "has scheduling gates (quota)",
            id="a gate",
        ),
        pytest.param(without_condition(), "default-scheduler has not looked at it", id="just made"),
    ],
)
def test_a_pod_that_nobody_has_to_act_for_is_no_error(waits: Object, words: str) -> None:
    findings = reasons.on_pod(waits, scene(BOUND, AT_NODE1))

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

    assert reasons.on_pod(going, scene(BOUND, AT_NODE1)) == [
        Finding("pod web is being deleted", False)
    ]
    assert reasons.on_pod(going, down) == [
        Finding("pod web is being deleted, and its node node1 is not ready: no kubelet", True)
    ]


def test_a_pod_that_ran_on_a_node_that_is_down_is_told_so() -> None:
    """Its status says for ever that it runs, as kubelet tells nothing more."""
    down = scene(BOUND, AT_NODE1, nodes=[node("node1", ready="Unknown"), node("node2")])

    (finding,) = reasons.on_pod(running(), down)

    assert finding.is_wrong
    assert "ran when its node node1 was heard of last, and that node is not" in finding.sentence


def test_a_cordoned_node_keeps_no_pod_that_is_on_it_already() -> None:
    cordoned = scene(BOUND, AT_NODE1, nodes=[node("node1", unschedulable=True), node("node2")])
    starting = pod("data", nodeName="node1")

    (fine,) = reasons.on_pod(starting, cordoned)
    (warned,) = reasons.on_pod(starting, cordoned, "FailedMount: volume pv-data is in use")

    assert fine == Finding("pod web is being started on node node1", False)
    assert "kubelet says: FailedMount" in warned.sentence


def test_a_cordoned_node_does_not_keep_a_pod_of_a_daemonset() -> None:
    cordoned = scene(BOUND, AT_NODE1, nodes=[node("node1", unschedulable=True), node("node2")])
    tolerations = [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]

    findings = reasons.on_pod(pod("data", tolerations=tolerations), cordoned)

    assert "cordoned" not in "".join(one.sentence for one in findings)


def test_a_pod_whose_volume_is_being_made_is_not_told_that_nobody_has_looked_at_it() -> None:
    chosen = claim("data", notes={decide.SELECTED_NODE: "node1"})

    findings = reasons.on_pod(without_condition(), scene([chosen]))

    assert findings == [
        Finding(
            "pod web is to run on node node1 when the volume of its claim data is made there", False
        )
    ]


def test_the_claim_of_an_earlier_pod_of_the_same_name_is_told_from_a_foreign_one() -> None:
    """As of a pod of a StatefulSet, which is made anew under its name."""
    earlier = claim("web-scratch")
    earlier["metadata"]["ownerReferences"] = [{"kind": "Pod", "name": "web", "uid": "before"}]

    first, *_ = reasons.on_pod(pod(**EPHEMERAL), scene([earlier]))

    assert not first.is_wrong
    assert "was made for an earlier pod web, and goes with it" in first.sentence


def test_a_pod_of_a_scheduler_that_does_not_run_is_told_its_name() -> None:
    (finding,) = reasons.on_pod(without_condition(schedulerName="mine"), scene(BOUND, AT_NODE1))

    assert finding.is_wrong
    assert "its scheduler mine has not looked at it yet" in finding.sentence


def test_kubelets_own_words_are_told_of_a_pod_that_does_not_start() -> None:
    starting = pod("data", nodeName="node1")
    there = scene(BOUND, AT_NODE1)

    (warned,) = reasons.on_pod(starting, there, "FailedMount: volume pv-data is in use")
    starting["status"]["containerStatuses"] = [
        {
            "name": "main",
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no image"}},
        }
    ]
    (waiting,) = reasons.on_pod(starting, there)

    assert "kubelet says: FailedMount: volume pv-data is in use" in warned.sentence
    assert "its container main waits: ImagePullBackOff: no image" in waiting.sentence
    assert warned.is_wrong and waiting.is_wrong


def test_what_hinders_the_claim_of_an_ephemeral_volume_is_told() -> None:
    finding, *_ = reasons.on_pod(pod(**EPHEMERAL), scene(), "FailedBinding: exceeded quota")

    assert finding.sentence.endswith("ephemeral volume, and says: FailedBinding: exceeded quota")


def test_a_taint_that_the_pod_tolerates_keeps_it_from_nothing() -> None:
    tainted = scene(BOUND, AT_NODE1, nodes=[node("node1", taints=[TAINT]), node("node2")])

    findings = reasons.on_pod(pod("data", tolerations=[TOLERATION]), tainted)

    assert "taint" not in "".join(one.sentence for one in findings)


OTHER_ZONE = [{"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["node2"]}]}]
NOWHERE = [{"matchLabelExpressions": [{"key": "zone", "values": ["c"]}]}]


@pytest.mark.parametrize(
    ("of_class", "pools", "words"),
    [
        pytest.param(
            storage_class(pool="fasst"),
            {"node1": [pool(), pool("fast")], "node2": [pool()]},
            (
                "no node has the pool fasst that its storage class fast asks for; pools there are: "
                "default, fast",
                "a StorageClass cannot be changed",
            ),
            id="no node has the pool that the class names",
        ),
        pytest.param(
            storage_class(),
            {"node1": [pool(cordoned=True, free=0)], "node2": [pool(cordoned=True, free=0)]},
            ("pool default is cordoned on nodes node1, node2", "loop pool uncordon default"),
            id="the pool is cordoned everywhere",
        ),
        pytest.param(
            storage_class(),
            {"node1": [pool(error=AWAY)], "node2": [pool(error=AWAY)]},
            (f"pool default is away on nodes node1, node2: {AWAY}",),
            id="the pool's disk is away everywhere",
        ),
        pytest.param(
            storage_class(),
            {"node1": [pool(free=GIB // 2)], "node2": [pool(free=GIB // 4)]},
            ("no node has room for 1024 MiB: the most is 512 MiB, on node1",),
            id="no pool has so much room",
        ),
        pytest.param(
            storage_class(pool="fast"),
            {"node1": [pool("fast", error="x is away")], "node2": [pool()]},
            ("pool fast is away on node node1: x is away", "node node2 has no pool fast"),
            id="each node has another reason",
        ),
        pytest.param(
            storage_class(),
            {"node1": [pool(noRoom="the disk is read-only")], "node2": [pool(cordoned=True)]},
            ("pool default takes nothing on node node1: the disk is read-only",),
            id="the pool's disk takes nothing",
        ),
        pytest.param(
            storage_class(topologies=OTHER_ZONE),
            {"node1": [pool()], "node2": [pool(free=0)]},
            ("no node has room for 1024 MiB: the most is 0 MiB, on node2",),
            id="the node with room is not allowed",
        ),
        pytest.param(
            storage_class(topologies=NOWHERE),
            None,
            ("no node has the labels that allowedTopologies of its storage class asks for",),
            id="no node is allowed",
        ),
    ],
)
def test_a_claim_that_no_node_can_take_is_told_which_cause_it_is(
    of_class: Object, pools: dict[str, list[Object]] | None, words: tuple[str, ...]
) -> None:
    findings = reasons.on_rooms(claim("data"), of_class, scene(pools=pools))

    told = "\n".join(one.sentence for one in findings if one.is_wrong)
    assert all(part in told for part in words), told


def test_a_claim_that_fits_on_one_node_is_told_the_room_and_nothing_wrong() -> None:
    pools = {"node1": [pool(free=GIB)], "node2": [pool(cordoned=True)]}

    assert reasons.on_rooms(claim("data"), storage_class(), scene(pools=pools)) == [
        Finding("room for its class: node1 1 GiB", False)
    ]


def test_of_many_nodes_those_with_the_most_room_are_named() -> None:
    names = [f"n{number:02}" for number in range(40)]
    there = scene(
        pools={name: [pool(free=number * GIB)] for number, name in enumerate(names)},
        nodes=[node(name) for name in names],
        ours={name: Node(name, f"flexvol/{name}", (DRIVER,), name) for name in names},
    )

    assert reasons.on_rooms(claim("data"), storage_class(), there) == [
        Finding(
            "room for its class: n39 39 GiB, n38 38 GiB, n37 37 GiB, n36 36 GiB, n35 35 GiB, and "
            "35 more nodes with no more",
            False,
        )
    ]


POOLS = st.sampled_from(
    [
        [pool(free=8 * GIB)],
        [pool(free=GIB // 2)],
        [pool(error="away")],
        [pool(cordoned=True)],
        [pool(noRoom="read-only")],
        [pool("other")],
        [pool("other"), pool(free=2 * GIB)],
    ]
)


@given(
    pools=st.dictionaries(st.sampled_from([f"node{number}" for number in range(9)]), POOLS),
    cordoned=st.sets(st.sampled_from([f"node{number}" for number in range(9)])),
)
def test_somebody_must_act_exactly_if_no_open_node_takes_the_claim(
    pools: dict[str, list[Object]], cordoned: set[str]
) -> None:
    names = [f"node{number}" for number in range(9)]
    there = scene(
        pools=pools,
        nodes=[node(name, unschedulable=name in cordoned) for name in names],
        ours={name: Node(name, f"flexvol/{name}", (DRIVER,), name) for name in pools},
    )

    findings = reasons.on_rooms(claim("data"), storage_class(), there)

    takes = [
        name
        for name, of_node in pools.items()
        if name not in cordoned
        and any(one["name"] == "default" and _is_open(one) for one in of_node)
    ]
    assert any(one.is_wrong for one in findings) == (not takes)
    assert all(one.sentence for one in findings)
    assert len(findings) <= 8  # however many nodes there are


def _is_open(one: Object) -> bool:
    is_closed = one.get("error") or one.get("cordoned") or one.get("noRoom")
    return not is_closed and bool(one["freeBytes"] >= GIB)


def test_room_on_a_cordoned_node_alone_is_told_with_the_way_out() -> None:
    cordoned = scene(
        pools={"node1": [pool()], "node2": [pool(free=0)]},
        nodes=[node("node1", unschedulable=True), node("node2")],
    )

    first, *_ = reasons.on_rooms(claim("data"), storage_class(), cordoned)

    assert first == Finding(
        "node node1 has room for it, but is cordoned; undone by: kubectl uncordon NODE", True
    )


CONTROL_PLANE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("of_node1", "waits", "words"),
    [
        pytest.param(
            {"taints": [CONTROL_PLANE]},
            pod("data"),
            "node node1 has room for it, but has the taint node-role.kubernetes.io/control-plane:"
            "NoSchedule, which the pod does not tolerate",
            id="room on a control-plane node alone",
        ),
        pytest.param(
            {},
            pod("data", nodeSelector={decide.HOSTNAME: "node2"}),
            "node node1 has room for it, but has not the label kubernetes.io/hostname=node2",
            id="room on a node alone that the pod does not ask for",
        ),
        pytest.param(
            {"ready": "False"},
            pod("data"),
            "node node1 has room for it, but is not ready: no kubelet",
            id="room on a node alone that is not ready",
        ),
    ],
)
def test_room_where_no_pod_of_the_claim_can_go_is_no_room(
    of_node1: Object, waits: Object, words: str
) -> None:
    there = scene(
        pools={"node1": [pool()], "node2": [pool(free=0)]},
        nodes=[node("node1", **of_node1), node("node2")],
    )
    asked = claim("data")

    told = reasons.on_rooms(asked, storage_class(), there, [waits])
    also = reasons.on_rooms(asked, storage_class(), there, [waits, pod("data", nodeName="node1")])
    at_once = reasons.on_rooms(asked, storage_class(late=False), there, [waits])

    assert words in told[0].sentence and told[0].is_wrong
    assert also == told  # a pod that is on a node says nothing of where others can go
    # A volume that is made at once goes there nevertheless, unless the node is down.
    assert any(one.is_wrong for one in at_once) == ("ready" in of_node1)


def test_one_of_two_pods_that_can_go_to_a_node_is_enough() -> None:
    there = scene(
        pools={"node1": [pool()], "node2": [pool(free=0)]},
        nodes=[node("node1", taints=[TAINT]), node("node2")],
    )
    pods = [pod("data"), pod("data", tolerations=[TOLERATION])]

    findings = reasons.on_rooms(claim("data"), storage_class(), there, pods)

    assert not any(one.is_wrong for one in findings)


def test_a_node_without_flexvol_is_told_beside_those_that_are_full() -> None:
    excluded = node("node3")
    excluded["metadata"]["labels"]["flexvol/exclude"] = "true"
    windows = node("node4")
    windows["metadata"]["labels"]["kubernetes.io/os"] = "windows"
    there = scene(
        pools={"node1": [pool(free=0)]},
        nodes=[node("node1"), node("node2"), excluded, windows],
        ours={"node1": Node("node1", "flexvol/p", (DRIVER,), "node1")},
    )

    told = [one.sentence for one in reasons.on_rooms(claim("data"), storage_class(), there)]

    assert told[0].startswith("no node has room for 1024 MiB: the most is 0 MiB, on node1")
    assert told[1].startswith("no pod of flexvol that serves flexvol/loop is on node node2; see")
    assert told[2].startswith("node node3 has the label flexvol/exclude, so flexvol is not there")
    assert told[2].endswith("kubectl label node NODE flexvol/exclude-")


def test_nodes_that_did_not_answer_are_told_once_the_others_cannot_take_the_claim() -> None:
    silent = {("node1", DRIVER): "node node1 did not answer"}
    full = scene(pools={"node2": [pool(free=0)]}, silent=silent)
    known = full._replace(published={"fast": {"node1": 8 * GIB}})

    told = [one.sentence for one in reasons.on_rooms(claim("data"), storage_class(), full)]
    fits = reasons.on_rooms(claim("data"), storage_class(), known)

    assert "node node1 did not answer" in told
    assert not any(one.is_wrong for one in fits)  # what was published last


def test_where_flexvol_runs_nowhere_for_the_class_that_is_the_cause() -> None:
    (finding,) = reasons.on_rooms(claim("data"), storage_class(), scene(pools={}, ours={}))

    assert "no pod of flexvol that serves flexvol/loop is on nodes node1, node2" in finding.sentence
    assert finding.is_wrong


SNAPSHOT = {
    "name": "before",
    "kind": "snapshot",
    "owner": {"namespace": "shop"},
    "pool": "default",
    "sizeBytes": GIB,
}
FROM = {decide.FROM_SNAPSHOT: "before"}
OF_CLAIM: dict[str, Any] = {"dataSource": {"kind": "PersistentVolumeClaim", "name": "old"}}
FULL = {"node1": [pool(free=0)], "node2": [pool()]}


@pytest.mark.parametrize(
    ("asked", "there", "words"),
    [
        pytest.param(
            claim("data", notes=FROM),
            scene(),
            "no node has a snapshot 'before' of namespace shop",
            id="a snapshot that no node has",
        ),
        pytest.param(
            claim("data", notes=FROM),
            scene(listed=[{**SNAPSHOT, "owner": {"namespace": "bank"}}]),
            "no node has a snapshot 'before' of namespace shop",
            id="a snapshot of another namespace",
        ),
        pytest.param(
            claim("data", notes=FROM),
            scene(silent={("node2", DRIVER): "x"}),
            "no node that answered has a snapshot 'before' of namespace shop; node node2 did not",
            id="a snapshot that a silent node may have",
        ),
        pytest.param(
            claim("data", notes=FROM),
            scene(listed=[SNAPSHOT], pools=FULL),
            "the snapshot before is on node node1, so the copy is made there, and pool default has "
            "room for 0 B there",
            id="a snapshot whose node is full",
        ),
        pytest.param(
            claim("data", notes=FROM, size="512Mi"),
            scene(listed=[SNAPSHOT]),
            "before has 1 GiB, and the claim asks for 512 MiB; a copy is as large as its source",
            id="a claim smaller than its snapshot",
        ),
        pytest.param(
            claim("data", notes=FROM),
            scene(listed=[{**SNAPSHOT, "pool": "ssd"}]),
            "the snapshot before is in pool ssd of node node1",
            id="a snapshot in another pool than the class's",
        ),
        pytest.param(
            claim("data", **OF_CLAIM), scene(), "is not there, or not bound", id="no source claim"
        ),
        pytest.param(
            claim("data", **OF_CLAIM),
            scene([claim("old", "pv-old")], [volume("pv-old", "node1", "old")], FULL),
            "the volume of the claim old is on node node1, so the copy is made there, and pool",
            id="a source claim whose node is full",
        ),
        pytest.param(
            claim("data", notes=FROM), scene(listed=[SNAPSHOT]), "", id="a snapshot with room"
        ),
        pytest.param(claim("data"), scene(), "", id="no copy at all"),
    ],
)
def test_a_copy_is_told_what_its_source_hinders(asked: Object, there: Scene, words: str) -> None:
    findings = reasons.on_source(asked, storage_class(), there)

    assert [one.is_wrong for one in findings] == [True] * bool(words)
    assert words in "".join(one.sentence for one in findings)


def test_a_pod_with_a_volume_elsewhere_than_its_copys_source_is_told_so() -> None:
    there = scene([*BOUND, claim("copy", notes=FROM)], AT_NODE1, listed=[])
    at_node2 = there._replace(
        listed={**there.listed, ("node2", DRIVER): Listed([SNAPSHOT], [pool()])}
    )

    findings = reasons.on_pod(pod("data", "copy"), at_node2)

    assert "data on node node1 and copy on node node2" in findings[0].sentence


def test_a_pod_of_a_copy_is_not_told_that_the_copy_is_there() -> None:
    cordoned = [node("node1", unschedulable=True), node("node2")]
    there = scene([claim("copy", notes=FROM)], nodes=cordoned, listed=[SNAPSHOT])

    first, *_ = reasons.on_pod(pod("copy"), there)

    assert "node1, where the volume of its claim copy has to be made" in first.sentence
    assert "move" not in first.sentence


def of_ours(trouble: str) -> dict[str, Node]:
    return {"node1": Node("node1", "flexvol/p-1", (DRIVER,), "node1", trouble)}


@pytest.mark.parametrize(
    ("chosen", "there", "words", "is_wrong"),
    [
        pytest.param("node1", scene(), "is being made on node node1", False, id="all is well"),
        pytest.param(
            "node9",
            scene(),
            "no pod of flexvol that serves flexvol/loop is on that node",
            True,
            id="no pod",
        ),
        pytest.param(
            "node2",
            scene(
                nodes=[node("node1"), labelled("node2", "node2", **{"flexvol/exclude": ""})],
                ours=of_ours(""),
            ),
            "that node has the label flexvol/exclude, so flexvol is not there (undone by: kubectl "
            "label node node2 flexvol/exclude-)",
            True,
            id="a node that was excluded meanwhile",
        ),
        pytest.param(
            "node1",
            scene(ours=of_ours("its container install waits: CrashLoopBackOff")),
            "by flexvol's pod p-1, which does not work: its container install waits",
            True,
            id="flexvol's own pod does not run",
        ),
        pytest.param(
            "node1",
            scene(nodes=[node("node1", ready="False")]),
            "that node is not ready: no kubelet",
            True,
            id="the chosen node is down",
        ),
        pytest.param(
            "node1",
            scene(nodes=[node("node1", ready="False", unschedulable=True)]),
            "that node is not ready: no kubelet",
            True,
            id="the chosen node is down, and cordoned for that",
        ),
    ],
)
def test_a_chosen_node_is_told_with_what_hinders_it(
    chosen: str, there: Scene, words: str, is_wrong: bool
) -> None:
    finding = reasons.on_making(chosen, DRIVER, there)

    assert words in finding.sentence
    assert finding.is_wrong == is_wrong


DELETES = decide.Decision(decide.DELETE)
ARCHIVES = {"name": "a", "onDelete": "archive", "archiveSeconds": 720 * 3600, "blank": False}


@pytest.mark.parametrize(
    ("decision", "entry", "words"),
    [
        pytest.param(DELETES, {"name": "a"}, "deletes the volume and its data", id="deleted"),
        pytest.param(
            DELETES,
            ARCHIVES,
            "archives the volume: its data is kept for 720 hours in which its node is up",
            id="archived for some time",
        ),
        pytest.param(
            DELETES,
            {**ARCHIVES, "archiveSeconds": 0},
            "its data is kept until somebody deletes it",
            id="archived for ever",
        ),
        pytest.param(
            DELETES, {**ARCHIVES, "blank": True}, "which was never mounted", id="nothing to archive"
        ),
        pytest.param(DELETES, {}, "or archives it, if its class said", id="a node that is silent"),
        pytest.param(
            DELETES,
            {"name": "a", "error": "volume.json is missing"},
            "or archives it, if its class said",
            id="a record that cannot be read",
        ),
        pytest.param(
            decide.Decision(decide.KEEP, "it keeps it"),
            {"name": "a"},
            "leaves the volume",
            id="kept",
        ),
    ],
)
def test_what_deleting_the_claim_does_to_the_data(
    decision: decide.Decision, entry: Object, words: str
) -> None:
    finding = reasons.on_deletion(decision, volume("pv", "node1", "data"), entry, is_used=False)

    assert words in finding.sentence
    assert ("deletes the volume and its data" in finding.sentence) == (
        decision == DELETES and entry.get("onDelete") != "archive"
    )


def test_a_claim_of_an_ephemeral_volume_goes_with_its_pod() -> None:
    owned = claim("web-scratch", "pv")
    owned["metadata"]["ownerReferences"] = [{"kind": "Pod", "name": "web", "uid": "uid-web"}]

    (finding,) = reasons.on_owner(owned)

    assert "is deleted with that pod" in finding.sentence
    assert reasons.on_pod(pod(**EPHEMERAL), scene([owned], [volume("pv", "node1", "x")])) == [
        Finding("pod web uses the claim, and the scheduler says: 0/2 nodes are available", True)
    ]
