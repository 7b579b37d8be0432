"""The manifests a user starts from are accepted by a real API server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.kube import cluster as kube

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("file", ["deploy/example/claim.yaml", "deploy/example/pod.yaml"])
def test_the_examples_are_accepted_by_the_api_server(cluster: kube.Cluster, file: str) -> None:
    cluster.kubectl("apply", "--dry-run=server", "-f", ROOT / file, capture_output=True)
