"""A snapshot keeps what a volume held: a claim of the same namespace begins with it, and no pod
ever sees itself."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.node import edits
from tests.node.clones import FILE_SYSTEMS, SIZES, clone, clone_request, hidden
from tests.node.contents import check_sound, checksum, fill, uuid_of
from tests.node.nodes import MIB, Node
from tests.node.pools import pool_on
from tests.waiting import wait_until

SMALL = ("pvc-1", "first")


def snapshot(node: Node, *words: str) -> list[str]:
    return node.command("snapshot", *words).splitlines()


def refused(node: Node, *words: str) -> str:
    done = node.enter(*node.executable, "snapshot", *words)
    assert done.returncode == 1, done
    return done.stderr.decode()


def names(node: Node) -> list[str]:
    return [entry["name"] for entry in node.ok("list")["volumes"]]


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_root_freezes_a_volume_in_use_and_a_claim_begins_with_what_it_held(
    sharing: Node, fs: str
) -> None:
    sharing.provision(size=SIZES[fs], fs=fs)
    root = sharing.mount("web")
    wanted = fill(root)
    (root / "data/not-synced").write_bytes(b"x" * 50_000)
    wanted = checksum(root)

    (said,) = snapshot(sharing, *SMALL)
    (root / "data/later").write_text("x")

    assert said == (
        "made first of pvc-1: its file system was frozen for it, so all written before is in it"
    )
    record = sharing.record("first")
    assert (record["kind"], record["source"], record["taken"]) == ("snapshot", "pvc-1", "frozen")
    assert record["owner"] == sharing.record()["owner"]
    clone(sharing, "pvc-2", "first", fs=fs)
    restored = sharing.mount("b", "pvc-2")
    assert checksum(restored) == wanted
    (root / "data/still-writable").write_text("x")
    sharing.unmount("b", "pvc-2")
    assert len({uuid_of(sharing, "pvc-1"), uuid_of(sharing, "pvc-2")}) == 2
    check_sound(sharing, "pvc-2")
    if fs != "btrfs":  # whose tools say nothing of a log
        assert "log" not in log_of(sharing, "first")


def log_of(node: Node, volume: str) -> str:
    """What the tools say of a log that is to be replayed."""
    line = {"ext4": ["e2fsck", "-n"], "xfs": ["xfs_db", "-r", "-c", "sb 0", "-f"]}[
        node.record(volume)["fsType"]
    ]
    return subprocess.run(
        [*line, str(node.image(volume))], capture_output=True, text=True, check=False
    ).stdout


def in_container(node: Node, *words: str) -> subprocess.CompletedProcess[bytes]:
    """As the provisioner's container runs it: without the machine's devices, and with no
    capability."""
    script = 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"'
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    return node.enter(
        "unshare", "-m", "sh", "-c", script, "sh", *powerless, *node.executable, "snapshot", *words
    )


def test_without_rights_a_snapshot_is_crash_consistent_and_says_so(sharing: Node) -> None:
    sharing.provision()
    wanted = fill(sharing.mount("web"))

    done = in_container(sharing, *SMALL)

    assert done.stdout.decode() == (
        "made first of pvc-1: crash-consistent: what its pods had fsynced is in it, as after a "
        "power cut\n"
    ), done
    clone(sharing, "pvc-2", "first")
    assert checksum(sharing.mount("b", "pvc-2")) == wanted


def test_without_reflinks_a_snapshot_is_made_of_a_volume_that_no_pod_uses(copying: Node) -> None:
    copying.provision()
    wanted = fill(copying.mount("web"))
    assert "it can only be copied while no pod uses it" in refused(copying, *SMALL)
    assert names(copying) == ["pvc-1"] and hidden(copying) == []
    copying.unmount("web")
    copying.until_free()

    assert snapshot(copying, *SMALL) == ["made first of pvc-1: no pod was using it"]

    (copying.mount("web") / "data/0").unlink()
    clone(copying, "pvc-2", "first")
    assert checksum(copying.mount("b", "pvc-2")) == wanted


def test_a_snapshot_is_no_volume(sharing: Node) -> None:
    sharing.provision()
    snapshot(sharing, *SMALL)
    before = sharing.snapshot()
    assert "\nfirst (snapshot) " in sharing.command("status")

    for words in (
        ("mount", sharing.pod_dir("web", "first"), sharing.options("first")),
        ("adopt", sharing.request("first", pool="default")),
        ("delete", sharing.deletion("first")),
    ):
        assert "first is a snapshot of pvc-1" in sharing.fails("InvalidArgument", *words)
    assert "is a snapshot" in sharing.fails(
        "InvalidArgument", "provision", sharing.request("first")
    )
    assert "first is a snapshot of pvc-1" in refused(sharing, "first")
    assert "snapshot first is already in pool" in refused(sharing, *SMALL)
    assert "is a volume and no snapshot" in refused(sharing, "--delete", "pvc-1")
    assert "no volume or snapshot pvc-9 is in the pools" in refused(sharing, "pvc-9")
    assert "is not a name" in refused(sharing, "pvc-1", "../x")
    message = sharing.fails(
        "InvalidArgument",
        "provision",
        clone_request(sharing, source="first", also={"kubernetes.io/pvc.namespace": "x"}),
    )
    assert "does not belong to namespace 'x'" in message

    assert sharing.snapshot() == before
    (entry,) = [entry for entry in sharing.ok("list")["volumes"] if entry["name"] == "first"]
    assert (entry["kind"], entry["source"]) == ("snapshot", "pvc-1")
    assert snapshot(sharing, "--delete", "first") == ["deleted first of pvc-1"]
    assert names(sharing) == ["pvc-1"]


def test_a_snapshot_outlives_its_volume(sharing: Node) -> None:
    sharing.provision()
    wanted = fill(sharing.mount("web"))
    snapshot(sharing, *SMALL)
    sharing.unmount("web")
    sharing.ok("delete", sharing.deletion())

    clone(sharing, "pvc-2", "first", 64 * MIB)

    assert checksum(sharing.mount("b", "pvc-2")) == wanted


def test_the_oldest_snapshots_of_the_volume_go_and_nothing_else(sharing: Node) -> None:
    sharing.provision()
    sharing.provision("pvc-0")
    snapshot(sharing, "pvc-0", "of-another")
    for name in ("c", "b", "a"):
        snapshot(sharing, "pvc-1", name)
        wait_a_second()
    clone(sharing, "pvc-2", "c")

    said = snapshot(sharing, "pvc-1", "d", "--keep", "2")

    assert said[1:] == ["deleted c of pvc-1", "deleted b of pvc-1"]
    assert names(sharing) == ["a", "d", "of-another", "pvc-0", "pvc-1", "pvc-2"]
    (made, *_) = snapshot(sharing, "pvc-1")
    assert made.split()[1].startswith("pvc-1-2")


def test_a_clock_that_was_set_back_makes_the_new_snapshot_no_older(sharing: Node) -> None:
    sharing.provision()
    snapshot(sharing, "pvc-1", "old")
    record = sharing.image("old").with_name("volume.json")
    record.write_text(record.read_text().replace('"created": "2', '"created": "3'))

    said = snapshot(sharing, "pvc-1", "new", "--keep", "1")

    assert said[1:] == ["deleted old of pvc-1"]
    assert names(sharing) == ["new", "pvc-1"]


@pytest.mark.parametrize(
    ("made", "keep"),
    [
        pytest.param(8, 7, id="the oldest of eight goes"),
        pytest.param(3, 7, id="three are fewer than are kept"),
        pytest.param(2, 1, id="the older of two goes"),
        pytest.param(7, 3, id="four of seven go"),
    ],
)
def test_the_newest_are_left_also_of_those_made_within_one_second(
    copying: Node, made: int, keep: int
) -> None:
    copying.provision()
    order = [f"{letter}-{number}" for number, letter in enumerate("hcfbgade"[:made])]

    for name in order:
        snapshot(copying, "pvc-1", name, "--keep", str(keep))

    left = sorted(set(names(copying)) - {"pvc-1"})
    assert left == sorted(order[-keep:])


@pytest.mark.parametrize(
    "newer",
    [[], ["s-3"], ["s-2", "s-3"], ["s-1", "s-2", "s-3"]],
    ids=["none of them", "the last one", "the last two", "all of them"],
)
def test_what_an_older_flexvol_made_after_the_update_is_newer_than_what_was_there(
    copying: Node, newer: list[str]
) -> None:
    """On a node that was set back, or beside it in a shared pool. It gives no numbers."""
    copying.provision()
    for name in ("s-1", "s-2", "s-3"):
        snapshot(copying, "pvc-1", name)
    for name in newer:
        path = copying.image(name).with_name("volume.json")
        record = json.loads(path.read_text())
        del record["number"]
        path.write_text(json.dumps(record))

    said = snapshot(copying, "pvc-1", "s-4", "--keep", "2")

    assert said[1:] == ["deleted s-1 of pvc-1", "deleted s-2 of pvc-1"]
    assert snapshot(copying, "pvc-1", "s-5", "--keep", "2")[1:] == ["deleted s-3 of pvc-1"]


def test_a_snapshot_of_a_volume_that_is_to_grow_is_not_called_wrong(copying: Node) -> None:
    """No pod ever starts with a snapshot, so that it would grow."""
    copying.provision()
    arguments = [copying.options(), "", copying.pod_dir("web"), str(256 * MIB), "0"]
    copying.fails("Internal", "expandfs", *arguments)
    snapshot(copying, "pvc-1", "kept")

    said = copying.enter(*copying.executable, "doctor").stdout.decode()

    assert "volume pvc-1: its ext4 has 64 MiB, 256 MiB asked" in said
    assert "volume kept" not in said


def test_runs_at_once_leave_as_many_as_each_keeps_and_the_newest(copying: Node) -> None:
    copying.provision()
    for name in ("one", "two", "three"):
        snapshot(copying, "pvc-1", name)

    line = [*copying.executable, "snapshot", "pvc-1"]
    running = [copying.start(*line, f"at-once-{run}", "--keep", "2") for run in range(4)]
    said = [run.communicate(timeout=60)[0].decode() for run in running]

    left = set(names(copying)) - {"pvc-1"}
    assert all(run.returncode == 0 for run in running), said
    assert len(left) == 2 and all(name.startswith("at-once-") for name in left), said


def test_two_without_a_name_in_one_second_get_two_names(copying: Node) -> None:
    copying.provision()

    made = [snapshot(copying, "pvc-1")[0].split()[1] for _ in range(4)]

    assert len(set(made)) == 4
    assert sorted(made) == sorted(set(names(copying)) - {"pvc-1"})


def test_a_damaged_one_is_neither_counted_nor_deleted(copying: Node) -> None:
    copying.provision()
    for name in ("first", "second", "third"):
        snapshot(copying, "pvc-1", name)
    copying.image("second").with_name("volume.json").write_text("{")

    said = snapshot(copying, "pvc-1", "fourth", "--keep", "2")

    assert said[1:] == ["deleted first of pvc-1"]
    assert copying.image("second").exists()
    assert {"third", "fourth"} <= set(names(copying))


def test_one_that_cannot_be_deleted_now_does_not_cost_a_newer_one(copying: Node) -> None:
    copying.provision()
    for name in ("first", "second", "third"):
        snapshot(copying, "pvc-1", name)
    with copying.image("first").open("r+b") as image:
        fcntl.flock(image, fcntl.LOCK_EX)

        assert "volume first is in use" in refused(copying, "pvc-1", "fourth", "--keep", "2")

    assert names(copying) == ["first", "fourth", "pvc-1", "third"]


def wait_a_second() -> None:
    """Until the clock that snapshots are ordered by shows another second."""
    now = int(time.time())
    while int(time.time()) == now:
        time.sleep(0.05)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([], id="no volume"),
        pytest.param(["pvc-1", "--delete", "x"], id="a volume and a snapshot to delete"),
        pytest.param(["pvc-1", "--keep", "0"], id="none are kept"),
        pytest.param(["pvc-1", "--keep", "-1"], id="fewer than none are kept"),
    ],
)
def test_words_that_make_no_sense_are_refused(node: Node, words: list[str]) -> None:
    assert node.enter(*node.executable, "snapshot", *words).returncode == 2


# What is frozen is thawed.


IS_FROZEN = "/run/flexvol/is-frozen"
GO = "/run/flexvol/go"


def slow(node: Node, for_python: Path, limit_seconds: int = 600) -> None:
    """Lets the node's snapshots wait for GO while the file system is frozen."""
    wait = f"open('{IS_FROZEN}', 'w').close(), {edits.waiting_for(GO)}"
    changes = [
        edits.SHARE_BLOCKS_OF_A_FROZEN_FILE_SYSTEM.to(wait),
        edits.FROZEN_SECONDS.to(limit_seconds),
    ]
    node.executable = edits.edited(for_python, node.directory / "slow", *changes)


class Writer:
    """Writes to a file system over and over, and knows when it last could."""

    def __init__(self, root: Path) -> None:
        script = (
            'while :; do date +%s.%N > "$1/beat" && sync "$1/beat" && cp "$1/beat" "$2"; '
            "sleep 0.05; done"
        )
        self.seen = root.parent / "seen"
        self._process = subprocess.Popen(
            ["sh", "-c", script, "sh", root, self.seen], start_new_session=True
        )

    def last(self) -> float:
        """Seconds since it wrote."""
        return time.time() - float(self.seen.read_text() or 0) if self.seen.exists() else 1e9

    def until(self, frozen: bool, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while (self.last() > 1) != frozen:
            assert time.monotonic() < deadline, f"last write {self.last()} s ago"
            time.sleep(0.05)

    def end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self.seen.unlink(missing_ok=True)


@pytest.fixture
def writing(node: Node) -> Any:
    pool_on(node, "xfs")
    node.provision()
    writer = Writer(node.mount("web"))
    try:
        writer.until(frozen=False)
        yield writer
    finally:
        writer.end()


def until_frozen(node: Node, writing: Writer) -> None:
    wait_until("the file system is frozen", node.path(IS_FROZEN).exists)
    writing.until(frozen=True)


def processes(program: str) -> list[int]:
    done = subprocess.run(
        ["pgrep", "-f", program],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, id="SIGKILL"),
        pytest.param(signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGINT, id="SIGINT"),
    ],
)
def test_killed_while_it_is_frozen_it_is_thawed_at_once(
    node: Node, writing: Writer, for_python: Path, number: int
) -> None:
    slow(node, for_python)
    # What is started in the background ignores SIGINT, and what that starts too.
    listens = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    running = node.start(
        *node.executable, "snapshot", *SMALL, start_new_session=True, preexec_fn=listens
    )
    until_frozen(node, writing)

    # A terminal signals the whole group; the process that thaws is in another one.
    os.killpg(running.pid, number)

    writing.until(frozen=False)
    running.communicate(timeout=10)
    node.command("list")
    assert names(node) == ["pvc-1"] and hidden(node) == []


def test_one_that_takes_too_long_is_thawed_and_is_no_snapshot(
    node: Node, writing: Writer, for_python: Path
) -> None:
    slow(node, for_python, limit_seconds=2)
    running = node.start(*node.executable, "snapshot", *SMALL)
    until_frozen(node, writing)
    writing.until(frozen=False, seconds=5)
    node.path(GO).touch()

    assert b"did not stay frozen" in running.communicate(timeout=20)[0]

    assert running.returncode == 1
    assert names(node) == ["pvc-1"] and hidden(node) == []


def test_if_the_one_that_thaws_is_killed_the_other_does(
    node: Node, writing: Writer, for_python: Path
) -> None:
    slow(node, for_python)
    running = node.start(*node.executable, "snapshot", *SMALL)
    until_frozen(node, writing)
    parent, child = sorted(processes(node.executable[0]))[-2:]
    assert parent != child

    os.kill(child, signal.SIGKILL)
    node.path(GO).touch()
    running.communicate(timeout=20)

    assert running.returncode == 1
    writing.until(frozen=False)
    assert names(node) == ["pvc-1"]


def test_what_somebody_else_froze_stays_frozen(node: Node, writing: Writer) -> None:
    path = node.pod_dir("web")
    assert node.enter("fsfreeze", "-f", path).returncode == 0
    try:
        assert f"thaw it with: fsfreeze -u {path}" in refused(node, *SMALL)
        writing.until(frozen=True)
    finally:
        assert node.enter("fsfreeze", "-u", path).returncode == 0
    writing.until(frozen=False)
    assert snapshot(node, *SMALL)[0].startswith("made first of pvc-1: its file system was frozen")
