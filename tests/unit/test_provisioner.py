"""Start and stop; what an instance does is tested on a cluster."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.proxy import kubeconfig
from tests.sources import ROOT


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param("--node=node1", id="node mode"),
        pytest.param("--cluster", id="cluster mode"),
        pytest.param("--identity=shared", id="shared mode"),
    ],
)
def test_no_thread_takes_sigterm_away_from_the_one_that_waits_for_it(
    mode: str, tmp_path: Path
) -> None:
    """The kernel gives a signal of the process to whichever thread does not block it."""
    (tmp_path / "kubeconfig").write_text(kubeconfig("http://127.0.0.1:1"))
    line = [sys.executable, str(ROOT / "provisioner.py"), mode]
    with subprocess.Popen(
        [*line, f"--kubeconfig={tmp_path}/kubeconfig"], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert f"as {mode.rpartition('=')[2].lstrip('-')}" in running.stdout.readline()
        threads = list(Path(f"/proc/{running.pid}/task").iterdir())
        others = [thread for thread in threads if thread.name != str(running.pid)]
        taking = [thread.name for thread in others if not blocks_sigterm(thread)]
        running.terminate()
        running.communicate(timeout=60)

    assert len(others) > 4
    assert taking == []
    assert running.returncode == 0


def blocks_sigterm(thread: Path) -> bool:
    lines = (thread / "status").read_text().splitlines()
    (blocked,) = [line.split()[1] for line in lines if line.startswith("SigBlk:")]
    return bool(int(blocked, 16) & 1 << (signal.SIGTERM - 1))
