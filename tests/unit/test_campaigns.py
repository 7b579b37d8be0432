"""What a run that is no campaign leaves out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sources import ROOT

CONFTEST = """
from tests import campaigns

def pytest_addoption(parser):
    parser.addoption("--campaign", action="store_true")
    parser.addoption("--first-cases", action="store_true")

def pytest_configure(config):
    for marker in ("campaign", "in_ci_with"):
        config.addinivalue_line("markers", marker)

def pytest_collection_modifyitems(config, items):
    campaigns.leave_out(config, items)
"""
TESTS = """
import pytest

@pytest.mark.campaign
def test_long(): pass

@pytest.mark.in_ci_with(kernel="old")
@pytest.mark.parametrize("fs", ["ext4", pytest.param("xfs", marks=pytest.mark.campaign)])
@pytest.mark.parametrize("kernel", ["new", "old"])
def test_both(kernel, fs): pass

@pytest.mark.parametrize("size", ["small", "large"])
def test_each(size): pass
"""


@pytest.mark.parametrize(
    ("options", "names"),
    [
        pytest.param([], ["both[old-ext4]", "each[small]", "each[large]"], id="CI"),
        pytest.param(["--first-cases"], ["both[old-ext4]", "each[small]"], id="first cases"),
        pytest.param(
            ["--campaign"],
            [
                "long",
                "both[new-ext4]",
                "both[new-xfs]",
                "both[old-ext4]",
                "both[old-xfs]",
                "each[small]",
                "each[large]",
            ],
            id="a campaign",
        ),
        pytest.param(
            ["--campaign", "--first-cases"],
            ["long", "both[new-ext4]", "each[small]"],
            id="first cases of a campaign",
        ),
    ],
)
def test_a_run_has(options: list[str], names: list[str], tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_these.py").write_text(TESTS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", f"--rootdir={tmp_path}", *options],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    prefix = "test_these.py::test_"
    lines = [line for line in done.stdout.splitlines() if line.startswith(prefix)]
    assert [line.removeprefix(prefix) for line in lines] == names
