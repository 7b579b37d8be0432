"""A node in a virtual machine: what the tests of a node do, done there. The driver is the built
file, at /payload/flexvol."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.node.nodes import OWN_PATHS, Node
from tests.vm.machine import Job, Machine

PAYLOAD = Path(__file__).resolve().parent / "payload"
FILES = {path.name: path for path in PAYLOAD.iterdir() if path.suffix == ".py"}
DRIVER = "/payload/flexvol"
POD = "/payload/pod.py"
# Of what a pod writes; before, it may have made room. Less than the pod's own NUMBERS.
KEPT = 300
# Where the node's own paths lie when it has a disk that remembers them.
REMEMBERED = "/disk"


class Guest(Node):
    """The node. Its files are reached by programs that run there only."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.executable = [DRIVER]
        self._pool_ids: dict[str, str] = {}

    def close(self) -> None:
        self.machine.cut()

    def path(self, path: str) -> Path:
        raise AssertionError(f"{path} is in the machine, where only its programs reach it")

    def enter(self, *argv: str | bytes, **keywords: Any) -> subprocess.CompletedProcess[bytes]:
        words = [word.decode() if isinstance(word, bytes) else word for word in argv]
        return self.machine.run(*words, stdin=keywords.get("input", b""))

    def start_command(self, *words: str) -> Job:
        """Starts a callout or command of the driver."""
        return self.machine.start(DRIVER, *words, stream=False, seconds=300)

    def remember(self) -> None:
        """Lays the node's own paths on its disk, as they were when the power went. In a machine
        that has just started."""
        lines = [f"mkdir -p {REMEMBERED}", f"mount /dev/vdc {REMEMBERED}"]
        for own in OWN_PATHS:
            lines.append(f"mkdir -p {REMEMBERED}{own} {own}")
            lines.append(f"mount --bind {REMEMBERED}{own} {own}")
        self.machine.shell("\n".join(lines))

    def pool_id(self, pool: str = "default") -> str:
        if pool not in self._pool_ids:
            self._pool_ids[pool] = self.json(f"/var/lib/flexvol/{pool}/pool.json")["id"]
        return self._pool_ids[pool]

    def json(self, path: str) -> dict[str, Any]:
        """What is in a file of JSON there."""
        content: dict[str, Any] = json.loads(self.machine.must("cat", path))
        return content

    def pod_dir(self, pod: str, volume: str = "pvc-1") -> str:
        path = f"/var/lib/kubelet/pods/{pod}/volumes/flexvol~loop/{volume}"
        self.machine.must("mkdir", "-p", "-m", "0750", path)
        return path

    def mount(self, pod: str, volume: str = "pvc-1", access: str = "rw") -> Path:
        path = self.pod_dir(pod, volume)
        self.ok("mount", path, self.options(volume, access))
        return Path(path)

    def record(self, volume: str = "pvc-1") -> dict[str, Any]:
        return self.json(f"/var/lib/flexvol/default/{volume}/volume.json")

    def mounts(self) -> list[tuple[str, str]]:
        lines = self.machine.must("cat", "/proc/self/mountinfo").splitlines()
        fields = [line.split(" ") for line in lines]
        return [(words[4], words[5]) for words in fields if "/dev/loop" in " ".join(words[6:])]

    def loop_devices(self) -> list[str]:
        return self.machine.must("losetup", "-n", "-l", "-O", "NAME").split()

    def until_free(self, volume: str = "pvc-1", pool: str = "default") -> None:
        """Nothing is waited for: no other test looks at a loop device in the machine."""

    def start_pod(self, directory: str, first: int = 0) -> Job:
        """Starts a pod that writes numbered files until it is ended."""
        return self.machine.start("python3", "-I", "-S", POD, "write", directory, str(first))

    def stop_pod(self, pod: Job) -> list[int]:
        """Ends the pod; returns the numbers of the files that it has written with fsync."""
        directory = pod.argv[-2]
        self.machine.must("pkill", "-f", f"write {directory}")
        pod.wait(60)
        return fsynced(pod)

    def lost(self, directory: str, numbers: list[int]) -> str:
        """Which of these files are not as they were written; "whole" if none."""
        words = [str(number) for number in numbers]
        return self.machine.must("python3", "-I", "-S", POD, "check", directory, *words).strip()

    def listing(self, directory: str) -> set[str]:
        """The names in a directory, those that begin with a dot too."""
        return set(self.machine.must("ls", "-A", directory).split())


def fsynced(pod: Job) -> list[int]:
    """The numbers of the last files that a writing pod says to have written with fsync."""
    words = [line.split() for line in pod.lines]
    numbers = [int(number) for said, number in words if said == "fsynced"]
    return numbers[-KEPT:]


MakeGuest = Callable[..., Guest]
