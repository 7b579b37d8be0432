"""Gives an expansion up in a process that is killed when it has just made its n-th change.

    python -m tests.cluster.killed_cancellation KUBECONFIG NAMESPACE/CLAIM N

The exit status is that of the command if it made fewer changes."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from cluster import kubectl
from cluster.controller.cluster import Cluster


def main(kubeconfig: str, claim: str, number: str) -> int:
    left = int(number)
    patch = Cluster.patch

    def call(self: Cluster, path: str, *arguments: Any, **more: Any) -> Any:
        nonlocal left
        answer = patch(self, path, *arguments, **more)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    Cluster.patch = call  # type: ignore[method-assign]
    words = ["cancel-expansion", claim, f"--kubeconfig={kubeconfig}"]
    return kubectl.main(words, ["flexvol/loop"], "test")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
