"""Pythons are found by asking each whether it is one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bundle import interpreters


def test_each_version_is_there_once_and_the_oldest_is_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "versions/x/bin"
    made.mkdir(parents=True)
    (made / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))

    found = interpreters.find()

    assert sys.version_info[:2] in found
    assert list(found) == sorted(found)
    assert all(path.is_file() and not path.is_symlink() for path in found.values())


def test_what_is_no_python_or_does_not_start_or_is_too_old_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = interpreters.find()
    said = {
        "python3": "not installed",
        "python3.4": "cpython 3 4\n/x",
        "python3.9": "pypy 3 9\n/x",
        "python3.99": "",
    }
    for name, words in said.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{words}'\n")
        program.chmod(0o755)
    (tmp_path / "python3.98").write_text("not to be run")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert interpreters.find() == before
