"""The check that is judged at the moment, for the person who waits: one line of stderr, if that is
a terminal, which is written anew for each check."""

import sys

from shared import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from node.sanity.check import Check

_CLEAR = "\r\x1b[K"


class Line:
    """The line, which its end takes away. Nothing is shown where stderr is no terminal."""

    def __init__(self) -> None:
        self._is_terminal = terminal.is_terminal(sys.stderr)
        self._is_written = False

    def tell(self, check: "Check", number: int, count: int) -> None:
        """The check of this number begins. count: of all checks."""
        if self._is_terminal:
            self._is_written = True
            self._write("{}check {} of {}: {}".format(_CLEAR, number, count, check.name))

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_written:
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        """A person who does not look any more does not end the work."""
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            self._is_terminal = False
