"""Which bytes that images share count as ours once."""

from __future__ import annotations

import pytest

from node.drivers.loop.shared_blocks import Family, SharingImage, bytes_counted_once


def image(name: str, source: str, shared_bytes: int) -> SharingImage:
    return SharingImage(Family(name, source), shared_bytes)


def strangers_copy(shared_bytes: int) -> SharingImage:
    return SharingImage(None, shared_bytes)


@pytest.mark.parametrize(
    ("images", "counted"),
    [
        pytest.param([], 0, id="without images nothing counts"),
        pytest.param(
            [image("a", "", 0), image("b", "", 0)], 0, id="images that share nothing do not count"
        ),
        pytest.param(
            [image("a", "", 7), image("b", "a", 5)],
            7,
            id="of a volume and its copy the one counts that shares more",
        ),
        pytest.param(
            [image("a", "", 7), image("b", "", 5)],
            0,
            id="images without relatives share with files that are not ours",
        ),
        pytest.param(
            [image("c", "b", 3), image("b", "a", 5), image("a", "", 7)],
            7,
            id="a copy of a copy is of the same family",
        ),
        pytest.param(
            [image("b", "gone", 4), image("c", "gone", 6)],
            6,
            id="copies of a volume that is gone are relatives",
        ),
        pytest.param(
            [image("a", "", 7), image("b", "a", 7), image("x", "", 2), image("y", "x", 3)],
            10,
            id="each family counts once",
        ),
        pytest.param(
            [image("a", "", 7), strangers_copy(4)],
            7,
            id="an image without a record may be a copy of any image",
        ),
        pytest.param([strangers_copy(4)], 0, id="an image without a record alone does not count"),
    ],
)
def test_bytes_that_images_share_count_once_a_family(
    images: list[SharingImage], counted: int
) -> None:
    assert bytes_counted_once(images) == counted
