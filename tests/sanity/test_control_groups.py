"""Control groups of the throw-away root: what is over a limit ends, and nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.host import control_groups
from node.host.control_groups import Groups, Limits

_MEMORY_BYTES = 64 << 20
_PROCESSES = 20
MUCH = f"bytearray({2 * _MEMORY_BYTES})"
MANY = f"""
import subprocess
for _ in range({2 * _PROCESSES}):
    subprocess.Popen(["sleep", "1"])"""
THREADS = f"""
import threading, time
for _ in range({2 * _PROCESSES}):
    threading.Thread(target=time.sleep, args=(1,)).start()"""


@pytest.fixture
def groups() -> Iterator[Groups]:
    name = f"flexvol-sanity-test-{os.getpid()}"
    made = control_groups.make(name, Limits(_MEMORY_BYTES, _PROCESSES))
    try:
        yield made
    finally:
        made.remove()
    assert not any(Path(path).exists() for path in made.paths)


@pytest.mark.parametrize(
    ("limit", "program", "ends"),
    [
        pytest.param("memory", "print('little')", [0], id="little memory"),
        pytest.param("memory", MUCH, [-9], id="much memory"),
        pytest.param("pids", MANY, [1], id="many processes"),
        pytest.param("pids", THREADS, [1], id="many threads"),
    ],
)
def test_what_is_over_a_limit_ends(
    limit: str, program: str, ends: list[int], groups: Groups
) -> None:
    if limit not in groups.limited:
        pytest.skip(f"no control group limits {limit} here")

    done = subprocess.run(
        [sys.executable, "-c", program], preexec_fn=groups.enter, capture_output=True, check=False
    )

    assert done.returncode in ends, done.stderr
    _wait_for_the_end(groups)


def _wait_for_the_end(groups: Groups) -> None:
    for path in groups.paths:
        while (Path(path) / "cgroup.procs").read_text():
            continue


def test_a_group_that_is_there_already_is_not_taken(groups: Groups) -> None:
    name = f"flexvol-sanity-test-{os.getpid()}"

    assert control_groups.make(name, Limits(_MEMORY_BYTES, _PROCESSES)).paths == []


def test_where_no_group_can_be_made_there_are_none() -> None:
    """As in a container, where what shows the groups cannot be written to."""
    program = (
        "from node.host.control_groups import *;"
        "groups = make('flexvol-sanity-test-none', Limits(1 << 26, 20));"
        "groups.enter(); groups.remove(); print(groups.paths)"
    )
    lines = f"""
        mount -t tmpfs -o ro none /sys/fs/cgroup
        exec {sys.executable} -c "{program}"
    """

    printed = subprocess.check_output(["unshare", "-m", "sh", "-c", lines], text=True)

    assert printed == "[]\n"
