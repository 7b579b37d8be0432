"""Runs a program and stops at each system call that changes something, of the program and of all it
starts: there it can kill the program, deny the call as an older kernel would, let it fail, or run a
command in between. A program of its own, because a tracer waits for every child. The command
between gets the number of the call as $STEP, and $TOOL, not empty if a program that the driver
started makes it.

    python stepper.py REPORT [--kill-at N] [--deny NAME ...] [--fail-at N [--after NAME]]
    [--error EIO] [--between COMMAND] -- PROGRAM

With --after the calls of --fail-at are counted from the first call NAME on, which is 0.

REPORT gets a JSON list with the calls in order, each {"call": name, "tool": whether it was made by
a program that the driver started, "pipe": whether it writes into one}. Only for x86-64, whose
numbers these are."""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CALLS = {
    1: "write",
    16: "ioctl",
    18: "pwrite64",
    20: "writev",
    40: "sendfile",
    59: "execve",
    73: "flock",
    74: "fsync",
    75: "fdatasync",
    76: "truncate",
    77: "ftruncate",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    86: "link",
    87: "unlink",
    88: "symlink",
    90: "chmod",
    91: "fchmod",
    92: "chown",
    93: "fchown",
    165: "mount",
    166: "umount2",
    257: "openat",
    258: "mkdirat",
    260: "fchownat",
    263: "unlinkat",
    264: "renameat",
    268: "fchmodat",
    285: "fallocate",
    296: "pwritev",
    306: "syncfs",
    316: "renameat2",
    326: "copy_file_range",
    428: "open_tree",
    429: "move_mount",
    430: "fsopen",
    431: "fsconfig",
    432: "fsmount",
    442: "mount_setattr",
}
# Of the ioctls those that change something: loop devices (but not GET_STATUS64), and growth of
# ext4, xfs and btrfs.
LOOP_SET_BLOCK_SIZE = 0x4C09
LOOP_CONFIGURE = 0x4C0A
GROWTH = {0x40086610, 0x4010586E, 0x50009403}
IOCTLS = {
    *GROWTH,
    0x4C00,
    0x4C01,
    0x4C04,
    0x4C07,
    0x4C08,
    LOOP_SET_BLOCK_SIZE,
    LOOP_CONFIGURE,
}

_TRACEME = 0
_CONT = 7
_SETOPTIONS = 0x4200
_GET_SYSCALL_INFO = 0x420E
_POKEUSER = 6
_FORK = 2
_VFORK = 4
_CLONE = 8
_EXEC = 16
_SECCOMP = 0x80
_EXITKILL = 0x100000
_EVENT_SECCOMP = 7
_INFO_SECCOMP = 3
_RAX = 80
_ORIG_RAX = 120
_WALL = 0x40000000

# The kernel's filter, so that no other call stops: classic BPF over struct seccomp_data, which has
# the number at 0, and the low words of the second and third argument at 24 and 32. An instruction:
# code, jump if true, if false, operand.
_LOAD = 0x20
_EQUAL = 0x15
_ANY_BIT = 0x45
_RETURN = 0x06
_ALLOW = 0x7FFF0000
_TRACE = 0x7FF00000
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long
_libc.prctl.argtypes = [
    ctypes.c_int,
    ctypes.c_ulong,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_ulong,
]


def ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    failed = _libc.ptrace(request, pid, address, data) < 0
    if failed and ctypes.get_errno() != errno.ESRCH:  # else it was killed meanwhile
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")


def stop_at_changes() -> None:
    """From now on this process, and all it starts, stops for its tracer at each changing call."""
    number_of = {name: number for number, name in CALLS.items()}
    requests = [(_LOAD, 0, 0, 24), *_trace_if(_EQUAL, IOCTLS)]
    flags = [
        (_LOAD, 0, 0, 32),
        *_trace_if(_ANY_BIT, {os.O_CREAT}),
        (_RETURN, 0, 0, _ALLOW),
    ]
    program = [
        (_LOAD, 0, 0, 0),
        *_trace_if(_EQUAL, set(CALLS) - {number_of["openat"], number_of["ioctl"]}),
        (_EQUAL, 0, len(flags), number_of["openat"]),
        *flags,
        (_EQUAL, 0, len(requests), number_of["ioctl"]),
        *requests,
        (_RETURN, 0, 0, _ALLOW),
    ]
    instructions = ctypes.create_string_buffer(
        b"".join(struct.pack("=HBBI", *one) for one in program)
    )
    filter_ = ctypes.create_string_buffer(
        struct.pack("@HP", len(program), ctypes.addressof(instructions))
    )
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


def _trace_if(comparison: int, values: set[int]) -> Iterator[tuple[int, int, int, int]]:
    for value in sorted(values):
        yield comparison, 0, 1, value  # if not, the next is left out
        yield _RETURN, 0, 0, _TRACE


def entry(pid: int) -> tuple[str, tuple[int, ...]]:
    """The name and arguments of the changing call that the process is about to make."""
    info = ctypes.create_string_buffer(88)
    ptrace(_GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    if info.raw[0] != _INFO_SECCOMP:  # it was killed meanwhile
        return "", ()
    number, *arguments = struct.unpack_from("=7Q", info.raw, 24)
    name = CALLS[number]
    if name == "ioctl" and arguments[1] == LOOP_CONFIGURE:
        name = "LOOP_CONFIGURE"
    elif name == "ioctl" and arguments[1] == LOOP_SET_BLOCK_SIZE:
        name = "LOOP_SET_BLOCK_SIZE"
    elif name == "ioctl" and arguments[1] in GROWTH:
        name = "growth"
    return name, tuple(arguments)


def start(argv: list[str]) -> int:
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        ptrace(_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        stop_at_changes()
        os.execvp(argv[0], argv)
    os.waitpid(pid, _WALL)
    ptrace(_SETOPTIONS, pid, 0, _FORK | _VFORK | _CLONE | _EXEC | _SECCOMP | _EXITKILL)
    ptrace(_CONT, pid)
    return pid


def into_pipe(pid: int, name: str, arguments: tuple[int, ...]) -> bool:
    if not name.startswith("write"):
        return False
    return os.readlink(f"/proc/{pid}/fd/{arguments[0]}").startswith("pipe:")


class Tracer:
    """Runs a program, and stops it and all that it starts at each changing call.

    orders: the words of the command line, see the head of this file."""

    def __init__(self, orders: argparse.Namespace) -> None:
        self.calls: list[dict[str, object]] = []
        self._orders = orders
        self._fail_at: int = orders.fail_at
        self._after: str = orders.after
        self._leader = start(orders.program)
        self._alive = {self._leader}

    def run(self) -> int:
        """Returns the program's exit status."""
        exit_status = -1
        while self._alive:
            pid, status = os.waitpid(-1, _WALL)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                self._alive.discard(pid)
                if pid == self._leader:
                    exit_status = os.waitstatus_to_exitcode(status)
                continue
            self._alive.add(pid)
            ptrace(_CONT, pid, 0, self._stopped(pid, status))
        return exit_status

    def _stopped(self, pid: int, status: int) -> int:
        """Returns the signal that the process gets as it goes on, or 0."""
        if status >> 8 == signal.SIGTRAP | _EVENT_SECCOMP << 8:
            name, arguments = entry(pid)
            if name:
                self._at_call(pid, name, arguments)
            return 0
        number = os.WSTOPSIG(status)
        # These two are of ptrace: a fork, an exec, a new process.
        return 0 if number in (signal.SIGTRAP, signal.SIGSTOP) else number

    def _at_call(self, pid: int, name: str, arguments: tuple[int, ...]) -> None:
        is_tool = os.getpgid(pid) != self._leader
        if name == self._after:
            self._fail_at += len(self.calls) + 1
            self._after = ""
        pipe = into_pipe(pid, name, arguments)
        self.calls.append({"call": name, "tool": is_tool, "pipe": pipe})
        if self._orders.between:
            self._run_between(is_tool)
        if name in self._orders.deny:
            ptrace(_POKEUSER, pid, _ORIG_RAX, -1)  # the kernel then answers ENOSYS
        # A tool's plain write is to its terminal, or to the head of its undo file: when that alone
        # fails, e2fsck changes the device all the same, and cannot be undone.
        may_fail = not (is_tool and name == "write")
        if may_fail and not self._after and len(self.calls) == self._fail_at:
            ptrace(_POKEUSER, pid, _ORIG_RAX, -1)
            ptrace(_POKEUSER, pid, _RAX, -getattr(errno, self._orders.error))
        if len(self.calls) == self._orders.kill_at:
            self._kill(is_tool)

    def _run_between(self, is_tool: bool) -> None:
        step = {"STEP": str(len(self.calls)), "TOOL": "1" if is_tool else ""}
        environment = {**os.environ, **step}
        subprocess.run(self._orders.between, shell=True, check=True, env=environment)

    def _kill(self, is_tool: bool) -> None:
        os.killpg(self._leader, signal.SIGKILL)
        # What kills a tool kills all: the node's end, or that of kubelet's control group.
        if is_tool:
            for other in self._alive:
                os.kill(other, signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("report", type=Path)
    parser.add_argument("--kill-at", type=int, default=0)
    parser.add_argument("--deny", nargs="*", default=[])
    parser.add_argument("--between", default="")
    parser.add_argument("--fail-at", type=int, default=0)
    parser.add_argument("--after", default="")
    parser.add_argument("--error", default="EIO")
    parser.add_argument("program", nargs="+")
    orders = parser.parse_args()
    tracer = Tracer(orders)
    status = tracer.run()
    orders.report.write_text(json.dumps(tracer.calls))
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
