"""Claims with data, and how they are moved to another node."""

from __future__ import annotations

import subprocess
from typing import Any

from tests.cluster.commands import run_command
from tests.cluster.kube.cluster import Cluster
from tests.cluster.namespaces import Kubernetes, Object

SUM = "cat /data/one /data/two | sha256sum"


def move(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The command of docs/move-and-drain.md, with the administrator's kubeconfig."""
    done = run_command("move", *words)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done


def filled(
    k8s: Kubernetes, claim: str = "data", node: str = "node1", **more: Any
) -> tuple[str, str]:
    """A claim with data in a volume on the node, which its pod still has; the PV's name, and the
    data's checksum."""
    k8s.claim(claim, **more)
    k8s.pod(f"writer-{claim}", claim=claim, node=node)
    k8s.shell(
        f"writer-{claim}",
        "for f in one two; do head -c 4000000 /dev/urandom >/data/$f; done; sync",
    )
    name: str = k8s.volume_of(claim)["metadata"]["name"]
    return name, k8s.shell(f"writer-{claim}", SUM).stdout


def data(k8s: Kubernetes, claim: str = "data") -> tuple[str, str]:
    """Where the scheduler puts a pod of the claim, and the checksum of what that finds."""
    k8s.pod(f"reader-{claim}", claim=claim)
    found = k8s.shell(f"reader-{claim}", SUM).stdout
    node: str = k8s.node_of(f"reader-{claim}")
    k8s.delete("pod", f"reader-{claim}")
    return node, found


def moves(cluster: Cluster) -> list[Object]:
    return Kubernetes(cluster, "flexvol").all("configmaps", "flexvol/move")
