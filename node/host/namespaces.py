"""Namespaces, and what only their first process may do: mounts of its own, another root, fewer
capabilities.

For commands that run a foreign program apart from this machine; no callout imports this module.
Numbers are those of include/uapi/linux/{sched,mount,prctl,capability,if,sockios}.h."""

import ctypes
import fcntl
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

NEW_MOUNTS = 0x00020000
NEW_GROUPS = 0x02000000
NEW_UTS = 0x04000000
NEW_IPC = 0x08000000
NEW_USER = 0x10000000
NEW_PID = 0x20000000
NEW_NETWORK = 0x40000000

READ_ONLY = 1
NOSUID = 2
NODEV = 4
NOEXEC = 8
REMOUNT = 32
BIND = 4096
RECURSIVE = 0x4000
PRIVATE = 1 << 18
SHARED = 1 << 20
_MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24

# Capabilities, by the kernel's names without CAP_.
_CAPABILITIES = {
    "DAC_READ_SEARCH": 2,
    "LINUX_IMMUTABLE": 9,
    "SYS_MODULE": 16,
    "SYS_RAWIO": 17,
    "SYS_ADMIN": 21,
    "SYS_BOOT": 22,
    "SYS_TIME": 25,
    "MKNOD": 27,
    "AUDIT_CONTROL": 30,
    "MAC_OVERRIDE": 32,
    "MAC_ADMIN": 33,
    "SYSLOG": 34,
    "WAKE_ALARM": 35,
    "PERFMON": 38,
    "BPF": 39,
}
_SYS_RESOURCE = 24

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFREQ = struct.Struct("=16sh22x")  # struct ifreq with its flags

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Moves this process to new namespaces; NEW_PID is for the children of this process.

    flags: of NEW_*. Raises OSError."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, fs_type: str, flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError, with the target as its file."""
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        fs_type.encode(),
        ctypes.c_ulong(flags),
        data.encode(),
    )
    _check(result, target)


def bind(source: str, target: str, flags: int = 0) -> None:
    """Shows `source` at `target` too, with these flags and no submounts. Raises OSError."""
    mount(source, target, "", BIND)
    if flags:
        mount("", target, "", BIND | REMOUNT | flags)


def set_read_only(path: str, is_read_only: bool) -> None:
    """Makes the mount at `path` read-only, or writable. Its other flags stay: who has not made the
    mount may not be able to take them away. Raises OSError."""
    # statvfs(3) and mount(2) have the same bits for these.
    flags = os.statvfs(path).f_flag & (NOSUID | NODEV | NOEXEC)
    if is_read_only:
        flags |= READ_ONLY
    mount("", path, "", BIND | REMOUNT | flags)


def unmount(path: str) -> None:
    """Takes the topmost mount at `path` away, and all below it. Raises OSError."""
    _check(_libc.umount2(os.fsencode(path), ctypes.c_int(_MNT_DETACH)), path)


def change_root(path: str) -> None:
    """Makes the mount at `path` the root of this mount namespace, and takes the old root away with
    all its mounts. Raises OSError."""
    os.chdir(path)
    _check(_libc.pivot_root(b".", b"."), path)
    # The old root lies on top of the new one now (pivot_root(2), "pivot_root(".", ".")").
    unmount(".")
    os.chdir("/")


def die_with_parent(number: int) -> None:
    """Has the kernel send this process the signal of that number when its parent ends. Raises
    OSError."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl")


def hide_process() -> None:
    """Shuts the memory, the program and the open files of this process, as /proc shows them, to all
    who lack CAP_SYS_PTRACE in the user namespace in which this program was started. Children are
    hidden, too, until they execute another program."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")


def drop_capabilities(names: "Iterable[str]") -> None:
    """Takes capabilities, named without CAP_, from all that this process will execute. One that the
    kernel does not know is passed over."""
    for name in names:
        number = _CAPABILITIES[name]
        if _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1:
            _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), name)


def may_grow() -> bool:
    """Whether this process has CAP_SYS_RESOURCE, without which the kernel grows no mounted ext4
    (ext4_resize_begin)."""
    with open("/proc/self/status") as status:
        for line in status:
            name, _, value = line.partition(":")
            if name == "CapEff":
                return bool(int(value, 16) >> _SYS_RESOURCE & 1)
    return False


def loopback_up() -> None:
    """Brings up the network interface lo, which is down in a new network namespace. Raises
    OSError."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        request = _IFREQ.pack(b"lo", 0)
        flags = _IFREQ.unpack(fcntl.ioctl(endpoint, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(endpoint, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))


def _check(result: int, about: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), about)
