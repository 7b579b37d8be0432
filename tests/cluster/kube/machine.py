"""What a cluster leaves on this machine, and how it is undone: processes, network namespaces,
mounts, loop devices and cgroups. Undoing touches only what bears our mark or lies in the state
directory, so it also undoes what a killed run left, and nothing of anyone else's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import Any, TypeVar

CGROUPS = Path("/sys/fs/cgroup")
# A machine can have a second test cluster beside the first: "2" is in the names of all its things.
NUMBER = os.environ.get("FLEXVOL_TEST_CLUSTER_NUMBER", "")
CGROUP_PREFIX = f"flexvol{NUMBER}-"  # and the node's name
PREFIX = f"fv{NUMBER}-"  # of our network namespaces
_STOP_SECONDS = 5.0
_LAST_LINES_BYTES = 2000
# Every program of a cluster, and what it starts (containerd's shims outlive it), has this in its
# environment; a process number alone may be another process by now.
_MARK = "FLEXVOL_TEST_CLUSTER"
# A root shell made by su may lack the sbin directories.
PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
_FETCH_ATTEMPTS = 3
_FETCH_AGAIN_SECONDS = 10.0
_Thing = TypeVar("_Thing")
# The processors are short, and the memory is not: Go's programs look for garbage less often.
_GO = {"GOGC": "400"}
# Children are kept, because Python warns of a child that is forgotten while it runs.
_children: list[subprocess.Popen[bytes]] = []


def sh(
    *argv: object, check: bool = True, env: dict[str, str] | None = None, **keywords: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a program with `env` added to the environment.

    Raises RuntimeError with what it printed if it fails and `check` is true.
    """
    line = [str(word) for word in argv]
    done = subprocess.run(
        line,
        check=False,
        text=True,
        env={**os.environ, **_GO, "PATH": PATH, **(env or {})},
        **keywords,
    )
    if check and done.returncode != 0:
        printed = "".join(text for text in (done.stdout, done.stderr) if text).strip()
        raise RuntimeError(
            f"{' '.join(line)}: status {done.returncode}: {printed[-_LAST_LINES_BYTES:]}"
        )
    return done


def fetch(step: Callable[[], _Thing]) -> _Thing:
    """What `step` returns, which gets something from a registry. A step that fails is tried again,
    twice: a registry is away for a moment now and then, and every test of the cluster would fail
    for that."""
    for attempt in range(1, _FETCH_ATTEMPTS):
        try:
            return step()
        except (RuntimeError, subprocess.CalledProcessError) as error:
            print(f"attempt {attempt}: {error}", file=sys.stderr, flush=True)
            time.sleep(_FETCH_AGAIN_SECONDS)
    return step()


def spawn(state: Path, name: str, argv: list[object]) -> subprocess.Popen[bytes]:
    """Starts a program of the cluster; its number goes to NAME.pid and its output to NAME.log."""
    with open(state / f"{name}.log", "ab") as log:
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=state,
            env={**os.environ, **_GO, "PATH": PATH, _MARK: str(state.resolve())},
        )
    _children.append(child)
    # In one step: the supervisor would start another one for a file without its number.
    new = state / f"{name}.pid.new"
    new.write_text(str(child.pid))
    new.rename(state / f"{name}.pid")
    return child


def stop(state: Path, name: str, number: int = signal.SIGTERM) -> None:
    """Ends one program of the cluster and waits until it is gone."""
    pid = running(state, name)
    if pid is not None:
        _kill_group(pid, number)
        deadline = time.monotonic() + _STOP_SECONDS
        # Its environment, by which it is known as ours, goes before its last thread.
        while _alive(pid):
            if time.monotonic() > deadline and running(state, name) == pid:
                _kill_group(pid, signal.SIGKILL)
            _reap(pid)
            time.sleep(0.02)
    (state / f"{name}.pid").unlink(missing_ok=True)


def running(state: Path, name: str) -> int | None:
    """The process of one program of the cluster, if it is alive."""
    try:
        pid = int((state / f"{name}.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if _alive(pid) and _marked(str(pid), state) else None


def undo(state: Path) -> None:
    """Ends everything of the cluster with that state directory, and removes the directory."""
    if not state.exists():
        return
    holders = sorted(file.stem for file in state.glob("*-ns.pid"))
    for name in sorted(file.stem for file in state.glob("*.pid") if file.stem not in holders):
        stop(state, name, signal.SIGKILL)
    held = {str(pid) for pid in (running(state, name) for name in holders) if pid is not None}
    with open_namespaces(held) as nodes:
        _end(lambda: [pid for pid in _of(state, nodes) if pid not in held])
        _end(
            lambda: [
                pid
                for path in cgroups()
                if path.exists()
                for pid in (path / "cgroup.procs").read_text().split()
            ]
        )
        _end(lambda: _of(state, nodes))
    for line in sh("ip", "netns", "list", capture_output=True).stdout.splitlines():
        if line.startswith(PREFIX):
            sh("ip", "netns", "del", line.split()[0])
    _until_gone(cgroups, lambda path: path.rmdir())
    # Removing files must not go on into what is mounted there.
    _until_gone(
        lambda: _mounts_below(state),
        lambda point: sh("umount", point, check=False, capture_output=True),
    )
    _until_gone(
        lambda: loop_devices_of(state),
        lambda device: sh("losetup", "-d", device, check=False, capture_output=True),
    )
    shutil.rmtree(state)
    for child in _children:
        child.poll()  # so that Python knows that it has ended, and warns of nothing


def is_in_cluster(pid: int, state: Path) -> bool:
    """Whether a process is of the cluster with that state directory: a program of its own, what
    such a program has started, or a container's."""
    try:
        cgroup = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:  # the process has ended
        return False
    return f"/{CGROUP_PREFIX}node" in cgroup or _marked(str(pid), state)


def end_node(pid: str, cgroup: str) -> None:
    """Kills everything in the mount namespace of the process `pid`, itself too, and in the cgroup
    of that name."""
    below = [path for path in cgroups() if cgroup in path.parts]
    with open_namespaces({pid}) as namespaces:
        if not namespaces:  # it has ended before
            return
        _end(
            lambda: [
                pid
                for pid in os.listdir("/proc")
                if pid.isdigit() and _mount_namespace(pid) in namespaces
            ]
        )
    _end(
        lambda: [
            pid
            for path in below
            if path.exists()
            for pid in (path / "cgroup.procs").read_text().split()
        ]
    )


def left_behind(state: Path) -> dict[str, list[str]]:
    """What there is of a cluster on this machine, by kind."""
    namespaces = sh("ip", "netns", "list", capture_output=True).stdout.splitlines()
    found = {
        "state": [str(state)] if state.exists() else [],
        "processes": _of(state),
        "namespaces": [line for line in namespaces if line.startswith(PREFIX)],
        "cgroups": [str(path) for path in cgroups()],
        "mounts": _mounts_below(state),
        "loop devices": loop_devices_of(state),
    }
    return {kind: what for kind, what in found.items() if what}


def cgroup_roots() -> list[Path]:
    """Where a node's cgroup is made: in the one tree of version 2, or in each controller's of
    version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if path.is_dir() and path.name != "unified"]


def cgroups() -> list[Path]:
    """The nodes' cgroups, inner ones first; some are made by runc in a tree where we make none."""
    roots = [CGROUPS, *(path for path in CGROUPS.iterdir() if path.is_dir())]
    found = [
        path
        for root in roots
        for path in _glob(root, f"{CGROUP_PREFIX}node[0-9]*/**/")
        if path.is_dir()
    ]
    return sorted(found, key=lambda path: -len(path.parts))


def _glob(directory: Path, pattern: str) -> list[Path]:
    """As glob, which raises if a directory goes while it looks."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            return list(directory.glob(pattern))


def _end(find: Callable[[], list[str]]) -> None:
    """Kills what `find` finds until it finds nothing."""
    deadline = time.monotonic() + _STOP_SECONDS
    while True:
        found = find()
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
            _reap(int(pid))
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {found} of the cluster cannot be killed")
        time.sleep(0.05)


def _until_gone(find: Callable[[], list[_Thing]], remove: Callable[[_Thing], object]) -> None:
    """Removes what `find` finds, again while the kernel still holds it."""
    deadline = time.monotonic() + _STOP_SECONDS
    while True:
        found = find()
        if not found:
            return
        for thing in found:
            with contextlib.suppress(OSError):
                remove(thing)
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{', '.join(str(thing) for thing in found)}: left by the cluster, and cannot "
                "be removed"
            )
        time.sleep(0.05)


def _of(state: Path, ours: Set[str] = frozenset()) -> list[str]:
    """Processes that bear our mark, or run in a mount namespace of ours, as a test's own command in
    a node does."""
    found = [name for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in found if _marked(pid, state) or (ours and _mount_namespace(pid) in ours)]


def _marked(pid: str, state: Path) -> bool:
    return _mark(state) in _environment(pid).split(b"\0")


def _environment(pid: str) -> bytes:
    """Of a thread that lives: the first one has none once it has ended."""
    try:
        threads = sorted(os.listdir(f"/proc/{pid}/task"), key=int)
    except OSError:  # the process ended
        return b""
    for thread in threads:
        with contextlib.suppress(OSError):  # the thread ended
            return Path(f"/proc/{pid}/task/{thread}/environ").read_bytes()
    return b""


def _mark(state: Path) -> bytes:
    return f"{_MARK}={state.resolve()}".encode()


@contextlib.contextmanager
def open_namespaces(pids: Set[str]) -> Iterator[set[str]]:
    """The mount namespaces of the processes that live. While they are open, the kernel gives their
    numbers to no other namespace. Its processes would be taken for the cluster's, and killed."""
    names = set()
    with contextlib.ExitStack() as opened:
        for pid in pids:
            with contextlib.suppress(OSError):  # the process has ended
                file = opened.enter_context(open(f"/proc/{pid}/ns/mnt"))
                names.add(os.readlink(f"/proc/self/fd/{file.fileno()}"))
        yield names


def _mount_namespace(pid: str) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:  # it ended
        return None


def _alive(pid: int) -> bool:
    """Whether any thread of a process lives. The first one is a zombie before the others have
    ended, and what they hold, such as a port, is not free until then."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def _mounts_below(state: Path) -> list[str]:
    """Mount points in the state directory that are in this mount namespace, in the order of
    mounting."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{state}/")]


def loop_devices_of(state: Path) -> list[str]:
    """By inode, because the path a loop device shows is the one in the mount namespace it was made
    in."""
    files = []
    for path in _glob(state, "node*/var-lib-flexvol/**/*"):
        with contextlib.suppress(FileNotFoundError):  # it went meanwhile
            if path.is_file():
                files.append(path.lstat())
    inodes = {f"{os.major(file.st_dev)}:{os.minor(file.st_dev)} {file.st_ino}" for file in files}
    found = []
    for device in loop_devices():
        inode = f"{device['back-maj:min']} {device['back-ino']}"
        if inode in inodes or str(device["back-file"]).startswith(f"{state}/"):
            found.append(device["name"])
    return found


def loop_devices() -> list[dict[str, Any]]:
    """All of this machine, as losetup's JSON has them: `name`, `back-file`, and the file's inode by
    `back-maj:min` and `back-ino`."""
    columns = "NAME,BACK-MAJ:MIN,BACK-INO,BACK-FILE"
    shown = sh("losetup", "--list", "--json", "--output", columns, capture_output=True).stdout
    devices: list[dict[str, Any]] = json.loads(shown)["loopdevices"] if shown else []
    for device in devices:
        device["back-maj:min"] = device["back-maj:min"].strip()
    return devices


def _kill_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
