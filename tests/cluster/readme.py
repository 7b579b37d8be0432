"""The README's commands, as a person types them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.cluster.commands import provisioner
from tests.cluster.kube.cluster import STATE, Cluster
from tests.sources import ROOT


def chapter(*words: str) -> list[str]:
    """The commands of the README's chapter that begin with one of the words."""
    (text,) = re.findall(
        r"^## Backup and disaster recovery\n(.*?)^## ",
        (ROOT / "README.md").read_text(),
        re.S | re.M,
    )
    return [
        re.sub(r"\s{2,}# .*", "", line[2:])
        for line in text.splitlines()
        if line[:2] == "$ " and line[2:].startswith(words)
    ]


def follow(cluster: Cluster, line: str, where: Path = STATE) -> str:
    """Runs a command as it stands there; it is in `where` that the README's reader works."""
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
