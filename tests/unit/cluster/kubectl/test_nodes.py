"""What a node's pod tells of it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.controller import cluster
from cluster.controller.objects import Pod
from cluster.controller.storage import Listed
from cluster.kubectl import nodes
from cluster.kubectl.nodes import FlexvolNode, FlexvolPod
from shared import protocol

NODE_MODE = ["--node=x"]


def flexvol(
    node: str = "node1", args: Any = NODE_MODE, app: str = "flexvol-node", **more: Any
) -> dict[str, Any]:
    """A pod of flexvol on that node."""
    return {
        "metadata": {"name": f"p-{node}", "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"args": args}]},
        "status": {"phase": "Running"},
        **more,
    }


def found(*pods: dict[str, Any]) -> dict[str, FlexvolNode]:
    api: Any = SimpleNamespace(items=lambda path: pods)
    return nodes.find(api, "flexvol")


@pytest.mark.parametrize(
    ("args", "drivers"),
    [
        pytest.param(
            ["--node=x", "--health-port=9808"], ("flexvol/loop",), id="no driver is named"
        ),
        pytest.param(
            ["--node=x", "--driver=flexvol/directory"],
            ("flexvol/directory",),
            id="another driver is named",
        ),
        pytest.param(
            ["--driver", "a/b", "--driver=c/d", "--node", "x"],
            ("a/b", "c/d"),
            id="two drivers are named",
        ),
    ],
)
def test_the_drivers_of_a_node_are_those_that_its_provisioner_serves(
    args: Any, drivers: tuple[str, ...]
) -> None:
    assert found(flexvol(args=args))["node1"].drivers == drivers


@pytest.mark.parametrize(
    ("args", "identity"),
    [
        pytest.param(
            ["--identity=shared", "--driver=a/b"],
            "shared",
            id="in the option's word",
        ),
        pytest.param(["--identity", "one"], "one", id="in the next word"),
        pytest.param(["--identity=$(NAME)"], "", id="in an environment variable"),
    ],
)
def test_the_identity_of_shared_storage_is_that_of_its_provisioner(
    args: Any, identity: str
) -> None:
    (pod,) = found(flexvol(args=args, app="flexvol-shared"))[""].pods
    assert pod.identity == identity


def test_a_command_about_a_nodes_pvs_knows_each_driver_that_is_served_there() -> None:
    two = ["--node=x", "--driver=flexvol/loop", "--driver=flexvol/directory"]
    pods = [flexvol("node1"), flexvol("node2", two)]
    api: Any = SimpleNamespace(items=lambda path: pods)

    assert nodes.served(api, "flexvol") == {"flexvol/loop", "flexvol/directory"}


def test_of_two_pods_on_a_node_the_one_that_runs_and_is_not_about_to_go_is_asked() -> None:
    def pod(name: str, phase: str, deleted: str | None = None) -> dict[str, Any]:
        metadata = {"name": name, "labels": {"app": "flexvol-node"}, "deletionTimestamp": deleted}
        return flexvol(metadata=metadata, status={"phase": phase})

    going = pod("going", "Running", "now")
    pending = pod("pending", "Pending")
    best = pod("best", "Running")

    assert found(best, going, pending)["node1"].pod_of("flexvol/loop").name == "flexvol/best"
    assert found(pending, going)["node1"].pod_of("flexvol/loop").name == "flexvol/pending"


def of_own_driver(name: str, *args: str, **more: Any) -> dict[str, Any]:
    """A pod that serves a driver of one's own beside flexvol-node."""
    pod = flexvol(args=[*args, f"--driver=flexvol/{name}"], app=f"flexvol-driver-{name}", **more)
    return {**pod, "metadata": {**pod["metadata"], "name": name}}


def test_each_driver_of_a_node_is_asked_in_the_pod_that_serves_it() -> None:
    node = found(flexvol(), of_own_driver("quota", "--node=x"))["node1"]

    assert node.drivers == ("flexvol/loop", "flexvol/quota")
    assert node.pod_of("flexvol/loop").name == "flexvol/p-node1"
    assert node.pod_of("flexvol/quota").name == "flexvol/quota"
    assert node.pod_of("flexvol/by-hand").name == "flexvol/p-node1"


def test_each_storage_that_every_node_reaches_has_the_identity_of_its_own_pod() -> None:
    node = found(of_own_driver("nfs", "--identity=nfs"), of_own_driver("cifs", "--identity=smb"))[
        ""
    ]

    assert node.pod_of("flexvol/nfs").identity == "nfs"
    assert node.pod_of("flexvol/cifs").identity == "smb"


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(flexvol(args=["--cluster"], app="flexvol-cluster"), id="the cluster's duties"),
        pytest.param(flexvol(args=None, app="flexvol-install-nfs"), id="an installer"),
        pytest.param(flexvol(app="web"), id="somebody else's pod"),
    ],
)
def test_a_pod_that_makes_no_volumes_is_not_asked(pod: dict[str, Any]) -> None:
    assert found(pod) == {}


def test_the_pods_of_a_driver_are_shown_by_their_label() -> None:
    assert nodes.pods_serving("flexvol/loop").endswith("-l app=flexvol-node")
    assert "flexvol-driver-quota" in nodes.pods_serving("flexvol/quota")


def of_ours(phase: str = "Running", **status: Any) -> dict[str, Any]:
    return {"metadata": {}, "status": {"phase": phase, **status}}


def container(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "install", "state": state}]


BACK_OFF = {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}


@pytest.mark.parametrize(
    ("pod", "trouble"),
    [
        pytest.param(of_ours(), "", id="a pod that runs"),
        pytest.param(
            of_ours(conditions=[{"type": "Ready", "status": "False"}]),
            "it is not ready",
            id="a pod whose probe fails",
        ),
        pytest.param(
            of_ours("Pending"),
            "it is Pending",
            id="a pod that was not started yet",
        ),
        pytest.param(
            of_ours("Pending", initContainerStatuses=container(waiting=BACK_OFF)),
            "its container install waits: CrashLoopBackOff (back-off 5m0s)",
            id="an install that fails again and again",
        ),
        pytest.param(
            of_ours("Pending", containerStatuses=container(waiting={"reason": "ErrImagePull"})),
            "its container install waits: ErrImagePull",
            id="an image that is not there",
        ),
        pytest.param(
            of_ours("Pending", containerStatuses=container(waiting={"reason": "PodInitializing"})),
            "it is Pending",
            id="a container that waits for its turn",
        ),
        pytest.param(
            of_ours("Pending", initContainerStatuses=container(terminated={"exitCode": 1})),
            "its container install ended with status 1 (Error)",
            id="an install that failed just now",
        ),
        pytest.param(
            {"metadata": {"deletionTimestamp": "now"}, "status": {"phase": "Running"}},
            "it is being deleted",
            id="a pod that is about to go",
        ),
    ],
)
def test_a_pod_of_ours_that_does_not_work_is_told_from_one_that_does(
    pod: dict[str, Any], trouble: str
) -> None:
    assert nodes.trouble_of(Pod(pod)) == trouble


LOOP = "flexvol/loop"


def a_node(trouble: str = "", name: str = "node1") -> FlexvolNode:
    return FlexvolNode(name, (FlexvolPod("flexvol/flexvol-node-x", (LOOP,), "node1", trouble),))


WELL = a_node()
DIALING = "exec loop in flexvol/flexvol-node-x: 500 error dialing backend: dial tcp 10.0.0.1:10250"


@pytest.mark.parametrize(
    ("node", "error", "sentence"),
    [
        pytest.param(WELL, cluster.Refused(500, DIALING), "its kubelet cannot", id="kubelet down",),
        pytest.param(WELL, cluster.Unreachable("cut"), "its kubelet cannot", id="a cut answer",),
        pytest.param(WELL, None, "node node1 did not answer", id="no answer in time"),
        pytest.param(
            a_node("it is not ready"),
            cluster.Refused(500, DIALING),
            "node node1 did not answer: its kubelet cannot be reached",
            id="a node that is down, whose pods count as not ready",
        ),
        pytest.param(
            a_node("it is not ready"),
            None,
            "node node1 did not answer: its kubelet cannot be reached, or hangs",
            id="a node that hangs, whose pods count as not ready",
        ),
        pytest.param(
            a_node("it is Pending"),
            cluster.Refused(404, "no container"),
            "of node node1 did not answer: it is Pending; see: kubectl -n flexvol describe pod",
            id="a pod that does not run",
        ),
        pytest.param(
            WELL,
            cluster.Refused(403, 'user "x" cannot create resource "pods/exec" in API group'),
            'your account may not do that: cannot create resource "pods/exec"',
            id="no right to exec",
        ),
        pytest.param(
            WELL, protocol.Unavailable("the disk hangs"), "cannot list its volumes: the disk hangs",
            id="a driver that fails",
        ),
        pytest.param(
            WELL, cluster.Refused(500, "no such file"), "could not be asked: no such file",
            id="a driver that is not installed",
        ),
        pytest.param(
            a_node(name=""), None, "the pod flexvol/flexvol-node-x did not answer",
            id="storage of no single node",
        ),
    ],
)  # fmt: skip
def test_a_node_that_cannot_be_asked_is_one_plain_sentence(
    node: FlexvolNode, error: Exception | None, sentence: str
) -> None:
    said = nodes.why_silent(node, LOOP, error)

    assert sentence in said
    assert "dial tcp" not in said


def test_what_the_nodes_list_stands_in_the_order_of_the_nodes_whoever_answers_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each node answers after the node behind it has answered."""
    names = ["node1", "node2", "node3", "node4"]
    answered = {name: threading.Event() for name in [*names, "none"]}
    answered["none"].set()
    following = dict(zip(names, [*names[1:], "none"], strict=True))

    class Slow:
        def __init__(self, _: Any, node: FlexvolNode) -> None:
            self._node = node.name

        def list(self, _: str) -> Listed:
            assert answered[following[self._node]].wait(30)
            answered[self._node].set()
            return Listed([], [])

    monkeypatch.setattr(nodes, "NodeStorage", Slow)
    flexvol_nodes = [
        FlexvolNode(name, (FlexvolPod(f"flexvol/{name}", ("a/b",), name),)) for name in names
    ]
    api: Any = None

    listed, silent = nodes.list_all(api, flexvol_nodes)

    assert [node for node, _ in listed] == names
    assert silent == {}
