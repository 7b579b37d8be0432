"""What ./build.sh needs is installed by root on Debian; anyone else is told the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bundle import packages

ROOT = Path(__file__).resolve().parents[3]


def run(word: str, path: Path) -> subprocess.CompletedProcess[str]:
    """As ./build.sh does, on a machine whose programs are those in the directory `path`."""
    line = [sys.executable, "-m", "bundle.packages", word]
    environment = {**os.environ, "PATH": str(path)}
    return subprocess.run(
        line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def apt_get(path: Path, script: str) -> Path:
    """Puts an apt-get into `path` that notes its words; returns where they are noted."""
    noted = path / "noted"
    program = path / "apt-get"
    program.write_text(f'#!/bin/sh\necho "$*" >>{noted}\n{script}\n')
    program.chmod(0o755)
    return noted


@pytest.mark.parametrize("word", sorted(packages.WORDS))
def test_the_words_that_need_packages_are_words_of_build_sh(word: str) -> None:
    assert f"\n  {word})" in (ROOT / "build.sh").read_text()


def test_where_apt_get_is_missing_the_command_is_told(tmp_path: Path) -> None:
    done = run("image", tmp_path)

    assert done.returncode == 1
    assert done.stderr == (
        "./build.sh image needs packages that are missing here. As root, on Debian: "
        "apt-get install buildah\n"
    )


def test_a_machine_that_has_everything_is_left_alone(tmp_path: Path) -> None:
    noted = apt_get(tmp_path, "")
    buildah = tmp_path / "buildah"
    buildah.write_text("#!/bin/sh\n")
    buildah.chmod(0o755)

    done = run("image", tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not noted.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets packages installed")
def test_root_gets_what_is_missing_installed_and_is_told_so(tmp_path: Path) -> None:
    buildah = tmp_path / "buildah"
    noted = apt_get(tmp_path, f"[ $1 = update ] || /bin/cp /bin/true {buildah}")

    done = run("image", tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "installing with apt-get: buildah\n"
    last = noted.read_text().splitlines()[-1]
    assert last == "install -q -y --no-install-recommends buildah"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets packages installed")
def test_packages_that_cannot_be_had_are_one_sentence(tmp_path: Path) -> None:
    apt_get(tmp_path, "echo 'E: no such host' >&2; exit 100")

    done = run("image", tmp_path)

    assert done.returncode == 1
    assert done.stderr == (
        "apt-get update failed with status 100: E: no such host. ./build.sh image needs packages "
        "that are missing here. As root, on Debian: apt-get install buildah\n"
    )
