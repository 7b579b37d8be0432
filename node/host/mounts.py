"""Mounts: read from mountinfo, made complete before they appear, undone until they are gone.

The kernel's mount API of 5.2 lets a mount get its size, owner and flags while it is nowhere and
then appear in one step; a callout that is killed leaves nothing of it. Where that is missing the
mount is prepared in a directory of our own, a stage, and bound from there, since a bind takes over
its source's flags. A stage that a killed callout left is cleared by the next callout of any volume
that mounts or unmounts."""

import ctypes
import errno
import os

from node.host import abi, config, files, freezing, loopdev
from shared import process
from shared.protocol import Busy, Failure, Internal, InvalidArgument, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

_STAGE = "/run/flexvol/stage"

_OPEN_TREE = abi.system_call(428)
_MOVE_MOUNT = abi.system_call(429)
_FSOPEN = abi.system_call(430)
_FSCONFIG = abi.system_call(431)
_FSMOUNT = abi.system_call(432)
_MOUNT_SETATTR = abi.system_call(442)
_OPEN_TREE_CLONE, _MOVE_FROM_EMPTY_PATH, _AT_EMPTY_PATH = 1, 4, 0x1000
_FS_FLAG, _FS_STRING, _FS_CREATE = 0, 1, 6
_ATTR_ATIME = 0x70
_MS_REMOUNT, _MS_BIND = 32, 4096
_UMOUNT_NOFOLLOW = 8
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_UNMOUNTS = 64
_STAGE_SECONDS = 20
_READINGS = 10
_CLEAR_SECONDS = 3  # to unmount what nobody uses, and has hardly written, takes milliseconds
_LOCK_SUFFIX = ".lock"
# Processes in whose mount namespace pods' volumes are mounted: kubelet, those that it is a part
# of, and CRI-O, which stays when kubelet is restarted.
_KUBELETS = ("kubelet", "k3s", "rke2", "kubelite", "crio")

# The flags that each mount has of its own. Name -> bit for mount_setattr, and for mount(2) and
# statvfs.
_FLAGS = {
    "ro": (1, 1),
    "nosuid": (2, 2),
    "nodev": (4, 4),
    "noexec": (8, 8),
    "noatime": (0x10, 1024),
    "nodiratime": (0x80, 2048),
}
FLAGS = frozenset(_FLAGS)
# Kinds of file systems that several machines mount at once, as mountinfo names them.
_SHARED = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "fuse.ceph",
    "fuse.ceph-fuse",
    "fuse.glusterfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ocfs2",
    "gfs2",
)

_libc = ctypes.CDLL(None, use_errno=True)


class Mount:
    """One line of mountinfo. device: "major:minor"; source: what it was mounted from; root: the
    part of the file system it shows; flags: of this one mount, super_flags: of the file system,
    both as "rw,..."."""

    def __init__(
        self,
        device: str,
        root: str,
        path: str,
        flags: str,
        fs_type: str,
        source: str,
        super_flags: str,
        process: "Union[int, str]" = "self",
    ) -> None:
        self.device = device
        self.root = root
        self.path = path
        self.flags = flags
        self.fs_type = fs_type
        self.source = source
        self.super_flags = super_flags
        self.process = process

    @property
    def reach(self) -> str:
        """Its path for this process, also if it is in the mount namespace of another one."""
        return self.path if self.process == "self" else self._root + self.path

    @property
    def _root(self) -> str:
        return "/proc/{}/root".format(self.process)

    def command(self, *words: str) -> str:
        """The command of these words, to be run where the mount is."""
        inside = () if self.process == "self" else ("nsenter", "-t", str(self.process), "-m")
        return " ".join(inside + words)

    def is_of(self, number: str, path: str) -> bool:
        """Whether it shows the block device `path`, whose number is "major:minor". btrfs gives its
        mounts a number of its own, so for it the device's name decides; the caller holds the device
        open, and it cannot have become another."""
        return self.device == number or (self.fs_type == "btrfs" and self.source == path)

    def stopped(self) -> str:
        """How the file system stopped after an error; "" if it did not. We mount every superblock
        writable."""
        if {"ro", "emergency_ro", "shutdown"}.intersection(self.super_flags.split(",")):
            return "has gone read-only after an error"
        try:
            os.stat(self.reach)
            return ""
        except FileNotFoundError:  # unmounted and removed meanwhile
            return ""
        except OSError as error:
            return "was shut down after an error: {}".format(error.strerror)


def table(process: "Union[int, str]" = "self") -> "Iterator[Mount]":
    """The mounts of our own mount namespace, or of a process's, in the order they were made."""
    for line in filter(None, _mountinfo(process).split("\n")):
        left, _, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        yield Mount(
            fields[2],
            _plain(fields[3]),
            _plain(fields[4]),
            fields[5],
            tail[0],
            _plain(tail[1]),
            tail[-1],
            process,
        )


def _mountinfo(process: "Union[int, str]") -> str:
    """The whole text. Before kernel 5.8 a mount that comes or goes while the text is read, page by
    page, can hide another one that was there all the time; so the text is read until two readings
    agree, or until that is given up."""
    path = "/proc/{}/mountinfo".format(process)
    before = b""
    for _ in range(_READINGS):
        with open(path, "rb") as file:
            now = file.read()
        if now == before:
            break
        before = now
    return os.fsdecode(before)


def may_be_shared(directory: int) -> bool:
    """Whether the open directory is on a file system that other machines may have mounted too."""
    device = os.fstat(directory).st_dev
    number = "{}:{}".format(os.major(device), os.minor(device))
    return any(mount.device == number and mount.fs_type in _SHARED for mount in table())


def of_pods() -> "List[Mount]":
    """The mounts of our own mount namespace, and of the kubelets' that work with our pools in
    another one, as OpenShift's does. What is mounted in both is given once, as ours."""
    found = list(table())
    known = {(mount.device, mount.path) for mount in found}
    for number in _kubelets():
        try:
            theirs = list(table(number))
        except OSError:  # it ended meanwhile
            continue
        for mount in theirs:
            if (mount.device, mount.path) not in known:
                known.add((mount.device, mount.path))
                found.append(mount)
    return found


def _kubelets() -> "Iterator[int]":
    """A process of each other mount namespace in which a kubelet, or the runtime beside it, works
    with our pools. The kubelet of a cluster in containers has pools of its own."""
    seen = {os.readlink("/proc/self/ns/mnt")}
    ours = _identity(config.ROOT)
    for number in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            if not _is_kubelet(number):
                continue
            namespace = os.readlink("/proc/{}/ns/mnt".format(number))
            if namespace in seen:
                continue
            if _identity("/proc/{}/root{}".format(number, config.ROOT)) != ours:
                continue
        except OSError:  # it ended meanwhile, or its pools are not there
            continue
        seen.add(namespace)
        yield number


def _is_kubelet(number: int) -> bool:
    from node.host import kubelet  # late: only a person's commands look for it

    words = kubelet.command_line(number)
    # CRI-O and others write all of their command line as one word.
    return bool(words) and os.path.basename(words[0].split(" ")[0]) in _KUBELETS


def _identity(path: str) -> "Tuple[int, int]":
    status = os.stat(path)
    return status.st_dev, status.st_ino


def elsewhere() -> "Iterator[Tuple[int, Mount]]":
    """The mounts of every other mount namespace of this machine, each with the number of a process
    in it."""
    seen = {os.readlink("/proc/self/ns/mnt")}
    for number in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            namespace = os.readlink("/proc/{}/ns/mnt".format(number))
            found = list(table(number)) if namespace not in seen else []
        except OSError:  # it ended meanwhile
            continue
        seen.add(namespace)
        for mount in found:
            yield number, mount


def device_number(path: str) -> str:
    """A block device's "major:minor"."""
    number = os.stat(path).st_rdev
    return "{}:{}".format(os.major(number), os.minor(number))


def of_device(path: str, parts: bool = False, also_kubelets: bool = False) -> "List[Mount]":
    """The mounts that show the whole file system on the block device `path`; with `parts` also
    those of a directory in it, such as kubelet's for a subPath. Of our own mount namespace, and
    with `also_kubelets` as of_pods has them."""
    number = device_number(path)
    every = of_pods() if also_kubelets else list(table())
    shown = [mount for mount in every if mount.is_of(number, path) and not is_staged(mount)]
    return [mount for mount in shown if parts or mount.root == "/"]


def is_staged(mount: Mount) -> bool:
    """Whether it is one of ours that is being prepared, or that a killed callout left."""
    return mount.path.startswith(_STAGE + "/")


def is_only_mount(device_path: str, path: str) -> bool:
    """True if `path` is the only mount of the device in all mount namespaces of this machine, parts
    of it included: no container has it."""
    device = device_number(device_path)
    top = at(path)
    if top is None or [mount.path for mount in table() if mount.device == device] != [top.path]:
        return False
    return all(mount.device != device for _, mount in elsewhere())


def at(path: str) -> "Optional[Mount]":
    """The topmost mount at `path`, or None."""
    top = None
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    for mount in table():
        if mount.path == real:
            top = mount
    return top


def check_path(path: str) -> None:
    """Raises InvalidArgument unless `path` is absolute and written as mountinfo writes it. It need
    not exist."""
    if path[:1] != "/" or any(name in ("", ".", "..") for name in path[1:].split("/")):
        raise InvalidArgument(
            (
                "mount directory {} is not a plain absolute path; kubelet names it without . and .."
            ).format(shown(path))
        )


def check_directory(path: str) -> None:
    """Raises InvalidArgument unless `path` is a plain absolute path of a directory."""
    check_path(path)
    if os.path.islink(path) or not os.path.isdir(path):
        raise InvalidArgument(
            "mount directory {} is not a directory; kubelet creates it before it calls".format(path)
        )


def mount(
    device: str,
    fs_type: str,
    options: "Sequence[str]",
    path: str,
    flags: "Sequence[str]",
    prepare: "Callable[[int], None]",
) -> None:
    """Mounts `device` at the directory `path`, complete.

    options: of the file system itself, "flag" or "key=value"; the superblock is always writable.
    flags: of this one mount, of FLAGS.
    prepare: called with a descriptor of the mounted root before it appears at `path`.
    """
    try:
        _mount_tree(device, fs_type, options, path, flags, prepare)
    except _Missing:
        _mount_staged(device, fs_type, options, path, flags, prepare)


def _mount_tree(
    device: str,
    fs_type: str,
    options: "Sequence[str]",
    path: str,
    flags: "Sequence[str]",
    prepare: "Callable[[int], None]",
) -> None:
    tree = _new_tree(device, fs_type, options, [flag for flag in flags if flag != "ro"])
    try:
        _with_root(".", prepare, tree)
        if "ro" in flags:
            # Another mount of the same superblock: to change the flags of a mount takes a call of
            # kernel 5.12.
            writable = tree
            tree = _new_tree(device, fs_type, options, flags)
            os.close(writable)
        _publish(tree, path)
    finally:
        os.close(tree)


def bind(source: str, path: str, flags: "Sequence[str]", must_be_mount: bool = False) -> None:
    """Shows the directory `source` at the directory `path` too, with flags of its own.

    must_be_mount: raises FileNotFoundError if `source` is no mount point (any more). An unmount
    waits for no lock, and what is shown would then be the directory below it, on the node's own
    disk."""
    try:
        _bind_tree(source, path, flags, must_be_mount)
    except _Missing:
        try:
            _mount_beside(source, path, flags)
        except _Missing:
            _bind_staged(source, path, flags, must_be_mount)


def _bind_tree(source: str, path: str, flags: "Sequence[str]", must_be_mount: bool) -> None:
    how = _OPEN_TREE_CLONE | os.O_CLOEXEC
    tree = _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), how, what="open_tree")
    try:
        _set_flags(tree, flags)
        if must_be_mount:
            _check_mounted(source)
        _publish(tree, path)
    finally:
        os.close(tree)


def _mount_beside(source: str, path: str, flags: "Sequence[str]") -> None:
    tree = _beside(source, flags)
    try:
        _publish(tree, path)
    finally:
        os.close(tree)


def _beside(source: str, flags: "Sequence[str]") -> int:
    """Another mount of the superblock that is mounted at `source`, nowhere yet. It has flags of
    its own from the beginning, which takes no call of kernel 5.12. Raises _Missing if `source` is
    no mount of a whole file system on a loop device."""
    mounted = at(source)
    if mounted is None or mounted.root != "/" or not _is_volume(mounted.source):
        raise _Missing("a superblock")
    tree = _new_tree(mounted.source, mounted.fs_type, (), flags)
    try:
        # If it was unmounted meanwhile, this is a superblock without the volume's options.
        _check_mounted(source)
        return tree
    except BaseException:
        os.close(tree)
        raise


def _check_mounted(source: str) -> None:
    if at(source) is None:
        raise FileNotFoundError(errno.ENOENT, "not mounted any more", source)


def replay(device: str, fs_type: str, options: "Sequence[str]") -> None:
    """Has the kernel replay the log of the file system on `device`: mounts it where nobody sees it,
    and unmounts it."""
    mount_unseen(device, fs_type, options, lambda _root: None)


def mount_unseen(
    device: str, fs_type: str, options: "Sequence[str]", work: "Callable[[int], None]"
) -> None:
    """Mounts `device` where nobody sees it, calls `work` with a descriptor of its root, and
    unmounts it."""
    try:
        tree = _new_tree(device, fs_type, options, ())
    except _Missing:
        with _Stage(device) as stage:
            _mount(device, stage, fs_type, 0, ",".join(options))
            _with_root(stage, work)
        return
    try:
        _with_root(".", work, tree)
    finally:
        os.close(tree)


def is_nowhere(device: str) -> bool:
    """Whether no mount of the block device is in any mount namespace of this machine."""
    number = device_number(device)
    if any(mount.is_of(number, device) for mount in table()):
        return False
    return not any(mount.is_of(number, device) for _, mount in elsewhere())


def is_frozen(mount: Mount, device: str) -> bool:
    """Whether the file system on the block device that `mount` shows is frozen, and not by a
    snapshot of ours. Where that cannot be seen the answer is False, and for a file system that
    stopped after an error, which answers no question."""
    if mount.stopped():
        return False
    try:
        root = open_root(mount.path)
    except (FileNotFoundError, PermissionError):
        return False  # it was unmounted meanwhile; or we may not look
    try:
        frozen = freezing.is_frozen(mount.fs_type, device, root)
        return frozen is True and files.try_lock(root)  # a snapshot of ours holds that lock
    finally:
        os.close(root)


def thaw_unmounted(device: str, fs_type: str) -> bool:
    """Thaws the file system on a loop device if it was frozen and then unmounted everywhere.
    Returns whether it was.

    Such a file system is still there, although nobody can reach it: it keeps its device, and with
    it the lock on the image. The kernel shows it again to whoever mounts the device."""
    if not os.path.exists("/sys/block/{}/loop".format(os.path.basename(device))):
        return False  # the device went away with its last mount, as it should
    if not is_nowhere(device) or not _is_taken(device):
        return False
    thawed = []
    mount_unseen(device, fs_type, (), lambda root: thawed.append(freezing.thaw(root)))
    return thawed == [True]


def _is_taken(device: str) -> bool:
    """Whether the kernel has a file system on the device, which it opens for itself alone."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        return False
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise


def open_root(path: str) -> int:
    """A descriptor of the root of the file system that is mounted at `path`.

    It leads through a mount of our own that is nowhere, so that whoever unmounts `path` meanwhile
    need not wait; before kernel 5.2 through `path` itself. Raises FileNotFoundError if nothing is
    mounted there (any more): what is there is then the directory below."""
    try:
        flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_SYMLINK_NOFOLLOW
        tree = _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags, what="open_tree")
    except (_Missing, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise  # EINVAL: it is in another mount namespace
        tree = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree)
    finally:
        os.close(tree)
    if os.fstat(root).st_dev != os.stat(os.path.dirname(path)).st_dev:
        return root
    os.close(root)
    raise FileNotFoundError(errno.ENOENT, "not mounted any more", path)


def unmount(path: str) -> None:
    """Unmounts `path` until nothing is mounted there. Raises Busy while something in it is in use,
    and touches only mounts of loop devices."""
    clear_stages()
    _unmount(path)


def clear_stages() -> None:
    """Clears what killed callouts left where they prepared mounts, of whatever volume: the volume's
    own next callout may never come. What is being prepared now is left alone."""
    try:
        names = os.listdir(_STAGE)
    except FileNotFoundError:
        return  # this kernel has never needed one since the boot
    stages = [_Stage(name) for name in names if not name.endswith(_LOCK_SUFFIX)]
    works = [stage.clear_if_left for stage in stages]
    # A volume whose disk hangs keeps only its own stage.
    process.side_by_side(works, _CLEAR_SECONDS, _CLEAR_SECONDS)


def thaw_left(mount: Mount) -> None:
    """Thaws the file system of a mount that is gone, if it was frozen and nobody has it any more.
    What cannot be thawed now is thawed by its next mount, and named by status and doctor."""
    try:
        thaw_unmounted(mount.source, mount.fs_type)
    except (Failure, OSError):
        return


def _unmount(path: str) -> str:
    """The device that was mounted there, or ""."""
    device = ""
    for _ in range(_UNMOUNTS):
        top = at(path)
        if top is None:
            return device
        device = top.source
        if not _is_volume(top.source):
            raise InvalidArgument(
                "{} is a mount of {} ({}), not of a flexvol volume; it is left alone".format(
                    path, top.source, top.fs_type
                )
            )
        if (
            _libc.umount2(os.fsencode(path), _UMOUNT_NOFOLLOW) != 0
            and ctypes.get_errno() != errno.EINVAL
        ):
            code = ctypes.get_errno()
            kind = Busy if code == errno.EBUSY else Internal
            raise kind("cannot unmount {}: {}".format(path, os.strerror(code)))
    raise Internal(
        (
            "{0} is still mounted after {1} unmounts; see what mounts it again and again, in: "
            "findmnt {0}"
        ).format(path, _UNMOUNTS)
    )


def _is_volume(source: str) -> bool:
    """Whether it is a loop device on an image, as far as the kernel tells: one that goes away at
    this moment has nothing behind it, and a container may not see the machine's devices. An image
    that was renamed is still in its pool; the path of one whose disk was unmounted here begins at
    that disk."""
    if not source.startswith("/dev/loop") or not source[9:].isdecimal():
        return False
    backing = loopdev.backing_path(source)
    return not backing or backing.startswith(config.ROOT + "/") or backing.endswith("/image")


class OptionRefused(Internal):
    """The kernel refused a mount, perhaps for one of its options. option: the one that the kernel
    named; "" if it named none, so that it may be the file system that is wrong."""

    def __init__(self, message: str, option: str) -> None:
        super().__init__(message)
        self.option = option

    @property
    def reason(self) -> str:
        return "Internal"


# With what a kernel refuses an option that it does not have, or a value or a set of them.
_REFUSALS = (errno.EINVAL, errno.ERANGE, errno.EOPNOTSUPP)


class _Missing(Exception):
    """This kernel does not have the system call, or a filter of system calls does not know it."""


class _Attributes(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")
    ]


def _call(number: int, *arguments: "Any", what: str) -> int:
    result: "int" = _libc.syscall(ctypes.c_long(number), *arguments)
    if result >= 0:
        return result
    code = ctypes.get_errno()
    # A filter that is older than the call answers EPERM. If it is the kernel that forbids the
    # call, then it forbids what is tried instead too, and says so.
    if code in (errno.ENOSYS, errno.EPERM):
        raise _Missing(what)
    raise OSError(code, "{}: {}".format(what, os.strerror(code)))


def _mount_failure(code: "Optional[int]", words: str, option: str = "") -> Internal:
    return OptionRefused(words, option) if code in _REFUSALS else Internal(words)


def _new_tree(device: str, fs_type: str, options: "Sequence[str]", flags: "Sequence[str]") -> int:
    """A mount of `device`, with exactly these flags of its own, that is nowhere yet. The superblock
    is writable; where the device is mounted already it is that one, with the options it has."""
    context = _call(_FSOPEN, fs_type.encode(), 1, what="fsopen")
    option = ""
    try:
        try:
            _configure(context, _FS_STRING, "source", device)
            for option in options:
                key, _, value = option.partition("=")
                _configure(context, _FS_STRING if value else _FS_FLAG, key, value or None)
            option = ""
            _configure(context, _FS_CREATE, None, None)
            tree = _call(_FSMOUNT, context, 1, _new_flags(flags), what="fsmount")
        except OSError as error:
            words = "cannot mount {} as {}: {}{}".format(
                device, fs_type, error.strerror, _explanation(context)
            )
            raise _mount_failure(error.errno, words, option) from None
    finally:
        os.close(context)
    try:
        _check_flags(tree, flags)
        return tree
    except BaseException:
        os.close(tree)
        raise


def _configure(context: int, command: int, key: "Optional[str]", value: "Optional[str]") -> None:
    _call(
        _FSCONFIG,
        context,
        command,
        key and key.encode(),
        value and value.encode(),
        0,
        what="fsconfig",
    )


def _explanation(context: int) -> str:
    """What the kernel wrote into the context about its refusal."""
    words = []
    try:
        while True:
            words.append(os.read(context, 1024).decode("utf-8", "replace").strip())
    except OSError:  # ENODATA: no more messages
        return "".join("; " + word for word in words)


def _set_flags(tree: int, flags: "Sequence[str]") -> None:
    """Sets exactly these: a copy of a mount has its source's."""
    wanted = _new_flags(flags)
    others = _new_flags(FLAGS) & ~wanted
    attributes = _Attributes(wanted, others | _ATTR_ATIME, 0, 0)
    _call(
        _MOUNT_SETATTR,
        tree,
        b"",
        _AT_EMPTY_PATH,
        ctypes.byref(attributes),
        ctypes.sizeof(attributes),
        what="mount_setattr",
    )
    _check_flags(tree, flags)


def _publish(tree: int, path: str) -> None:
    """Makes the finished mount appear at `path`."""
    _call(
        _MOVE_MOUNT,
        tree,
        b"",
        _AT_FDCWD,
        os.fsencode(path),
        _MOVE_FROM_EMPTY_PATH,
        what="move_mount",
    )


def _check_flags(tree: int, flags: "Sequence[str]") -> None:
    have = os.fstatvfs(tree).f_flag
    wanted = _old_flags(flags)
    if have & _old_flags(FLAGS) != wanted:
        raise Internal(
            (
                "the kernel mounted with the flags {:#x} instead of {:#x}, so it was undone; "
                "see dmesg"
            ).format(have, wanted)
        )


def _new_flags(flags: "Iterable[str]") -> int:
    return sum(_FLAGS[flag][0] for flag in flags)


def _old_flags(flags: "Iterable[str]") -> int:
    return sum(_FLAGS[flag][1] for flag in flags)


def _with_root(path: str, work: "Callable[[int], None]", directory: "Optional[int]" = None) -> None:
    """Calls `work` with a descriptor of the directory `path`, which is relative to `directory`."""
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        work(root)
    finally:
        os.close(root)


def _mount_staged(
    device: str,
    fs_type: str,
    options: "Sequence[str]",
    path: str,
    flags: "Sequence[str]",
    prepare: "Callable[[int], None]",
) -> None:
    with _Stage(device) as stage:
        _mount(device, stage, fs_type, 0, ",".join(options))
        _with_root(stage, prepare)
        _bind_from(stage, path, flags)


def _bind_staged(source: str, path: str, flags: "Sequence[str]", must_be_mount: bool) -> None:
    mounted = at(source)
    with _Stage(mounted.source if mounted else source.strip("/").replace("/", "-")[-200:]) as stage:
        _mount(source, stage, "", _MS_BIND, "")
        if must_be_mount:
            _check_mounted(source)
        _bind_from(stage, path, flags)


def _bind_from(stage: str, path: str, flags: "Sequence[str]") -> None:
    _mount("", stage, "", _MS_REMOUNT | _MS_BIND | _old_flags(flags), "")
    _with_root(stage, lambda root: _check_flags(root, flags))
    _mount(stage, path, "", _MS_BIND, "")


def _mount(source: str, target: str, fs_type: str, flags: int, data: str) -> None:
    if (
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            fs_type.encode(),
            ctypes.c_ulong(flags),
            data.encode(),
        )
        != 0
    ):
        code = ctypes.get_errno()
        if code == errno.ENOENT:
            raise FileNotFoundError(code, os.strerror(code), target)
        words = "cannot mount {} at {}: {}".format(source, target, os.strerror(code))
        raise _mount_failure(code, words)


class _Stage:
    """A directory of our own to prepare a mount of `device` in, locked. Its name is the device's.
    What a killed callout left here is cleared by the next callout that mounts or unmounts."""

    def __init__(self, device: str) -> None:
        self.path = os.path.join(_STAGE, os.path.basename(device))
        self._lock = -1

    def __enter__(self) -> str:
        os.makedirs(_STAGE, 0o700, exist_ok=True)
        self._lock = os.open(self.path + _LOCK_SUFFIX, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        files.lock(self._lock, self.path, _STAGE_SECONDS)
        self._clear()
        os.mkdir(self.path, 0o700)
        return self.path

    def __exit__(self, *_: object) -> None:
        try:
            self._clear()
        finally:
            os.close(self._lock)

    def clear_if_left(self) -> "Iterator[bytes]":
        """A work for process.side_by_side."""
        lock = os.open(self.path + _LOCK_SUFFIX, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if files.try_lock(lock):
                self._clear()
                yield b"cleared"
        finally:
            os.close(lock)

    def _clear(self) -> None:
        _unmount(self.path)
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            return


def _plain(field: str) -> str:
    """A mountinfo field without its escapes for blanks and backslashes."""
    if "\\" not in field:
        return field
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escape, character)
    return field
