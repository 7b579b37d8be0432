"""What a person runs on a node, one command per file; each has main(words) and returns the exit
status."""

import sys

from shared.protocol import Failure, system_failure
from shared.table import reader_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

_STOPPED = 130  # the exit status that a shell reports of a program that SIGINT ended
COMMANDS = {
    "help": "explain a callout or a command: help mount",
    "status": "show the volumes on this node, their devices, mounts and pods",
    "doctor": "find what is wrong on this node, and say what to do about it",
    "install": "put this file into kubelet's plugin directory and prove that it works there",
    "uninstall": "take this file out of kubelet's plugin directory, if no volume needs it any more",
    "pool": "make, show, close or remove a pool, the directory that volumes live in",
    "trim": "give blocks that volumes have free back to their pools",
    "delete": "delete volumes, archives and snapshots by their names; or the callout of that name",
    "export": "write a volume, while no pod uses it, as a stream or a bare image to stdout",
    "import": "make a volume of such a stream from stdin, when all of it has come",
    "snapshot": "keep what a volume holds now, for new claims that are to begin with it",
    "precompile": (
        "make this file start faster with this machine's Python; install does it by itself"
    ),
    "demo": "show the life of a volume on this machine, without a cluster",
}


def main(name: str, words: "List[str]") -> int:
    """Runs one command and returns its exit status; a failure is printed.

    :param words: the command's own arguments"""
    try:
        return _run(name, words)
    except Failure as failure:
        print("flexvol {}: {}".format(name, failure.message), file=sys.stderr)
    except OSError as error:
        # A program that reads the output may end early, as head does. Only the reader of an export
        # may not, because that program stores a volume.
        if isinstance(error, BrokenPipeError) and name != "export":
            return reader_left()
        print(system_failure(error, "flexvol " + name).message, file=sys.stderr)
    except KeyboardInterrupt:
        print("flexvol {}: stopped".format(name), file=sys.stderr)
        return _STOPPED
    return 1


def _run(name: str, words: "List[str]") -> int:
    module = name
    if name in ("export", "import"):
        module = "transfer"
        words = [name, *words]
    try:
        status: int = __import__("node.commands." + module, fromlist=["main"]).main(words)
        return status
    finally:  # also after --help, which exits
        if sys.stdout is not None:
            sys.stdout.flush()
