"""What several tests of the cluster's side begin with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """Two clusters, as a person has who works with a test cluster too."""

    def context(name: str, **more: str) -> dict[str, Any]:
        return {"name": name, "context": {"cluster": f"cluster-{name}", "user": "me", **more}}

    servers = {"one": "https://10.0.0.1:6443", "two": "https://10.0.0.2:6443"}
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": f"cluster-{name}", "cluster": {"server": server}}
                    for name, server in servers.items()
                ],
                "users": [{"name": "me", "user": {"token": "t"}}],
                "contexts": [context("one"), context("two", namespace="shop")],
                "current-context": "one",
            }
        )
    )
    return str(path)
