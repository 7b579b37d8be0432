"""A volume is made whole or not at all, of a size that is promised once, and found again when it is
asked for twice."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node.nodes import MIB, UID, Node


@pytest.mark.parametrize(
    ("fs", "asked", "given"),
    [
        pytest.param("ext4", 64 * MIB, 64 * MIB, id="ext4 of whole MiB"),
        pytest.param("ext4", 64 * MIB + 1, 65 * MIB, id="ext4 of a byte more"),
        pytest.param("ext4", 1, 16 * MIB, id="the smallest ext4"),
        pytest.param("xfs", 1, 300 * MIB, id="the smallest xfs"),
        pytest.param("btrfs", 1, 112 * MIB, id="the smallest btrfs"),
        pytest.param("", 64 * MIB, 64 * MIB, id="no file system is asked for"),
    ],
)
def test_the_reply_says_what_was_really_given_and_it_mounts(
    node: Node, fs: str, asked: int, given: int
) -> None:
    made = node.provision(size=asked, fs=fs)

    assert made == {
        "options": {"pool": "default", "poolId": node.pool_id()},
        "capacityBytes": given,
        "fsType": fs or "ext4",
    }
    assert node.image().stat().st_size == given
    (node.mount("web") / "data").write_text("x")


@pytest.mark.short
def test_the_record_holds_what_was_asked(node: Node) -> None:
    extra: dict[str, Any] = {
        "kubernetes.io/storageClass.name": "fast",
        "kubernetes.io/reclaimPolicy": "Delete",
        "kubernetes.io/pvc.accessModes": "ReadWriteOnce",
        "kubernetes.io/clusterUid": "c1",
    }
    node.provision(**extra)

    record = node.record()

    assert record["owner"] == {"namespace": "shop", "name": "data", "uid": UID}
    assert (record["class"], record["reclaimPolicy"], record["clusterUid"]) == (
        "fast",
        "Delete",
        "c1",
    )
    assert (record["accessModes"], record["blank"]) == (["ReadWriteOnce"], True)
    node.mount("web")
    assert node.record()["blank"] is False
    assert node.image().stat().st_mode & 0o777 == 0o600
    assert node.image().parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.short
def test_asking_twice_finds_the_same_volume(node: Node) -> None:
    first = node.provision()
    (node.mount("web") / "data").write_text("kept")

    assert node.provision() == first

    assert (node.mount("web") / "data").read_text() == "kept"


def test_a_name_that_another_claim_has_is_refused(node: Node) -> None:
    node.provision()
    before = node.snapshot()

    assert "another claim" in node.fails(
        "InvalidArgument",
        "provision",
        node.request("pvc-1", also={"kubernetes.io/pvc.uid": "other"}),
    )
    assert "not ext4" in node.fails(
        "InvalidArgument", "provision", node.request("pvc-1", size=128 * MIB)
    )

    assert node.snapshot() == before


def test_eight_at_once_make_eight_and_the_same_eight_times_makes_one(node: Node) -> None:
    same = [node.start(*node.executable, "provision", node.request("pvc-same")) for _ in range(4)]
    other = [
        node.start(*node.executable, "provision", node.request(f"pvc-{number}"))
        for number in range(4)
    ]

    replies = [json.loads(process.communicate()[0]) for process in same + other]

    assert all(reply["status"] == "Success" for reply in replies), replies
    assert {path.name for path in node.path("/var/lib/flexvol/default").glob("pvc-*")} == {
        "pvc-same",
        "pvc-0",
        "pvc-1",
        "pvc-2",
        "pvc-3",
    }


def test_a_full_pool_refuses_with_the_numbers_and_makes_nothing(small_pool: Node) -> None:
    small_pool.provision("pvc-1", size=64 * MIB)
    before = small_pool.snapshot()

    message = small_pool.fails(
        "ResourceExhausted", "provision", small_pool.request("pvc-2", size=64 * MIB)
    )

    assert "pool default has no room for 64 MiB more" in message
    assert "promised 64 MiB" in message
    assert small_pool.snapshot() == before
    assert not list(small_pool.path("/var/lib/flexvol/default").glob(".new*"))


def test_two_into_the_last_room_give_one_volume(small_pool: Node) -> None:
    running = [
        small_pool.start(
            *small_pool.executable, "provision", small_pool.request(f"pvc-{number}", size=64 * MIB)
        )
        for number in range(2)
    ]
    replies = [json.loads(process.communicate()[0]) for process in running]

    assert sorted(reply.get("reason", "") for reply in replies) == ["", "ResourceExhausted"]


@pytest.mark.short
def test_a_missing_tool_is_named_and_nothing_is_left(node: Node) -> None:
    for directory in ("/usr/sbin", "/sbin", "/usr/bin", "/bin"):
        if Path(directory, "mkfs.ext4").exists():
            assert (
                node.enter("mount", "--bind", "/dev/null", f"{directory}/mkfs.ext4").returncode == 0
            )

    message = node.fails("Internal", "provision", node.request("pvc-1"))

    assert "mkfs.ext4 is missing" in message
    assert node.snapshot().keys() == {"default/pool.json"}
    assert not list(node.path("/var/lib/flexvol/default").glob(".new*"))


def test_without_its_pool_nothing_is_made(make_node: Callable[..., Node]) -> None:
    node = make_node()

    message = node.fails("Unavailable", "provision", node.request("pvc-1"))

    assert "loop pool init default" in message
    assert list(node.path("/var/lib/flexvol").iterdir()) == []


def test_what_a_crash_left_is_swept(node: Node) -> None:
    pool = node.path("/var/lib/flexvol/default")
    for name in (".new-pvc-9", ".deleted-00ff"):
        (pool / name).mkdir()
        (pool / name / "image").write_bytes(b"x")

    node.provision()

    assert not list(pool.glob(".new-*")) + list(pool.glob(".deleted-*"))


@pytest.mark.short
def test_list_says_what_is_there(node: Node) -> None:
    node.provision()

    listed = node.ok("list")

    (volume,) = listed["volumes"]
    assert (volume["name"], volume["pool"], volume["sizeBytes"]) == ("pvc-1", "default", 64 * MIB)
    assert volume["owner"]["namespace"] == "shop"
    (pool,) = listed["pools"]
    assert pool["committedBytes"] == 64 * MIB
    assert pool["freeBytes"] > 0


def test_list_says_what_provision_answered_for_the_volume(node: Node) -> None:
    made = node.provision()

    (entry,) = node.ok("list")["volumes"]

    assert entry["options"] == made["options"]


def test_list_names_a_volume_whose_file_system_is_damaged(node: Node) -> None:
    node.provision()
    node.provision("pvc-2")
    node.mount("web")
    node.mount("db", "pvc-2")
    # The kernel writes this when it finds an error.
    with node.image("pvc-2").open("r+b") as image:
        image.seek(1024 + 0x3A)
        image.write(b"\x03\x00")

    damaged = {volume["name"]: volume["damaged"] for volume in node.ok("list")["volumes"]}

    assert damaged == {"pvc-1": False, "pvc-2": True}


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_the_image_holds_no_feature_that_kernel_4_18_does_not_know(node: Node, fs: str) -> None:
    node.provision(fs=fs, size=300 * MIB)
    if fs == "ext4":
        shown = subprocess.run(
            ["dumpe2fs", "-h", node.image()], capture_output=True, text=True, check=True
        ).stdout
        (features,) = [
            line.split(":")[1].split()
            for line in shown.splitlines()
            if line.startswith("Filesystem features")
        ]
        assert set(features) <= {
            "has_journal",
            "ext_attr",
            "resize_inode",
            "dir_index",
            "filetype",
            "extent",
            "64bit",
            "flex_bg",
            "sparse_super",
            "large_file",
            "huge_file",
            "dir_nlink",
            "extra_isize",
            "metadata_csum",
        }
    else:
        shown = subprocess.run(
            ["xfs_db", "-r", "-c", "version", node.image()],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert not {"BIGTIME", "INOBTCNT", "NREXT64"} & {
            word.upper() for word in shown.strip().split(",")
        }


@pytest.fixture
def small_pool(node: Node) -> Node:
    """A pool on a file system of 120 MiB of its own."""
    disk = node.directory / "disk"
    disk.touch()
    os.truncate(disk, 120 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
    pool = "/var/lib/flexvol/default"
    assert node.enter("mount", "-o", "loop", str(disk), pool).returncode == 0
    node.command("pool", "init", "default", "--reserve", "0", "--replace")
    return node
