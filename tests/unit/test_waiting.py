"""What the tests of the cluster wait for: a state, and what comes from a registry."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cluster.kube import machine
from tests.waiting import wait_until


def test_a_condition_that_lacks_a_field_is_not_true_yet() -> None:
    pods: list[dict[str, str]] = [{}, {"node": "node1"}]

    assert wait_until("the pod has a node", lambda: pods.pop(0)["node"]) == "node1"


def test_the_last_error_is_told_when_the_time_is_over() -> None:
    pod: dict[str, str] = {}
    with pytest.raises(
        AssertionError, match=r"after 0 s still not: x; last seen: KeyError\('node'\)"
    ):
        wait_until("x", lambda: pod["node"], seconds=0)


def test_an_assertion_in_a_condition_ends_the_wait() -> None:
    def condition() -> bool:
        raise AssertionError("the pod has failed")

    with pytest.raises(AssertionError, match="the pod has failed"):
        wait_until("the pod runs", condition)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each attempt brings; an attempt that brings nothing fails."""
    monkeypatch.setattr(machine, "_FETCH_AGAIN_SECONDS", 0.0)
    return []


def get(attempts: list[str]) -> str:
    brought = attempts.pop(0)
    if not brought:
        raise RuntimeError("the registry is away")
    return brought


def test_a_registry_that_is_away_for_a_moment_is_asked_again(attempts: list[str]) -> None:
    attempts += ["", "", "the module"]

    assert machine.fetch(lambda: get(attempts)) == "the module"


def test_a_registry_that_stays_away_is_the_failure(attempts: list[str]) -> None:
    attempts += ["", "", "", "too late"]

    with pytest.raises(RuntimeError, match="the registry is away"):
        machine.fetch(lambda: get(attempts))

    assert attempts == ["too late"]


# The first thread ends; another one sleeps on.
HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_program_is_stopped_when_its_last_thread_has_ended(tmp_path: Path) -> None:
    child = machine.spawn(tmp_path, "headless", [sys.executable, "-c", HEADLESS])
    stat = Path(f"/proc/{child.pid}/stat")
    wait_until(
        "the first thread has ended", lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z"
    )

    assert machine.running(tmp_path, "headless") == child.pid

    machine.stop(tmp_path, "headless")

    assert machine.running(tmp_path, "headless") is None
    assert not machine._alive(child.pid)
    child.wait()
