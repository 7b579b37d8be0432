"""Where this node's kubelet looks for drivers: the running kubelet tells, or what the distribution
is known to do."""

import argparse
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

PLUGIN_DIRECTORY = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
# deploy/overlays has one of each name, with the source of its directory. The others' kubelet has
# PLUGIN_DIRECTORY.
DISTRIBUTIONS = {
    "openshift": "/etc/kubernetes/kubelet-plugins/volume/exec",
    "gke": "/home/kubernetes/flexvolume",
    "aks": "/etc/kubernetes/volumeplugins",
    "k0s": "/usr/libexec/k0s/kubelet-plugins/volume/exec",
    "rke2": "/var/lib/kubelet/volumeplugins",
    "flatcar": "/var/kubernetes/kubelet-plugins/volume/exec",
}
# Of those whose kubelet is part of a larger process.
_ARGUMENT_FILES = ("/etc/rancher/k3s/config.yaml", "/var/snap/microk8s/current/args/kubelet")
_ARGUMENT = re.compile(r"""^[^#\n]*\bvolume-plugin-dir=["']?([^\s"',\]]+)""", re.MULTILINE)
_SETTING = re.compile(
    r"""(?:^|[{,])\s*["']?volumePluginDir["']?\s*:\s*["']?([^"',}\s]+)""", re.MULTILINE
)


def add_argument(parser: argparse.ArgumentParser) -> None:
    """For the commands that look there, or put something there: plugin_dir, None if it is to be
    found out."""
    parser.add_argument(
        "plugin_dir",
        nargs="?",
        metavar="PLUGINDIR",
        help="where kubelet looks; by default the running kubelet tells",
    )


def plugin_directory() -> "Tuple[str, str]":
    """The directory, and how we know."""
    found = _of_process() or _of_argument_files()
    if found:
        return found
    for name, directory in DISTRIBUTIONS.items():
        if os.path.isdir(directory):
            return (
                directory,
                "no process called kubelet runs here, but there is the one of {}".format(name),
            )
    return (
        PLUGIN_DIRECTORY,
        "the usual one: no process called kubelet runs here; name another as PLUGINDIR",
    )


def _of_process() -> "Optional[Tuple[str, str]]":
    """A kubelet in another mount namespace, a container's, is not this node's."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--volume-plugin-dir")
    parser.add_argument("--config")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/{}/cmdline".format(pid), "rb") as file:
                words = os.fsdecode(file.read()).split("\0")[:-1]
            if not words or os.path.basename(words[0]) != "kubelet":
                continue
            if os.readlink("/proc/{}/ns/mnt".format(pid)) != os.readlink("/proc/self/ns/mnt"):
                continue
        except OSError:  # it ended meanwhile
            continue
        arguments = parser.parse_known_args(words[1:])[0]
        how = "kubelet, process {}, says so".format(pid)
        directory = (
            arguments.volume_plugin_dir or _search(_SETTING, arguments.config) or PLUGIN_DIRECTORY
        )
        return directory.rstrip("/"), how
    return None


def _of_argument_files() -> "Optional[Tuple[str, str]]":
    for path in _ARGUMENT_FILES:
        directory = _search(_ARGUMENT, path)
        if directory:
            return directory.rstrip("/"), path + " says so"
        if os.path.exists(path):
            return PLUGIN_DIRECTORY, "{} names no other".format(path)
    return None


def _search(what: "re.Pattern[str]", path: "Optional[str]") -> "Optional[str]":
    """What is found in a file of settings; YAML, JSON or arguments."""
    try:
        with open(path or os.devnull, encoding="utf-8", errors="replace") as file:
            found = what.search(file.read())
    except OSError:
        return None
    return found.group(1) if found else None
