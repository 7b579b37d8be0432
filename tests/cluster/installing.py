"""flexvol is installed, and overlays are rendered, as docs/install.md says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kube import cluster as kube
from tests.cluster.namespaces import Kubernetes, Object
from tests.cluster.nodes import set_reserve

OVERLAY = Path(__file__).parent / "kube/overlay"


def install(cluster: kube.Cluster) -> None:
    """kubectl apply -k, and nothing by hand; done when every node's pod is ready."""
    cluster.kubectl("apply", "-k", OVERLAY, capture_output=True)
    cluster.kubectl(
        "-n",
        "flexvol",
        "rollout",
        "status",
        "daemonset/flexvol-node",
        "--timeout=120s",
        capture_output=True,
    )


def keep_little_in_reserve(cluster: kube.Cluster) -> None:
    """Both nodes' pools lie on this machine's disk, of which other tests take some meanwhile; a
    fifth of it may be all that is free."""
    for node in cluster.nodes.values():
        set_reserve(node, "1%")


def render(k8s: Kubernetes, directory: Path, **also: Any) -> list[Object]:
    """A kustomization of one's own over the base, as docs/install.md has it."""
    own = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        **also,
    }
    relative = {
        key: [str(_from(directory, path)) for path in own.get(key, [])]
        for key in ("resources", "components")
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump({**own, **relative}))
    done = k8s.cluster.kubectl("kustomize", directory, capture_output=True)
    return list(yaml.safe_load_all(done.stdout))


def _from(directory: Path, path: Path) -> Path:
    """kustomize takes no absolute path."""
    return Path(*[".."] * (len(directory.resolve().parts) - 1), *path.resolve().parts[1:])
