"""shared/table.py: what a person reads."""

from __future__ import annotations

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


def test_a_bar_has_its_colour_in_the_table_and_takes_no_columns_for_it() -> None:
    red = terminal.Painted("####")
    red.colour = "31"

    assert table.aligned(("A", "", "B"), [("a", red, "b"), ("a", "", "b")]) == (
        "A        B\na  \x1b[31m####\x1b[0m  b\na        b"
    )
