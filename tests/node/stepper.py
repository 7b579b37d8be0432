"""Runs a program and stops at each system call that changes something, of the program and of all it starts: there it
can kill the program, deny the call as an older kernel would, let it fail, or run a command in between. A program of its
own, because a tracer waits for every child. The command between gets the number of the call as $STEP, and $TOOL, not
empty if a program that the driver started makes it.

    python stepper.py REPORT [--kill-at N] [--deny NAME ...] [--fail-at N --error EIO] [--between COMMAND] -- PROGRAM

REPORT gets a JSON list with the calls in order, each {"call": name, "tool": whether it was made by a program that the
driver started, "pipe": whether it writes into one}. Only for x86-64, whose numbers these are.
"""

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
from pathlib import Path

CALLS = {
    1: "write", 16: "ioctl", 18: "pwrite64", 20: "writev", 40: "sendfile", 59: "execve", 73: "flock", 74: "fsync",
    75: "fdatasync", 76: "truncate", 77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 86: "link", 87: "unlink",
    88: "symlink", 90: "chmod", 91: "fchmod", 92: "chown", 93: "fchown", 165: "mount", 166: "umount2", 257: "openat",
    258: "mkdirat", 260: "fchownat", 263: "unlinkat", 264: "renameat", 268: "fchmodat", 285: "fallocate",
    296: "pwritev", 306: "syncfs", 316: "renameat2", 326: "copy_file_range", 428: "open_tree", 429: "move_mount",
    430: "fsopen", 431: "fsconfig", 432: "fsmount", 442: "mount_setattr",
}  # fmt: skip
# Of the ioctls those that change something: loop devices (but not GET_STATUS64), and growth of ext4, xfs and btrfs.
LOOP_CONFIGURE = 0x4C0A
IOCTLS = {0x4C00, 0x4C01, 0x4C04, 0x4C07, 0x4C08, 0x4C09, LOOP_CONFIGURE, 0x40086610, 0x4010586E, 0x50009403}

_TRACEME, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO, _POKEUSER = 0, 24, 0x4200, 0x420E, 6
_SYSGOOD, _FORK, _VFORK, _CLONE, _EXEC, _EXITKILL = 1, 2, 4, 8, 16, 0x100000
_ENTRY = 1
_RAX, _ORIG_RAX = 80, 120
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def ptrace(request: int, pid: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, pid, address, data) < 0 and ctypes.get_errno() != 3:  # ESRCH: it was killed meanwhile
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")


def entry(pid: int) -> tuple[str, tuple[int, ...]]:
    """The name and arguments of the changing call that the process is about to make; "" if it makes another."""
    info = ctypes.create_string_buffer(88)
    ptrace(_GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    if info.raw[0] != _ENTRY:
        return "", ()
    number, *arguments = struct.unpack_from("=7Q", info.raw, 24)
    name = CALLS.get(number, "")
    if name == "openat" and not arguments[2] & os.O_CREAT:
        return "", ()
    if name == "ioctl":
        if arguments[1] not in IOCTLS:
            return "", ()
        name = "LOOP_CONFIGURE" if arguments[1] == LOOP_CONFIGURE else name
    return name, tuple(arguments)


def start(argv: list[str]) -> int:
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        ptrace(_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execvp(argv[0], argv)
    os.waitpid(pid, _WALL)
    ptrace(_SETOPTIONS, pid, 0, _SYSGOOD | _FORK | _VFORK | _CLONE | _EXEC | _EXITKILL)
    ptrace(_SYSCALL, pid)
    return pid


def into_pipe(pid: int, name: str, arguments: tuple[int, ...]) -> bool:
    return name.startswith("write") and os.readlink(f"/proc/{pid}/fd/{arguments[0]}").startswith("pipe:")


def run(
    argv: list[str], kill_at: int, deny: list[str], between: str, fail_at: int, error: str
) -> tuple[list[dict[str, object]], int]:
    failing = 0  # the process whose call is about to return
    leader = start(argv)
    alive = {leader}
    calls: list[dict[str, object]] = []
    exit_status = -1
    while alive:
        pid, status = os.waitpid(-1, _WALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            alive.discard(pid)
            if pid == leader:
                exit_status = os.waitstatus_to_exitcode(status)
            continue
        alive.add(pid)
        number = os.WSTOPSIG(status)
        if number == signal.SIGTRAP | 0x80:
            name, arguments = entry(pid)
            if pid == failing:
                ptrace(_POKEUSER, pid, _RAX, -getattr(errno, error))
                failing = 0
            elif name:
                tool = os.getpgid(pid) != leader
                calls.append({"call": name, "tool": tool, "pipe": into_pipe(pid, name, arguments)})
                if between:
                    environment = {**os.environ, "STEP": str(len(calls)), "TOOL": "1" if tool else ""}
                    subprocess.run(between, shell=True, check=True, env=environment)
                if name in deny:
                    ptrace(_POKEUSER, pid, _ORIG_RAX, -1)  # the kernel then answers ENOSYS
                if len(calls) == fail_at and not (tool and name == "write"):
                    # A tool's plain write is to its terminal, or to the head of its undo file: when that alone fails,
                    # e2fsck changes the device all the same, and cannot be undone.
                    ptrace(_POKEUSER, pid, _ORIG_RAX, -1)
                    failing = pid
                if len(calls) == kill_at:
                    os.killpg(leader, signal.SIGKILL)
                    if tool:  # what kills the tool kills all: the node's end, or that of kubelet's control group
                        for other in alive:
                            os.kill(other, signal.SIGKILL)
            number = 0
        elif number in (signal.SIGTRAP, signal.SIGSTOP):  # of ptrace: a fork, an exec, a new process
            number = 0
        ptrace(_SYSCALL, pid, 0, number)
    return calls, exit_status


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("report", type=Path)
    parser.add_argument("--kill-at", type=int, default=0)
    parser.add_argument("--deny", nargs="*", default=[])
    parser.add_argument("--between", default="")
    parser.add_argument("--fail-at", type=int, default=0)
    parser.add_argument("--error", default="EIO")
    parser.add_argument("program", nargs="+")
    words = parser.parse_args()
    calls, status = run(words.program, words.kill_at, words.deny, words.between, words.fail_at, words.error)
    words.report.write_text(json.dumps(calls))
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
