"""A driver whose disk does not answer: its processes cannot be killed, and do not become more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.controller.storage import Storage
from shared import options, protocol
from tests.node.dead_disk import DeadDisk
from tests.sources import ROOT
from tests.waiting import wait_until

DRIVER = "flexvol/fake"
REQUEST = options.Options({options.REQUEST_BYTES: "100", options.VOLUME: "pvc-1"})


class Driver:
    """A driver in a plugin directory of its own, which notes each of its calls."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "calls"
        self._script = directory / "flexvol~fake/fake"
        self._script.parent.mkdir()
        self._script.touch(mode=0o755)
        self.storage = Storage(str(directory), at_once=2)

    def does(self, line: str) -> None:
        success = """echo '{"status": "Success"}'"""
        self._script.write_text(f"#!/bin/sh\necho $1 >> {self._log}\n{line}\n{success}\n")

    def calls(self) -> list[str]:
        return self._log.read_text().split()


@pytest.fixture
def dead(tmp_path: Path) -> Iterator[DeadDisk]:
    disk = DeadDisk(tmp_path / "dead")
    yield disk
    disk.close()


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    for callout in ("list", "provision", "delete"):
        monkeypatch.setattr(protocol.CALLOUTS[callout], "seconds", 0.5)
    return Driver(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("exec cat {}/x", id="the driver itself hangs"),
        pytest.param("cat {}/x", id="a program that the driver runs hangs"),
        pytest.param("cat {}/x > /dev/null 2>&1 & cat {}/x", id="two programs hang"),
    ],
)
def test_while_a_list_hangs_no_other_is_begun(driver: Driver, dead: DeadDisk, line: str) -> None:
    driver.does(line.format(dead.path, dead.path))

    with pytest.raises(protocol.Internal):
        driver.storage.list(DRIVER)
    for _ in range(3):
        with pytest.raises(protocol.Unavailable, match="hangs in the kernel") as refused:
            driver.storage.list(DRIVER)

    assert "list in process " in str(refused.value)
    assert driver.calls() == ["list"]
    dead.go()
    driver.does("")
    wait_until("it is asked again", lambda: _lists(driver.storage))
    assert driver.calls() == ["list"] * 2


def _lists(storage: Storage) -> bool:
    try:
        storage.list(DRIVER)
    except protocol.Unavailable:
        return False
    return True


@pytest.mark.parametrize("callout", ["provision", "delete", "adopt"])
def test_calls_that_hang_do_not_become_more_than_may_run_at_once(
    driver: Driver, dead: DeadDisk, callout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol.CALLOUTS[callout], "seconds", 0.5)
    driver.does(f"cat {dead.path}/x")
    call: Callable[..., object] = getattr(driver.storage, callout)

    for _ in range(2):
        with pytest.raises(protocol.Internal):
            call(DRIVER, REQUEST)
    for _ in range(2):
        with pytest.raises(
            protocol.Unavailable,
            match="2 callouts of the driver",
        ) as refused:
            call(DRIVER, REQUEST)

    assert f"{callout} in process " in str(refused.value)
    assert driver.calls() == [callout] * 2


FIRST_PROCESS = """
import subprocess, threading, time
from pathlib import Path
from cluster.controller import storage

def zombies():
    files = Path("/proc").glob("[0-9]*/stat")
    stats = [file.read_text().rpartition(")")[2].split() for file in files]
    return sum(fields[:2] == ["Z", "1"] for fields in stats)

def wait_for(count):
    deadline = time.monotonic() + 20
    while zombies() != count:
        assert time.monotonic() < deadline, zombies()
        time.sleep(0.05)

for _ in range(5):
    subprocess.run(["sh", "-c", "sleep 0.2 &"])
wait_for(5)
storage._REAP_SECONDS = 0.1
threading.Thread(target=storage.reap_strays, daemon=True).start()
wait_for(0)
print("none is left")
"""


def test_the_first_process_of_a_container_keeps_no_zombies() -> None:
    """What a driver leaves behind becomes a child of the first process of its container."""
    first = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", FIRST_PROCESS]

    done = subprocess.run(first, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.stdout == "none is left\n", done.stderr
