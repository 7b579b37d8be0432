"""The demo shows a volume's life on any machine and leaves nothing behind."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from node.commands import demo
from tests import documents
from tests.node.nodes import Node

LIFE = ["provision", "mount", "mount", "expandfs", "unmount", "unmount", "delete", "list"]
# Of an ext4, where the kernel does not let this process grow a file system that is mounted.
BETWEEN_PODS = [*LIFE[:4], "unmount", "unmount", "mount", "mount", *LIFE[4:]]


def callouts(part: str) -> list[str]:
    """The callouts that a part of the demo's lines tells of."""
    return [line.split()[0] for line in part.splitlines() if " ms " in line]


def steps(printed: str) -> list[list[str]]:
    """The callout and the purpose of each line of the demo's table."""
    lines = printed[printed.index("CALLOUT") :].splitlines()[1:]
    return [re.split(r"\s{2,}", line)[:2] for line in lines if "  " in line]


def test_the_demo_tells_the_whole_life_and_cleans_up(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    node = make_node()
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    done = node.enter("env", f"TMPDIR={scratch}", *node.executable, "demo")

    assert done.returncode == 0, done
    told = done.stdout.decode()

    begin, ext4, xfs = told.split("a volume with ")
    assert callouts(begin) == ["init"]
    assert ext4.startswith("ext4:")
    assert callouts(ext4) in (LIFE, BETWEEN_PODS)
    assert xfs.startswith("xfs:")
    assert callouts(xfs) == LIFE
    for part in (ext4, xfs):
        assert "No space left on device" in part
        assert "64 MiB more; the file system has" in part
    assert "Next, in flexvol's sources:\n  ./build.sh playground" in told
    (shown,) = [block for block in documents.blocks("console", documents.README) if "demo" in block]
    assert [step for step in steps(shown) if step not in steps(told)] == [], "correct README.md"
    assert node.mounts() == []
    assert list(node.path("/var/lib/flexvol").iterdir()) == []
    assert list(scratch.iterdir()) == []


def test_without_xfss_tools_the_demo_shows_what_ext4_can(make_node: Callable[..., Node]) -> None:
    node = make_node()
    hide = "mount --bind /dev/null $(command -v mkfs.xfs || echo /usr/sbin/mkfs.xfs)"
    hidden = node.enter("sh", "-c", f"PATH=$PATH:/usr/sbin:/sbin; {hide}")
    assert hidden.returncode == 0, hidden

    done = node.enter(*node.executable, "demo")

    assert done.returncode == 0, done
    told = done.stdout.decode()
    assert "a claim of 320Mi, ext4" in told
    assert "xfs" not in told
    assert "No space left on device" in told
    assert "64 MiB more; the file system has" in told
    assert node.mounts() == []
    assert list(node.path("/var/lib/flexvol").iterdir()) == []


def test_a_line_begins_before_its_step_so_that_a_person_sees_what_is_waited_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = []

    def step() -> str:
        seen.append(capsys.readouterr().out)
        return "done"

    demo._step("web writes until the disk is full", step)

    assert seen[0].strip() == "web writes until the disk is full"
    assert capsys.readouterr().out.strip() == "done"
