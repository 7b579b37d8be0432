"""node/host/filesystems/features.py: of the bits in a superblock exactly those that are not allowed
are told."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.host import filesystems
from node.host.descriptors import Descriptor
from node.host.filesystems import features

WORDS = [(name, word) for name, kind in filesystems.TABLE.items() for word in kind.allowed_features]


def surplus(fs: str, offset: int, form: str, value: int) -> list[str]:
    """What is told of an image whose superblock has this word, and zeros elsewhere."""
    with Descriptor(os.memfd_create("image")) as image:
        os.truncate(image, 1 << 17)
        os.pwrite(image, struct.pack(form, value), offset)
        return features.surplus(filesystems.get(fs).allowed_features, image)


@pytest.mark.parametrize(
    ("fs", "word"), WORDS, ids=[f"{fs}: the word {word.label}" for fs, word in WORDS]
)
@given(data=st.data())
def test_each_bit_that_is_not_allowed_is_told_and_no_other(
    fs: str, word: features.Word, data: st.DataObject
) -> None:
    value = data.draw(st.integers(0, (1 << 8 * struct.calcsize(word.form)) - 1))

    told = surplus(fs, word.offset, word.form, value)

    assert len(told) == bin(value & ~word.allowed).count("1")
    assert len(set(told)) == len(told)
    assert surplus(fs, word.offset, word.form, value & word.allowed) == []
    for bit, name in word.names.items():
        assert not bit & word.allowed
        assert (name in told) == bool(value & bit)
