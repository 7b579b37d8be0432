"""The PV that an adopted volume gets."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.kubectl.adopt.manifest import made
from shared import protocol
from tests.unit.cluster.kubectl.adopt.volumes import (
    found,
)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"options": None}, id="no options"),
        pytest.param({"options": {"pool": 1}}, id="an option that is no text"),
        pytest.param(
            {"options": {"kubernetes.io/pvc.uid": "x"}},
            id="an option of ours",
        ),
        pytest.param({"sizeBytes": 0}, id="a size of nothing"),
        pytest.param({"sizeBytes": True}, id="a size that is a truth value"),
        pytest.param({"sizeBytes": "64Mi"}, id="a size that is a text"),
        pytest.param({"fsType": None}, id="no file system"),
    ],
)
def test_a_driver_that_does_not_say_enough_is_not_guessed_at(changes: dict[str, Any]) -> None:
    with pytest.raises(protocol.Internal, match="in full"):
        made(found(**changes).entry)


@pytest.mark.parametrize("size", [1, 64 << 20], ids=["one byte", "64 MiB"])
def test_what_the_driver_says_is_taken_as_it_is(size: int) -> None:
    assert made(found(sizeBytes=size).entry) == {
        "options": {"pool": "default", "poolId": "ab"},
        "capacityBytes": size,
        "fsType": "ext4",
    }
