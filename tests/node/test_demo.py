"""The demo shows a volume's life on any machine and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.node.conftest import Node


def test_the_demo_tells_the_whole_life_and_cleans_up(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    node = make_node()
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    done = node.enter("env", f"TMPDIR={scratch}", *node.executable, "demo")

    assert done.returncode == 0, done
    told = done.stdout.decode()

    first_words = [line.split()[0] for line in told.splitlines() if " ms " in line]
    assert first_words == [
        "init",
        "provision",
        "mount",
        "mount",
        "expandfs",
        "unmount",
        "unmount",
        "delete",
        "list",
    ]
    assert "No space left on device" in told
    assert node.mounts() == []
    assert list(node.path("/var/lib/flexvol").iterdir()) == []
    assert list(scratch.iterdir()) == []
