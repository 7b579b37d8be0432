"""The processes of the cluster under test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.kube import cluster as kube
from tests.cluster.kube import machine
from tests.waiting import wait_until


def processes(*words: str) -> Iterator[int]:
    """Those of this cluster whose command line holds all the words."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path("/proc", name, "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it ended
            continue
        if all(word in line for word in words) and machine.is_in_cluster(int(name), kube.STATE):
            yield int(name)


def one_process(*words: str) -> int:
    """The one process whose command line holds all the words. A program that it starts has its
    command line for a moment, which is waited out."""

    def only() -> list[int]:
        found = list(processes(*words))
        return found if len(found) == 1 else []

    pids: list[int] = wait_until(f"there is one process with {' '.join(words)}", only)
    return pids[0]
