"""What a person does with volumes from anywhere, with their own kubeconfig: one command a file, or
a folder for a large one.

A command is a module with a docstring, which is its help (its first line stands in the list of
all), `arguments(parser)`, which says what it takes beside what all take, and `run(api, drivers,
settings)`, which returns its exit status. drivers: vendor/name by provisioner's name. Where it
takes --local, and was given it, api is None. A command that only reads says so by
`only_reads(settings)`; of any other the cluster's name is printed before it begins."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from cluster.controller import cluster, lost_storage
from cluster.controller.settings import check_no_empty
from cluster.controller.storage import provisioner_of
from shared import protocol
from shared.table import reader_left

COMMANDS = (
    "inventory",
    "explain",
    "adopt",
    "static",
    "snapshot",
    "delete",
    "cancel-expansion",
    "move",
    "release",
    "uninstall",
)
_MISTAKEN = 2  # as argparse has it of words that do not go together
_STOPPED = 130  # as a shell has it of a program that SIGINT ended
_HELP = ("help", "--help", "-h")
_ERRORS = (lost_storage.NotLost, cluster.Refused, cluster.Unreachable, protocol.Failure)


def by_provisioner(drivers: Sequence[str]) -> dict[str, str]:
    """The drivers by the names of their provisioners, in the same order, in which messages name
    them. A set has no order: sort a set first."""
    return {provisioner_of(driver): driver for driver in drivers}


def summary(program: str) -> str:
    """The commands, with a line for each."""
    width = max(map(len, COMMANDS))
    lines = [f"{program} COMMAND; {program} COMMAND --help tells more. The commands:"]
    for name in COMMANDS:
        docstring = _command(name).__doc__ or ""
        lines.append(f"  {name:{width}}  {docstring.splitlines()[0]}")
    return "\n".join(lines)


def main(
    words: list[str],
    default_drivers: Sequence[str],
    program: str,
) -> int:
    """Runs the command that the words name; returns its exit status. Neither a reader who leaves,
    as head does, nor a person who stops the command makes a traceback.

    words: the command and its arguments.
    default_drivers: where the words name none.
    program: how we were called."""
    try:
        try:
            return _main(words, default_drivers, program)
        finally:  # also after --help, which exits
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        return reader_left()
    except KeyboardInterrupt:
        print("stopped; what was begun goes on when the same command is run again", file=sys.stderr)
        return _STOPPED


def _main(
    words: list[str],
    default_drivers: Sequence[str],
    program: str,
) -> int:
    if not words or words[0] not in COMMANDS:
        return _without_command(words, program)
    command = _command(words[0])
    parser = _parser(command, f"{program} {words[0]}")
    settings = parser.parse_args(words[1:])
    check_no_empty(parser, settings)
    try:
        api = _connect(settings)
        if api is not None and not _only_reads(command, settings):
            print(f"cluster {api.name}", file=sys.stderr, flush=True)
        drivers = by_provisioner(settings.driver or default_drivers)
        status: int = command.run(api, drivers, settings)
    except _ERRORS as error:
        print(error, file=sys.stderr)
        return 1
    return status


def _without_command(words: list[str], program: str) -> int:
    """Prints the list of commands, or the version, if the words ask for that; else what is wrong
    with the words."""
    if not words:
        print(summary(program), file=sys.stderr)
        return _MISTAKEN
    if words[0] == "--version":
        print(protocol.VERSION)
        return 0
    if words[0] in _HELP:
        print(summary(program))
        return 0
    print(_unknown(words[0]), file=sys.stderr)
    print(summary(program), file=sys.stderr)
    return _MISTAKEN


def _unknown(word: str) -> str:
    meant = protocol.similar(word, COMMANDS)
    advice = f"; {meant} may be meant" if meant else ""
    return f"there is no command {protocol.shown(word)}{advice}"


def _parser(command: Any, program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description=command.__doc__)
    command.arguments(parser)
    parser.add_argument(
        "--driver",
        action="append",
        type=_driver,
        metavar="VENDOR/NAME",
        help="repeatable; default: flexvol/loop, or what the nodes serve where they are asked",
    )
    _add_cluster(parser)
    return parser


def _driver(word: str) -> str:
    if word.count("/") != 1 or not all(map(protocol.is_name, word.split("/"))):
        raise argparse.ArgumentTypeError(f"{word}: expected VENDOR/NAME, as in flexvol/loop")
    return word


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    """Which cluster a command is about, and where flexvol is in it."""
    parser.add_argument(
        "--kubeconfig",
        metavar="FILE",
        help="default: kubectl's own; in a pod without one, its service account",
    )
    parser.add_argument(
        "--context", metavar="NAME", help="of the kubeconfig (default: its current one)"
    )
    try:
        _add_namespace(parser, "--flexvol-namespace", "--namespace")
    except argparse.ArgumentError:
        # A command about a claim has the option already: there it is the claim's, as kubectl's.
        _add_namespace(parser, "--flexvol-namespace")


def _add_namespace(parser: argparse.ArgumentParser, *names: str) -> None:
    parser.add_argument(
        *names,
        dest="namespace",
        metavar="NAMESPACE",
        default="flexvol",
        help="where flexvol is installed (default: %(default)s)",
    )


def _connect(settings: argparse.Namespace) -> cluster.Cluster | None:
    """None where no API server is asked. A claim without a namespace is in the context's."""
    if getattr(settings, "local", None):
        return None
    api = cluster.Cluster(settings.kubeconfig, settings.context)
    if getattr(settings, "claim_namespace", "") is None:
        settings.claim_namespace = api.namespace
    return api


def _only_reads(command: Any, settings: argparse.Namespace) -> bool:
    """Whether the command changes nothing."""
    only_reads = getattr(command, "only_reads", None)
    return only_reads is not None and bool(only_reads(settings))


def _command(name: str) -> Any:
    return importlib.import_module(f"cluster.kubectl.{name.replace('-', '_')}")
