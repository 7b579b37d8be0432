"""What nobody here uses of the official client is left out, and whoever uses it is told so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
IMPORT = "import kubernetes.client, kubernetes.stream, kubernetes.utils, kubernetes.watch.watch"
# getrusage would tell what the process had that started this one.
MEMORY = "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"


def run(*lines: str) -> str:
    """In a Python of its own, which has imported nothing yet."""
    done = subprocess.run(
        [sys.executable, "-c", "; ".join(lines)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_client_takes_a_third_less_memory() -> None:
    whole = int(run(IMPORT, MEMORY))
    lean = int(run("import cluster.controller.cluster", IMPORT, MEMORY))

    assert lean < whole * 3 / 4


def test_what_is_used_is_the_clients_own() -> None:
    said = run("import cluster.controller", IMPORT, "print(kubernetes.client.CoreV1Api.__module__)")

    assert said == "kubernetes.client.api.core_v1_api"


@pytest.mark.parametrize("name", ["V1Pod", "BatchV1Api"])
def test_whoever_uses_what_is_left_out_is_told_where_to_add_it(name: str) -> None:
    use = f"kubernetes.client.{name}()"
    said = run(
        "import cluster.controller",
        IMPORT,
        f"exec('try:\\n {use}\\nexcept Exception as e: print(e)')",
    )

    assert said == (
        f"{name} of the Kubernetes client is left out: add its module to USED in "
        "cluster/controller/client_parts.py"
    )
