"""Runs a callout that is killed at one of its system calls, for the tests of what comes after."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.node.nodes import Node

STEPPER = Path(__file__).with_name("stepper.py")
OLD_KERNEL = ("fsopen", "open_tree", "LOOP_CONFIGURE")
# The end of a case's name -> the calls that its kernel does not have.
LACKING = {"old kernel": OLD_KERNEL, "kernel 5.10": ("mount_setattr",)}


def deny(node: Node, calls: tuple[str, ...]) -> None:
    """From now on the node's kernel does not have these calls."""
    node.executable = [
        sys.executable,
        str(STEPPER),
        "/dev/null",
        "--deny",
        *calls,
        "--",
        *node.executable,
    ]


def step(node: Node, tmp_path: Path, argv: list[str], kill_at: int = 0) -> list[dict[str, Any]]:
    """Runs the callout under the stepper; returns the calls it made until it was killed."""
    report = tmp_path / "calls.json"
    if node.executable[0] == sys.executable:  # it runs under the stepper anyway
        line = [
            *node.executable[:2],
            str(report),
            "--kill-at",
            str(kill_at),
            *node.executable[3:],
            *argv,
        ]
    else:
        line = [
            sys.executable,
            str(STEPPER),
            str(report),
            "--kill-at",
            str(kill_at),
            "--",
            *node.executable,
            *argv,
        ]
    done = node.enter(*line)
    assert report.exists(), done.stderr.decode()
    calls: list[dict[str, Any]] = json.loads(report.read_text())
    report.unlink()
    if not kill_at:
        assert json.loads(done.stdout)["status"] == "Success", done.stdout
    return calls
