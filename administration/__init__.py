"""What a person does with volumes from anywhere, with their own kubeconfig: one command a file.

A command is a module with a docstring, which is its help (its first line stands in the list of
all), `arguments(parser)`, which says what it takes beside what all take, and `run(api, drivers,
settings)`, which returns its
exit status. drivers: vendor/name by provisioner's name. Where it takes --local, and was given it,
api is None."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import protocol
from controller import cluster, lost

COMMANDS = (
    "inventory",
    "explain",
    "adopt",
    "static",
    "snapshot",
    "cancel-expansion",
    "move",
    "release",
    "uninstall",
)
_HELP = ("help", "--help", "-h")


def by_provisioner(drivers: Iterable[str]) -> dict[str, str]:
    return {".".join(reversed(driver.split("/"))): driver for driver in drivers}


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
    """words: the command and its arguments. program: how we were called."""
    if not words or words[0] not in COMMANDS:
        if words[:1] == ["--version"]:
            print(protocol.VERSION)
            return 0
        asked = bool(words) and words[0] in _HELP
        if words and not asked:
            print(f"there is no command {protocol.shown(words[0])}", file=sys.stderr)
        print(summary(program), file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    command = _command(words[0])
    parser = argparse.ArgumentParser(prog=f"{program} {words[0]}", description=command.__doc__)
    command.arguments(parser)
    parser.add_argument(
        "--driver", action="append", metavar="VENDOR/NAME",
        help="repeatable; default: flexvol/loop, or what the nodes serve where they are asked",
    )  # fmt: skip
    parser.add_argument(
        "--kubeconfig", metavar="FILE", help="default: kubectl's own; in a pod, its service account"
    )
    parser.add_argument(
        "--namespace", default="flexvol", help="where flexvol is installed (default: %(default)s)"
    )
    settings = parser.parse_args(words[1:])
    try:
        api = None if getattr(settings, "local", None) else cluster.Cluster(settings.kubeconfig)
        status: int = command.run(api, by_provisioner(settings.driver or default_drivers), settings)
    except (lost.NotLost, cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
        print(error, file=sys.stderr)
        return 1
    return status


def _command(name: str) -> Any:
    return importlib.import_module(f"administration.{name.replace('-', '_')}")
