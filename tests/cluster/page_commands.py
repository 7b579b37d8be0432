"""The commands of README.md and docs, as a person types them."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests import documents
from tests.cluster.commands import provisioner
from tests.cluster.kube.cluster import STATE, Cluster


def chapter(heading: str, *words: str) -> list[str]:
    """The commands that begin with one of the words, of the chapter whose heading has `heading`."""
    lines = documents.commands_in(documents.chapter(heading))
    return [line for line in lines if line.startswith(words)]


def follow(cluster: Cluster, line: str, where: Path = STATE) -> str:
    """Runs a command as it stands there; it is in `where` that the reader works."""
    if line.startswith("kubectl flexvol "):
        return provisioner(*line.split()[2:])
    done = cluster.kubectl(
        *shlex.split(line)[1:],
        check=False,
        capture_output=True,
        cwd=where,
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return str(done.stdout)
