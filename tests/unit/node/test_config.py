"""The notes of a node about its pools, under their lock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.host import config, files
from shared.protocol import Unavailable


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the notes, empty."""
    monkeypatch.setattr(config, "DIRECTORY", str(tmp_path))
    monkeypatch.setattr(config, "POOLS", str(tmp_path / config.POOLS_FILE))
    return tmp_path


def test_a_pool_is_noted_until_it_is_forgotten(directory: Path) -> None:
    assert config.remember("fast", "id-1", "/var/lib/flexvol/fast")
    assert not config.remember("fast", "id-1", "/var/lib/flexvol/fast")
    assert config.remembered()["fast"].id == "id-1"

    config.forget("fast")

    assert not list(directory.iterdir())


def test_a_pool_is_noted_as_removed_until_it_is_made_again(directory: Path) -> None:
    config.remember("fast", "id-1", "/var/lib/flexvol/fast")

    config.note_removed("fast")

    assert config.remembered() == {}
    assert config.is_removed("fast")
    assert not config.is_removed("slow")
    config.remember("fast", "id-2", "/var/lib/flexvol/fast")
    assert not config.is_removed("fast")
    config.forget("fast")
    assert not list(directory.iterdir())


def test_a_default_pool_is_noted_as_removed_for_an_older_flexvol_too(directory: Path) -> None:
    notes = directory / config.POOLS_FILE

    config.note_removed("default")

    assert json.loads(notes.read_text())["defaultRemoved"] is True
    config.remember("default", "id-1", "/var/lib/flexvol/default")
    assert "defaultRemoved" not in json.loads(notes.read_text())


def test_what_an_older_flexvol_noted_of_a_removed_default_pool_holds(directory: Path) -> None:
    notes = {"schema": 1, "pools": {}, "defaultRemoved": True}
    (directory / config.POOLS_FILE).write_text(json.dumps(notes))

    assert config.is_removed("default")
    assert not config.is_removed("fast")


def test_damaged_notes_stay_and_their_lock_is_given_back(directory: Path) -> None:
    notes = directory / config.POOLS_FILE
    notes.write_text("{}")

    with pytest.raises(Unavailable, match="is damaged"):
        config.remember("fast", "id-1", "/var/lib/flexvol/fast")

    assert notes.read_text() == "{}"
    with files.open_directory(str(directory)) as opened:
        assert opened.try_lock()
