"""What a person runs on a node, one command a file.

A command is a module of this folder, and this folder holds nothing else. It has a docstring, which
is its help (the first line stands in the list of all commands), `NEEDS_ROOT`, which says whether
only root can run it, `arguments(parser)`, which adds the arguments it takes, and `run(settings)`,
which gets their values and returns the exit status. The module of a command whose name is a word of
Python has an underscore behind that name."""

import argparse
import importlib
import keyword
import os
import pkgutil
import sys

from node import callouts
from shared.protocol import Failure, Internal, system_failure
from shared.table import reader_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import List

_STOPPED = 130  # the exit status that a shell reports of a program that SIGINT ended


class WrongArguments(Exception):
    """Arguments that do not go together. The message follows the usage, and the exit status is 2,
    as with all that argparse refuses."""


def names() -> "List[str]":
    """All commands, in the order of the alphabet."""
    return sorted(module.name.rstrip("_") for module in pkgutil.iter_modules(__path__))


def summary(name: str) -> str:
    """The first line of a command's help."""
    return (_load(name).__doc__ or "").splitlines()[0]


def parser(name: str) -> argparse.ArgumentParser:
    """What a command takes."""
    command = _load(name)
    parser = argparse.ArgumentParser(prog="flexvol " + name, description=command.__doc__)
    command.arguments(parser)
    return parser


def own_driver() -> str:
    """The driver whose name this program is called by, as with the callouts: on a node each driver
    has the file under its own name."""
    return callouts.driver_name(sys.argv[0])


def add_driver(parser: argparse.ArgumentParser) -> None:
    """Adds --driver, for commands that work with a driver's volumes."""
    parser.add_argument(
        "--driver",
        metavar="NAME",
        default=own_driver(),
        help="the driver whose volumes are meant (default: %(default)s)",
    )


def add_plugin_dir(parser: argparse.ArgumentParser) -> None:
    """Adds PLUGINDIR, for commands that look there, or put something there. Its value is None if
    the command has to find the directory."""
    parser.add_argument(
        "plugin_dir",
        nargs="?",
        metavar="PLUGINDIR",
        help="the directory where kubelet looks for drivers (default: the running kubelet's)",
    )


def main(name: str, words: "List[str]") -> int:
    """Runs one command and returns its exit status; prints why the command failed.

    :param words: the command's own arguments"""
    try:
        try:
            return _run(name, words)
        finally:  # also after --help, which exits
            if sys.stdout is not None:
                sys.stdout.flush()
    except Failure as failure:
        print("flexvol {}: {}".format(name, failure.message), file=sys.stderr)
    except OSError as error:
        # A program that reads our output may leave early, as head does, and that is no error. The
        # reader of an export stores a volume, and must not leave.
        if isinstance(error, BrokenPipeError) and name != "export":
            return reader_left()
        print(system_failure(error, "flexvol " + name).message, file=sys.stderr)
    except KeyboardInterrupt:
        print("flexvol {}: stopped".format(name), file=sys.stderr)
        return _STOPPED
    return 1


def _run(name: str, words: "List[str]") -> int:
    command = _load(name)
    command_parser = parser(name)
    settings = command_parser.parse_args(words)
    if command.NEEDS_ROOT and os.geteuid() != 0:
        raise Internal("only root can do that; run it with sudo")
    try:
        status: int = command.run(settings)
    except WrongArguments as error:
        command_parser.error(str(error))
    return status


def _load(name: str) -> "ModuleType":
    module = name + "_" if keyword.iskeyword(name) else name
    return importlib.import_module("node.commands." + module)
