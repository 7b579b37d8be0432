"""Everything ./build.sh test does: installs what it needs, then lint, types, the 3.6 floor,
shellcheck and pytest.

A node may have any Python: pytest runs everything with the newest one on this machine, what a node
does again with the oldest, and a short set of that with every other. The virtual machines of
tests/vm have Pythons of their own. The cluster's tests run beside all others.

With words it only runs pytest with them. FLEXVOL_NO_SKIP=1 makes every test that would be skipped a
failure."""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TextIO

from bundle import environment, interpreters, pack, packages

ROOT = Path(__file__).resolve().parent.parent
FLOOR = (3, 6)
BESIDE = 2  # runs at once beside the cluster's tests
# Older Kubernetes on which a campaign runs the cluster's tests too; tests/cluster/kube builds it.
OLDER_KUBERNETES = ("1.34.4",)
MANY = 20  # failures: what the rest needs is broken, and every test would wait for it in vain
# What vermin sees and the code asks for before it uses it.
NEWER = (
    "os.posix_spawn",
    "os.POSIX_SPAWN_DUP2",
    "os.POSIX_SPAWN_OPEN",
    "importlib.util.source_hash",
)


def main(words: list[str]) -> int:
    _install()
    python = environment.python()
    tools = python.parent
    if words:
        status = 0
        for version, some in campaign_runs(words):
            if version:
                os.environ["FLEXVOL_KUBERNETES"] = version
            status |= _run(python, "-m", "pytest", *some)
        return status
    driver_side = [name for name in pack.CONTENTS if (ROOT / name).exists()]
    status = _run(tools / "ruff", "check", ".")
    status |= _run(tools / "ruff", "format", "--check", ".")
    driver_side.append("examples")
    status |= _run(tools / "mypy", "bundle", "tests", "provisioner.py", "cluster", *driver_side)
    excluded = [word for name in NEWER for word in ("--exclude", name)]
    status |= _run(
        tools / "vermin", "--target=3.6", "--violations", "--quiet", *excluded, *driver_side
    )
    status |= _run("shellcheck", *[path.relative_to(ROOT) for path in _shell_scripts()])
    if status:
        print("the tests are not run: put right what is said above", file=sys.stderr)
        return status
    return _test_with_every_python(python)


def campaign_runs(words: list[str]) -> list[tuple[str, list[str]]]:
    """The runs of pytest for the words of a person: the version of Kubernetes, or "" for the one
    that is pinned or set, and the words. A campaign of the cluster's tests has a run on each older
    version, too."""
    runs = [("", words)]
    paths = [word for word in words if word.startswith("tests")]
    of_cluster = [path for path in paths if path.startswith("tests/cluster")]
    is_chosen = "FLEXVOL_KUBE_BIN" in os.environ or "FLEXVOL_KUBERNETES" in os.environ
    if "--campaign" not in words or is_chosen or (paths and not of_cluster):
        return runs
    others = [word for word in words if word not in paths]
    for version in OLDER_KUBERNETES:
        runs.append((version, [*(of_cluster or ["tests/cluster"]), *others]))
    return runs


def _test_with_every_python(python: Path) -> int:
    found = interpreters.find()
    print(
        "Pythons here: "
        + ", ".join(f"{major}.{minor} ({path})" for (major, minor), path in found.items())
    )
    if FLOOR not in found:
        print(
            "Python {}.{}, the oldest the driver runs on, is not here, and only vermin guards "
            "it: install it "
            "with pyenv, or have it on PATH".format(*FLOOR),
            file=sys.stderr,
        )
        if os.environ.get("FLEXVOL_NO_SKIP") == "1":
            return 1
    *older, newest = found.values()
    node: list[list[object]] = [["tests/unit", "tests/node", f"--python={newest}"]]
    if older:
        node.append(["tests/node", "-m", "not newest", f"--python={older[0]}"])
    node.append(["tests/vm"])
    node += [["tests/node", "-m", "short", f"--python={other}"] for other in older[1:]]
    pytest = (python, "-m", "pytest", f"--maxfail={MANY}", "--durations=40")

    def beside(words: list[object], settings: dict[str, str], *prefix: object) -> tuple[int, str]:
        with tempfile.TemporaryFile("w+") as output:
            status = _run(*prefix, *pytest, *words, output=output, settings=settings)
            output.seek(0)
            return status, output.read()

    # The cluster's tests wait much, and are the longest: they run on two clusters at once, and what
    # needs no cluster takes what they leave of the machine.
    with (
        concurrent.futures.ThreadPoolExecutor(1 + BESIDE) as others,
        tempfile.TemporaryDirectory() as halves,
    ):
        shared = {"FLEXVOL_TEST_HALVES": halves}
        second = {**shared, "FLEXVOL_TEST_CLUSTER_NUMBER": "2"}
        cluster: list[object] = ["tests/cluster", f"--python={newest}"]
        running = [others.submit(beside, cluster, second)]
        running += [others.submit(beside, words, {}, "nice") for words in node]
        status = _run(*pytest, "tests/playground", *cluster, settings=shared)
        for run in running:
            failed, output = run.result()
            status |= failed
            print(output, flush=True)
    return status


def _install() -> None:
    lacking = packages.install("test")
    if lacking:
        print(lacking, file=sys.stderr)
    if shutil.which("go") is None and not os.environ.get("FLEXVOL_KUBE_BIN"):
        print(
            "Go is missing, so there is no Kubernetes to test on: install Go 1.26 (Debian 12's "
            "is too old), or set "
            "FLEXVOL_KUBE_BIN to a directory with the programs",
            file=sys.stderr,
        )


def _shell_scripts() -> list[Path]:
    return [
        ROOT / "build.sh",
        ROOT / ".ci/run",
        *sorted(ROOT.glob("bundle/*.sh")),
        *sorted(ROOT.glob("tests/**/*.sh")),
    ]


def _run(
    *line: object, output: TextIO | None = None, settings: dict[str, str] | None = None
) -> int:
    """Runs one tool in the source root and says so; returns its status. output: where it prints, if
    not here. settings: more of the environment."""
    words = [str(word) for word in line]
    print("+ " + " ".join([os.path.basename(words[0]), *words[1:]]), file=output, flush=True)
    environment = {**os.environ, **(settings or {})}
    done = subprocess.run(
        words, cwd=ROOT, check=False, stdout=output, stderr=output, env=environment
    )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
