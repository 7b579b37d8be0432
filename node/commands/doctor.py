"""Finds what is wrong on this node, and says what to do about it.

The command looks at everything that has to be right for pods to get their volumes, and changes
nothing. Its exit status is 1 if something is wrong."""

import argparse
import importlib.util
import os
import sys

from node import callouts, zipapp
from node.commands import add_driver, add_plugin_dir
from node.host import plugin_directory
from shared import caller, process
from shared.protocol import VERSION, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Optional, Tuple

    Finding = Tuple[str, str]  # what was looked at, and the remedy if that is wrong, else ""

NEEDS_ROOT = True
_VERSION_SECONDS = 10  # for an installed driver to print its version


def arguments(parser: argparse.ArgumentParser) -> None:
    add_plugin_dir(parser)
    add_driver(parser)


def run(settings: argparse.Namespace) -> int:
    wrong = 0
    for what, remedy in _examine(settings.plugin_dir, settings.driver):
        if not remedy:
            print("ok     " + what)
            continue
        wrong += 1
        print("WRONG  " + what)
        print("       do this: " + remedy)
    if wrong == 0:
        print("\nNothing is wrong.")
        return 0
    print("\n1 thing is wrong." if wrong == 1 else "\n{} things are wrong.".format(wrong))
    return 1


def _examine(plugins: "Optional[str]", driver: str) -> "Iterator[Finding]":
    python = sys.version.split()[0]
    yield "flexvol {} with Python {} ({})".format(VERSION, python, sys.executable), ""
    if plugins is None:
        plugins, how = plugin_directory.find()
        yield "kubelet's plugin directory is {} ({})".format(plugins, how), ""
    yield from _examine_plugins(plugins.rstrip("/"), driver)
    yield from callouts.load(driver).operations().examine()


def _examine_plugins(directory: str, driver: str) -> "Iterator[Finding]":
    install = "{} install {}".format(zipapp.path(), directory)
    if not os.path.isdir(directory):
        yield "{} does not exist".format(directory), install
        return
    yield from _examine_flags(directory)
    installed = []
    for name in os.listdir(directory):
        if name.startswith("."):
            what = "{}/{} was left by an install that was killed"
            yield what.format(directory, name), install
        elif name.endswith("~" + driver):
            installed.append(name)
    for name in installed:
        yield _examine_installed(os.path.join(directory, name), driver, install)
    if not installed:
        yield "no driver {} is installed in {}".format(driver, directory), install


def _examine_flags(directory: str) -> "Iterator[Finding]":
    flags = os.statvfs(directory).f_flag
    if flags & os.ST_NOEXEC:
        what = "{} is mounted noexec, so kubelet can run nothing there"
        yield what.format(directory), "remount it with exec"
    if flags & os.ST_RDONLY:
        what = "{} is read-only, so nothing can be installed or updated there"
        remedy = "remount it writable, or give kubelet another --volume-plugin-dir"
        yield what.format(directory), remedy


def _examine_installed(directory: str, driver: str, install: str) -> "Finding":
    """:param install: the command that installs the driver again"""
    path = os.path.join(directory, driver)
    if os.path.islink(directory):
        what = "{} is a link, which kubelet does not follow when it starts"
        return what.format(directory), "remove it; " + install
    try:
        caller.call(path, "init")
        version = process.run([path, "--version"], _VERSION_SECONDS).check().text
        magic = zipapp.bytecode_magic(path)
    except Failure as failure:
        return "{} does not work: {}".format(path, failure), install
    if version != VERSION:
        return "{} is version {}, and this is {}".format(path, version, VERSION), install
    if magic != importlib.util.MAGIC_NUMBER:
        what = "{} has no bytecode for this Python, so each callout starts slowly"
        return what.format(path), path + " precompile"
    return "{} answers init".format(path), ""
