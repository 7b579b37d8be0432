"""shared/process_table.py: which processes of ours are left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import process_table
from tests.unit.shared.processes import until_ended
from tests.waiting import wait_until


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


def wait_for_children(pid: int, count: int) -> list[int]:
    """Waits until the process has so many descendants; returns them."""
    found: list[int] = []

    def are_there() -> bool:
        found[:] = process_table._descendants(pid)
        return len(found) == count

    wait_until("the children have begun", are_there)
    return found


@pytest.fixture
def family() -> Iterator[int]:
    """A shell that waits for two shells, each of which waits for a sleep."""
    one = "sh -c 'sleep 60; :' & "
    shell = subprocess.Popen(["sh", "-c", one * 2 + "wait"], start_new_session=True)
    yield shell.pid
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()


def test_a_process_is_killed_with_all_that_it_started_and_nothing_else(
    family: int, child: int
) -> None:
    (other,) = process_table.survivors(child)
    started = wait_for_children(family, 4)

    process_table.kill_tree(family)

    for pid in (family, *started):
        until_ended(pid)
    assert other.lives()


def test_what_waits_makes_no_progress(family: int) -> None:
    wait_for_children(family, 4)
    before = []

    def is_still() -> bool:
        """It has come to rest after its start."""
        before.append(process_table.progress(family))
        time.sleep(0.3)
        return process_table.progress(family) == before[-1]

    wait_until("all of them wait", is_still)
    assert (
        len(before[-1]) == 5 * 3
    )  # two times on a processor, and the counters of input and output


@pytest.mark.parametrize(
    "work",
    [
        pytest.param("while :; do :; done", id="a use of the processor"),
        pytest.param("while sleep 0.1; do cat /proc/version; done", id="reading"),
    ],
)
def test_progress_is_also_that_of_what_a_process_has_started(work: str) -> None:
    waits = subprocess.Popen(
        ["sh", "-c", f"sh -c '{work}' & wait"], start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        wait_for_children(waits.pid, 1)
        seen = process_table.progress(waits.pid)
        wait_until("there is progress", lambda: process_table.progress(waits.pid) != seen)
    finally:
        process_table.kill_group(waits.pid)
        waits.wait()


def test_what_has_ended_makes_no_progress_and_has_no_group(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    assert process_table.progress(child) == []
    process_table.kill_group(child)


def test_a_process_may_have_any_name() -> None:
    """Its name stands before the fields, in brackets."""
    name = "a) Z 1 1 (b"
    script = f"printf '{name}' > /proc/$$/comm; sleep 60; :"
    named = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    try:
        (sleep,) = wait_for_children(named.pid, 1)
        assert Path(f"/proc/{named.pid}/comm").read_text() == name + "\n"

        assert {survivor.pid for survivor in process_table.survivors(named.pid)} == {
            named.pid,
            sleep,
        }
    finally:
        process_table.kill_group(named.pid)
        named.wait()


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
