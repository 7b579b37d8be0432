"""The virtual environments that building and testing use. They are made from requirements pinned by
hash, and kept in the cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST = (3, 11)  # that the pinned packages are for
# Of the environment for building and testing.
_FILES = [HERE / "requirements.txt", HERE / "requirements-test.txt"]
# The file in an environment that says that nothing of it is missing.
_COMPLETE = "complete"


def cache() -> Path:
    """The directory, outside the tree, that keeps between runs what takes long to make."""
    path = _cache_path()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(
            f"the cache {path} cannot be made ({error.strerror}): name another directory "
            "with FLEXVOL_CACHE"
        ) from None
    return path


def _cache_path() -> Path:
    chosen = os.environ.get("FLEXVOL_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "flexvol")


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Locks what is made in the cache: a second run waits for the first to make it. The work in
    this context has the usual priority, as others wait for it: at the priority of a run that was
    started with `nice` or `chrt --idle` it might never end beside them.

    :param name: of the file in the cache that is locked"""
    with _usual_priority(), open(cache() / name, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _usual_priority() -> Iterator[None]:
    """Gives this thread, and the processes that it starts, the priority of a program that was
    started without `nice`, unless the priority is higher, or this user may not raise it."""
    if not hasattr(os, "sched_setscheduler"):  # no Linux
        yield
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    policy = os.sched_getscheduler(0)
    with contextlib.suppress(PermissionError):
        if policy in (os.SCHED_IDLE, os.SCHED_BATCH):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, min(nice, 0))
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        if policy in (os.SCHED_IDLE, os.SCHED_BATCH):
            os.sched_setscheduler(0, policy, os.sched_param(0))


def python() -> Path:
    """The interpreter of an environment for building and testing, made now if it is not in the
    cache."""
    return _made("venv", _FILES)


def is_made() -> bool:
    """Whether the cache has the environment for building and testing, complete. A cache that this
    user may not read has none."""
    return os.path.exists(_cache_path() / _name("venv", _FILES) / _COMPLETE)


def sbom_python() -> Path:
    """The interpreter of an environment with the tool that writes an SBOM, made now if it is not in
    the cache."""
    return _made("sbom", [HERE / "requirements-sbom.txt"])


def _name(kind: str, files: list[Path]) -> str:
    """The name in the cache of an environment with the packages of requirements files.

    :param kind: how the name begins"""
    content = b"".join(file.read_bytes() for file in files)
    key = hashlib.sha256(content + sys.version.encode()).hexdigest()[:12]
    return f"{kind}-{key}"


def _made(kind: str, files: list[Path]) -> Path:
    """The interpreter of such an environment, made now if it is not in the cache."""
    target = cache() / _name(kind, files)
    with locked(f"{target.name}.lock"):
        if not (target / _COMPLETE).exists():
            _make(target, files)
    return target / "bin/python"


def _make(target: Path, files: list[Path]) -> None:
    if sys.version_info < OLDEST:
        version = sys.version.split()[0]
        oldest = f"{OLDEST[0]}.{OLDEST[1]}"
        raise SystemExit(
            f"python3 is {version}, and this needs {oldest} or newer: "
            "put a newer python3 first on PATH"
        )
    if importlib.util.find_spec("ensurepip") is None:
        raise SystemExit(
            f"{sys.executable} has no venv, which makes the environment for building: "
            "as root, on Debian: apt-get install python3-venv"
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
    (target / _COMPLETE).touch()


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
        f"the Python packages of {names} cannot be installed: {reason}. "
        "pip fetches them from PyPI, or from what PIP_INDEX_URL or PIP_FIND_LINKS names"
    )
