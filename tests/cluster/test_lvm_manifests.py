"""The kustomization of docs/your-own-driver/lvm.md brings examples/lvm.sh to the nodes. The kernel
of this machine has no device mapper, so no claim is made: the API server checks the objects."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from tests import documents
from tests.cluster.kube.cluster import Cluster
from tests.sources import ROOT

PAGE = ROOT / "docs/your-own-driver/lvm.md"
DRIVER = ROOT / "examples/lvm.sh"


def test_the_kustomization_of_the_page_brings_the_driver_to_the_nodes(
    cluster: Cluster, tmp_path: Path
) -> None:
    (kustomization,) = documents.blocks("yaml", PAGE)
    for folder in ("deploy", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "kustomization.yaml").write_text(kustomization)

    rendered = cluster.kubectl("kustomize", tmp_path, capture_output=True).stdout

    objects = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(rendered)}
    pod = objects["DaemonSet", "flexvol-driver-lvm"]["spec"]["template"]["spec"]
    (driver,) = [volume for volume in pod["volumes"] if volume["name"] == "driver"]
    content = objects["ConfigMap", driver["configMap"]["name"]]["data"]
    assert content == {"lvm": DRIVER.read_text()}
    (provisioner,) = pod["containers"]
    (installer,) = pod["initContainers"]
    assert "--driver=flexvol/lvm" in provisioner["args"]
    assert pod["hostPID"] and provisioner["securityContext"]["privileged"]
    assert installer["image"] == provisioner["image"] == "localhost/flexvol:dev"
    assert objects["StorageClass", "lvm"]["provisioner"] == "lvm.flexvol"
    assert ("CSIDriver", "lvm.flexvol") in objects
    dry = ("apply", "--dry-run=server", "-f", "-")
    cluster.kubectl(*dry, input=rendered, capture_output=True)
