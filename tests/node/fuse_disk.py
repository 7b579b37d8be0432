"""A disk whose server can be stopped, as an NFS server that does not answer: a FUSE file system."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from tests.node.nodes import MIB, Node


class Disk:
    """A FUSE file system that is mounted in a node, and whose daemon can be stopped. path: where it
    is mounted, as the node sees it."""

    def __init__(self, node: Node, image: Path, path: str = "/var/lib/flexvol") -> None:
        subprocess.run(["truncate", "-s", str(512 * MIB), image], check=True)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        node.path(path).mkdir(parents=True, exist_ok=True)
        self._daemon = node.start("fuse2fs", "-f", "-o", "allow_other", str(image), path)
        deadline = time.monotonic() + 10
        mounts = Path(f"/proc/{node.holder_pid}/mountinfo")
        mounted = re.compile(f" {re.escape(path)} .* - fuse")
        while not mounted.search(mounts.read_text()):
            assert self._daemon.poll() is None and time.monotonic() < deadline, (
                self._daemon.communicate()
            )
            time.sleep(0.05)

    def stop(self) -> None:
        os.kill(self._daemon.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._daemon.pid, signal.SIGCONT)

    def close(self) -> None:
        self.go_on()
        self._daemon.kill()
        self._daemon.communicate(timeout=20)


def processes_of(node: Node) -> set[int]:
    """The processes in the node's mount namespace."""
    namespace = os.readlink(f"/proc/{node.holder_pid}/ns/mnt")
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(path / "ns/mnt") == namespace:
                found.add(int(path.name))
        except OSError:  # it ended meanwhile
            continue
    return found
