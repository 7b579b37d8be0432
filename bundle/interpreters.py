"""The Pythons of this machine, since a node may have any of them: found, never named."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

_NAME = re.compile(r"python3(\.[0-9]+)?")
_QUESTION = (
    "import sys; print(sys.implementation.name, *sys.version_info[:2]); print(sys.executable)"
)


def find() -> dict[tuple[int, int], Path]:
    """One CPython of each version, the oldest first: the distribution's, those on PATH, and those
    that pyenv made."""
    places = [Path("/usr/bin"), Path("/usr/local/bin"), *sorted(Path("/opt").glob("*/bin"))]
    places += [Path(place) for place in os.environ.get("PATH", os.defpath).split(":") if place]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places += sorted(pyenv.glob("versions/*/bin"))
    found: dict[tuple[int, int], Path] = {}
    for place in places:
        for path in sorted(place.glob("python3*")):
            if _NAME.fullmatch(path.name):
                version, real = _ask(path)
                if version >= (3, 6):
                    found.setdefault(version, real)
    return dict(sorted(found.items()))


def _ask(path: Path) -> tuple[tuple[int, int], Path]:
    """Version and true path of an interpreter; version 0 of what is none, such as pyenv's shim of
    an absent one."""
    try:
        line = [str(path), "-I", "-S", "-c", _QUESTION]
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=True)
        (name, major, minor), real = (
            done.stdout.splitlines()[0].split(),
            done.stdout.splitlines()[1],
        )
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return (0, 0), path
    return (int(major), int(minor)) if name == "cpython" else (0, 0), Path(real).resolve()
