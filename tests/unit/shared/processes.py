"""What the tests of processes ask of one."""

from __future__ import annotations

import time
from pathlib import Path


def has_ended(pid: int) -> bool:
    """Whether the process has ended, also if nobody has reaped it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def is_alive(pid: int) -> bool:
    """Whether the process still lives a second after it was killed: a signal takes its time."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        if has_ended(pid):
            return False
        time.sleep(0.01)
    return True


def until_ended(pid: int) -> None:
    while not has_ended(pid):
        time.sleep(0.01)
