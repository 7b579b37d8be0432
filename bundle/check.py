"""What ./build.sh test does.

Without words it installs what the tests need, and runs lint, types, the floor of Python 3.6,
shellcheck and then all tests. A node may have any Python, so everything is run with the newest
Python of this machine, the first case of most tests of a node again with the oldest, and a short
set of them with every other. The virtual machines of tests/vm have Pythons of their own. Their
tests come first and alone, as each machine takes a whole processor. The tests of the cluster and of
the node wait much and take longest. Two runs divide the files of each of these three among them. A
few tests that failed beside other runs are run again alone (bundle/failures.py).

With --lint it runs lint and types alone; with --quick these, the unit tests and that short set, in
three minutes. Both install only what they need. --quick builds neither Kubernetes nor helm: the few
unit tests that ask these programs are skipped until another run has built the programs.

With other words it runs pytest with these. FLEXVOL_NO_SKIP=1 makes every test that would be skipped
a failure."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from bundle import environment, failures, interpreters, pack, packages

ROOT = Path(__file__).resolve().parent.parent
LINT = "--lint"
QUICK = "--quick"
CAMPAIGN = "--campaign"
# So many runs go on at once. A fourth run would leave too little of two processors to the others,
# whose tests have time limits.
AT_ONCE = 3
# Older Kubernetes on which a campaign runs the cluster's tests too; tests/cluster/kube builds it.
OLDER_KUBERNETES = ("1.34.4",)
# A run ends after so many failures, because what the rest needs is broken, and every test would
# wait for it in vain. The slowest tests are shown.
OPTIONS = ("--maxfail=20", "--durations=40")
# Names newer than Python 3.6, which vermin finds and the code asks for before it uses them.
NEWER_NAMES = (
    "os.posix_spawn",
    "os.POSIX_SPAWN_DUP2",
    "os.POSIX_SPAWN_OPEN",
    "importlib.util.source_hash",
)


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of pytest.

    kubernetes: the version for the test cluster; "" for the one that is pinned or set.
    cluster: the number of the test cluster; "" for the first.
    halves: a directory that two runs share, to divide the files of tests among them.
    is_second: whether this run is the second of those two.
    failures: the file in which the run notes what failed; "" for none.
    is_nice: whether all other runs come first, where the machine has too few processors.
    builds: whether programs that are not in the cache may be built, which takes minutes."""

    words: tuple[str, ...]
    kubernetes: str = ""
    cluster: str = ""
    halves: str = ""
    is_second: bool = False
    failures: str = ""
    is_nice: bool = False
    builds: bool = True

    def settings(self) -> dict[str, str]:
        """The variables of the environment that the run gets besides those of this process."""
        settings = {}
        if self.kubernetes:
            settings["FLEXVOL_KUBERNETES"] = self.kubernetes
        if self.cluster:
            settings["FLEXVOL_TEST_CLUSTER_NUMBER"] = self.cluster
        if self.halves:
            settings["FLEXVOL_TEST_HALVES"] = self.halves
        if self.is_second:
            settings["FLEXVOL_TEST_SECOND_HALF"] = "1"
        if self.failures:
            settings["FLEXVOL_TEST_FAILURES"] = self.failures
        if not self.builds:
            settings["FLEXVOL_NO_BUILD"] = "1"
        return settings


def main(words: list[str]) -> int:
    """:param words: those behind `./build.sh test`"""
    _install(words)
    python = environment.python()
    if not words:
        return _lint(python.parent) or _test_all(python)
    if words == [LINT]:
        return _lint(python.parent)
    if words == [QUICK]:
        return _lint(python.parent) or _test_quick(python)
    status = 0
    for run in campaign_runs(words):
        status |= _run_pytest(python, run)
    return status


def campaign_runs(words: Sequence[str]) -> list[Run]:
    """The runs for the words of a person. A campaign of the cluster's tests has a run on each older
    Kubernetes, too."""
    runs = [Run(tuple(words))]
    paths = [word for word in words if word.startswith("tests")]
    of_cluster = [path for path in paths if path.startswith("tests/cluster")]
    chosen_by = {"FLEXVOL_KUBE_BIN", "FLEXVOL_KUBERNETES"}
    if CAMPAIGN not in words or chosen_by & os.environ.keys():
        return runs
    if paths and not of_cluster:
        return runs
    options = [word for word in words if word not in paths]
    for version in OLDER_KUBERNETES:
        chosen = of_cluster or ["tests/cluster"]
        runs.append(Run((*chosen, *options), kubernetes=version))
    return runs


def quick_runs(pythons: Sequence[Path]) -> list[Run]:
    """The runs of --quick.

    :param pythons: the Pythons of this machine, the oldest first"""
    node = ("tests/node", "-m", "short", f"--python={pythons[-1]}")
    return [Run((*some, *OPTIONS), builds=False) for some in (("tests/unit",), node)]


def cluster_runs(pythons: Sequence[Path], halves: str) -> list[Run]:
    """The two runs that divide the cluster's tests among them.

    :param halves: a directory that is empty"""
    cluster = ("tests/cluster", f"--python={pythons[-1]}", *OPTIONS)
    return [
        Run(("tests/playground", *cluster), halves=halves),
        Run(cluster, cluster="2", halves=halves, is_second=True),
    ]


def machine_runs(halves: str) -> list[Run]:
    """The two runs that divide the virtual machines' tests among them.

    :param halves: a directory that is empty"""
    first = Run(("tests/vm", *OPTIONS), halves=halves)
    return [first, dataclasses.replace(first, is_second=True)]


def other_runs(pythons: Sequence[Path], halves: str) -> list[Run]:
    """The runs of all tests that need neither, those that take longest first.

    :param halves: the directory of the two runs that divide the node's tests; it is empty"""
    *older, newest = pythons

    def nice_run(*words: str, halves: str = "") -> Run:
        return Run((*words, *OPTIONS), halves=halves, is_nice=True)

    node = nice_run("tests/node", f"--python={newest}", halves=halves)
    runs = [node]
    if older:
        words = ("tests/node", "tests/sanity/test_command.py", "-m", "not newest", "--first-cases")
        runs.append(nice_run(*words, f"--python={older[0]}"))
    runs.append(dataclasses.replace(node, is_second=True))
    runs.append(nice_run("tests/unit", f"--python={newest}"))
    runs.append(nice_run("tests/sanity", f"--python={newest}"))
    for python in older[1:]:
        runs.append(nice_run("tests/node", "-m", "short", f"--python={python}"))
    return runs


def _lint(tools: Path) -> int:
    """Runs all that reads the sources without running them.

    :param tools: the directory of the tools"""
    driver_side = [*pack.CONTENTS, "examples"]
    exclusions = []
    for name in NEWER_NAMES:
        exclusions += ["--exclude", name]
    status = _run(tools / "ruff", "check", ".")
    status |= _run(tools / "ruff", "format", "--check", ".")
    other_side = ["bundle", "tests", "provisioner.py", "cluster"]
    status |= _run(tools / "mypy", *other_side, *driver_side)
    vermin_options = ["--target=3.6", "--violations", "--quiet", *exclusions]
    status |= _run(tools / "vermin", *vermin_options, *driver_side)
    status |= _run("shellcheck", *_shell_scripts())
    status |= _run(tools / "codespell", "README.md", "CHANGELOG.md", "docs")
    if status:
        print("the tests are not run: put right what is reported above", file=sys.stderr)
    return status


def _shell_scripts() -> list[Path]:
    scripts = [ROOT / "build.sh", ROOT / ".ci/run"]
    scripts += sorted(ROOT.glob("bundle/*.sh"))
    scripts += sorted(ROOT.glob("examples/*.sh"))
    scripts += sorted(ROOT.glob("tests/**/*.sh"))
    return [path.relative_to(ROOT) for path in scripts]


def _test_quick(python: Path) -> int:
    statuses = _run_at_once(python, quick_runs(list(interpreters.find().values())))
    return 1 if any(statuses) else 0


def _test_all(python: Path) -> int:
    pythons = interpreters.find()
    names = [f"{major}.{minor} ({path})" for (major, minor), path in pythons.items()]
    print("Pythons here: " + ", ".join(names))
    if interpreters.OLDEST not in pythons:
        print(
            "Python {}.{}, the oldest the driver runs on, is not here, and only vermin guards "
            "it: install it with pyenv, or have it on PATH".format(*interpreters.OLDEST),
            file=sys.stderr,
        )
        if os.environ.get("FLEXVOL_NO_SKIP") == "1":
            return 1
    paths = list(pythons.values())
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        halves = {of: scratch / of for of in ("cluster", "node", "vm")}
        for directory in halves.values():
            directory.mkdir()
        machines = machine_runs(str(halves["vm"]))
        others = cluster_runs(paths, str(halves["cluster"]))
        others += other_runs(paths, str(halves["node"]))
        runs = [
            dataclasses.replace(run, failures=str(scratch / f"failures-{number}"))
            for number, run in enumerate([*machines, *others])
        ]
        statuses = _run_at_once(python, runs[: len(machines)])
        statuses += _run_at_once(python, runs[len(machines) :])
        return _settle(python, runs, statuses)


def _settle(python: Path, runs: Sequence[Run], statuses: Sequence[int]) -> int:
    """Runs a few tests that failed once more, now that nothing runs beside them, and shows what
    failed. Returns the status of all runs.

    :param statuses: pytest's, of each run: 0 if all passed, 1 if tests failed"""
    noted = [
        (run, failures.read(Path(run.failures)))
        for number, run in enumerate(runs)
        if statuses[number]
    ]
    is_tried = set(statuses) <= {0, 1} and failures.may_be_chance(
        [failure for _, found in noted for failure in found]
    )
    failed: list[failures.Failure] = []
    unsteady: list[failures.Failure] = []
    status = 0
    for run, found in noted:
        if is_tried and found and not _run_pytest(python, Run(failures.again(run.words, found))):
            unsteady += found
        else:
            failed += found
            status = 1
    print(failures.summary(failed, unsteady), flush=True)
    return status


def _run_at_once(python: Path, runs: Sequence[Run]) -> list[int]:
    """Runs all, as many at once as may be, in their order. What the first prints is shown at once,
    and what another prints when that one and all before it have ended. Returns the status of
    each."""

    def run_beside(run: Run) -> tuple[int, str]:
        with tempfile.TemporaryFile("w+") as output:
            status = _run_pytest(python, run, output)
            output.seek(0)
            return status, output.read()

    first, *others = runs
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        shown = pool.submit(_run_pytest, python, first)
        running = [pool.submit(run_beside, run) for run in others]
        statuses = [shown.result()]
        for future in running:
            status, output = future.result()
            statuses.append(status)
            print(output, flush=True)
    return statuses


def _run_pytest(python: Path, run: Run, output: TextIO | None = None) -> int:
    line: list[object] = ["nice"] if run.is_nice else []
    line += [python, "-m", "pytest", *run.words]
    # The tests start the provisioner and its commands hundreds of times. Without bytecode each
    # start takes twice the time. The source tree gets bytecode, too.
    settings = {**run.settings(), "PYTHONDONTWRITEBYTECODE": ""}
    return _run(*line, output=output, settings=settings)


def _install(words: Sequence[str]) -> None:
    """Installs what the tests need; reports what cannot be installed.

    :param words: those behind `./build.sh test`"""
    needs_less = words in ([LINT], [QUICK])
    missing = packages.install(f"test {words[0]}" if needs_less else "test")
    if missing:
        print(missing, file=sys.stderr)
    if needs_less:
        return
    if shutil.which("go") is None and not os.environ.get("FLEXVOL_KUBE_BIN"):
        print(
            "Go is missing, so there is no Kubernetes to test on: install Go 1.26 (Debian 12's "
            "is too old), or set FLEXVOL_KUBE_BIN to a directory with the programs",
            file=sys.stderr,
        )


def _run(
    *line: object, output: TextIO | None = None, settings: dict[str, str] | None = None
) -> int:
    """Runs one tool in the source root, shows its command line, and returns its status.

    :param output: where the tool prints; None for where this program prints
    :param settings: further variables of its environment"""
    words = [str(word) for word in line]
    program = os.path.basename(words[0])
    print("+", program, *words[1:], file=output, flush=True)
    done = subprocess.run(
        words,
        cwd=ROOT,
        check=False,
        stdout=output,
        stderr=output,
        env={**os.environ, **(settings or {})},
    )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
