"""What a StorageClass asks of a new volume, and what it may not ask."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.drivers.loop import class_settings
from node.drivers.loop.class_settings import ClassSettings
from shared.options import Options
from shared.protocol import InvalidArgument


def read(mount_options: str = "", **parameters: str) -> ClassSettings:
    values = {
        "kubernetes.io/pvOrVolumeName": "pvc-1",
        "kubernetes.io/storageClass.name": "fast",
        "kubernetes.io/mountOptions": mount_options,
    }
    return class_settings.read(Options({**values, **parameters}))


def test_a_class_that_asks_for_nothing_gets_a_thin_ext4_that_is_deleted() -> None:
    settings = read()

    assert (settings.fs_type, settings.thick, settings.make_options) == ("ext4", False, [])
    assert settings.root is None
    assert settings.archive is None


def test_everything_that_a_class_asks_for_is_read() -> None:
    settings = read(
        thick="true",
        mkfsOptions="-m 0",
        uid="1000",
        mode="2770",
        onDelete="archive",
        archiveFor="720h",
    )

    assert settings.thick
    assert settings.make_options == ["-m", "0"]
    assert settings.root is not None
    assert vars(settings.root) == {"uid": 1000, "gid": 0, "mode": 0o2770}
    assert settings.archive is not None
    assert vars(settings.archive) == {"seconds": 720 * 3600, "since": 0}


@pytest.mark.parametrize(
    ("parameters", "root"),
    [
        pytest.param({"uid": "7"}, (7, 0, None), id="an owner alone keeps the mode of mkfs"),
        pytest.param({"gid": "7"}, (0, 7, None), id="a group alone keeps the mode of mkfs"),
        pytest.param({"mode": "0"}, (0, 0, 0), id="the mode zero is a mode"),
        pytest.param({"mode": "07777"}, (0, 0, 0o7777), id="the largest mode"),
        pytest.param({"uid": "4294967294"}, (4294967294, 0, None), id="the largest uid"),
    ],
)
def test_owner_and_mode_of_the_root(parameters: dict[str, str], root: tuple[Any, ...]) -> None:
    asked = read(**parameters).root

    assert asked is not None
    assert (asked.uid, asked.gid, asked.mode) == root


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
def test_the_file_system_is_that_of_the_class(fs_type: str) -> None:
    assert read(**{"kubernetes.io/fsType": fs_type}).fs_type == fs_type


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        pytest.param(
            {"thick": "yes"},
            'option thick is \'yes\'; it is "true" or "false";',
            id="a flag that is a word",
        ),
        pytest.param(
            {"mode": "0888"}, "option mode is '0888'; it is octal", id="a mode that is not octal"
        ),
        pytest.param({"mode": "000000"}, "it is octal", id="a mode with too many digits"),
        pytest.param({"mode": "10000"}, "it is octal", id="a mode beyond all permissions"),
        pytest.param(
            {"uid": "4294967295"},
            "option uid is 4294967295; it is at most 4294967294;",
            id="the uid that means none",
        ),
        pytest.param({"gid": "-1"}, "option gid is '-1'", id="a negative group"),
        pytest.param(
            {"onDelete": "keep"},
            "option onDelete is 'keep'; it may be delete or archive",
            id="an unknown end",
        ),
        pytest.param(
            {"archiveFor": "1h"},
            "only allowed beside onDelete: archive;",
            id="a time without an archive",
        ),
        pytest.param(
            {"onDelete": "delete", "archiveFor": "1h"},
            "only allowed beside",
            id="a time for what is deleted at once",
        ),
        pytest.param(
            {"onDelete": "archive", "archiveFor": "0h"}, "at most 1000000h", id="no time at all"
        ),
        pytest.param(
            {"onDelete": "archive", "archiveFor": "1000001h"}, "at most 1000000h", id="too long"
        ),
        pytest.param(
            {"onDelete": "archive", "archiveFor": "30d"},
            "option archiveFor is '30d'; it is a time in hours, like 720h, at most 1000000h;",
            id="a time in days",
        ),
        pytest.param(
            {"onDelete": "archive", "archiveFor": "1.5h"},
            "option archiveFor, in hours, is '1.5'",
            id="a fraction of an hour",
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_to_do(
    parameters: dict[str, str], words: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read(**parameters)

    assert words in str(refused.value)
    assert "; a StorageClass cannot be changed: make " in str(refused.value)


def test_a_mount_option_that_no_class_may_have_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        read(mount_options="data=journal,errors=panic")


@given(st.integers(1, 1000000))
def test_every_number_of_hours_up_to_the_limit_is_kept(hours: int) -> None:
    archive = read(onDelete="archive", archiveFor=f"{hours}h").archive

    assert archive is not None
    assert archive.seconds == hours * 3600


def test_an_archive_without_a_time_is_kept_for_ever() -> None:
    archive = read(onDelete="archive").archive

    assert archive is not None
    assert archive.seconds == 0
