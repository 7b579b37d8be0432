"""Numbers of system calls and ioctls, which some architectures count in their own way."""

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

NONE = 0
WRITE = 1
READ = 2
READ_WRITE = 3
LONG_BYTES = struct.calcsize("l")
# include/uapi/asm-generic/ioctl.h and what arch/ARCHITECTURE/include/uapi/asm/ioctl.h has instead:
# the number's first bit of the direction, and the bits for NONE, WRITE and READ.
_GENERIC = (30, 0, 1, 2)
_OLD_UNIX = (29, 1, 4, 2)
_IOCTLS = {
    "alpha": _OLD_UNIX,
    "mips": _OLD_UNIX,
    "parisc": (30, 0, 2, 1),
    "powerpc": _OLD_UNIX,
    "sparc": _OLD_UNIX,
}
# As uname -m begins.
_FAMILIES = (
    ("alpha", "alpha"),
    ("mips", "mips"),
    ("parisc", "parisc"),
    ("ppc", "powerpc"),
    ("sparc", "sparc"),
)


def _family(machine: str) -> str:
    for beginning, family in _FAMILIES:
        if machine.startswith(beginning):
            return family
    return "generic"


def ioctl(direction: int, kind: int, number: int, size: int, machine: str = "") -> int:
    """The request _IO, _IOR, _IOW or _IOWR(kind, number, a type of that size).

    direction: NONE, WRITE, READ or READ_WRITE. machine: as uname -m prints it; by default this
    one."""
    family = _family(machine or os.uname().machine)
    shift, none, write, read = _IOCTLS.get(family, _GENERIC)
    bits = (none, write, read, write | read)[direction]
    return bits << shift | size << 16 | kind << 8 | number


def system_call(number: int, machine: str = "", pointer_bytes: int = 0) -> int:
    """The number of a system call that came with Linux 5.2 or later.

    Since then all architectures have the same numbers, which mips and alpha begin to count
    elsewhere. number: on all others. machine, pointer_bytes: by default this one's."""
    family = _family(machine or os.uname().machine)
    if family == "mips":
        is_64_bits = (pointer_bytes or struct.calcsize("P")) == 8
        return number + (5000 if is_64_bits else 4000)
    if family == "alpha":
        return number + 110
    return number


def kernel() -> "Tuple[int, int]":
    """The version of the running kernel: its first two numbers."""
    first, second = os.uname().release.split(".")[:2]
    digits = ""
    for character in second:
        if not character.isdigit():
            break
        digits += character
    return int(first), int(digits or 0)
