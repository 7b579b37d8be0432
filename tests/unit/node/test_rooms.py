"""A pool's sum: what it may still promise, and the sentence that names the terms."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from node.drivers.loop import rooms, shared_blocks
from node.drivers.loop.pools import Pool
from node.drivers.loop.rooms import Figures
from node.drivers.loop.shared_blocks import Family, SharingImage
from node.host import disks
from shared.protocol import Failure, ResourceExhausted, Unavailable
from tests.unit.node import own_pool

MIB = 1 << 20
BYTES = some.integers(min_value=0, max_value=1 << 50)


def disk_of(**changes: Any) -> Any:
    """What a disk of 1 GiB is said to give, with these changes."""
    given = {
        "capacity": 1024 * MIB,
        "available": 1000 * MIB,
        "kind": disks.OTHER,
        "shares": False,
        "obstacle": "",
        "full": False,
        "largest_file": 1 << 62,
    }
    return SimpleNamespace(**{**given, **changes})


def figures(
    capacity: int, available: int, promised: int, owned: int, reserve: int, overcommit: float
) -> Figures:
    disk = disk_of(capacity=capacity, available=available)
    return Figures(disk, promised, owned, reserve, overcommit)


@pytest.mark.parametrize(
    ("disk", "overcommit", "metadata", "left"),
    [
        pytest.param({}, 1.0, 8, 92, id="an ordinary disk"),
        pytest.param({"kind": disks.XFS}, 1.0, 8, 92, id="xfs"),
        pytest.param({"kind": disks.BTRFS}, 1.0, 24, 76, id="btrfs keeps more for itself"),
        pytest.param({}, 2.0, 8, 1084, id="twice as much is promised as there is"),
        pytest.param({"available": 850 * MIB}, 1.0, 8, -58, id="others took what was promised"),
    ],
)
def test_what_is_left_is_what_nobody_has_and_nobody_was_promised(
    disk: dict[str, Any], overcommit: float, metadata: int, left: int
) -> None:
    """Of the 900 MiB promised 100 are written; 100 MiB stay free, and each MiB to be written takes
    some per mille of metadata."""
    now = Figures(disk_of(**disk), 900 * MIB, 100 * MIB, 100 * MIB, overcommit)

    assert (now.metadata, now.left) == (metadata * MIB, left * MIB)
    assert now.free == max(0, left * MIB)


def test_what_is_neither_free_nor_ours_is_used_by_others() -> None:
    assert Figures(disk_of(available=850 * MIB), 0, 100 * MIB, 0, 1.0).others == 74 * MIB
    assert Figures(disk_of(), 0, 100 * MIB, 0, 1.0).others == 0


def test_room_is_promised_to_the_last_byte() -> None:
    now = Figures(disk_of(), 0, 0, 5, 1.0)

    now.check("fast", now.left, 0)
    with pytest.raises(ResourceExhausted, match=r"^pool fast has no room for 1000 MiB more: 999 "):
        now.check("fast", now.left + 1, 0)
    assert (now.left, now.free) == (1000 * MIB - 5, 999 * MIB)


def test_a_volume_may_be_as_long_as_a_file_can_be() -> None:
    now = Figures(disk_of(largest_file=20 * MIB + 5), 0, 0, 0, 1.0)

    now.check("fast", 0, 20 * MIB)
    with pytest.raises(ResourceExhausted) as refused:
        now.check("fast", 0, 21 * MIB)

    assert str(refused.value) == (
        "pool fast has no room for a volume of 21 MiB: one file ends at 20 MiB there, by the "
        "disk's file system or a limit of this process (ulimit -f); use a pool on xfs"
    )


@pytest.mark.parametrize(
    ("full", "kind"),
    [
        pytest.param(True, ResourceExhausted, id="whose disk lacks something"),
        pytest.param(False, Unavailable, id="whose disk cannot be written to"),
    ],
)
def test_nothing_is_promised_in_a_pool(full: bool, kind: type[Failure]) -> None:
    now = Figures(disk_of(obstacle="it is full", full=full), 0, 0, 0, 1.0)

    assert now.left == 1000 * MIB
    assert now.free == 0
    with pytest.raises(kind) as refused:
        now.check("fast", 5 * MIB + 1, 0)
    assert str(refused.value) == (
        "pool fast has no room for 6 MiB more: nothing can be made on its disk, as it is full; "
        "loop doctor tells more"
    )


@pytest.mark.parametrize(
    ("kind", "loses"),
    [
        pytest.param(disks.XFS, False, id="not on xfs"),
        pytest.param(disks.BTRFS, True, id="on btrfs"),
        pytest.param(disks.OTHER, True, id="on another disk"),
    ],
)
def test_images_that_share_blocks_make_less_room(kind: str, loses: bool) -> None:
    assert Figures(disk_of(kind=kind), 0, 0, 0, 1.0).loses_by_sharing == loses


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with own_pool.open_pool(tmp_path) as opened:
        yield opened


def add(pool: Pool, directory: str, mib: int, written_mib: int) -> None:
    """Makes a volume with an image of that length, of which so much is on the disk."""
    own_pool.add(pool, directory)
    with open(Path(pool.path, directory, "image"), "wb") as image:
        image.truncate(mib * MIB)
        if written_mib:
            os.posix_fallocate(image.fileno(), 0, written_mib * MIB)


def test_every_image_counts_with_its_length_and_its_own_blocks(pool: Pool) -> None:
    add(pool, "pvc-1", 50, 3)
    add(pool, "pvc-2", 20, 0)
    Path(pool.path, "pvc-2", "volume.json").unlink()
    for hidden in (".new-pvc-3", ".deleted-0", ".importing-pvc-4", ".archived-0-pvc-5"):
        add(pool, hidden, 10, 1)

    counted = rooms.figures(pool, disk_of(), 0, 1.0)

    assert (counted.promised, counted.owned) == (110 * MIB, 7 * MIB)


def test_only_images_count(pool: Pool) -> None:
    add(pool, "pvc-1", 50, 3)
    own_pool.add(pool, "pvc-2")
    Path(pool.path, "pvc-2", "image").unlink()
    add(pool, "pvc-3", 50, 3)
    for name, odd in (("pvc-4", "directory"), ("pvc-5", "link")):
        own_pool.add(pool, name)
        image = Path(pool.path, name, "image")
        image.unlink()
        if odd == "link":
            image.symlink_to(Path(pool.path, "pvc-1", "image"))
        else:
            image.mkdir()
    Path(pool.path, ".notes").write_text("a file with a hidden name")

    counted = rooms.figures(pool, disk_of(), 0, 1.0)

    assert (counted.promised, counted.owned) == (100 * MIB, 6 * MIB)


@pytest.mark.parametrize(
    ("disk", "owned_mib"),
    [
        pytest.param({"kind": disks.OTHER}, 20, id="its disk lets no files share blocks"),
        pytest.param({"kind": disks.XFS, "shares": True}, 16, id="its disk is xfs"),
        pytest.param({"kind": disks.BTRFS, "shares": True}, 12, id="its disk is btrfs"),
        pytest.param({"kind": disks.OTHER, "shares": True}, 12, id="its disk is another that does"),
        pytest.param(
            {"kind": disks.XFS, "shares": True, "obstacle": "it is read-only"},
            20,
            id="nothing can be made on its disk",
        ),
    ],
)
def test_blocks_that_a_volume_shares_with_its_clone_are_ours_as_often_as_they_can_be_written(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, disk: dict[str, Any], owned_mib: int
) -> None:
    """The two images share 4 MiB. Only xfs frees a part of an extent for the one that writes it."""
    add(pool, "pvc-1", 50, 10)
    add(pool, "pvc-2", 50, 10)

    def find(of_pool: Pool, images: list[rooms.CountedImage]) -> list[SharingImage]:
        assert of_pool is pool
        assert {image.path for image in images} == {"pvc-1/image", "pvc-2/image"}
        assert len({image.inode for image in images}) == 2
        source = {"pvc-1": "", "pvc-2": "pvc-1"}
        return [SharingImage(Family(x.entry, source[x.entry]), 4 * MIB) for x in images]

    monkeypatch.setattr(shared_blocks, "find", find)

    counted = rooms.figures(pool, disk_of(**disk), 0, 1.0)

    assert (counted.promised, counted.owned) == (100 * MIB, owned_mib * MIB)


@given(BYTES, BYTES, BYTES, BYTES, BYTES, some.sampled_from([1, 1.0, 0.5, 1.5, 2, 100]))
def test_the_terms_of_the_sentence_add_up_whatever_they_are(
    available: int, others: int, owned: int, unwritten: int, reserve: int, overcommit: float
) -> None:
    now = figures(
        available + others + owned, available, owned + unwritten, owned, reserve, overcommit
    )

    with pytest.raises(ResourceExhausted) as refused:
        now.check("default", now.free + 2 * MIB, 0)

    told = str(refused.value)
    terms = re.findall(r"(?:capacity|reserve|metadata|used by others|promised) (-?\d+) MiB", told)
    capacity, reserved, metadata, by_others, promised = map(int, terms)
    usable = int(re.findall(r"= (-?\d+) MiB", told)[0])
    assert capacity - reserved - metadata - by_others == usable
    room = usable if overcommit == 1 else int(usable * overcommit)
    times = "" if overcommit == 1 else f", times overcommit {overcommit:g} = {room} MiB"
    assert re.findall(r" = -?\d+ MiB(.*); promised ", told) == [times]
    short = re.findall(r"(\d+) MiB more than there are", told)
    left = -int(short[0]) if short else int(re.findall(r"(\d+) MiB are left", told)[0])
    assert room - promised == left
    assert f": {max(0, left)} MiB can still be promised" in told
    assert promised == -(-(owned + unwritten) // MIB)
    assert abs(by_others - others / MIB) <= 4


@given(BYTES, BYTES, BYTES, BYTES)
def test_all_that_is_promised_can_be_written(
    available: int, owned: int, unwritten: int, reserve: int
) -> None:
    now = figures(available + owned, available, owned + unwritten, owned, reserve, 1)

    still_to_write = unwritten + now.free

    assert now.free == 0 or still_to_write + reserve <= available
