"""Where this node's kubelet looks for drivers: as the running kubelet's settings say, or else where
a distribution is known to have that directory."""

import os

from node.host import kubelet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

PLUGIN_DIRECTORY = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
# deploy/overlays has one of each name, with the source of its directory. The kubelets of all other
# distributions look into the usual directory.
DISTRIBUTIONS = {
    "openshift": "/etc/kubernetes/kubelet-plugins/volume/exec",
    "gke": "/home/kubernetes/flexvolume",
    "aks": "/etc/kubernetes/volumeplugins",
    "k0s": "/usr/libexec/k0s/kubelet-plugins/volume/exec",
    "rke2": "/var/lib/kubelet/volumeplugins",
    "flatcar": "/var/kubernetes/kubelet-plugins/volume/exec",
}
# Of the distributions whose kubelet is part of a larger process.
_ARGUMENT_FILES = ("/etc/rancher/k3s/config.yaml", "/var/snap/microk8s/current/args/kubelet")
_ARGUMENT = r"""^[^#\n]*\bvolume-plugin-dir=["']?([^\s"',\]]+)"""
_SETTING = r"""(?:^|[{,])\s*["']?volumePluginDir["']?\s*:\s*["']?([^"',}\s]+)"""


def find() -> "Tuple[str, str]":
    """Returns the directory, and words about how it was found."""
    found = _of_process() or _of_argument_files()
    if found is not None:
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
    for number, words in kubelet.processes():
        directory = kubelet.argument(words, "--volume-plugin-dir")
        if not directory:
            directory = kubelet.search(_SETTING, kubelet.argument(words, "--config"))
        how = "kubelet, process {}, says so".format(number)
        return (directory or PLUGIN_DIRECTORY).rstrip("/"), how
    return None


def _of_argument_files() -> "Optional[Tuple[str, str]]":
    for path in _ARGUMENT_FILES:
        directory = kubelet.search(_ARGUMENT, path)
        if directory:
            return directory.rstrip("/"), path + " says so"
        if os.path.exists(path):
            return PLUGIN_DIRECTORY, "{} names no other".format(path)
    return None
