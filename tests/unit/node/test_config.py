"""The notes of a node about its pools, under their lock."""

from __future__ import annotations

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


def test_damaged_notes_stay_and_their_lock_is_given_back(directory: Path) -> None:
    notes = directory / config.POOLS_FILE
    notes.write_text("{}")

    with pytest.raises(Unavailable, match="is damaged"):
        config.remember("fast", "id-1", "/var/lib/flexvol/fast")

    assert notes.read_text() == "{}"
    with files.open_directory(str(directory)) as opened:
        assert opened.try_lock()
