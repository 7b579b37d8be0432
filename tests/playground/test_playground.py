"""The playground shows a claim becoming a mounted volume, stays, refuses a second one, and goes without a trace.

It is a cluster of its own, so it has its turn before the one of tests/cluster starts.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.kube import cluster as kube

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.cluster


def playground(*words: str) -> subprocess.CompletedProcess[str]:
    line = ["./build.sh", "playground", *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)


@pytest.fixture(scope="module")
def shown() -> Iterator[str]:
    """What `./build.sh playground` prints; it is up then."""
    lacking = kube.missing()
    if lacking:
        pytest.skip(lacking)
    done = playground()
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield done.stdout
    finally:
        playground("--down")


def test_it_shows_a_claim_becoming_a_mounted_volume(shown: str) -> None:
    assert "pod/web condition met" in shown
    assert "Bound" in shown
    assert "/dev/loop" in shown


def test_the_printed_kubectl_works_and_the_cluster_is_still_there(shown: str) -> None:
    (line,) = [line for line in shown.splitlines() if "alias kubectl=" in line]
    kubectl = line.partition("='")[2].rstrip("'")

    done = subprocess.run(
        f"{kubectl} exec web -- cat /data/started", shell=True, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_down_leaves_no_process_namespace_cgroup_mount_or_loop_device(shown: str) -> None:
    programs = str(kube.STATE)

    done = playground("--down")

    assert done.returncode == 0, done.stderr
    assert not kube.DATA.exists()
    assert not kube.STATE.exists()
    left = {
        "namespaces": subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout,
        "cgroups": [str(path) for path in Path("/sys/fs/cgroup").glob("*/flexvol-node*")],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if "flexvol-kube" in line],
        "loop devices": [
            line
            for line in subprocess.run(
                ["losetup", "-a"], capture_output=True, text=True, check=True
            ).stdout.splitlines()
            if "flexvol" in line
        ],
        "processes": [
            path.parent.name
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if programs in path.read_text(errors="replace") and path.parent.name != "self"
        ],
    }
    assert not any(left.values()), left
