"""Notes the tests that fail, for bundle/failures.py."""

from __future__ import annotations

import json
import os

import pytest

# The file that gets a line of JSON for each failure; set by bundle/check.py.
VARIABLE = "FLEXVOL_TEST_FAILURES"


def note(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Writes what failed, if anybody asked for it."""
    path = os.environ.get(VARIABLE)
    if path and report.failed:
        when = report.when or "collect"
        line = json.dumps({"test": report.nodeid, "when": when, "text": report.longreprtext})
        with open(path, "a") as file:
            file.write(line + "\n")
