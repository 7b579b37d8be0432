"""Every callout answers within its limit though the disk under the pool hangs: a stopped FUSE file
system."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.protocol import CALLOUTS
from tests.node.fuse_disk import Disk, processes_of
from tests.node.nodes import MIB, Node

LIMIT_SECONDS = 8
ANSWER_SECONDS = 5  # the driver stops waiting this long before its limit
# The built driver, with shorter limits; the real ones are minutes.
SHORT = f"""
import sys
sys.path.insert(0, sys.argv[1])
import flexvol
from shared import protocol
for callout in protocol.CALLOUTS.values():
    callout.seconds = {LIMIT_SECONDS}
sys.exit(flexvol.main(["loop"] + sys.argv[2:]))
"""


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    return make_node()


@pytest.fixture
def short(built: Path, request: pytest.FixtureRequest) -> list[str]:
    """How the built driver is run with shorter limits: only while the disk hangs, as real work may
    take longer on a busy machine."""
    return [
        request.config.getoption("--python") or "python3",
        "-I",
        "-S",
        "-c",
        SHORT,
        str(built),
    ]


@pytest.fixture
def disk(node: Node, tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(node, tmp_path / "disk")
    try:
        node.command("pool", "init", "default", "--reserve", "0")
        yield disk
    finally:
        disk.close()


def test_no_callout_outlives_its_limit_and_each_succeeds_when_the_disk_goes_on(
    node: Node, disk: Disk, short: list[str]
) -> None:
    for volume in ("pvc-1", "pvc-2", "pvc-3"):
        node.provision(volume)
    node.mount("cache", "pvc-3")
    web = node.mount("web")
    (web / "data").write_bytes(os.urandom(MIB))  # an unmount has something to wait for
    others = processes_of(node)
    arguments = {
        "init": [],
        "mount": [node.pod_dir("db", "pvc-2"), node.options("pvc-2")],
        "unmount": [node.pod_dir("web")],
        "expandfs": [
            node.options("pvc-3"),
            "",
            node.pod_dir("cache", "pvc-3"),
            str(64 * MIB),
            str(64 * MIB),
        ],
        "provision": [node.request("pvc-4")],
        "delete": [node.deletion("pvc-5")],
        "adopt": [node.deletion("pvc-2")],
        "list": [],
    }
    disk.stop()
    try:
        began = time.monotonic()
        running = {
            callout: node.start(*short, callout, *words, stdin=subprocess.DEVNULL)
            for callout, words in arguments.items()
        }
        replies = {"init": running.pop("init").communicate(timeout=60)[0]}
        # What eight programs at once take to start on this machine: init waits for no disk.
        usual_seconds = time.monotonic() - began
        for callout, process in running.items():
            replies[callout] = process.communicate(timeout=60)[0]
        seconds = time.monotonic() - began
    finally:
        disk.go_on()

    limit = LIMIT_SECONDS - ANSWER_SECONDS
    hung = f"did not end within {limit} s; see whether the pool's disk hangs".encode()
    assert seconds < LIMIT_SECONDS + usual_seconds
    assert b'"Success"' in replies.pop("init")
    assert [callout for callout, reply in replies.items() if hung not in reply] == []
    deadline = time.monotonic() + 20
    while processes_of(node) - others:
        assert time.monotonic() < deadline, "what hung is still there though the disk goes on"
        time.sleep(0.1)
    for callout in replies:
        node.ok(callout, *arguments[callout])
    node.unmount("db", "pvc-2")
    node.unmount("cache", "pvc-3")
    for volume in ("pvc-1", "pvc-2", "pvc-3", "pvc-4"):
        node.ok("delete", node.deletion(volume))
    assert node.mounts() == []


def test_the_limits_leave_room_for_the_answer() -> None:
    assert all(callout.seconds > ANSWER_SECONDS for callout in CALLOUTS.values())
