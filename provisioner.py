"""The provisioner: arguments, start and stop. What it does is in cluster/controller, and what a
person does with a kubeconfig in cluster/kubectl."""

from __future__ import annotations

import os
import signal
import sys

from cluster import kubectl
from cluster.controller import cluster, lifecycle, logs, modes, settings
from cluster.controller.storage import DRIVERS

# The name of the program is kubectl-flexvol where kubectl runs it, as `kubectl flexvol`.
_KUBECTL = "kubectl-"


def start() -> int:
    """The zipapp's entry point."""
    return main(None)


def main(words: list[str] | None) -> int:
    """words: the arguments; None for those of this process. Returns the exit status."""
    if words is None:
        words = sys.argv[1:]
    program = os.path.basename(sys.argv[0])
    if program.startswith(_KUBECTL):
        return kubectl.main(words, DRIVERS, program.replace("-", " ", 1))
    if words and not words[0].startswith("-"):
        return kubectl.main(words, DRIVERS, "provisioner")
    given = settings.parse(words, kubectl.summary("provisioner"))
    logs.log_to_stdout(given.log_format)
    _keep_stop_signals_for_main_thread()
    try:
        modes.run(given)
    except cluster.Unreachable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _keep_stop_signals_for_main_thread() -> None:
    """Blocks the signals in all threads that are started from now on; the signals wait for the main
    thread's sigwait. The kernel may deliver a signal of the process to any thread that does not
    block it (signal(7)). Python calls the handler in the main thread only, and does not wake the
    main thread for a signal that another thread got: a handler might never be called."""
    signal.pthread_sigmask(signal.SIG_BLOCK, lifecycle.STOP_SIGNALS)


if __name__ == "__main__":
    sys.exit(main(None))
