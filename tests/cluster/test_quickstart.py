"""The manifests of docs/quickstart.md run as they stand there, and its commands and that of
docs/expansion.md do what the pages say."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests import documents
from tests.cluster.kube import images
from tests.cluster.namespaces import Kubernetes
from tests.sources import ROOT
from tests.waiting import wait_until

Object = dict[str, Any]
QUICKSTART = ROOT / "docs/quickstart.md"


def manifests() -> Iterator[Object]:
    """The page's objects, with the image that this cluster has."""
    for block in documents.blocks("yaml", QUICKSTART):
        for manifest in yaml.safe_load_all(block.replace("busybox", images.SHELL)):
            template = manifest["spec"].get("template", manifest)
            if "containers" in template["spec"]:
                # Its shell does not end by itself, and nobody here needs its last words.
                template["spec"]["terminationGracePeriodSeconds"] = 1
            yield manifest


def test_the_pods_of_the_quick_start_run_and_have_what_the_page_says(k8s: Kubernetes) -> None:
    k8s.apply(*manifests())
    for name in ("db-0", "db-1", "batch", "site"):
        k8s.running(name)

    assert {k8s.node_of(name) for name in ("db-0", "db-1")} == {"node1", "node2"}
    for name in ("db-0", "db-1"):
        assert k8s.shell(name, "cat /data/who").stdout == f"{name}\n"
        assert k8s.get("pvc", f"data-{name}") is not None
    assert "uid=1000" in k8s.shell("site", "cat /data/who").stdout
    assert k8s.shell("site", "stat -c %g /logs/started /data").stdout.split() == ["1000"] * 2
    assert k8s.shell("site", "ls /data").stdout.split() == ["who"]  # no lost+found

    k8s.delete("pod", "batch")
    k8s.until_gone("pvc", "batch-scratch")


@pytest.fixture
def default_class(k8s: Kubernetes) -> Iterator[str]:
    """The name of the class that the page's command makes the default."""
    line = documents.command("kubectl annotate storageclass")
    name = shlex.split(line)[3]
    k8s.run(*shlex.split(line)[1:])
    try:
        yield name
    finally:
        annotation = shlex.split(line)[4].split("=")[0]
        k8s.run("annotate", "storageclass", name, f"{annotation}-")


def test_a_claim_that_names_no_class_gets_the_default_class(
    k8s: Kubernetes, default_class: str
) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
    about = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    k8s.run("apply", "-f", "-", input=yaml.safe_dump({**about, "spec": spec}))

    # An API server that has not seen the annotation yet leaves that to kube-controller-manager.
    wait_until(
        "the claim has the default class",
        lambda: k8s.find("pvc", "data")["spec"]["storageClassName"] == default_class,
    )


def test_a_claim_grows_by_the_command_of_the_page(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.pod("web")

    k8s.run(*shlex.split(documents.command("kubectl patch pvc"))[1:])

    wait_until(
        "the PV has grown",
        lambda: k8s.volume_of()["spec"]["capacity"]["storage"] == "256Mi",
    )
    k8s.delete("pod", "web")
    k8s.pod("later")
    wait_until(
        "the claim has grown",
        lambda: k8s.find("pvc", "data")["status"]["capacity"]["storage"] == "256Mi",
        120,
    )
