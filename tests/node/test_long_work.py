"""Work on an image that takes longer than a callout waits goes on: nothing kills it, every other
call says what is going on, and when it is done the mount succeeds."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node import edits
from tests.node.contents import check_data, with_data
from tests.node.growing import grow_at_next_pod, size, tool_grows
from tests.node.locks import older_lock_file
from tests.node.nodes import MIB, Node
from tests.node.tools import with_tool

GO = "/run/flexvol/go"
HELD = f'while [ ! -e {GO} ]; do sleep 0.05; done; exec "$real" "$@"'


@pytest.fixture
def node(make_node: Callable[..., Node], built: Path, tmp_path: Path) -> Node:
    """A node whose driver waits for a second only, and gives up work that stands still for so
    many seconds as the file says; whose tools wait until they may go on."""
    node = make_node()
    node.executable = edits.edited(built, tmp_path / "loop", edits.PATIENCE_SECONDS.to(1))
    node.command("pool", "init", "default", "--reserve", "0")
    return node


def note_errors(node: Node) -> None:
    line = ["debugfs", "-w", "-R", "set_super_value state 2"]
    assert node.enter(*line, "/var/lib/flexvol/default/pvc-1/image").returncode == 0


def go_on(node: Node) -> None:
    node.path(GO).touch()


def until_mounted(node: Node) -> Path:
    """As kubelet does: the same call again until it succeeds."""
    deadline = time.monotonic() + 30
    while True:
        path = node.pod_dir("web")
        reply = node.run("mount", path, node.options())
        if reply["status"] == "Success":
            return node.path(path)
        assert reply["reason"] in ("Busy", "Pending"), reply
        assert time.monotonic() < deadline, reply
        time.sleep(0.1)


def being(node: Node, what: str, reason: str, *words: str) -> None:
    """The call fails soon, and says what is going on."""
    began = time.monotonic()
    message = node.fails(reason, *words)
    assert f"volume pvc-1: its ext4 is being {what} since " in message
    assert time.monotonic() - began < 30


def test_a_long_check_goes_on_and_every_call_meanwhile_says_so(node: Node) -> None:
    with_data(node)
    note_errors(node)
    with_tool(node, "e2fsck", HELD)
    web = node.pod_dir("web")

    being(node, "checked", "Pending", "mount", web, node.options())

    being(node, "checked", "Busy", "mount", web, node.options())
    being(node, "checked", "Busy", "mount", node.pod_dir("second"), node.options())
    being(node, "checked", "Busy", "delete", node.deletion())
    words = ["expandfs", node.options(), "", web, str(128 * MIB), "0"]
    being(node, "checked", "Busy", *words)
    assert node.ok("list")["volumes"][0]["name"] == "pvc-1"
    for command in (["status"], ["doctor"]):
        shown = node.enter(*node.executable, *command).stdout.decode()
        assert "its ext4 is being checked since" in shown, shown
    exported = node.enter(*node.executable, "export", "pvc-1")
    assert b"its ext4 is being checked since" in exported.stderr
    assert node.image().with_name("undo").exists()

    go_on(node)
    until_mounted(node)
    check_data(node, "web")
    names = {path.name for path in node.image().parent.iterdir()}
    assert names == {"image", "volume.json"}
    assert len(node.loop_devices()) == 1


def test_an_older_flexvol_waits_for_long_work(node: Node) -> None:
    """It knows only the lock that is named by the hash of the volume's name, makes its file where
    there is none, and would take what the check keeps to undo itself for a leftover."""
    with_data(node)
    note_errors(node)
    with_tool(node, "e2fsck", HELD)
    being(node, "checked", "Pending", "mount", node.pod_dir("web"), node.options())

    with older_lock_file(node).open("a") as older:
        with pytest.raises(BlockingIOError):
            fcntl.flock(older, fcntl.LOCK_EX | fcntl.LOCK_NB)

        go_on(node)
        until_mounted(node)
        fcntl.flock(older, fcntl.LOCK_EX | fcntl.LOCK_NB)
    check_data(node, "web")


@tool_grows
def test_a_long_growth_goes_on(node: Node) -> None:
    with_data(node)
    grow_at_next_pod(node, 256 * MIB)
    with_tool(node, "resize2fs", HELD)

    being(node, "grown", "Pending", "mount", node.pod_dir("web"), node.options())
    being(node, "grown", "Busy", "mount", node.pod_dir("web"), node.options())

    go_on(node)
    assert size(until_mounted(node)) > 200 * MIB
    check_data(node, "web")


@tool_grows
def test_a_long_growth_that_fails_leaves_the_volume_as_it_is_and_mounts_it(node: Node) -> None:
    with_data(node)
    grow_at_next_pod(node, 256 * MIB)
    with_tool(node, "resize2fs", HELD.replace('exec "$real" "$@"', "exit 1"))
    being(node, "grown", "Pending", "mount", node.pod_dir("web"), node.options())

    go_on(node)
    assert size(until_mounted(node)) < 64 * MIB
    check_data(node, "web")


def test_a_long_check_that_fails_is_told_to_who_asks_next_and_not_begun_anew(node: Node) -> None:
    with_data(node)
    note_errors(node)
    begun = "/run/flexvol/begun"
    fails = f"echo x >> {begun}; while [ ! -e {GO} ]; do sleep 0.05; done; echo bad; exit 4"
    with_tool(node, "e2fsck", fails)
    words = ["mount", node.pod_dir("web"), node.options()]
    being(node, "checked", "Pending", *words)
    go_on(node)
    deadline = time.monotonic() + 20
    while node.run(*words)["reason"] in ("Busy", "Pending"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    times = node.path(begun).read_text()

    for _ in range(2):
        assert "errors that need a decision" in node.fails("Unavailable", *words)

    assert node.path(begun).read_text() == times
    node.path("/run/flexvol/bin/e2fsck").unlink()
    image = "/var/lib/flexvol/default/pvc-1/image"
    assert node.enter("e2fsck", "-f", "-y", image).returncode in (0, 1)
    until_mounted(node)  # the image is another now
    check_data(node, "web")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("kill -STOP $$", id="its disk stood still"),
        pytest.param("kill -KILL $$", id="the kernel killed it for want of memory"),
        pytest.param("exit 8", id="it could not work"),
    ],
)
def test_a_long_check_that_came_to_no_verdict_is_begun_anew(
    node: Node, tmp_path: Path, script: str
) -> None:
    with_data(node)
    note_errors(node)
    impatient = Path(node.executable[0])
    node.executable = edits.edited(
        impatient,
        tmp_path / "other",
        edits.IDLE_SECONDS.to(4),
    )
    with_tool(node, "e2fsck", HELD.replace('exec "$real" "$@"', script))
    words = ["mount", node.pod_dir("web"), node.options()]
    being(node, "checked", "Pending", *words)
    go_on(node)
    deadline = time.monotonic() + 60
    while (reply := node.run(*words))["reason"] in ("Busy", "Pending"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "decision" not in reply["message"]

    node.path("/run/flexvol/bin/e2fsck").unlink()

    until_mounted(node)
    check_data(node, "web")


def test_the_work_outlives_the_callout_and_what_its_caller_kills(node: Node) -> None:
    with_data(node)
    note_errors(node)
    with_tool(node, "e2fsck", HELD)
    callout = node.start(
        *node.executable,
        "mount",
        node.pod_dir("web"),
        node.options(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 20
    while not node.image().with_name("undo").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    subprocess.run(["kill", "-9", "--", f"-{callout.pid}"], check=True)
    assert callout.communicate(timeout=20)[0] == b"", "nobody else holds its output"

    being(node, "checked", "Busy", "mount", node.pod_dir("web"), node.options())
    go_on(node)
    until_mounted(node)
    check_data(node, "web")


def workers(node: Node) -> list[int]:
    """The processes that work on the volume: those that have its undo file open."""
    undo = node.image().with_name("undo").stat()
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.path.samestat(link.stat(), undo):
                found.add(int(link.parts[2]))
        except OSError:  # it ended meanwhile
            continue
    return sorted(found)


def test_the_next_mount_does_what_a_killed_worker_had_begun(node: Node) -> None:
    with_data(node)
    note_errors(node)
    with_tool(node, "e2fsck", HELD)
    being(node, "checked", "Pending", "mount", node.pod_dir("web"), node.options())
    for process in workers(node):
        subprocess.run(["kill", "-9", str(process)], check=False)  # one may have ended
    go_on(node)

    until_mounted(node)

    check_data(node, "web")
    assert {path.name for path in node.image().parent.iterdir()} == {"image", "volume.json"}


def test_the_note_of_a_worker_that_was_killed_at_its_end_goes_with_the_next_mount(
    node: Node,
) -> None:
    with_data(node)
    note = node.image().with_name("work.json")
    note.write_text('{"doing": "its ext4 is being checked", "since": 1}')

    node.mount("web")

    assert not note.exists()
    check_data(node, "web")


def test_work_that_stands_still_is_given_up_and_undone(
    node: Node, built: Path, tmp_path: Path
) -> None:
    with_data(node)
    note_errors(node)
    usual = node.executable
    node.executable = edits.edited(built, tmp_path / "other", edits.IDLE_SECONDS.to(2))
    with_tool(node, "e2fsck", "kill -STOP $$")

    message = node.fails("Internal", "mount", node.pod_dir("web"), node.options())

    assert "did not end, or did not close its output, within 2 s" in message
    node.executable = usual
    until_mounted(node)
    check_data(node, "web")


def test_quick_work_is_done_within_the_call(node: Node, executable: list[str]) -> None:
    with_data(node)
    note_errors(node)
    node.executable = executable
    node.mount("web")
    check_data(node, "web")
