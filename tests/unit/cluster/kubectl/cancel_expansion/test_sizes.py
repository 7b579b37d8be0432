"""What a node says of the size of a volume."""

from __future__ import annotations

from cluster.kubectl.cancel_expansion.sizes import Truth, truth_of
from tests.unit.cluster.kubectl.cancel_expansion.world import (
    MIB,
)


def test_the_true_size_is_the_drivers_word_alone() -> None:
    pools = [{"name": "fast", "freeBytes": 5 * MIB}]
    entry = {"name": "pvc-1", "sizeBytes": 64 * MIB, "pool": "fast"}

    assert truth_of(entry, pools) == Truth(64 * MIB, "fast", 5 * MIB)
    assert truth_of({**entry, "error": "gone"}, pools) is None
    assert truth_of({"name": "pvc-1", "sizeBytes": True}, pools) is None
    assert truth_of({}, pools) is None
    cordoned = [{"name": "fast", "freeBytes": 0, "cordoned": True}]
    assert truth_of(entry, cordoned) == Truth(64 * MIB, "fast", None)
