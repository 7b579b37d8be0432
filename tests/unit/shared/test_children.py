"""shared/children.py: work in child processes, bounded in time, of which nothing is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from shared import children, process
from tests.unit.shared.processes import is_alive


def test_bounded_work_answers_and_leaves_nothing() -> None:
    assert children.bounded(lambda: b"x" * 200_000, 5) == b"x" * 200_000


def test_bounded_work_that_dies_or_says_nothing_is_none() -> None:
    def die() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b"never"

    def fail() -> bytes:
        raise ValueError

    assert children.bounded(die, 5) is None
    assert children.bounded(fail, 5) is None


def test_bounded_work_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def work() -> bytes:
        script = f"echo $$ >> {pids}; sh -c 'echo $$ >> {pids}; exec sleep 60'; true"
        process.run(["sh", "-c", script], 60)
        return b"never"

    began = time.monotonic()
    assert children.bounded(work, 1) is None

    assert time.monotonic() - began < 30
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    assert [pid for pid in started if is_alive(pid)] == []
