"""flexvol install: the zipapp puts itself into kubelet's plugin directory and proves that it works
there.

kubelet watches that directory and runs whatever appears. So the file is completed and run in a
directory with a
dot-name, which kubelet ignores, and then renamed: kubelet sees nothing or all of it, and an update
never disturbs a callout that is running the old one."""

import argparse
import os
import shutil

from node import callouts, zipapp
from node.commands import kubelet
from shared import caller, process
from shared.protocol import CALLOUTS, VERSION, Failure, Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

_PRECOMPILE_SECONDS = 60


def main(words: "List[str]") -> int:
    parser = argparse.ArgumentParser(prog="flexvol install", description=__doc__)
    kubelet.add_argument(parser)
    parser.add_argument(
        "--driver",
        default=callouts.DEFAULT_DRIVER,
        help="which driver to be there (default %(default)s)",
    )
    parser.add_argument(
        "--vendor", default="flexvol", help="the name before the ~ (default %(default)s)"
    )
    parser.add_argument(
        "--host-root",
        default="/",
        metavar="DIR",
        help="where the node's / is in this container: the proof runs in it",
    )
    arguments = parser.parse_args(words)
    driver = callouts.load(arguments.driver)
    archive = zipapp.path()
    for sentence in driver.operations().prepare_node(arguments.host_root):
        print(sentence)
    name = "{}~{}".format(arguments.vendor, arguments.driver)
    plugin_dir = arguments.plugin_dir
    if plugin_dir is None:
        plugin_dir, how = kubelet.plugin_directory()
        print("kubelet's plugin directory is {} ({})".format(plugin_dir, how))
    print(install(archive, plugin_dir, name, arguments.driver, arguments.host_root))
    return 0


def install(archive: str, plugin_dir: str, name: str, driver: str, host_root: str) -> str:
    """Copies `archive` to PLUGINDIR/NAME/DRIVER as the node sees it and returns a sentence. Raises
    Internal, with nothing changed, if it does not work there."""
    plugins = host_root.rstrip("/") + plugin_dir
    target = os.path.join(plugins, name)
    aside = os.path.join(plugins, "." + name + ".new")
    os.makedirs(plugins, 0o755, exist_ok=True)
    if os.path.isdir(aside):
        shutil.rmtree(aside)  # left by an install that was killed
    os.mkdir(aside, 0o755)
    try:
        fresh, present = os.path.join(aside, driver), os.path.join(target, driver)
        _copy(archive, fresh)
        proof = _prove(host_root, os.path.join(plugin_dir, "." + name + ".new", driver))
        installed = "{} {} at {} ({})".format(
            name, VERSION, os.path.join(plugin_dir, name, driver), proof
        )
        if os.path.exists(present) and _same(fresh, present):
            return "unchanged: " + installed
        if os.path.isdir(target):
            os.rename(fresh, present)
        else:
            os.rename(aside, target)
        _sync(target)
        _sync(plugins)
        return "installed: " + installed
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _same(fresh: str, present: str) -> bool:
    """Whether two archives hold the same sources and bytecode for the same Python. A damaged one is
    another one."""
    try:
        there = zipapp.read(present)
    except Internal:
        return False
    return zipapp.read(fresh) == there and zipapp.bytecode_magic(fresh) == zipapp.bytecode_magic(
        present
    )


def _copy(archive: str, path: str) -> None:
    with open(archive, "rb") as source, open(path, "wb") as copy:
        shutil.copyfileobj(source, copy)
        os.fchmod(copy.fileno(), 0o755)
        copy.flush()
        os.fsync(copy.fileno())


def _prove(host_root: str, path: str) -> str:
    """Runs init as kubelet will, with the node's own interpreter, and reads the answer as kubelet
    does; before that the same interpreter adds its bytecode."""
    prefix = [] if host_root == "/" else ["chroot", host_root]
    try:
        process.run(prefix + [path, "precompile"], _PRECOMPILE_SECONDS).check()
        result = process.run(prefix + [path, "init"], CALLOUTS["init"].seconds)
        reply = caller.parse("init", result.output, result.status)
    except Failure as failure:
        raise Internal(
            "it does not work on this node, so nothing was changed: {}".format(failure)
        ) from None
    stated = reply.capabilities.to_dict() if reply.capabilities else {}
    return "init on this node: " + ", ".join(key for key, value in stated.items() if value)


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
