"""Numbers that the kernel's headers give on several architectures."""

from __future__ import annotations

import os
import types

import pytest

from node.host import abi

# FIFREEZE, FITRIM, FICLONERANGE, EXT4_IOC_RESIZE_FS, XFS_IOC_FSGEOMETRY_V1, FS_IOC_GETFLAGS of a
# 64-bit machine, as a C program prints them there.
REQUESTS = [
    (abi.READ_WRITE, 0x58, 119, 4),
    (abi.READ_WRITE, 0x58, 121, 24),
    (abi.WRITE, 0x94, 13, 32),
    (abi.WRITE, 0x66, 16, 8),
    (abi.READ, 0x58, 100, 112),
    (abi.READ, 0x66, 1, 8),
]
GENERIC = [0xC0045877, 0xC0185879, 0x4020940D, 0x40086610, 0x80705864, 0x80086601]
OLD_UNIX = [0xC0045877, 0xC0185879, 0x8020940D, 0x80086610, 0x40705864, 0x40086601]


@pytest.mark.parametrize(
    ("machine", "numbers"),
    [
        ("x86_64", GENERIC),
        ("aarch64", GENERIC),
        ("riscv64", GENERIC),
        ("s390x", GENERIC),
        ("loongarch64", GENERIC),
        ("ppc64le", OLD_UNIX),
        ("ppc64", OLD_UNIX),
        ("mips64", OLD_UNIX),
        ("sparc64", OLD_UNIX),
    ],
)
def test_ioctl_numbers_are_those_of_the_architecture(machine: str, numbers: list[int]) -> None:
    assert [abi.ioctl(*request, machine=machine) for request in REQUESTS] == numbers


@pytest.mark.parametrize(
    ("machine", "pointer_bytes", "number"),
    [
        ("x86_64", 8, 428),
        ("ppc64le", 8, 428),
        ("mips64", 8, 5428),
        ("mips64", 4, 4428),
        ("mips", 4, 4428),
        ("alpha", 8, 538),
    ],
)
def test_system_call_numbers_are_those_of_the_architecture(
    machine: str, pointer_bytes: int, number: int
) -> None:
    assert abi.system_call(428, machine, pointer_bytes) == number


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.18.44-fc-v657", (6, 18)),
        ("4.18.0-553.el8_10.x86_64", (4, 18)),
        ("5.10-rc1", (5, 10)),
        ("6.1.0-21-amd64", (6, 1)),
    ],
)
def test_the_kernels_version_is_read_from_its_release(
    release: str, version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    uname = types.SimpleNamespace(release=release)
    monkeypatch.setattr(os, "uname", lambda: uname)
    assert abi.kernel() == version
