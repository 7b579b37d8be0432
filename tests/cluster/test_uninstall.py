"""Before flexvol is taken out, a command lists what still needs it; when nothing does, it says
how."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.cluster.kube import cluster as kube
from tests.cluster.namespaces import Kubernetes
from tests.cluster.nodes import DRIVER
from tests.sources import ROOT
from tests.waiting import wait_until


def uninstall(k8s: Kubernetes, *words: str) -> subprocess.CompletedProcess[str]:
    """As the administrator, with their own kubeconfig."""
    line = [
        *k8s.cluster.kubectl_line()[:2],
        ROOT / "dist/provisioner",
        "uninstall",
        *words,
    ]
    line += ["--kubeconfig", kube.STATE / "admin.kubeconfig"]
    return subprocess.run([*map(str, line)], capture_output=True, text=True, check=False)


def needed(k8s: Kubernetes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(uninstall(k8s, "--json").stdout)["volumes"]
    return [one for one in found if one["claim"].startswith(k8s.namespace + "/")]


def test_while_volumes_exist_they_are_listed_and_on_their_node_the_driver_stays(
    k8s: Kubernetes,
) -> None:
    k8s.claim()
    k8s.pod("web", node="node2")
    volume = k8s.volume_of()["metadata"]["name"]

    done = uninstall(k8s)

    assert done.returncode == 1, done.stderr
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith(volume)]
    assert row[:4] == [volume, "node2", f"{k8s.namespace}/data", "bound"]
    assert "nothing was changed" in done.stdout
    on_node = k8s.cluster.nodes["node2"].enter(
        DRIVER, "uninstall", check=False, capture_output=True
    )
    assert on_node.returncode == 1 and "pods of this node have volumes" in on_node.stderr
    assert k8s.cluster.nodes["node2"].path(DRIVER).exists()

    k8s.delete("pod", "web")
    k8s.delete("pvc", "data")
    wait_until("nothing is in the way any more", lambda: not needed(k8s))

    def says_how_if_nothing_is_there() -> bool:
        # These volumes were left by another test, if any were.
        others = json.loads(uninstall(k8s, "--json").stdout)
        done = uninstall(k8s)
        empty = others == {"volumes": [], "unknown": []}
        return (done.returncode == 0, "kubectl delete -k ." in done.stdout) == (empty, empty)

    wait_until("it says how if nothing is there", says_how_if_nothing_is_there)
