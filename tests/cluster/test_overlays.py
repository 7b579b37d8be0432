"""Manifests for other distributions and registries, rendered as a person renders them, checked by
an API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from node.host.plugin_directory import DISTRIBUTIONS, PLUGIN_DIRECTORY
from tests.cluster.installing import render
from tests.cluster.namespaces import Kubernetes, Object
from tests.sources import ROOT

OVERLAYS = ROOT / "deploy/overlays"
REGISTRY = "registry.example:5000/storage/flexvol"
TAG = "1.2.3"
ALSO = ("secrets", "shared")  # what the pages say to add beside the base


def check(k8s: Kubernetes, objects: list[Object]) -> None:
    """The API server would take them all: it is asked to, and told to keep nothing."""
    line = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
    done = k8s.cluster.kubectl(
        *line, check=False, capture_output=True, input=yaml.safe_dump_all(objects)
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(objects)


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in [str(key), *strings(inner)]]
    return (
        [text for inner in value for text in strings(inner)]
        if isinstance(value, list)
        else [str(value)]
    )


@pytest.mark.parametrize("name", sorted(path.name for path in OVERLAYS.iterdir()))
def test_each_overlay_moves_the_plugin_directory_and_nothing_else(
    k8s: Kubernetes, name: str, tmp_path: Path
) -> None:
    base = render(k8s, tmp_path, resources=[ROOT / "deploy"])
    found = render(
        k8s,
        tmp_path,
        resources=[ROOT / "deploy"],
        components=[OVERLAYS / name],
    )

    check(k8s, found)

    changed = [one for one in found if one not in base]
    node = next(one for one in changed if one["kind"] == "DaemonSet")
    spec = node["spec"]["template"]["spec"]
    (plugins,) = [volume for volume in spec["volumes"] if volume["name"] == "plugins"]
    assert plugins["hostPath"]["path"] == DISTRIBUTIONS[name]
    installs = spec["initContainers"][0]["command"]
    installs[installs.index(DISTRIBUTIONS[name])] = PLUGIN_DIRECTORY
    plugins["hostPath"]["path"] = PLUGIN_DIRECTORY
    assert node in base
    more = [(one["kind"], one["metadata"]["name"]) for one in changed if one is not node]
    assert more == ([("RoleBinding", "flexvol-node-scc")] if name == "openshift" else [])


def test_install_and_doctor_know_every_overlays_directory() -> None:
    assert {path.name for path in OVERLAYS.iterdir()} == set(DISTRIBUTIONS)


def test_one_value_changes_the_registry_of_every_image(k8s: Kubernetes, tmp_path: Path) -> None:
    resources = [ROOT / "deploy", *(ROOT / "deploy" / name for name in ALSO)]

    found = render(
        k8s,
        tmp_path,
        resources=resources,
        images=[{"name": "flexvol", "newName": REGISTRY, "newTag": TAG}],
    )

    pods = [
        one["spec"]["template"]["spec"]
        for one in found
        if one["kind"] in ("DaemonSet", "Deployment")
    ]
    containers = [
        one for pod in pods for key in ("initContainers", "containers") for one in pod.get(key, [])
    ]
    assert [one["image"] for one in containers] == [f"{REGISTRY}:{TAG}"] * 4
    everything = strings(found)
    assert everything.count("image") == everything.count(f"{REGISTRY}:{TAG}") == 4
    assert [text for text in everything if REGISTRY in text and text != f"{REGISTRY}:{TAG}"] == []
    check(
        k8s,
        [one for one in found if one["metadata"].get("namespace") in (None, "flexvol")],
    )


def test_another_namespace_has_the_accounts_and_their_rights(
    k8s: Kubernetes, tmp_path: Path
) -> None:
    resources = [ROOT / "deploy", ROOT / "deploy/shared"]

    found = render(k8s, tmp_path, namespace="storage", namePrefix="our-", resources=resources)

    accounts = {one["metadata"]["name"] for one in found if one["kind"] == "ServiceAccount"}
    subjects = [subject for one in found for subject in one.get("subjects", [])]
    assert {(one["name"], one["namespace"]) for one in subjects} == {
        (name, "storage") for name in accounts
    }


def test_an_overlay_and_a_registry_go_together(k8s: Kubernetes, tmp_path: Path) -> None:
    found = render(
        k8s, tmp_path, resources=[ROOT / "deploy"], components=[OVERLAYS / "rke2"],
        images=[{"name": "flexvol", "newName": REGISTRY}],
    )  # fmt: skip

    node = next(one for one in found if one["kind"] == "DaemonSet")["spec"]["template"]["spec"]
    assert node["containers"][0]["image"] == REGISTRY
    assert DISTRIBUTIONS["rke2"] in node["initContainers"][0]["command"]
