"""A claim may begin as a copy of another volume: its data are there, and from the first mount on
the two have nothing in common, whatever file system the pool is on and whoever uses the source
meanwhile."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node import edits
from tests.node.cases import Case, kill_everywhere, needs_stepper
from tests.node.clones import FILE_SYSTEMS, OTHER, SIZES, clone, clone_request, hidden
from tests.node.contents import check_sound, checksum, fill, uuid_of
from tests.node.nodes import MIB, Node
from tests.node.pools import pool_on
from tests.precompiled import precompile


def are_apart(node: Node, wanted: str) -> None:
    """Source and clone mount at the same time, with UUIDs of their own, and what is written to one
    is in that only."""
    source = node.mount("a")
    copy = node.mount("b", "pvc-2")
    assert (checksum(source), checksum(copy)) == (wanted, wanted)
    (copy / "mine").write_text("x")
    os.sync()
    assert not (source / "mine").exists()
    node.unmount("web")
    for pod, volume in (("a", "pvc-1"), ("b", "pvc-2")):
        node.unmount(pod, volume)
        assert uuid_of(node, volume) == node.record(volume)["fsUuid"]
        check_sound(node, volume)
    assert uuid_of(node, "pvc-1") != uuid_of(node, "pvc-2")
    assert node.record("pvc-2")["newUuid"] == ""
    node.mount("a")
    assert (node.mount("b", "pvc-2") / "mine").read_text() == "x"


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_a_clone_of_a_volume_in_use_has_what_was_fsynced_and_shares_its_blocks(
    sharing: Node, fs: str
) -> None:
    sharing.provision(size=SIZES[fs], fs=fs)
    wanted = fill(sharing.mount("web"))
    used = shutil.disk_usage(sharing.path("/var/lib/flexvol/default")).used

    clone(sharing, fs=fs)

    assert shutil.disk_usage(sharing.path("/var/lib/flexvol/default")).used - used < 8 * MIB
    record = sharing.record("pvc-2")
    assert (record["source"], record["kind"], record["blank"], record["taken"]) == (
        "pvc-1",
        "volume",
        False,
        "in use",
    )
    assert record["owner"]["uid"] == OTHER
    are_apart(sharing, wanted)


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_a_clone_while_pods_write_is_as_after_a_power_cut(sharing: Node, fs: str) -> None:
    sharing.provision(size=SIZES[fs], fs=fs)
    root = sharing.mount("web")
    wanted = fill(root)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with (root / f"more-{number % 50}").open("wb") as file:
                file.write(os.urandom(20_000))
                os.fsync(file.fileno())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(2, 6):
            clone(sharing, f"pvc-{number}", fs=fs)
            assert checksum(sharing.mount("b", f"pvc-{number}")) == wanted
    finally:
        stop.set()
        writer.join()
    for number in range(2, 6):
        sharing.unmount("b", f"pvc-{number}")
        check_sound(sharing, f"pvc-{number}")


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_without_reflinks_a_clone_is_copied_from_a_volume_that_no_pod_uses(
    copying: Node, fs: str
) -> None:
    copying.provision(size=SIZES[fs], fs=fs)
    wanted = fill(copying.mount("web"))
    assert "it can only be copied while no pod uses it, as its pool's" in copying.fails(
        "Busy", "provision", clone_request(copying, fs=fs)
    )
    copying.unmount("web")
    copying.until_free()

    clone(copying, fs=fs)

    assert copying.record("pvc-2")["taken"] == "unmounted"
    assert copying.image("pvc-2").stat().st_blocks <= copying.image().stat().st_blocks + 64
    are_apart(copying, wanted)


def test_a_clone_of_a_clone_and_of_one_that_was_never_mounted(sharing: Node) -> None:
    for fs in FILE_SYSTEMS:
        names = [f"{fs}-{number}" for number in range(4)]
        sharing.provision(names[0], size=SIZES[fs], fs=fs)
        wanted = fill(sharing.mount("web", names[0]))
        for source, name in itertools.pairwise(names):
            clone(sharing, name, source, SIZES[fs], fs=fs)
        roots = [sharing.mount(name, name) for name in names[1:]]
        clone(sharing, "last", names[3], SIZES[fs], fs=fs)
        roots.append(sharing.mount("last", "last"))

        assert [checksum(root) for root in roots] == [wanted] * 4
        sharing.unmount("last", "last")
        sharing.ok("delete", sharing.deletion("last", OTHER))


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_a_clone_grows_to_what_is_asked_and_is_never_smaller(sharing: Node, fs: str) -> None:
    size = max(SIZES[fs], 96 * MIB)
    sharing.provision(size=size, fs=fs)
    wanted = fill(sharing.mount("web"))
    if fs == "ext4":
        message = sharing.fails(
            "InvalidArgument", "provision", clone_request(sharing, fs=fs, size=64 * MIB)
        )
        assert (
            "a copy of volume pvc-1 is ext4 of 96 MiB or more, and ext4 of 64 MiB is asked for"
            in message
        )

    made = clone(sharing, fs=fs, size=400 * MIB)

    assert made["capacityBytes"] == 400 * MIB
    root = sharing.mount("b", "pvc-2")
    assert checksum(root) == wanted
    assert shutil.disk_usage(root).total > 300 * MIB
    sharing.unmount("b", "pvc-2")
    check_sound(sharing, "pvc-2")


def test_a_clone_of_btrfs_that_grows_becomes_as_large_as_btrfs_can_grow_to(sharing: Node) -> None:
    sharing.provision(size=112 * MIB, fs="btrfs")
    fill(sharing.mount("web"))

    assert clone(sharing, fs="btrfs", size=128 * MIB)["capacityBytes"] == 256 * MIB
    assert shutil.disk_usage(sharing.mount("b", "pvc-2")).total == 256 * MIB


def test_a_volume_of_another_namespace_is_not_copied(sharing: Node) -> None:
    sharing.provision()
    before = sharing.snapshot()

    for also in ({"kubernetes.io/pvc.namespace": "bank"}, {"kubernetes.io/pvc.namespace": "shop "}):
        message = sharing.fails(
            "InvalidArgument",
            "provision",
            clone_request(sharing, also=also),
        )
        assert "volume pvc-1 does not belong to namespace" in message
    for source in ("../default/pvc-1", "pvc-1/", ".locks"):
        assert "is not a name" in sharing.fails(
            "InvalidArgument", "provision", clone_request(sharing, source=source)
        )
    assert "is not in pool" in sharing.fails(
        "NotFound", "provision", clone_request(sharing, source="pvc-9")
    )
    assert "ext4 of 64 MiB or more, and xfs" in sharing.fails(
        "InvalidArgument", "provision", clone_request(sharing, fs="xfs")
    )

    assert sharing.snapshot() == before


def test_a_damaged_volume_is_not_copied(sharing: Node) -> None:
    sharing.provision()
    with sharing.image().open("r+b") as image:
        image.seek(1024 + 0x3A)
        image.write(b"\x02\x00")  # EXT2_ERROR_FS
    assert "the kernel noted errors" in sharing.fails(
        "InvalidArgument", "provision", clone_request(sharing)
    )
    with sharing.image().open("r+b") as image:
        image.write(bytes(4096))
    assert "does not carry the ext4" in sharing.fails(
        "Internal", "provision", clone_request(sharing)
    )
    sharing.image().with_name("undo").touch()

    assert sorted(path.name for path in sharing.path("/var/lib/flexvol/default").glob("*pvc*")) == [
        "pvc-1"
    ]


def test_a_volume_that_a_tool_is_at_work_on_is_not_copied(sharing: Node) -> None:
    sharing.provision()
    sharing.image().with_name("undo").touch()

    assert "is being checked or grown" in sharing.fails("Busy", "provision", clone_request(sharing))
    assert not list(sharing.path("/var/lib/flexvol/default").glob(".new*"))


def test_asking_twice_finds_the_same_clone_and_it_counts_in_full(sharing: Node) -> None:
    sharing.provision()
    fill(sharing.mount("web"))
    (before,) = sharing.ok("list")["pools"]
    first = clone(sharing)
    wanted = sharing.record("pvc-2")

    assert clone(sharing) == first

    assert sharing.record("pvc-2") == wanted
    other = clone_request(sharing, source="pvc-3", size=64 * MIB)
    assert "exists and is no copy of pvc-3" in sharing.fails("InvalidArgument", "provision", other)
    (after,) = sharing.ok("list")["pools"]
    assert after["committedBytes"] - before["committedBytes"] == 64 * MIB
    listed = {entry["name"]: entry for entry in sharing.ok("list")["volumes"]}
    assert [listed[name]["source"] for name in ("pvc-1", "pvc-2")] == ["", "pvc-1"]


def test_thick_volumes_are_copied_and_keep_their_blocks(sharing: Node) -> None:
    sharing.provision(thick="true")
    wanted = fill(sharing.mount("web"))
    assert "it is thick" in sharing.fails("Busy", "provision", clone_request(sharing, thick="true"))
    sharing.unmount("web")
    sharing.until_free()

    clone(sharing, thick="true")

    assert sharing.image("pvc-2").stat().st_blocks * 512 >= 64 * MIB
    are_apart(sharing, wanted)


def test_a_clone_of_a_volume_whose_root_was_not_given_its_owner_yet_gets_it(sharing: Node) -> None:
    sharing.provision(uid="1000", gid="2000", mode="0750")
    clone(sharing, uid="1000", gid="2000", mode="0750")

    status = sharing.mount("b", "pvc-2").stat()

    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1000, 2000, 0o750)


# A long copy, in as many calls as it takes.


@pytest.fixture
def hasty(copying: Node, for_python: Path) -> Node:
    """A node whose driver must answer provision within a moment: each call copies one piece, and no
    more."""
    short = edits.PROVISION_SECONDS.to(60)
    copying.executable = edits.edited(for_python, copying.directory / "hasty", short)
    precompile(copying.directory / "hasty")
    return copying


def write_pieces(node: Node, number: int) -> str:
    """A volume with so many pieces of 8 MiB of data, with holes between them; not mounted. Returns
    their checksum."""
    node.provision(size=40 * number * MIB)
    root = node.mount("web")
    (root / "data").mkdir()
    for index in range(number):
        (root / "data" / str(index)).write_bytes(os.urandom(8 * MIB))
    total = checksum(root)
    node.unmount("web")
    node.until_free()
    return total


def go_on(node: Node, calls: int) -> int:
    """Calls until it is done, `calls` times at most; returns how often."""
    for number in range(1, calls + 1):
        reply = node.run("provision", clone_request(node))
        if reply["status"] == "Success":
            return number
        assert reply["reason"] == "Pending", reply
    return calls


def copied(node: Node) -> int:
    (record,) = node.path("/var/lib/flexvol/default").glob(".new*/volume.json")
    return int(json.loads(record.read_text())["copiedBytes"])


@pytest.mark.newest
def test_a_half_done_copy_whose_image_was_exchanged_begins_anew(hasty: Node) -> None:
    """What had been copied is not in the other file."""
    wanted = write_pieces(hasty, 5)
    hasty.fails("Pending", "provision", clone_request(hasty))
    (image,) = hasty.path("/var/lib/flexvol/default").glob(".new*/image")
    assert copied(hasty) > 0
    other = image.with_name("other")
    with other.open("wb") as file:
        file.truncate(image.stat().st_size)
    other.rename(image)
    report = hasty.enter(*hasty.executable, "doctor").stdout.decode()
    assert f"{image.parent.name} is a copy that is half done" in report

    go_on(hasty, 100)

    are_apart(hasty, wanted)


def test_a_long_copy_goes_on_from_call_to_call_and_is_seen_when_it_is_whole(hasty: Node) -> None:
    wanted = write_pieces(hasty, 5)
    progress = []
    for _ in range(3):
        assert "of 200 MiB of pvc-1 are copied to pvc-2" in hasty.fails(
            "Pending", "provision", clone_request(hasty)
        )
        progress.append(copied(hasty))
        listed = hasty.ok("list")  # which sweeps what crashes left
        assert [entry["name"] for entry in listed["volumes"]] == ["pvc-1"]
        assert listed["pools"][0]["committedBytes"] == 400 * MIB
        assert (
            "was left by a callout" not in hasty.enter(*hasty.executable, "doctor").stdout.decode()
        )
    assert 0 < progress[0] < progress[1] < progress[2]

    assert 2 <= go_on(hasty, 100) < 20
    assert hidden(hasty) == []
    assert not {"copyOf", "copiedBytes"} & set(hasty.record("pvc-2"))
    are_apart(hasty, wanted)


@pytest.mark.newest
def test_a_copy_begins_anew_if_its_source_was_written_to_meanwhile(hasty: Node) -> None:
    write_pieces(hasty, 5)
    for _ in range(3):
        hasty.fails("Pending", "provision", clone_request(hasty))
    root = hasty.mount("web")
    assert "in use" in hasty.fails("Busy", "provision", clone_request(hasty))
    (root / "data/0").write_bytes(b"changed")
    wanted = checksum(root)
    hasty.unmount("web")
    hasty.until_free()

    assert go_on(hasty, 100) > 3

    are_apart(hasty, wanted)


@pytest.mark.newest
def test_a_copy_waits_for_one_of_the_same_source_and_loses_nothing(hasty: Node) -> None:
    wanted = write_pieces(hasty, 5)
    hasty.fails("Pending", "provision", clone_request(hasty))
    before = copied(hasty)
    with hasty.image().open("r+b") as image:
        fcntl.flock(image, fcntl.LOCK_EX)
        assert "in use" in hasty.fails("Busy", "provision", clone_request(hasty))

    hasty.fails("Pending", "provision", clone_request(hasty))
    assert copied(hasty) > before
    go_on(hasty, 100)
    are_apart(hasty, wanted)


@pytest.mark.newest
def test_a_copy_that_nobody_goes_on_with_is_swept_and_one_whose_claim_is_gone_is_undone(
    hasty: Node, for_python: Path
) -> None:
    write_pieces(hasty, 5)
    hasty.fails("Pending", "provision", clone_request(hasty))
    hasty.ok("list")
    with hasty.clock_ahead(for_python, 1 << 27):
        hasty.ok("list")
    with hasty.up_for(3500):
        hasty.ok("list")
    assert len(hidden(hasty)) == 1
    with hasty.up_for(3700):
        hasty.ok("list")
    assert hidden(hasty) == []

    hasty.fails("Pending", "provision", clone_request(hasty))
    assert len(hidden(hasty)) == 1
    # As the provisioner does for a claim that is gone: it asks where the volume is, and deletes it.
    assert hasty.ok("provision", clone_request(hasty, also=ONLY_FIND))["volume"]["options"]
    another = {"kubernetes.io/pvc.uid": "another", **ONLY_FIND}
    hasty.fails("InvalidArgument", "provision", clone_request(hasty, also=another))
    hasty.ok("delete", hasty.deletion("pvc-2", "another", **UNDO))
    assert len(hidden(hasty)) == 1, "it is of another claim"
    hasty.ok("delete", hasty.deletion("pvc-2", OTHER, **UNDO))
    assert hidden(hasty) == []
    hasty.fails("NotFound", "provision", clone_request(hasty, also=ONLY_FIND))
    assert hidden(hasty) == [] and not hasty.image("pvc-2").exists()


ONLY_FIND = {"kubernetes.io/onlyFind": "true"}
UNDO = {"kubernetes.io/onlyIfBlank": "true"}


def never_mounted(node: Node, volume: str) -> bool:
    (entry,) = [one for one in node.ok("list")["volumes"] if one["name"] == volume]
    assert entry["blank"] is node.record(volume)["blank"]
    told: bool = entry["neverMounted"]
    return told


def undone(node: Node, volume: str = "pvc-2") -> bool:
    """Whether the volume goes as the provisioner takes it back; refused is what may hold data."""
    reply = node.run("delete", node.deletion(volume, OTHER, **UNDO))
    assert reply["status"] == "Success" or reply["reason"] == "InvalidArgument", reply
    return bool(reply["status"] == "Success") and not node.image(volume).exists()


def test_a_copy_that_nobody_had_goes_with_its_claim_and_any_other_stays(sharing: Node) -> None:
    """A clone and a restored snapshot alike: each has data, and nobody has mounted it."""
    sharing.provision()
    fill(sharing.mount("web"))
    sharing.command("snapshot", "pvc-1", "before")
    delete = {"kubernetes.io/reclaimPolicy": "Delete"}
    for source in ("pvc-1", "before"):
        clone(sharing, source=source, also=delete, onDelete="archive")
        assert (sharing.record("pvc-2")["blank"], never_mounted(sharing, "pvc-2")) == (False, True)
        assert sharing.ok(
            "provision",
            clone_request(sharing, source=source, also=ONLY_FIND),
        )
        assert undone(sharing)
        assert [one.get("state") for one in sharing.ok("list")["volumes"]].count("archived") == 0

    clone(sharing, also={"kubernetes.io/reclaimPolicy": "Retain"})
    assert not undone(sharing), "its class keeps what its claims leave"
    sharing.ok("delete", sharing.deletion("pvc-2", OTHER))

    clone(sharing, also=delete)
    sharing.mount("b", "pvc-2")
    sharing.unmount("b", "pvc-2")
    assert not never_mounted(sharing, "pvc-2")
    assert not undone(sharing), "its pod may have written"
    sharing.ok("delete", sharing.deletion("pvc-2", OTHER))

    clone(sharing, also=delete, onDelete="archive")
    keep = sharing.deletion("pvc-2", OTHER, **UNDO)
    assert "already" not in sharing.ok("adopt", keep).get("message", "")
    assert "kept already" in sharing.ok("adopt", keep)["message"]
    assert not undone(sharing), "it has had its PV"
    archived = sharing.ok("delete", sharing.deletion("pvc-2", OTHER))["message"]
    assert "it is archived as" in archived, "it has data, though it was never mounted"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"newUuid": ""}, id="an older flexvol has mounted it"),
        pytest.param(
            {"move": {"id": "m", "to": "node2"}},
            id="an older flexvol has moved it",
        ),
        pytest.param({"neverMounted": False}, id="it was mounted"),
    ],
)
def test_a_copy_whose_record_shows_that_somebody_had_it_stays(
    sharing: Node, changes: dict[str, Any]
) -> None:
    sharing.provision()
    clone(sharing, also={"kubernetes.io/reclaimPolicy": "Delete"})
    file = sharing.image("pvc-2").with_name("volume.json")
    file.write_text(json.dumps({**sharing.record("pvc-2"), **changes}))

    assert not never_mounted(sharing, "pvc-2")
    assert not undone(sharing)


def test_a_volume_that_is_only_looked_for_is_not_made(node: Node) -> None:
    assert "nothing is left of it" in node.fails(
        "NotFound", "provision", node.request("pvc-1", also=ONLY_FIND)
    )
    assert not node.image("pvc-1").exists()
    made = node.provision()

    assert node.ok("provision", node.request("pvc-1", also=ONLY_FIND))["volume"] == made
    another = {"kubernetes.io/pvc.uid": "another", **ONLY_FIND}
    node.fails("InvalidArgument", "provision", node.request("pvc-1", also=another))
    assert never_mounted(node, "pvc-1")


# Killed in the middle.


class CloneCase(Case):
    """A clone being made, from a volume that no pod uses: with reflinks or without."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        node.provision()
        self.wanted = fill(node.mount("web"))
        node.unmount("web")
        node.until_free()
        self.words = ["provision", clone_request(node)]

    def prepare(self) -> list[str]:
        return self.words

    def finish(self) -> None:
        self.node.ok(*self.words)
        assert hidden(self.node) == []
        assert checksum(self.node.mount("check", "pvc-2")) == self.wanted
        self.node.unmount("check", "pvc-2")
        self.node.ok("delete", self.node.deletion("pvc-2", OTHER))


class FirstMountOfAClone(Case):
    """The first mount of a clone of a volume in use: its log is replayed, and it gets its UUID."""

    def __init__(self, node: Node, fs: str) -> None:
        super().__init__(node)
        self.fs = fs
        node.provision(size=SIZES[fs], fs=fs)
        self.wanted = fill(node.mount("web"))

    def prepare(self) -> list[str]:
        clone(self.node, fs=self.fs)
        return ["mount", self.node.pod_dir("check", "pvc-2"), self.node.options("pvc-2")]

    def finish(self) -> None:
        assert checksum(self.node.mount("check", "pvc-2")) == self.wanted
        self.node.unmount("check", "pvc-2")
        assert (
            uuid_of(self.node, "pvc-2")
            == self.node.record("pvc-2")["fsUuid"]
            != uuid_of(self.node, "pvc-1")
        )
        assert not self.node.image("pvc-2").with_name("undo").exists()
        check_sound(self.node, "pvc-2")
        self.node.ok("delete", self.node.deletion("pvc-2", OTHER))


Record = Callable[[str, object], None]


@pytest.mark.newest
@needs_stepper
@pytest.mark.parametrize("pool", ["xfs", "ext4"])
def test_making_a_clone_is_killed_anywhere(
    node: Node, pool: str, campaign: bool, tmp_path: Path, record_property: Record
) -> None:
    pool_on(node, pool)
    record_property(
        "kill points",
        kill_everywhere(f"clone on {pool}", CloneCase(node), tmp_path, campaign, 3),
    )


@pytest.mark.newest
@pytest.mark.in_ci_with(fs="ext4")
@needs_stepper
@pytest.mark.parametrize("fs", FILE_SYSTEMS)
def test_the_first_mount_of_a_clone_is_killed_anywhere(
    node: Node, fs: str, campaign: bool, tmp_path: Path, record_property: Record
) -> None:
    pool_on(node, "xfs")
    record_property(
        "kill points",
        kill_everywhere(
            f"clone of {fs}",
            FirstMountOfAClone(node, fs),
            tmp_path,
            campaign,
            3,
        ),
    )
