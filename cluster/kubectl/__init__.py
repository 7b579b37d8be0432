"""What a person does with volumes from anywhere, with their own kubeconfig: one command a file.

A command is a module with a docstring, which is its help (its first line stands in the list of
all), `arguments(parser)`, which says what it takes beside what all take, and `run(api, drivers,
settings)`, which returns its exit status. drivers: vendor/name by provisioner's name. Where it
takes --local, and was given it, api is None. A command that only reads says so by
`only_reads(settings)`; of any other the cluster's name is printed before it begins."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from cluster.controller import cluster, lost_storage
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
_STOPPED = 130  # as a shell has it of a program that SIGINT ended
_HELP = ("help", "--help", "-h")


def by_provisioner(drivers: Iterable[str]) -> dict[str, str]:
    return {provisioner_of(driver): driver for driver in drivers}


def summary(program: str) -> str:
    """The commands, with a line for each."""
    width = max(map(len, COMMANDS))
    lines = [
        f"  {name:{width}}  {(_command(name).__doc__ or '').splitlines()[0]}" for name in COMMANDS
    ]
    return "\n".join(
        [f"{program} COMMAND; {program} COMMAND --help tells more. The commands:", *lines]
    )


def main(words: list[str], default_drivers: Sequence[str], program: str) -> int:
    """As _main. Whoever reads what is printed may leave, as head does: that is no error to talk
    about. Nor is it one that a person stops the command."""
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


def _main(words: list[str], default_drivers: Sequence[str], program: str) -> int:
    """words: the command and its arguments. program: how we were called."""
    if not words or words[0] not in COMMANDS:
        if words[:1] == ["--version"]:
            print(protocol.VERSION)
            return 0
        asked = bool(words) and words[0] in _HELP
        if words and not asked:
            print(_unknown(words[0]), file=sys.stderr)
        print(summary(program), file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    command = _command(words[0])
    parser = argparse.ArgumentParser(prog=f"{program} {words[0]}", description=command.__doc__)
    command.arguments(parser)
    parser.add_argument(
        "--driver", action="append", type=_driver, metavar="VENDOR/NAME",
        help="repeatable; default: flexvol/loop, or what the nodes serve where they are asked",
    )  # fmt: skip
    _add_cluster(parser)
    settings = parser.parse_args(words[1:])
    try:
        api = _connect(settings)
        if api is not None and not _only_reads(command, settings):
            print(f"cluster {api.name}", file=sys.stderr, flush=True)
        status: int = command.run(api, by_provisioner(settings.driver or default_drivers), settings)
    except (lost_storage.NotLost, cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
        print(error, file=sys.stderr)
        return 1
    return status


def _unknown(word: str) -> str:
    meant = protocol.similar(word, COMMANDS)
    advice = f"; {meant} may be meant" if meant else ""
    return f"there is no command {protocol.shown(word)}{advice}"


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
    where: dict[str, Any] = {
        "dest": "namespace",
        "metavar": "NAMESPACE",
        "default": "flexvol",
        "help": "where flexvol is installed (default: %(default)s)",
    }
    try:
        parser.add_argument("--flexvol-namespace", "--namespace", **where)
    except argparse.ArgumentError:  # a command about a claim: there it is the claim's, as kubectl's
        parser.add_argument("--flexvol-namespace", **where)


def _connect(settings: argparse.Namespace) -> cluster.Cluster | None:
    """None where no API server is asked. A claim without a namespace is in the context's."""
    if getattr(settings, "local", None):
        return None
    api = cluster.Cluster(settings.kubeconfig, settings.context)
    if getattr(settings, "claim_namespace", "") is None:
        settings.claim_namespace = api.namespace
    return api


def _only_reads(command: Any, settings: argparse.Namespace) -> bool:
    """Whether the command changes nothing; else the cluster's name is said before it begins."""
    only_reads = getattr(command, "only_reads", None)
    return only_reads is not None and bool(only_reads(settings))


def _command(name: str) -> Any:
    return importlib.import_module(f"cluster.kubectl.{name.replace('-', '_')}")
