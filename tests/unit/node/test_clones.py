"""How a copy that takes long shares the provisioner with other claims."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from node.drivers.loop import clones, records
from node.host import copying, files
from shared.protocol import Pending


def test_a_long_copy_gives_way_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker of a provisioner that copies would otherwise be away for as long as a call of
    the driver may take, and claims that need a moment would wait for it."""
    deadlines = []
    saved: dict[str, Any] = {}

    def copy(source: int, target: int, begin: int, end: int, deadline: float) -> int:
        deadlines.append(deadline)
        return begin + 7

    monkeypatch.setattr(clones._Cloning, "version", lambda cloning: "as it was")
    monkeypatch.setattr(copying, "copy", copy)
    monkeypatch.setattr(copying, "data_bytes", lambda source, begin, end: end - begin)
    monkeypatch.setattr(files, "identity", lambda target: "target")
    source: Any = SimpleNamespace(name="a", thick=False, lock_image=lambda image: None)
    image: Any = 0
    record = records.new(copy_of="as it was", copied_bytes=5)
    clone: Any = SimpleNamespace(name="b", thick=False, record=record, save=saved.update)

    began = time.monotonic()
    with pytest.raises(Pending, match=r"B/s, .* left; the next call goes on"):
        clones._Cloning(source, image, None).copy(clone, 0, 100)

    assert saved["copied_bytes"] == 12
    assert began < deadlines[0] <= time.monotonic() + 60
