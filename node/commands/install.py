"""Puts this file into kubelet's plugin directory and proves that it works there.

kubelet watches that directory and runs whatever appears. So the file is completed and run in a
directory with a dot-name, which kubelet ignores, and then renamed: kubelet sees nothing or all of
it, and an update never disturbs a callout that is running the old file."""

import argparse
import os
import shutil

from node import callouts, zipapp
from node.commands import add_driver, add_plugin_dir
from node.host import plugin_directory
from shared import caller, process
from shared.protocol import CALLOUTS, VERSION, Failure, Internal

NEEDS_ROOT = False
_PRECOMPILE_SECONDS = 60  # it takes about one on an idle node


def arguments(parser: argparse.ArgumentParser) -> None:
    add_plugin_dir(parser)
    add_driver(parser)
    parser.add_argument(
        "--vendor", default="flexvol", help="the name before the ~ (default: %(default)s)"
    )
    parser.add_argument(
        "--host-root",
        default="/",
        metavar="DIR",
        help="where the node's / is in this container: the proof runs in it",
    )


def run(settings: argparse.Namespace) -> int:
    driver = callouts.load(settings.driver)
    source = zipapp.path()
    for sentence in driver.operations().prepare_node(settings.host_root):
        print(sentence)
    plugins = settings.plugin_dir
    if plugins is None:
        plugins, how = plugin_directory.find()
        print("kubelet's plugin directory is {} ({})".format(plugins, how))
    name = "{}~{}".format(settings.vendor, settings.driver)
    installation = _Installation(plugins, name, settings.driver, settings.host_root)
    print(installation.install(source))
    return 0


class _Installation:
    """One driver in kubelet's plugin directory.

    Paths below `plugins` are as kubelet sees them, all others as this process sees them."""

    def __init__(self, plugins: str, name: str, driver: str, host_root: str) -> None:
        """:param name: of the driver's directory, VENDOR~DRIVER"""
        self._driver = driver
        self._host_root = host_root
        self._name = name
        self._aside_name = ".{}.new".format(name)
        self._plugins = plugins
        self._directory = host_root.rstrip("/") + plugins

    def install(self, source: str) -> str:
        """Copies the zipapp `source` into the plugin directory and returns a sentence.

        :raises Internal: with nothing changed, if the zipapp does not work there"""
        target = os.path.join(self._directory, self._name)
        aside = os.path.join(self._directory, self._aside_name)
        os.makedirs(self._directory, 0o755, exist_ok=True)
        if os.path.isdir(aside):
            shutil.rmtree(aside)  # left by an install that was killed
        os.mkdir(aside, 0o755)
        try:
            fresh = os.path.join(aside, self._driver)
            present = os.path.join(target, self._driver)
            _copy(source, fresh)
            installed = self._prove()
            if os.path.exists(present) and _is_same(fresh, present):
                return "unchanged: " + installed
            if os.path.isdir(target):
                os.rename(fresh, present)
            else:
                os.rename(aside, target)
            _sync(target)
            _sync(self._directory)
            return "installed: " + installed
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _prove(self) -> str:
        """Runs init as kubelet will, with the node's own interpreter, and reads the answer as
        kubelet does. Before that, the same interpreter adds its bytecode."""
        prefix = [] if self._host_root == "/" else ["chroot", self._host_root]
        fresh = os.path.join(self._plugins, self._aside_name, self._driver)
        try:
            process.run([*prefix, fresh, "precompile"], _PRECOMPILE_SECONDS).check()
            result = process.run([*prefix, fresh, "init"], CALLOUTS["init"].seconds)
            reply = caller.parse("init", result.output, result.status)
        except Failure as failure:
            raise Internal(
                "it does not work on this node, so nothing was changed: {}".format(failure)
            ) from None
        stated = reply.capabilities.to_dict() if reply.capabilities else {}
        capabilities = ", ".join(name for name, value in stated.items() if value)
        path = os.path.join(self._plugins, self._name, self._driver)
        return "{} {} at {} (init on this node: {})".format(self._name, VERSION, path, capabilities)


def _is_same(fresh: str, present: str) -> bool:
    """Whether two zipapps hold the same sources, and bytecode for the same Python. A damaged zipapp
    is the same as none."""
    try:
        contents = zipapp.read(present)
    except Internal:
        return False
    if zipapp.read(fresh) != contents:
        return False
    return zipapp.bytecode_magic(fresh) == zipapp.bytecode_magic(present)


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as original, open(target, "wb") as copy:
        shutil.copyfileobj(original, copy)
        os.fchmod(copy.fileno(), 0o755)
        copy.flush()
        os.fsync(copy.fileno())


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
