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
