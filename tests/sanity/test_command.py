"""The command itself: its page, its output and its exit status."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from node import commands
from tests import documents
from tests.sources import ROOT

PAGE = ROOT / "docs/sanity.md"
# A driver that is right: a volume is a directory, which mount binds.
DRIVER = """#!/bin/sh
answer() { echo "{\\"status\\": \\"$1\\", \\"message\\": \\"$2\\"}"; exit 0; }
case $1 in
  init) echo '{"status": "Success", "capabilities": {"attach": false, "selinuxRelabel": true,
    "supportsMetrics": true, "fsGroup": true, "requiresFSResize": true}}' ;;
  mount)
    flags=bind
    case $3 in *'"kubernetes.io/readwrite":"ro"'*) flags=bind,ro ;; esac
    case $3 in *no-such-filesystem*) answer Failure "no such file system" ;; esac
    case $3 in *'"path":"'*) ;; *) answer Failure "the option path is missing" ;; esac
    mountpoint -q "$2" && answer Success
    mkdir -p /var/lib/my-driver
    mount -o $flags /var/lib/my-driver "$2" >&- 2>&- || answer Failure "mount failed"
    answer Success ;;
  unmount)
    while mountpoint -q "$2"; do umount "$2" >&- 2>&- || answer Failure "umount failed"; done
    answer Success ;;
  expandfs) answer Success ;;
  *) answer "Not supported" ;;
esac
"""


@pytest.fixture
def place(tmp_path: Path, executable: list[str]) -> Path:
    """A directory with dist/flexvol, a driver and its options."""
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/flexvol").symlink_to(executable[0])
    (tmp_path / "my-driver").write_text(DRIVER)
    (tmp_path / "my-driver").chmod(0o755)
    (tmp_path / "options.json").write_text('{"path": "/exports/data"}')
    return tmp_path


def run(place: Path, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        shlex.split(line), cwd=place, capture_output=True, text=True, check=False, timeout=600
    )


def test_the_commands_of_the_page_do_what_the_page_says(place: Path) -> None:
    lines = documents.commands_in(PAGE.read_text())
    assert lines

    for line in lines:
        done = run(place, line)

        assert done.returncode == 0, done
        assert done.stdout.startswith("CHECK ")
        assert done.stderr == ""


def test_a_fault_is_status_1_and_stands_in_the_table_and_in_the_object(place: Path) -> None:
    driver = place / "my-driver"
    driver.write_text(DRIVER.replace('"attach": false, ', ""))
    line = "dist/flexvol sanity my-driver --options options.json --check attach-stated"

    done = run(place, line)
    as_json = run(place, line + " --json")

    assert done.returncode == as_json.returncode == 1
    assert done.stdout.splitlines()[1].split()[:3] == ["attach-stated", "fault", "breaks"]
    (check,) = json.loads(as_json.stdout)["checks"]
    assert (check["id"], check["verdict"], check["traps"]) == ("attach-stated", "fault", [8])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        pytest.param("nothing-here", "is no executable file", id="no such driver"),
        pytest.param("options.json", "is no executable file", id="not executable"),
        pytest.param("my-driver --setup false", "the setup failed", id="a setup that fails"),
        pytest.param("my-driver --check moutn", "mount may be meant", id="no such check"),
        pytest.param("", "say which driver", id="no driver"),
        pytest.param("my-driver --options my-driver", "is not JSON", id="options of another form"),
        pytest.param("my-driver --secret x", "has the form KEY=", id="a secret without a value"),
    ],
)
def test_what_cannot_be_judged_is_status_2_with_a_sentence(
    place: Path, words: str, reason: str
) -> None:
    done = run(place, f"dist/flexvol sanity {words}")

    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_without_root_nothing_is_judged(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    assert commands.main("sanity", [str(place / "my-driver")]) == 2
    assert "only root can make a throw-away root" in capsys.readouterr().err


def test_a_check_that_needs_a_failed_one_is_not_judged(place: Path) -> None:
    driver = place / "my-driver"
    driver.write_text(DRIVER.replace("mkdir -p", "answer Failure broken; mkdir -p"))

    done = run(place, "dist/flexvol sanity my-driver --options options.json --json")

    verdicts = {check["id"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert verdicts["mount"]["verdict"] == "fault"
    assert verdicts["mounted"]["verdict"] == "not judged"
    assert verdicts["mounted"]["message"] == "see mount"
    assert verdicts["unmount"]["verdict"] == "not judged"


def test_each_check_is_listed_and_explained(place: Path) -> None:
    listed = run(place, "dist/flexvol sanity --list")
    explained = run(place, "dist/flexvol sanity --explain mounted")

    assert listed.returncode == explained.returncode == 0
    assert "mounted " in listed.stdout
    assert "kubelet does not look whether anything is mounted" in explained.stdout
