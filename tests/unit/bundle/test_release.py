"""./build.sh release: two trees with the same sources make the same bytes, and everything that the
files say of each other is true."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle import environment, image, install_manifest, release
from shared.protocol import VERSION
from tests import documents
from tests.sources import ROOT

# What docs/release.md gives.
URL = f"https://downloads.example/flexvol/v{VERSION}"
IMAGE = "registry.example/flexvol"
COMMAND = documents.command("./build.sh release").split()
SOURCES = ("build.sh", "flexvol.py", "provisioner.py", "LICENSE")
FOLDERS = ("bundle", "cluster", "deploy", "node", "shared")
FILES = [
    "SHA256SUMS",
    "flexvol",
    f"flexvol-{VERSION}.cdx.json",
    "flexvol.yaml",
    "install.yaml",
    "kubectl-flexvol",
    "kubectl-flexvol.tar.gz",
    "provisioner",
]
CHART = f"flexvol-{VERSION}.tgz"


def copy_sources(tree: Path) -> Path:
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(ROOT / name, tree)
    return tree


def make(tree: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the release as the page says, without an image."""
    return subprocess.run(
        [*COMMAND, "--no-image", *options],
        cwd=tree,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a release."""
    tree = copy_sources(tmp_path_factory.mktemp("one") / "tree")
    done = make(tree)
    assert done.returncode == 0, done.stderr
    return tree / "dist"


def test_the_release_has_all_its_files(dist: Path) -> None:
    chart = [CHART] if (ROOT / "deploy/chart").is_dir() else []

    assert sorted(path.name for path in dist.iterdir()) == sorted([*FILES, *chart])


def test_a_copy_elsewhere_and_later_makes_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    tree = copy_sources(tmp_path / "another" / "directory")
    for path in tree.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1_000_000_000, 1_000_000_000))
            path.chmod(path.stat().st_mode & 0o700)  # as a checkout has it with umask 077

    done = make(tree, TZ="Asia/Tokyo", LC_ALL="C")

    assert done.returncode == 0, done.stderr
    assert contents(tree / "dist") == contents(dist)


def contents(directory: Path) -> dict[str, tuple[str, int]]:
    """The sum and the mode of each file."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode)
        for path in directory.iterdir()
    }


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sources as a tree of git in which everything is committed."""
    for variable in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(variable)
    tree = copy_sources(tmp_path / "clone")
    shutil.copy(ROOT / ".gitignore", tree)
    author = ["-c", "user.name=maintainer", "-c", "user.email=maintainer@example"]
    for line in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "release"]):
        subprocess.run(["git", *line], cwd=tree, check=True)
    return tree


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param("deploy/chart/my-values.yaml", id="a file of a person's own in the chart"),
        pytest.param("deploy/policy.yaml", id="a committed file that was changed"),
    ],
)
def test_a_tree_with_changes_that_no_commit_has_is_refused(changed: str, clone: Path) -> None:
    with (clone / changed).open("a") as file:
        file.write("# password\n")

    done = make(clone)

    assert done.returncode == 1
    assert done.stderr == (
        f"build.sh release: no commit has the changes in {changed}, and a release could publish "
        "them: commit them, or move the files elsewhere. --dirty makes a trial of the tree as it "
        "is\n"
    )
    assert not (clone / "dist").exists()


def test_many_changes_are_counted_and_some_are_named(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        (clone / f"note-{number}").touch()
    monkeypatch.setattr(release, "ROOT", clone)

    with pytest.raises(SystemExit, match="note-3, note-4 and 2 more, and a release"):
        release.refuse_changes()


def test_a_tree_that_is_committed_is_released_with_ignored_files_in_it(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone / "dist").mkdir()
    (clone / "dist/flexvol").touch()
    monkeypatch.setattr(release, "ROOT", clone)

    release.refuse_changes()


@pytest.mark.parametrize(
    ("name", "is_published"),
    [
        pytest.param("deploy/chart/my.secret", True, id="the chart's package would hold the file"),
        pytest.param("cluster/my.secret", True, id="the provisioner's file would hold the file"),
        pytest.param("shared/secret.py", True, id="both files would hold the module"),
        pytest.param("node/drivers/secret.py", True, id="the driver's file would hold the module"),
        pytest.param(
            "deploy/chart/my.secret~", False, id="the chart's package leaves the name out"
        ),
        pytest.param("deploy/my.secret", False, id="nothing of a release is made of the folder"),
        pytest.param("cluster/__pycache__/secret.pyc", False, id="bytecode is never in a release"),
    ],
)
def test_what_git_ignores_is_refused_where_a_release_would_publish_it(
    name: str, is_published: bool, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (clone / ".git/info/exclude").open("a") as patterns:
        patterns.write("*.secret\n*~\nsecret.py\n")
    (clone / name).parent.mkdir(exist_ok=True)
    (clone / name).touch()
    monkeypatch.setattr(release, "ROOT", clone)
    monkeypatch.setattr(release, "CHART", clone / "deploy/chart")

    if not is_published:
        release.refuse_changes()
        return
    with pytest.raises(SystemExit, match=f"no commit has the changes in {name}, and a release"):
        release.refuse_changes()


def test_a_trial_is_made_of_a_tree_with_changes(dist: Path, clone: Path) -> None:
    (clone / "note").touch()

    done = make(clone, "--dirty")

    assert done.returncode == 0, done.stderr
    assert contents(clone / "dist") == contents(dist)


def test_sha256sum_verifies_every_file(dist: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=dist,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    verified = {line.split(":")[0] for line in done.stdout.splitlines()}
    assert verified | {"SHA256SUMS"} == {path.name for path in dist.iterdir()}


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a person who has a key of GnuPG."""
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    environment = {**os.environ, "GNUPGHOME": str(home)}
    make_key = ["gpg", "--batch", "--passphrase", "", "--quick-generate-key", "maintainer"]
    subprocess.run(make_key, env=environment, check=True, capture_output=True)
    yield environment
    subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=True)


@pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is missing")
def test_a_release_is_signed_and_verified_as_the_page_says(
    dist: Path, tmp_path: Path, keys: dict[str, str]
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(dist, tree / "dist")
    chapter = documents.chapter("Verify a download")

    def run(line: str, directory: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            line, shell=True, cwd=directory, env=keys, capture_output=True, text=True, check=False
        )

    signed = run(documents.command("gpg --armor"), tree)
    (tree / "dist/provisioner").unlink()  # a user fetches what they want
    verified = [run(line, tree / "dist") for line in documents.commands_in(chapter)]
    (tree / "dist/flexvol").write_text("changed")
    changed = run(documents.command("sha256sum"), tree / "dist")

    assert signed.returncode == 0, signed.stderr
    assert len(verified) == 2
    assert [done.returncode for done in verified] == [0, 0], verified
    assert "Good signature" in verified[0].stderr
    assert "flexvol: OK" in verified[1].stdout
    assert changed.returncode == 1
    assert "flexvol: FAILED" in changed.stdout


def test_the_krew_manifest_names_the_archive_by_its_sum(dist: Path) -> None:
    manifest = yaml.safe_load((dist / "flexvol.yaml").read_text())

    assert manifest["metadata"]["name"] == "flexvol"
    assert manifest["spec"]["version"] == f"v{VERSION}"
    (platform,) = manifest["spec"]["platforms"]
    assert platform["uri"] == f"{URL}/kubectl-flexvol.tar.gz"
    archive = dist / "kubectl-flexvol.tar.gz"
    assert platform["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    with tarfile.open(archive) as tar:
        assert sorted(tar.getnames()) == ["LICENSE", "kubectl-flexvol"]
        assert tar.getmember(platform["bin"]).mode == 0o755


def test_the_plugin_in_the_archive_runs(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(dist / "kubectl-flexvol.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")

    done = subprocess.run(
        ["/usr/bin/python3", tmp_path / "kubectl-flexvol", "--help"],
        env={"SHIV_ROOT": str(tmp_path / "shiv"), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "kubectl flexvol" in done.stdout


def pinned(text: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def normal(name: str) -> str:
    """A package's name as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_sbom_has_each_pinned_package_with_its_version_and_its_hashes(dist: Path) -> None:
    sbom = json.loads((dist / f"flexvol-{VERSION}.cdx.json").read_text())
    requirements = (ROOT / "bundle/requirements.txt").read_text()
    tests_alone = (ROOT / "bundle/requirements-test.txt").read_text()
    shiv = {(name, version) for name, version in pinned(tests_alone) if name == "shiv"}

    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["version"] == VERSION
    listed = {(normal(part["name"]), part["version"]) for part in sbom["components"]}
    assert listed == {(normal(name), version) for name, version in pinned(requirements) | shiv}
    hashes = set(re.findall(r"sha256:([0-9a-f]{64})", requirements))
    assert hashes
    assert hashes <= set(hashes_in(sbom["components"]))


def hashes_in(components: list[Any]) -> Iterator[str]:
    for component in components:
        for reference in component["externalReferences"]:
            for each in reference["hashes"]:
                yield each["content"]


def test_the_install_manifest_has_the_releases_image_everywhere(dist: Path) -> None:
    objects = list(yaml.safe_load_all((dist / "install.yaml").read_text()))

    kinds = [each["kind"] for each in objects]
    assert kinds[0] == "Namespace"
    assert "DaemonSet" in kinds
    images = set(re.findall(r"image: (\S+)", (dist / "install.yaml").read_text()))
    assert images == {f"{IMAGE}:{VERSION}"}


def test_a_kustomization_with_more_than_the_release_knows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: []\npatches: []\n")
    monkeypatch.setattr(install_manifest, "BASE", tmp_path)

    with pytest.raises(SystemExit, match="has patches, which"):
        install_manifest.render("flexvol:1")


def test_a_chart_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Chart.yaml").write_text(f'version: 9.9.9\nappVersion: "{VERSION}"\n')
    monkeypatch.setattr(release, "CHART", tmp_path)

    with pytest.raises(SystemExit, match="write the same version"):
        release._chart(IMAGE)


def test_the_charts_package_has_the_charts_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "files").mkdir()
    (chart / "Chart.yaml").write_text(f'version: {VERSION}\nappVersion: "{VERSION}"\n')
    (chart / "values.yaml").write_text(f"image:\n  repository: {image.NAME}\n")
    (chart / ".helmignore").write_text("*~\n")
    (chart / "templates/node.yaml~").write_text("")
    (tmp_path / "policy.yaml").write_text("policy\n")
    (chart / "files/policy.yaml").symlink_to("../../policy.yaml")
    monkeypatch.setattr(release, "CHART", chart)
    monkeypatch.setattr(release, "DIST", tmp_path)

    (name,) = release._chart(IMAGE)

    with tarfile.open(tmp_path / name) as tar:
        assert tar.getnames() == [
            "flexvol/Chart.yaml",
            "flexvol/files/policy.yaml",
            "flexvol/values.yaml",
        ]
        assert tar.getmember("flexvol/files/policy.yaml").isfile()


@pytest.mark.skipif(not (ROOT / "deploy/chart").is_dir(), reason="there is no chart")
def test_the_chart_has_the_releases_image_and_else_the_values_of_the_sources(dist: Path) -> None:
    expected = yaml.safe_load((ROOT / "deploy/chart/values.yaml").read_text())
    expected["image"]["repository"] = IMAGE

    with tarfile.open(dist / CHART) as tar:
        file = tar.extractfile("flexvol/values.yaml")
        assert file is not None
        values = yaml.safe_load(file)

    assert values == expected


def test_values_without_the_line_of_the_image_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "values.yaml").write_text("image: {repository: localhost/flexvol}\n")
    monkeypatch.setattr(release, "CHART", tmp_path)

    with pytest.raises(SystemExit, match="for the release's image: it has 0"):
        release._values(IMAGE)


def test_the_kustomizations_of_deploy_name_no_image_of_a_developer() -> None:
    texts = [path.read_text() for path in (ROOT / "deploy").rglob("kustomization.yaml")]

    assert texts
    assert [text for text in texts if re.search(r"newTag: \"?dev", text)] == []


def test_the_tool_of_the_sbom_has_an_environment_of_its_own() -> None:
    """Its packages never end in the provisioner."""
    assert environment.sbom_python() != environment.python()
