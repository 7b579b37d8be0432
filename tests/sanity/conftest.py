"""The fixtures of the tests of flexvol sanity."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/sanity/" in item.nodeid and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="a throw-away root needs root"))


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """An executable that does nothing, for tests that need only its root."""
    path = tmp_path / "driver"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path
