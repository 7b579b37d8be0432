"""What ./build.sh release does: makes all files of a release in dist, the same bytes for the same
sources.

docs/release.md says how they are signed, published and verified."""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bundle import environment, image, packages, tars
from shared.protocol import VERSION

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
CHART = ROOT / "deploy/chart"
SUMS = "SHA256SUMS"
SHOWN_CHANGES = 5  # in the sentence that refuses them
# What a release holds of the tree, as git's patterns: bundle/pack.py, bundle/pack_provisioner.py
# and _chart_files take every file that they find there.
_PUBLISHED = (
    "cluster",
    "deploy/chart",
    "node/*.py",
    "shared",
    ":(exclude,glob)**/__pycache__/**",
)
PLUGIN = "kubectl-flexvol"
# krew takes a plugin's name from the name of its manifest: `kubectl krew install flexvol`.
KREW_MANIFEST = "flexvol.yaml"
# Where the files of a release are fetched from, if nothing else is said. Nobody serves that name.
NOWHERE = "https://flexvol.example"
_KREW = """\
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: flexvol
spec:
  version: v{version}
  homepage: {homepage}
  shortDescription: Look after volumes of flexvol
  description: |
    Shows the volumes of all nodes with their claims, explains why a claim waits, moves, copies,
    restores and releases volumes, and checks that nothing is lost.
  caveats: |
    The plugin needs Python 3.11 or newer.
  platforms:
    - selector:
        matchExpressions:
          - {{key: os, operator: In, values: [linux]}}
      uri: {url}/{plugin}.tar.gz
      sha256: {sha256}
      bin: {plugin}
"""
_PROJECT = """\
[project]
name = "flexvol"
version = "{version}"
license = "Apache-2.0"
"""


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """:param words: those behind `./build.sh release`"""
    parser = argparse.ArgumentParser(
        prog="build.sh release",
        description=f"Make all files of release {VERSION} in dist. docs/release.md says more.",
    )
    parser.add_argument(
        "--url",
        default=f"{NOWHERE}/v{VERSION}",
        help="the address of the directory that the files will be fetched from, for the "
        "krew manifest (default: %(default)s, where nothing is)",
    )
    parser.add_argument(
        "--image",
        default=image.NAME,
        metavar="NAME",
        help="the image without its tag, for install.yaml and the chart (default: %(default)s)",
    )
    parser.add_argument(
        "--dirty",
        action="store_true",
        help="make a trial of a tree with changes that no commit has; never publish it",
    )
    parser.add_argument("--no-image", action="store_true", help="make no image archive")
    image.add_platform_argument(parser)
    return parser.parse_args(words)


def refuse_changes() -> None:
    """Ends the program with a sentence if git's tree has changes, or files, that no commit has: a
    release would publish them. Files that git ignores count only where a release would publish
    them. A tree that is not git's, such as an unpacked archive, is taken as it stands."""
    if not (ROOT / ".git").exists():
        return
    status = _git("status", "--porcelain", "--untracked-files=normal")
    changes = [change[3:] for change in status.splitlines()]
    changes += _ignored_and_published()
    if not changes:
        return
    names = ", ".join(changes[:SHOWN_CHANGES])
    if len(changes) > SHOWN_CHANGES:
        names += f" and {len(changes) - SHOWN_CHANGES} more"
    raise SystemExit(
        f"build.sh release: no commit has the changes in {names}, and a release could "
        "publish them: commit them, or move the files elsewhere. --dirty makes a trial of "
        "the tree as it is"
    )


def _ignored_and_published() -> Iterator[str]:
    """The files that git ignores and a release would hold nevertheless."""
    listed = _git("ls-files", "--others", "--ignored", "--exclude-standard", "--", *_PUBLISHED)
    patterns = _helm_ignores()
    for name in listed.splitlines():
        is_of_chart = (ROOT / name).is_relative_to(CHART)
        if not (is_of_chart and _is_left_out(Path(name), patterns)):
            yield name


def _git(*words: str) -> str:
    """What git prints about the tree."""
    line = ["git", "-C", str(ROOT), *words]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(settings: argparse.Namespace) -> None:
    """Makes the files beside dist/flexvol and dist/provisioner, which are there."""
    names = ["flexvol", "provisioner"]
    names += _plugin(settings.url.rstrip("/"))
    names.append(_install_manifest(settings.image))
    names += _chart(settings.image)
    names.append(_sbom())
    if not settings.no_image:
        names.append(_image(settings.platform))
    (DIST / SUMS).write_text("".join(_sum_lines(names)))
    print(f"release {VERSION} in {DIST}:")
    for name in [*sorted(names), SUMS]:
        print(f"  {name}")
    if settings.url.startswith(NOWHERE):
        print(f"The krew manifest names {NOWHERE}, where nothing is: say where with --url.")
    print("Next: sign SHA256SUMS and publish, as docs/release.md says.")


def _plugin(url: str) -> list[str]:
    shutil.copy(DIST / "provisioner", DIST / PLUGIN)
    archive = DIST / f"{PLUGIN}.tar.gz"
    tars.write_gzip(archive, {PLUGIN: DIST / PLUGIN, "LICENSE": ROOT / "LICENSE"})
    manifest = _KREW.format(
        version=VERSION, homepage=url, url=url, plugin=PLUGIN, sha256=_sha256(archive)
    )
    (DIST / KREW_MANIFEST).write_text(manifest)
    return [PLUGIN, archive.name, KREW_MANIFEST]


def _install_manifest(image_name: str) -> str:
    image_and_tag = f"{image_name}:{VERSION}"
    line = [str(environment.python()), "-m", "bundle.install_manifest", image_and_tag]
    done = subprocess.run(line, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    (DIST / "install.yaml").write_bytes(done.stdout)
    return "install.yaml"


def _chart(image_name: str) -> list[str]:
    """The chart's package. Helm's own has the time of its making in it.

    :param image_name: the repository that the packaged chart has as its default"""
    if not CHART.is_dir():
        return []
    text = (CHART / "Chart.yaml").read_text()
    for key in ("version", "appVersion"):
        found = re.search(rf'^{key}: "?([^"\s]+)"?$', text, re.MULTILINE)
        if found is None or found[1] != VERSION:
            raise SystemExit(
                f"build.sh release: shared/protocol.py is of version {VERSION}, and {key} "
                "in deploy/chart/Chart.yaml is not: write the same version"
            )
    files = {f"flexvol/{path.relative_to(CHART)}": path for path in _chart_files()}
    name = f"flexvol-{VERSION}.tgz"
    with tempfile.TemporaryDirectory() as scratch:
        values = Path(scratch, "values.yaml")
        values.write_text(_values(image_name))
        tars.write_gzip(DIST / name, {**files, "flexvol/values.yaml": values})
    return [name]


def _values(image_name: str) -> str:
    """The chart's values.yaml with another repository of the image."""
    line = f"  repository: {json.dumps(image_name)}"  # YAML reads JSON's strings
    text, count = re.subn(
        rf'^  repository: "?{re.escape(image.NAME)}"?$',
        lambda _: line,
        (CHART / "values.yaml").read_text(),
        flags=re.MULTILINE,
    )
    if count != 1:
        raise SystemExit(
            "build.sh release: deploy/chart/values.yaml must have the line `repository: "
            f"{image.NAME}` once, for the release's image: it has {count}"
        )
    return text


def _chart_files() -> Iterator[Path]:
    """The chart's files without those that .helmignore leaves out, by name."""
    patterns = _helm_ignores()
    for path in CHART.rglob("*"):
        if path.is_file() and not _is_left_out(path, patterns):
            yield path


def _helm_ignores() -> list[str]:
    """The patterns of the names that no package of the chart has."""
    patterns = [".helmignore"]
    if (CHART / ".helmignore").exists():
        patterns += (CHART / ".helmignore").read_text().split()
    return patterns


def _is_left_out(path: Path, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)


def _sbom() -> str:
    """Writes the list of the packages in dist/provisioner: the pinned packages, and shiv, whose
    start code unpacks them. dist/flexvol has our sources alone."""
    name = f"flexvol-{VERSION}.cdx.json"
    tool = environment.sbom_python()
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch, "pyproject.toml")
        project.write_text(_PROJECT.format(version=VERSION))
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text((ROOT / "bundle/requirements.txt").read_text() + _shiv())
        line = [str(tool), "-W", "ignore", "-m", "cyclonedx_py", "requirements"]
        line += ["--output-reproducible", "--pyproject", str(project)]
        line += ["--output-file", str(DIST / name), str(requirements)]
        subprocess.run(line, check=True)
    return name


def _shiv() -> str:
    """The lines of shiv in requirements-test.txt."""
    text = (ROOT / "bundle/requirements-test.txt").read_text()
    found = re.search(r"^shiv==.*(\n .*)*\n", text, re.MULTILINE)
    if found is None:
        raise SystemExit("build.sh release: bundle/requirements-test.txt does not pin shiv")
    return found[0]


def _image(platforms: Sequence[str]) -> str:
    lacking = packages.install("image")
    if lacking:
        raise SystemExit(f"{lacking}. Without an image: ./build.sh release --no-image")
    name = f"flexvol-{VERSION}-image.tar"
    image.build(DIST / name, VERSION, platforms)
    return name


def _sum_lines(names: Sequence[str]) -> Iterator[str]:
    """As sha256sum prints them."""
    for name in sorted(names):
        yield f"{_sha256(DIST / name)}  {name}\n"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
