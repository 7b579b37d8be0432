"""The terminal of the person who runs a command: how wide it is, and what it can show."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

# Tables have at most so many columns where no terminal has another width, as in a pipe.
_COLUMNS = 100
_BAR_CELLS = 6
_BLOCKS = "\u258f\u258e\u258d\u258c\u258b\u258a\u2589\u2588"  # an eighth of a cell to a whole one
_ASCII = ("#", "-")
# From here on a bar is red, as the alert of a full volume begins there.
_FULL_PERCENT = 90
_RED = "31"


class Painted(str):
    """A text with a colour that takes no columns."""

    colour = ""

    def paint(self, padded: str) -> str:
        """Returns the text in its colour. padded: the text with blanks behind."""
        return "\x1b[{}m{}\x1b[0m".format(self.colour, padded) if self.colour else padded


def columns() -> int:
    """How many columns a table may have: those of COLUMNS or of the terminal on stdout, else
    100."""
    import shutil

    return shutil.get_terminal_size((_COLUMNS, 24)).columns


def is_terminal(stream: "TextIO") -> bool:
    """Whether the stream is a terminal on which a line can be written anew. One that says it is
    dumb cannot do that."""
    return os.environ.get("TERM") != "dumb" and stream is not None and stream.isatty()


def percent(part: int, whole: int) -> "int | None":
    """How many per cent of `whole` the part is, rounded up as df does, from 0 to 100; None of
    nothing."""
    if whole <= 0:
        return None
    return max(0, min(100, -(-100 * part // whole)))


def bar(percentage: int) -> Painted:
    """A bar for the terminal on stdout. It is red when it is almost full, unless NO_COLOR is
    set."""
    text = Painted(_block_bar(percentage) if _has_blocks() else _ascii_bar(percentage))
    if percentage >= _FULL_PERCENT and not os.environ.get("NO_COLOR"):
        text.colour = _RED
    return text


def _ascii_bar(percentage: int) -> str:
    full, empty = _ASCII
    count = (percentage * _BAR_CELLS + 50) // 100
    return full * count + empty * (_BAR_CELLS - count)


def _block_bar(percentage: int) -> str:
    steps = (percentage * _BAR_CELLS * len(_BLOCKS) + 50) // 100
    whole, rest = divmod(steps, len(_BLOCKS))
    last = _BLOCKS[rest - 1] if rest else ""
    return (_BLOCKS[-1] * whole + last).ljust(_BAR_CELLS, "\u2591")


def _has_blocks() -> bool:
    """Whether the locale is one of UTF-8. The encoding of stdout alone does not tell: Python writes
    UTF-8 where LC_ALL is C, too."""
    names = [os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    locale = next(filter(None, names), "")
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return encoding == "utf8" and "utf8" in locale.lower().replace("-", "")
