"""Moves a volume to and fro, each way first in a process that is killed when it has just made its
n-th change, or is amid its stream, for each n; then in one that is not, which has to end it. Prints
what was killed, and the checksum of the volume that is there then, as JSON lines.

    python -m tests.cluster.killed_mover KUBECONFIG PV NODE OTHER-NODE [N: killed only after that,
    and not ended]
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from cluster.controller.cluster import Cluster
from cluster.kubectl import nodes
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.moving import move as move_volume

_PIECES = (0, 40)  # of its stream
_ATTEMPTS = 20  # what was killed has left something on the nodes that ends by itself


def move(kubeconfig: str, name: str, to: str) -> None:
    drivers = {"loop.flexvol": "flexvol/loop"}
    access = Access(Cluster(kubeconfig), drivers, "flexvol", lambda words: None)
    move_volume(access, name, to)


class Killed(Cluster):
    """Its process ends after so many changes."""

    left = 0

    @classmethod
    def step(cls, what: str) -> None:
        cls.left -= 1
        if cls.left == 0:
            os.write(1, json.dumps({"killed": what}).encode() + b"\n")
            os.kill(os.getpid(), signal.SIGKILL)


def kill_after(number: int) -> None:
    Killed.left = number

    def counted(name: str) -> None:
        real = getattr(Cluster, name)

        def call(self: Cluster, path: str, *arguments: Any) -> Any:
            answer = real(self, path, *arguments)
            Killed.step(f"{name} {path}")
            return answer

        setattr(Cluster, name, call)

    for name in ("create", "patch", "delete"):
        counted(name)
    execute = Cluster.execute

    def call(
        self: Cluster, pod: str, argv: list[str], feed: Any = None, *arguments: Any, **more: Any
    ) -> Any:
        def pieces() -> Iterator[bytes]:
            for at, piece in enumerate(feed):
                if at in _PIECES:
                    Killed.step(f"stream, piece {at}")
                yield piece

        answer = execute(self, pod, argv, feed and pieces(), *arguments, **more)
        if "delete" in argv or ("import" in argv and feed):
            Killed.step(f"execute {argv[1]}")
        return answer

    Cluster.execute = call  # type: ignore[method-assign]


def killed(kubeconfig: str, name: str, to: str, number: int) -> bool:
    child = os.fork()
    if child == 0:
        kill_after(number)
        move(kubeconfig, name, to)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def end(kubeconfig: str, name: str, to: str) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            move(kubeconfig, name, to)
            return
        except NotMoved as failure:
            if attempt == _ATTEMPTS or not any(
                words in str(failure) for words in ("just now", "in use")
            ):
                raise


def checksum(kubeconfig: str, name: str, node: str) -> str:
    """The one with which its stream ends."""
    api = Cluster(kubeconfig)
    stream = bytearray()
    status, _, errors = api.execute(
        nodes.get(api, "flexvol", node).pods[0].name,
        ["flexvol", "export", name],
        None,
        stream.extend,
    )
    assert status == 0, errors
    return stream[-32:].hex()


def main(kubeconfig: str, name: str, here: str, there: str, at: str, every: str = "1") -> None:
    """at: the one change after which to kill it; 0 for each `every`th, one after another."""
    if at != "0":
        assert killed(kubeconfig, name, there, int(at))
        return
    number = 1 - int(every)
    again = True
    ways = (here, there)
    while again:
        number += int(every)
        ways = ways[::-1]
        to = ways[0]
        again = killed(kubeconfig, name, to, number)
        if again:
            end(kubeconfig, name, to)
        print(json.dumps({"to": to, "sum": checksum(kubeconfig, name, to)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
