"""What a failed test leaves on the cluster is removed, so that one failure does not make others."""

from __future__ import annotations

import json
import shutil

from tests.cluster.kube.cluster import Cluster
from tests.cluster.namespaces import Kubernetes
from tests.cluster.nodes import POOL, volumes_on

_NO_FINALIZER = json.dumps({"metadata": {"finalizers": None}})


def remove_leftovers(cluster: Cluster) -> None:
    """Removes the PVs that no claim is bound to, and from the default pools what has no PV. A pod
    may have such a volume mounted: its file is gone then, and the mount ends with the pod."""
    kept = set()
    default = Kubernetes(cluster, "default")
    for volume in default.all("pv"):
        name = volume["metadata"]["name"]
        if volume["status"].get("phase") == "Bound":
            kept.add(name)
            continue
        default.run("delete", "pv", name, "--wait=false", check=False)
        default.run("patch", "pv", name, "--type=merge", "-p", _NO_FINALIZER, check=False)
    for name, node in cluster.nodes.items():
        for left in volumes_on(cluster, name) - kept:
            shutil.rmtree(node.path(POOL) / left, ignore_errors=True)
