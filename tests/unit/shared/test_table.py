"""shared/table.py: what a person reads."""

from __future__ import annotations

import pytest

from shared import table


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
