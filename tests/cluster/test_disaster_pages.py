"""What docs/disaster-recovery.md and docs/lost-etcd.md say, beside the drill of
test_disaster.py."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

from tests import documents
from tests.cluster.commands import provisioner
from tests.cluster.kube.cluster import Cluster
from tests.cluster.namespaces import Kubernetes, Object, pod
from tests.cluster.nodes import by_hand
from tests.cluster.page_commands import chapter, follow
from tests.sources import ROOT

RETAIN = json.dumps({"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
# The volumes of the page: the old one, with the data, and the new one.
OLD = "pvc-8a6ad8b3-1111-4222-8333-944445555666"
NEW = "pvc-2c5e1f0d-3333-4444-8555-966667777888"


def test_the_plugin_comes_out_of_a_pod_and_works(cluster: Cluster, tmp_path: Path) -> None:
    copy, install = documents.commands_in(documents.chapter("What to have at hand"))
    installed = tmp_path / "bin" / "kubectl-flexvol"
    installed.parent.mkdir()
    script = copy.replace("kubectl", shlex.join(map(str, cluster.kubectl_line())), 1)
    script += "\n" + install.replace("/usr/local/bin/kubectl-flexvol", str(installed))

    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True)

    assert installed.read_bytes() == (ROOT / "dist/provisioner").read_bytes()
    helped = subprocess.run(
        [sys.executable, str(installed), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "  adopt  " in helped.stdout


def test_a_claim_that_has_a_new_volume_gets_its_old_one_and_no_data_is_lost(
    k8s: Kubernetes, tmp_path: Path
) -> None:
    old = forgotten_volume(k8s)
    k8s.claim()
    k8s.pod("web")
    k8s.shell("web", "echo new > /data/file && sync")
    new = k8s.volume_of()["metadata"]["name"]
    assert states(k8s) == {old: "foreign", new: "bound"}
    k8s.delete("pod", "web")
    (tmp_path / "application.yaml").write_text(yaml.safe_dump_all(application(k8s)))

    for line in chapter("A claim has a new, empty volume", "kubectl"):
        words = line.replace(OLD, old).replace(NEW, new).replace("-n shop", f"-n {k8s.namespace}")
        follow(k8s.cluster, words, tmp_path)

    k8s.running("web")
    assert k8s.volume_of()["metadata"]["name"] == old
    assert k8s.shell("web", "cat /data/file").stdout == "old\n"
    check_new_volume(k8s, new)
    delete_all(k8s, "web", "data", old)


def forgotten_volume(k8s: Kubernetes) -> str:
    """A volume with data, of a cluster that had this namespace and that claim, and was lost."""
    k8s.claim()
    k8s.pod("web")
    k8s.shell("web", "echo old > /data/file && sync")
    node = k8s.node_of("web")
    name: str = k8s.volume_of()["metadata"]["name"]
    k8s.run("patch", "pv", name, "-p", RETAIN)
    k8s.delete("pod", "web")
    k8s.delete("pvc", "data")
    k8s.delete("pv", name)
    owner = {
        "pvc.namespace": k8s.namespace,
        "pvc.name": "data",
        "pvc.uid": "of-the-lost-cluster",
        "clusterUid": "of-the-lost-cluster",
    }
    by_hand(k8s.cluster, node, "adopt", name, **owner)
    return name


def states(k8s: Kubernetes) -> dict[str, str]:
    """The state of each volume that was ever of the namespace's claim."""
    printed = provisioner("inventory", "--json", check=False).rpartition("status ")[0]
    volumes = json.loads(printed)["volumes"]
    claim = f"{k8s.namespace}/data"
    return {one["name"]: one["state"] for one in volumes if one["claim"] == claim}


def application(k8s: Kubernetes) -> list[Object]:
    claim: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "storageClassName": "flexvol-loop",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "64Mi"}},
        },
    }
    volumes: list[Object] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    objects = [claim, pod("web", volumes)]
    for one in objects:
        one["metadata"]["namespace"] = k8s.namespace
    return objects


def check_new_volume(k8s: Kubernetes, new: str) -> None:
    """Steps 4 and 5 of the page: another claim has the new volume, until nobody needs it."""
    k8s.delete("pv", new)
    provisioner("adopt", new, "--claim", f"{k8s.namespace}/data-new")
    k8s.claim("data-new")
    k8s.pod("reader", claim="data-new")
    assert k8s.shell("reader", "cat /data/file").stdout == "new\n"
    delete_all(k8s, "reader", "data-new", new)


def delete_all(k8s: Kubernetes, pod: str, claim: str, volume: str) -> None:
    """Deletes the pod, its claim, and the volume, which an adoption has made a retained one."""
    k8s.delete("pod", pod)
    k8s.delete("pvc", claim)
    k8s.until_phase("pv", volume, "Released")
    provisioner("delete", volume, "--yes")
    k8s.until_gone("pv", volume)
