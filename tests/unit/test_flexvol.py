"""The entry of dist/flexvol, as far as no driver is needed."""

from __future__ import annotations

import argparse

import pytest

import flexvol
from node.commands import trim


def test_a_command_on_a_node_that_a_person_stops_ends_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(trim, "NEEDS_ROOT", False)
    monkeypatch.setattr(trim, "run", stopped)

    assert flexvol.main(["loop", "trim"]) == 130
    assert capsys.readouterr().err == "flexvol trim: stopped\n"
