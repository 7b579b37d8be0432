"""The mounts there are: read from /proc/PID/mountinfo, in our own mount namespace and in others."""

import os

from node.host import config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List, Optional, Tuple, Union

# Where mounts are prepared on a kernel before 5.2; see mounts.py.
STAGES = "/run/flexvol/stage"
# Two readings of a mountinfo that differ are followed by another one, so many times at most.
_READINGS = 10
# Processes in whose mount namespace pods' volumes are mounted: kubelet, those that it is a part
# of, and CRI-O, which stays when kubelet is restarted.
_KUBELETS = ("kubelet", "k3s", "rke2", "kubelite", "crio")
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
# The words among a file system's flags that an error puts there.
_STOPPED = frozenset(("ro", "emergency_ro", "shutdown"))
# What mountinfo writes in the place of a character that separates its fields and lines.
_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


class Mount:
    """One line of a mountinfo; the form is in proc_pid_mountinfo(5).

    device: "MAJOR:MINOR" of the file system. root: the directory of the file system that the mount
    shows. path: where. flags: of this one mount, as "rw,...". fs_type, source: what was mounted.
    super_flags: of the file system, as "rw,...". process: whose mount namespace has the mount, by
    the number of a process; "self" for our own."""

    def __init__(self, line: str, process: "Union[int, str]" = "self") -> None:
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        tail = right.split(" ")
        self.device = fields[2]
        self.root = _plain(fields[3])
        self.path = _plain(fields[4])
        self.flags = fields[5]
        self.fs_type = tail[0]
        self.source = _plain(tail[1])
        self.super_flags = tail[-1]
        self.process = process

    @property
    def reach(self) -> str:
        """The path for this process, also of a mount in the mount namespace of another one."""
        if self.process == "self":
            return self.path
        return "/proc/{}/root{}".format(self.process, self.path)

    def command(self, *words: str) -> str:
        """The command of these words, to be run where the mount is."""
        inside: "Tuple[str, ...]" = ()
        if self.process != "self":
            inside = ("nsenter", "-t", str(self.process), "-m")
        return " ".join(inside + words)

    def is_of(self, number: str, path: str) -> bool:
        """Whether the mount shows the block device `path`, whose number is "MAJOR:MINOR".

        btrfs gives its mounts a number of its own, so for btrfs the device's name decides; the
        caller holds the device open, and the name cannot have become another's."""
        if self.device == number:
            return True
        return self.fs_type == "btrfs" and self.source == path

    def is_staged(self) -> bool:
        """Whether the mount is one of ours that is being prepared, or that a killed callout
        left."""
        return self.path.startswith(STAGES + "/")

    def stopped(self) -> str:
        """How the file system stopped after an error; "" if the file system did not stop. We mount
        every superblock writable."""
        if _STOPPED.intersection(self.super_flags.split(",")):
            return "has gone read-only after an error"
        try:
            os.stat(self.reach)
            return ""
        except FileNotFoundError:  # unmounted and removed meanwhile
            return ""
        except OSError as error:
            return "was shut down after an error: {}".format(error.strerror)


def table(process: "Union[int, str]" = "self") -> "Iterator[Mount]":
    """The mounts of our own mount namespace, or of a process's, in the order they were made. Raises
    OSError if the process has ended."""
    for line in _mountinfo(process).split("\n"):
        if line:
            yield Mount(line, process)


def _mountinfo(process: "Union[int, str]") -> str:
    """The whole text. Before kernel 5.8 a mount that comes or goes while the text is read, page by
    page, can hide another mount that was there all the time; so the text is read until two readings
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


def at(path: str) -> "Optional[Mount]":
    """The topmost mount at `path`; None if nothing is mounted there."""
    directory = os.path.realpath(os.path.dirname(path))
    real = os.path.join(directory, os.path.basename(path))
    top = None
    for mount in table():
        if mount.path == real:
            top = mount
    return top


def device_number(path: str) -> str:
    """The "MAJOR:MINOR" of the block device `path`."""
    number = os.stat(path).st_rdev
    return "{}:{}".format(os.major(number), os.minor(number))


def of_device(path: str, parts: bool = False, also_kubelets: bool = False) -> "List[Mount]":
    """The mounts that show the file system on the block device `path`, without those that are being
    prepared.

    parts: also mounts of a directory in the file system, such as kubelet's for a subPath.
    also_kubelets: of the mount namespaces that `of_pods` has, and not of our own alone."""
    number = device_number(path)
    every = of_pods() if also_kubelets else list(table())
    shown = [mount for mount in every if mount.is_of(number, path) and not mount.is_staged()]
    return [mount for mount in shown if parts or mount.root == "/"]


def is_only_mount(device_path: str, path: str) -> bool:
    """Whether `path` is the only mount of the device in all mount namespaces of this machine, so
    that no container has the file system or a part of it."""
    device = device_number(device_path)
    top = at(path)
    if top is None:
        return False
    paths = [mount.path for mount in table() if mount.device == device]
    if paths != [top.path]:
        return False
    return all(mount.device != device for _, mount in elsewhere())


def is_nowhere(device: str) -> bool:
    """Whether no mount of the block device is in any mount namespace of this machine."""
    number = device_number(device)
    if any(mount.is_of(number, device) for mount in table()):
        return False
    return not any(mount.is_of(number, device) for _, mount in elsewhere())


def may_be_shared(directory: int) -> bool:
    """Whether the open directory is on a file system that other machines may have mounted too."""
    device = os.fstat(directory).st_dev
    number = "{}:{}".format(os.major(device), os.minor(device))
    return any(mount.device == number and mount.fs_type in _SHARED for mount in table())


def of_pods() -> "List[Mount]":
    """The mounts of our own mount namespace, and of the kubelets' that work with our pools in
    another one, as OpenShift's does. A mount of both is given once, as ours."""
    mounts = list(table())
    known = {(mount.device, mount.path) for mount in mounts}
    for number in _kubelets():
        try:
            theirs = list(table(number))
        except OSError:  # the process ended meanwhile
            continue
        for mount in theirs:
            if (mount.device, mount.path) not in known:
                known.add((mount.device, mount.path))
                mounts.append(mount)
    return mounts


def _kubelets() -> "Iterator[int]":
    """A process of each other mount namespace in which a kubelet, or the runtime beside kubelet,
    works with our pools. The kubelet of a cluster in containers has pools of its own."""
    seen = {os.readlink("/proc/self/ns/mnt")}
    try:
        ours = _identity(config.ROOT)
    except FileNotFoundError:  # no pool was ever here, so nobody works with our pools
        return
    for number in _processes():
        try:
            if not _is_kubelet(number):
                continue
            namespace = os.readlink("/proc/{}/ns/mnt".format(number))
            if namespace in seen:
                continue
            if _identity("/proc/{}/root{}".format(number, config.ROOT)) != ours:
                continue
        except OSError:  # the process ended meanwhile, or its pools are not there
            continue
        seen.add(namespace)
        yield number


def _is_kubelet(number: int) -> bool:
    from node.host import kubelet  # late: only a person's commands look for a kubelet

    words = kubelet.command_line(number)
    if not words:
        return False
    # CRI-O and others write all of their command line as one word.
    program = words[0].split(" ")[0]
    return os.path.basename(program) in _KUBELETS


def _identity(path: str) -> "Tuple[int, int]":
    status = os.stat(path)
    return status.st_dev, status.st_ino


def elsewhere() -> "Iterator[Tuple[int, Mount]]":
    """The mounts of every other mount namespace of this machine, each with the number of a process
    in that namespace."""
    seen = {os.readlink("/proc/self/ns/mnt")}
    for number in _processes():
        try:
            namespace = os.readlink("/proc/{}/ns/mnt".format(number))
            if namespace in seen:
                continue
            mounts = list(table(number))
        except OSError:  # the process ended meanwhile
            continue
        seen.add(namespace)
        for mount in mounts:
            yield number, mount


def _processes() -> "Iterator[int]":
    return map(int, filter(str.isdigit, os.listdir("/proc")))


def _plain(field: str) -> str:
    """A field of mountinfo without its escapes for blanks and backslashes."""
    if "\\" not in field:
        return field
    for escape, character in _ESCAPES:
        field = field.replace(escape, character)
    return field
