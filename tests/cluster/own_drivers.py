"""An author of drivers: their copy of the source tree, in which they run ./build.sh, and the nodes
on which their drivers have storage of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.installing import install
from tests.cluster.kube import images
from tests.cluster.kube.cluster import Cluster
from tests.cluster.kube.node import PLUGINS, SHARED_STORAGE
from tests.cluster.namespaces import Kubernetes
from tests.cluster.page_commands import follow
from tests.sources import ROOT

ACCOUNT = ROOT / "deploy/shared/account"  # which drivers in shared mode have
_NOT_COPIED = shutil.ignore_patterns(".git", "dist", "__pycache__")
_SECONDS = 1800  # an image and the test of a driver take a minute or two on an idle machine


class Author:
    """Who works in a copy of the source tree, and brings the images that they build to the
    nodes."""

    def __init__(self, cluster: Cluster, tree: Path) -> None:
        """tree: not there yet."""
        self._cluster = cluster
        self.tree = tree
        shutil.copytree(ROOT, tree, symlinks=True, ignore=_NOT_COPIED)

    def follow(self, line: str) -> str:
        """Runs a command of the page as it stands there, and returns what it prints."""
        if line.startswith("kubectl "):
            return follow(self._cluster, line, self.tree)
        printed = self._build(line)
        if line.startswith("./build.sh image"):
            self.bring(self.tree / "dist/image.tar")
        return printed

    def _build(self, line: str) -> str:
        done = subprocess.run(
            line,
            shell=True,
            cwd=self.tree,
            env={**os.environ, "FLEXVOL_BASE_IMAGE": images.base()},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def bring(self, image: Path) -> None:
        for node in self._cluster.nodes.values():
            node.import_image(image)

    def move_storage(self, name: str) -> None:
        """Places the driver's storage where all nodes reach it."""
        for file in (self.tree / "drivers" / name).rglob("*"):
            if file.is_file():
                text = file.read_text()
                there = f"{SHARED_STORAGE}/{name}"
                file.write_text(text.replace(f"/var/lib/flexvol-{name}", there))

    def names(self) -> list[str]:
        """The drivers that were begun."""
        return sorted(path.parent.name for path in self.tree.glob("drivers/*/deploy"))


@contextlib.contextmanager
def author(cluster: Cluster, tree: Path) -> Iterator[Author]:
    """Afterwards the cluster is as before: without their drivers, and with the image of the
    tests."""
    made = Author(cluster, tree)
    try:
        yield made
    finally:
        for name in made.names():
            _remove(cluster, made, name)
        line = ("delete", "-k", ACCOUNT, "--ignore-not-found", "--wait=true")
        cluster.kubectl(*line, check=False, capture_output=True)
        made.bring(images.product())
        install(cluster)


def _remove(cluster: Cluster, author: Author, name: str) -> None:
    directory = author.tree / "drivers" / name
    for part in ("example", "deploy"):
        line = ("delete", "-k", directory / part, "--ignore-not-found", "--wait=true")
        if part == "deploy":
            _until_no_volume(cluster, name)
        cluster.kubectl(*line, check=False, capture_output=True)
    for node in cluster.nodes.values():
        shutil.rmtree(node.path(f"{PLUGINS}/flexvol~{name}"), ignore_errors=True)


def _until_no_volume(cluster: Cluster, name: str) -> None:
    """Waits until the driver has deleted what it made."""
    flexvol = Kubernetes(cluster, "flexvol")
    words = '{range .items[*]}{.metadata.name} {.spec.flexVolume.driver}{"\\n"}{end}'
    for line in flexvol.run("get", "pv", "-o", f"jsonpath={words}").stdout.splitlines():
        volume, _, driver = line.partition(" ")
        if driver == f"flexvol/{name}":
            flexvol.run("wait", "--for=delete", f"pv/{volume}", "--timeout=60s", check=False)


@contextlib.contextmanager
def second_disk(cluster: Cluster, path: str) -> Iterator[None]:
    """On each node a file system of its own at that path, as from a second disk.

    The empty directory below stays: removing it would take away the disks of another cluster on
    this machine."""
    for node in cluster.nodes.values():
        node.enter("mkdir", "-p", path)
        node.enter("mount", "-t", "tmpfs", "-o", "size=128m", "none", path)
    try:
        yield
    finally:
        for node in cluster.nodes.values():
            node.enter("umount", "-l", path)
