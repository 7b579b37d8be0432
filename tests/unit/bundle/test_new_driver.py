"""./build.sh new-driver: a driver that works as soon as it is written, or a sentence and nothing
written. tests/cluster/test_own_driver.py brings one to a cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bundle import new_driver
from tests.sources import ROOT

Done = subprocess.CompletedProcess[str]
TREE = (
    "build.sh",
    "bundle",
    "shared",
    "node",
    "examples",
    "deploy",
    "flexvol.py",
    "pyproject.toml",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources that a driver is begun and tested with."""
    for name in (*TREE, "tests"):
        source = ROOT / name
        if source.is_dir():
            without = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tmp_path / name, symlinks=True, ignore=without)
        else:
            shutil.copy(source, tmp_path / name)
    return tmp_path


def run(tree: Path, *words: str) -> Done:
    line = ["./build.sh", "new-driver", *words]
    return subprocess.run(line, cwd=tree, capture_output=True, text=True, check=False, timeout=60)


def own_test(tree: Path, name: str) -> Done:
    """Runs the driver's own test as ./build.sh test does. tests/cluster/test_own_driver.py runs the
    part of `flexvol sanity` too, which takes minutes."""
    line = [sys.executable, "-m", "pytest", "-q", "-k", "not sanity", f"drivers/{name}"]
    return subprocess.run(line, cwd=tree, capture_output=True, text=True, check=False, timeout=300)


def resources(tree: Path) -> list[str]:
    kustomization = yaml.safe_load((tree / "drivers/kustomization.yaml").read_text())
    return list(kustomization["resources"])


def texts(directory: Path) -> Iterator[tuple[Path, str]]:
    for file in sorted(directory.rglob("*")):
        if file.is_file():
            yield file.relative_to(directory), file.read_text()


@pytest.mark.node
@pytest.mark.parametrize("mode", [new_driver.NODE, new_driver.SHARED])
def test_a_driver_that_was_just_begun_passes_its_own_test(tree: Path, mode: str) -> None:
    done = run(tree, "quota", "--mode", mode)
    assert done.returncode == 0, done.stderr

    outcome = own_test(tree, "quota")

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert re.search(r"\d passed", outcome.stdout)


@pytest.mark.parametrize("mode", [new_driver.NODE, new_driver.SHARED])
def test_nothing_is_left_of_the_names_of_the_skeleton_and_the_example(
    tree: Path, mode: str
) -> None:
    run(tree, "quota", "--mode", mode)

    for path, text in texts(tree / "drivers/quota"):
        assert "mydriver" not in f"{path} {text}".lower(), path
        assert "DirectoryDriver" not in text, path
        assert "flexvol-directory" not in text, path
        assert '"directory"' not in text, path
    assert "class QuotaDriver(Driver):" in (tree / "drivers/quota/quota.py").read_text()


def test_several_drivers_are_in_one_kustomization(tree: Path) -> None:
    run(tree, "quota")
    run(tree, "archive", "--mode", "shared")
    run(tree, "films", "--mode", "shared")

    assert resources(tree) == [
        "../deploy",
        "quota/deploy",
        "../deploy/shared/account",
        "archive/deploy",
        "films/deploy",
    ]


def test_a_kustomization_of_another_form_is_left_alone_and_the_line_is_told(tree: Path) -> None:
    run(tree, "quota")
    file = tree / "drivers/kustomization.yaml"
    changed = file.read_text().replace("resources:\n", "resources: []\n")
    file.write_text(changed)

    done = run(tree, "archive")

    assert "Add archive/deploy to resources in drivers/kustomization.yaml" in done.stdout
    assert file.read_text() == changed


def test_lines_of_ones_own_stay_in_the_kustomization(tree: Path) -> None:
    run(tree, "quota")
    file = tree / "drivers/kustomization.yaml"
    file.write_text(file.read_text() + "components: [../deploy/overlays/gke]\n")

    run(tree, "archive")

    assert resources(tree)[-1] == "archive/deploy"
    assert "components: [../deploy/overlays/gke]" in file.read_text()


def test_a_driver_that_exists_takes_the_place_of_the_one_to_begin_with(tree: Path) -> None:
    (tree / "mine.py").write_text("# my own\n")

    done = run(tree, "quota", "--from", "mine.py")

    assert done.returncode == 0, done.stderr
    assert (tree / "drivers/quota/quota.py").read_text() == "# my own\n"


LISTS = "Reply(volumes=[], pools=[])"
POOLS = [
    pytest.param(LISTS, "node", True, id="a driver that lists pools"),
    pytest.param("", "node", False, id="a driver that lists none"),
    pytest.param(LISTS, "shared", False, id="storage of no single node"),
]


@pytest.mark.parametrize(("source", "mode", "expected"), POOLS)
def test_the_scheduler_looks_for_room_only_where_a_node_publishes_it(
    tmp_path: Path, source: str, mode: str, expected: bool
) -> None:
    new_driver.write(tmp_path / "quota", mode, source)

    deploy = tmp_path / "quota/deploy"
    values = yaml.safe_load((tmp_path / "quota/values.yaml").read_text())["drivers"]["quota"]
    named = yaml.safe_load((deploy / "kustomization.yaml").read_text())["resources"]
    assert ("csidriver.yaml" in named) == values.get("listsPools", False) == expected
    assert all((deploy / name).exists() for name in named)


REFUSED = [
    pytest.param("my-quota", "is no name for a driver", id="a hyphen"),
    pytest.param("Quota", "is no name for a driver", id="a capital"),
    pytest.param("q" * 31, "is no name for a driver", id="a name that is too long"),
    pytest.param("../quota", "is no name for a driver", id="a path"),
    pytest.param("loop", "is taken", id="the driver that is there"),
    pytest.param("class", "is taken", id="a word of Python"),
    pytest.param("tests", "is taken", id="a package that the driver's test needs"),
    pytest.param("flexvol", "is taken", id="the program by which a person calls each driver"),
    pytest.param("on", "is taken", id="a word that YAML reads as true"),
]


@pytest.mark.parametrize(("name", "why"), REFUSED)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_written(
    tree: Path, name: str, why: str
) -> None:
    done = run(tree, name)

    assert done.returncode == 1
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tree / "drivers").exists()


def test_a_driver_that_is_there_is_not_written_again(tree: Path) -> None:
    run(tree, "quota")
    (tree / "drivers/quota/quota.py").write_text("# changed\n")

    done = run(tree, "quota")

    assert done.returncode == 1
    assert done.stderr == "new-driver: drivers/quota is there already\n"
    assert (tree / "drivers/quota/quota.py").read_text() == "# changed\n"


@pytest.mark.parametrize("content", [b"#!/bin/sh\necho text\n", b"\xff\xfe", b"a = '\0'"])
def test_a_driver_in_another_language_is_refused_and_nothing_is_written(
    tree: Path, content: bytes
) -> None:
    (tree / "driver").write_bytes(content)

    done = run(tree, "quota", "--from", "driver")

    assert done.returncode == 1
    assert done.stderr.startswith("new-driver: driver is no Python (")
    assert len(done.stderr.splitlines()) == 1
    assert not (tree / "drivers").exists()


def test_a_file_that_is_not_there_is_one_sentence_and_nothing_is_written(tree: Path) -> None:
    done = run(tree, "quota", "--from", "nowhere.py")

    assert done.returncode == 1
    assert done.stderr == "build.sh new-driver: nowhere.py: No such file or directory\n"
    assert not (tree / "drivers").exists()
