"""What ./build.sh needs is installed by root on Debian; anyone else is told the command of their
distribution."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bundle import environment, packages

ROOT = Path(__file__).resolve().parents[3]
INSTALL = "import sys; from bundle import packages; sys.exit(packages.install(sys.argv[1]) or 0)"


def run(word: str, path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """As ./build.sh does, on a machine whose programs are those in the directory `path`."""
    line = [sys.executable, "-c", INSTALL, word]
    environment = {**os.environ, **settings, "PATH": str(path)}
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


IMAGE_NEEDS = "./build.sh image needs packages that are missing here. As root, "


@pytest.mark.parametrize(
    ("program", "command"),
    [
        pytest.param("dnf", "on Fedora: dnf install buildah", id="Fedora"),
        pytest.param("zypper", "on SUSE: zypper install buildah", id="SUSE"),
        pytest.param(
            "pacman",
            "on Debian: apt-get install buildah; on Fedora: dnf install buildah; on SUSE: zypper "
            "install buildah",
            id="another distribution: the names of all three",
        ),
    ],
)
def test_without_apt_get_the_command_of_the_distribution_is_printed(
    program: str, command: str, tmp_path: Path
) -> None:
    (tmp_path / program).write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / program).chmod(0o755)

    done = run("image", tmp_path)

    assert done.returncode == 1
    assert done.stderr == f"{IMAGE_NEEDS}{command}\n"


def test_a_package_whose_name_is_not_known_is_named_by_its_program(tmp_path: Path) -> None:
    (tmp_path / "zypper").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "zypper").chmod(0o755)

    done = run("test", tmp_path)

    assert " ShellCheck buildah " in done.stderr
    assert ", and the packages that have fuse2fs, promtool" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the rights of root away")
def test_without_root_the_command_is_printed_and_nothing_is_installed() -> None:
    # pytest's own directory is closed to others.
    with tempfile.TemporaryDirectory(prefix="flexvol-packages-") as scratch:
        path = Path(scratch)
        path.chmod(0o755)
        noted = apt_get(path, "")
        line = ["/usr/bin/setpriv", "--reuid=65534", "/usr/bin/python3", "-c", INSTALL, "image"]
        environment = {**os.environ, "PATH": scratch}

        done = subprocess.run(
            line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

        assert done.stderr == f"{IMAGE_NEEDS}on Debian: apt-get install buildah\n"
        assert not noted.exists()


@pytest.fixture
def without_venv(tmp_path: Path) -> str:
    """A PYTHONPATH with which Python has no ensurepip, as on Debian without python3-venv."""
    directory = tmp_path / "site"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text('import sys\nsys.modules["ensurepip"] = None\n')
    return str(directory)


WITH_ENVIRONMENT = sorted(
    word for need in packages.NEEDS if need.debian == "python3-venv" for word in need.words
)


@pytest.mark.parametrize("word", WITH_ENVIRONMENT)
@pytest.mark.parametrize("is_made", [True, False], ids=["is in the cache", "is not made yet"])
def test_venv_is_needed_only_until_the_environment_that_it_makes(
    word: str, is_made: bool, without_venv: str, tmp_path: Path
) -> None:
    environment.python()
    own_cache = {} if is_made else {"FLEXVOL_CACHE": str(tmp_path / "cache")}

    done = run(word, tmp_path, PYTHONPATH=without_venv, **own_cache)

    assert f"./build.sh {word} needs packages" in done.stderr  # no other program is on PATH
    assert ("python3-venv" in done.stderr) == (not is_made)


def test_lint_and_the_quick_tests_need_no_virtual_machine_and_no_cluster() -> None:
    all_words, quick, lint = (
        {need.what for need in packages.NEEDS if word in need.words}
        for word in ("test", "test --quick", "test --lint")
    )

    assert lint < quick < all_words
    assert not quick & {"buildah", "containerd", "qemu-system-x86_64", "debootstrap", "restic"}
    assert lint == {"import ensurepip", "shellcheck"}


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
