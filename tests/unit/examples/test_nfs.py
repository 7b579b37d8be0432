"""examples/nfs.py on a directory in the place of an export: what is made, found, kept and deleted,
also after a crash, and what is refused. The kernel's NFS is in tests/vm/test_network_drivers.py."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller import driver_replies, leftovers, listed_pools, pool_rooms
from cluster.controller.storage import Listed
from cluster.kubectl.adopt import manifest
from examples import nfs
from node.directories import callouts, pools, records
from node.directories.pools import open_pool
from node.host import files
from node.host.apart import Look
from shared.deadlines import TimedOut
from shared.options import Options
from shared.protocol import (
    Busy,
    InvalidArgument,
    NotFound,
    Pending,
    ResourceExhausted,
    Unavailable,
)

EXPORT = nfs.Export("default", {"server": "nas", "share": "/data", "mountOptions": "hard"})


def request(volume: str = "pvc-1", **values: str) -> Options:
    """What provision is called with."""
    return Options({
        "kubernetes.io/pvOrVolumeName": volume,
        "kubernetes.io/pvc.namespace": "shop",
        "kubernetes.io/pvc.name": "data",
        "kubernetes.io/pvc.uid": "u1",
        "kubernetes.io/pvc.accessModes": "ReadWriteMany",
        "kubernetes.io/storageClass.name": "nfs",
        "kubernetes.io/reclaimPolicy": "Delete",
        "kubernetes.io/mountOptions": "nconnect=4",
        "kubernetes.io/clusterUid": "c1",
        "requestBytes": "1048576",
        **values,
    })  # fmt: skip


class Disk:
    """An export. pool: the export as a visit has it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / ".flexvol").mkdir()
        self._root = os.open(root, os.O_RDONLY)
        self.pool = open_pool("default", self._root)

    def close(self) -> None:
        with self.pool:
            os.close(self._root)

    def make(self, volume: str = "pvc-1", **values: str) -> Path:
        """Makes a volume, and returns its directory."""
        nfs.make(self.pool, EXPORT, request(volume, **values))
        path: str = self.record(volume)["path"]
        return self.root / path

    def record(self, volume: str = "pvc-1") -> dict[str, Any]:
        path = self.root / f".flexvol/volumes/{volume}.json"
        record: dict[str, Any] = json.loads(path.read_text())
        return record

    def change(self, **values: Any) -> None:
        """Writes other values into the record of pvc-1."""
        path = self.root / ".flexvol/volumes/pvc-1.json"
        path.write_text(json.dumps({**self.record(), **values}))

    def delete(self, volume: str = "pvc-1", **values: str) -> str:
        return callouts.remove(self.pool, request(volume, poolId=self.pool.id(), **values))

    def use(self, namespace: str = "shop") -> str:
        """Returns the path of the directory that a pod gets."""
        with callouts.use(self.pool, self.pool.id(), "pvc-1", namespace) as directory:
            return os.readlink(f"/proc/self/fd/{directory}").removeprefix(f"{self.root}/")

    def reopen(self) -> None:
        """Another visit of the export."""
        self.pool.__exit__()
        self.pool = open_pool("default", self._root)

    def list(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The pool and its volumes, as the inventory gets them."""
        pools: list[dict[str, Any]] = []
        volumes: list[dict[str, Any]] = []
        told = callouts.told("default", nfs.describe(self.pool, EXPORT))
        callouts.gather("default", Look(list(told), ""), pools, volumes)
        return pools[0], volumes

    def names(self) -> set[str]:
        """What the export shows."""
        return {path.name for path in self.root.iterdir()} - {".flexvol"}

    def marks(self) -> set[str]:
        """What is left in .flexvol of volumes."""
        marks = self.root / ".flexvol"
        return {
            f"{directory}/{path.name}"
            for directory in ("volumes", "paths", "deleting")
            for path in (marks / directory).iterdir()
        }


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    root = tmp_path / "export"
    root.mkdir()
    disk = Disk(root)
    yield disk
    disk.close()


def test_a_volume_is_a_directory_that_any_user_may_write_to(disk: Disk) -> None:
    answer = nfs.make(disk.pool, EXPORT, request())

    directory = disk.root / "shop-data-pvc-1"
    assert directory.stat().st_mode & 0o7777 == 0o777
    assert answer == {
        "options": {
            "pool": "default",
            "poolId": disk.pool.id(),
            "server": "nas",
            "share": "/data",
            "mountOptions": "hard,nconnect=4",
        },
        "capacityBytes": 1048576,
        "fsType": "",
    }
    assert nfs.make(disk.pool, EXPORT, request()) == answer
    assert disk.names() == {"shop-data-pvc-1"}


def test_the_class_says_path_and_permissions(disk: Disk) -> None:
    directory = disk.make(pathPattern="/${.PVC.namespace}/${.PVC.name}", mode="2770")

    assert directory == disk.root / "shop/data"
    assert directory.stat().st_mode & 0o7777 == 0o2770


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"mode": "rwx"}, "mode is 'rwx'; write it in octal", id="no mode"),
        pytest.param({"mode": "99"}, "mode is '99'", id="no octal mode"),
        pytest.param({"archiveOnDelete": "no"}, "archiveOnDelete is 'no'", id="no truth"),
        pytest.param({"pathPattern": "../${.PVC.name}"}, "is no path", id="out of the export"),
        pytest.param({"pathPattern": "a/../b"}, "is no path", id="upwards"),
        pytest.param({"pathPattern": "a//b"}, "is no path", id="an empty name"),
        pytest.param({"pathPattern": "."}, "is no path", id="the export itself"),
        pytest.param({"pathPattern": ".flexvol/x"}, "is no path", id="the driver's own place"),
        pytest.param({"pathPattern": "a/.b"}, "is no path", id="a hidden name"),
        pytest.param({"pathPattern": "a b"}, "is no path", id="a blank"),
        pytest.param({"pathPattern": "a%b"}, "is no path", id="a percent sign"),
        pytest.param({"pathPattern": "${.PVC.uid}"}, "is no path", id="another variable"),
        pytest.param({"pathPattern": "${.PVC.annotations.x}"}, "is no path", id="an annotation"),
        pytest.param({"pathPattern": "a" * 241}, "is no path", id="too long"),
        pytest.param({"kubernetes.io/pvc.namespace": "../x"}, "no namespace", id="a namespace"),
        pytest.param({"kubernetes.io/pvc.name": "a/b"}, "no claim", id="a claim"),
        pytest.param({"kubernetes.io/pvOrVolumeName": "../x"}, "is not a name", id="a volume"),
    ],
)
def test_what_a_class_may_not_ask_is_refused_and_makes_nothing(
    disk: Disk, values: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        nfs.make(disk.pool, EXPORT, request(**values))

    assert disk.names() == set()
    assert disk.marks() == set()


@given(st.text(), st.text(), st.text())
def test_no_name_and_no_pattern_leads_out_of_the_export(
    namespace: str, claim: str, pattern: str
) -> None:
    named = {"kubernetes.io/pvc.namespace": namespace, "kubernetes.io/pvc.name": claim}
    try:
        path = records.path_for(request(**named), pattern)
    except InvalidArgument:
        return
    assert os.path.normpath(path) == path
    assert not path.startswith(("/", "."))
    assert "/." not in path


def test_the_longest_names_still_make_a_file_name(disk: Disk) -> None:
    directory = disk.make(
        "pvc-" + "1" * 36,
        **{"kubernetes.io/pvc.namespace": "n" * 63, "kubernetes.io/pvc.name": "c" * 253},
    )

    assert directory.is_dir()
    assert directory.name.endswith("-pvc-" + "1" * 36)


def test_a_claim_for_more_than_is_free_is_refused_with_the_numbers(disk: Disk) -> None:
    with pytest.raises(ResourceExhausted, match="bytes free, and 9000000000000000000 are asked"):
        nfs.make(disk.pool, EXPORT, request(requestBytes="9000000000000000000"))

    assert disk.marks() == set()


def test_a_volume_of_another_claim_is_not_handed_out(disk: Disk) -> None:
    disk.make()

    with pytest.raises(InvalidArgument, match="is of another claim"):
        disk.make(**{"kubernetes.io/pvc.uid": "u2"})


def test_a_directory_of_somebody_else_is_not_taken(disk: Disk) -> None:
    (disk.root / "shop-data-pvc-1").mkdir()

    with pytest.raises(InvalidArgument, match="flexvol has not made it; move it away"):
        disk.make()
    disk.delete()

    assert disk.names() == {"shop-data-pvc-1"}
    assert disk.marks() == set()


def test_a_refused_claim_leaves_nothing(disk: Disk) -> None:
    (disk.root / "shop").mkdir()
    disk.make("pvc-2", pathPattern="a/b")

    for pattern in ("shop", "shop/data", "a/b", "a/b/c", "a"):
        with pytest.raises(InvalidArgument):
            disk.make(pathPattern=pattern)

    assert disk.marks() == {"volumes/pvc-2.json", "paths/a", "paths/a%b"}
    assert disk.names() == {"shop", "a"}


def test_what_lies_at_the_path_of_a_refused_claim_is_not_the_claims(disk: Disk) -> None:
    """A call that was killed before it could give the record up."""
    (disk.root / "shop-data-pvc-1").mkdir()
    (disk.root / "shop-data-pvc-1/file").write_text("of a person")
    disk.pool.prepare()
    disk.pool.write(records.new_record(request(), mountOptions=""))

    _, (volume,) = disk.list()
    message = disk.delete(**{"kubernetes.io/onlyIfBlank": "true"})

    assert (volume["blank"], "error" in volume, message) == (True, False, "")
    assert (disk.root / "shop-data-pvc-1/file").read_text() == "of a person"
    assert disk.marks() == set()


def test_a_link_in_the_place_of_a_directory_is_not_followed(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (disk.root / "shop").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(InvalidArgument, match="flexvol has not made it"):
        disk.make(pathPattern="${.PVC.namespace}/${.PVC.name}")

    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("${.PVC.namespace}", "${.PVC.namespace}/x", id="in the first"),
        pytest.param("${.PVC.namespace}/x", "${.PVC.namespace}", id="around the first"),
        pytest.param("${.PVC.namespace}", "${.PVC.namespace}", id="at the same path"),
    ],
)
def test_no_volume_lies_in_another(disk: Disk, first: str, second: str) -> None:
    directory = disk.make(pathPattern=first)

    with pytest.raises(InvalidArgument, match="is taken by"):
        disk.make("pvc-2", pathPattern=second)
    disk.delete("pvc-2")

    assert directory.is_dir()
    assert list(directory.iterdir()) == []


def test_a_deleted_volume_is_kept_under_another_name(disk: Disk) -> None:
    (disk.make() / "file").write_text("data")
    disk.use()

    assert disk.delete() == "its directory is kept as archived-shop-data-pvc-1"

    assert (disk.root / "archived-shop-data-pvc-1/file").read_text() == "data"
    assert disk.names() == {"archived-shop-data-pvc-1"}
    assert disk.marks() == set()
    assert disk.delete() == "it was already gone"


def test_the_path_of_a_deleted_volume_is_free_again(disk: Disk) -> None:
    pattern = "${.PVC.namespace}/${.PVC.name}"
    (disk.make(pathPattern=pattern) / "file").write_text("old")
    disk.delete()

    directory = disk.make("pvc-2", pathPattern=pattern)

    assert list(directory.iterdir()) == []
    assert (disk.root / "archived-shop-data-pvc-1/file").read_text() == "old"


@pytest.mark.parametrize("for_good", ["true", "false"])
def test_the_directories_above_the_last_volume_go_with_the_volume(
    disk: Disk, for_good: str
) -> None:
    for volume, pattern in (("pvc-1", "a/b/c"), ("pvc-2", "a/d")):
        disk.make(volume, pathPattern=pattern, archiveOnDelete=for_good)

    disk.delete()
    assert {path.name for path in (disk.root / "a").iterdir()} == {"d"}
    assert disk.marks() == {"volumes/pvc-2.json", "paths/a", "paths/a%d"}
    disk.delete("pvc-2")

    assert "a" not in disk.names()
    assert disk.marks() == set()


def test_a_directory_above_that_a_person_uses_stays(disk: Disk) -> None:
    disk.make(pathPattern="a/b", archiveOnDelete="false")
    (disk.root / "a/file").write_text("of a person")

    disk.delete()

    assert [path.name for path in (disk.root / "a").iterdir()] == ["file"]
    disk.make("pvc-2", pathPattern="a/b", archiveOnDelete="false")
    (disk.root / "a/file").unlink()
    disk.delete("pvc-2")
    assert (disk.names(), disk.marks()) == (set(), set())


def test_a_class_may_have_its_volumes_deleted_for_good(disk: Disk) -> None:
    directory = disk.make(archiveOnDelete="false")
    (directory / "inner").mkdir()
    (directory / "inner/file").write_text("data")
    (directory / "link").symlink_to("/")

    assert disk.delete() == ""

    assert disk.names() == set()
    assert disk.marks() == set()


def test_a_directory_that_was_put_in_its_place_is_kept(disk: Disk) -> None:
    directory = disk.make(archiveOnDelete="false")
    directory.rename(disk.root / "old")
    directory.mkdir()
    (directory / "file").write_text("from a backup")

    disk.delete()

    assert (disk.root / "archived-shop-data-pvc-1/file").read_text() == "from a backup"


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(
            lambda disk: (disk.root / ".flexvol/paths/shop-data-pvc-1").unlink(),
            id="nobody knows any more whose path it is",
        ),
        pytest.param(
            lambda disk: disk.change(inode=0), id="files came before the directory was noted"
        ),
    ],
)
def test_a_directory_that_stays_is_told(disk: Disk, spoil: Callable[[Disk], Any]) -> None:
    directory = disk.make(archiveOnDelete="false")
    (directory / "file").write_text("data")
    spoil(disk)

    assert disk.delete() == "its directory shop-data-pvc-1 is left in the export"

    assert (directory / "file").read_text() == "data"
    assert disk.marks() == set()


def test_a_volume_whose_record_is_lost_is_not_gone(disk: Disk) -> None:
    directory = disk.make(pathPattern="a/b")
    record = disk.root / ".flexvol/volumes/pvc-1.json"
    content = record.read_bytes()
    record.unlink()

    with pytest.raises(Unavailable, match=r"put \.flexvol/volumes/pvc-1\.json back from a backup"):
        disk.delete()
    with pytest.raises(Unavailable, match=r"remove \.flexvol/paths/a%b$"):
        disk.make(pathPattern="a/b")

    assert directory.is_dir()
    record.write_bytes(content)
    assert "kept as" in disk.delete()


def test_a_mark_that_was_not_written_is_no_trace_of_a_volume(disk: Disk) -> None:
    disk.make()
    disk.delete()
    (disk.root / ".flexvol/paths/.shop-data-pvc-1.new").write_text("pvc-1")

    assert disk.delete() == "it was already gone"


def test_a_directory_that_another_volume_has_got_meanwhile_is_not_told(disk: Disk) -> None:
    """The deletion was killed when it had given the path free, and another claim came."""
    directory = disk.make(pathPattern="data")
    record = disk.root / ".flexvol/volumes/pvc-1.json"
    content = record.read_bytes()
    disk.delete()
    disk.make("pvc-2", pathPattern="data")
    record.write_bytes(content)

    assert disk.delete() == ""

    assert directory.is_dir()
    assert disk.marks() == {"volumes/pvc-2.json", "paths/data"}


@pytest.mark.parametrize("name", ["volumes", "paths"])
def test_an_export_that_has_lost_all_records_is_damaged(disk: Disk, name: str) -> None:
    directory = disk.make()
    shutil.rmtree(disk.root / ".flexvol" / name)

    with pytest.raises(Unavailable, match=f"has lost .flexvol/{name}; put it back from a backup"):
        disk.delete()
    with pytest.raises(Unavailable, match=f"has lost .flexvol/{name}; put it back from a backup"):
        disk.make("pvc-2")

    assert not (disk.root / ".flexvol" / name).exists()
    assert directory.is_dir()


def test_an_export_that_has_lost_its_id_gets_no_other_one(disk: Disk) -> None:
    """With another id no PV would find its volume again."""
    disk.make()
    (disk.root / ".flexvol/pool.json").unlink()
    disk.reopen()
    lost = "has lost .flexvol/pool.json; put it back from a backup"

    with pytest.raises(Unavailable, match=lost):
        disk.make("pvc-2")
    with pytest.raises(Unavailable, match=lost):
        callouts.remove(disk.pool, request())
    shown, volumes = disk.list()

    assert (lost in shown["error"], volumes) == (True, [])
    assert not (disk.root / ".flexvol/pool.json").exists()
    assert disk.names() == {"shop-data-pvc-1"}


@pytest.mark.parametrize("content", ["{}", '{"id": ""}', '{"id": 7}', "[]", ""])
def test_an_id_that_is_none_is_damaged(disk: Disk, content: str) -> None:
    disk.make()
    (disk.root / ".flexvol/pool.json").write_text(content)
    disk.reopen()

    with pytest.raises(Unavailable, match="export is not what flexvol wrote"):
        callouts.use(disk.pool, "None", "pvc-1", "shop")
    with pytest.raises(Unavailable, match="export is not what flexvol wrote"):
        disk.make("pvc-2")


def test_what_an_earlier_volume_of_that_name_left_does_not_keep_the_next(disk: Disk) -> None:
    left = disk.root / ".flexvol/deleting/pvc-1"
    disk.make(archiveOnDelete="false").joinpath("file").write_text("data")
    left.mkdir()
    (left / "file").write_text("of the earlier volume")

    disk.delete()

    assert disk.names() == set()
    assert disk.marks() == set()


def test_of_an_export_without_volumes_each_volume_is_gone(disk: Disk) -> None:
    assert callouts.remove(disk.pool, request()) == "it was already gone"
    with pytest.raises(Unavailable, match="see that the server has the right disk mounted"):
        callouts.remove(disk.pool, request(poolId="another"))

    assert not (disk.root / ".flexvol/pool.json").exists()


def test_files_that_are_removed_for_long_are_for_the_next_call(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (disk.make(archiveOnDelete="false") / "file").write_text("data")

    def slow(words: list[str], seconds: float, **_: Any) -> None:
        raise TimedOut(f"{words[0]} did not end within {seconds} s")

    with monkeypatch.context() as patch:
        patch.setattr(pools, "run", slow)
        with pytest.raises(Pending, match="pvc-1 is being deleted"):
            disk.delete()
    _, (left,) = disk.list()

    assert left["name"] == "pvc-1"
    assert ".flexvol/deleting/pvc-1 of the export holds what is left of it" in left["error"]
    assert leftovers.judge(driver_replies.checked_entry(left), "c1").reason == leftovers.UNKNOWN
    assert disk.delete() == "it was already gone"
    assert disk.list()[1] == []
    assert disk.marks() == set()


def test_only_its_owner_has_a_volume_deleted(disk: Disk) -> None:
    directory = disk.make()

    with pytest.raises(InvalidArgument, match="claim with the uid 'u1', not 'u2'"):
        disk.delete(**{"kubernetes.io/pvc.uid": "u2"})

    assert directory.is_dir()


def test_a_volume_of_an_export_that_is_not_there_is_not_gone(disk: Disk) -> None:
    directory = disk.make()
    pool_id = disk.pool.id()
    shutil.rmtree(disk.root / ".flexvol/volumes")
    (disk.root / ".flexvol/pool.json").write_text('{"id": "another"}')
    disk.reopen()

    with pytest.raises(Unavailable, match="see that the server has the right disk mounted"):
        callouts.remove(disk.pool, request(poolId=pool_id))

    assert directory.is_dir()


@pytest.mark.parametrize("may_be_new", [True, False], ids=["for a claim", "for a volume"])
def test_only_for_a_claim_a_person_is_told_to_prepare_the_export(
    tmp_path: Path, may_be_new: bool
) -> None:
    """Of a volume the disk is not mounted: a directory there would hide that for ever."""
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(Unavailable, match="see that the server has its disk") as raised:
            open_pool("default", root, may_be_new)
    finally:
        os.close(root)
    assert ("mkdir -m 700 EXPORT/.flexvol" in str(raised.value)) == may_be_new


def test_a_pod_of_another_namespace_does_not_get_the_volume(disk: Disk) -> None:
    disk.make()

    with pytest.raises(InvalidArgument, match="another namespace than 'evil'"):
        disk.use("evil")
    assert disk.record()["blank"]
    assert disk.use("shop") == "shop-data-pvc-1"
    assert not disk.record()["blank"]


def test_a_volume_without_its_directory_is_not_mounted(disk: Disk) -> None:
    disk.make().rmdir()

    with pytest.raises(NotFound, match="has no directory for volume pvc-1"):
        disk.use()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_where_nothing_can_be_written_a_pod_gets_the_volume_all_the_same(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A pod may be there to make room on a full export."""
    directory = disk.make()

    def refused(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", refused)
        assert disk.use() == "shop-data-pvc-1"
        callouts.note_size(disk.pool, disk.pool.id(), "pvc-1", 1 << 30)
    (directory / "file").write_text("data")

    with pytest.raises(InvalidArgument, match="may hold data"):
        disk.delete(**{"kubernetes.io/onlyIfBlank": "true"})


def test_a_volume_that_is_deleted_meanwhile_is_not_mounted(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubelet would take the directory, which is gone from the server, for the volume."""
    disk.make()
    opened = disk.pool.open

    def deleted_then(record: records.Record) -> Any:
        directory = opened(record)
        monkeypatch.undo()
        disk.delete(**{"kubernetes.io/onlyIfBlank": "true"})
        return directory

    monkeypatch.setattr(disk.pool, "open", deleted_then)

    with pytest.raises(NotFound, match="has no directory for volume pvc-1"):
        disk.use()


def test_a_pod_gets_the_directory_that_was_looked_up(disk: Disk, tmp_path: Path) -> None:
    directory = disk.make()
    (directory / "file").write_text("data")

    with callouts.use(disk.pool, disk.pool.id(), "pvc-1", "shop") as opened:
        directory.rename(disk.root / "elsewhere")
        directory.symlink_to(tmp_path)

        assert os.listdir(opened) == ["file"]
        with pytest.raises(OSError, match="Not a directory"):
            disk.use()


def test_an_unused_volume_goes_with_its_claim(disk: Disk) -> None:
    disk.make()

    disk.delete(**{"kubernetes.io/onlyIfBlank": "true"})

    assert disk.names() == set()
    assert disk.marks() == set()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda disk: disk.use(), id="it was mounted"),
        pytest.param(
            lambda disk: (disk.root / "shop-data-pvc-1/file").write_text("data"),
            id="it holds data",
        ),
    ],
)
def test_a_volume_that_was_used_does_not(disk: Disk, spoil: Callable[[Disk], Any]) -> None:
    directory = disk.make()
    spoil(disk)

    with pytest.raises(InvalidArgument, match="may hold data"):
        disk.delete(**{"kubernetes.io/onlyIfBlank": "true"})

    assert directory.is_dir()


def test_a_claim_that_went_meanwhile_finds_its_volume_and_makes_none(disk: Disk) -> None:
    only_find = {"kubernetes.io/onlyFind": "true"}
    with pytest.raises(NotFound):
        disk.make(**only_find)
    disk.make()

    assert nfs.make(disk.pool, EXPORT, request(**only_find))["capacityBytes"] == 1048576
    assert disk.names() == {"shop-data-pvc-1"}


STEPS = [
    pytest.param("write", id="after its record"),
    pytest.param("take", id="after its directory"),
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("ends_well", [True, False], ids=["and called again", "and deleted"])
def test_a_provision_that_was_killed(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, step: str, ends_well: bool
) -> None:
    """The method does its work, and the call ends with it."""
    done = getattr(disk.pool, step)

    def killed(*arguments: Any, **changes: Any) -> None:
        done(*arguments, **changes)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(disk.pool, step, killed)
        disk.make()

    if ends_well:
        assert disk.make().is_dir()
        assert disk.record()["inode"]
        disk.delete()
        assert disk.names() == {"archived-shop-data-pvc-1"}
    else:
        disk.delete(**{"kubernetes.io/onlyIfBlank": "true"})
        assert disk.names() == set()
    assert disk.marks() == set()


@pytest.mark.parametrize(
    ("step", "for_good", "left"),
    [
        pytest.param("archive", "true", {"archived-shop-data-pvc-1"}, id="archived"),
        pytest.param("set_aside", "false", set(), id="set aside"),
        pytest.param("forget", "false", set(), id="forgotten"),
    ],
)
def test_a_deletion_that_was_killed_is_finished_by_the_next(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, step: str, for_good: str, left: set[str]
) -> None:
    (disk.make(archiveOnDelete=for_good) / "file").write_text("data")
    done = getattr(disk.pool, step)

    def killed(*arguments: Any) -> None:
        done(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(disk.pool, step, killed)
        disk.delete()
    disk.delete()

    assert disk.names() == left
    assert disk.marks() == set()


def test_a_volume_gets_another_owner(disk: Disk) -> None:
    disk.make()
    to = {
        "kubernetes.io/pvc.namespace": "bar",
        "kubernetes.io/pvc.name": "files",
        "kubernetes.io/pvc.uid": "u2",
    }

    with pytest.raises(Busy, match="uid 'u1' just now"):
        callouts.give(disk.pool, request(**to, **{"kubernetes.io/onlyIfOwner": "u3"}))
    with pytest.raises(InvalidArgument, match="does not await this claim"):
        callouts.give(disk.pool, request(**to, **{"kubernetes.io/onlyIfAwaited": "true"}))
    callouts.give(disk.pool, request(**to, **{"kubernetes.io/onlyIfOwner": "u1"}))

    assert disk.record()["owner"] == {"namespace": "bar", "name": "files", "uid": "u2"}
    assert disk.use("bar")


def test_a_volume_that_awaits_any_claim_gets_the_one_that_comes(disk: Disk) -> None:
    directory = disk.make(**{
        "kubernetes.io/pvc.namespace": "*",
        "kubernetes.io/pvc.name": "*",
        "kubernetes.io/pvc.uid": "awaited",
    })  # fmt: skip
    with pytest.raises(InvalidArgument, match="it is left alone"):
        disk.delete(**{"kubernetes.io/pvc.uid": "awaited"})

    callouts.give(disk.pool, request(**{"kubernetes.io/onlyIfAwaited": "true"}))

    assert directory.name == "pvc-1"
    assert disk.use("shop") == "pvc-1"


def test_the_list_tells_all_that_an_inventory_needs(disk: Disk) -> None:
    disk.make()
    disk.make("pvc-2")
    (disk.root / "shop-data-pvc-2/file").write_text("data")

    pool, (first, second) = disk.list()

    figures = os.statvfs(disk.root)
    assert pool["capacityBytes"] == figures.f_blocks * figures.f_frsize
    assert 0 < pool["freeBytes"] <= pool["capacityBytes"]
    assert pool["committedBytes"] == 2 * 1048576
    assert pool["id"] == first["poolId"] == first["options"]["poolId"]
    assert first["owner"] == {"namespace": "shop", "name": "data", "uid": "u1"}
    assert (first["blank"], second["blank"]) == (True, False)
    assert first["clusterUid"] == "c1"
    assert first["reclaimPolicy"] == "Delete"
    assert first["accessModes"] == ["ReadWriteMany"]
    assert "error" not in first


def test_the_provisioner_and_its_commands_can_work_with_the_list(disk: Disk) -> None:
    disk.make()
    disk.make("pvc-2")
    (disk.root / "shop-data-pvc-2/file").write_text("data")

    of_pool, volumes = disk.list()
    pool, first, second = driver_replies.checked_entries([of_pool, *volumes])

    assert leftovers.judge(first, "c1").reason == leftovers.BLANK
    assert leftovers.judge(second, "c1").reason == leftovers.USED
    assert leftovers.judge(first, "c2").reason == leftovers.FOREIGN
    assert pool_rooms.pool_of({}, [pool]) == pool
    assert pool_rooms.largest_volume({}, pool) == pool["freeBytes"]
    (shown,) = listed_pools.pools({("", "flexvol/nfs"): Listed([first, second], [pool])})
    assert (shown["pool"], shown["freeBytes"]) == ("default", pool["freeBytes"])
    assert manifest.made(second)["options"]["poolId"] == pool["id"]


def test_the_list_of_a_new_export_is_empty(disk: Disk) -> None:
    pool, volumes = disk.list()

    assert (pool["id"], volumes) == ("", [])
    assert list((disk.root / ".flexvol").iterdir()) == []


@pytest.mark.parametrize(
    ("values", "error"),
    [
        pytest.param({"path": "../x"}, "is not what flexvol wrote", id="a hostile path"),
        pytest.param({"path": None}, "is not what flexvol wrote", id="no path"),
        pytest.param({"name": "pvc-9"}, "is not what flexvol wrote", id="another name"),
        pytest.param({"inode": "x"}, "is not what flexvol wrote", id="no number"),
        pytest.param({"mode": None}, "is not what flexvol wrote", id="no permissions"),
        pytest.param({"owner": None}, "is not what flexvol wrote", id="no owner"),
        pytest.param({"owner": {"name": "x"}}, "is not what flexvol wrote", id="half an owner"),
        pytest.param({"onDelete": None}, "is not what flexvol wrote", id="no end"),
        pytest.param({"clusterUid": 7}, "is not what flexvol wrote", id="no cluster"),
        pytest.param({"mountOptions": None}, "is not what flexvol wrote", id="no mount options"),
        pytest.param({"path": "gone"}, "is not in the export", id="no directory"),
    ],
)
def test_a_damaged_record_is_told_and_keeps_no_other_volume(
    disk: Disk, values: dict[str, Any], error: str
) -> None:
    disk.make()
    disk.make("pvc-2")
    disk.change(**values)

    _, (first, second) = disk.list()

    assert error in first["error"]
    assert "error" not in second


@pytest.mark.parametrize("key", ["owner", "mode", "onDelete", "clusterUid", "sizeBytes", "blank"])
def test_of_a_record_that_lost_a_value_nothing_is_done(disk: Disk, key: str) -> None:
    directory = disk.make(archiveOnDelete="false")
    values = disk.record()
    del values[key]
    (disk.root / ".flexvol/volumes/pvc-1.json").write_text(json.dumps(values))

    for call in (disk.delete, disk.use, disk.make):
        with pytest.raises(Unavailable, match="export is not what flexvol wrote"):
            call()

    assert directory.is_dir()


def test_a_damaged_mark_of_a_path_is_told(disk: Disk) -> None:
    directory = disk.make(archiveOnDelete="false")
    (disk.root / ".flexvol/paths/shop-data-pvc-1").write_bytes(b"\xff")

    with pytest.raises(Unavailable, match="paths/shop-data-pvc-1 in"):
        disk.delete()

    assert directory.is_dir()


@pytest.mark.parametrize("name", ["pvc-1.json~", "pvc-1.json.orig", "a", "json"])
def test_what_a_person_puts_beside_the_records_is_no_volume(disk: Disk, name: str) -> None:
    disk.make()
    (disk.root / ".flexvol/volumes" / name).write_text("{}")

    _, volumes = disk.list()

    assert [(volume["name"], volume.get("error")) for volume in volumes] == [("pvc-1", None)]


def test_the_list_comes_volume_by_volume(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a server may take its time for all of them."""
    for volume in ("pvc-1", "pvc-2"):
        disk.make(volume)
    looked_at: list[str] = []
    record_in = disk.pool.record_in

    def watched(directory: int, volume: str) -> Any:
        looked_at.append(volume)
        return record_in(directory, volume)

    monkeypatch.setattr(disk.pool, "record_in", watched)
    entries = nfs.describe(disk.pool, EXPORT)

    assert (next(entries)["name"], looked_at) == ("default", [])
    assert (next(entries)["name"], looked_at) == ("pvc-1", ["pvc-1"])
    assert (next(entries)["name"], looked_at) == ("pvc-2", ["pvc-1", "pvc-2"])


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(Look([], "pool a hangs"), id="nothing came"),
        pytest.param(Look([{"name": "a"}, {"name": "pvc-1"}], "pool a hangs"), id="a part came"),
        pytest.param(Look([{"name": "a"}, {"failure": "pool a hangs"}], ""), id="a failure came"),
    ],
)
def test_a_pool_that_was_not_seen_to_its_end_has_an_error_and_no_volumes(look: Look) -> None:
    of_pools: list[dict[str, Any]] = []
    volumes: list[dict[str, Any]] = []

    callouts.gather("a", look, of_pools, volumes)

    assert of_pools == [{"name": "a", "byName": True, "error": "pool a hangs"}]
    assert volumes == []


def test_a_larger_claim_is_noted_and_a_smaller_one_is_not(disk: Disk) -> None:
    disk.make()

    callouts.note_size(disk.pool, disk.pool.id(), "pvc-1", 1 << 30)
    callouts.note_size(disk.pool, disk.pool.id(), "pvc-1", 5)

    assert disk.record()["sizeBytes"] == 1 << 30


@pytest.mark.parametrize(
    ("values", "source", "choices"),
    [
        pytest.param({"server": "nas", "share": "/a b"}, "nas:/a b", nfs.VERSIONS, id="a name"),
        pytest.param({"server": "fd00::1", "share": "/"}, "[fd00::1]:/", nfs.VERSIONS, id="IPv6"),
        pytest.param(
            {"server": "nas", "share": "/a", "mountOptions": "nfsvers=3,local_lock=posix"},
            "nas:/a",
            (),
            id="a version of its own",
        ),
    ],
)
def test_an_export_is_named_as_the_kernel_names_it(
    values: dict[str, str], source: str, choices: tuple[str, ...]
) -> None:
    share = nfs.Export("default", values).share()

    assert (share.source, share.choices) == (source, choices)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"server": "nas", "share": "data"}, id="no absolute path"),
        pytest.param({"server": "nas", "share": "/a/../b"}, id="upwards"),
        pytest.param({"share": "/a"}, id="no server"),
    ],
)
def test_an_export_that_cannot_be_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        nfs.Export("default", values).share()


@pytest.mark.parametrize(
    "option",
    ["nolock", "local_lock=flock", "local_lock=all", "local_lock=", "local_lock", "nolock=1"],
)
def test_a_lock_that_the_server_does_not_have_is_refused_everywhere(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    mount_options = f"hard, {option},vers=3"
    own = {"server": "nas", "share": "/data", "mountOptions": mount_options}
    file = tmp_path / "nfs.json"
    file.write_text(json.dumps({"pools": {"default": own}}))
    monkeypatch.setattr(nfs, "CONFIG", str(file))

    with pytest.raises(InvalidArgument, match=f"option '{option}' keeps locks from the server"):
        nfs.configured()
    with pytest.raises(InvalidArgument, match="keeps locks from the server"):
        nfs.Export.of_pv(Options(own))
    with pytest.raises(InvalidArgument, match="keeps locks from the server"):
        nfs.make(disk.pool, EXPORT, request(**{"kubernetes.io/mountOptions": mount_options}))
    assert list((disk.root / ".flexvol").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "there is no", id="no file"),
        pytest.param("{", "cannot be used", id="no JSON"),
        pytest.param('{"pools": []}', "cannot be used", id="no table"),
        pytest.param('{"pools": {"a": {"Server": "x"}}}', "'Server' is no setting", id="a setting"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, message: str
) -> None:
    file = tmp_path / "nfs.json"
    monkeypatch.setattr(nfs, "CONFIG", str(file))
    if text is not None:
        file.write_text(text)

    with pytest.raises(Unavailable, match=f"{message}.*write (it|the file) like"):
        nfs.configured()


def test_only_the_administrators_file_says_where_a_pool_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "nfs.json"
    file.write_text('{"pools": {"default": {"server": "nas", "share": "/data"}}}')
    monkeypatch.setattr(nfs, "CONFIG", str(file))

    assert nfs.export_of({"server": "evil", "share": "/"}).server == "nas"
    with pytest.raises(Unavailable, match=r"pool 'other' is not in .* which has: default"):
        nfs.export_of({"pool": "other"})
