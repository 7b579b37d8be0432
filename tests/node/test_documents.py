"""Every command for a node in README.md and docs is run as it stands there, page by page. The
others are run by the tests that tests/elsewhere names."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests import documents
from tests.elsewhere import TESTS
from tests.node.nodes import MIB, Node

PLUGINS = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
DRIVER = f"{PLUGINS}/flexvol~loop/loop"
# The volume that the pages name. No pod uses it.
VOLUME = "pvc-8a6ad8b3-1111-4222-8333-944445555666"
# The beginning of a command, without the path of the driver -> words that it prints.
PRINTS = {
    "loop doctor": "Nothing is wrong.",
    "loop status": "mounts here",
    "loop pool init fast": "made pool fast",
    "loop pool cordon fast": "pool fast at /var/lib/flexvol/fast takes no new volumes",
    "loop trim": "given back",
    "loop import --pool fast <": "into pool fast",
}


def node_commands(page: Path) -> list[str]:
    return [
        line
        for line in documents.commands_in(page.read_text())
        if not line.startswith(tuple(TESTS))
    ]


PAGES = [page for page in documents.ALL if node_commands(page)]


def driver_words(line: str) -> str:
    """The line with `loop` in the place of the driver's path."""
    return re.sub(r"^\S*/loop(?= )", "loop", line)


def script(lines: list[str], disk: Path) -> str:
    """The page's commands, with what the page takes for granted before them."""
    before = ["set -ex", "mount -t tmpfs none /mnt"]
    makes_pool = any("pool init fast" in line for line in lines)
    if not makes_pool and re.search(r"\bfast\b", " ".join(lines)):
        before += ["mkdir /var/lib/flexvol/fast", f"mount -o loop {disk} /var/lib/flexvol/fast"]
        before += [f"{DRIVER} pool init fast"]
    commands = []
    for line in lines:
        # The machine has no second disk.
        commands.append(line.replace("/dev/sdb1", f"-o loop {disk}"))
        if line.startswith("mount -o loop"):
            commands.append("cat /mnt/kept && umount /mnt")
    return "\n".join(before + commands)


@pytest.fixture
def installed(node: Node, tmp_path: Path) -> Node:
    """A node with the driver installed, a disk, and the volume of the pages."""
    Path(PLUGINS).mkdir(parents=True, exist_ok=True)
    assert node.enter("mount", "-t", "tmpfs", "none", PLUGINS).returncode == 0
    node.command("install", PLUGINS)
    disk = tmp_path / "disk"
    for line in (["truncate", "-s", str(128 * MIB), disk], ["mkfs.ext4", "-q", disk]):
        assert node.enter(*map(str, line)).returncode == 0
    node.provision(VOLUME)
    (node.mount("web", VOLUME) / "kept").write_text("kept")
    node.unmount("web", VOLUME)
    node.until_free(VOLUME)
    return node


def test_the_commands_for_a_node_are_run() -> None:
    assert sum(len(node_commands(page)) for page in PAGES) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_for_a_node_does_what_the_page_says(
    page: Path, installed: Node, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    lines = node_commands(page)
    done = installed.enter("sh", "-c", script(lines, tmp_path / "disk"))

    printed = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    for line in lines:
        for beginning, words in PRINTS.items():
            if driver_words(line).startswith(beginning):
                assert words in printed, line
        if line.startswith("mount -o loop"):
            assert re.search(r"^kept$", printed, re.MULTILINE), line
