"""The kernel's calls that mount, and the flags that each mount has of its own.

The mount API of kernel 5.2 (fsopen, fsconfig, fsmount, open_tree, move_mount) makes a mount that is
nowhere yet, a tree, which appears in one step when the tree is complete. Kernels before have only
mount(2), whose mounts appear at once."""

import ctypes
import errno
import os

from node.host import abi
from node.host.descriptors import Descriptor
from shared.protocol import Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Optional, Sequence

_OPEN_TREE = abi.system_call(428)
_MOVE_MOUNT = abi.system_call(429)
_FSOPEN = abi.system_call(430)
_FSCONFIG = abi.system_call(431)
_FSMOUNT = abi.system_call(432)
_MOUNT_SETATTR = abi.system_call(442)
# Of include/uapi/linux/mount.h: the flags of open_tree, fsopen, fsmount and move_mount, the
# commands of fsconfig, and the bits of mount_setattr that say when a file was read.
_OPEN_TREE_CLONE = 1
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_MOVE_FROM_EMPTY_PATH = 4
_FS_FLAG = 0
_FS_STRING = 1
_FS_CREATE = 6
_ATTR_ATIME = 0x70
# Of mount(2) and umount2(2).
_MS_REMOUNT = 32
_MS_BIND = 4096
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
# Of include/uapi/linux/fcntl.h.
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000

# The flags that each mount has of its own, with their bits for fsmount and mount_setattr.
_TREE_BITS = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "noatime": 0x10,
    "nodiratime": 0x80,
}
# The same flags with their bits for mount(2) and statvfs(3).
_MOUNT_BITS = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "noatime": 1024,
    "nodiratime": 2048,
}
FLAGS = frozenset(_TREE_BITS)
# With what a kernel refuses an option that it does not have, or a value or a set of them.
_REFUSALS = (errno.EINVAL, errno.ERANGE, errno.EOPNOTSUPP)
# fsconfig(2) takes no longer source and no longer value of an option; mount(2) does.
_CONFIG_BYTES = 255

_libc = ctypes.CDLL(None, use_errno=True)


class Missing(Exception):
    """This kernel does not have the system call, or a filter of system calls does not know the
    call."""


class MountRefused(Internal):
    """The kernel refused a mount.

    code: the number of the error; 0 if none is known."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class OptionRefused(MountRefused):
    """The kernel refused a mount, perhaps for one of its options.

    option: the option that the kernel named; "" if the kernel named none, so that the file system
    itself may be wrong. The option may hold a password, so no message shows it."""

    def __init__(self, message: str, option: str, code: int = errno.EINVAL) -> None:
        super().__init__(message, code)
        self.option = option


class Superblock:
    """A file system on a block device or on a server, to be mounted.

    device: the path, or the server's name for it. fs_type: as in mount -t. options: of the file
    system, "FLAG" or "KEY=VALUE"; where the device is mounted already the file system has the
    options of that mount instead. The superblock is always writable."""

    def __init__(self, device: str, fs_type: str, options: "Sequence[str]") -> None:
        self.device = device
        self.fs_type = fs_type
        self.options = options


class _Attributes(ctypes.Structure):
    """struct mount_attr of include/uapi/linux/mount.h."""

    _fields_ = [
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    ]


def new_tree(superblock: Superblock, flags: "Sequence[str]") -> Descriptor:
    """A tree of the whole file system, with exactly these flags of its own. Raises Missing before
    kernel 5.2, or if only mount(2) takes such options; MountRefused, with the kernel's words, if
    the kernel does not mount."""
    _check_length(superblock)
    number = _call(_FSOPEN, superblock.fs_type.encode(), _FSOPEN_CLOEXEC, what="fsopen")
    with Descriptor(number) as context:
        tree = _fsmount(context, superblock, flags)
    with tree:
        check_flags(tree, flags)
        return tree.kept_open()


def _check_length(superblock: Superblock) -> None:
    values = [option.partition("=")[2] for option in superblock.options]
    for text in (superblock.device, *values):
        if len(_encoded(text)) > _CONFIG_BYTES:
            raise Missing("a long value for fsconfig")


def _fsmount(context: int, superblock: Superblock, flags: "Sequence[str]") -> Descriptor:
    option = ""  # the one that is being set
    try:
        _configure(context, _FS_STRING, "source", superblock.device)
        for option in superblock.options:
            key, equals, value = option.partition("=")
            if equals:
                _configure(context, _FS_STRING, key, value)
            else:
                _configure(context, _FS_FLAG, key, None)
        option = ""
        _configure(context, _FS_CREATE, None, None)
        bits = _tree_bits(flags)
        return Descriptor(_call(_FSMOUNT, context, _FSMOUNT_CLOEXEC, bits, what="fsmount"))
    except OSError as error:
        if error.errno == errno.EINVAL and "," in option:
            # cifs before kernel 5.11 takes no comma from fsconfig.
            raise Missing("a comma for fsconfig") from None
        words = "cannot mount {} as {}: {}{}".format(
            superblock.device, superblock.fs_type, error.strerror, _explanation(context)
        )
        raise _failure(error.errno, words, option) from None


def _configure(context: int, command: int, key: "Optional[str]", value: "Optional[str]") -> None:
    key_bytes = None if key is None else _encoded(key)
    value_bytes = None if value is None else _encoded(value)
    _call(_FSCONFIG, context, command, key_bytes, value_bytes, 0, what="fsconfig")


def _explanation(context: int) -> str:
    """What the kernel wrote into the context about its refusal."""
    words = []
    try:
        while True:
            words.append(os.read(context, 1024).decode("utf-8", "replace").strip())
    except OSError:  # ENODATA: no more messages
        return "".join("; " + word for word in words)


def clone_tree(path: str, follow: bool) -> Descriptor:
    """A tree of the directory at `path`, with the flags of the mount that `path` is in.

    follow: whether `path` may be a symbolic link. Raises Missing before kernel 5.2."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
    if not follow:
        flags |= _AT_SYMLINK_NOFOLLOW
    return Descriptor(_call(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags, what="open_tree"))


def set_flags(tree: int, flags: "Sequence[str]") -> None:
    """Gives the tree exactly these flags: a copy of a mount has its source's. Raises Missing before
    kernel 5.12."""
    wanted = _tree_bits(flags)
    others = _tree_bits(FLAGS) & ~wanted
    attributes = _Attributes(wanted, others | _ATTR_ATIME, 0, 0)
    pointer = ctypes.byref(attributes)
    size = ctypes.sizeof(attributes)
    _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, pointer, size, what="mount_setattr")
    check_flags(tree, flags)


def check_flags(root: int, flags: "Sequence[str]") -> None:
    """Raises Internal unless the mount of the open directory or tree has exactly these flags."""
    have = os.fstatvfs(root).f_flag
    wanted = _mount_bits(flags)
    if have & _mount_bits(FLAGS) != wanted:
        raise Internal(
            "the kernel mounted with the flags {:#x} instead of {:#x}, so it was undone; "
            "see dmesg".format(have, wanted)
        )


def publish(tree: int, path: str) -> None:
    """Makes the complete tree appear at `path`, in one step."""
    target = os.fsencode(path)
    _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, target, _MOVE_FROM_EMPTY_PATH, what="move_mount")


def mount_at(superblock: Superblock, path: str) -> None:
    """mount(2): mounts the file system at `path`. Raises as `new_tree` does, or
    FileNotFoundError."""
    # A comma within an option is doubled, as cifs reads its password; nothing else has commas.
    options = ",".join(option.replace(",", ",,") for option in superblock.options)
    _mount(superblock.device, path, superblock.fs_type, 0, options)


def bind_at(source: str, path: str) -> None:
    """mount(2): shows the directory `source` at `path` too, with the flags of the mount that
    `source` is in."""
    _mount(source, path, "", _MS_BIND, "")


def set_flags_at(path: str, flags: "Sequence[str]") -> None:
    """mount(2): gives the mount at `path` exactly these flags."""
    _mount("", path, "", _MS_REMOUNT | _MS_BIND | _mount_bits(flags), "")


def _mount(source: str, target: str, fs_type: str, flags: int, data: str) -> None:
    result = _libc.mount(
        _encoded(source),
        os.fsencode(target),
        fs_type.encode(),
        ctypes.c_ulong(flags),
        _encoded(data),
    )
    if result == 0:
        return
    code = ctypes.get_errno()
    if code == errno.ENOENT:
        raise FileNotFoundError(code, os.strerror(code), target)
    words = "cannot mount {} at {}: {}".format(source, target, os.strerror(code))
    raise _failure(code, words, "")


def unmount_at(path: str) -> int:
    """umount2(2): takes the topmost mount at `path` away. Returns 0, or the number of the error."""
    if _libc.umount2(os.fsencode(path), _UMOUNT_NOFOLLOW) == 0:
        return 0
    return ctypes.get_errno()


def detach_at(path: str) -> None:
    """umount2(2): takes the mount at `path` out of the tree of names. The mount itself goes when
    nobody has anything in it open."""
    if _libc.umount2(os.fsencode(path), _UMOUNT_NOFOLLOW | _MNT_DETACH) != 0:
        code = ctypes.get_errno()
        raise OSError(code, "umount2: {}".format(os.strerror(code)), path)


def _call(number: int, *arguments: "Any", what: str) -> int:
    result: "int" = _libc.syscall(ctypes.c_long(number), *arguments)
    if result >= 0:
        return result
    code = ctypes.get_errno()
    # A filter that is older than the call answers EPERM. If it is the kernel that forbids the
    # call, then it forbids what is tried instead too, and says so.
    if code in (errno.ENOSYS, errno.EPERM):
        raise Missing(what)
    raise OSError(code, "{}: {}".format(what, os.strerror(code)))


def _failure(code: "Optional[int]", words: str, option: str) -> MountRefused:
    if code in _REFUSALS:
        return OptionRefused(words, option, code or 0)
    return MountRefused(words, code or 0)


def _encoded(text: str) -> bytes:
    """A name or a value as the kernel gets it, whatever this node's locale is."""
    return text.encode("utf-8", "surrogateescape")


def _tree_bits(flags: "Iterable[str]") -> int:
    return sum(_TREE_BITS[flag] for flag in flags)


def _mount_bits(flags: "Iterable[str]") -> int:
    return sum(_MOUNT_BITS[flag] for flag in flags)
