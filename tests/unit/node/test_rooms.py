"""A pool's sum: what it may still promise, and the sentence that names the terms."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from node.drivers.loop.rooms import Figures
from shared.protocol import ResourceExhausted

MIB = 1 << 20
BYTES = some.integers(min_value=0, max_value=1 << 50)


def figures(
    capacity: int, available: int, promised: int, owned: int, reserve: int, overcommit: float
) -> Figures:
    disk: Any = SimpleNamespace(
        capacity=capacity,
        available=available,
        kind="other",
        obstacle="",
        full=False,
        largest_file=1 << 62,
    )
    return Figures(disk, promised, owned, reserve, overcommit)


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
