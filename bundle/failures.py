"""The tests that failed in the runs of ./build.sh test: which they are, whether they are run once
more, and how they are shown at the end, where a reader of a long log looks first.

The runs share a machine, and a test of a cluster or of a power failure can fail for no other reason
than that a program came too late. Such a test passes when it is run again alone. It is reported as
unsteady, because a race of flexvol's own would look the same. A failure that says that something
was left behind, or that a file of tests cannot be read, is never tried again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

# More tests than these do not fail by chance.
FEW = 4
# How many lines of a failure's text are shown.
_LINES = 12


@dataclasses.dataclass(frozen=True)
class Failure:
    """A test that failed, as tests/noted_failures.py writes it.

    test: pytest's name of it. when: "setup", "call", "teardown", or "collect" for a file that could
    not be read. text: what pytest says of it."""

    test: str
    when: str
    text: str


def read(file: Path) -> list[Failure]:
    """The failures of one run, in their order.

    :param file: what the run wrote; a run without failures has written none"""
    if not file.exists():
        return []
    return [Failure(**json.loads(line)) for line in file.read_text().splitlines()]


def may_be_chance(failures: Sequence[Failure]) -> bool:
    """Whether the failures of all runs are so few, and of such a kind, that they are run again."""
    tests = {failure.test for failure in failures}
    return 0 < len(tests) <= FEW and all(one.when in ("setup", "call") for one in failures)


def again(words: Sequence[str], failures: Sequence[Failure]) -> tuple[str, ...]:
    """The words for pytest that run only what failed.

    :param words: the words of the run in which it failed"""
    options = [word for word in words if not word.startswith("tests/")]
    return (*dict.fromkeys(failure.test for failure in failures), *options)


def summary(failed: Sequence[Failure], unsteady: Sequence[Failure]) -> str:
    """What is printed at the end of all runs.

    :param failed: what failed, and was not tried again or failed again
    :param unsteady: what failed and passed when it was run again"""
    parts = [_shown("failed", failure) for failure in failed]
    parts += [
        _shown("UNSTEADY: failed beside other runs and passed alone; find out why", failure)
        for failure in unsteady
    ]
    return "\n".join(parts)


def _shown(outcome: str, failure: Failure) -> str:
    lines = failure.text.rstrip().splitlines()[-_LINES:]
    return "\n".join([f"{outcome}: {failure.test} ({failure.when})", *(f"    {x}" for x in lines)])
