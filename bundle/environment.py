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
OLDEST = (3, 11)  # that the pinned packages are for


def cache() -> Path:
    """The directory, outside the tree, that keeps between runs what takes long to make."""
    chosen = os.environ.get("FLEXVOL_CACHE")
    if chosen:
        path = Path(chosen)
    else:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "flexvol")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(
            f"the cache {path} cannot be made ({error.strerror}): name another directory with "
            "FLEXVOL_CACHE"
        ) from None
    return path


def python() -> Path:
    """The interpreter of an environment for building and testing, made now if it is not in the
    cache."""
    return _made("venv", [HERE / "requirements.txt", HERE / "requirements-test.txt"])


def sbom_python() -> Path:
    """The interpreter of an environment with the tool that writes an SBOM, made now if it is not in
    the cache."""
    return _made("sbom", [HERE / "requirements-sbom.txt"])


def _made(name: str, files: list[Path]) -> Path:
    """The interpreter of an environment with the packages of requirements files.

    :param name: how the environment's name in the cache begins"""
    content = b"".join(file.read_bytes() for file in files)
    key = hashlib.sha256(content + sys.version.encode()).hexdigest()[:12]
    target = cache() / f"{name}-{key}"
    with open(target.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second build waits for the first to make it
        if not (target / "complete").exists():
            _make(target, files)
    return target / "bin/python"


def _make(target: Path, files: list[Path]) -> None:
    if sys.version_info < OLDEST:
        raise SystemExit(
            f"python3 is {sys.version.split()[0]}, and this needs {OLDEST[0]}.{OLDEST[1]} or "
            "newer: put a newer python3 first on PATH"
        )
    if importlib.util.find_spec("ensurepip") is None:
        raise SystemExit(
            f"{sys.executable} has no venv, which makes the environment for building: as root, on "
            "Debian: apt-get install python3-venv"
        )
    names = " and ".join(file.name for file in files)
    print(
        f"making {target} with the packages of {names}; this takes a minute once",
        file=sys.stderr,
        flush=True,
    )
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", target], check=True)
    install(target / "bin/python", files)
    (target / "complete").touch()


def install(interpreter: Path, files: list[Path], *options: str) -> None:
    """Installs requirements files. pip refuses a package whose hash differs from the pinned hash.
    Ends the program with a sentence if the packages cannot be had.

    :param options: further options of `pip install`"""
    line = [str(interpreter), "-m", "pip", "install", "--quiet"]
    line += ["--require-hashes", "--no-deps", *options]
    for file in files:
        line += ["-r", str(file)]
    done = subprocess.run(line, check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return
    errors = [each for each in done.stderr.splitlines() if each.startswith("ERROR")]
    reason = (errors or done.stderr.strip().splitlines() or ["no reason given"])[-1]
    names = " and ".join(file.name for file in files)
    raise SystemExit(
        f"the Python packages of {names} cannot be installed: {reason}. pip fetches them from "
        "PyPI, or from what PIP_INDEX_URL or PIP_FIND_LINKS names"
    )
