"""What all tests share: the built files, which interpreter runs the driver, and the rule that CI
skips nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests import campaigns, noted_failures
from tests.halves import HALF
from tests.precompiled import precompile
from tests.sources import ROOT

NO_SKIP = os.environ.get("FLEXVOL_NO_SKIP") == "1"

# How long an example takes says nothing on a machine that runs other tests at the same time.
hypothesis.settings.register_profile(
    "flexvol", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("flexvol")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--python",
        metavar="PATH",
        help="the interpreter that runs dist/flexvol in the tests of a node",
    )
    parser.addoption(
        "--campaign",
        action="store_true",
        help="the long versions of the tests that have one",
    )
    parser.addoption(
        "--first-cases",
        action="store_true",
        help="of each test the first case only",
    )
    parser.addoption(
        "--measured",
        metavar="DIR",
        type=Path,
        default=ROOT / "dist",
        help="where the provisioner and the driver are whose cost is measured, of an older "
        "flexvol for example (default: dist)",
    )


@pytest.fixture(scope="session")
def campaign(request: pytest.FixtureRequest) -> bool:
    """Whether to run the full number of cases, which takes minutes, instead of the few that CI has
    time for."""
    return bool(request.config.getoption("--campaign"))


@pytest.fixture(scope="session")
def built() -> Path:
    """dist/flexvol, built from the sources as they are."""
    subprocess.run(["python3", "-m", "bundle.pack"], cwd=ROOT, check=True)
    return ROOT / "dist/flexvol"


@pytest.fixture(scope="session")
def for_python(
    built: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The built file, but for the interpreter in its header if another one was asked for."""
    chosen = tmp_path_factory.mktemp("driver") / "flexvol"
    header, zipped = built.read_bytes().split(b"exec ", 1)
    assert b"/usr/bin/python3" in header
    python = request.config.getoption("--python")
    if python:  # never shorter: zipimport
        header = header.replace(b"/usr/bin/python3", os.fsencode(python)) + b"#" * 80 + b"\n"
    chosen.write_bytes(header + b"exec " + zipped)
    chosen.chmod(0o755)
    return chosen


@pytest.fixture(scope="session")
def executable(for_python: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """How the driver is run: as a node has it, with its interpreter's bytecode."""
    installed = Path(shutil.copy(for_python, tmp_path_factory.mktemp("installed")))
    precompile(installed)
    return [str(installed)]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    campaigns.leave_out(config, items)
    HALF.order(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Passes over the tests that the other of two runs has: that run reports them."""
    return None if HALF.has(item.path) else True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    return _forbid_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    return _forbid_skip((yield))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    noted_failures.note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    noted_failures.note(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much the tests that count their cases did, for the log of CI."""
    totals: Counter[str] = Counter()
    for report in [report for reports in terminalreporter.stats.values() for report in reports]:
        if getattr(report, "when", "") == "teardown":
            totals.update(
                {name: count for name, count in report.user_properties if isinstance(count, int)}
            )
    for name, count in sorted(totals.items()):
        terminalreporter.write_line(f"{name}: {count}")


def _forbid_skip(report: Any) -> Any:
    """With FLEXVOL_NO_SKIP=1 a skip, of a test or of a whole file, is a failure that gives its
    reason."""
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which FLEXVOL_NO_SKIP=1 forbids: {reason}"
    return report
