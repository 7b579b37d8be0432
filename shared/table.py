"""What a person reads and answers: an aligned table, bytes in a form that can be read, a
question."""

import os
import sys

from shared import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Iterator, List, Sequence, Tuple

    Cells = Sequence[str]

# As a shell has it of a program that SIGPIPE ended.
_READER_LEFT = 141
BAR = ""  # the heading of a column of bars
_GAP = "  "  # between two columns
_NAME_COLUMNS = len("pvc-") + 36  # of a PV's name, which has the uid of its claim
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


def aligned(headings: "Cells", rows: "Sequence[Cells]") -> str:
    """A table whose columns are all aligned to the left, also those of numbers."""
    lines = [headings, *rows]
    widths = _widths(lines)
    return "\n".join(_line(line, widths) for line in lines)


def fitted(
    headings: "Cells", rows: "Sequence[Cells]", expendable: "Cells", columns: int
) -> "Tuple[str, List[str]]":
    """A table as `aligned` makes it, in at most `columns` columns. No name in it is cut.

    headings: the first is of names. A name that is longer than a PV's has a line of its own, as in
    the output of df. expendable: the headings that may be left out, the least important first.

    Returns the table, and the headings that were left out. The last column that stays is broken
    behind slashes, if the table would be too wide even so, or without the most important of the
    expendable."""
    kept = [number for number, heading in enumerate(headings) if heading not in expendable]
    layout = _Layout([headings, *rows], kept, columns)
    for heading in reversed(expendable):
        if heading in headings:
            layout.add(headings.index(heading), is_first=heading == expendable[-1])
    left_out = [heading for number, heading in enumerate(headings) if number not in layout.shown]
    return "\n".join(layout.text()), left_out


def use_cells(part: object, whole: object) -> "List[str]":
    """The cells of the columns USE% and BAR: how much of `whole` the part is; "-" if that is not
    known."""
    percentage = None
    if isinstance(part, int) and isinstance(whole, int):
        percentage = terminal.percent(part, whole)
    if percentage is None:
        return ["-", ""]
    return ["{:3}%".format(percentage), terminal.bar(percentage)]


def add_output(parser: "ArgumentParser") -> None:
    """Adds the arguments of a command that prints tables: `output` is then None, "wide" or
    "json"."""
    parser.add_argument(
        "-o",
        "--output",
        choices=("wide", "json"),
        help="wide: all columns, however wide the table is; json: one JSON object, for programs",
    )
    parser.add_argument(
        "--json", dest="output", action="store_const", const="json", help="the same as -o json"
    )


def print_fitted(
    headings: "Cells", rows: "Sequence[Cells]", expendable: "Cells", wide: bool
) -> "List[str]":
    """Prints a table that fits the terminal, or a pipe. A pipe gets no bars.

    headings, expendable: as `fitted` has them. wide: prints all columns instead. Returns the
    headings that were left out."""
    if not terminal.is_terminal(sys.stdout) and BAR in headings:
        column = headings.index(BAR)
        headings = _without(headings, column)
        rows = [_without(row, column) for row in rows]
    if wide:
        print(aligned(headings, rows))
        return []
    table, left_out = fitted(headings, rows, expendable, terminal.columns())
    print(table)
    return [heading for heading in left_out if heading != BAR]


def print_left_out(headings: "Cells") -> None:
    """Tells which columns the tables above do not have: below the tables on a terminal, and on
    stderr where a pipe has the tables."""
    if not headings:
        return
    names = ", ".join(dict.fromkeys(headings))
    text = "not shown for want of room: {}; -o wide shows all columns".format(names)
    if terminal.is_terminal(sys.stdout):
        print("\n" + text)
    else:
        print(text, file=sys.stderr)


def _without(cells: "Cells", column: int) -> "List[str]":
    return [*cells[:column], *cells[column + 1 :]]


class _Layout:
    """A table whose columns have to fit. shown: the numbers of the columns that are shown, of which
    the last one stays the last."""

    def __init__(self, lines: "Sequence[Cells]", shown: "List[int]", columns: int) -> None:
        self.shown = shown
        self._lines = lines
        self._columns = columns
        self._widths = _widths(lines)
        self._widths[0] = min(self._widths[0], max(_NAME_COLUMNS, len(lines[0][0])))

    def add(self, column: int, is_first: bool) -> None:
        """Shows one more column if there is room. is_first: the last column is rather broken."""
        more = sorted([*self.shown, column])
        last = more[-1]
        if is_first and self._total(more) > self._columns:
            self._widths[last] = self._broken_width(last)
        if self._total(more) <= self._columns:
            self.shown = more

    def _broken_width(self, column: int) -> int:
        pieces = [piece for line in self._lines for piece in _pieces(line[column], 0)]
        return max(map(len, pieces))

    def _total(self, columns: "Sequence[int]") -> int:
        return sum(self._widths[column] for column in columns) + len(_GAP) * (len(columns) - 1)

    def text(self) -> "Iterator[str]":
        """The lines of the table, without rows that show nothing."""
        widths = [self._widths[column] for column in self.shown]
        spare = self._columns - self._total(self.shown)
        widths[-1] = max(1, widths[-1] + spare)
        for line in self._lines:
            cells = [line[column] for column in self.shown]
            if any(cells):
                yield from _broken(cells, widths)


def _widths(lines: "Sequence[Cells]") -> "List[int]":
    return [max(map(len, cells)) for cells in zip(*lines)]


def _broken(cells: "List[str]", widths: "Sequence[int]") -> "Iterator[str]":
    """The lines of a row."""
    if len(cells[0]) > widths[0]:
        yield cells[0]
        cells = ["", *cells[1:]]
    for piece in _pieces(cells[-1], widths[-1]):
        yield _line([*cells[:-1], piece], widths)
        cells = [""] * len(cells)


def _pieces(text: str, columns: int) -> "Iterator[str]":
    """The text, broken behind slashes where that makes pieces that fit into the columns."""
    if len(text) <= columns:
        yield text
        return
    piece = ""
    for part in text.replace("/", "/\n").split("\n"):
        if piece and len(piece + part) > columns:
            yield piece
            piece = ""
        piece += part
    yield piece


def _line(cells: "Cells", widths: "Sequence[int]") -> str:
    padded = []
    for cell, width in zip(cells, widths):
        text = cell.ljust(width)
        padded.append(cell.paint(text) if isinstance(cell, terminal.Painted) else text)
    return _GAP.join(padded).rstrip()


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
