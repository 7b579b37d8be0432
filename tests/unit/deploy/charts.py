"""Renders the Helm chart and the kustomizations of deploy/, and reads the chart's values."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kube import build, helm
from tests.sources import ROOT

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "chart"
Object = dict[str, Any]
# All that an object of the chart may have beside what it has in deploy/: the labels of Helm, and
# the note that Helm leaves an object where it is when a release is uninstalled.
ADDED_BY_HELM = {
    "labels": {"app.kubernetes.io/managed-by", "helm.sh/chart"},
    "annotations": {"helm.sh/resource-policy"},
}
# kustomize does not know that these kinds have no namespace, and kubectl ignores the one they get.
WITHOUT_NAMESPACE = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
_SECONDS = 60
_LONGEST_DEFAULT = 60  # characters of a value in the table of docs/chart.md


class Helm:
    """The program of one major version, which needs no cluster for what is asked here."""

    def __init__(self, major: int, home: Path) -> None:
        """home: an empty directory, for the settings that nobody has made."""
        self._program = helm.program(major)
        self._environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._program), *map(str, words)],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )

    def render(self, values: Object, *words: object, chart: Path = CHART) -> list[Object]:
        """The objects of a release in the namespace flexvol."""
        line = ("template", "flexvol", chart, "--namespace", "flexvol")
        done = self.run(*line, *_as_words(values), *words)
        assert done.returncode == 0, done.stderr
        return _objects(done.stdout)

    def refusal(self, values: Object, *words: object, chart: Path = CHART) -> str:
        """What is printed because these values cannot be."""
        done = self.run("template", "flexvol", chart, *_as_words(values), *words)
        assert done.returncode != 0, done.stdout
        return done.stderr


def _as_words(values: Object) -> list[str]:
    words = []
    for name, value in values.items():
        words += ["--set-json", f"{name}={json.dumps(value)}"]
    return words


def _objects(text: str) -> list[Object]:
    return [one for one in yaml.safe_load_all(text) if one]


def kustomize(kustomization: Object) -> list[Object]:
    """The objects of a kustomization of one's own, whose paths are those of the tree."""
    return _objects(_kustomized(json.dumps(kustomization)))


@functools.cache
def _kustomized(kustomization: str) -> str:
    own = json.loads(kustomization)
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for key in ("resources", "components"):
            own[key] = [_relative(directory, ROOT / path) for path in own.get(key, [])]
        (directory / "kustomization.yaml").write_text(yaml.safe_dump({**head, **own}))
        line = [str(build.programs() / "kubectl"), "kustomize", name]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _relative(directory: Path, path: Path) -> str:
    """kustomize takes no absolute path."""
    up = [".."] * (len(directory.resolve().parts) - 1)
    return str(Path(*up, *path.resolve().parts[1:]))


def by_name(objects: Sequence[Object]) -> dict[tuple[str, str, str], Object]:
    """The objects by kind, namespace and name, without what Helm and kustomize may add."""
    named = {}
    for added in objects:
        one = _without_additions(added)
        metadata = one["metadata"]
        key = (one["kind"], metadata.get("namespace", ""), metadata["name"])
        assert key not in named, f"{key} is there twice"
        named[key] = one
    return named


def _without_additions(one: Object) -> Object:
    metadata = dict(one["metadata"])
    for field, added in ADDED_BY_HELM.items():
        kept = {key: value for key, value in metadata.pop(field, {}).items() if key not in added}
        if kept:
            metadata[field] = kept
    if one["kind"] in WITHOUT_NAMESPACE:
        metadata.pop("namespace", None)
    return {**one, "metadata": metadata}


@dataclasses.dataclass(frozen=True)
class Value:
    """A value of values.yaml.

    name: with those above it, such as image.tag.
    default: as it stands in the table.
    purpose: the comment above it."""

    name: str
    default: str
    purpose: str


def values() -> Iterator[Value]:
    """Each value of values.yaml that has a comment, in its order. A comment that an empty line
    follows is about the file."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    comment: list[str] = []
    path: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        text = line.strip()
        if text.startswith("# "):
            comment.append(text.removeprefix("# "))
            continue
        key = re.match(r"( *)([A-Za-z]+):", line)
        if key:
            path = [*path[: len(key[1]) // 2], key[2]]
        if key and comment:
            yield Value(".".join(path), _default(defaults, path), " ".join(comment))
        comment = []


def _default(defaults: Any, path: list[str]) -> str:
    value = defaults
    for name in path:
        value = value[name]
    text = json.dumps(value)
    if len(text) > _LONGEST_DEFAULT:
        return "see `deploy/chart/values.yaml`"
    return f"`{text}`"


def leaves(tree: Object, above: str = "") -> Iterator[str]:
    """The names of the values that have no values below them that the chart names."""
    named = {value.name for value in values()}
    for name, value in tree.items():
        path = f"{above}{name}"
        if path not in named and isinstance(value, dict) and value:
            yield from leaves(value, path + ".")
        else:
            yield path


def table() -> list[str]:
    """The lines of the table in docs/chart.md."""
    lines = ["| value | default | what it is for |", "|---|---|---|"]
    lines += [f"| `{value.name}` | {value.default} | {value.purpose} |" for value in values()]
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
