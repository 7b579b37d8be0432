"""flexvol as a release of Helm, handled with the commands of docs/chart.md as they stand there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import yaml

from tests import documents
from tests.cluster.kube import helm
from tests.cluster.kube.cluster import STATE, Cluster
from tests.cluster.namespaces import Object
from tests.sources import ROOT

_SECONDS = 300
# The overlay of these tests has the same (kube/overlay).
VALUES: Object = {
    "image": {"repository": "localhost/flexvol", "tag": "dev"},
    "cluster": {"extraArgs": ["--node-gone-after=3"]},
}


class Release:
    """A person's directory with a file of values, and helm and kubectl on the PATH.

    major: of helm."""

    def __init__(self, cluster: Cluster, major: int, directory: Path) -> None:
        self._major = major
        self._directory = directory
        (directory / "deploy").symlink_to(ROOT / "deploy")
        programs = directory / "bin"
        programs.mkdir()
        *enter, kubectl, _, _ = cluster.kubectl_line()
        for name, program in (("helm", helm.program(major)), ("kubectl", kubectl)):
            line = shlex.join(map(str, [*enter, program]))
            (programs / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
            (programs / name).chmod(0o755)
        shutil.copy(ROOT / "dist/provisioner", programs / "kubectl-flexvol")
        self.write(VALUES)

    def write(self, values: Object) -> None:
        """Writes values.yaml."""
        (self._directory / "values.yaml").write_text(yaml.safe_dump(values))

    def run(self, line: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a line in a shell, in the directory."""
        environment = {
            **os.environ,
            "PATH": f"{self._directory}/bin:{os.environ['PATH']}",
            "HOME": str(self._directory),
            "KUBECONFIG": str(STATE / "admin.kubeconfig"),
            "SHIV_ROOT": f"{STATE}/shiv",
        }
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self._directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        assert done.returncode == 0 or not check, f"{line}: {done.stdout}{done.stderr}"
        return done

    def follow(self, beginning: str, more: str = "") -> str:
        """Runs the command of the page that begins so, and returns what is printed.

        more: words that are added to the command"""
        commands = documents.commands_in((ROOT / "docs/chart.md").read_text())
        (line,) = {line for line in commands if line.startswith(beginning)}
        return self.run(f"{line} {more}").stdout

    def take_over(self) -> None:
        """Makes a release of what kubectl applied, as the page says."""
        self.follow("helm upgrade --install", "--server-side=false" if self._major > 3 else "")

    def objects(self) -> list[Object]:
        """All that the release has."""
        text = self.run("helm get manifest flexvol --namespace flexvol").stdout
        return [one for one in yaml.safe_load_all(text) if one]

    def remove(self) -> None:
        """Uninstalls the release, if it is there."""
        self.run("helm uninstall flexvol --namespace flexvol --ignore-not-found --wait")
