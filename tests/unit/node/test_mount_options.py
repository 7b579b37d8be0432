"""A mount option that the kernel refuses is left out, and no option that it takes."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.drivers.loop import mount_options
from node.host import config, filesystems, mount_calls
from tests.unit.node import own_pool

OPTIONS = st.lists(st.sampled_from("abcdef"), unique=True)


class Kernel:
    """A kernel that refuses some options, and says which, or does not say."""

    def __init__(self, refused: set[str], names_option: bool, works: bool = True) -> None:
        self.refused = refused
        self.names_option = names_option
        self.works = works
        self.mounted: list[str] | None = None
        self.calls = 0

    def mount(self, options: list[str]) -> None:
        self.calls += 1
        wrong = [option for option in options if option in self.refused]
        if wrong or not self.works:
            name = wrong[0] if wrong and self.names_option else ""
            raise mount_calls.OptionRefused(f"refusal {self.calls}", name)
        self.mounted = options


@given(OPTIONS, st.sets(st.sampled_from("abcdef")))
def test_exactly_the_refused_options_are_left_out_where_the_kernel_names_them(
    options: list[str], refused: set[str]
) -> None:
    kernel = Kernel(refused, names_option=True)

    mount_options.without_refused(kernel.mount, options)

    assert kernel.mounted == [option for option in options if option not in refused]


@given(OPTIONS, st.sampled_from("abcdef"))
def test_the_only_refused_option_is_left_out_where_the_kernel_names_none(
    options: list[str], refused: str
) -> None:
    kernel = Kernel({refused}, names_option=False)

    mount_options.without_refused(kernel.mount, options)

    assert kernel.mounted == [option for option in options if option != refused]


def test_all_options_are_left_out_where_several_are_refused_and_none_is_named() -> None:
    kernel = Kernel({"a", "c"}, names_option=False)

    mount_options.without_refused(kernel.mount, ["a", "b", "c"])

    assert kernel.mounted == []


def test_the_first_refusal_is_told_where_the_options_are_not_the_reason() -> None:
    kernel = Kernel(set(), names_option=False, works=False)

    with pytest.raises(mount_calls.OptionRefused, match="refusal 1"):
        mount_options.without_refused(kernel.mount, ["a", "b"])

    assert kernel.calls == 4  # both, each alone, none


def volume(*options: str) -> Any:
    record = own_pool.RECORD.changed(mount_options=list(options))
    return SimpleNamespace(record=record, file_system=filesystems.get("ext4"))


@pytest.mark.parametrize(
    ("options", "read_only", "flags"),
    [
        pytest.param((), False, ["nodev"], id="those of the node's config"),
        pytest.param((), True, ["nodev", "ro"], id="read-only as the pod asks"),
        pytest.param(("noatime",), False, ["noatime", "nodev"], id="those of the class too"),
        pytest.param(("nodev",), False, ["nodev"], id="none twice"),
        pytest.param(("commit=5",), False, ["nodev"], id="none that is the file system's"),
    ],
)
def test_flags_of_one_pods_mount(
    options: tuple[str, ...],
    read_only: bool,
    flags: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config, "mount_flags", lambda: ["nodev"])

    assert mount_options.flags(volume(*options), read_only) == flags


def test_what_no_class_may_have_is_neither_mounted_nor_a_flag() -> None:
    odd = volume("noatime", "commit=5", "errors=panic")

    assert mount_options.not_allowed(odd) == ["errors=panic"]
    assert mount_options.of_file_system(odd) == ["commit=5"]


class Noting:
    """A volume that counts how often its record is written, on a disk that may refuse that."""

    def __init__(self, left_out: list[str], error: OSError | None = None) -> None:
        self.record = own_pool.RECORD.changed(left_out=left_out)
        self.error = error
        self.saved: list[list[str]] = []

    def save(self, left_out: list[str]) -> None:
        if self.error:
            raise self.error
        self.saved.append(left_out)


def test_what_is_left_out_is_written_once() -> None:
    noting: Any = Noting(["a"])

    mount_options.note_left_out(noting, ["a"])
    assert noting.saved == []
    mount_options.note_left_out(noting, [])
    assert noting.saved == [[]]


def test_a_disk_that_cannot_be_written_to_keeps_no_pod_from_its_volume() -> None:
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        full: Any = Noting([], OSError(number, "full"))
        mount_options.note_left_out(full, ["a"])
    broken: Any = Noting([], OSError(errno.EIO, "broken"))
    with pytest.raises(OSError, match="broken"):
        mount_options.note_left_out(broken, ["a"])
