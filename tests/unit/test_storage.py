"""The door to drivers: what a driver answers is believed only as far as the contract goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import protocol
from controller.storage import Storage

REQUEST = protocol.Options({protocol.REQUEST_BYTES: "100", protocol.VOLUME: "pvc-1"})


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """A driver that prints the file beside it."""
    path = tmp_path / "flexvol~fake/fake"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    path.chmod(0o755)
    return tmp_path


def answer(driver: Path, **reply: Any) -> None:
    (driver / "answer").write_text(json.dumps(reply))


def test_what_it_made_is_returned(driver: Path) -> None:
    made = {"options": {"a": "b"}, "capacityBytes": 100, "fsType": "ext4"}
    answer(driver, status="Success", volume=made)

    assert Storage(str(driver)).provision("flexvol/fake", REQUEST) == made


def test_a_script_for_the_retired_flex_provisioner_needs_no_more_than_success(driver: Path) -> None:
    answer(driver, status="Success")

    made = Storage(str(driver)).provision("flexvol/fake", REQUEST)

    assert made == {"options": {}, "capacityBytes": 100, "fsType": ""}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("x", "no object"),
        ({"options": {"a": 1}, "capacityBytes": 100, "fsType": ""}, "not an object of strings"),
        ({"options": {"requestBytes": "1"}, "capacityBytes": 100, "fsType": ""}, "reserved"),
        ({"options": {"kubernetes.io/secret/a": "1"}, "capacityBytes": 100, "fsType": ""}, "reserved"),
        ({"options": {}, "capacityBytes": 99, "fsType": ""}, "99"),
        ({"options": {}, "capacityBytes": "100", "fsType": ""}, "'100'"),
        ({"options": {}, "capacityBytes": True, "fsType": ""}, "True"),
        ({"options": {}, "capacityBytes": 100}, "fsType"),
    ],
)
def test_a_success_without_a_usable_volume_is_an_unknown_outcome(driver: Path, made: Any, said: str) -> None:
    answer(driver, status="Success", volume=made)

    with pytest.raises(protocol.Internal, match="usable volume") as refused:
        Storage(str(driver)).provision("flexvol/fake", REQUEST)
    assert said in str(refused.value)


def test_a_drivers_failure_arrives_as_what_it_is(driver: Path) -> None:
    answer(driver, status="Failure", reason="Busy", message="by web")

    with pytest.raises(protocol.Busy, match="by web"):
        Storage(str(driver)).delete("flexvol/fake", REQUEST)


def test_a_driver_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(protocol.Unavailable, match="flexvol~none/none"):
        Storage(str(tmp_path)).delete("flexvol/none", REQUEST)
