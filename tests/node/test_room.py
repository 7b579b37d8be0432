"""A pool promises what its disk really has: after whatever was done in it, all that it promised can
be written at once, and where nothing can be made nothing is promised."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node.clones import OTHER
from tests.node.fuse_disk import Disk
from tests.node.nodes import MIB, Node
from tests.node.pools import POOL, pool_on, promise_without_end

BLOCK = os.urandom(MIB)


def listed(node: Node) -> dict[str, Any]:
    (pool,) = node.ok("list")["pools"]
    return dict(pool)


def copy_of(node: Node, name: str, source: str, size: int) -> dict[str, Any]:
    also = {"sourceVolume": source, "kubernetes.io/pvc.uid": OTHER}
    return node.run("provision", node.request(name, size, also=also))


def images(node: Node) -> list[Path]:
    return sorted(node.path(POOL).glob("*/image")) + sorted(node.path(POOL).glob(".*/image"))


def write(image: Path, begin: int, end: int) -> None:
    """Writes over a part of an image, as its pods do through the loop device."""
    file = os.open(image, os.O_RDWR)
    try:
        for position in range(begin, end, MIB):
            os.pwrite(file, BLOCK[: min(MIB, end - position)], position)
        os.fsync(file)
    finally:
        os.close(file)


def write_all(node: Node) -> None:
    """Every image is written full, in turns, so that shared blocks part while all of them are in
    use."""
    files = [(os.open(image, os.O_RDWR), image.stat().st_size) for image in images(node)]
    try:
        for position in range(0, max(size for _, size in files), MIB):
            for file, size in files:
                if position < size:
                    os.pwrite(file, BLOCK, position)
            if position % (16 * MIB) == 0:
                for file, _ in files:
                    os.fsync(file)
        for file, _ in files:
            os.fsync(file)
    finally:
        for file, _ in files:
            os.close(file)


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_a_pool_full_of_clones_can_be_written_full(node: Node, fs: str) -> None:
    pool_on(node, fs, 1472 * MIB)
    node.provision("pvc-1", 128 * MIB)
    with (node.mount("web") / "data").open("wb") as file:
        for _ in range(90):
            file.write(BLOCK)
        os.fsync(file.fileno())
    node.unmount("web")
    number = 1
    while True:
        number += 1
        reply = (
            copy_of(node, f"pvc-{number}", "pvc-1", 128 * MIB)
            if number % 3
            else node.run("provision", node.request(f"pvc-{number}", 96 * MIB))
        )
        if reply["status"] != "Success":
            break
    assert reply["reason"] == "ResourceExhausted", reply
    assert number > 5, reply

    roots = [node.mount("web", f"pvc-{index}") for index in range(1, number)]
    for root in roots:
        fill(root)

    for root in roots:
        assert sum(path.stat().st_size for path in root.rglob("data*")) > 60 * MIB


def fill(root: Path) -> None:
    """Overwrites what a clone has, and then writes until the volume itself is full. An error of
    the pool's disk would be EIO and not ENOSPC."""
    if (root / "data").exists():
        write(root / "data", 0, (root / "data").stat().st_size)
    with (root / "data-more").open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left on device"):
            while True:
                file.write(BLOCK)
                os.fsync(file.fileno())
        os.fsync(file.fileno())


class Sequence:
    """Random calls in a pool, of which some are refused for want of room, and none for anything
    else."""

    def __init__(self, node: Node, seed: int) -> None:
        self.node = node
        self.random = random.Random(seed)
        self.volumes: dict[str, tuple[str, int]] = {}  # name -> uid of its claim, size
        self.snapshots: list[str] = []
        self.number = 0
        self.done: list[str] = []

    def step(self) -> None:
        actions: list[Callable[[], None]] = [self.provision] * 2
        if self.volumes:
            actions += [self.clone] * 3 + [self.write] * 4
            actions += [self.snapshot, self.delete, self.grow, self.mount]
        if self.snapshots:
            actions.append(self.delete_snapshot)
        action = self.random.choice(actions)
        self.done.append(action.__name__)
        action()

    def name(self) -> str:
        self.number += 1
        return f"pvc-{self.number}"

    def kept(self, reply: dict[str, Any]) -> bool:
        if reply["status"] == "Success":
            return True
        assert reply["reason"] == "ResourceExhausted", (reply, self.done)
        return False

    def provision(self) -> None:
        name = self.name()
        size = self.random.choice([16, 40, 64, 100]) * MIB
        on_delete = self.random.choice(["archive", "delete", "delete"])
        request = self.node.request(name, size, onDelete=on_delete)
        if self.kept(self.node.run("provision", request)):
            self.volumes[name] = ("", size)

    def clone(self) -> None:
        name = self.name()
        source = self.random.choice(sorted(self.volumes) + self.snapshots)
        size = self.volumes.get(source, ("", 100 * MIB))[1]
        if self.kept(copy_of(self.node, name, source, size)):
            self.volumes[name] = (OTHER, size)

    def clone_until_refused(self) -> None:
        """Clones the volume that holds the most, as long as the pool has room for one."""
        name = max(self.volumes, key=lambda name: self.node.image(name).stat().st_blocks)
        size = self.volumes[name][1]
        write(self.node.image(name), size * 3 // 4 // MIB * MIB, size)
        copy = f"{name}-copy"
        while self.kept(copy_of(self.node, copy, name, size)):
            self.volumes[copy] = (OTHER, size)
            copy += "-copy"

    def write(self) -> None:
        name = self.random.choice(sorted(self.volumes))
        size = self.volumes[name][1]
        begin = self.random.randrange(8, size // MIB) * MIB
        write(self.node.image(name), begin, self.random.randrange(begin, size, MIB))

    def mount(self) -> None:
        """It is no longer blank, so that its deletion archives it."""
        name = self.random.choice(sorted(self.volumes))
        self.node.run("mount", self.node.pod_dir("web", name), self.node.options(name))
        self.node.unmount("web", name)

    def grow(self) -> None:
        name = self.random.choice(sorted(self.volumes))
        uid, size = self.volumes[name]
        path = self.node.pod_dir("web", name)
        if self.node.run("mount", path, self.node.options(name))["status"] == "Success":
            words = ("", path, str(size + 24 * MIB), str(size))
            self.node.run("expandfs", self.node.options(name), *words)
            self.volumes[name] = (uid, self.node.record(name)["sizeBytes"])
        self.node.unmount("web", name)

    def snapshot(self) -> None:
        name = f"snap-{self.name()}"
        source = self.random.choice(sorted(self.volumes))
        done = self.node.enter(*self.node.executable, "snapshot", source, name)
        if done.returncode == 0:
            self.snapshots.append(name)
        else:
            assert b"has no room" in done.stderr, (done, self.done)

    def delete_snapshot(self) -> None:
        name = self.snapshots.pop(self.random.randrange(len(self.snapshots)))
        self.node.command("snapshot", "--delete", name)

    def delete(self) -> None:
        name = self.random.choice(sorted(self.volumes))
        uid, _ = self.volumes.pop(name)
        words = [uid] if uid else []
        self.node.ok("delete", self.node.deletion(name, *words))


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(1, id="the first sequences"),
        pytest.param(2, id="the second sequences"),
    ],
)
def test_after_any_sequence_of_calls_all_that_was_promised_can_be_written_at_once(
    node: Node, fs: str, seed: int, campaign: bool
) -> None:
    pool_on(node, fs, 640 * MIB)
    for number in range(seed * 100, seed * 100 + (20 if campaign else 1)):
        sequence = Sequence(node, number)
        for _ in range(60 if campaign else 24):
            sequence.step()
        sequence.clone_until_refused()

        write_all(node)

        assert len(sequence.volumes) > 1, sequence.done
        for name in list(sequence.volumes):
            uid, _ = sequence.volumes.pop(name)
            node.ok("delete", node.deletion(name, *([uid] if uid else [])))
        for name in sequence.snapshots:
            node.command("snapshot", "--delete", name)
        for image in node.path(POOL).glob(".archived-*/image"):
            archive = image.parent.name[1:]
            record = node.path(f"{POOL}/{image.parent.name}/volume.json").read_text()
            (uid,) = re.findall(r'"uid": "([0-9a-f-]+)"', record)
            node.ok("delete", node.deletion(archive, uid))


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_a_clone_takes_as_much_of_the_promise_as_an_empty_volume(node: Node, fs: str) -> None:
    pool_on(node, fs, 1472 * MIB)
    node.provision("pvc-1", 128 * MIB)
    node.provision("pvc-2", 128 * MIB)
    write(node.image(), 16 * MIB, 116 * MIB)  # behind what tells its file system
    before = listed(node)

    assert copy_of(node, "pvc-3", "pvc-1", 128 * MIB)["status"] == "Success"

    after = listed(node)
    assert after["committedBytes"] - before["committedBytes"] == 128 * MIB
    # btrfs keeps a shared extent until all of it is free, so there the copied data count too.
    data = 100 * MIB if fs == "btrfs" else 0
    taken = before["freeBytes"] - after["freeBytes"]
    assert abs(taken - 128 * MIB - data) < 24 * MIB, (before, after)


def test_what_a_volume_has_written_is_its_own_where_no_extents_are_told(
    node: Node, tmp_path: Path
) -> None:
    """NFS and FUSE do not tell which blocks a file shares, but only a copy shares any."""
    disk = Disk(node, tmp_path / "disk", "/var/lib/flexvol/far")
    try:
        node.path("/var/lib/flexvol/far/lost+found").rmdir()
        node.command("pool", "init", "far", "--reserve", "0")
        node.provision("pvc-1", 128 * MIB, pool="far")
        before = far(node)

        write(node.path("/var/lib/flexvol/far/pvc-1/image"), 16 * MIB, 128 * MIB)

        # As after a boot: what was remembered is forgotten.
        os.truncate(node.path("/var/lib/flexvol/far/.locks/pool"), 0)
        after = far(node)
        assert after["usedBytes"] >= 112 * MIB
        assert before["freeBytes"] - after["freeBytes"] < 8 * MIB
    finally:
        disk.close()


def far(node: Node) -> dict[str, Any]:
    (pool,) = [pool for pool in node.ok("list")["pools"] if pool["name"] == "far"]
    return dict(pool)


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_blocks_that_a_strangers_file_shares_are_not_ours_to_promise(node: Node, fs: str) -> None:
    pool_on(node, fs, 1472 * MIB)
    node.provision("pvc-1", 128 * MIB)
    write(node.image(), 0, 100 * MIB)
    before = listed(node)

    backup = node.path(POOL) / ".backup.img"
    backup.touch()
    # btrfs shares only between files that are both overwritten in place.
    if fs == "btrfs":
        subprocess.run(["chattr", "+C", backup], check=True)
    subprocess.run(["cp", "--reflink=always", node.image(), backup], check=True)

    after = listed(node)
    assert before["freeBytes"] - after["freeBytes"] > 95 * MIB
    assert after["othersBytes"] - before["othersBytes"] > 95 * MIB


def test_the_terms_of_the_refusal_add_up(node: Node) -> None:
    pool_on(node, "ext4", 120 * MIB, "-m", "0")
    node.provision("pvc-1", 32 * MIB)
    (node.path(POOL) / "others").write_bytes(BLOCK * 20)

    told = node.fails("ResourceExhausted", "provision", node.request("pvc-2", 100 * MIB))

    def mib(word: str) -> int:
        return int(re.findall(word + r" (\d+) MiB", told)[0])

    left = int(re.findall(r"(\d+) MiB are left", told)[0])
    terms = [mib(word) for word in ("reserve", "metadata", "used by others", "promised")]
    assert mib("capacity") == sum(terms) + left, told
    assert mib("promised") == 32
    assert mib("used by others") >= 20
    assert f"{left} MiB can still be promised" in told


# Where nothing can be made, nothing is promised.


def no_inodes(node: Node) -> None:
    pool_on(node, "ext4", 120 * MIB, "-N", "64")
    for number in range(10000):
        try:
            (node.path(POOL) / f".taken-{number}").touch()
        except OSError:
            return
    raise AssertionError("it still takes files")


def read_only(node: Node) -> None:
    pool_on(node, "ext4", 120 * MIB)
    assert node.enter("mount", "-o", "remount,ro", POOL).returncode == 0


def stopped(node: Node) -> None:
    """After an error xfs answers EIO to everything, and its flags do not say so."""
    pool_on(node, "xfs", 400 * MIB)
    assert node.enter("xfs_io", "-x", "-c", "shutdown", POOL).returncode == 0


@pytest.mark.parametrize(
    ("prepare", "reasons"),
    [
        pytest.param(
            no_inodes,
            ("ResourceExhausted", "Unavailable"),
            id="its disk has no inodes left",
        ),
        pytest.param(read_only, ("Unavailable",), id="its disk is read-only"),
        pytest.param(stopped, ("Unavailable",), id="its disk has stopped after an error"),
    ],
)
def test_a_pool_that_takes_no_file_has_no_room_and_sends_claims_elsewhere(
    node: Node, prepare: Callable[[Node], None], reasons: tuple[str, ...]
) -> None:
    prepare(node)

    reply = node.run("provision", node.request("pvc-1", 16 * MIB))
    pools = node.ok("list")["pools"]

    assert reply["reason"] in reasons, reply
    assert "pool default" in reply["message"], reply
    assert [pool.get("freeBytes", 0) for pool in pools] == [0]
    assert all(pool.get("noRoom") or pool.get("error") for pool in pools)


@pytest.mark.parametrize(
    ("fs", "largest"),
    [("ext4", (1 << 44) - MIB), ("xfs", (1 << 63) - MIB)],
    ids=["ext4", "xfs"],
)
def test_no_volume_is_promised_that_is_longer_than_a_file_can_be(
    node: Node, fs: str, largest: int
) -> None:
    pool_on(node, fs, 400 * MIB)
    promise_without_end(node)
    before = node.snapshot()

    pool = listed(node)
    message = node.fails(
        "ResourceExhausted",
        "provision",
        node.request("pvc-1", 17 << 40),
    )

    assert pool["maximumVolumeBytes"] == min(pool["freeBytes"], largest)
    assert "has no room" in message
    assert node.snapshot() == before


def test_a_17ti_claim_is_sent_elsewhere_by_a_pool_on_ext4(node: Node) -> None:
    """A disk of 200 GiB that promises a hundredfold, as a larger one would promise once."""
    pool_on(node, "ext4", 200 << 30)
    promise_without_end(node)

    pool = listed(node)
    message = node.fails(
        "ResourceExhausted",
        "provision",
        node.request("pvc-1", 17 << 40),
    )

    assert pool["freeBytes"] > 17 << 40
    assert pool["maximumVolumeBytes"] == (1 << 44) - MIB
    assert "one file ends at 16777215 MiB" in message
    assert sorted(path.name for path in node.path(POOL).iterdir() if path.is_dir()) == [
        ".locks",
        "lost+found",
    ]


def test_the_smallest_volume_of_each_file_system_is_told_and_is_what_a_small_claim_gets(
    node: Node,
) -> None:
    smallest = listed(node)["minimumVolumeBytes"]

    for fs_type, size in smallest.items():
        name = f"pvc-{fs_type or 'default'}"
        request = node.request(name, 1, also={"kubernetes.io/fsType": fs_type})
        assert node.ok("provision", request)["volume"]["capacityBytes"] == size
        (node.mount("web", name) / "file").write_bytes(os.urandom(10 * MIB))
        node.unmount("web", name)
    assert sorted(smallest) == ["", "btrfs", "ext4", "xfs"]


@pytest.mark.parametrize(
    "limit",
    [pytest.param(40, id="files of 40 MiB"), pytest.param(1, id="files of 1 MiB")],
)
def test_a_limit_of_the_processs_files_is_a_limit_of_its_volumes(node: Node, limit: int) -> None:
    limited = ["prlimit", f"--fsize={limit * MIB}", *node.executable]

    done = node.enter(*limited, "list")
    refused = node.enter(*limited, "provision", node.request("pvc-1", 64 * MIB))

    maximum = b'"maximumVolumeBytes": %d,' % ((limit * MIB) if limit > 16 else 0)
    assert maximum in done.stdout, done.stdout
    assert refused.returncode == 0
    assert b'"reason": "ResourceExhausted"' in refused.stdout, refused.stdout
    assert b"ulimit -f" in refused.stdout
    assert images(node) == []


def test_a_disk_that_fills_while_a_volume_is_made_sends_the_claim_elsewhere(node: Node) -> None:
    """The pool promises what its disk does not have, so that mkfs meets the end of the disk."""
    pool_on(node, "ext4", 120 * MIB, "-m", "0")
    promise_without_end(node)
    free = os.statvfs(node.path(POOL))
    with (node.path(POOL) / ".others").open("wb") as file:
        file.write(bytes(free.f_bavail * free.f_frsize - 5 * MIB))

    message = node.fails(
        "ResourceExhausted",
        "provision",
        node.request("pvc-1", 300 * MIB, "xfs"),
    )

    assert "volume pvc-1 in pool default: its disk is full" in message
    assert images(node) == []
