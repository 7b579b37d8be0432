"""The commands that a person runs with a kubeconfig."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.cluster.kube import cluster as kube
from tests.cluster.kube.machine import PREFIX
from tests.cluster.namespaces import Object
from tests.sources import ROOT


def run_command(
    *words: object, kubeconfig: Path = kube.STATE / "admin.kubeconfig"
) -> subprocess.CompletedProcess[str]:
    """Runs what `kubectl flexvol` runs; by default with the administrator's kubeconfig."""
    line = [
        "nsenter",
        f"--net=/run/netns/{PREFIX}cp",
        "env",
        f"SHIV_ROOT={kube.STATE}/shiv",
        ROOT / "dist/provisioner",
        *words,
        "--kubeconfig",
        kubeconfig,
    ]
    return subprocess.run(
        list(map(str, line)), capture_output=True, text=True, check=False, timeout=300
    )


def provisioner(*words: object, check: bool = True) -> str:
    """As run_command; what it printed, and its exit status."""
    done = run_command(*words)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return f"{done.stdout}{done.stderr}status {done.returncode}"


Ask = Callable[..., subprocess.CompletedProcess[str]]


def rows(ask: Ask, *words: str) -> tuple[int, dict[str, Object], Object]:
    """The exit status, the volumes by name, and all that was said."""
    done = ask("inventory", "--json", *words)
    said: Object = json.loads(done.stdout or done.stderr)
    return done.returncode, {one["name"]: one for one in said["volumes"]}, said
