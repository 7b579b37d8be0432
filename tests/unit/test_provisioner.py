"""Arguments and the log's form; what an instance does is tested on a cluster."""

from __future__ import annotations

import json
import logging
import sys
import threading
from pathlib import Path

import pytest

import provisioner
from tests.cluster.proxy import kubeconfig


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
    instance.api.failing["claims"] = "cannot watch"
    assert instance.not_ready() == "cannot watch"
    going_on.set()
