"""What a person's words to ./build.sh test run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bundle import check, environment, packages
from bundle.check import Run, campaign_runs
from tests.sources import ROOT

# The unit tests that run programs that the tests build from Go modules.
USE_BUILT_PROGRAMS = ("tests/unit/deploy/test_chart.py", "tests/unit/shared/test_caller.py")
ALL = ["--campaign"]
NODE = ["tests/node", "--campaign"]
ONE = ["tests/cluster/test_claims.py", "--campaign", "-x", "-k", "bound"]
MIXED = ["tests/unit", "tests/cluster", "--campaign"]
OLDEST = Path("/usr/bin/python3.6")
MIDDLE = Path("/usr/bin/python3.9")
NEWEST = Path("/usr/bin/python3.13")


@pytest.fixture(autouse=True)
def _nothing_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLEXVOL_KUBE_BIN", "FLEXVOL_KUBERNETES"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("words", "older"),
    [
        pytest.param(ALL, ["tests/cluster", "--campaign"], id="a whole campaign"),
        pytest.param(ONE, ONE, id="one file of the cluster's tests"),
        pytest.param(MIXED, ["tests/cluster", "--campaign"], id="only the cluster's part"),
        pytest.param(NODE, None, id="the node's tests have no Kubernetes"),
        pytest.param(["tests/cluster"], None, id="no campaign"),
    ],
)
def test_a_campaign_runs_the_clusters_tests_on_an_older_kubernetes_too(
    words: list[str], older: list[str] | None
) -> None:
    first, *others = campaign_runs(words)

    assert first == Run(tuple(words))
    assert others == ([Run(tuple(older), kubernetes="1.34.4")] if older else [])


@pytest.mark.parametrize("name", ["FLEXVOL_KUBE_BIN", "FLEXVOL_KUBERNETES"])
def test_whoever_brings_a_kubernetes_has_it_tested_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1.35.1")

    assert campaign_runs(ALL) == [Run(tuple(ALL))]


def words_of(runs: list[Run]) -> list[str]:
    """The words of each run that choose tests, and not those that all runs have."""
    return [" ".join(word for word in run.words if word not in check.OPTIONS) for run in runs]


def test_quick_runs_the_unit_tests_and_the_short_set_with_the_newest_python() -> None:
    runs = check.quick_runs([OLDEST, MIDDLE, NEWEST])

    assert words_of(runs) == ["tests/unit", f"tests/node -m short --python={NEWEST}"]


def test_quick_builds_no_programs_and_all_other_runs_do() -> None:
    quick = check.quick_runs([OLDEST, NEWEST])
    others = [*check.machine_runs("vm"), *check.other_runs([NEWEST], "node"), Run(("tests/unit",))]

    assert [run.settings() for run in quick] == [{"FLEXVOL_NO_BUILD": "1"}] * 2
    assert all("FLEXVOL_NO_BUILD" not in run.settings() for run in others)


def test_the_unit_tests_build_nothing_where_a_build_is_forbidden(tmp_path: Path) -> None:
    """The go of this machine notes that it was called, and the cache has no program."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "go").write_text(f"#!/bin/sh\necho $* >>{tmp_path}/called\nexit 1\n")
    (programs / "go").chmod(0o755)
    settings = {"FLEXVOL_CACHE": str(tmp_path / "cache"), "FLEXVOL_NO_BUILD": "1"}
    path = f"{programs}:{os.environ['PATH']}"
    line = [sys.executable, "-m", "pytest", "-q", *USE_BUILT_PROGRAMS]
    environment = {**os.environ, **settings, "PATH": path}
    environment.pop("FLEXVOL_NO_SKIP", None)

    done = subprocess.run(
        line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout
    assert "Kubernetes is built from its Go modules, and this run builds nothing" in done.stdout
    assert "helm is built from its Go module, and this run builds nothing" in done.stdout
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    ("words", "needs"),
    [
        pytest.param([], "test", id="all tests"),
        pytest.param(["--lint"], "test --lint", id="lint alone"),
        pytest.param(["--quick"], "test --quick", id="the quick tests"),
        pytest.param(["tests/unit"], "test", id="tests that a person chose"),
    ],
)
def test_the_words_choose_which_packages_are_installed(
    words: list[str], needs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def install(word: str) -> str:
        asked.append(word)
        return ""

    monkeypatch.setattr(packages, "install", install)

    check._install(words)

    assert asked == [needs]


def test_all_runs_the_nodes_tests_with_every_python() -> None:
    runs = check.other_runs([OLDEST, MIDDLE, NEWEST], "node")

    assert words_of(runs) == [
        f"tests/node --python={NEWEST}",
        f"tests/node tests/sanity/test_command.py -m not newest --first-cases --python={OLDEST}",
        f"tests/node --python={NEWEST}",
        f"tests/unit --python={NEWEST}",
        f"tests/sanity --python={NEWEST}",
        f"tests/node -m short --python={MIDDLE}",
    ]
    assert all(run.is_nice for run in runs)


@pytest.mark.parametrize("pythons", [[NEWEST], [OLDEST, NEWEST]], ids=["one", "two"])
def test_two_runs_share_the_nodes_tests(pythons: list[Path]) -> None:
    runs = check.other_runs(pythons, "node")

    chosen = [run for run in runs if words_of([run]) == [f"tests/node --python={NEWEST}"]]

    assert [run.settings() for run in chosen] == [
        {"FLEXVOL_TEST_HALVES": "node"},
        {"FLEXVOL_TEST_HALVES": "node", "FLEXVOL_TEST_SECOND_HALF": "1"},
    ]
    assert [run.halves for run in runs if run.halves] == ["node", "node"]


def test_two_runs_share_the_virtual_machines_tests() -> None:
    runs = check.machine_runs("vm")

    assert words_of(runs) == ["tests/vm", "tests/vm"]
    assert [run.settings() for run in runs] == [
        {"FLEXVOL_TEST_HALVES": "vm"},
        {"FLEXVOL_TEST_HALVES": "vm", "FLEXVOL_TEST_SECOND_HALF": "1"},
    ]
    assert not any(run.is_nice for run in runs)


def test_a_machine_with_one_python_runs_the_nodes_tests_once() -> None:
    runs = check.other_runs([NEWEST], "node")

    node = f"tests/node --python={NEWEST}"
    others = [f"tests/unit --python={NEWEST}", f"tests/sanity --python={NEWEST}"]
    assert words_of(runs) == [node, node, *others]


def test_two_clusters_share_the_clusters_tests_and_one_has_the_playground(tmp_path: Path) -> None:
    first, second = check.cluster_runs([OLDEST, NEWEST], str(tmp_path))

    assert words_of([first, second]) == [
        f"tests/playground tests/cluster --python={NEWEST}",
        f"tests/cluster --python={NEWEST}",
    ]
    assert first.settings() == {"FLEXVOL_TEST_HALVES": str(tmp_path)}
    assert second.settings() == {
        "FLEXVOL_TEST_HALVES": str(tmp_path),
        "FLEXVOL_TEST_CLUSTER_NUMBER": "2",
        "FLEXVOL_TEST_SECOND_HALF": "1",
    }


def test_a_run_on_an_older_kubernetes_says_so_to_the_test_cluster() -> None:
    run = Run(("tests/cluster",), kubernetes="1.34.4")

    assert run.settings() == {"FLEXVOL_KUBERNETES": "1.34.4"}


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        pytest.param([], ["lint", "all"], id="no words: lint, then all tests"),
        pytest.param(["--lint"], ["lint"], id="--lint: lint alone"),
        pytest.param(["--quick"], ["lint", "quick"], id="--quick: lint, then the quick tests"),
        pytest.param(["tests/unit", "-x"], ["tests/unit -x"], id="other words: only these"),
    ],
)
def test_the_words_choose_what_is_done(
    words: list[str], steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noted(step: str) -> int:
        done.append(step)
        return 0

    monkeypatch.setattr(check, "_install", lambda words: None)
    monkeypatch.setattr(environment, "python", lambda: Path("/venv/bin/python"))
    monkeypatch.setattr(check, "_lint", lambda tools: noted("lint"))
    monkeypatch.setattr(check, "_test_all", lambda python: noted("all"))
    monkeypatch.setattr(check, "_test_quick", lambda python: noted("quick"))
    monkeypatch.setattr(check, "_run_pytest", lambda python, run: noted(" ".join(run.words)))

    assert check.main(words) == 0
    assert done == steps


@pytest.mark.parametrize("is_nice", [False, True], ids=["", "nice"])
def test_the_tests_run_without_the_setting_that_keeps_python_from_writing_bytecode(
    is_nice: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\n[ "$*" = "-m pytest tests/x" ] && [ -z "$PYTHONDONTWRITEBYTECODE" ]\n'
    )
    python.chmod(0o755)

    assert check._run_pytest(python, Run(("tests/x",), is_nice=is_nice)) == 0


def test_nothing_is_tested_while_lint_finds_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_install", lambda words: None)
    monkeypatch.setattr(environment, "python", lambda: Path("/venv/bin/python"))
    monkeypatch.setattr(check, "_lint", lambda tools: 1)
    monkeypatch.setattr(check, "_test_quick", lambda python: pytest.fail("it was tested"))

    assert check.main(["--quick"]) == 1
