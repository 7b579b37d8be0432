"""Which nodes have room for a claim, and why none takes it: a row for each cause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller.objects import HOSTNAME, Object
from cluster.kubectl.explain.findings import Finding
from tests.unit.cluster.kubectl.explain.scenes import (
    DRIVER,
    GIB,
    TAINT,
    TOLERATION,
    claim,
    flexvol,
    node,
    of_rooms,
    pod,
    pool,
    scene,
    storage_class,
)

AWAY = "pool default is not mounted"
OTHER_ZONE = [{"matchLabelExpressions": [{"key": "kubernetes.io/hostname", "values": ["node2"]}]}]
NOWHERE = [{"matchLabelExpressions": [{"key": "zone", "values": ["c"]}]}]


@pytest.mark.parametrize(
    ("of_class", "pools", "words"),
    [
        pytest.param(
            storage_class(pool="fasst"),
            {"node1": [pool(), pool("fast")], "node2": [pool()]},
            (
                "no node has the pool fasst that its storage class fast asks for; "
                "pools there are: default, fast",
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
    findings = of_rooms(claim("data"), of_class, scene(pools=pools))

    told = "\n".join(one.sentence for one in findings if one.is_wrong)
    assert all(part in told for part in words), told


def test_a_claim_that_fits_on_one_node_is_told_the_room_and_nothing_wrong() -> None:
    pools = {"node1": [pool(free=GIB)], "node2": [pool(cordoned=True)]}

    assert of_rooms(claim("data"), storage_class(), scene(pools=pools)) == [
        Finding("room for its class: node1 1 GiB", False)
    ]


def test_of_many_nodes_those_with_the_most_room_are_named() -> None:
    names = [f"n{number:02}" for number in range(40)]
    there = scene(
        pools={name: [pool(free=number * GIB)] for number, name in enumerate(names)},
        nodes=[node(name) for name in names],
        flexvol_nodes={name: flexvol(name) for name in names},
    )

    assert of_rooms(claim("data"), storage_class(), there) == [
        Finding(
            "room for its class: n39 39 GiB, n38 38 GiB, n37 37 GiB, n36 36 GiB, n35 "
            "35 GiB, and 35 more nodes with no more",
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
        flexvol_nodes={name: flexvol(name) for name in pools},
    )

    findings = of_rooms(claim("data"), storage_class(), there)

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

    first, *_ = of_rooms(claim("data"), storage_class(), cordoned)

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
            "node node1 has room for it, but has the taint "
            "node-role.kubernetes.io/control-plane:NoSchedule, which the pod does "
            "not tolerate",
            id="room on a control-plane node alone",
        ),
        pytest.param(
            {},
            pod("data", nodeSelector={HOSTNAME: "node2"}),
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

    told = of_rooms(asked, storage_class(), there, [waits])
    also = of_rooms(asked, storage_class(), there, [waits, pod("data", nodeName="node1")])
    at_once = of_rooms(asked, storage_class(late=False), there, [waits])

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

    findings = of_rooms(claim("data"), storage_class(), there, pods)

    assert not any(one.is_wrong for one in findings)


def test_a_node_without_flexvol_is_told_beside_those_that_are_full() -> None:
    excluded = node("node3")
    excluded["metadata"]["labels"]["flexvol/exclude"] = "true"
    windows = node("node4")
    windows["metadata"]["labels"]["kubernetes.io/os"] = "windows"
    there = scene(
        pools={"node1": [pool(free=0)]},
        nodes=[node("node1"), node("node2"), excluded, windows],
        flexvol_nodes={"node1": flexvol("node1")},
    )

    told = [one.sentence for one in of_rooms(claim("data"), storage_class(), there)]

    assert told[0].startswith("no node has room for 1024 MiB: the most is 0 MiB, on node1")
    assert told[1].startswith("no pod of flexvol that serves flexvol/loop is on node node2; see")
    assert told[2].startswith("node node3 has the label flexvol/exclude, so flexvol is not there")
    assert told[2].endswith("kubectl label node NODE flexvol/exclude-")


def test_nodes_that_did_not_answer_are_told_once_the_others_cannot_take_the_claim() -> None:
    silent = {("node1", DRIVER): "node node1 did not answer"}
    full = scene(pools={"node2": [pool(free=0)]}, silent=silent)
    known = full._replace(published={"fast": {"node1": 8 * GIB}})

    told = [one.sentence for one in of_rooms(claim("data"), storage_class(), full)]
    fits = of_rooms(claim("data"), storage_class(), known)

    assert "node node1 did not answer" in told
    assert not any(one.is_wrong for one in fits)  # what was published last


def test_where_flexvol_runs_nowhere_for_the_class_that_is_the_cause() -> None:
    (finding,) = of_rooms(claim("data"), storage_class(), scene(pools={}, flexvol_nodes={}))

    assert "no pod of flexvol that serves flexvol/loop is on nodes node1, node2" in finding.sentence
    assert finding.is_wrong
