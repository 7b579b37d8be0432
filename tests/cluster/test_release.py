"""What of a release needs more than the unit tests have: kubectl, and a base image. Needs no
cluster."""

from __future__ import annotations

import filecmp
import subprocess
from pathlib import Path

import pytest
import yaml

from bundle import image, install_manifest
from tests.cluster.kube import build, images
from tests.cluster.namespaces import Object
from tests.sources import ROOT

NAME = "registry.example/flexvol"
TAG = "1.2.3"


def test_the_releases_file_is_what_kustomize_makes_of_deploy(tmp_path: Path) -> None:
    up = Path(*[".."] * (len(tmp_path.resolve().parts) - 1))
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(up / (ROOT / "deploy").relative_to("/"))],
        "images": [{"name": "flexvol", "newName": NAME, "newTag": TAG}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    line = [str(build.programs() / "kubectl"), "kustomize", str(tmp_path)]
    done = subprocess.run(line, check=True, capture_output=True, text=True)

    ours = by_name(install_manifest.render(f"{NAME}:{TAG}"))

    assert ours == by_name(done.stdout)


def by_name(text: str) -> dict[tuple[str, str, str], Object]:
    """The objects. kustomize does not know that policies have no namespace; the API server ignores
    theirs."""
    objects: list[Object] = list(yaml.safe_load_all(text))
    named = {}
    for each in objects:
        metadata = each["metadata"]
        if each["kind"].startswith("ValidatingAdmissionPolicy"):
            metadata.pop("namespace", None)
        named[each["kind"], metadata.get("namespace", ""), metadata["name"]] = each
    assert len(named) == len(objects)
    return named


def test_an_image_that_is_made_again_is_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = images.product()
    monkeypatch.setenv("FLEXVOL_BASE_IMAGE", images.base())

    image.build(tmp_path / "again.tar", image.DEVELOPMENT_TAG, [])

    assert filecmp.cmp(made, tmp_path / "again.tar", shallow=False)
