"""shared/process_table.py: which processes of ours are left."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import process_table
from tests.unit.shared.processes import until_ended


@pytest.fixture
def child() -> Iterator[int]:
    """A child that waits, in a process group of its own."""
    sleeper = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield sleeper.pid
    sleeper.kill()
    sleeper.wait()


def test_what_of_a_group_lives_is_told_until_it_has_ended(child: int) -> None:
    (survivor,) = process_table.survivors(child)
    assert (survivor.pid, survivor.lives()) == (child, True)
    other = process_table.Survivor(child, "1")  # had this number before
    assert not other.lives()

    os.kill(child, signal.SIGKILL)
    until_ended(child)

    assert process_table.survivors(child) == []
    assert not survivor.lives()


def test_an_ended_child_that_nobody_waits_for_is_reaped_when_it_is_seen_the_second_time(
    child: int,
) -> None:
    assert child not in process_table.reap_strays({child})
    os.kill(child, signal.SIGKILL)
    until_ended(child)

    ended = process_table.reap_strays(set())
    assert child in ended
    assert child not in process_table.reap_strays(ended)

    assert not Path(f"/proc/{child}").exists()
