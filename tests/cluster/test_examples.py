"""The manifests a user starts from, in deploy/example and in the pages of docs, are accepted by a
real API server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import documents
from tests.cluster.kube import cluster as kube
from tests.sources import ROOT

# A block that begins otherwise is a part of a manifest.
BEGINNING = "apiVersion: "
# kubectl reads this from a directory, and no API server has it.
KUSTOMIZATION = "kind: Kustomization"
BLOCKS = [
    pytest.param(block, id=f"{page.stem} {number}")
    for page in documents.ALL
    for number, block in enumerate(documents.blocks("yaml", page))
    if block.startswith(BEGINNING) and KUSTOMIZATION not in block
]


@pytest.mark.parametrize("file", ["deploy/example/claim.yaml", "deploy/example/pod.yaml"])
def test_the_examples_are_accepted_by_the_api_server(cluster: kube.Cluster, file: str) -> None:
    cluster.kubectl("apply", "--dry-run=server", "-f", Path(ROOT, file), capture_output=True)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_manifests_of_the_pages_are_accepted_by_the_api_server(
    cluster: kube.Cluster, block: str
) -> None:
    done = cluster.kubectl(
        "apply", "--dry-run=server", "-f", "-", input=block, check=False, capture_output=True
    )

    assert done.returncode == 0, done.stderr
