"""Every command for a node in README.md and docs is run as it stands there, page by page. The
others are run by the tests that tests/elsewhere names."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
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
    "loop pool init fast --replace": "made pool fast at /var/lib/flexvol/fast",
    "loop pool remove fast": "removed pool fast",
    "loop pool cordon fast": "pool fast at /var/lib/flexvol/fast takes no new volumes",
    "loop trim": "given back",
    "echo 'type=linux' | sfdisk": "Created a new partition 1 of type 'Linux filesystem'",
    "loop import --pool fast <": "into pool fast",
}


def node_commands(page: Path) -> list[str]:
    return [
        line
        for line in documents.commands_in(page.read_text())
        if not line.startswith(tuple(TESTS))
    ]


PAGES = [page for page in documents.ALL if node_commands(page)]
# The disks of the pages, which this machine does not have.
DISKS = ("/dev/sdb1", "/dev/sdc1")
DISK_BYTES = 512 * MIB
# The disk of the pages that has no partition yet. A file takes its place.
EMPTY_DISK = "/dev/sdb"
# The label of the disk in the pages. Other runs of this test may be on this machine now.
LABEL = "flexvol-fast"


def driver_words(line: str) -> str:
    """The line with `loop` in the place of the driver's path."""
    return re.sub(r"^\S*/loop(?= )", "loop", line)


def script(lines: list[str], disks: list[str], empty_disk: Path) -> str:
    """The page's commands, with what the page takes for granted before them. They name no disk of
    this machine."""
    before = ["set -ex", "mount -t tmpfs none /mnt"]
    makes_pool = any("pool init fast" in line for line in lines)
    if not makes_pool and re.search(r"\bfast\b", " ".join(lines)):
        before += [f"mkfs.xfs -q {DISKS[0]}", "mkdir /var/lib/flexvol/fast"]
        before += [f"mount {DISKS[0]} /var/lib/flexvol/fast", f"{DRIVER} pool init fast"]
    commands = []
    for line in lines:
        commands.append(line)
        if line.startswith("mount -o loop"):
            commands.append("cat /mnt/kept")
    text = "\n".join(before + commands)
    for named, disk in zip(DISKS, disks, strict=True):
        text = text.replace(named, disk)
    text = text.replace(EMPTY_DISK, str(empty_disk))
    assert "/dev/sd" not in text
    return text.replace(LABEL, f"fv-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[list[str]]:
    """Loop devices in the place of DISKS, as long as the test runs."""
    found = []
    try:
        for name in ("one", "two"):
            with open(tmp_path / name, "xb") as file:
                file.truncate(DISK_BYTES)
            line = ["losetup", "--find", "--show", file.name]
            found.append(subprocess.check_output(line, text=True).strip())
        yield found
    finally:
        for disk in found:
            subprocess.run(["losetup", "--detach", disk], check=True)


@pytest.fixture
def installed(node: Node, tmp_path: Path) -> Node:
    """A node with the driver installed, the volume of the pages, and an fstab of its own."""
    Path(PLUGINS).mkdir(parents=True, exist_ok=True)
    assert node.enter("mount", "-t", "tmpfs", "none", PLUGINS).returncode == 0
    node.command("install", PLUGINS)
    (tmp_path / "fstab").touch()
    own_fstab = node.enter("mount", "--bind", f"{tmp_path}/fstab", "/etc/fstab")
    assert own_fstab.returncode == 0
    node.provision(VOLUME)
    (node.mount("web", VOLUME) / "kept").write_text("kept")
    node.unmount("web", VOLUME)
    node.until_free(VOLUME)
    return node


def test_the_commands_for_a_node_are_run() -> None:
    assert sum(len(node_commands(page)) for page in PAGES) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_for_a_node_does_what_the_page_says(
    page: Path, installed: Node, disks: list[str], tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    lines = node_commands(page)
    empty_disk = tmp_path / "empty"
    empty_disk.touch()
    os.truncate(empty_disk, DISK_BYTES)

    done = installed.enter("sh", "-c", script(lines, disks, empty_disk))

    printed = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    for line in lines:
        for beginning, words in PRINTS.items():
            if driver_words(line).startswith(beginning):
                assert words in printed, line
        if line.startswith("mount -o loop"):
            assert re.search(r"^kept$", printed, re.MULTILINE), line
