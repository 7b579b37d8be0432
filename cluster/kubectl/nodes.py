"""The drivers of the nodes, reached through the nodes' own pods: by `exec`, a right that a person
has and no pod."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from cluster.controller import cluster
from cluster.controller.objects import HOSTNAME, Node, Object, Pod, table
from cluster.controller.served import option_values
from cluster.controller.storage import (
    DRIVERS,
    PLUGIN_DIRECTORY,
    Listed,
    Storage,
    executable,
)
from shared import caller, options, protocol

Key = tuple[str, str]  # the names of a node and of a driver
# How the label `app` of flexvol's pods begins: flexvol-node, flexvol-shared, and
# flexvol-driver-NAME for a driver of one's own.
_APP_PREFIX = "flexvol-"
# Why a container waits that is being started.
BEGINNING = ("ContainerCreating", "PodInitializing")
_AT_ONCE = 16  # nodes that are asked at the same time
_BEYOND_SECONDS = 15  # for the way to a node and back, on top of a driver's own limit
_FORBIDDEN = (401, 403)


class FlexvolPod(NamedTuple):
    """A pod whose provisioner makes volumes.

    name: as Cluster.execute wants it: NAMESPACE/NAME.
    drivers: those that the pod's provisioner serves.
    identity: of that provisioner, which its PVs name; "" if the pod's arguments do not tell it.
    trouble: why the pod does not work; "" if it does."""

    name: str
    drivers: tuple[str, ...]
    identity: str
    trouble: str = ""


class FlexvolNode(NamedTuple):
    """A node with flexvol on it; without a name for storage that every node reaches.

    pods: at least one, those that work first. A driver of one's own has a pod of its own on each
        node."""

    name: str
    pods: tuple[FlexvolPod, ...]

    @property
    def drivers(self) -> tuple[str, ...]:
        """The drivers that the pods serve."""
        return tuple(dict.fromkeys(driver for pod in self.pods for driver in pod.drivers))

    def pod_of(self, driver: str) -> FlexvolPod:
        """The pod that serves the driver. A driver that no pod serves may be installed even so: any
        pod finds its file."""
        for pod in self.pods:
            if driver in pod.drivers:
                return pod
        return self.pods[0]


class NodeStorage(Storage):
    """As Storage, on another node. All its calls raise Refused and Unreachable too."""

    def __init__(self, api: cluster.Cluster, node: FlexvolNode) -> None:
        super().__init__(PLUGIN_DIRECTORY)
        self._api = api
        self._node = node

    def delete_by_hand(self, driver: str, request: options.Options) -> str:
        """As delete; returns the driver's message, for the person who asked."""
        return self._counted(driver, "delete", request).message

    def _call(
        self,
        driver: str,
        callout: str,
        **arguments: Any,
    ) -> protocol.Reply:
        line = [executable(PLUGIN_DIRECTORY, driver), *caller.command_line(callout, **arguments)]
        seconds = protocol.CALLOUTS[callout].seconds + _BEYOND_SECONDS
        pod = self._node.pod_of(driver).name
        status, printed, errors = self._api.execute(pod, line, seconds=seconds)
        return caller.parse(callout, printed + errors.encode(), status)


def find(api: cluster.Cluster, namespace: str) -> dict[str, FlexvolNode]:
    """The nodes with a pod of flexvol, in any state, by name. namespace: where flexvol is
    installed."""
    pods = [Pod(pod) for pod in api.items(cluster.in_namespace(namespace, "pods"))]
    # Of two pods that serve a driver on one node, the first one counts.
    pods.sort(key=lambda pod: (pod.is_being_deleted, pod.phase != "Running"))
    by_node: dict[str, list[FlexvolPod]] = {}
    for pod in pods:
        if pod.node_name and pod.labels.get("app", "").startswith(_APP_PREFIX):
            for name, flexvol_pod in _of_provisioner(pod, namespace):
                by_node.setdefault(name, []).append(flexvol_pod)
    return {name: FlexvolNode(name, tuple(of_node)) for name, of_node in by_node.items()}


def _of_provisioner(pod: Pod, namespace: str) -> Iterator[tuple[str, FlexvolPod]]:
    """The pod by the name of its node, which is empty in shared mode; nothing if the pod makes no
    volumes."""
    container = pod.spec["containers"][0]
    if option_values(container, "--node"):
        name = pod.node_name
        identity = name
    elif option_values(container, "--identity"):
        name = ""
        identity = _identity_of(container)
    else:
        return
    drivers = option_values(container, "--driver") or DRIVERS
    yield name, FlexvolPod(f"{namespace}/{pod.name}", drivers, identity, trouble_of(pod))


def _identity_of(container: Object) -> str:
    """Of a provisioner in shared mode; "" if an environment variable holds it."""
    for identity in option_values(container, "--identity"):
        return "" if "$(" in identity else identity
    return ""


def served(api: cluster.Cluster, namespace: str) -> set[str]:
    """The drivers that any node serves: what a command says of all PVs of a node is to be true of
    each."""
    return {driver for node in find(api, namespace).values() for driver in node.drivers}


def pods_serving(driver: str) -> str:
    """The command that shows the pods in which the driver is served."""
    app = "app=flexvol-node"
    if driver not in DRIVERS:
        # One of your own has pods of its own, unless somebody has added it to the nodes' pods.
        name = driver.partition("/")[2]
        app = f"'app in (flexvol-node, flexvol-driver-{name})'"
    return f"kubectl get pods -A -o wide -l {app}"


def trouble_of(pod: Pod) -> str:
    """Why the pod does not do its work, in kubelet's words; empty if it does."""
    for container in pod.containers:
        why = _why_not_running(container)
        if why:
            return f"its container {container['name']} {why}"
    if pod.is_being_deleted:
        return "it is being deleted"
    if pod.phase != "Running":
        return f"it is {pod.phase or 'not started yet'}"
    for condition in pod.conditions:
        if condition["type"] == "Ready":
            return "" if condition["status"] == "True" else "it is not ready"
    return ""


def _why_not_running(container: Object) -> str:
    """Of a container that kubelet cannot start, or that fails again and again."""
    state = table(container.get("state"))
    waiting = table(state.get("waiting"))
    reason = waiting.get("reason")
    if reason and reason not in BEGINNING:
        message = waiting.get("message")
        return f"waits: {reason} ({message})" if message else f"waits: {reason}"
    ended = table(state.get("terminated"))
    if ended.get("exitCode"):
        return f"ended with status {ended['exitCode']} ({ended.get('reason') or 'Error'})"
    return ""


def nowhere(namespace: str) -> protocol.Unavailable:
    """The failure that tells of a namespace without flexvol."""
    return protocol.Unavailable(
        f"no pod of flexvol is in namespace {namespace}; name the namespace "
        "where flexvol is installed: --flexvol-namespace NAMESPACE"
    )


def get(api: cluster.Cluster, namespace: str, name: str) -> FlexvolNode:
    """The node of that name.

    :raises Unavailable: if no pod of flexvol is on it; names the nodes that have one."""
    found = find(api, namespace)
    if not found:
        raise nowhere(namespace)
    if name not in found:
        raise protocol.Unavailable(
            f"no pod of flexvol is on node {name}; nodes with one: {', '.join(sorted(found))}"
        )
    return found[name]


def list_all(
    api: cluster.Cluster,
    nodes: Collection[FlexvolNode],
    drivers: Collection[str] | None = None,
) -> tuple[dict[Key, Listed], dict[Key, str]]:
    """What the drivers list on each node, and why one did not answer; both by the names of node and
    driver, in the order of the nodes.

    drivers: which to ask, instead of those that are served; of storage that every node reaches,
    only if they are served."""
    asked = []
    for node in nodes:
        for driver in drivers or node.drivers:
            if node.name or driver in node.drivers:
                asked.append((node, driver))
    listed: dict[Key, Listed] = {}
    silent = {(node.name, driver): why_silent(node, driver, None) for node, driver in asked}

    def ask(node: FlexvolNode, driver: str) -> None:
        try:
            listed[node.name, driver] = NodeStorage(api, node).list(driver)
            del silent[node.name, driver]
        except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
            silent[node.name, driver] = why_silent(node, driver, error)

    # The threads are daemons, so that none of them is waited for at the end: a node's kubelet may
    # have taken the connection, and hang.
    threads = [threading.Thread(target=ask, args=key, daemon=True) for key in asked]
    for start in range(0, len(threads), _AT_ONCE):
        _run(threads[start : start + _AT_ONCE])
    # A thread that is late may still add its answer: what is returned stays as it is. The threads
    # end in any order.
    answers = dict(listed)
    keys = [(node.name, driver) for node, driver in asked]
    return {key: answers[key] for key in keys if key in answers}, dict(silent)


def _run(threads: list[threading.Thread]) -> None:
    """Returns when all of them have ended, or had the time for it."""
    deadline = time.monotonic() + protocol.CALLOUTS["list"].seconds + _BEYOND_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def why_silent(node: FlexvolNode, driver: str, error: Exception | None) -> str:
    """The sentence about a node whose driver was asked and did not list. error: how the call ended;
    None if it has not ended in time."""
    pod = node.pod_of(driver)
    if isinstance(error, protocol.Failure):
        return _on_failure(node, error)
    forbidden = _on_forbidden(pod, error)
    if forbidden:
        return forbidden
    is_down = error is None or _is_out_of_reach(error)
    # Of a node that is down, Kubernetes says that its pods are not ready: that is no trouble of
    # the pod's own.
    if pod.trouble and not (node.name and is_down):
        return _on_trouble(node, pod)
    if isinstance(error, cluster.Refused) and not is_down:
        return f"the pod {pod.name} of node {node.name or '-'} could not be asked: {error}"
    return _on_no_answer(node, pod)


def _on_failure(node: FlexvolNode, failure: protocol.Failure) -> str:
    where = f" on node {node.name}" if node.name else ""
    return f"the driver{where} cannot list its volumes: {failure}"


def _on_forbidden(pod: FlexvolPod, error: Exception | None) -> str:
    """Empty for any other error."""
    if not isinstance(error, cluster.Refused) or error.status not in _FORBIDDEN:
        return ""
    return (
        f"the pod {pod.name} was not asked, because your account may not do "
        f"that: {error.lacking or error}"
    )


def _on_trouble(node: FlexvolNode, pod: FlexvolPod) -> str:
    namespace, _, name = pod.name.partition("/")
    return (
        f"the pod {pod.name} of node {node.name or '-'} did not answer: "
        f"{pod.trouble}; see: kubectl -n {namespace} describe pod {name}"
    )


def _on_no_answer(node: FlexvolNode, pod: FlexvolPod) -> str:
    if node.name:
        return (
            f"node {node.name} did not answer: its kubelet cannot be reached, "
            f"or hangs; see: kubectl describe node {node.name}"
        )
    namespace, _, _ = pod.name.partition("/")
    return f"the pod {pod.name} did not answer; see: kubectl -n {namespace} get pods -o wide"


def _is_out_of_reach(error: Exception) -> bool:
    """Whether the API server says that it cannot reach the kubelet
    (apiserver, pkg/util/proxy: "error dialing backend")."""
    if not isinstance(error, cluster.Refused):
        return False
    return error.status in (502, 503, 504) or "error dialing backend" in str(error)


def hostname(api: cluster.Cluster, name: str) -> str:
    """The node's own hostname label, which need not be its name.

    :raises Unavailable: if it has none."""
    node = Node.of(api.get(cluster.path_to(cluster.NODES, name)))
    if node is None or not node.hostname:
        raise protocol.Unavailable(
            f"node {name} has no label {HOSTNAME}, which kubelet sets; restart that node's kubelet"
        )
    return node.hostname


def cluster_uid(api: cluster.Cluster) -> str:
    """As Cluster.uid.

    :raises Unavailable: if there is none."""
    uid = api.uid()
    if not uid:
        raise protocol.Unavailable(
            "there is no namespace kube-system, whose uid stands for the cluster"
        )
    return uid
