"""What a cluster leaves on this machine, and how it is undone: processes, network namespaces, cgroups. Undoing knows
only what the state directory says is ours, so it also undoes what a killed run left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
PREFIX = "fv-"  # of our network namespaces
_STOP_SECONDS = 5.0
_children: list[subprocess.Popen[bytes]] = []  # kept, because Python warns of one that is forgotten while it runs


def sh(*argv: object, check: bool = True, **keywords: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in argv], check=check, text=True, **keywords)


def spawn(state: Path, name: str, argv: list[object]) -> int:
    """Starts a program of the cluster; its number goes to NAME.pid and its output to NAME.log."""
    with open(state / f"{name}.log", "ab") as log:
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=state,
        )
    _children.append(child)
    (state / f"{name}.pid").write_text(f"{child.pid} {_started(child.pid)}")
    return child.pid


def stop(state: Path, name: str, number: int = signal.SIGTERM) -> None:
    """Ends one program of the cluster and waits until it is gone."""
    file = state / f"{name}.pid"
    pid = _ours(file)
    if pid is not None:
        _kill_group(pid, number)
        deadline = time.monotonic() + _STOP_SECONDS
        while _ours(file) is not None:
            if time.monotonic() > deadline:
                _kill_group(pid, signal.SIGKILL)
            _reap(pid)
            time.sleep(0.02)
    file.unlink(missing_ok=True)


def undo(state: Path) -> None:
    """Ends everything the state directory names, and removes the directory."""
    if not state.exists():
        return
    namespaces = {_mount_namespace(file.read_text().split()[0]) for file in state.glob("node*/ns.pid")}
    namespaces -= {None, _mount_namespace("self")}
    holders = sorted(file.stem for file in state.glob("*-ns.pid"))
    for name in sorted(file.stem for file in state.glob("*.pid") if file.stem not in holders):
        stop(state, name)
    _end(lambda: [pid for pid in _processes() if _mount_namespace(pid) in namespaces and pid not in _holders(state)])
    cgroups = [path for path in CGROUPS.glob("*/flexvol-node[0-9]*/**/") if path.is_dir()]
    _end(lambda: [pid for path in cgroups if path.exists() for pid in (path / "cgroup.procs").read_text().split()])
    for name in holders:
        stop(state, name, signal.SIGKILL)
    for line in sh("ip", "netns", "list", capture_output=True).stdout.splitlines():
        if line.startswith(PREFIX):
            sh("ip", "netns", "del", line.split()[0])
    for path in sorted(cgroups, key=lambda path: -len(path.parts)):
        with contextlib.suppress(FileNotFoundError):
            path.rmdir()
    shutil.rmtree(state)


def _end(find: Any) -> None:
    """Kills what `find` finds until it finds nothing."""
    deadline = time.monotonic() + _STOP_SECONDS
    while True:
        found = find()
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {found} of the cluster cannot be killed")
        time.sleep(0.05)


def _holders(state: Path) -> set[str]:
    return {file.read_text().split()[0] for file in state.glob("*-ns.pid")}


def _processes() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


def _mount_namespace(pid: str) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:  # it ended
        return None


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks: with its number it is the process, and not a later one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        return ""


def _ours(file: Path) -> int | None:
    """The process a pid file names, if it is still that process and alive."""
    try:
        pid, began = file.read_text().split()
        alive = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if alive and _started(int(pid)) == began else None


def _kill_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
