"""Two runs of the same tests at once, such as those of the cluster, each with a cluster of its own.

One run begins with the first file and the other with the last, until they meet. Whoever begins a
file first has all of its tests; the other run passes over them. A file is shared by its name in a
directory that both runs know.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The directory in which the two runs note which files they have, and whether this run is the second
# one; set by bundle/check.py.
VARIABLE = "FLEXVOL_TEST_HALVES"
SECOND = "FLEXVOL_TEST_SECOND_HALF"


class Half:
    """The files of tests that this run has begun. Without a directory it has all.

    directory: what VARIABLE says, or "". is_second: whether this run begins with the last file.
    """

    def __init__(self, directory: str, is_second: bool) -> None:
        self._directory = directory
        self._is_second = is_second
        self._is_ours: dict[str, bool] = {}

    def order(self, items: list[pytest.Item]) -> None:
        """Sorts the tests of this run. Those of one file stay together, in their order, and what is
        marked `last` stays behind all others."""
        if self._is_second:
            files = list(dict.fromkeys(item.path for item in items))
            items.sort(key=lambda item: -files.index(item.path))
        items.sort(key=lambda item: item.get_closest_marker("last") is not None)

    def has(self, file: Path) -> bool:
        """Whether this run has that file's tests; the first who asks has them."""
        name = file.name
        if name not in self._is_ours:
            self._is_ours[name] = not self._directory or self._begin(name)
        return self._is_ours[name]

    def _begin(self, name: str) -> bool:
        try:
            Path(self._directory, name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


HALF = Half(os.environ.get(VARIABLE, ""), is_second=os.environ.get(SECOND) == "1")
