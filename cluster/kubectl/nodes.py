"""The drivers of the nodes, reached through the nodes' own pods: by `exec`, a right that a person
has and no pod."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import Any, NamedTuple

from cluster.controller import cluster, decide, lost
from cluster.controller.served import option_values
from cluster.controller.storage import DRIVERS, PLUGIN_DIRECTORY, Listed, Storage, executable
from shared import caller, options, protocol

Key = tuple[str, str]
_APPS = ("flexvol-node", "flexvol-shared")  # what deploy/ calls the pods that make volumes
# Why a container waits that is being started.
BEGINNING = ("ContainerCreating", "PodInitializing")
_AT_ONCE = 16
_BEYOND_SECONDS = 15  # a driver's own limit, to reach the node and to hear of it


class Node(NamedTuple):
    """A node with flexvol on it; without a name for storage that is reachable from everywhere.

    pod: as Cluster.execute wants it.
    drivers: which its provisioner serves.
    identity: of its provisioner, which the PVs that are its own name; "" if that is not told.
    trouble: why its pod does not work; "" if it does."""

    name: str
    pod: str
    drivers: tuple[str, ...]
    identity: str
    trouble: str = ""


class NodeStorage(Storage):
    """As Storage, on another node. All its calls raise Refused and Unreachable too."""

    def __init__(self, api: cluster.Cluster, node: Node) -> None:
        super().__init__(PLUGIN_DIRECTORY)
        self._api, self._node = api, node

    def delete_by_hand(self, driver: str, request: options.Options) -> str:
        """As delete; returns what the driver says of it, for the person who asked."""
        return self._counted(driver, "delete", request).message

    def _call(self, driver: str, callout: str, **arguments: Any) -> protocol.Reply:
        line = [executable(PLUGIN_DIRECTORY, driver), *caller.command_line(callout, **arguments)]
        seconds = protocol.CALLOUTS[callout].seconds + _BEYOND_SECONDS
        status, printed, errors = self._api.execute(self._node.pod, line, seconds=seconds)
        return caller.parse(callout, printed + errors.encode(), status)


def find(api: cluster.Cluster, namespace: str) -> dict[str, Node]:
    """By name, those that have a pod of ours, whatever its state. namespace: where flexvol is
    installed."""
    # Of two on one node, the last counts.
    pods = sorted(api.items(cluster.in_namespace(namespace, "pods")), key=_worth)
    found = {}
    for pod in pods:
        app, spec = (pod["metadata"].get("labels") or {}).get("app"), pod["spec"]
        if app in _APPS and spec.get("nodeName"):
            name = spec["nodeName"] if app == _APPS[0] else ""
            container = spec["containers"][0]
            identity = name or _identity(container)
            path = f"{namespace}/{pod['metadata']['name']}"
            found[name] = Node(name, path, _drivers(container), identity, trouble_of(pod))
    return found


def served(api: cluster.Cluster, namespace: str) -> set[str]:
    """The drivers that any node serves: what a command says of all PVs of a node is to be true of
    each."""
    return {driver for node in find(api, namespace).values() for driver in node.drivers}


def trouble_of(pod: dict[str, Any]) -> str:
    """Why the pod does not do its work, in kubelet's words; empty if it does."""
    status = pod.get("status") or {}
    for container in lost.containers_of(pod):
        why = _why_not_running(container)
        if why:
            return f"its container {container['name']} {why}"
    if pod["metadata"].get("deletionTimestamp"):
        return "it is being deleted"
    if status.get("phase") != "Running":
        return f"it is {status.get('phase') or 'not started yet'}"
    ready = [one for one in status.get("conditions") or [] if one["type"] == "Ready"]
    if ready and ready[0]["status"] != "True":
        return "it is not ready"
    return ""


def _why_not_running(container: dict[str, Any]) -> str:
    """Of a container that kubelet cannot start, or that fails again and again."""
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason") or ""
    if reason and reason not in BEGINNING:
        message = waiting.get("message") or ""
        return f"waits: {reason}" + (f" ({message})" if message else "")
    ended = state.get("terminated") or {}
    if ended.get("exitCode"):
        return f"ended with status {ended['exitCode']} ({ended.get('reason') or 'Error'})"
    return ""


def _drivers(container: dict[str, Any]) -> tuple[str, ...]:
    return option_values(container, "--driver") or DRIVERS


def _identity(container: dict[str, Any]) -> str:
    """Of a provisioner in shared mode; "" if an environment variable holds it."""
    identity = next(iter(option_values(container, "--identity")), "")
    return "" if "$(" in identity else identity


def _worth(pod: dict[str, Any]) -> tuple[bool, bool]:
    return not pod["metadata"].get("deletionTimestamp"), pod["status"].get("phase") == "Running"


def nowhere(namespace: str) -> protocol.Unavailable:
    return protocol.Unavailable(
        f"there is no pod of flexvol in namespace {namespace}; --flexvol-namespace says where it is"
    )


def get(api: cluster.Cluster, namespace: str, name: str) -> Node:
    """The node of that name. Raises Unavailable, naming those that there are."""
    found = find(api, namespace)
    if not found:
        raise nowhere(namespace)
    if name not in found:
        raise protocol.Unavailable(
            f"no pod of flexvol is on node {name}; nodes with one: {', '.join(sorted(found))}"
        )
    return found[name]


def list_all(
    api: cluster.Cluster, nodes: Collection[Node], drivers: Collection[str] | None = None
) -> tuple[dict[Key, Listed], dict[Key, str]]:
    """What the drivers list on each node, and why one did not answer; both by the names of node and
    driver. drivers: which to ask, instead of those that are served; of storage that is reachable
    from everywhere, only if they are."""
    listed: dict[Key, Listed] = {}
    asked = [
        (node, driver)
        for node in nodes
        for driver in drivers or node.drivers
        if node.name or driver in node.drivers
    ]
    silent = {(node.name, driver): why_silent(node, None) for node, driver in asked}

    def ask(node: Node, driver: str) -> None:
        try:
            listed[node.name, driver] = NodeStorage(api, node).list(driver)
            del silent[node.name, driver]
        except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
            silent[node.name, driver] = why_silent(node, error)

    # None of them is waited for at the end: a node's kubelet may have taken the connection, and
    # hang.
    threads = [threading.Thread(target=ask, args=one, daemon=True) for one in asked]
    for start in range(0, len(threads), _AT_ONCE):
        deadline = time.monotonic() + protocol.CALLOUTS["list"].seconds + _BEYOND_SECONDS
        for thread in threads[start : start + _AT_ONCE]:
            thread.start()
        for thread in threads[start : start + _AT_ONCE]:
            thread.join(max(0.0, deadline - time.monotonic()))
    return dict(listed), dict(silent)


def why_silent(node: Node, error: Exception | None) -> str:
    """The sentence about a node whose driver was asked and did not list. error: how the call ended;
    None if it has not ended in time."""
    namespace, _, pod = node.pod.partition("/")
    if isinstance(error, protocol.Failure):
        where = f" on node {node.name}" if node.name else ""
        return f"the driver{where} cannot list its volumes: {error}"
    if isinstance(error, cluster.Refused) and error.status in (401, 403):
        return (
            f"the pod {node.pod} was not asked, because your account may not do that: "
            f"{error.lacking or error}"
        )
    # Of a node that is down, Kubernetes says that its pods are not ready: that is no trouble of
    # the pod's own.
    is_down = error is None or (isinstance(error, cluster.Refused) and _is_out_of_reach(error))
    if node.trouble and not (node.name and is_down):
        return (
            f"the pod {node.pod} of node {node.name or '-'} did not answer: {node.trouble}; see: "
            f"kubectl -n {namespace} describe pod {pod}"
        )
    if isinstance(error, cluster.Refused) and not _is_out_of_reach(error):
        return f"the pod {node.pod} of node {node.name or '-'} could not be asked: {error}"
    if not node.name:
        return f"the pod {node.pod} did not answer; see: kubectl -n {namespace} get pods -o wide"
    return (
        f"node {node.name} did not answer: its kubelet cannot be reached, or hangs; see: kubectl "
        f"describe node {node.name}"
    )


def _is_out_of_reach(error: cluster.Refused) -> bool:
    """Whether the API server says that it cannot reach the kubelet
    (apiserver, pkg/util/proxy: "error dialing backend")."""
    return error.status in (502, 503, 504) or "error dialing backend" in str(error)


def hostname(api: cluster.Cluster, name: str) -> str:
    """The node's own label, which need not be its name. Raises Unavailable if it has none."""
    node = api.get(cluster.path_to(cluster.NODES, name)) or {"metadata": {}}
    label = (node["metadata"].get("labels") or {}).get(decide.HOSTNAME, "")
    if not label:
        raise protocol.Unavailable(
            f"node {name} has no label {decide.HOSTNAME}, which kubelet sets; restart that "
            "node's kubelet"
        )
    return str(label)


def cluster_uid(api: cluster.Cluster) -> str:
    """As Cluster.uid. Raises Unavailable if there is none."""
    uid = api.uid()
    if not uid:
        raise protocol.Unavailable(
            "there is no namespace kube-system, whose uid stands for the cluster"
        )
    return uid
