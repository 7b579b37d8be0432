"""A file system that somebody froze, as backup hooks do, and never thawed: no pod waits for it
without end, and whoever looks is told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.node import edits
from tests.node.nodes import MIB, Node
from tests.node.pools import pool_on
from tests.waiting import wait_until

SIZES = {"ext4": 64 * MIB, "xfs": 300 * MIB, "btrfs": 112 * MIB}
IS_FROZEN = "/run/flexvol/is-frozen"
GO = "/run/flexvol/go"


def used(node: Node, fs: str) -> Path:
    """A volume with a file in it, in a pod."""
    node.provision(size=SIZES[fs], fs=fs)
    root = node.mount("web")
    (root / "file").write_text("kept")
    return root


def run(node: Node, *line: str) -> None:
    done = node.enter(*line)
    assert done.returncode == 0, done


def freeze(node: Node) -> None:
    run(node, "fsfreeze", "-f", node.pod_dir("web"))


def troubles(node: Node) -> list[dict[str, str]]:
    volumes = json.loads(node.command("status", "--json"))["volumes"]
    found: list[dict[str, str]] = next(
        volume["troubles"] for volume in volumes if volume["name"] == "pvc-1"
    )
    return found


def frozen_trouble(node: Node) -> dict[str, str]:
    """What status reports of the one volume, which is frozen and unmounted. A program that looks
    into every device of the machine, as mkfs.btrfs of another test does, is reported for that
    moment in its place."""

    def frozen() -> list[dict[str, str]]:
        return [each for each in troubles(node) if "its file system was frozen" in each["what"]]

    found: list[dict[str, str]] = wait_until("status reports the frozen file system", frozen)
    return found[0]


def doctor(node: Node) -> str:
    printed: str = node.enter(*node.executable, "doctor").stdout.decode()
    return printed


def can_write(root: Path) -> bool:
    """Asked of a process of its own, as it may wait without end."""
    try:
        line = ["sh", "-c", 'echo x > "$1/later" && sync "$1/later"', "sh", str(root)]
        return subprocess.run(line, timeout=10, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@pytest.mark.parametrize("fs", SIZES)
def test_what_no_pod_has_is_named_and_its_next_mount_thaws_it(node: Node, fs: str) -> None:
    used(node, fs)
    freeze(node)
    # A person unmounts it, or a kubelet whose callout was killed.
    run(node, "umount", node.pod_dir("web"))
    (device,) = node.loop_devices()

    trouble = frozen_trouble(node)

    assert trouble["remedy"].startswith(f"the next mount thaws it; or: mount {device} ")
    wait_until("doctor reports it too", lambda: trouble["what"] in doctor(node))
    node.fails("Busy", "delete", node.deletion())

    root = node.mount("db")
    assert can_write(root)
    assert (root / "file").read_text() == "kept"
    assert troubles(node) == []
    node.unmount("db")
    node.until_devices(0)
    node.ok("delete", node.deletion())


@pytest.mark.parametrize("fs", SIZES)
def test_the_remedy_by_hand_frees_it(node: Node, fs: str) -> None:
    used(node, fs)
    freeze(node)
    run(node, "umount", node.pod_dir("web"))

    run(node, "sh", "-c", frozen_trouble(node)["remedy"].partition("or: ")[2])

    node.until_devices(0)
    assert (node.mount("db") / "file").read_text() == "kept"


@pytest.mark.parametrize("fs", SIZES)
def test_a_pod_that_goes_leaves_nothing_frozen(node: Node, fs: str) -> None:
    used(node, fs)
    freeze(node)

    node.unmount("web")

    node.until_devices(0)
    root = node.mount("db")
    assert can_write(root)
    assert (root / "file").read_text() == "kept"
    node.unmount("db")
    node.until_devices(0)
    node.ok("delete", node.deletion())


def test_what_another_mount_namespace_still_has_stays_frozen(node: Node) -> None:
    used(node, "ext4")
    script = f"mount --bind {node.pod_dir('web')} /mnt && echo there; read forever"
    other = node.start("unshare", "-m", "sh", "-c", script, stdin=subprocess.PIPE)
    assert other.stdin and other.stdout and other.stdout.readline() == b"there\n"
    with other.stdin, other.stdout:
        freeze(node)

        node.unmount("web")

        (trouble,) = troubles(node)
        assert "only in mount namespaces of others" in trouble["what"]
        inside = ["nsenter", "-t", str(other.pid), "-m", "fsfreeze", "-u", "/mnt"]
        assert subprocess.run(inside, check=False).returncode == 0  # it was frozen
    other.wait(10)
    node.until_devices(0)


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_what_pods_have_is_named_and_nobody_else_waits_for_it(node: Node, fs: str) -> None:
    root = used(node, fs)
    path = node.pod_dir("web")
    freeze(node)
    writer = subprocess.Popen(["touch", str(root / "hangs")])
    try:
        (trouble,) = troubles(node)
        report = node.enter(*node.executable, "doctor")

        assert trouble["what"] == f"its {fs} is frozen at {path}, so whatever writes to it waits"
        assert trouble["remedy"].endswith(f"fsfreeze -u {path}")
        assert report.returncode == 1
        assert f"fsfreeze -u {path}" in report.stdout.decode()
        second = node.pod_dir("db")
        assert f"fsfreeze -u {path}" in node.fails("Busy", "mount", second, node.options())
        size = str(SIZES[fs] + 64 * MIB)
        words = ("expandfs", node.options(), "", path, size, str(SIZES[fs]))
        assert f"fsfreeze -u {path}" in node.fails("Busy", *words)
    finally:
        run(node, "fsfreeze", "-u", path)
        writer.wait(10)
    assert not any("frozen" in one["what"] for one in troubles(node))
    node.mount("db")
    assert can_write(root)


def test_a_snapshot_of_ours_is_neither_named_nor_thawed(node: Node, for_python: Path) -> None:
    pool_on(node, "xfs")
    used(node, "ext4")
    wait = f"open('{IS_FROZEN}', 'w').close(), {edits.waiting_for(GO)}"
    changes = [
        edits.SHARE_BLOCKS_OF_A_FROZEN_FILE_SYSTEM.to(wait),
        edits.FROZEN_SECONDS.to(600),
    ]
    slow = edits.edited(for_python, node.directory / "slow", *changes)
    running = node.start(*slow, "snapshot", "pvc-1", "first")
    wait_until("the file system is frozen", node.path(IS_FROZEN).exists)

    found = troubles(node)
    node.fails("Busy", "unmount", node.pod_dir("web"))
    node.mount("db")
    node.path(GO).touch()
    said: Any = running.communicate(timeout=60)[0]

    assert found == []
    assert b"did not stay frozen" not in said
    assert troubles(node) == []
