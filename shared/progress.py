"""The progress of work on many bytes, for the person who waits: bytes, rate and time left.

On a terminal, one line of stderr is written anew. Elsewhere, as in the log of a job, a line comes
now and then, so short work has none. Nothing goes to stdout, which may be the stream itself."""

import sys
import time

from shared import terminal
from shared.table import human_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional, TextIO

# How often a line is written: anew on a terminal, and one more elsewhere.
_ANEW_SECONDS = 0.2
_LINE_SECONDS = 60.0
_NEVER_SECONDS = float("inf")
# Before this time no rate is known that tells when the work ends.
_RATE_SECONDS = 1.0
_CLEAR = "\r\x1b[K"


class Progress:
    """The progress of one piece of work. Its end wipes the line off the terminal."""

    def __init__(
        self,
        name: str,
        total_bytes: int,
        stream: "Optional[TextIO]" = None,
        clock: "Callable[[], float]" = time.monotonic,
        silent: bool = False,
    ) -> None:
        """name: of the volume. total_bytes: of the data to come; 0 if nobody knows. stream: stderr,
        unless given. silent: nothing is shown."""
        self._name = name
        self._total_bytes = total_bytes
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._is_terminal = terminal.is_terminal(self._stream)
        self._every_seconds = _ANEW_SECONDS if self._is_terminal else _LINE_SECONDS
        if silent:
            self._every_seconds = _NEVER_SECONDS
        self._began = clock()
        self._written = self._began
        self._done_bytes = 0
        self._is_shown = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown and self._is_terminal:
            self._write(_CLEAR)

    def add(self, more_bytes: int) -> None:
        """So many more bytes are done."""
        self._done_bytes += more_bytes
        now = self._clock()
        if now - self._written < self._every_seconds:
            return
        self._written = now
        self._is_shown = True
        text = sentence(self._name, self._done_bytes, self._total_bytes, now - self._began)
        self._write(_CLEAR + text if self._is_terminal else text + "\n")

    def _write(self, text: str) -> None:
        """A person who does not look any more does not end the work."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._every_seconds = _NEVER_SECONDS


def sentence(name: str, done_bytes: int, total_bytes: int, seconds: float) -> str:
    """Such as "pvc-1: 1.2 GiB of 5 GiB, 24%, 120 MiB/s, 32 s left".

    total_bytes: 0 if nobody knows. seconds: since the work began."""
    parts = [human_bytes(done_bytes)]
    percentage = terminal.percent(done_bytes, total_bytes)
    if percentage is not None:
        parts = ["{} of {}".format(parts[0], human_bytes(total_bytes)), "{}%".format(percentage)]
    if seconds >= _RATE_SECONDS:
        if percentage is None:
            parts.append(_rate(done_bytes, seconds))
        else:
            parts.append(pace(done_bytes, total_bytes - done_bytes, seconds))
    return "{}: {}".format(name, ", ".join(parts))


def pace(done_bytes: int, left_bytes: int, seconds: float) -> str:
    """Such as "120 MiB/s, 32 s left". seconds: that those which are done took."""
    rate = _rate(done_bytes, seconds)
    if not done_bytes:
        return rate
    left_seconds = seconds * max(0, left_bytes) / done_bytes
    return "{}, {} left".format(rate, human_seconds(left_seconds))


def _rate(done_bytes: int, seconds: float) -> str:
    return "{}/s".format(human_bytes(int(done_bytes / seconds) if seconds > 0 else 0))


def human_seconds(seconds: float) -> str:
    """Such as "32 s", "5 min" or "2 h 10 min"."""
    if seconds < 60:
        return "{:.0f} s".format(seconds)
    minutes = round(seconds / 60)
    if minutes < 60:
        return "{} min".format(minutes)
    return "{} h {} min".format(minutes // 60, minutes % 60)
