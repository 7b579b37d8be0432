"""Broken drivers: each is a correct one with one fault, made by replacing parts of its text."""

from __future__ import annotations

import dataclasses

from tests.sanity.drivers import Kind, replaced


@dataclasses.dataclass(frozen=True)
class Broken:
    """A driver with one fault.

    check: the name of the check that finds the fault. kind: the correct driver. changes: parts of
    its text, and what stands there instead. where: tells the driver from others with the fault.
    message: a part of what the check says."""

    check: str
    kind: Kind
    changes: dict[str, str]
    where: str = ""
    message: str = ""

    def __str__(self) -> str:
        words = [self.check, str(self.kind)]
        if self.where:
            words.append(self.where)
        return "-".join(words)

    def text(self) -> str:
        """The driver."""
        text = self.kind.text()
        for old, new in self.changes.items():
            text = replaced(text, old, new)
        return text
