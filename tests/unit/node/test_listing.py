"""What the callout list tells of a pool, and of each volume and archive in the pool."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.drivers.loop import listing, node_pools, pools, records
from node.drivers.loop.pools import Pool
from node.drivers.loop.records import Archiving, Move
from node.host import apart
from shared.options import Claim
from shared.protocol import Unavailable
from tests.unit.node import own_pool

ARCHIVE = ".archived-0011223344556677-pvc-1"
UUID = "0f0e0d0c-0b0a-4908-8706-050403020100"
# What is told of a volume whose image cannot be looked at.
CERTAIN: dict[str, Any] = {
    "name": "pvc-1",
    "pool": "default",
    "owner": {"namespace": "web", "name": "data", "uid": "uid-1"},
    "kind": "volume",
    "source": "",
    "options": {"pool": "default", "poolId": "id"},
    "onDelete": "delete",
}


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with own_pool.open_pool(tmp_path) as opened:
        yield opened


@pytest.fixture
def only_pool(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """The pool is the one that the name `default` means."""
    monkeypatch.setattr(pools, "open_pool", {"default": pool}.__getitem__)
    return pool


def listed(name: str = "default") -> list[dict[str, Any]]:
    return list(listing._list_pool(name))


def test_a_volume_is_told_with_its_claim_its_class_and_its_file_system(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")
    with open(Path(pool.path, "pvc-1", "image"), "wb") as image:
        os.posix_fallocate(image.fileno(), 0, 1 << 20)

    assert listing._describe(pool, "pvc-1") == {
        **CERTAIN,
        "poolId": "id",
        "sizeBytes": 1 << 20,
        "usedBytes": 1 << 20,
        "fileSystemBytes": 0,  # the image is empty, and so no file system
        "damaged": True,
        "fsType": "ext4",
        "thick": False,
        "class": "fast",
        "reclaimPolicy": "Delete",
        "accessModes": ["ReadWriteOnce"],
        "clusterUid": "cluster",
        "created": "2026-01-01T00:00:00Z",
        "blank": True,
        "neverMounted": True,
        "move": "",
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"owner": None}, {"owner": None}, id="nobody owns"),
        pytest.param({"blank": False}, {"blank": False, "neverMounted": False}, id="has data"),
        pytest.param(
            {"blank": False, "clone_never_mounted": True, "new_uuid": UUID, "source": "pvc-0"},
            {"blank": False, "neverMounted": True, "source": "pvc-0"},
            id="is a clone that nobody has had",
        ),
        pytest.param(
            {"archive": Archiving(3600, 0)},
            {"onDelete": "archive", "archiveSeconds": 3600},
            id="is archived when it is deleted",
        ),
        pytest.param(
            {"move": Move("m1", "node-2")},
            {"move": "m1", "state": "moving", "movingTo": "node-2"},
            id="moves to another node",
        ),
        pytest.param({"move": Move("m1", "")}, {"move": "m1"}, id="has come from another node"),
        pytest.param(
            {"kind": records.SNAPSHOT, "source": "pvc-0", "taken": "in use", "number": 7},
            {"kind": "snapshot", "source": "pvc-0", "taken": "in use", "number": 7},
            id="is a snapshot",
        ),
    ],
)
def test_the_list_also_tells_of_a_volume_that(
    pool: Pool, changes: dict[str, Any], told: dict[str, Any]
) -> None:
    own_pool.add(pool, "pvc-1")
    plain = listing._describe(pool, "pvc-1")
    own_pool.add(pool, "pvc-2", name="pvc-2", **changes)

    assert listing._describe(pool, "pvc-2") == {**plain, "name": "pvc-2", **told}


@pytest.mark.parametrize(
    "move",
    [
        pytest.param(None, id="of a volume"),
        pytest.param(Move("m1", "node-2"), id="of a volume that was moved"),
    ],
)
def test_an_archive_is_told_by_the_name_that_people_use(pool: Pool, move: Move | None) -> None:
    own_pool.add(pool, ARCHIVE, archive=Archiving(3600, 86400), move=move)

    entry = listing._describe(pool, ARCHIVE)

    assert (entry["name"], entry["archiveOf"], entry["state"]) == (ARCHIVE[1:], "pvc-1", "archived")
    assert (entry["archivedAt"], entry["keptUntil"]) == (
        "1970-01-02T00:00:00Z",
        "1970-01-02T01:00:00Z",
    )
    assert "movingTo" not in entry
    assert "error" not in entry


def test_of_a_volume_without_an_image_its_claim_is_told(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")
    Path(pool.path, "pvc-1", "image").unlink()

    entry = listing._describe(pool, "pvc-1")

    assert "its image is missing" in entry.pop("error")
    assert entry == CERTAIN


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        pytest.param("pvc-1", "pvc-1", id="of a volume"),
        pytest.param(ARCHIVE, ARCHIVE[1:], id="of an archive, as people use it"),
    ],
)
def test_where_a_record_is_damaged_the_name_is_told(pool: Pool, directory: str, name: str) -> None:
    own_pool.add(pool, directory)
    Path(pool.path, directory, "volume.json").write_text("{")

    entry = listing._describe(pool, directory)

    assert "cannot be read" in entry.pop("error")
    assert entry == {"name": name, "pool": "default"}


def test_a_pool_is_listed_before_its_volumes_and_these_before_its_archives(
    only_pool: Pool,
) -> None:
    own_pool.add(only_pool, ARCHIVE)
    own_pool.add(only_pool, "pvc-2", name="pvc-2", owner=Claim("web", "other", "uid-2"))
    own_pool.add(only_pool, "pvc-1")
    Path(only_pool.path, "pvc-2", "volume.json").write_text("{")  # hides nothing of the others

    of_pool, *of_volumes = listed()

    assert (of_pool["name"], of_pool["id"]) == ("default", "id")
    assert [entry["name"] for entry in of_volumes] == ["pvc-1", "pvc-2", ARCHIVE[1:]]
    assert ["error" in entry for entry in of_volumes] == [False, True, False]


def test_what_crashes_left_is_removed_before_the_room_is_counted(only_pool: Pool) -> None:
    own_pool.add(only_pool, ".deleted-00112233")
    image = Path(only_pool.path, ".deleted-00112233", "image")
    os.truncate(image, 1 << 30)

    (of_pool,) = listed()

    assert of_pool["committedBytes"] == 0
    assert own_pool.entries(only_pool) == set()


def test_nothing_is_removed_from_a_pool_in_which_no_callout_can_work(only_pool: Pool) -> None:
    own_pool.add(only_pool, ".deleted-00112233")
    own_pool.add(only_pool, "pvc-1")
    Path(only_pool.path, ".locks").write_text("no directory")

    of_pool, of_volume = listed()

    assert "its lock files cannot be used" in of_pool["error"]
    assert (of_pool["freeBytes"], of_volume["name"]) == (0, "pvc-1")
    assert own_pool.entries(only_pool) == {".deleted-00112233", "pvc-1"}


def test_a_pool_that_is_away_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_pool(name: str) -> Pool:
        raise Unavailable(f"pool {name} is away")

    monkeypatch.setattr(pools, "open_pool", open_pool)

    (of_pool,) = listed("fast")

    assert (of_pool["name"], of_pool["error"]) == ("fast", "pool fast is away")


def test_a_pool_that_does_not_answer_keeps_no_other_from_the_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = {
        "dead": apart.Look([], "pool dead does not answer"),
        "default": apart.Look([{"name": "default"}, {"name": "pvc-1"}, {"name": "pvc-2"}], ""),
        "empty": apart.Look([{"name": "empty"}], ""),
    }
    monkeypatch.setattr(node_pools, "look", {listing._list_pool: looks}.__getitem__)

    reply = listing.list_all()

    assert reply.volumes == [{"name": "pvc-1"}, {"name": "pvc-2"}]
    assert reply.pools is not None
    assert [entry["name"] for entry in reply.pools] == ["dead", "default", "empty"]
    assert reply.pools[0]["error"] == "pool dead does not answer"
    assert "error" not in reply.pools[1]
