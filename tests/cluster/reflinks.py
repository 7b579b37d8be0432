"""A class whose pools share blocks between a volume and its copies, so that a running pod's volume
can be copied."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.kube.cluster import Cluster
from tests.cluster.namespaces import Kubernetes, storage_class
from tests.cluster.nodes import DRIVER, unmount

_DISK_FILE_SYSTEMS = {"node1": "mkfs.xfs", "node2": "mkfs.btrfs"}


@contextlib.contextmanager
def reflink_class(cluster: Cluster, disks: Path, name: str, fs_type: str) -> Iterator[str]:
    """A class whose pool is, on each node, on a disk with a file system that has reflinks.

    disks: an empty directory for the disks, which are files
    name: of the class and of the pool"""
    path = f"/var/lib/flexvol/{name}"
    for node, mkfs in _DISK_FILE_SYSTEMS.items():
        disk = disks / node
        subprocess.run(["truncate", "-s", "4G", disk], check=True)
        subprocess.run([mkfs, "-q", disk], check=True)
        enter = cluster.nodes[node].enter
        enter("mkdir", path)
        enter("mount", "-o", "loop", disk, path)
        enter(DRIVER, "pool", "init", name, "--reserve", "0", capture_output=True)
    kubernetes = Kubernetes(cluster, "default")
    kubernetes.apply(storage_class(name, parameters={"pool": name, "fsType": fs_type}))
    try:
        yield name
    finally:
        kubernetes.delete("storageclass", name)
        for node in _DISK_FILE_SYSTEMS:
            unmount(cluster.nodes[node], path)
            cluster.nodes[node].enter("rmdir", path)
            cluster.nodes[node].enter(DRIVER, "pool", "remove", name, "--away", capture_output=True)
