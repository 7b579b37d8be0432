"""Sizes as the API writes them become bytes."""

from __future__ import annotations

import pytest

from controller.cluster import size_bytes

SIZES = {
    "1Gi": 1 << 30, "1.5Gi": 3 << 29, "64Mi": 64 << 20, "1Ei": 1 << 60, "5k": 5000, "12E": 12 * 10**18, "1500": 1500,
    "1e3": 1000, "1E3": 1000, "100m": 1, "1n": 1, "2500u": 1, "0.5": 1, "1e-3Gi": 1073742, "-5": -5,
}  # fmt: skip


@pytest.mark.parametrize(("quantity", "size"), SIZES.items())
def test_a_quantity_becomes_bytes_and_fractions_are_rounded_up(quantity: str, size: int) -> None:
    assert size_bytes(quantity) == size


@pytest.mark.parametrize("quantity", ["", "Ki", "x", "1KI", "1ki", "1Mii", "1e", "nan", "inf", "1 GiB"])
def test_what_is_no_quantity_is_refused(quantity: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        size_bytes(quantity)
