"""A few tests that failed beside other runs are run again alone, and all that failed is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bundle import check, failures
from bundle.check import Run
from bundle.failures import Failure
from tests.sources import ROOT

PASSES_THE_SECOND_TIME = """
from pathlib import Path

def test_steady():
    pass

def test_passes_the_second_time():
    mark = Path({mark!r})
    is_second = mark.exists()
    mark.touch()
    assert is_second, "this was the first time"
"""
FAILS = "def test_fails():\n    assert False, 'this fails always'\n"
LEAVES_SOMETHING = """
import pytest

@pytest.fixture
def guard():
    yield
    raise AssertionError("a mount was left")

def test_leaves_something(guard):
    pass
"""


def failure(name: str = "one", when: str = "call") -> Failure:
    return Failure(test=f"tests/unit/test_a.py::test_{name}", when=when, text="")


@pytest.mark.parametrize(
    ("some", "is_tried"),
    [
        pytest.param([], False, id="none, so that a run ended for another reason"),
        pytest.param([failure()], True, id="one"),
        pytest.param([failure(when="setup")], True, id="one whose cluster did not come up"),
        pytest.param([failure(str(n)) for n in range(4)], True, id="four"),
        pytest.param([failure(str(n)) for n in range(5)], False, id="five"),
        pytest.param([failure(when="teardown")], False, id="one that left something"),
        pytest.param([failure(when="collect")], False, id="a file that cannot be read"),
        pytest.param(
            [failure(), failure("two", "teardown")], False, id="one of two left something"
        ),
    ],
)
def test_few_failures_are_tried_again_unless_something_was_left(
    some: list[Failure], is_tried: bool
) -> None:
    assert failures.may_be_chance(some) == is_tried


def test_a_second_run_has_the_options_of_the_first_and_only_the_tests_that_failed() -> None:
    words = ("tests/playground", "tests/cluster", "--python=/bin/python3", "-m", "short")

    assert failures.again(words, [failure(), failure(), failure("two")]) == (
        "tests/unit/test_a.py::test_one",
        "tests/unit/test_a.py::test_two",
        "--python=/bin/python3",
        "-m",
        "short",
    )


def test_the_summary_names_each_test_with_the_end_of_its_text() -> None:
    text = "\n".join(f"line {number}" for number in range(100))

    shown = failures.summary([Failure("a", "call", text)], [Failure("b", "setup", "late")])

    assert shown.startswith("failed: a (call)\n    line 88\n")
    assert "\n    line 99\nUNSTEADY: failed beside other runs and passed alone" in shown
    assert shown.endswith("find out why: b (setup)\n    late")


class Tree:
    """A tree with tests of its own, which have the conftest.py of this one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tests").mkdir()
        for file in (ROOT / "tests").glob("*.py"):
            (root / "tests" / file.name).symlink_to(file)

    def run(self, name: str, text: str) -> Run:
        """A run of a new file of tests."""
        (self.root / "tests" / f"test_{name}.py").write_text(text)
        words = (f"tests/test_{name}.py", "-p", "no:cacheprovider")
        return Run(words, failures=str(self.root / f"failures-{name}"))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setattr(check, "ROOT", tmp_path)
    return Tree(tmp_path)


def settle(runs: list[Run]) -> int:
    """As ./build.sh test runs all tests."""
    python = Path(sys.executable)
    return check._settle(python, runs, check._run_at_once(python, runs))


def test_a_test_that_fails_once_is_unsteady_and_the_runs_pass(
    tree: Tree, capfd: pytest.CaptureFixture[str]
) -> None:
    text = PASSES_THE_SECOND_TIME.format(mark=str(tree.root / "mark"))
    runs = [tree.run("steady", "def test_steady(): pass"), tree.run("unsteady", text)]

    assert settle(runs) == 0

    out = capfd.readouterr().out
    _, end = out.split("UNSTEADY: ")
    assert "tests/test_unsteady.py::test_passes_the_second_time (call)" in end
    assert "this was the first time" in end


def test_a_test_that_fails_twice_fails_the_runs(
    tree: Tree, capfd: pytest.CaptureFixture[str]
) -> None:
    text = PASSES_THE_SECOND_TIME.format(mark=str(tree.root / "mark"))
    runs = [tree.run("unsteady", text), tree.run("broken", FAILS)]

    assert settle(runs) == 1

    out = capfd.readouterr().out
    assert "\nfailed: tests/test_broken.py::test_fails (call)\n" in out
    assert "\nUNSTEADY: failed beside other runs" in out


def test_what_a_test_left_fails_the_runs_at_once(
    tree: Tree, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = [tree.run("steady", "def test_steady(): pass"), tree.run("left", LEAVES_SOMETHING)]

    assert settle(runs) == 1

    out = capfd.readouterr().out
    assert out.count("+ python") == len(runs)
    assert "failed: tests/test_left.py::test_leaves_something (teardown)" in out


def test_a_run_that_was_ended_fails_the_runs(tree: Tree) -> None:
    ends = "import os, signal\n\ndef test_ends():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    runs = [tree.run("steady", "def test_steady(): pass"), tree.run("ends", ends)]

    assert settle(runs) == 1


def test_a_failure_in_a_run_that_a_test_started_is_not_one_of_the_run(tree: Tree) -> None:
    inner = (
        "import subprocess, sys\n\ndef test_starts_a_run():\n"
        "    line = [sys.executable, '-m', 'pytest', 'tests/test_broken.py']\n"
        "    assert subprocess.run(line).returncode == 1\n"
    )
    tree.run("broken", FAILS)
    run = tree.run("outer", inner)

    assert settle([run]) == 0
    assert failures.read(Path(run.failures)) == []


def test_a_skip_that_is_forbidden_is_noted(tree: Tree) -> None:
    run = tree.run("skips", "import pytest\n\ndef test_skips():\n    pytest.skip('no root')\n")
    environment = {**os.environ, **run.settings(), "FLEXVOL_NO_SKIP": "1"}

    line = [sys.executable, "-m", "pytest", *run.words]
    done = subprocess.run(line, cwd=tree.root, env=environment, check=False, capture_output=True)

    assert done.returncode == 1
    assert [one.when for one in failures.read(Path(run.failures))] == ["call"]
