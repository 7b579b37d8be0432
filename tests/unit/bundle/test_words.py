"""./build.sh: its words and their table, and one sentence where something is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle import environment, packages, words

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534
LONGEST_LINE = 100
NAMES = [word.name for word in words.WORDS]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes rights away, which needs root")
Done = subprocess.CompletedProcess[str]


def run(*line: str, tree: Path = ROOT, **settings: str) -> Done:
    """Runs a program in a source tree, with these variables besides those of the tests."""
    environment = {**os.environ, **settings}
    return subprocess.run(
        line, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def is_one_sentence(done: Done) -> bool:
    """Whether the last line printed is all that went wrong, and nothing is a traceback."""
    printed = done.stdout + done.stderr
    return done.returncode == 1 and "Traceback" not in printed and bool(done.stderr.strip())


@pytest.fixture
def copy() -> Iterator[Path]:
    """A copy of what the build reads, which everybody may read and nobody but root may change.
    Pytest shuts its own directories for all others, so the copy is outside of them."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield _copied(Path(directory) / "tree")


def _copied(tree: Path) -> Path:
    tree.mkdir()
    for name in ("build.sh", "bundle", "shared", "node", "cluster", "deploy"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    for name in ("flexvol.py", "provisioner.py"):
        shutil.copy(ROOT / name, tree)
    return tree


def test_the_help_has_a_line_for_each_word_with_its_time_and_its_needs() -> None:
    done = run("./build.sh", "help")

    assert done.returncode == 0
    lines = done.stdout.splitlines()
    for word in words.WORDS:
        (line,) = [each for each in lines if each.split()[:1] == [word.name]]
        assert word.purpose in line
        assert word.time in line
        assert word.needs in line
        assert word.name == "help" or (word.time and word.needs)


def test_the_help_fits_a_terminal() -> None:
    lines = run("./build.sh", "--help").stdout.splitlines()

    assert [line for line in lines if len(line) > LONGEST_LINE] == []


def test_an_unknown_word_is_status_2_with_the_help() -> None:
    done = run("./build.sh", "dmeo")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith('build.sh: there is no word "dmeo"\n')
    assert words.text() in done.stderr


def test_the_words_that_need_packages_are_in_the_table() -> None:
    assert set(NAMES) >= {word.split()[0] for word in packages.WORDS}


@pytest.mark.parametrize("word", words.WORDS, ids=NAMES)
def test_the_packages_that_the_help_names_are_those_that_the_word_needs(word: words.Word) -> None:
    named = set(re.findall(r"[\w-]+", word.needs)) & {need.debian for need in packages.NEEDS}

    assert named <= {need.debian for need in packages.NEEDS if word.name in need.words}


def test_the_pages_name_only_words_that_there_are() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        word for page in pages for word in re.findall(r"\./build\.sh ([a-z-]+)", page.read_text())
    }

    assert named - set(NAMES) == set()


@pytest.mark.parametrize("name", ["build", "demo", "image"])
def test_a_word_has_help_of_its_own(name: str, copy: Path) -> None:
    done = run("./build.sh", name, "--help", tree=copy)

    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


@as_root
@pytest.mark.parametrize("name", [word.name for word in words.WORDS if word.as_root])
def test_a_word_that_needs_root_says_so(name: str, copy: Path) -> None:
    done = run("setpriv", f"--reuid={NOBODY}", "./build.sh", name, tree=copy)

    assert is_one_sentence(done), done
    assert done.stderr == f"build.sh: {name} needs root: sudo ./build.sh {name}\n"


@as_root
def test_a_tree_that_may_not_be_written_is_one_sentence(copy: Path) -> None:
    done = run("setpriv", f"--reuid={NOBODY}", "./build.sh", "build", tree=copy)

    assert is_one_sentence(done), done
    assert done.stderr.endswith("dist: Permission denied\n")


@as_root
def test_a_cache_that_may_not_be_made_is_one_sentence(copy: Path) -> None:
    copy.chmod(0o777)
    cache = copy.parent / "cache"
    line = ["setpriv", f"--reuid={NOBODY}", "./build.sh", "build"]

    done = run(*line, tree=copy, FLEXVOL_CACHE=str(cache))

    assert is_one_sentence(done), done
    assert done.stderr == (
        f"the cache {cache} cannot be made (Permission denied): name another directory with "
        "FLEXVOL_CACHE\n"
    )


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param("bundle/header.sh", id="the header of the driver's file"),
        pytest.param("flexvol.py", id="the driver's entry"),
        pytest.param("provisioner.py", id="the provisioner's entry"),
        pytest.param("bundle/requirements.txt", id="the pinned packages"),
    ],
)
def test_a_missing_file_is_one_sentence(missing: str, copy: Path) -> None:
    (copy / missing).unlink()

    done = run("./build.sh", "build", tree=copy)

    assert is_one_sentence(done), done
    assert done.stderr == f"build.sh build: {copy}/{missing}: No such file or directory\n"


def test_a_driver_file_that_is_missing_is_one_sentence(copy: Path) -> None:
    done = run("./build.sh", "build", "--driver", "mine.py", tree=copy)

    assert is_one_sentence(done), done
    assert done.stderr == "build.sh build: mine.py: No such file or directory\n"


@as_root
def test_python_packages_that_cannot_be_fetched_are_one_sentence(
    copy: Path, tmp_path: Path
) -> None:
    settings = {"FLEXVOL_CACHE": str(tmp_path / "cache"), "PIP_RETRIES": "0"}

    done = run("unshare", "-n", "./build.sh", "build", tree=copy, **settings)

    assert is_one_sentence(done), done
    first, last = done.stderr.splitlines()
    assert first.startswith("making ")
    assert last.startswith("the Python packages of requirements.txt and requirements-test.txt")


@pytest.fixture
def apt_get(tmp_path: Path) -> Path:
    """A directory for PATH with an apt-get that notes its words in the file `noted` and fails."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "apt-get"
    program.write_text(f'#!/bin/sh\necho "$*" >>{programs}/noted\nexit 100\n')
    program.chmod(0o755)
    return programs


def with_first(programs: Path) -> str:
    """A PATH on which these programs come before all others."""
    return f"{programs}:{os.environ['PATH']}"


@pytest.fixture
def without_venv(tmp_path: Path) -> str:
    """A PYTHONPATH with which Python has no ensurepip, as on Debian without python3-venv."""
    directory = tmp_path / "site"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text('import sys\nsys.modules["ensurepip"] = None\n')
    return str(directory)


def test_build_runs_without_venv_where_the_cache_has_the_environment(
    copy: Path, apt_get: Path, without_venv: str
) -> None:
    environment.python()

    done = run("./build.sh", "build", tree=copy, PATH=with_first(apt_get), PYTHONPATH=without_venv)

    assert done.returncode == 0, done.stderr
    assert (copy / "dist/provisioner").exists()
    assert not (apt_get / "noted").exists()


def test_a_venv_that_is_missing_is_one_sentence_and_build_installs_nothing(
    copy: Path, apt_get: Path, without_venv: str, tmp_path: Path
) -> None:
    settings = {"PYTHONPATH": without_venv, "FLEXVOL_CACHE": str(tmp_path / "cache")}

    done = run("./build.sh", "build", tree=copy, PATH=with_first(apt_get), **settings)

    assert is_one_sentence(done), done
    assert done.stderr.endswith(
        " has no venv, which makes the environment for building: as root, on Debian: apt-get "
        "install python3-venv\n"
    )
    assert not (apt_get / "noted").exists()


@as_root
def test_bench_leaves_the_packages_to_the_measurement_that_needs_them(
    copy: Path, apt_get: Path
) -> None:
    bench = copy / "tests/bench"
    bench.mkdir(parents=True)
    (bench / "__main__.py").write_text('import sys\nprint("measured", *sys.argv[1:])\n')
    for name in ("dirname", "python3"):
        (apt_get / name).symlink_to(f"/usr/bin/{name}")

    done = run("./build.sh", "bench", "callouts", tree=copy, PATH=str(apt_get))

    assert (done.returncode, done.stdout) == (0, "measured callouts\n"), done.stderr
    assert not (apt_get / "noted").exists()


@as_root
@pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is missing")
def test_a_base_image_that_cannot_be_fetched_is_one_sentence(copy: Path) -> None:
    settings = {"FLEXVOL_BASE_IMAGE": "registry.invalid/debian:12"}

    done = run("unshare", "-n", "./build.sh", "image", tree=copy, **settings)

    assert is_one_sentence(done), done
    (last,) = done.stderr.splitlines()
    assert last.startswith("the image on registry.invalid/debian:12 cannot be built: ")
    assert last.endswith("name another one with FLEXVOL_BASE_IMAGE, such as oci-archive:FILE")


def test_a_python_that_is_too_old_is_one_sentence(copy: Path, tmp_path: Path) -> None:
    old = tmp_path / "bin/python3"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)

    done = run("./build.sh", "demo", tree=copy, PATH=f"{old.parent}:{os.environ['PATH']}")

    assert is_one_sentence(done), done
    assert done.stderr.startswith("build.sh: python3 is missing or older than 3.8")
