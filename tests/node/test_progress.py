"""Who waits for a long export or import at a terminal sees how far the work is; nothing of that is
in the stream."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.nodes import MIB, Node
from tests.terminals import Terminal

# What is shown on a terminal: a line that is written anew.
SHOWN = re.compile(
    r"\r\x1b\[K(?:check of )?pvc-1: [\d.]+ [KM]iB of [\d.]+ MiB, \d+%"
    r"(?:, [\d.]+ [KM]?i?B/s, \d+ s left)?"
)
# The work of these tests lasts so long that the line is written more than once.
PAUSE_SECONDS = 0.7


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal() as terminal:
        yield terminal


def with_data(node: Node) -> None:
    node.provision(size=64 * MIB)
    pod = node.mount("web")
    (pod / "file").write_bytes(os.urandom(20 * MIB))
    node.unmount("web")


def exported(node: Node, stderr: int) -> bytes:
    """The stream, which is read slowly."""
    line = [*node.executable, "export", "pvc-1"]
    exporting = node.start(*line, stderr=stderr, env={**os.environ, "TERM": "xterm"})
    assert exporting.stdout
    with exporting.stdout:
        stream: bytes = exporting.stdout.read(MIB)
        for _ in range(3):
            time.sleep(PAUSE_SECONDS)
            stream += exporting.stdout.read(4 * MIB)
        stream += exporting.stdout.read()
    assert exporting.wait(20) == 0
    return stream


def blocks_of(stream: bytes) -> bytes:
    """All behind the header, in which is about how much will come."""
    first, _, blocks = stream.split(b"\n", 2)
    assert first == b"flexvol volume stream 1"
    return blocks


def test_an_export_shows_its_progress_on_a_terminal_and_nothing_of_it_is_in_the_stream(
    node: Node, terminal: Terminal
) -> None:
    with_data(node)

    stream = exported(node, terminal.used)

    seen = terminal.all_shown()
    assert SHOWN.match(seen), seen
    assert "\n" not in seen and seen.endswith("\r\x1b[K")
    assert "B/s" in seen
    assert blocks_of(stream) == blocks_of(exported(node, subprocess.DEVNULL))


def test_in_a_pipe_a_short_export_shows_nothing(node: Node, tmp_path: Path) -> None:
    with_data(node)
    log = tmp_path / "log"

    with log.open("wb") as file:
        exported(node, file.fileno())

    assert log.read_bytes() == b""


def test_an_import_shows_how_much_has_come_of_how_much_will(node: Node, terminal: Terminal) -> None:
    with_data(node)
    stream = exported(node, subprocess.DEVNULL)
    node.command("pool", "init", "fast", "--reserve", "0")
    line = [*node.executable, "import", "--pool", "fast"]
    environment = {**os.environ, "TERM": "xterm"}

    importing = node.start(*line, stdin=subprocess.PIPE, stderr=terminal.used, env=environment)
    assert importing.stdin and importing.stdout
    for begin in range(0, len(stream), 8 * MIB):
        importing.stdin.write(stream[begin : begin + 8 * MIB])
        importing.stdin.flush()
        time.sleep(PAUSE_SECONDS)
    said, _ = importing.communicate()

    assert said.decode() == "imported volume pvc-1 into pool fast\n"
    seen = terminal.all_shown()
    assert SHOWN.match(seen), seen
