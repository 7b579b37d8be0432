"""Notes the tests that fail, for bundle/failures.py."""

from __future__ import annotations

import json
import os

import pytest

# The file that gets a line of JSON for each failure; set by bundle/check.py.
VARIABLE = "FLEXVOL_TEST_FAILURES"
# Taken out of the environment: a run of pytest that a test starts is not a run of bundle/check.py.
_PATH = os.environ.pop(VARIABLE, "")


def note(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Writes what failed, if anybody asked for it."""
    if _PATH and report.failed:
        noted = {"test": report.nodeid, "when": report.when, "text": report.longreprtext}
        with open(_PATH, "a") as file:
            file.write(json.dumps(noted) + "\n")
