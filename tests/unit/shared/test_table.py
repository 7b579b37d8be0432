"""shared/table.py: what a person reads."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from shared import table, terminal

PV = "pvc-0ad9f6c5-71a6-4f0c-9d53-6d1c52a5d0b1"
HEADINGS = ("VOLUME", "NODE", "SIZE", "CLAIM")
EXPENDABLE = ("SIZE", "NODE")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        pytest.param(0, "0 B", id="nothing"),
        pytest.param(999, "999 B", id="bytes have no fraction"),
        pytest.param(1000, "1000 B", id="a unit begins at 1024"),
        pytest.param(1023, "1023 B", id="the last that are bytes"),
        pytest.param(1024, "1 KiB", id="the first of the next unit"),
        pytest.param(1536, "1.5 KiB", id="a fraction of a unit"),
        pytest.param((1 << 20) - 1, "1024 KiB", id="almost the next unit"),
        pytest.param(20 << 30, "20 GiB", id="whole units"),
        pytest.param(5000 << 50, "5000 PiB", id="the largest unit goes on"),
    ],
)
def test_bytes_have_the_unit_that_fits(number: int, text: str) -> None:
    assert table.human_bytes(number) == text


def test_columns_are_aligned_to_the_left_without_blanks_at_the_end() -> None:
    assert table.aligned(("POOL", "SIZE"), [("default", "5 GiB"), ("x", "")]) == (
        "POOL     SIZE\ndefault  5 GiB\nx"
    )


def test_what_steers_a_terminal_is_not_printed() -> None:
    assert table.printable("a\x1b[31mb\n\u202ec") == "a?[31mb??c"


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        pytest.param(80, ["VOLUME", "NODE", "SIZE", "CLAIM"], id="all columns fit"),
        pytest.param(70, ["VOLUME", "NODE", "CLAIM"], id="the least important is left out first"),
        pytest.param(62, ["VOLUME", "NODE", "CLAIM"], id="the most important breaks the claim"),
        pytest.param(57, ["VOLUME", "CLAIM"], id="the rest is never left out"),
    ],
)
def test_columns_that_do_not_fit_are_left_out(columns: int, headings: list[str]) -> None:
    row = (PV, "node1", "10 GiB", "shop/data-db-0")

    text, left_out = table.fitted(HEADINGS, [row], EXPENDABLE, columns)

    heading, *lines = text.splitlines()
    assert heading.split() == headings
    assert sorted([*headings, *left_out]) == sorted(HEADINGS)
    assert all(len(line) <= columns for line in lines)
    assert lines[0].startswith(PV + " ")


def test_a_claim_is_broken_behind_its_namespace() -> None:
    row = (PV, "node1", "10 GiB", "shop/data-db-0")

    text, _ = table.fitted(HEADINGS, [row], EXPENDABLE, 62)

    _, first, second = text.splitlines()
    assert first.endswith("shop/")
    assert second == " " * first.index("shop/") + "data-db-0"


def test_a_name_longer_than_that_of_a_pv_has_a_line_of_its_own() -> None:
    archive = f"archived-0123456789abcdef-{PV}"
    rows = [(PV, "node1", "10 GiB", "a/b"), (archive, "node1", "1 GiB", "a/c")]

    text, left_out = table.fitted(HEADINGS, rows, EXPENDABLE, 80)

    heading, _, name, rest = text.splitlines()
    assert name == archive
    assert rest.index("a/c") == heading.index("CLAIM")
    assert left_out == []


def test_a_row_that_shows_nothing_is_left_out() -> None:
    rows = [(PV, "node1", "10 GiB", "a/b"), ("", "node2", "", "")]

    text, _ = table.fitted(HEADINGS, rows, EXPENDABLE, 46)

    assert text.splitlines() == [f"VOLUME{' ' * 36}CLAIM", f"{PV}  a/b"]


def test_a_pipe_gets_the_table_without_bars(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["pvc-1", *table.use_cells(9, 10)], ["pvc-2", *table.use_cells(None, 10)]]

    left_out = table.print_fitted(("VOLUME", "USE%", table.BAR), rows, (), wide=False)

    assert capsys.readouterr().out == "VOLUME  USE%\npvc-1    90%\npvc-2   -\n"
    assert left_out == []


def test_a_pipe_hears_on_stderr_which_columns_its_table_lacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table.print_left_out(["SIZE", "POOL", "SIZE"])

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "not shown for want of room: SIZE, POOL; -o wide shows all columns\n"


def test_a_bar_has_its_colour_in_the_table_and_takes_no_columns_for_it() -> None:
    red = terminal.Painted("####")
    red.colour = "31"

    assert table.aligned(("A", "", "B"), [("a", red, "b"), ("a", "", "b")]) == (
        "A        B\na  \x1b[31m####\x1b[0m  b\na        b"
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [
        pytest.param(1 << 30, "1 GiB", id="a number"),
        pytest.param("1 GiB", "?", id="a word"),
        pytest.param(None, "?", id="nothing"),
    ],
)
def test_a_size_that_a_driver_lists_is_shown_if_it_is_one(size: object, text: str) -> None:
    assert table.human_bytes_if_known(size) == text


@pytest.mark.parametrize(
    ("answer", "is_confirmed"),
    [
        pytest.param("yes\n", True, id="yes"),
        pytest.param("y\n", True, id="the first letter"),
        pytest.param(" YES \n", True, id="yes with capitals and blanks"),
        pytest.param("yes", True, id="yes before the end of stdin"),
        pytest.param("no\n", False, id="no"),
        pytest.param("\n", False, id="an empty line"),
        pytest.param("", False, id="the end of stdin"),
        pytest.param("yes please\n", False, id="more than a yes"),
        pytest.param("no\nyes\n", False, id="a yes in the second line"),
    ],
)
def test_a_deletion_is_confirmed_by_a_yes_alone(
    answer: str,
    is_confirmed: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))

    assert table.is_deletion_confirmed() == is_confirmed

    asked, told = capsys.readouterr()
    assert asked.startswith('\nDelete that for good? Type "yes": ')
    assert told == ("" if is_confirmed else "nothing was deleted\n")


def test_a_deletion_is_not_confirmed_by_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ctrl_c() -> str:
        raise KeyboardInterrupt

    for stdin in (None, SimpleNamespace(readline=ctrl_c)):
        monkeypatch.setattr(sys, "stdin", stdin)

        assert not table.is_deletion_confirmed()

        asked, told = capsys.readouterr()
        assert asked.endswith(": \n")  # what follows begins a line of its own
        assert told == "nothing was deleted\n"
