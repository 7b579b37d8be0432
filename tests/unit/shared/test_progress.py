"""shared/progress.py: what a person sees of work that takes long."""

from __future__ import annotations

import io
import os
from typing import TextIO

import pytest

from shared import progress
from shared.progress import Progress
from tests.terminals import Terminal

MIB = 1 << 20


class Clock:
    """A clock that goes on only when it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(stream: TextIO, seconds: int) -> None:
    """Work on a MiB a second, of which half is done after that time."""
    clock = Clock()
    with Progress("pvc-1", 2 * seconds * MIB, stream, clock) as shown:
        for _ in range(seconds):
            clock.now += 1
            shown.add(MIB)


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        pytest.param(MIB, 4 * MIB, 0.5, "v: 1 MiB of 4 MiB, 25%", id="no rate is known yet"),
        pytest.param(
            MIB, 4 * MIB, 2, "v: 1 MiB of 4 MiB, 25%, 512 KiB/s, 6 s left", id="a few seconds"
        ),
        pytest.param(MIB, 0, 2, "v: 1 MiB, 512 KiB/s", id="nobody knows how much will come"),
        pytest.param(0, MIB, 2, "v: 0 B of 1 MiB, 0%, 0 B/s", id="nothing has come"),
        pytest.param(
            5 * MIB, 4 * MIB, 5, "v: 5 MiB of 4 MiB, 100%, 1 MiB/s, 0 s left", id="more than all"
        ),
    ],
)
def test_the_sentence(done: int, total: int, seconds: float, text: str) -> None:
    assert progress.sentence("v", done, total, seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(59.4, "59 s", id="less than a minute"),
        pytest.param(90, "2 min", id="minutes are rounded"),
        pytest.param(3599, "1 h 0 min", id="an hour"),
        pytest.param(7800, "2 h 10 min", id="hours and minutes"),
    ],
)
def test_a_time(seconds: float, text: str) -> None:
    assert progress.human_seconds(seconds) == text


def test_a_terminal_has_one_line_which_goes_when_the_work_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with Terminal() as terminal:
        with open(terminal.used, "w", closefd=False) as stream:
            run(stream, 3)
        seen = terminal.all_shown()

    clear = "\r\x1b[K"
    assert "\n" not in seen and seen.endswith(clear)
    assert f"{clear}pvc-1: 3 MiB of 6 MiB, 50%, 1 MiB/s, 3 s left{clear}" in seen


def test_elsewhere_a_line_comes_every_minute() -> None:
    log = io.StringIO()

    run(log, 130)

    assert log.getvalue().splitlines() == [
        "pvc-1: 60 MiB of 260 MiB, 24%, 1 MiB/s, 3 min left",
        "pvc-1: 120 MiB of 260 MiB, 47%, 1 MiB/s, 2 min left",
    ]


def test_a_reader_who_leaves_does_not_end_the_work() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")

    run(stream, 200)

    with pytest.raises(OSError):
        stream.close()
