"""Of the bits in a superblock exactly those that are not allowed are told."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.host import features

WORDS = [(fs, word) for fs, words in features._WORDS.items() for word in words]


def surplus(fs: str, offset: int, form: str, value: int) -> list[str]:
    """What is told of an image whose superblock has this word, and zeros elsewhere."""
    image = os.memfd_create("image")
    try:
        os.truncate(image, 1 << 17)
        os.pwrite(image, struct.pack(form, value), offset)
        return features.surplus(fs, image)
    finally:
        os.close(image)


@pytest.mark.parametrize(
    ("fs", "word"), WORDS, ids=[f"{fs}: the word {word.label}" for fs, word in WORDS]
)
@given(data=st.data())
def test_each_bit_that_is_not_allowed_is_told_and_no_other(
    fs: str, word: features._Word, data: st.DataObject
) -> None:
    value = data.draw(st.integers(0, (1 << 8 * struct.calcsize(word.form)) - 1))

    told = surplus(fs, word.offset, word.form, value)

    assert len(told) == bin(value & ~word.allowed).count("1")
    assert len(set(told)) == len(told)
    assert surplus(fs, word.offset, word.form, value & word.allowed) == []
    for bit, name in word.names.items():
        assert not bit & word.allowed
        assert (name in told) == bool(value & bit)
