"""What a person reads and answers: an aligned table, bytes in a form that can be read, a
question."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

# As a shell has it of a program that SIGPIPE ended.
_READER_LEFT = 141
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human_bytes(number: int) -> str:
    """The number of bytes in the unit that fits, such as "1.5 KiB" for 1536; exact to three
    digits."""
    value = float(number)
    unit = 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    form = "{:.3g} {}" if value < 1000 else "{:.0f} {}"
    return form.format(value, _UNITS[unit])


def human_bytes_if_known(number: object) -> str:
    """As human_bytes; "?" for anything but an integer, as a driver may list a size."""
    return human_bytes(number) if isinstance(number, int) else "?"


def printable(text: str) -> str:
    """The text without what would move the cursor or worse: the words of records and drivers go to
    no terminal as they are."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def aligned(headings: "Sequence[str]", rows: "Sequence[Sequence[str]]") -> str:
    """A table whose columns are all aligned to the left, also those of numbers."""
    lines = [list(headings)]
    lines += [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: "Sequence[str]", widths: "Sequence[int]") -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths)]
    return "  ".join(padded).rstrip()


def is_deletion_confirmed() -> bool:
    """Asks whether what was shown is to be deleted, and reads a line from stdin. Returns whether
    the line is a yes; an end of stdin is a no. After a no, prints that nothing was deleted."""
    print('\nDelete that for good? Type "yes":', end=" ", flush=True)
    try:
        answer = sys.stdin.readline() if sys.stdin else ""
    except KeyboardInterrupt:
        answer = ""
    if not answer.endswith("\n"):
        print()  # the cursor still stands behind the question
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("nothing was deleted", file=sys.stderr)
    return False


def reader_left() -> int:
    """For a program whose output nobody reads any more, as head leaves: sends what is still
    unwritten nowhere, or the interpreter would complain at its end. Returns the exit status."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return _READER_LEFT
