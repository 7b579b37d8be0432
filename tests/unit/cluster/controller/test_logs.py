"""The form of the log: an entry is one line, whatever stands in it."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from cluster.controller import logs


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
    line = json.loads(logs.JsonFormatter().format(record))
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
    text = logs.JsonFormatter().format(record)
    assert "\n" not in text
    assert "RuntimeError: odd" in json.loads(text)["exception"]


def test_no_name_that_somebody_wrote_makes_a_line_of_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    hostile = "x\n2026-01-01 00:00:00,000 INFO claim: provisioned\x1b[2J\udcff"
    logs.log_to_stdout("text")

    logging.getLogger("claim").warning("node n1 has no snapshot %s", hostile)

    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert r"no snapshot x\n2026-01-01" in printed
    assert printed.strip().isprintable()
