"""The drivers of the nodes, reached through the nodes' own pods: by `exec`, a right that a person
has and no pod."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Collection
from typing import Any, NamedTuple

import caller
import protocol
from controller import cluster
from controller.storage import DRIVERS, PLUGIN_DIRECTORY, Listed, Storage, executable

Key = tuple[str, str]
_APPS = ("flexvol-node", "flexvol-shared")  # what deploy/ calls the pods that make volumes
_AT_ONCE = 16
_BEYOND_SECONDS = 15  # a driver's own limit, to reach the node and to hear of it


class Node(NamedTuple):
    """A node with flexvol on it; without a name for storage that is reachable from everywhere. pod:
    as Cluster.execute
    wants it. drivers: which its provisioner serves."""

    name: str
    pod: str
    drivers: tuple[str, ...]


class NodeStorage(Storage):
    """As Storage, on another node. All its calls raise Refused and Unreachable too."""

    def __init__(self, api: cluster.Cluster, node: Node) -> None:
        super().__init__(PLUGIN_DIRECTORY)
        self._api, self._node = api, node

    def _call(self, driver: str, callout: str, **arguments: Any) -> protocol.Reply:
        line = [executable(PLUGIN_DIRECTORY, driver), *caller.command_line(callout, **arguments)]
        seconds = protocol.CALLOUTS[callout].seconds + _BEYOND_SECONDS
        status, printed, errors = self._api.execute(self._node.pod, line, seconds=seconds)
        return caller.parse(callout, printed + errors.encode(), status)


def find(api: cluster.Cluster, namespace: str) -> dict[str, Node]:
    """By name, those that have a pod of ours, whatever its state. namespace: where flexvol is
    installed."""
    pods = sorted(
        api.items(f"/api/v1/namespaces/{namespace}/pods"), key=_worth
    )  # of two on one node, the last
    found = {}
    for pod in pods:
        app, spec = (pod["metadata"].get("labels") or {}).get("app"), pod["spec"]
        if app in _APPS and spec.get("nodeName"):
            name = spec["nodeName"] if app == _APPS[0] else ""
            found[name] = Node(
                name, f"{namespace}/{pod['metadata']['name']}", _drivers(spec["containers"][0])
            )
    return found


def _drivers(container: dict[str, Any]) -> tuple[str, ...]:
    words = [part for word in container.get("args") or [] for part in word.split("=", 1)]
    return (
        tuple(after for word, after in itertools.pairwise(words) if word == "--driver") or DRIVERS
    )


def _worth(pod: dict[str, Any]) -> tuple[bool, bool]:
    return not pod["metadata"].get("deletionTimestamp"), pod["status"].get("phase") == "Running"


def nowhere(namespace: str) -> protocol.Unavailable:
    return protocol.Unavailable(
        f"there is no pod of flexvol in namespace {namespace}; --namespace says where it is"
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
    silent = {
        (
            node.name,
            driver,
        ): f"the pod {node.pod} did not answer in time; see: kubectl describe node"
        + (f" {node.name}" if node.name else "s")
        for node, driver in asked
    }

    def ask(node: Node, driver: str) -> None:
        try:
            listed[node.name, driver] = NodeStorage(api, node).list(driver)
            del silent[node.name, driver]
        except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
            silent[node.name, driver] = str(error)

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


def hostname(api: cluster.Cluster, name: str) -> str:
    """The node's own label, which need not be its name. Raises Unavailable if it has none."""
    node = api.get(f"{cluster.NODES}/{name}") or {"metadata": {}}
    label = (node["metadata"].get("labels") or {}).get("kubernetes.io/hostname", "")
    if not label:
        raise protocol.Unavailable(
            f"node {name} has no label kubernetes.io/hostname, which kubelet sets; restart that "
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
