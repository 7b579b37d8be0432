"""What explain says of a volume whose file system is smaller than the volume."""

from __future__ import annotations

from typing import Any

import pytest

from administration import explain

MIB = 1 << 20
SMALL = {"fileSystemBytes": 64 * MIB, "sizeBytes": 70 << 30, "fsType": "ext4"}


@pytest.mark.parametrize("in_use", [False, True])
def test_a_growth_that_did_not_come_to_its_end_is_told(in_use: bool) -> None:
    (sentence,) = explain._on_size(SMALL, in_use)
    assert sentence.startswith("its file system has 64 MiB, 70 GiB asked; it grows when")


@pytest.mark.parametrize(
    ("entry", "in_use"),
    [
        pytest.param({**SMALL, "fileSystemBytes": 70 << 30}, False, id="it has all of it"),
        pytest.param(
            {**SMALL, "fileSystemBytes": (70 << 30) - 8 * MIB},
            False,
            id="the last group is left out",
        ),
        pytest.param({"sizeBytes": 70 << 30}, False, id="an older driver does not say"),
        pytest.param({**SMALL, "fileSystemBytes": "64"}, False, id="a driver says no number"),
        pytest.param({**SMALL, "fsType": "xfs"}, True, id="a mounted xfs writes it later"),
    ],
)
def test_nothing_is_told_of_others(entry: dict[str, Any], in_use: bool) -> None:
    assert explain._on_size(entry, in_use) == []
