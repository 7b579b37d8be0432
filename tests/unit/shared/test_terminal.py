"""shared/terminal.py: what a terminal can show, and how wide it is."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from shared import terminal
from tests.terminals import Terminal
from tests.unit.sources import ROOT

SCRIPT = (
    "from shared import terminal\nbar = terminal.bar({})\nprint(bar.paint(bar), terminal.columns())"
)
# Without LC_ALL, Python makes C.UTF-8 of the locale C.
PLAIN = {"COLUMNS": "", "NO_COLOR": "", "LC_ALL": "C"}


def on_terminal(percentage: int, **environment: str) -> str:
    """What a program prints whose stdout is a terminal."""
    line = [sys.executable, "-c", SCRIPT.format(percentage)]
    variables = {**os.environ, **PLAIN, **environment}
    with Terminal() as shown:
        subprocess.run(line, cwd=ROOT, stdout=shown.used, env=variables, check=True)
        return shown.all_shown().rstrip("\r\n")


@pytest.mark.parametrize(
    ("percentage", "environment", "bar"),
    [
        pytest.param(
            50, {"LC_ALL": "C.UTF-8"}, "\u2588\u2588\u2588\u2591\u2591\u2591", id="blocks"
        ),
        pytest.param(50, {}, "###---", id="ASCII where the locale has no blocks"),
        pytest.param(0, {}, "------", id="an empty volume"),
        pytest.param(100, {}, "\x1b[31m######\x1b[0m", id="a full volume is red"),
        pytest.param(100, {"NO_COLOR": "1"}, "######", id="no colour where nobody wants any"),
    ],
)
def test_a_bar(percentage: int, environment: dict[str, str], bar: str) -> None:
    assert on_terminal(percentage, **environment).rpartition(" ")[0] == bar


@pytest.mark.parametrize(
    ("environment", "columns"),
    [
        pytest.param({}, "100", id="a terminal that does not tell its width"),
        pytest.param({"COLUMNS": "80"}, "80", id="COLUMNS is set"),
    ],
)
def test_the_width_of_a_table(environment: dict[str, str], columns: str) -> None:
    assert on_terminal(50, **environment).rpartition(" ")[2] == columns


def test_only_a_terminal_that_is_not_dumb_has_lines_that_are_written_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Terminal() as shown, open(shown.used, "w", closefd=False) as stream:
        monkeypatch.setenv("TERM", "xterm")
        assert terminal.is_terminal(stream)
        assert not terminal.is_terminal(io.StringIO())
        monkeypatch.setenv("TERM", "dumb")
        assert not terminal.is_terminal(stream)


@pytest.mark.parametrize(
    ("part", "whole", "percentage"),
    [
        pytest.param(1, 1000, 1, id="a little is not nothing"),
        pytest.param(0, 1000, 0, id="nothing"),
        pytest.param(1001, 1000, 100, id="more than all is all"),
        pytest.param(-5, 1000, 0, id="less than nothing is nothing"),
        pytest.param(5, 0, None, id="a part of nothing"),
    ],
)
def test_per_cent(part: int, whole: int, percentage: int | None) -> None:
    assert terminal.percent(part, whole) == percentage
