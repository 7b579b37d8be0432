"""The kustomizations of docs/your-own-driver/nfs.md and cifs.md bring the drivers to the nodes. The
kernel of this machine has neither NFS nor CIFS, so no volume is made: the API server checks the
objects. tests/vm/test_network_drivers.py has the drivers at work, with the rights of the
Deployment."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests import documents
from tests.cluster.kube.cluster import Cluster
from tests.sources import ROOT
from tests.vm.rights import PROVISIONER_CAPABILITIES

PAGES = ROOT / "docs/your-own-driver"
Objects = dict[tuple[str, str], dict[str, Any]]


def rendered(cluster: Cluster, directory: Path, kustomization: str) -> str:
    """What the kustomization makes in the root of the sources, if the API server takes it."""
    for folder in ("deploy", "examples"):
        shutil.copytree(ROOT / folder, directory / folder)
    (directory / "kustomization.yaml").write_text(kustomization)
    text: str = cluster.kubectl("kustomize", directory, capture_output=True).stdout
    return text


def check(cluster: Cluster, text: str) -> None:
    """The API server takes the objects. It looks into their namespaces, which are made first."""
    spaces = [one for one in yaml.safe_load_all(text) if one["kind"] == "Namespace"]
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(spaces), capture_output=True)
    cluster.kubectl("apply", "--dry-run=server", "-f", "-", input=text, capture_output=True)


def by_name(text: str) -> Objects:
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text)}


def test_the_page_about_nfs_installs_the_driver_and_makes_volumes(
    cluster: Cluster, tmp_path: Path
) -> None:
    kustomization, storage_class = documents.blocks("yaml", PAGES / "nfs.md")

    text = rendered(cluster, tmp_path, kustomization)

    objects = by_name(text)
    pod = objects["Deployment", "flexvol-driver-nfs"]["spec"]["template"]["spec"]
    (provisioner,) = pod["containers"]
    assert "--driver=flexvol/nfs" in provisioner["args"]
    assert provisioner["securityContext"]["capabilities"]["add"] == PROVISIONER_CAPABILITIES
    (config,) = [volume for volume in pod["volumes"] if volume["name"] == "config"]
    content = objects["ConfigMap", config["configMap"]["name"]]["data"]["nfs.json"]
    assert json.loads(content)["pools"]["default"]["share"] == "/srv/kubernetes"
    installer = objects["DaemonSet", "flexvol-driver-nfs"]["spec"]["template"]["spec"]
    assert installer["initContainers"][0]["command"][-1] == "--driver=nfs"
    assert objects["StorageClass", "nfs"]["provisioner"] == "nfs.flexvol"
    check(cluster, f"{text}---\n{storage_class}")


def test_the_page_about_cifs_installs_the_driver_in_both_places(
    cluster: Cluster, tmp_path: Path
) -> None:
    kustomization, volume = documents.blocks("yaml", PAGES / "cifs.md")

    text = rendered(cluster, tmp_path, kustomization)

    pod = by_name(text)["DaemonSet", "flexvol-cifs"]["spec"]["template"]["spec"]
    (installer,) = pod["initContainers"]
    assert "for vendor in juliohm fstab; do" in installer["command"][2]
    space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
    try:
        check(cluster, f"{text}---\n{space}---\n{volume}")
    finally:
        cluster.kubectl("delete", "namespace", "flexvol-cifs", "shop", capture_output=True)
