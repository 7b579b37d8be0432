"""The pieces in which a file system is trimmed: all of it, once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.drivers.loop.by_hand import trimming


@given(st.integers(1, 1 << 44))
def test_they_follow_each_other_from_the_first_byte_to_the_last_there_can_be(size: int) -> None:
    end = 0
    for start, length in trimming._pieces(size):
        assert start == end
        assert length > 0
        assert length <= 1 << 30 or start >= size  # beyond the device there is seldom anything
        end = start + length
    assert end == (1 << 64) - 1
