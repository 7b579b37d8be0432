"""flexvol opens no connection to anything but the API server, and lives where no other is
possible."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from tests.cluster.kube.node import Node
from tests.cluster.namespaces import Kubernetes, Object
from tests.waiting import wait_until

API = "10.96.0.1"
PODS = "10.88.0.0/16"
# Before that address becomes the API server's own; what answers a probe of kubelet belongs to its
# connection.
RULE = (
    "PREROUTING",
    "-s",
    PODS,
    "!",
    "-d",
    API,
    "-m",
    "conntrack",
    "--ctstate",
    "NEW",
    "-j",
    "DROP",
)


@contextlib.contextmanager
def nothing_else_possible(k8s: Kubernetes) -> Iterator[None]:
    """No pod reaches anything but the API server meanwhile; what one tries is counted."""
    nodes = k8s.cluster.nodes.values()
    for node in nodes:
        node.enter("iptables", "-w", "-t", "mangle", "-I", *RULE)
    try:
        yield
    finally:
        for node in nodes:
            node.enter("iptables", "-w", "-t", "mangle", "-D", *RULE)


def tried(node: Node) -> int:
    """How many packets the rule has dropped."""
    shown = node.enter(
        "iptables", "-w", "-t", "mangle", "-S", RULE[0], "-v", capture_output=True
    ).stdout
    (line,) = [line for line in shown.splitlines() if "DROP" in line]
    words = line.split()
    return int(words[words.index("-c") + 1])


def pods(k8s: Kubernetes) -> list[Object]:
    done = k8s.cluster.kubectl("-n", "flexvol", "get", "pods", "-o", "json", capture_output=True)
    found: list[Object] = json.loads(done.stdout)["items"]
    return found


def test_from_its_start_through_a_volumes_life_it_speaks_to_the_api_server_alone(
    k8s: Kubernetes,
) -> None:
    with nothing_else_possible(k8s):
        before = {  # one that is ending has been replaced already
            pod["metadata"]["uid"]
            for pod in pods(k8s)
            if "deletionTimestamp" not in pod["metadata"]
        }
        k8s.cluster.kubectl(
            "-n", "flexvol", "delete", "pods", "--all", "--wait=true", capture_output=True
        )

        def all_new() -> bool:
            now = pods(k8s)
            return len(now) == len(before) and not before & {pod["metadata"]["uid"] for pod in now}

        wait_until("flexvol's pods are new", all_new)
        for what in ("daemonset/flexvol-node", "deployment/flexvol-cluster"):
            k8s.cluster.kubectl(
                "-n", "flexvol", "rollout", "status", what, "--timeout=90s", capture_output=True
            )
        k8s.claim(size="300Mi", storage_class="flexvol-loop")
        k8s.pod("web", node="node1")
        k8s.shell("web", "echo data > /data/file && sync")
        k8s.delete("pod", "web")
        volume = k8s.volume_of()["metadata"]["name"]
        k8s.delete("pvc", "data")
        k8s.until_gone("pv", volume)

        assert {node.name: tried(node) for node in k8s.cluster.nodes.values()} == {
            "node1": 0,
            "node2": 0,
        }

        # This pod shows that the rule is needed.
        k8s.pod("curious", claim="other", node="node2", wait=False)
        k8s.claim("other")
        k8s.running("curious")
        k8s.shell("curious", "nc -w 1 192.0.2.1 443 || true")
        assert tried(k8s.cluster.nodes["node2"]) > 0
