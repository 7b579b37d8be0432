"""Builds helm for the tests, from its pinned Go module, into the cache outside the tree."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bundle.environment import cache, locked
from tests.cluster.kube import go
from tests.cluster.kube.machine import fetch

# By the major version, of which each has a module of its own. `go install` checks the module's hash
# in Go's checksum database.
VERSIONS = {3: "3.22.0", 4: "4.3.2"}
# The Kubernetes that helm takes for the cluster's when it has none. Helm 3 is told when it is
# built, as in its Makefile; Helm 4 looks at its own client library, of the same version.
KUBERNETES_MINOR = "37"


def program(major: int) -> Path:
    """The program helm of that major version, built now if it is not in the cache."""
    lacking = missing(major)
    if lacking:
        raise RuntimeError(lacking)
    version = VERSIONS[major]
    target = cache() / f"helm-{version}"
    if target.exists():
        return target / "helm"
    # Two builds at once take twice as long for the same.
    with locked(f"helm-{version}.lock"):
        if not target.exists():
            _build(target, major)
    return target / "helm"


def missing(major: int) -> str:
    """Why this machine can have no helm, as one line; empty if it can."""
    if (cache() / f"helm-{VERSIONS[major]}").exists():
        return ""
    lacking = go.missing()
    return f"helm is built from its Go module, and {lacking}" if lacking else ""


def _build(target: Path, major: int) -> None:
    version = VERSIONS[major]
    print(f"building helm {version}; this takes some minutes once", file=sys.stderr, flush=True)
    module = f"helm.sh/helm/v{major}"
    stamp = f"-s -w -X {module}/internal/version.version=v{version}"
    if major == 3:
        for package in ("pkg/chartutil", "pkg/lint/rules"):
            stamp += f" -X {module}/{package}.k8sVersionMinor={KUBERNETES_MINOR}"
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch, "made")
        line = ["go", "install", "-ldflags", stamp, f"{module}/cmd/helm@v{version}"]
        environment = {**os.environ, "GOBIN": str(made)}
        fetch(lambda: subprocess.run(line, cwd=scratch, env=environment, check=True))
        made.rename(target)


if __name__ == "__main__":
    for known in VERSIONS:
        print(program(known))
