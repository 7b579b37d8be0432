"""flexvol doctor: looks at everything on this node that has to be right for pods to get their
volumes, and names the remedy for what is not. Its exit status is 1 if something is wrong. It
changes nothing."""

import argparse
import importlib.util
import os
import sys

from node import callouts, zipapp
from node.commands import kubelet
from shared import caller, process
from shared.protocol import VERSION, Failure, Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List, Optional, Tuple

    Finding = Tuple[str, str]  # what, and its remedy if it is wrong


def main(words: "List[str]") -> int:
    parser = argparse.ArgumentParser(prog="flexvol doctor", description=__doc__)
    kubelet.add_argument(parser)
    parser.add_argument(
        "--driver", default=callouts.DEFAULT_DRIVER, help="which driver (default %(default)s)"
    )
    arguments = parser.parse_args(words)
    if os.geteuid() != 0:
        raise Internal("only root sees volumes and loop devices; run it with sudo")
    wrong = 0
    for what, remedy in _examine(arguments.plugin_dir, arguments.driver):
        wrong += bool(remedy)
        print("{:6} {}".format("WRONG" if remedy else "ok", what))
        if remedy:
            print("       do this: " + remedy)
    print(
        "\nNothing is wrong."
        if not wrong
        else "\n{} wrong.".format("1 thing is" if wrong == 1 else str(wrong) + " things are")
    )
    return 1 if wrong else 0


def _examine(plugin_dir: "Optional[str]", driver: str) -> "Iterator[Finding]":
    yield (
        "flexvol {} with Python {} ({})".format(VERSION, sys.version.split()[0], sys.executable),
        "",
    )
    if plugin_dir is None:
        plugin_dir, how = kubelet.plugin_directory()
        yield "kubelet's plugin directory is {} ({})".format(plugin_dir, how), ""
    yield from _examine_plugins(plugin_dir.rstrip("/"), driver)
    yield from callouts.load(driver).operations().examine()


def _examine_plugins(directory: str, driver: str) -> "Iterator[Finding]":
    install = "{} install {}".format(zipapp.path(), directory)
    if not os.path.isdir(directory):
        yield "{} does not exist".format(directory), install
        return
    flags = os.statvfs(directory).f_flag
    if flags & os.ST_NOEXEC:
        yield (
            "{} is mounted noexec, so kubelet can run nothing there".format(directory),
            "remount it with exec",
        )
    if flags & os.ST_RDONLY:
        yield (
            "{} is read-only, so nothing can be installed or updated there".format(directory),
            "remount it writable, or give kubelet another --volume-plugin-dir",
        )
    for name in os.listdir(directory):
        if name.startswith("."):
            yield "{}/{} was left by an install that was killed".format(directory, name), install
    names = [
        name
        for name in os.listdir(directory)
        if name.endswith("~" + driver) and not name.startswith(".")
    ]
    for name in names:
        yield _examine_installed(os.path.join(directory, name), driver, install)
    if not names:
        yield "no driver {} is installed in {}".format(driver, directory), install


def _examine_installed(directory: str, driver: str, install: str) -> "Finding":
    path = os.path.join(directory, driver)
    if os.path.islink(directory):
        return "{} is a link, which kubelet does not follow when it starts".format(
            directory
        ), "remove it; " + install
    try:
        caller.call(path, "init")
        version = process.run([path, "--version"], 10).check().text
        bytecode = zipapp.bytecode_magic(path)
    except Failure as failure:
        return "{} does not work: {}".format(path, failure), install
    if version != VERSION:
        return "{} is version {}, and this is {}".format(path, version, VERSION), install
    if bytecode != importlib.util.MAGIC_NUMBER:
        return "{} has no bytecode for this Python, so each callout starts slowly".format(
            path
        ), path + " precompile"
    return "{} answers init".format(path), ""
