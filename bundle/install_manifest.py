"""All objects of deploy/kustomization.yaml in one file, with a release's image.

The file is what `kubectl kustomize` makes of it, for a machine that has no kubectl;
tests/cluster/test_release.py compares the two. Needs PyYAML, so it runs in the environment
for building."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "deploy"
# The name of the image in the sources, which a kustomization replaces.
IMAGE = "flexvol"
# What a kustomization may have for this module; any other key would be left out of the file.
_KEYS = {"apiVersion", "kind", "namespace", "resources"}
# The kinds of deploy that have no namespace.
_OF_THE_CLUSTER = {
    "CSIDriver",
    "ClusterRole",
    "ClusterRoleBinding",
    "Namespace",
    "PriorityClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


def render(image: str) -> str:
    """:param image: the image with its tag, such as registry.example/flexvol:0.1.0
    :returns: YAML of all objects"""
    objects = list(_objects(BASE / "kustomization.yaml"))
    for each in objects:
        for container in _containers(each):
            if container["image"] == IMAGE:
                container["image"] = image
    return str(yaml.dump_all(objects, Dumper=_WithoutAliases, sort_keys=False, width=1000))


class _WithoutAliases(yaml.SafeDumper):
    """Writes an object that stands in two places twice, as kustomize does."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _objects(kustomization: Path) -> Iterator[Object]:
    settings = yaml.safe_load(kustomization.read_text())
    unknown = sorted(set(settings) - _KEYS)
    if unknown:
        raise SystemExit(
            f"{kustomization} has {', '.join(unknown)}, which bundle/install_manifest.py "
            "does not know"
        )
    for name in settings["resources"]:
        for each in yaml.safe_load_all((kustomization.parent / name).read_text()):
            if each["kind"] not in _OF_THE_CLUSTER:
                each["metadata"]["namespace"] = settings["namespace"]
            yield each


def _containers(each: Object) -> list[Object]:
    pod = each.get("spec", {}).get("template", {}).get("spec", {})
    return [*pod.get("initContainers", []), *pod.get("containers", [])]


if __name__ == "__main__":
    print(render(sys.argv[1]), end="")
