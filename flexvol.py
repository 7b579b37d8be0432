"""The entry of dist/flexvol: the name that the program is called by chooses the driver, the first
word chooses the callout, and one JSON object is the answer. Any other first word is a command for a
person, in node/commands/.

In a callout nothing but that object is printed, and the exit status is 0 whatever happened: kubelet
logs the whole command line, secrets included, of a driver that exits with another."""

import os

from node import callouts
from node.host import log
from shared.protocol import CALLOUTS, VERSION, similar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

_HELP = ("--help", "-h")


def main(argv: "List[str]") -> int:
    """Runs a callout or a command and returns the exit status.

    :param argv: the name that the program is called by, then a callout or a command, then the
        arguments of that"""
    words = argv[1:]
    if not words or words[0] in _HELP:
        return _run_command("help", words[1:])
    if words[0] in CALLOUTS and len(words) == 2 and words[1] in _HELP:
        return _run_command("help", words[:1])
    if words[0] == "--version":
        print(VERSION)
        return 0
    if _is_command(words):
        return _run_command(words[0], words[1:])
    _answer_callout(argv[0], words[0], words[1:])
    return 0


def _is_command(words: "List[str]") -> bool:
    """Whether a person's command is meant, and no callout."""
    if words[0] in CALLOUTS:
        return words[0] == "delete" and _is_command_delete(words[1:])
    from node import commands  # late: no callout needs the commands

    return words[0] in commands.names()


def _is_command_delete(arguments: "List[str]") -> bool:
    """The word `delete` is a callout, whose argument is a JSON object, and a command, whose
    arguments are names of volumes."""
    if not arguments or arguments[0].lstrip().startswith("{"):
        return False
    from node.commands import delete

    return not delete.is_garbled(arguments)


def _run_command(name: str, words: "List[str]") -> int:
    from node import commands

    return commands.main(name, words)


def _answer_callout(called: str, callout: str, arguments: "List[str]") -> None:
    """Prints the answer of a driver; on a terminal the answer as a sentence, too.

    :param called: the name that the program is called by"""
    terminal = None
    if os.isatty(2):  # a person is looking: kubelet gives its drivers a pipe
        terminal = os.dup(2)
    out = _silence()  # before the driver is loaded, which may be anybody's
    driver = callouts.driver_name(called)
    if callout in CALLOUTS:
        line = callouts.bounded_answer(driver, callout, arguments, out)
    else:
        line = callouts.to_line(_unknown(driver, callout, arguments))
    _write(out, line)
    if terminal is not None:
        _write(terminal, _sentence(callout, line))


def _unknown(driver: str, word: str, arguments: "List[str]") -> "Dict[str, Any]":
    """The answer to a word that is neither a callout nor a command, with the word that may be
    meant."""
    from node import commands

    reply = callouts.answer(driver, word, arguments)
    meant = similar(word, [*commands.names(), *CALLOUTS])
    if meant:
        reply["message"] = "{}; {} may be meant".format(reply["message"], meant)
    return reply


def _sentence(callout: str, line: bytes) -> bytes:
    """An answer as a person reads it on a terminal."""
    import json

    reply = json.loads(line.decode("ascii"))
    parts = [callout, reply["status"]]
    if reply.get("message"):
        parts.append(reply["message"])
    return (log.one_line(": ".join(parts)) + "\n").encode("utf-8", "replace")


def _silence() -> int:
    """Points stdout and stderr at nothing, so that no driver and no child can spoil the answer.

    :returns: a descriptor of what stdout was"""
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        out = os.dup(1)
    except OSError:  # stdout is closed: nobody waits for the answer
        out = os.dup(nothing)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    return out


def _write(descriptor: int, line: bytes) -> None:
    while line:
        written = os.write(descriptor, line)
        line = line[written:]
