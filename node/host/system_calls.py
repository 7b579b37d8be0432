"""System calls that no namespace keeps apart from the rest of the machine, and a filter that keeps
them from a program.

For commands that run a foreign program apart from this machine; no callout imports this module.
Numbers are those of include/uapi/linux/{audit,bpf_common,filter,keyctl,prctl,seccomp,socket}.h, and
of the tables of system calls below arch/."""

import ctypes
import errno
import os
import struct
import sys

from node.host import abi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Sequence

# Families of sockets that are in one network namespace, or in none of the machine: UNIX, INET,
# INET6, NETLINK, PACKET and ALG. VSOCK, for one, leads to the host of a virtual machine and to its
# other programs from any network namespace.
_APART = (1, 2, 10, 16, 17, 38)
_IO_URING_SETUP = abi.system_call(425)
_64_BITS = 0x80000000  # of the number of an ABI: __AUDIT_ARCH_64BIT
_X32 = 0x40000000  # system calls of x86-64 with this bit are the same ones again

_JOIN_SESSION_KEYRING = 1
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
# One instruction of a filter: its code, where to jump, its number (struct sock_filter).
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD = 0x20
_JUMP_IF_EQUAL = 0x15
_JUMP_IF_AT_LEAST = 0x35
_RETURN = 0x06
_ALLOW = 0x7FFF0000
_FAIL = 0x00050000
# Where the filter finds what it looks at (struct seccomp_data): the lower half of the argument.
_NUMBER = 0
_ABI = 4
_FIRST_ARGUMENT = 16 if sys.byteorder == "little" else 20

_libc = ctypes.CDLL(None, use_errno=True)


class Unknown(Exception):
    """The numbers of this machine's system calls are not known here."""


class _Abi:
    """How programs of one kind call the kernel.

    number: AUDIT_ARCH_*. keyctl, socket: the numbers of these calls. shut: add_key, request_key,
    perf_event_open, bpf and userfaultfd; and socketcall, behind which the family of a socket cannot
    be seen, where the kernel has both."""

    def __init__(self, number: int, keyctl: int, socket: int, shut: "Sequence[int]") -> None:
        self.number = number
        self.keyctl = keyctl
        self.socket = socket
        self.shut = (keyctl, _IO_URING_SETUP, *shut)

    def is_own(self) -> bool:
        """Whether this very program is of the kind, on a machine that has the kind."""
        return bool(self.number & _64_BITS) == (struct.calcsize("P") == 8)


_X86_64 = _Abi(0xC000003E, 250, 41, (248, 249, 298, 321, 323))
_I386 = _Abi(0x40000003, 288, 359, (286, 287, 336, 357, 374, 102))
_AARCH64 = _Abi(0xC00000B7, 219, 198, (217, 218, 241, 280, 282))
_ARM = _Abi(0x40000028, 311, 281, (309, 310, 364, 386, 388))
_RISCV64 = _Abi(0xC00000F3, 219, 198, (217, 218, 241, 280, 282))
# By what uname -m prints: the kinds of programs that the machine runs.
_MACHINES = {
    "x86_64": (_X86_64, _I386),
    "i686": (_I386,),
    "aarch64": (_AARCH64, _ARM),
    "armv7l": (_ARM,),
    "armv8l": (_ARM,),
    "riscv64": (_RISCV64,),
}


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def leave_session_keyring() -> None:
    """Gives this process an empty session keyring of its own: whoever has a keyring reads all that
    is in it, in every namespace. On a machine that shut() does not know nothing is done. Raises
    OSError."""
    own = _own_abi()
    if own is None:
        return
    result = _libc.syscall(
        ctypes.c_long(own.keyctl), ctypes.c_long(_JOIN_SESSION_KEYRING), ctypes.c_char_p(None)
    )
    # A kernel has no keys, or the filter of a container shuts this call and all others with keys.
    if result < 0 and ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "keyctl")


def _own_abi() -> "Optional[_Abi]":
    for kind in _MACHINES.get(os.uname().machine, ()):
        if kind.is_own():
            return kind
    return None


def shut(all_sockets: bool) -> None:
    """Takes these from this process and all that it will start, as if the kernel did not have them:
    keys, BPF, the measuring of others' performance, userfaultfd and io_uring, which goes around
    filters; and sockets of families that no namespace keeps apart. These are what the runtimes of
    containers shut, too.

    all_sockets: leaves all families. Raises Unknown, or OSError."""
    kinds = _MACHINES.get(os.uname().machine)
    if kinds is None:
        raise Unknown(os.uname().machine)
    lines = [_instruction(_LOAD, _ABI)]
    for kind in kinds:
        body = _filter(kind, all_sockets)
        lines.append(_instruction(_JUMP_IF_EQUAL, kind.number, 0, len(body)))
        lines += body
    lines.append(_failing(errno.ENOSYS))
    program = _Program(len(lines), b"".join(lines))
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "seccomp")


def _filter(kind: _Abi, all_sockets: bool) -> "List[bytes]":
    """The part of the filter for programs of that kind."""
    lines = [_instruction(_LOAD, _NUMBER), _instruction(_JUMP_IF_AT_LEAST, _X32, 0, 1)]
    lines.append(_failing(errno.ENOSYS))
    for number in kind.shut:
        lines.append(_instruction(_JUMP_IF_EQUAL, number, 0, 1))
        lines.append(_failing(errno.ENOSYS))
    if not all_sockets:
        families = [_instruction(_LOAD, _FIRST_ARGUMENT)]
        for family in _APART:
            families.append(_instruction(_JUMP_IF_EQUAL, family, 0, 1))
            families.append(_instruction(_RETURN, _ALLOW))
        families.append(_failing(errno.EAFNOSUPPORT))
        lines.append(_instruction(_JUMP_IF_EQUAL, kind.socket, 0, len(families)))
        lines += families
    lines.append(_instruction(_RETURN, _ALLOW))
    return lines


def _instruction(code: int, number: int, if_true: int = 0, if_not: int = 0) -> bytes:
    """if_true, if_not: how many instructions are passed over."""
    return _INSTRUCTION.pack(code, if_true, if_not, number)


def _failing(code: int) -> bytes:
    return _instruction(_RETURN, _FAIL | code)
