"""Builds Kubernetes for the tests: kubectl and a binary that is all other programs, from pinned Go
modules, kept in a cache outside the tree.

FLEXVOL_KUBE_BIN names a directory that already holds the programs, for people who have them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bundle.environment import cache, locked
from tests.cluster.kube import go
from tests.cluster.kube.machine import fetch

VERSION = os.environ.get("FLEXVOL_KUBERNETES", "1.37.2")  # 1.34 to 1.37 work
HERE = Path(__file__).resolve().parent
KUBECTL = "kubectl"
PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    KUBECTL,
)
MODULE = "kube"  # the last part of its name in go.mod
# Our own program, made of kubelet's types. Whoever brings the other programs does without this one.
REPLY = "flexvolume-reply"
# The version of go.mod and go.sum here; gomod.sh writes those of another version.
PINNED = "1.37.2"


SOURCES = (
    "main.go",
    "reply.go",
    f"{KUBECTL}/main.go",
    f"{KUBECTL}/untranslated/untranslated.go",
    "go.mod",
    "go.sum",
    "gomod.sh",
)


def programs() -> Path:
    """The directory with the Kubernetes programs, built now if they are not in the cache.

    :raises RuntimeError: if this machine can have none, as `missing` says"""
    lacking = missing()
    if lacking:
        raise RuntimeError(lacking)
    given = os.environ.get("FLEXVOL_KUBE_BIN")
    if given:
        return Path(given)
    target = _target()
    if target.exists():
        return target
    # Two builds at once take twice as long for the same.
    with locked(f"kube-{VERSION}.lock"):
        if not target.exists():
            _build(target)
    return target


def missing() -> str:
    """Why this machine can have no Kubernetes programs, as one line; empty if it can."""
    given = os.environ.get("FLEXVOL_KUBE_BIN")
    if given:
        absent = [name for name in PROGRAMS if not Path(given, name).exists()]
        return f"FLEXVOL_KUBE_BIN={given} lacks {', '.join(absent)}" if absent else ""
    if _target().exists():
        return ""
    lacking = go.missing()
    if not lacking:
        return ""
    return (
        f"Kubernetes is built from its Go modules, and {lacking}, or set FLEXVOL_KUBE_BIN to a "
        "directory with the programs"
    )


def _target() -> Path:
    contents = b"".join((HERE / source).read_bytes() for source in SOURCES)
    key = hashlib.sha256(contents).hexdigest()[:12]
    return cache() / f"kube-{VERSION}-{key}"


def _build(target: Path) -> None:
    print(
        f"building Kubernetes {VERSION}; this takes 5 to 10 minutes once",
        file=sys.stderr,
        flush=True,
    )
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        work = Path(scratch, "work")
        for source in SOURCES:
            (work / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE / source, work / source)

        def run(*line: str) -> None:
            subprocess.run(line, cwd=work, check=True)

        if VERSION != PINNED:
            fetch(lambda: run("sh", "gomod.sh", f"v{VERSION}"))
        major, minor = VERSION.split(".")[:2]
        package = "k8s.io/component-base/version"
        stamp = (
            f"-X {package}.gitVersion=v{VERSION} -X {package}.gitMajor={major} -X "
            f"{package}.gitMinor={minor}"
        )
        made = Path(scratch, "made")
        made.mkdir()
        # Each has the name of its directory; that of the module has the last part of its name.
        line = ["go", "build", "-o", f"{made}/", "-ldflags", f"-s -w {stamp}", ".", f"./{KUBECTL}"]
        fetch(lambda: run(*line))
        for name in (*PROGRAMS, REPLY):
            if name != KUBECTL:
                (made / name).symlink_to(MODULE)
        made.rename(target)


if __name__ == "__main__":
    print(programs())
