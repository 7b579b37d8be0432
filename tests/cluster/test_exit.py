"""The data goes to another driver's claim, by the pod of docs/deprecation-and-exit.md. Here the
other claim is one of flexvol's too: the pod knows no difference."""

from __future__ import annotations

import yaml

from tests import documents
from tests.cluster.kube import images
from tests.cluster.namespaces import Kubernetes
from tests.sources import ROOT

PAGE = ROOT / "docs/deprecation-and-exit.md"


def test_the_pod_of_the_page_copies_a_claim_with_owners_and_modes(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.claim("data-csi")
    k8s.pod("web")
    k8s.shell("web", "cd /data && mkdir kept && echo x > kept/file && chown -R 7:8 kept")
    k8s.shell("web", "chmod 640 /data/kept/file && ln -s kept/file /data/link")
    k8s.delete("pod", "web")
    (block,) = documents.blocks("yaml", PAGE)
    copy = yaml.safe_load(block)
    copy["spec"]["containers"][0]["image"] = images.SHELL

    k8s.apply(copy)

    k8s.until_phase("pod", "copy", "Succeeded", 90)
    assert "copied" in k8s.run("logs", "copy").stdout
    k8s.delete("pod", "copy")
    k8s.pod("next", claim="data-csi")
    shown = k8s.shell("next", "stat -c '%u %g %a %s' /data/kept/file && readlink /data/link")
    assert shown.stdout.splitlines() == ["7 8 640 2", "kept/file"]
