"""Shell scripts in the throw-away roots of flexvol sanity, and what they may have changed."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from node.sanity import sandbox

# What a script that wants to do harm writes to, or removes. Names below these must be the same
# afterwards.
WATCHED = ("/", "/dev", "/etc", "/srv", "/usr/bin")
# Directories in which others work at the same time. No name with the mark may be there afterwards.
BUSY = ("/root", "/run", "/tmp", "/var", "/var/lib", "/var/lib/kubelet")
OWN_MOUNTS = ("/", "/dev", "/etc", "/mnt", "/proc", "/sys", "/usr")
# The word by which the files and processes of a script can be found.
MARK = "flexvol-sanity-hostile"


def run(script: str, driver: Path, seconds: float = 60, **own: object) -> str:
    """What a shell script prints in a root.

    :param own: attributes of the root's settings"""
    settings = sandbox.Settings(str(driver))
    for name, value in own.items():
        setattr(settings, name, value)

    def work(inside: sandbox.Inside) -> bytes:
        done = subprocess.run(
            ["sh", "-c", script],
            env={**os.environ, "DRIVER": inside.executable},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.stdout

    return sandbox.run(settings, work, seconds).decode()


def outside() -> dict[str, object]:
    """All that a script in a root might have changed outside."""
    state: dict[str, object] = {
        "host name": socket.gethostname(),
        "mounts": mounts(),
        "swappiness": Path("/proc/sys/vm/swappiness").read_text(),
        "core pattern": Path("/proc/sys/kernel/core_pattern").read_text(),
        "processes": processes(),
        "loop devices": devices_with(MARK),
        "shared memory": subprocess.check_output(["ipcs", "-m"], text=True),
    }
    for directory in (*WATCHED, *BUSY):
        names = names_of(directory)
        state[directory] = [name for name in names if directory in WATCHED or MARK in name]
    # The kernel makes and removes these for whoever works on the machine at the same time.
    state["/dev"] = [name for name in names_of("/dev") if not name.startswith(("loop", "dm-"))]
    return state


def names_of(directory: str) -> list[str]:
    """What lies in the directory; nothing if there is none."""
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


def mounts() -> list[str]:
    """The mounts that are the machine's own, or a root's; others mount at the same time."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split()[4] in OWN_MOUNTS or "flexvol-sanity" in line]


def devices_with(word: str) -> list[str]:
    """The loop devices whose files have this word in their paths."""
    listed = subprocess.check_output(["losetup", "--list", "--noheadings"], text=True)
    return [line for line in listed.splitlines() if word in line]


def processes() -> list[str]:
    """The processes that a script has left."""
    return list(_command_lines(MARK).values())


def numbers_of_processes(word: str) -> list[int]:
    """The numbers of the processes with this word in their command lines."""
    return list(_command_lines(word))


def _command_lines(word: str) -> dict[int, str]:
    lines = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                line = (path / "cmdline").read_bytes()
            except OSError:
                continue
            if word.encode() in line:
                lines[int(path.name)] = line.decode()
    return lines
