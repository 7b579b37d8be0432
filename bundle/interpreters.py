"""Finds the Pythons of this machine, since a node may have any of them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

OLDEST = (3, 6)  # that the driver runs on
_NAME = re.compile(r"python3(\.[0-9]+)?")
_QUESTION = (
    "import sys; print(sys.implementation.name, *sys.version_info[:2]); print(sys.executable)"
)


def find() -> dict[tuple[int, int], Path]:
    """One CPython of each version, the oldest first: the distribution's, those on PATH, and those
    that pyenv made."""
    pythons: dict[tuple[int, int], Path] = {}
    for path in _candidates():
        version, executable = _ask(path)
        if version >= OLDEST:
            pythons.setdefault(version, executable)
    return dict(sorted(pythons.items()))


def _candidates() -> Iterator[Path]:
    """The files that may be interpreters, by their names."""
    directories = [Path("/usr/bin"), Path("/usr/local/bin")]
    directories += sorted(Path("/opt").glob("*/bin"))
    for name in os.environ.get("PATH", os.defpath).split(":"):
        if name:
            directories.append(Path(name))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    directories += sorted(pyenv.glob("versions/*/bin"))
    for directory in directories:
        for path in sorted(directory.glob("python3*")):
            if _NAME.fullmatch(path.name):
                yield path


def _ask(path: Path) -> tuple[tuple[int, int], Path]:
    """Version and true path of an interpreter. The version is (0, 0) of any other program, such as
    pyenv's shim of a Python that is not installed."""
    line = [str(path), "-I", "-S", "-c", _QUESTION]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=True)
        first, second = done.stdout.splitlines()[:2]
        name, major, minor = first.split()
    except (OSError, subprocess.SubprocessError, ValueError):
        return (0, 0), path
    if name != "cpython":
        return (0, 0), path
    return (int(major), int(minor)), Path(second).resolve()
