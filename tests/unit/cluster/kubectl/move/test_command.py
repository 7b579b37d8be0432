"""What a person's words lead to."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.kubectl import move
from cluster.kubectl.move import draining
from cluster.kubectl.move.access import NotMoved


class _NothingThere:
    """An API server that has neither PVs nor moves, and no nodes."""

    def items(self, _: str) -> Iterator[dict[str, Any]]:
        return iter(())

    def get(self, _: str) -> None:
        return None


def test_a_node_that_is_not_there_is_no_drained_one() -> None:
    """A script that wipes the node next must not go on after a misspelt name."""
    settings = argparse.Namespace(
        all=True, source="nod1", to=None, volume=None, namespace="flexvol"
    )
    api: Any = _NothingThere()

    with pytest.raises(NotMoved, match="there is no node nod1, and no volume names it"):
        move.run(api, {}, settings)


def test_a_drain_names_each_volume_that_stays_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    why = {"pvc-1": "pvc-1 is in use by pod web", "pvc-2": "the connection was cut"}

    def fail(access: object, name: str, to: str) -> None:
        raise NotMoved(why[name])

    monkeypatch.setattr(draining, "volumes_of", lambda *_: list(why))
    monkeypatch.setattr(move, "move", fail)
    monkeypatch.setattr(move, "_what_stays", lambda *_: [])
    settings = argparse.Namespace(
        all=True, source="node1", to="node2", volume=None, namespace="flexvol"
    )
    api: Any = _NothingThere()

    assert move.run(api, {}, settings) == 1

    assert capsys.readouterr().err.splitlines() == [
        "pvc-1 is in use by pod web",
        "pvc-2: the connection was cut",
    ]


def test_a_reader_who_leaves_ends_no_move() -> None:
    program = "from cluster.kubectl import move; move._say('1'); move._say('2'); print('3')"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(move.__file__).parents[3],
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (0, b"")
