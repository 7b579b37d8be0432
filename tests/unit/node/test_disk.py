"""node/directories/disk.py: the directories of a disk, and what is noted of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.directories.disk import Disk
from shared.options import Options
from shared.protocol import InvalidArgument, NotFound, Unavailable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def disk(root: Path) -> Disk:
    return Disk(str(root), pool="shelf")


def asked(volume: str = "pvc-1", own: dict[str, str] | None = None, **keys: str) -> Options:
    """What provision and delete are asked. own: the options of the PV. keys: more options, without
    their prefix."""
    values = {
        "pvOrVolumeName": volume,
        "pvc.namespace": "shop",
        "pvc.name": "data",
        "pvc.uid": "u1",
        "clusterUid": "cluster-1",
        "reclaimPolicy": "Delete",
        **{key.replace("_", "."): value for key, value in keys.items()},
    }
    return Options(
        {**{f"kubernetes.io/{key}": value for key, value in values.items()}, **(own or {})}
    )


def of_pod(namespace: str, **own: str) -> Options:
    """What mount is asked. own: the options of the PV."""
    pod = {
        "pod.namespace": namespace,
        "pod.name": "web",
        "pod.uid": "p1",
        "pvOrVolumeName": "pvc-1",
    }
    return Options({**{f"kubernetes.io/{key}": value for key, value in pod.items()}, **own})


def test_a_repeated_call_finds_what_the_first_one_noted(disk: Disk) -> None:
    first = disk.make(asked(), sizeBytes=5)

    assert first["sizeBytes"] == 5
    assert disk.make(asked(), sizeBytes=7) == first


def test_what_is_noted_later_is_listed(disk: Disk) -> None:
    disk.make(asked(), sizeBytes=5)

    disk.change(disk.path_by_name("pvc-1"), sizeBytes=9)

    (entry,) = disk.volumes()
    assert (entry["sizeBytes"], entry["owner"]["uid"]) == (9, "u1")


def test_a_volume_without_a_record_gets_none_by_a_change(disk: Disk, root: Path) -> None:
    (root / "shop/pvc-1").mkdir(parents=True)

    with pytest.raises(NotFound):
        disk.change(disk.path_by_name("pvc-1"), sizeBytes=9)

    assert [path.name for path in (root / "shop").iterdir()] == ["pvc-1"]


def test_a_volume_that_no_namespace_has_is_not_found_by_its_name(disk: Disk) -> None:
    disk.make(asked("pvc-2"))

    with pytest.raises(NotFound, match="pvc-1"):
        disk.path_by_name("pvc-1")


def test_a_pod_gets_the_volume_of_its_namespace_only(disk: Disk, root: Path) -> None:
    own = disk.make(asked())["options"]

    assert disk.find(of_pod("shop", **own)) == str(root / "shop/pvc-1")
    with pytest.raises(NotFound):
        disk.find(of_pod("evil", **own))


@pytest.mark.parametrize("namespace", ["..", "a/b", ""])
def test_a_namespace_leads_nowhere_else(disk: Disk, namespace: str) -> None:
    disk.make(asked())

    with pytest.raises(InvalidArgument):
        disk.find(of_pod(namespace))


def test_a_volume_whose_directory_a_crash_left_out_is_listed_and_removed(
    disk: Disk, root: Path
) -> None:
    disk.make(asked())
    (root / "shop/pvc-1").rmdir()

    (entry,) = disk.volumes()

    assert (entry["name"], entry["blank"], entry["owner"]["uid"]) == ("pvc-1", True, "u1")
    assert disk.make(asked(onlyFind="true"))["owner"]["uid"] == "u1"
    (root / "shop/pvc-1").rmdir()
    disk.remove(asked(onlyIfBlank="true"))
    assert disk.volumes() == []


def test_a_record_whose_writing_was_cut_is_no_volume(disk: Disk, root: Path) -> None:
    disk.make(asked())
    (root / "shop/..pvc-2.new").write_text("{")

    assert [entry["name"] for entry in disk.volumes()] == ["pvc-1"]


@pytest.mark.parametrize("text", ["{", "[]", "1"])
def test_a_damaged_record_is_an_error_and_the_volume_stays(
    disk: Disk, root: Path, text: str
) -> None:
    disk.make(asked())
    (root / "shop/.pvc-1").write_text(text)

    (entry,) = disk.volumes()

    assert "/shop/.pvc-1 is not what the driver wrote" in entry["error"]
    with pytest.raises(Unavailable):
        disk.remove(asked())
    assert (root / "shop/pvc-1").is_dir()


def test_a_root_that_a_person_makes_is_never_made(root: Path) -> None:
    disk = Disk(str(root), pool="shelf", is_made=False)

    for step in (lambda: disk.make(asked()), disk.volumes, disk.room):
        with pytest.raises(Unavailable, match="see that its disk is mounted"):
            step()

    assert not root.exists()
    root.mkdir()
    disk.make(asked())
    assert disk.room()["id"] == disk.volumes()[0]["poolId"]


@pytest.mark.parametrize("is_mounted", [True, False], ids=["another disk", "no disk"])
def test_while_the_disk_is_away_no_volume_is_gone(
    root: Path, tmp_path: Path, is_mounted: bool
) -> None:
    disk = Disk(str(root), pool="shelf", is_made=False)
    root.mkdir()
    own = disk.make(asked())["options"]
    root.rename(tmp_path / "away")
    if is_mounted:
        root.mkdir()

    with pytest.raises(Unavailable):
        disk.find(of_pod("shop", **own))
    with pytest.raises(Unavailable):
        disk.remove(asked(own=own))
