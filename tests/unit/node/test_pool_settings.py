"""What a pool's own file may say, and what is done about a file that says anything else."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.drivers.loop import pool_settings
from node.host import files
from node.host.descriptors import Descriptor
from shared.protocol import InvalidArgument

CAPACITY = (1000 << 20) + 1
WHOLE = {"schema": 1, "id": "0123456789abcdef", "reserve": "20%", "overcommit": 1.5}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Descriptor]:
    with files.open_directory(str(tmp_path)) as opened:
        yield opened


def write(directory: Path, content: object) -> None:
    (directory / "pool.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("reserve", "reserve_bytes"),
    [
        pytest.param("20%", CAPACITY // 5, id="a part of the capacity"),
        pytest.param("0%", 0, id="nothing"),
        pytest.param("100%", CAPACITY, id="all"),
        pytest.param("4096", 4096, id="a number of bytes as text"),
        pytest.param(4096, 4096, id="a number of bytes"),
        pytest.param("0", 0, id="zero bytes"),
    ],
)
def test_a_reserve_is_bytes_or_per_cent(reserve: object, reserve_bytes: int) -> None:
    counted = pool_settings.reserve_bytes(reserve, CAPACITY)

    assert (counted, type(counted)) == (reserve_bytes, int)


@pytest.mark.parametrize(
    "reserve",
    ["101%", "-1", "20 %", "1.5%", "", "%", "x", None, 1.5, True],
    ids="a reserve of {!r}".format,
)
def test_another_reserve_is_refused(reserve: object) -> None:
    with pytest.raises(InvalidArgument, match="reserve is"):
        pool_settings.check_limits(reserve, 1.0)


@pytest.mark.parametrize("overcommit", [0.1, 1, 1.0, 100], ids="a factor of {!r}".format)
def test_an_overcommit_is_a_factor(overcommit: float) -> None:
    pool_settings.check_limits("20%", overcommit)


@pytest.mark.parametrize(
    "overcommit",
    [0.09, 0, -1, 100.1, True, "1", None, float("nan")],
    ids="a factor of {!r}".format,
)
def test_another_overcommit_is_refused(overcommit: object) -> None:
    with pytest.raises(InvalidArgument, match=r"a factor of 0\.1 to 100"):
        pool_settings.check_limits("20%", overcommit)


def test_a_new_pool_has_its_limits_and_an_id_of_its_own(directory: Descriptor) -> None:
    ids = set()
    for _ in range(2):
        pool_settings.make(directory, "10%", 2.0)
        settings = pool_settings.read(directory, "/pool", None)
        assert (settings.reserve, settings.overcommit) == ("10%", 2.0)
        assert not settings.cordoned
        assert pool_settings.id_in(directory) == settings.id
        ids.add(settings.id)

    assert len(ids) == 2


def test_cordoning_changes_nothing_else(directory: Descriptor, tmp_path: Path) -> None:
    content = {**WHOLE, "of a newer flexvol": ["kept"]}
    write(tmp_path, content)

    assert pool_settings.set_cordoned(directory, True)
    assert not pool_settings.set_cordoned(directory, True)
    assert pool_settings.read(directory, "/pool", None).cordoned
    assert pool_settings.set_cordoned(directory, False)

    assert json.loads((tmp_path / "pool.json").read_text()) == {**content, "cordoned": False}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param([], "is not what flexvol wrote", id="a list"),
        pytest.param({}, "is not what flexvol wrote", id="no schema"),
        pytest.param({**WHOLE, "schema": 2}, "use a newer flexvol", id="a newer schema"),
        pytest.param({**WHOLE, "id": 7}, "has no id", id="an id that is no text"),
    ],
)
def test_a_file_that_cannot_be_understood_is_damaged(
    directory: Descriptor, tmp_path: Path, content: Any, message: str
) -> None:
    write(tmp_path, content)

    with pytest.raises(pool_settings.Damaged, match=message):
        pool_settings.read(directory, "/pool", None)


def test_a_file_that_is_no_json_is_damaged_and_has_no_id(
    directory: Descriptor, tmp_path: Path
) -> None:
    (tmp_path / "pool.json").write_text("{")

    with pytest.raises(pool_settings.Damaged, match="cannot be read"):
        pool_settings.read(directory, "/pool", None)
    assert pool_settings.id_in(directory) is None


def test_the_sentence_about_a_damaged_file_has_the_id_that_the_node_knows(
    directory: Descriptor, tmp_path: Path
) -> None:
    write(tmp_path, {})

    with pytest.raises(pool_settings.Damaged, match='"id": "0123456789abcdef"'):
        pool_settings.read(directory, "/pool", "0123456789abcdef")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("{}", "is not what flexvol wrote", id="an empty one"),
        pytest.param("{", "cannot be read: Expecting property name", id="one that is no JSON"),
        pytest.param('{"schema": 1, "reserve": "0", "overcommit": 1}', "has no id", id="no id"),
    ],
)
def test_a_file_that_a_person_writes_anew_as_told_is_read(
    directory: Descriptor, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "pool.json").write_text(text)
    with pytest.raises(pool_settings.Damaged) as damaged:
        pool_settings.read(directory, "/pool", "0123456789abcdef")
    told = damaged.value.message
    assert told.startswith(f"/pool/pool.json {words}")
    assert "; the pool's volumes are left as they are: put the file back from a backup, or" in told
    assert 'write the file anew: {"schema": ' in told

    (tmp_path / "pool.json").write_text("{" + told.partition("{")[2])

    settings = pool_settings.read(directory, "/pool", None)
    assert vars(settings) == {
        "id": "0123456789abcdef",
        "reserve": pool_settings.DEFAULT_RESERVE,
        "overcommit": pool_settings.DEFAULT_OVERCOMMIT,
        "cordoned": False,
    }


def test_a_person_is_told_where_the_id_is_found_that_the_node_does_not_know(
    directory: Descriptor, tmp_path: Path
) -> None:
    write(tmp_path, {**WHOLE, "id": None})

    sentence = r"write the file anew with the poolId that the PVs .* have: {.* \"id\": \"ID\", "
    with pytest.raises(pool_settings.Damaged, match=sentence):
        pool_settings.read(directory, "/pool", None)


def test_a_file_that_the_disk_does_not_give_is_damaged_and_the_disk_is_named_first(
    directory: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "read", read)

    with pytest.raises(pool_settings.Damaged) as damaged:
        pool_settings.read(directory, "/pool", "0123456789abcdef")

    assert damaged.value.message.startswith(
        "/pool/pool.json cannot be read (Input/output error); see the disk, and dmesg, first; the "
    )
    assert '"id": "0123456789abcdef"' in damaged.value.message
    assert pool_settings.id_in(directory) is None


def test_a_missing_file_is_for_the_caller_to_tell(directory: Descriptor) -> None:
    with pytest.raises(FileNotFoundError):
        pool_settings.read(directory, "/pool", None)
    assert pool_settings.id_in(directory) is None
