"""The manifests a user starts from, in deploy/example and in the pages of docs, are accepted by a
real API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import documents
from tests.cluster.kube import cluster as kube
from tests.cluster.namespaces import Kubernetes
from tests.sources import ROOT
from tests.waiting import wait_until

# A block that begins otherwise is a part of a manifest.
BEGINNING = "apiVersion: "
# kubectl reads the first from a directory, and the other is an object of VolSync's.
NOT_OF_KUBERNETES = ("kustomize.config.k8s.io", "volsync.backube")
BLOCKS = [
    pytest.param(block, id=f"{page.stem} {number}")
    for page in documents.ALL
    for number, block in enumerate(documents.blocks("yaml", page))
    if block.startswith(BEGINNING)
    and not block.removeprefix(BEGINNING).startswith(NOT_OF_KUBERNETES)
]


@pytest.mark.parametrize("file", ["deploy/example/claim.yaml", "deploy/example/pod.yaml"])
def test_the_examples_are_accepted_by_the_api_server(cluster: kube.Cluster, file: str) -> None:
    cluster.kubectl("apply", "--dry-run=server", "-f", Path(ROOT, file), capture_output=True)


@pytest.fixture(scope="module")
def shop(cluster: kube.Cluster) -> Iterator[Kubernetes]:
    """The namespace that the pages have for an example."""
    shop = Kubernetes(cluster, "shop")
    cluster.kubectl("create", "namespace", shop.namespace, capture_output=True)
    wait_until("the namespace takes pods", lambda: shop.get("serviceaccount", "default"))
    yield shop
    cluster.kubectl("delete", "namespace", shop.namespace, capture_output=True)


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("block", BLOCKS)
def test_the_manifests_of_the_pages_are_accepted_by_the_api_server(
    cluster: kube.Cluster, block: str
) -> None:
    done = cluster.kubectl(
        "apply", "--dry-run=server", "-f", "-", input=block, check=False, capture_output=True
    )

    assert done.returncode == 0, done.stderr
