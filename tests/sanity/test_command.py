"""The command itself: its page, its output and its exit status."""

from __future__ import annotations

import json
import os
import pty
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
        pytest.param("nothing-here", "there is no file", id="no such driver"),
        pytest.param("options.json", "run: chmod +x", id="not executable"),
        pytest.param("dist", "is a directory; name the driver's executable", id="a directory"),
        pytest.param("/dev/null", "is no file", id="a device"),
        pytest.param("my-driver --setup false", "/tmp, /run and /var are", id="a setup that fails"),
        pytest.param("my-driver --variable x", "has the form KEY=", id="a variable with no value"),
        pytest.param("my-driver --check moutn", "mount may be meant", id="no such check"),
        pytest.param("", "say which driver", id="no driver"),
        pytest.param("my-driver --options my-driver", "is not JSON", id="options of another form"),
        pytest.param("my-driver --options no.json", "cannot read no.json", id="no options"),
        pytest.param("my-driver --secret-file a=no", "cannot read no", id="no file of a secret"),
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


def on_terminal(place: Path, line: str, terminal: str = "xterm") -> tuple[str, str]:
    """What a command prints on stdout, and what it shows on the terminal that is its stderr."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": terminal}
    with open(ours, "rb", buffering=0) as screen:
        with open(theirs, "wb", buffering=0) as stderr:
            done = subprocess.run(
                shlex.split(line),
                cwd=place,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                check=False,
                timeout=600,
            )
            stderr.write(b"end")
        shown = b""
        while not shown.endswith(b"end"):
            shown += screen.read(1 << 16)
    return done.stdout.decode(), shown[: -len(b"end")].decode()


@pytest.mark.parametrize("json_word", ["", " --json"])
def test_a_person_at_a_terminal_sees_which_check_is_judged(place: Path, json_word: str) -> None:
    line = f"dist/flexvol sanity my-driver --options options.json --check mounted{json_word}"

    printed, shown = on_terminal(place, line)

    clear = "\r\x1b[K"
    # Those that are needed are judged before, and the line is wiped away at the end.
    told = shown.split(clear)
    assert told[0] == told[-1] == ""
    assert told[1:-1] == [
        f"check {number} of {len(told) - 2}: {name}"
        for number, name in enumerate(("init", "mount", "mounted"), 1)
    ]
    assert printed == run(place, line).stdout
    assert run(place, line).stderr == ""


def test_a_terminal_that_cannot_write_a_line_anew_shows_no_check(place: Path) -> None:
    line = "dist/flexvol sanity my-driver --options options.json --check init"

    assert on_terminal(place, line, "dumb")[1] == ""


def test_the_reason_why_nothing_is_judged_stands_on_a_line_of_its_own(place: Path) -> None:
    _, shown = on_terminal(place, "dist/flexvol sanity my-driver --setup false")

    assert "\r\x1b[Kflexvol sanity: the setup failed" in shown


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
