"""Sizes from and to quantities."""

from __future__ import annotations

import pytest

from cluster.controller import quantities


@pytest.mark.parametrize(
    ("quantity", "size_bytes"),
    [
        pytest.param("1Gi", 1 << 30, id="a whole number of bytes"),
        pytest.param("0.1Gi", 107374183, id="a fraction of a byte, which is rounded up"),
        pytest.param("1100m", 2, id="thousandths of a byte"),
        pytest.param("5e3", 5000, id="an exponent"),
    ],
)
def test_a_size_is_never_less_than_what_was_asked(quantity: str, size_bytes: int) -> None:
    assert quantities.size_bytes(quantity) == size_bytes


def test_a_size_that_no_disk_has_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="more than any disk has"):
        quantities.size_bytes("1e999999999")


@pytest.mark.parametrize(
    ("size_bytes", "written"),
    [
        pytest.param(1, "1", id="a byte"),
        pytest.param(1024, "1Ki", id="a KiB"),
        pytest.param(64 << 20, "64Mi", id="64 MiB"),
        pytest.param(3 << 30, "3Gi", id="3 GiB"),
        pytest.param(1 << 40, "1024Gi", id="a TiB has no suffix of its own"),
        pytest.param((1 << 20) + 1, "1048577", id="what is no multiple stays a number of bytes"),
    ],
)
def test_bytes_are_written_with_the_largest_suffix_that_fits(size_bytes: int, written: str) -> None:
    assert quantities.quantity(size_bytes) == written
