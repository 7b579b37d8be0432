"""What all tests share: the built files, which interpreter runs the driver, and the rule that CI skips nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NO_SKIP = os.environ.get("FLEXVOL_NO_SKIP") == "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--python", metavar="PATH", help="the interpreter that runs dist/flexvol in the tests of a node")


@pytest.fixture(scope="session")
def built() -> Path:
    """dist/flexvol, built from the sources as they are."""
    subprocess.run(["python3", "-m", "bundle.pack"], cwd=ROOT, check=True)
    return ROOT / "dist/flexvol"


@pytest.fixture(scope="session")
def executable(built: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """How the driver is run: by its own header, or by the interpreter that was asked for."""
    python = request.config.getoption("--python")
    if not python:
        return [str(built)]
    chosen = tmp_path_factory.mktemp("driver") / "flexvol"
    line = b"for python in /usr/bin/python3 "
    content = built.read_bytes()
    assert content.count(line) == 1
    chosen.write_bytes(content.replace(line, b"for python in " + os.fsencode(python) + b" "))
    chosen.chmod(0o755)
    return [str(chosen)]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if NO_SKIP and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which FLEXVOL_NO_SKIP=1 forbids: {report.longrepr}"
