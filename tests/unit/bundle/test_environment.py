"""What is made in the cache once, for all runs of the machine."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sources import ROOT

# Prints its priority before, in and after the lock, and that of a child in the lock.
_SHOWING = """
import os, subprocess, sys
from bundle import environment

SHOW = "import os; print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), flush=True)"
exec(SHOW)
with environment.locked("thing.lock"):
    exec(SHOW)
    subprocess.run([sys.executable, "-c", SHOW], check=True)
exec(SHOW)
"""
# Runs a program at the usual priority.
_USUAL = "import os, sys; os.setpriority(0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])"
# Takes the lock, tells so, and keeps it until its stdin ends.
_HOLDING = """
import sys
from bundle import environment

with environment.locked("thing.lock"):
    print("locked", flush=True)
    sys.stdin.read()
"""


def environ(directory: Path) -> dict[str, str]:
    return {**os.environ, "FLEXVOL_CACHE": str(directory)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise a priority")
@pytest.mark.parametrize(
    ("line", "own", "locked"),
    [
        pytest.param(
            ["chrt", "--idle", "0", "nice", "-n", "19"], (5, 19), (0, 0), id="an idle run"
        ),
        pytest.param(["chrt", "--batch", "0"], (3, 0), (0, 0), id="a batch"),
        pytest.param(["nice", "-n", "7"], (0, 7), (0, 0), id="a nice run"),
        pytest.param(["nice", "-n", "-5"], (0, -5), (0, -5), id="a run that comes first"),
    ],
)
def test_others_wait_for_no_run_of_a_low_priority(
    line: list[str], own: tuple[int, int], locked: tuple[int, int], tmp_path: Path
) -> None:
    # Whatever the priority of the tests.
    usual = ["chrt", "--other", "0", sys.executable, "-c", _USUAL]

    shown = subprocess.check_output(
        [*usual, *line, sys.executable, "-c", _SHOWING], cwd=ROOT, env=environ(tmp_path), text=True
    )

    rows = [tuple(map(int, row.split())) for row in shown.splitlines()]
    assert rows == [own, locked, locked, own]


def holding(directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _HOLDING],
        cwd=ROOT,
        env=environ(directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_a_second_run_waits_for_the_first(tmp_path: Path) -> None:
    with holding(tmp_path) as first:
        assert first.stdin and first.stdout
        assert first.stdout.readline() == b"locked\n"
        with holding(tmp_path) as second:
            assert second.stdin and second.stdout
            assert not select.select([second.stdout], [], [], 2)[0]
            first.stdin.close()
            assert second.stdout.readline() == b"locked\n"
            second.stdin.close()
