"""examples/directory.py: what the driver records, lists and collects. Its calls by kubelet are in
tests/unit/bundle/test_build.py."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundle import pack
from cluster.controller import driver_replies, leftovers, pool_rooms
from tests.precompiled import precompile
from tests.sources import ROOT

EXAMPLE = ROOT / "examples/directory.py"
VOLUMES = "/var/lib/flexvol-directory"
CLUSTER = "cluster-1"
AT_ONCE = 6
Call = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    target = tmp_path_factory.mktemp("directory") / "flexvol"
    pack.pack(target, [EXAMPLE])
    precompile(target)
    Path(VOLUMES).mkdir(exist_ok=True)
    return target


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """What the driver has for its disk."""
    path = tmp_path / "disk"
    path.mkdir()
    return path


def line(driver: Path, disk: Path, *words: str) -> list[str]:
    """A call that sees this disk, and leaves no mount."""
    script = f'mount --bind "$0" {VOLUMES}; exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, str(disk), str(driver), *words]


@pytest.fixture
def call(driver: Path, disk: Path) -> Call:
    def run(*words: str) -> dict[str, Any]:
        done = subprocess.run(line(driver, disk, *words), capture_output=True, check=True)
        assert done.stderr == b""
        reply: dict[str, Any] = json.loads(done.stdout)
        return reply

    return run


def request(**keys: str) -> str:
    """The options of provision and delete. keys: more of them, without their prefix."""
    values = {
        "pvOrVolumeName": "pvc-1",
        "pvc.namespace": "shop",
        "pvc.name": "data",
        "pvc.uid": "u1",
        "clusterUid": CLUSTER,
        "reclaimPolicy": "Delete",
        **{key.replace("_", "."): value for key, value in keys.items()},
    }
    options = {f"kubernetes.io/{key}": value for key, value in values.items()}
    return json.dumps({"requestBytes": "1048576", **options})


def entry_in(reply: dict[str, Any]) -> dict[str, Any]:
    """The one volume that is listed, as the provisioner believes it."""
    (entry,) = driver_replies.checked_entries(reply["volumes"])
    return entry


def test_a_volume_is_listed_with_its_owner_and_the_disk_with_its_room(
    call: Call, disk: Path
) -> None:
    options = call("provision", request())["volume"]["options"]

    reply = call("list")

    assert entry_in(reply) == {
        "name": "pvc-1",
        "pool": "directory",
        "poolId": options["poolId"],
        "options": options,
        "owner": {"namespace": "shop", "name": "data", "uid": "u1"},
        "clusterUid": CLUSTER,
        "reclaimPolicy": "Delete",
        "blank": True,
    }
    (pool,) = driver_replies.checked_entries(reply["pools"])
    assert pool["id"] == options["poolId"]
    state = os.statvfs(disk)
    assert pool["capacityBytes"] == state.f_blocks * state.f_frsize
    assert pool_rooms.free_bytes({}, pool) == pytest.approx(
        state.f_bavail * state.f_frsize, rel=0.2
    )


def test_an_orphan_is_collected_only_while_it_is_empty(call: Call, disk: Path) -> None:
    call("provision", request())
    assert leftovers.judge(entry_in(call("list")), CLUSTER).reason == leftovers.BLANK
    (disk / "shop/pvc-1/file").write_text("data")
    assert leftovers.judge(entry_in(call("list")), CLUSTER).reason == leftovers.USED

    refused = call("delete", request(onlyIfBlank="true"))

    assert (refused["status"], refused["reason"]) == ("Failure", "Busy")
    assert (disk / "shop/pvc-1/file").read_text() == "data"
    (disk / "shop/pvc-1/file").unlink()
    assert call("delete", request(onlyIfBlank="true"))["status"] == "Success"
    assert call("delete", request(onlyIfBlank="true"))["status"] == "Success"
    assert list((disk / "shop").iterdir()) == []


def test_a_volume_without_a_record_is_listed_and_never_collected(call: Call, disk: Path) -> None:
    (disk / "shop/pvc-1").mkdir(parents=True)
    (disk / "stray").write_text("no directory of a namespace")

    entry = entry_in(call("list"))

    assert entry["name"] == "pvc-1"
    assert leftovers.judge(entry, CLUSTER).reason == leftovers.UNKNOWN


def test_a_volume_whose_claim_went_is_only_looked_for(call: Call, disk: Path) -> None:
    assert call("provision", request(onlyFind="true"))["reason"] == "NotFound"
    assert list(disk.iterdir()) == []
    call("provision", request())

    assert call("provision", request(onlyFind="true"))["status"] == "Success"


def test_calls_at_once_make_one_volume_with_one_record(driver: Path, disk: Path) -> None:
    words = line(driver, disk, "provision", request())
    calls = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(AT_ONCE)]

    replies = [json.loads(each.communicate(timeout=60)[0]) for each in calls]

    assert [reply["status"] for reply in replies] == ["Success"] * AT_ONCE
    assert sorted(path.name for path in (disk / "shop").iterdir()) == [".pvc-1", "pvc-1"]


def test_a_volume_is_deleted_with_its_files_and_again_is_a_success(call: Call, disk: Path) -> None:
    call("provision", request())
    (disk / "shop/pvc-1/file").write_text("data")

    assert call("delete", request())["status"] == "Success"
    assert call("delete", request())["status"] == "Success"

    assert list((disk / "shop").iterdir()) == []


@pytest.mark.parametrize("words", [["provision"], ["delete"]])
def test_a_volume_of_another_claim_is_left_alone(call: Call, disk: Path, words: list[str]) -> None:
    call("provision", request())
    (disk / "shop/pvc-1/file").write_text("data")
    before = call("list")["volumes"]

    refused = call(*words, request(pvc_uid="u2"))

    assert refused["reason"] == "InvalidArgument"
    assert "u1" in refused["message"]
    assert call("list")["volumes"] == before
    assert (disk / "shop/pvc-1/file").read_text() == "data"


def test_while_another_disk_is_mounted_a_volume_is_not_gone(
    call: Call, driver: Path, disk: Path, tmp_path: Path
) -> None:
    options = call("provision", request())["volume"]["options"]
    wanted = json.dumps({**json.loads(request()), **options})
    other = tmp_path / "other"
    other.mkdir()

    done = subprocess.run(line(driver, other, "delete", wanted), capture_output=True, check=True)

    refused = json.loads(done.stdout)
    assert refused["reason"] == "Unavailable"
    assert options["poolId"] in refused["message"]
    assert call("delete", wanted)["status"] == "Success"
    assert list((disk / "shop").iterdir()) == []


def test_a_disk_that_somebody_mounted_below_a_volume_keeps_its_files(
    driver: Path, disk: Path, tmp_path: Path, call: Call
) -> None:
    call("provision", request())
    (disk / "shop/pvc-1/disk").mkdir()
    below = f"{VOLUMES}/shop/pvc-1/disk"
    script = (
        f"mount -t tmpfs none {below}; touch {below}/file; "
        f'"$0" delete "$1"; cat {below}/file; ls {below}'
    )

    shell = line(Path("sh"), disk, "-c", script, str(driver), request())
    done = subprocess.run(shell, capture_output=True, check=True)

    reply, _, listed = done.stdout.partition(b"\n")
    assert json.loads(reply)["status"] == "Failure"
    assert listed.split() == [b"file"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"owner": null}', '{"owner": {"name": "data"}}', "\u00ff"]
)
def test_a_damaged_record_keeps_no_other_volume_from_being_listed(
    call: Call, disk: Path, content: str
) -> None:
    call("provision", request())
    call("provision", request(pvOrVolumeName="pvc-2", pvc_uid="u2"))
    (disk / "shop/.pvc-1").write_text(content)

    damaged, whole = driver_replies.checked_entries(call("list")["volumes"])

    assert "/shop/.pvc-1" in damaged["error"]
    assert leftovers.judge(damaged, CLUSTER).reason == leftovers.UNKNOWN
    assert whole["owner"]["uid"] == "u2"
    for callout in ("delete", "provision"):
        reply = call(callout, request())
        assert reply["reason"] == "Unavailable"
        assert "/shop/.pvc-1 is not what the driver wrote" in reply["message"]
    assert (disk / "shop/pvc-1").is_dir()
