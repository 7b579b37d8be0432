"""The door to drivers: what a driver answers is believed only as far as the contract goes."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cluster.controller.storage import Storage
from shared import options, protocol

REQUEST = options.Options({options.REQUEST_BYTES: "100", options.VOLUME: "pvc-1"})


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

    assert Storage(str(driver), 4).provision("flexvol/fake", REQUEST) == made


def test_a_script_for_the_retired_flex_provisioner_needs_no_more_than_success(driver: Path) -> None:
    answer(driver, status="Success")

    made = Storage(str(driver), 4).provision("flexvol/fake", REQUEST)

    assert made == {"options": {}, "capacityBytes": 100, "fsType": ""}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        pytest.param("x", "no object", id="it is no object"),
        pytest.param(
            {"options": {"a": 1}, "capacityBytes": 100, "fsType": ""},
            "not an object of strings",
            id="an option is no string",
        ),
        pytest.param(
            {"options": {"requestBytes": "1"}, "capacityBytes": 100, "fsType": ""},
            "reserved",
            id="an option is the provisioner's own",
        ),
        pytest.param(
            {
                "options": {"kubernetes.io/secret/a": "1"},
                "capacityBytes": 100,
                "fsType": "",
            },
            "reserved",
            id="an option is kubelet's own",
        ),
        pytest.param(
            {"options": {}, "capacityBytes": 99, "fsType": ""}, "99", id="it is too small"
        ),
        pytest.param(
            {"options": {}, "capacityBytes": "100", "fsType": ""},
            "'100'",
            id="its size is a string",
        ),
        pytest.param(
            {"options": {}, "capacityBytes": True, "fsType": ""},
            "True",
            id="its size is a truth value",
        ),
        pytest.param(
            {"options": {}, "capacityBytes": 100},
            "fsType",
            id="it has no file system",
        ),
    ],
)
def test_a_success_without_a_usable_volume_is_an_unknown_outcome(
    driver: Path, made: Any, said: str
) -> None:
    answer(driver, status="Success", volume=made)

    with pytest.raises(protocol.Internal, match="usable volume") as refused:
        Storage(str(driver), 4).provision("flexvol/fake", REQUEST)
    assert said in str(refused.value)


def test_a_drivers_failure_arrives_as_what_it_is(driver: Path) -> None:
    answer(driver, status="Failure", reason="Busy", message="by web")

    with pytest.raises(protocol.Busy, match="by web"):
        Storage(str(driver), 4).delete("flexvol/fake", REQUEST)


def test_a_driver_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(protocol.Unavailable, match="flexvol~none/none"):
        Storage(str(tmp_path), 4).delete("flexvol/none", REQUEST)


def test_no_more_calls_of_a_driver_run_than_it_may_have_and_it_is_tried_again_soon(
    driver: Path,
) -> None:
    go = driver / "answer"
    (driver / "flexvol~fake/fake").write_text(
        f"#!/bin/sh\nwhile [ ! -e {go} ]; do sleep 0.01; done\ncat {go}\n"
    )
    storage = Storage(str(driver), 2)
    with ThreadPoolExecutor() as threads:
        running = [
            threads.submit(
                storage.delete,
                "flexvol/fake",
                REQUEST,
            )
            for _ in range(2)
        ]
        while storage.running("flexvol/fake") < 2:
            time.sleep(0.01)
        with pytest.raises(
            protocol.Pending, match="2 callouts of the driver flexvol/fake run already"
        ):
            storage.adopt("flexvol/fake", REQUEST)
        go.with_name("aside").write_text('{"status": "Success"}')
        go.with_name("aside").rename(go)
        assert [one.result(10) for one in running] == [None, None]
    storage.delete("flexvol/fake", REQUEST)


@pytest.mark.parametrize(
    ("lasting", "other"),
    [
        pytest.param(
            "provision",
            "delete",
            id="calls that make volumes leave room for a deletion",
        ),
        pytest.param(
            "delete",
            "provision",
            id="deletions leave room for a call that makes one",
        ),
    ],
)
def test_calls_of_one_kind_leave_room_for_one_of_the_other(
    driver: Path, lasting: str, other: str
) -> None:
    go = driver / "answer"
    (driver / "flexvol~fake/fake").write_text(
        "#!/bin/sh\n"
        f"""[ "$1" = {other} ] && echo '{{"status": "Success"}}' && exit\n"""
        f"while [ ! -e {go} ]; do sleep 0.01; done\ncat {go}\n"
    )
    storage = Storage(str(driver), 2)
    with ThreadPoolExecutor() as threads:
        call = getattr(storage, lasting)
        running = [threads.submit(call, "flexvol/fake", REQUEST) for _ in range(2)]
        while storage.running("flexvol/fake") < 2:
            time.sleep(0.01)

        getattr(storage, other)("flexvol/fake", REQUEST)

        with pytest.raises(protocol.Pending, match="2 callouts of the driver"):
            call("flexvol/fake", REQUEST)
        go.with_name("aside").write_text('{"status": "Success"}')
        go.with_name("aside").rename(go)
        for one in running:
            one.result(10)


def test_what_a_driver_lists_and_cannot_be_is_an_error_with_a_name(driver: Path) -> None:
    pools = [
        {"name": "a", "freeBytes": 1},
        {"name": "b", "freeBytes": None},
        {"freeBytes": 1},
        7,
    ]
    volumes = [
        {"name": "v", "owner": "x"},
        {"name": "w", "owner": None, "sizeBytes": -1},
        {"name": "x", "owner": {}},
    ]
    answer(driver, status="Success", volumes=volumes, pools=pools)

    listed = Storage(str(driver), 4).list("flexvol/fake")

    said = "its driver lists it with "
    assert listed.pools == [
        {"name": "a", "freeBytes": 1},
        {"name": "b", "error": said + "freeBytes 'None'"},
        {"name": "None", "error": said + "name 'None'"},
    ]
    assert listed.volumes == [
        {"name": "v", "error": said + "owner 'x'"},
        {"name": "w", "error": said + "sizeBytes '-1'"},
        {"name": "x", "owner": {}},
    ]


def test_a_driver_that_hangs_is_given_up_after_its_callouts_time(
    driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (driver / "flexvol~fake/fake").write_text("#!/bin/sh\nsleep 60\n")
    monkeypatch.setattr(protocol.CALLOUTS["provision"], "seconds", 1)
    began = time.monotonic()

    with pytest.raises(protocol.Failure) as failure:
        Storage(str(driver), 4).provision("flexvol/fake", REQUEST)

    assert "1 s" in str(failure.value)
    assert 1 <= time.monotonic() - began < 20


@pytest.mark.parametrize("volumes", [7, "pvc-1", {"name": "pvc-1"}, None], ids=str)
def test_volumes_that_are_no_list_are_none(driver: Path, volumes: Any) -> None:
    answer(driver, status="Success", volumes=volumes, pools=[{"name": "a"}])

    assert Storage(str(driver), 4).list("flexvol/fake") == ([], [{"name": "a"}])


def test_one_list_of_a_driver_runs_at_a_time(driver: Path) -> None:
    log = driver / "log"
    (driver / "flexvol~fake/fake").write_text(
        f"#!/bin/sh\necho begin >> {log}\nsleep 0.2\necho end >> {log}\n"
        """echo '{"status": "Success"}'\n"""
    )
    storage = Storage(str(driver), 4)

    with ThreadPoolExecutor() as threads:
        for one in [threads.submit(storage.list, "flexvol/fake") for _ in range(3)]:
            one.result(20)

    assert log.read_text().split() == ["begin", "end"] * 3
