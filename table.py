"""Rows for a person: an aligned table, and bytes in a form that can be read."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human_bytes(number: int) -> str:
    """1536 -> "1.5 KiB"; exact to three digits."""
    value, unit = float(number), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return (
        "{:.3g} {}".format(value, _UNITS[unit])
        if value < 1000
        else "{:.0f} {}".format(value, _UNITS[unit])
    )


def printable(text: str) -> str:
    """Without what would move the cursor or worse: what records and drivers say goes to no terminal
    as it is."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def aligned(headings: "Sequence[str]", rows: "Sequence[Sequence[str]]") -> str:
    """A table in columns; numbers (and what begins with a digit) are not treated apart, so every
    column is left."""
    lines = [list(headings)] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )
