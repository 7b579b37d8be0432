"""The virtual environments that building and testing use. They are made from requirements pinned by
hash, and kept in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def cache() -> Path:
    """The directory, outside the tree, that keeps between runs what takes long to make."""
    chosen = os.environ.get("FLEXVOL_CACHE")
    if chosen:
        path = Path(chosen)
    else:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "flexvol")
    path.mkdir(parents=True, exist_ok=True)
    return path


def python() -> Path:
    """The interpreter of an environment with both requirements files. The environment is made now
    if it is not in the cache."""
    files = [HERE / "requirements.txt", HERE / "requirements-test.txt"]
    content = b"".join(file.read_bytes() for file in files)
    key = hashlib.sha256(content + sys.version.encode()).hexdigest()[:12]
    target = cache() / f"venv-{key}"
    with open(target.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second build waits for the first to make it
        if not (target / "complete").exists():
            if importlib.util.find_spec("ensurepip") is None:
                raise SystemExit("Python's venv is missing here: apt-get install python3-venv")
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", target], check=True)
            install(target / "bin/python", files)
            (target / "complete").touch()
    return target / "bin/python"


def install(interpreter: Path, files: list[Path], *options: str) -> None:
    """Installs requirements files. pip refuses a package whose hash is not the one pinned.

    :param options: further options of `pip install`"""
    line = [str(interpreter), "-m", "pip", "install", "--quiet"]
    line += ["--require-hashes", "--no-deps", *options]
    for file in files:
        line += ["-r", str(file)]
    subprocess.run(line, check=True)
