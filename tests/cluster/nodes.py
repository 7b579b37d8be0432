"""What lies on the nodes of the cluster: the driver, and a pool with its volumes."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator

from tests.cluster.kube import cluster as kube
from tests.cluster.kube.cluster import Cluster
from tests.cluster.kube.node import Node
from tests.cluster.namespaces import Kubernetes, Object, pod
from tests.waiting import wait_until

DRIVER = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/flexvol~loop/loop"
SHARED = kube.STORAGE / "shared"  # the volumes of tests/drivers/shared
POOL = "/var/lib/flexvol/default"


def volumes_on(cluster: kube.Cluster, *nodes: str) -> set[str]:
    """The names of the volumes in the default pools of these nodes, or of all; hidden ones too, as
    a leak is one."""
    names: set[str] = set()
    for node in nodes or cluster.nodes:
        names |= {entry.name for entry in cluster.nodes[node].path(POOL).iterdir()}
    return names - {"pool.json", ".locks"}


@contextlib.contextmanager
def cordoned(k8s: Kubernetes, node: str) -> Iterator[None]:
    """No new pod goes to the node meanwhile: the scheduler has seen the cordon before this goes
    on."""
    k8s.cluster.kubectl("cordon", node, capture_output=True)
    try:
        wait_until("the scheduler has seen the cordon", lambda: _is_refused(k8s, node))
        yield
    finally:
        k8s.cluster.kubectl("uncordon", node, capture_output=True)


def _is_refused(k8s: Kubernetes, node: str) -> bool:
    """Whether the scheduler leaves a pod waiting that may run on this node only."""
    name = "probe-" + uuid.uuid4().hex[:8]
    volumes: list[Object] = [{"name": "none", "emptyDir": {}}]
    k8s.apply(pod(name, volumes, nodeSelector={"kubernetes.io/hostname": node}))

    def decision() -> str:
        conditions = k8s.find("pod", name)["status"]["conditions"]
        (scheduled,) = [one for one in conditions if one["type"] == "PodScheduled"]
        return str(scheduled["status"])

    decided: str = wait_until(f"the scheduler has looked at pod {name}", decision)
    k8s.run("delete", "pod", name, "--force")
    return decided == "False"


def set_reserve(node: Node, reserve: str) -> str:
    """What the node's default pool keeps free from now on; returns what it kept free before."""
    path = node.path(POOL) / "pool.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "reserve": reserve}))
    return str(settings["reserve"])


def unmount(node: Node, path: str) -> None:
    """Waits while a driver that lists its pools has something open there."""

    def is_unmounted() -> bool:
        done = node.enter("umount", path, check=False, capture_output=True)
        return bool(done.returncode == 0)

    wait_until(f"{path} is unmounted", is_unmounted)


GIB = 1 << 30


@contextlib.contextmanager
def reserved(k8s: Kubernetes, node: str, reserve: str) -> Iterator[None]:
    """An administrator keeps so much of the node's pool in reserve meanwhile."""
    before = set_reserve(k8s.cluster.nodes[node], reserve)
    try:
        yield
    finally:
        set_reserve(k8s.cluster.nodes[node], before)


def full(k8s: Kubernetes, node: str) -> contextlib.AbstractContextManager[None]:
    """The node's pool has no room to promise meanwhile."""
    return reserved(k8s, node, "100%")


def left(k8s: Kubernetes, node: str, room: int) -> contextlib.AbstractContextManager[None]:
    """The node's pool has about so many bytes to promise meanwhile."""
    answer = json.loads(k8s.cluster.nodes[node].enter(DRIVER, "list", capture_output=True).stdout)
    (pool,) = answer["pools"]
    return reserved(k8s, node, str(pool["reserveBytes"] + pool["freeBytes"] - room))


def record(cluster: Cluster, name: str) -> Object:
    (node,) = [node for node, names in everything(cluster).items() if name in names]
    found: Object = json.loads(cluster.nodes[node].path(f"{POOL}/{name}/volume.json").read_text())
    return found


def everything(cluster: Cluster) -> dict[str, set[str]]:
    return {node: volumes_on(cluster, node) for node in cluster.nodes}


def by_hand(cluster: Cluster, node: str, callout: str, name: str, **keys: str) -> None:
    """A call of the driver, until it succeeds: a volume may still be in use."""
    options = {
        "pvOrVolumeName": name,
        "pvc.namespace": "gone",
        "pvc.name": name,
        "pvc.uid": "gone",
        **keys,
    }
    options = {
        key if key in ("pool", "poolId") else f"kubernetes.io/{key}": value
        for key, value in options.items()
    }
    if callout == "provision":
        options["requestBytes"] = str(32 << 20)

    def done() -> bool:
        answer = (
            cluster.nodes[node]
            .enter(DRIVER, callout, json.dumps(options), capture_output=True)
            .stdout
        )
        return bool(json.loads(answer)["status"] == "Success")

    wait_until(f"{callout} {name}", done)
