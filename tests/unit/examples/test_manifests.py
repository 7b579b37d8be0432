"""The manifests of the examples on other distributions, where kubelet looks for drivers elsewhere.
tests/cluster checks them on the usual one."""

from __future__ import annotations

import re

import pytest

from node.host.plugin_directory import DISTRIBUTIONS
from tests.cluster.kube import build
from tests.unit.deploy import charts
from tests.unit.deploy.charts import Object

EXAMPLES = ["examples/deploy/cifs", "examples/deploy/nfs", "examples/lvm"]


def pods_with(overlay: str) -> list[Object]:
    """The pod's spec of each example's DaemonSet, as a person renders it."""
    own = {"resources": EXAMPLES, "components": [f"deploy/overlays/{overlay}"]}
    objects = charts.kustomize(own)
    return [one["spec"]["template"]["spec"] for one in objects if one["kind"] == "DaemonSet"]


def written(installer: Object) -> list[str]:
    """The directories that the installer makes or is told to install to, as its container has
    them."""
    words = installer["command"]
    script = words[2] if words[0] == "sh" else " ".join(words)
    directory = words[3]
    if "--host-root=/host" in script:
        return [f"/host{directory}"]
    return [
        path.strip('"').replace("$0", directory) for path in re.findall("mkdir -p (.+)", script)
    ]


@pytest.mark.parametrize("overlay", sorted(DISTRIBUTIONS))
def test_an_overlay_brings_each_driver_where_kubelet_looks(overlay: str) -> None:
    lacking = build.missing()
    if lacking:
        pytest.skip(lacking)

    pods = pods_with(overlay)

    assert len(pods) == len(EXAMPLES)
    for pod in pods:
        (installer,) = pod["initContainers"]
        of_node = {one["name"]: one.get("hostPath", {}).get("path") for one in pod["volumes"]}
        assert of_node["plugins"] == installer["command"][3] == DISTRIBUTIONS[overlay]
        mounts = {one["mountPath"]: of_node[one["name"]] for one in installer["volumeMounts"]}
        paths = written(installer)
        assert paths
        for path in paths:
            (mounted,) = [mount for mount in mounts if path.startswith(f"{mount}/")]
            directory = mounts[mounted].rstrip("/") + path[len(mounted) :]
            assert directory.startswith(DISTRIBUTIONS[overlay])
