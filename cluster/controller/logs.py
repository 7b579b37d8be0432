"""The form of the log: one entry a line, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys

# What an entry is about, as given in its `extra`: keys of their own in JSON.
_ABOUT = ("claim", "volume", "driver", "reason")
TEXT = "text"
JSON = "json"


class JsonFormatter(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """As logging.Formatter has it."""
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "part": record.name,
        }
        for key in _ABOUT:
            if hasattr(record, key):
                line[key] = getattr(record, key)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        line["message"] = record.getMessage()
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    """An entry is one line, but for an exception's trace. Whoever makes a claim may have written
    the names in the entry, and could else write lines of the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """As logging.Formatter has it."""
        return "".join(map(_printable, super().formatMessage(record)))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    quoted = ascii(character)
    return quoted[1:-1]


def log_to_stdout(style: str) -> None:
    """style: TEXT or JSON."""
    formatter: logging.Formatter
    if style == JSON:
        formatter = JsonFormatter()
    else:
        formatter = TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
