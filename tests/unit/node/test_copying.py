"""How much of a file is data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.host import copying

KIB = 1 << 10
PART = 64 * KIB


@pytest.mark.parametrize(
    ("begin", "end", "data"),
    [
        pytest.param(0, 8 * PART, 2 * PART, id="all of the file"),
        pytest.param(PART, 2 * PART, PART, id="one part"),
        pytest.param(PART + KIB, 2 * PART, PART - KIB, id="from the middle of a part"),
        pytest.param(0, PART + 4 * KIB, 4 * KIB, id="to the middle of a part"),
        pytest.param(2 * PART, 5 * PART, 0, id="a hole"),
        pytest.param(6 * PART, 8 * PART, 0, id="the hole at the end"),
        pytest.param(5 * PART, 5 * PART, 0, id="nothing"),
    ],
)
def test_the_data_between_two_positions(tmp_path: Path, begin: int, end: int, data: int) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        for number in (1, 5):
            file.seek(number * PART)
            file.write(b"x" * PART)
        file.truncate(8 * PART)
    descriptor = os.open(path, os.O_RDONLY)

    assert copying.data_bytes(descriptor, begin, end) == data

    os.close(descriptor)
