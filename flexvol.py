"""Entry: the name it was called by chooses the driver, the first word the callout, and one JSON
object is the answer.

Any other first word is a command for a person, in commands/. On a callout's path nothing is printed
but that object,
and the exit status is 0 whatever happened: kubelet logs the whole command line, secrets included,
of a driver that exits with another."""

import os
import sys
import time

from node.host import log  # early: an update may replace the file we are running from at any time
from shared import process
from shared.options import Options, parse_arguments
from shared.protocol import (
    CALLOUTS,
    FAILURE,
    FAILURES,
    VERSION,
    Failure,
    Internal,
    InvalidArgument,
    NotSupported,
    is_name,
    naming,
    shown,
    similar,
    system_failure,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from node.drivers import Driver

_ANSWER_SECONDS = 5  # kept of a callout's limit, to kill what hangs and to say so
DEFAULT_DRIVER = "loop"
_HELP = ("--help", "-h")
_STOPPED = 130  # as a shell has it of a program that SIGINT ended
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


def main(argv: "List[str]") -> int:
    """argv: the name called by, then a callout and its arguments, or a command and its own. Returns
    the status."""
    words = argv[1:]
    if not words or words[0] in _HELP:
        return _run_command("help", words[1:])
    if words[0] in CALLOUTS and len(words) == 2 and words[1] in _HELP:
        return _run_command("help", words[:1])
    if words[0] == "--version":
        print(VERSION)
        return 0
    if words[0] in COMMANDS and not _is_callout(words):
        return _run_command(words[0], words[1:])
    terminal = os.dup(2) if os.isatty(2) else None
    out = _silence()
    line = _bounded_answer(driver_name(argv[0]), words[0], words[1:], out)
    _write(out, line)
    if terminal is not None:  # a person is looking, not kubelet, whose stderr is a pipe
        import json

        reply = json.loads(line.decode("ascii"))
        sentence = ": ".join(filter(None, (words[0], reply["status"], reply.get("message"))))
        _write(terminal, (log.one_line(sentence) + "\n").encode("utf-8", "replace"))
    return 0


def _is_callout(words: "List[str]") -> bool:
    """Tells the callout `delete`, whose argument is a JSON object, from the command of that name,
    whose arguments are names of volumes. No other word is both."""
    if words[0] not in CALLOUTS:
        return False
    arguments = words[1:]
    if not arguments or arguments[0].lstrip().startswith("{"):
        return True
    garbled: bool = __import__("node.commands.delete", fromlist=["main"]).is_garbled(arguments)
    return garbled


def _write(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]


def _bounded_answer(driver: str, callout: str, arguments: "List[str]", out: int) -> bytes:
    """The answer as a line, within the callout's time limit, whatever hangs. `out` is no descriptor
    of the child, or kubelet would wait for the end of a child that the kernel does not let die."""
    if callout not in CALLOUTS:
        return _line(_with_advice(callout, answer(driver, callout, arguments)))

    def work() -> bytes:
        os.close(out)
        return _line(answer(driver, callout, arguments))

    seconds = CALLOUTS[callout].seconds - _ANSWER_SECONDS
    line = process.bounded(work, seconds)
    if line is None:
        reply = Internal(
            "{} was killed or did not end within {} s; see whether the pool's disk hangs".format(
                callout, seconds
            )
        ).to_dict()
        log.write(
            driver, callout, " ".join(arguments[:1] if callout == "unmount" else []), reply, seconds
        )
        return _line(reply)
    return line


def _with_advice(word: str, reply: "Dict[str, Any]") -> "Dict[str, Any]":
    """The answer to a word that is no callout, with the command or callout that may be meant."""
    meant = similar(word, [*COMMANDS, *CALLOUTS])
    if meant:
        reply["message"] = "{}; {} may be meant".format(reply["message"], meant)
    return reply


def _line(reply: "Dict[str, Any]") -> bytes:
    import json

    return (json.dumps(reply) + "\n").encode("ascii")


def archive() -> str:
    """The path of the one file we are running from. Raises Internal in a source tree."""
    path = os.path.dirname(os.path.abspath(__file__))
    if not os.path.isfile(path):
        raise Internal(
            "{} is a source tree; build the one file first: ./build.sh build".format(path)
        )
    return path


def driver_name(called: str) -> str:
    """The driver for the name the program was called by; a name that is no driver means the default
    one."""
    name = os.path.basename(called)
    return name if name.isidentifier() and _module(name) is not None else DEFAULT_DRIVER


def answer(driver: str, callout: str, arguments: "List[str]") -> "Dict[str, Any]":
    """Runs one callout and returns the object to print, whatever happens."""
    began = time.monotonic()
    parsed: "Dict[str, Any]" = {}
    try:
        parsed = parse_arguments(callout, arguments)
        reply: "Dict[str, Any]" = getattr(load(driver), callout)(**parsed).to_dict()
    except Failure as failure:
        reply = _naming(failure, callout, parsed).to_dict()
    except OSError as error:
        reply = system_failure(error, _about(callout, parsed)).to_dict()
    except BaseException as error:
        reply = Internal(_bug(error)).to_dict()
    if callout != "init" or reply["status"] == FAILURE:
        log.write(driver, callout, _subject(parsed), reply, time.monotonic() - began)
    return reply


def _silence() -> int:
    """Points stdout and stderr at nothing, so that no driver and no child can spoil the answer, and
    returns a descriptor of what stdout was."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        out = os.dup(1)
    except OSError:  # closed: no one is waiting for the answer
        out = os.dup(nothing)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    return out


def _module(name: str) -> "Any":
    """The module node.drivers.NAME, or None if there is none."""
    try:
        return __import__("node.drivers." + name, fromlist=["Driver"])
    except ModuleNotFoundError as error:
        if error.name != "node.drivers." + name:
            raise
        return None


def load(name: str) -> "Driver":
    """The one driver class that node/drivers/NAME defines."""
    from node.drivers import Driver

    module = _module(name)
    if module is None:
        raise InvalidArgument(
            "this file has no driver {}; its own is {}".format(shown(name), DEFAULT_DRIVER)
        )
    for member in vars(module).values():
        if (
            isinstance(member, type)
            and issubclass(member, Driver)
            and member.__module__ == module.__name__
        ):
            return member()
    raise Internal(
        "node.drivers.{} holds no subclass of Driver; write one, "
        "as in examples/directory.py".format(name)
    )


def _naming(failure: Failure, callout: str, parsed: "Dict[str, Any]") -> Failure:
    """The failure, whose sentence names the volume, pool or directory it is about: an event and a
    log line are read where nobody sees the call's arguments."""
    named = _volume(parsed) or parsed.get("mount_dir") or parsed.get("device_dir")
    if not named or isinstance(failure, NotSupported) or failure.message.startswith("pool "):
        return failure
    sentence = naming(_about(callout, parsed), named, failure.message)
    # A subclass of a failure may take other arguments, so it is the one that its reason names.
    return failure if sentence == failure.message else FAILURES[failure.reason](sentence)


def _volume(parsed: "Dict[str, Any]") -> str:
    """The name of the volume that a callout is about; "" if it is about none, or has no right
    name."""
    options = parsed.get("options")
    if not isinstance(options, Options):
        return ""
    try:
        return options.volume
    except Failure:
        return ""


def _about(callout: str, parsed: "Dict[str, Any]") -> str:
    """What a callout worked on, as a sentence about its failure begins."""
    volume = _volume(parsed)
    if volume:
        pool = parsed["options"].own.get("pool", "")
        return "volume {}{}".format(volume, " in pool " + pool if is_name(pool) else "")
    path = parsed.get("mount_dir") or parsed.get("device_dir")
    return "{} {}".format(callout, path) if path else callout


def _subject(parsed: "Dict[str, Any]") -> str:
    """What a callout was about, for the log: the volume and the pod or node, or the directory."""
    options = parsed.get("options")
    node = " node " + parsed["node"] if "node" in parsed else ""
    if not isinstance(options, Options):
        return (
            str(parsed.get("mount_dir") or parsed.get("device_dir") or parsed.get("volume") or "")
            + node
        )
    try:
        pod = options.pod
        return options.volume + node + (" pod {}/{}".format(pod.namespace, pod.name) if pod else "")
    except Failure:
        return ""


def _bug(error: BaseException) -> str:
    """Type and place of an error nobody expected; its text may hold what must not be seen."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = (
        "{}:{}".format(os.path.basename(trace.tb_frame.f_code.co_filename), trace.tb_lineno)
        if trace
        else "?"
    )
    return "bug in the driver: {} at {}".format(type(error).__name__, place)


def _run_command(name: str, words: "List[str]") -> int:
    module, arguments = (
        ("transfer", [name] + words) if name in ("export", "import") else (name, words)
    )
    try:
        try:
            status: "int" = __import__("node.commands." + module, fromlist=["main"]).main(arguments)
        finally:  # also after --help, which exits
            if sys.stdout is not None:
                sys.stdout.flush()
        return status
    except Failure as failure:
        print("flexvol {}: {}".format(name, failure.message), file=sys.stderr)
    except OSError as error:
        # Whoever reads what a command prints may leave, as head does: that is no error to talk
        # about, but for export, whose reader stores a volume.
        if isinstance(error, BrokenPipeError) and name != "export":
            from shared.table import reader_left  # late: no callout needs it

            return reader_left()
        print(system_failure(error, "flexvol " + name).message, file=sys.stderr)
    except KeyboardInterrupt:
        print("flexvol {}: stopped".format(name), file=sys.stderr)
        return _STOPPED
    return 1
