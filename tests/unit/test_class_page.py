"""docs/storage-classes.md has every parameter, every file system and every option of a class."""

from __future__ import annotations

import pytest

from cluster.controller import class_parameters
from node.drivers.loop import class_settings
from node.host import filesystems
from node.host.filesystems.base import FileSystem
from tests import documents

MIB = 1 << 20

by_file_system = pytest.mark.parametrize(
    "file_system", filesystems.TABLE.values(), ids=lambda kind: kind.name
)


def test_every_parameter_has_its_row() -> None:
    rows = " ".join(documents.table("parameter"))
    known = (*class_settings.PARAMETERS, *class_parameters.OWN_PARAMETERS)

    assert [name for name in known if f"`{name}`" not in rows] == []


@by_file_system
def test_the_smallest_volume_is_that_of_the_driver(file_system: FileSystem) -> None:
    smallest, *_ = documents.table("`fsType`")[f"`{file_system.name}`"]

    assert smallest.startswith(f"{file_system.minimum_bytes // MIB}Mi")
    if file_system.minimum_grown_bytes:
        assert f"{file_system.minimum_grown_bytes // MIB}Mi" in smallest


@by_file_system
def test_every_option_of_mkfs_is_there(file_system: FileSystem) -> None:
    chapter = documents.chapter("Options for mkfs")

    assert [name for name in file_system.make_options if f"`{name}" not in chapter] == []


@by_file_system
def test_every_mount_option_is_there(file_system: FileSystem) -> None:
    row = documents.table("for")[f"`{file_system.name}`"][0]

    assert [name for name in file_system.mount_options if f"`{name}" not in row] == []
