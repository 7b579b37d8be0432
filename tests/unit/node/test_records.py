"""A volume's record: what is read is checked, and what a newer flexvol wrote is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.drivers.loop import records
from node.drivers.loop.records import FIELDS, Record
from node.host import files
from shared.options import Claim
from shared.protocol import Internal
from tests.unit.node import own_pool

UUID = "0f0e0d0c-0b0a-4908-8706-050403020100"
RECORD = records.new(
    name="pvc-1",
    size_bytes=1 << 30,
    sector_bytes=4096,
    fs_type="ext4",
    fs_uuid=UUID,
    thick=False,
    root=records.RootDirectory(0, 4294967295, 0o770),
    archive=records.Archiving(3600, 0),
    owner=Claim("web", "data", "uid-1"),
    cluster_uid="cluster",
    class_name="fast",
    reclaim_policy="Delete",
    access_modes=["ReadWriteOnce"],
    mount_options=["noatime"],
    created="2026-01-01T00:00:00Z",
    blank=True,
)


def read(content: Any, name: str = "pvc-1") -> Record:
    return records.check(content, name, "volume.json")


def test_what_is_written_is_read_again() -> None:
    record = read(RECORD.to_json())

    assert record == RECORD
    assert record.root is not None and vars(record.root) == {
        "uid": 0,
        "gid": 4294967295,
        "mode": 504,
    }
    assert record.archive is not None and vars(record.archive) == {"seconds": 3600, "since": 0}
    assert record.owner is not None and vars(record.owner) == vars(Claim("web", "data", "uid-1"))
    assert record.access_modes == ["ReadWriteOnce"]
    assert (record.kind, record.source, record.move, record.new_uuid) == ("volume", "", None, "")


def test_what_a_record_does_not_say_is_none() -> None:
    record = read(RECORD.changed(root=None, archive=None, owner=None, move=None).to_json())

    assert (record.root, record.archive, record.owner, record.move) == (None, None, None, None)


def test_a_field_that_a_newer_flexvol_added_is_kept() -> None:
    record = read({**RECORD.to_json(), "newer": {"a": 1}})

    assert record.changed(blank=False).to_json()["newer"] == {"a": 1}


def test_a_change_leaves_the_record_that_it_began_with() -> None:
    changed = RECORD.changed(owner=None, size_bytes=1 << 31)

    assert (changed.owner, changed.size_bytes) == (None, 1 << 31)
    assert RECORD.owner is not None and RECORD.size_bytes == 1 << 30
    assert changed.to_json()["owner"] is None


def test_an_optional_field_goes_when_it_becomes_none() -> None:
    copying = RECORD.changed(copied_bytes=0, copy_of="a", copied_to="b")

    assert copying.copied_bytes == 0
    done = copying.changed(copied_bytes=None, copy_of=None, copied_to=None)
    assert done == RECORD
    assert done.copied_bytes is None and done.copy_of == ""


@pytest.mark.parametrize(
    "field",
    [pytest.param(field, id=f"without {field.key}") for field in FIELDS.values()],
)
def test_a_record_is_damaged_without_any_field_that_is_not_optional(
    field: records.Field,
) -> None:
    content = {key: value for key, value in RECORD.to_json().items() if key != field.key}
    if field.optional:
        read(content)
        return
    with pytest.raises(Internal, match=f"is damaged: {field.key}$"):
        read(content)


OF_SCHEMA_3 = {"kind", "source", "newUuid", "archive", "move"}


@pytest.mark.parametrize(
    ("schema", "later"),
    [
        pytest.param(1, {"fsUuid", "root", *OF_SCHEMA_3}, id="of the first schema"),
        pytest.param(2, OF_SCHEMA_3, id="of the second schema"),
    ],
)
def test_a_record_gets_the_fields_that_came_after_its_schema(schema: int, later: set[str]) -> None:
    content = {key: value for key, value in RECORD.to_json().items() if key not in later}

    record = read({**content, "schema": schema})

    assert set(record.to_json()) == set(RECORD.to_json())
    assert record.to_json()["schema"] == records.SCHEMA
    assert (record.kind, record.source, record.archive) == ("volume", "", None)
    with pytest.raises(Internal, match="is damaged"):
        read(content)  # which says that it is of the newest schema


def test_a_record_says_nothing_of_its_optional_fields() -> None:
    assert not RECORD.clone_never_mounted
    assert (RECORD.left_out, RECORD.taken, RECORD.number) == ([], "", 0)
    assert (RECORD.copied_bytes, RECORD.imported_bytes) == (None, None)


def test_some_fields_are_told_as_the_file_has_them() -> None:
    assert RECORD.to_json("owner", "class") == {
        "owner": {"namespace": "web", "name": "data", "uid": "uid-1"},
        "class": "fast",
    }


def test_a_record_is_no_other_record_and_nothing_else() -> None:
    assert RECORD.changed(blank=True) == RECORD
    assert RECORD.changed(blank=False) != RECORD
    content: object = RECORD.to_json()
    assert content != RECORD


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"name": 1}, id="a name that is a number"),
        pytest.param({"sizeBytes": "1"}, id="a size that is a word"),
        pytest.param({"thick": 1}, id="a flag that is a number"),
        pytest.param({"owner": {"namespace": "web", "name": "data"}}, id="an owner without a uid"),
        pytest.param(
            {"owner": {"namespace": "web", "name": "data", "uid": 1}},
            id="an owner whose uid is a number",
        ),
        pytest.param({"owner": ["web"]}, id="an owner that is a list"),
        pytest.param({"root": {"uid": 0, "gid": 0}}, id="a root without a mode"),
        pytest.param({"root": {"uid": 0, "gid": 0, "mode": "0770"}}, id="a mode that is a word"),
        pytest.param({"root": {"uid": 1 << 32, "gid": 0, "mode": None}}, id="a uid too large"),
        pytest.param({"root": {"uid": True, "gid": 0, "mode": None}}, id="a uid that is a flag"),
        pytest.param(
            {"archive": {"seconds": -1, "since": 0}}, id="an archive kept for less than no time"
        ),
        pytest.param(
            {"archive": {"seconds": 1 << 40, "since": 0}}, id="an archive kept for too long"
        ),
        pytest.param({"move": {"id": "a"}}, id="a move to nowhere"),
        pytest.param({"move": {"id": "a", "to": 1}}, id="a move to a number"),
        pytest.param({"accessModes": [None]}, id="an access mode that is null"),
        pytest.param({"mountOptions": "noatime"}, id="mount options that are one word"),
        pytest.param({"leftOut": [1]}, id="a refused option that is a number"),
        pytest.param({"fsUuid": UUID[:-1]}, id="a UUID too short"),
        pytest.param({"fsUuid": 36}, id="a UUID that is a number"),
        pytest.param({"newUuid": "g" + UUID[1:]}, id="a UUID of other characters"),
        pytest.param({"number": 1 << 53}, id="a snapshot number that JSON cannot hold"),
        pytest.param({"number": True}, id="a snapshot number that is a flag"),
        pytest.param({"neverMounted": None}, id="a missing answer"),
        pytest.param({"copiedBytes": "5"}, id="progress that is a word"),
    ],
)
def test_a_value_that_no_field_may_have_is_named(damage: dict[str, Any]) -> None:
    with pytest.raises(Internal, match=f"is damaged: {next(iter(damage))}$"):
        read({**RECORD.to_json(), **damage})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param([], "is not a volume's record", id="a list"),
        pytest.param({"schema": "3"}, "is not a volume's record", id="a schema that is a word"),
        pytest.param({}, "is not a volume's record", id="no schema"),
        pytest.param({"schema": 4}, "has schema 4; this flexvol knows 3", id="a newer schema"),
    ],
)
def test_what_is_no_record_of_ours_is_refused(content: Any, words: str) -> None:
    with pytest.raises(Internal, match=words):
        read(content)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(None, " is missing, so the directory is left alone", id="missing"),
        pytest.param("{", " cannot be read: ", id="no JSON"),
        pytest.param("[" * 100_000, " cannot be read: ", id="nested too deeply"),
        pytest.param("\udcff", " cannot be read: ", id="no text"),
        pytest.param("[]", " is not a volume's record", id="not a record"),
        pytest.param(
            '{"schema": 9}', " has schema 9; this flexvol knows 3", id="of a newer flexvol"
        ),
        pytest.param('{"schema": 3}', " is damaged: name, sizeBytes, ", id="empty"),
    ],
)
def test_a_file_that_is_no_record_is_named_with_its_path(
    tmp_path: Path, text: str | None, words: str
) -> None:
    with own_pool.open_pool(tmp_path) as pool:
        own_pool.add(pool, "pvc-1")
        file = tmp_path / "pvc-1" / "volume.json"
        file.unlink()
        if text is not None:
            file.write_bytes(text.encode("utf-8", "surrogateescape"))

        with (
            files.open_below(pool.directory, "pvc-1") as directory,
            pytest.raises(Internal) as damaged,
        ):
            records.read(pool, "pvc-1", directory)

    assert damaged.value.message.startswith(f"{file}{words}")


@pytest.mark.parametrize(
    "directory",
    [
        pytest.param("pvc-1", id="its own"),
        pytest.param(".archived-0011223344556677-pvc-1", id="an archive's"),
    ],
)
def test_a_record_may_lie_in_its_own_or_a_hidden_directory(directory: str) -> None:
    assert read(RECORD.to_json(), directory).name == "pvc-1"


def test_a_record_of_another_volume_is_refused() -> None:
    with pytest.raises(Internal, match="it names volume 'pvc-1'"):
        read(RECORD.to_json(), "pvc-2")
    with pytest.raises(Internal, match="it names volume"):
        read({**RECORD.to_json(), "name": "../pvc-1"}, ".new-pvc-1")


def test_a_stream_brings_only_what_every_record_has() -> None:
    record = read({**RECORD.to_json(), "newer": 1, "leftOut": ["a"], "imported": 5})

    assert record.without_optional() == RECORD


def test_snapshots_are_ordered_by_number_and_then_by_time() -> None:
    snapshots = [
        RECORD.changed(number=2, created="2020", name="c"),
        RECORD.changed(number=None, created="2027", name="b"),
        RECORD.changed(number=1, created="2026", name="d"),
        RECORD.changed(number=None, created="2026", name="a"),
    ]

    ordered = sorted(snapshots, key=lambda record: record.snapshot_order)

    assert [record.name for record in ordered] == ["a", "b", "d", "c"]
