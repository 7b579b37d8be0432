"""What a node says of the size of a volume."""

from __future__ import annotations

import pytest

from cluster.kubectl.cancel_expansion.sizes import Sizes, Truth, fits, truth_of
from tests.unit.cluster.kubectl.cancel_expansion.world import (
    GIB,
    MIB,
)


def test_the_true_size_is_the_drivers_word_alone() -> None:
    pools = [{"name": "fast", "freeBytes": 5 * MIB}]
    entry = {"name": "pvc-1", "sizeBytes": 64 * MIB, "pool": "fast"}

    assert truth_of(entry, pools) == Truth(64 * MIB, "fast", 5 * MIB)
    assert truth_of({**entry, "error": "gone"}, pools) is None
    assert truth_of({"name": "pvc-1", "sizeBytes": True}, pools) is None
    assert truth_of({}, pools) is None
    assert truth_of({**entry, "sizeBytes": 0}, pools) is None
    assert truth_of({**entry, "sizeBytes": 1}, pools) == Truth(1, "fast", 5 * MIB)
    assert truth_of({**entry, "pool": "gone"}, pools) == Truth(64 * MIB, "gone", None)
    assert truth_of({"name": "pvc-1", "sizeBytes": 64 * MIB}, pools) == Truth(64 * MIB, "", None)
    cordoned = [{"name": "fast", "freeBytes": 0, "cordoned": True}]
    assert truth_of(entry, cordoned) == Truth(64 * MIB, "fast", None)


@pytest.mark.parametrize(
    ("asked", "room", "does_fit"),
    [
        pytest.param(GIB, 960 * MIB, True, id="it just fits"),
        pytest.param(GIB, 960 * MIB - 1, False, id="one byte lacks"),
        pytest.param(GIB - MIB + 1, 960 * MIB, True, id="a MiB that is begun fits whole"),
        pytest.param(GIB - MIB + 1, 960 * MIB - 1, False, id="a MiB that is begun lacks a byte"),
        pytest.param(GIB, None, False, id="the room is not known"),
    ],
)
def test_what_fits_is_counted_in_whole_mib(asked: int, room: int | None, does_fit: bool) -> None:
    now = Sizes(request=asked, capacity=64 * MIB, allocated=None, resize="", volume=64 * MIB)

    assert fits(now, Truth(64 * MIB, "fast", room)) == does_fit
