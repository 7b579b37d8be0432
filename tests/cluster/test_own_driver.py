"""The kustomization of docs/your-own-driver.md brings the example driver to the nodes, and the
accounts may serve it."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from tests import documents
from tests.cluster.kube.cluster import Cluster
from tests.sources import ROOT

PAGE = ROOT / "docs/your-own-driver.md"


def test_the_kustomization_of_the_page_installs_the_driver_and_serves_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    kustomization, storage_class = documents.blocks("yaml", PAGE)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    (tmp_path / "kustomization.yaml").write_text(kustomization)

    rendered = cluster.kubectl("kustomize", tmp_path, capture_output=True).stdout

    objects = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(rendered)}
    pod = objects["DaemonSet", "flexvol-node"]["spec"]["template"]["spec"]
    assert pod["initContainers"][0]["command"][-1] == "--driver=directory"
    provisioner = pod["containers"][0]
    assert "--driver=flexvol/directory" in provisioner["args"]
    mounted = [mount["mountPath"] for mount in provisioner["volumeMounts"]]
    assert "/var/lib/flexvol-directory" in mounted
    (rule,) = objects["ClusterRole", "flexvol-served"]["rules"]
    assert rule["resourceNames"] == ["loop.flexvol", "directory.flexvol"]
    dry = ("apply", "--dry-run=server", "-f", "-")
    cluster.kubectl(*dry, input=rendered + "---\n" + storage_class, capture_output=True)
