"""Arguments and the log's form; what an instance does is tested on a cluster."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import provisioner
from cluster.controller.followers import Followers
from cluster.controller.watch import Watch
from tests.cluster.proxy import kubeconfig
from tests.sources import ROOT


def test_a_line_of_the_json_log_has_keys_of_its_own_for_what_it_is_about() -> None:
    record = logging.makeLogRecord(
        {
            "name": "claim",
            "levelname": "INFO",
            "msg": "provisioned %s",
            "args": ("pvc-1",),
            "volume": "pvc-1",
        }
    )
    line = json.loads(provisioner.JsonFormatter().format(record))
    assert line.pop("time")
    assert line == {
        "level": "INFO",
        "part": "claim",
        "volume": "pvc-1",
        "message": "provisioned pvc-1",
    }


def test_a_bug_has_its_traceback_on_the_same_line() -> None:
    try:
        raise RuntimeError("odd")
    except RuntimeError:
        record = logging.makeLogRecord({"msg": "bug", "exc_info": sys.exc_info()})
    text = provisioner.JsonFormatter().format(record)
    assert "\n" not in text
    assert "RuntimeError: odd" in json.loads(text)["exception"]


def test_no_name_that_somebody_wrote_makes_a_line_of_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    hostile = "x\n2026-01-01 00:00:00,000 INFO claim: provisioned\x1b[2J\udcff"
    provisioner._log_to_stdout("text")

    logging.getLogger("claim").warning("node n1 has no snapshot %s", hostile)

    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert r"no snapshot x\n2026-01-01" in printed
    assert printed.strip().isprintable()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--node=a", "--driver=loop"], "--driver loop: expected VENDOR/NAME"),
        (["--node=a", "--driver=../x"], "--driver ../x: expected VENDOR/NAME"),
        (["--node=a", "--workers=0"], "--workers 0: expected 1 or more"),
        (["--node=a", "--pod=x"], "--pod x: expected NAME/UID"),
        (
            ["--node=a", "--orphan-grace-seconds=nan"],
            "--orphan-grace-seconds nan: expected 0 or more",
        ),
        (["--node=a", "--identity=b"], "not allowed with argument"),
        ([], "is required"),
    ],
)
def test_bad_arguments_are_named(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        provisioner.arguments(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("makers", [1, 2, 4])
def test_neither_claims_nor_deletions_take_all_workers(makers: int) -> None:
    workers = provisioner.what_workers_take(makers)

    take_claims = [takes(("claim", "u")) for takes in workers]
    take_volumes = [takes(("volume", "pvc-u")) for takes in workers]
    assert take_claims.count(True) == take_volumes.count(True) == makers
    assert take_claims.count(False) == take_volumes.count(False) == 1


@pytest.mark.parametrize("mode", ["--node=node1", "--cluster", "--identity=shared"])
def test_no_thread_takes_sigterm_away_from_the_one_that_waits_for_it(
    mode: str, tmp_path: Path
) -> None:
    """The kernel gives a signal of the process to whichever thread does not block it."""
    (tmp_path / "kubeconfig").write_text(kubeconfig("http://127.0.0.1:1"))
    line = [sys.executable, str(ROOT / "provisioner.py"), mode]
    with subprocess.Popen(
        [*line, f"--kubeconfig={tmp_path}/kubeconfig"], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert f"as {mode.rpartition('=')[2].lstrip('-')}" in running.stdout.readline()
        threads = list(Path(f"/proc/{running.pid}/task").iterdir())
        others = [thread for thread in threads if thread.name != str(running.pid)]
        taking = [thread.name for thread in others if not blocks_sigterm(thread)]
        running.terminate()
        running.communicate(timeout=60)

    assert len(others) > 4
    assert taking == []
    assert running.returncode == 0


def blocks_sigterm(thread: Path) -> bool:
    lines = (thread / "status").read_text().splitlines()
    (blocked,) = [line.split()[1] for line in lines if line.startswith("SigBlk:")]
    return bool(int(blocked, 16) & 1 << (signal.SIGTERM - 1))


def test_an_instance_says_what_of_it_has_ended_and_what_it_has_not_seen_yet(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(kubeconfig("http://127.0.0.1:1"))
    settings = provisioner.arguments(["--node=node1", f"--kubeconfig={tmp_path}/kubeconfig"])
    instance = provisioner.Instance(settings, "node1", "")
    going_on = threading.Event()
    instance.run_thread(threading.Thread(target=going_on.wait, name="lives", daemon=True))
    assert instance.dead() == ""
    instance.run_thread(threading.Thread(target=lambda: None, name="ends"))
    instance.threads[-1].join()

    assert instance.dead() == "ended: ends"
    assert instance.not_ready() == ""
    watch = Watch(instance.api, "claims", Followers(), lambda: None)
    watch.trouble = "cannot watch"
    instance.watches.append(watch)
    assert instance.not_ready() == "cannot watch"
    going_on.set()
