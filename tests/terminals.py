"""A terminal that a test makes, to see what a program shows on it."""

from __future__ import annotations

import errno
import os
import pty
from types import TracebackType


class Terminal:
    """A pseudoterminal.

    used: the file descriptor that a program has; this object closes it."""

    def __init__(self) -> None:
        self._screen, self.used = pty.openpty()
        self._is_used = True

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_used()
        os.close(self._screen)

    def lines(self, number: int = 1) -> bytes:
        """So many lines, which a program has shown or will show."""
        seen = b""
        while seen.count(b"\n") < number:
            seen += os.read(self._screen, 4096)
        return seen

    def all_shown(self) -> str:
        """All that was shown, once every program that had the terminal has ended. The kernel's
        worker brings it in pieces, so that one read may not see the end."""
        self._close_used()
        seen = b""
        while True:
            try:
                seen += os.read(self._screen, 4096)
            except OSError as error:
                # So the kernel says that nobody has the other end any more.
                if error.errno != errno.EIO:
                    raise
                return seen.decode()

    def _close_used(self) -> None:
        if self._is_used:
            os.close(self.used)
        self._is_used = False
