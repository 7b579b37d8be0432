"""Kills a driver's mount and unmount before each call by which they change mounts, and makes the
call that comes next: killed_calls.py FILE DRIVER DIRECTORY KERNEL, with the options of mount on
stdin. KERNEL is what kernel the driver finds; all but OLD is this one.

Prints how many calls were killed. All is done in children of one process, because an emulated
processor takes seconds to start a Python."""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

FILE, DRIVER, DIRECTORY, KERNEL = sys.argv[1:]
OLD = "has mount(2) alone"
sys.path.insert(0, FILE)

from node import callouts  # noqa: E402 (from the file)
from node.host import mount_calls  # noqa: E402

# What makes or takes away a mount, or the directory of one, by module.
CHANGES = {
    mount_calls: ("publish", "_mount", "unmount_at", "detach_at"),
    os: ("mkdir", "rmdir"),
}


class Killer:
    """Kills a callout, and the child in which that waits for a server, before one of its changes.

    at: the number of the change, from 1 on; 0 for no kill."""

    def __init__(self, at: int) -> None:
        self._at = at
        self._callout = os.getpid()
        self._count = mmap.mmap(-1, 1)  # the children of the callout count too

    def lie_in_wait(self) -> None:
        for module, names in CHANGES.items():
            for name in names:
                setattr(module, name, self._counted(getattr(module, name)))

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **keywords: Any) -> Any:
            self._count[0] += 1
            if self._count[0] == self._at:
                os.kill(self._callout, signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return counted


def run(at: int, *words: str) -> bool:
    """Runs a callout in a child, killed before its change number `at`. Returns whether it was
    killed; one that was not must have succeeded."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        Killer(at).lie_in_wait()
        reply = callouts.answer(DRIVER, words[0], list(words[1:]))
        os.write(writing, json.dumps(reply).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()  # also until the child's children are gone
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert (at, os.WTERMSIG(status)) == (at or None, signal.SIGKILL), status
        return True
    assert json.loads(text)["status"] == "Success", (at, words[0], text)
    return False


def mounts() -> int:
    """How many mounts there are at the pod's directory."""
    with open("/proc/self/mountinfo") as table:
        return sum(line.split()[4] == DIRECTORY for line in table)


def killed_mounts(mount: tuple[str, ...], unmount: tuple[str, ...]) -> int:
    """A killed mount is undone, as the pod has gone meanwhile, or made again. Returns how many were
    killed."""
    at = 0
    while True:
        at += 1
        was_killed = run(at, *mount)
        run(0, *unmount)
        assert mounts() == 0, at
        run(at, *mount)
        run(0, *mount)
        assert mounts() == 1, at
        run(0, *unmount)
        if not was_killed:
            return at - 1


def killed_unmounts(mount: tuple[str, ...], unmount: tuple[str, ...]) -> int:
    """A killed unmount is made again. Returns how many were killed."""
    at = 0
    while True:
        at += 1
        run(0, *mount)
        was_killed = run(at, *unmount)
        run(0, *unmount)
        assert mounts() == 0, at
        if not was_killed:
            return at - 1


def main() -> None:
    if KERNEL == OLD:
        mount_calls._FSOPEN = 9999
    mount = ("mount", DIRECTORY, sys.stdin.read())
    unmount = ("unmount", DIRECTORY)
    run(0, *mount)
    with open(os.path.join(DIRECTORY, "kept"), "w") as file:
        file.write("safe\n")
    run(0, *unmount)
    assert os.listdir(DIRECTORY) == []
    counts = {"mount": killed_mounts(mount, unmount), "unmount": killed_unmounts(mount, unmount)}
    print(json.dumps(counts))
    run(0, *mount)
    with open(os.path.join(DIRECTORY, "kept")) as file:
        assert file.read() == "safe\n"
    run(0, *unmount)


if __name__ == "__main__":
    main()
