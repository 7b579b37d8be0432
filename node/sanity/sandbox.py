"""A throw-away root for a foreign driver: the driver sees this machine's programs and files, and
nothing that the driver does outlives the root.

The root has its own mount, process, IPC, name, control group and network namespaces, an empty
session keyring, and control groups with limits where this machine lets one make them. An overlay
lies over each file system of this machine, and shows no devices; /run, /tmp and /var are empty;
/dev has no disks; /sys and what of /proc belongs to no process are read-only. By default a user
namespace holds the driver too: uid 0 in there is still the owner of all files, but has no power
over the kernel, so that the driver can mount no disk and no control groups, and undo no mount of
the root; and the system calls that no namespace keeps apart are shut (node/host/system_calls.py).
Drivers that mount devices or servers need that power: see Settings.real_root."""

import contextlib
import errno
import json
import os
import select
import shutil
import signal
import stat
import tempfile
import time

from node.host import control_groups, loopdev, mount_table, namespaces, system_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, NoReturn, Optional, Set, Tuple

    Places = List[Tuple[int, str]]

PLUGINS = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
# All that is written in one root lies in memory, and holds volumes of 64 MiB, which xfs makes 300:
# in each of four file systems so much at most, and in all of them no more than half of the memory.
_SCRATCH_BYTES = 1 << 30
_SCRATCHES = 4
_DEV_BYTES = 64 << 20
# A driver that starts more processes and threads goes round in circles; the widest of the known
# ones has 30. Where the root has a control group, the kernel starts no more than the second number,
# which is larger, so that the driver is stopped by us and sees no error.
_PROCESSES = 500
_PROCESSES_OF_GROUP = 1000
_LOOK_SECONDS = 0.02
# To end all processes of a root takes milliseconds, unless the kernel keeps one for a dead disk.
_END_SECONDS = 60
_END_PAUSE_SECONDS = 0.005
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Directories that are empty in the root, as they hold the state and the sockets of this machine.
_EMPTY = ("/run", "/tmp", "/var")
_BELOW_EMPTY = (
    "/run/lock",
    "/var/cache",
    "/var/lib",
    "/var/lib/kubelet",
    "/var/log",
    "/var/spool",
    "/var/tmp",
)
_OPEN_TO_ALL = ("/tmp", "/var/tmp")
# Mounts of this machine that the root has its own instead of.
_REPLACED = ("/dev", "/proc", "/sys", *_EMPTY)
# File systems of disks. A server that is dead, or an automounter, would hang the root.
_SHOWN_TYPES = (
    "bcachefs",
    "btrfs",
    "erofs",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "overlay",
    "squashfs",
    "xfs",
    "zfs",
)
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse")
_LINKS = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
)
_LOOP_CONTROL = "/dev/loop-control"
_LOOP_MAJOR = 7  # Documentation/admin-guide/devices.txt
_LOOP_NODES = 256
_HIDDEN_BELOW_PROC = ("kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats")
_GROUP_NAMESPACES = "user/max_cgroup_namespaces"  # below /proc/sys
# What no driver needs, and what would reach out of the root.
_DROPPED = (
    "AUDIT_CONTROL",
    "BPF",
    "DAC_READ_SEARCH",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "PERFMON",
    "SYSLOG",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_TIME",
    "WAKE_ALARM",
)
# Files that each machine has, for the number of the device that they show.
_KNOWN_FILES = ("/etc/passwd", "/bin/sh")
# What the answer of the work begins with, as what went wrong comes the same way.
_ANSWER = b"answer:"
_STRICT = namespaces.NOSUID | namespaces.NODEV | namespaces.NOEXEC
# Of what shows this machine's files: the nodes of devices lie in trees for chroot, too.
_NO_DEVICES = namespaces.NOSUID | namespaces.NODEV


class Impossible(Exception):
    """The root cannot be made on this machine. The message says why."""


class LimitPassed(Exception):
    """The driver used more time or processes than it may, and was killed."""


class Settings:
    """What the root is made for.

    driver: the absolute path of the executable. real_root: gives the driver the power of this
    machine's root over the kernel, which mounting a device or a server takes; then the root holds
    against accidents only. loop_devices: the root has free loop devices, which needs real_root.
    devices: paths of further devices in the root. make_devices: lets the driver make nodes of
    devices, which needs real_root. network: leaves the driver this machine's network.
    scratch_bytes: how much may be written in each of the root's file systems. memory_bytes: how
    much memory the root may have in all, where this machine lets one limit that."""

    def __init__(self, driver: str) -> None:
        self.driver = driver
        self.real_root = False
        self.loop_devices = False
        self.devices: "List[str]" = []
        self.make_devices = False
        self.network = False
        self.scratch_bytes = scratch_bytes(memory_bytes())
        self.memory_bytes = memory_bytes() // 2

    def driver_name(self) -> "Tuple[str, str]":
        """The vendor and the name of the driver, as the directory of kubelet's form VENDOR~NAME has
        them; for any other directory the vendor is "sanity"."""
        directory, name = os.path.split(self.driver)
        vendor, tilde, directory_name = os.path.basename(directory).partition("~")
        if tilde and vendor and directory_name == name:
            return vendor, name
        return "sanity", name

    def plugin_directory(self) -> str:
        """Where the driver lies in the root."""
        return os.path.join(PLUGINS, "~".join(self.driver_name()))


def scratch_bytes(memory: int) -> int:
    """How much may be written in each of the root's file systems, on a machine with that many bytes
    of memory."""
    return min(_SCRATCH_BYTES, memory // 2 // _SCRATCHES)


def memory_bytes() -> int:
    """How much memory the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Inside:
    """What the work in the root is given.

    executable: the driver's path in the root. places: open directories that together have all that
    was written in the root, each with its path there."""

    def __init__(self, settings: Settings, places: "Places") -> None:
        self.settings = settings
        self.executable = os.path.join(settings.plugin_directory(), settings.driver_name()[1])
        self.places = places


def run(settings: Settings, work: "Callable[[Inside], bytes]", seconds: float) -> bytes:
    """Does the work as the first process of a new root, and returns what `work` returns.

    When `work` returns, and after `seconds`, every process of the root is killed, and all that was
    written is gone. Raises Impossible if the root cannot be made, LimitPassed if the work did not
    end or had too many processes."""
    try:
        directory = tempfile.mkdtemp(prefix="flexvol-sanity-")
    except OSError as error:
        raise Impossible(
            "no directory can be made in {}: {}; set TMPDIR to another one".format(
                tempfile.gettempdir(), error.strerror
            )
        ) from None
    try:
        return _Supervisor(settings, directory, seconds).run(work)
    finally:
        _remove_directory(directory)


def _remove_directory(directory: str) -> None:
    """Removes the empty directory, unless that was done already."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return


class _Supervisor:
    """This side of the root: starts the root's first process, and ends it."""

    def __init__(self, settings: Settings, directory: str, seconds: float) -> None:
        self._settings = settings
        self._directory = directory
        self._end = time.monotonic() + seconds
        self._answer = b""

    def run(self, work: "Callable[[Inside], bytes]") -> bytes:
        reader, writer = os.pipe()
        go_reader, go_writer = os.pipe()
        parent = os.fork()
        if parent == 0:
            os.close(reader)
            os.close(go_writer)
            _First(self._settings, self._directory, writer, go_reader).become(work)
        os.close(writer)
        os.close(go_reader)
        try:
            first = self._begin(reader, go_writer)
            self._await(reader, first)
            return self._parsed()
        finally:
            os.close(reader)
            os.close(go_writer)
            _finish(parent)

    def _parsed(self) -> bytes:
        if self._answer.startswith(_ANSWER):
            return self._answer[len(_ANSWER) :]
        if not self._answer:
            raise LimitPassed("the first process of the throw-away root ended")
        message = json.loads(self._answer.decode())
        if "killed" in message:
            raise LimitPassed(_killed(message["killed"]))
        raise Impossible(message["impossible"])

    def _begin(self, reader: int, go_writer: int) -> int:
        """Waits until the root is there, and gives its user namespace its ids. Returns the number
        of the root's first process."""
        begun: "Dict[str, Any]" = {}
        while "process" not in begun or "made" not in begun:
            begun.update(json.loads(self._line(reader)))
            if "impossible" in begun:
                raise Impossible(begun["impossible"])
            if "killed" in begun:
                raise Impossible(_killed(begun["killed"]) + " at its start")
        first: int = begun["process"]
        if not self._settings.real_root:
            _map_ids(first)
        _remove_directory(self._directory)  # the root has another one by now
        os.write(go_writer, b"go")
        return first

    def _line(self, reader: int) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(reader, 1)
            if not byte:
                raise Impossible("the first process of the throw-away root ended at its start")
            line += byte
        return line

    def _await(self, reader: int, first: int) -> None:
        """Reads the answer of the work to its end. Raises LimitPassed if the time is over or the
        root has too many processes."""
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        while True:
            if poll.poll(_LOOK_SECONDS * 1000):
                chunk = os.read(reader, 1 << 16)
                if not chunk:
                    return
                self._answer += chunk
            if self._settings.loop_devices:
                self._add_freed_loop_devices(first)
            if _process_count(first) > _PROCESSES:
                raise LimitPassed("the driver started more than {} processes".format(_PROCESSES))
            if time.monotonic() > self._end:
                raise LimitPassed("the check did not end in time")

    def _add_freed_loop_devices(self, first: int) -> None:
        """The kernel gives the driver a loop device that another program has freed meanwhile, and
        without a node the driver would fail."""
        try:
            _add_loop_devices("/proc/{}/root/dev".format(first))
        except OSError:  # the first process has just ended, or the driver made the node itself
            return


def _killed(number: int) -> str:
    """What is said of a first process that a signal has ended: one from outside of the root, as the
    kernel's for want of memory."""
    return "the first process of the throw-away root was killed by signal {}".format(number)


def _map_ids(first: int) -> None:
    """Gives the user namespace of that process the ids that this one has, each as itself."""
    for kind in ("uid_map", "gid_map"):
        with open("/proc/self/" + kind) as file:
            lines = [line.split() for line in file]
        text = "".join("{0} {0} {1}\n".format(inner, count) for inner, _, count in lines)
        try:
            with open("/proc/{}/{}".format(first, kind), "w") as ids:
                ids.write(text)
        except OSError as error:
            raise Impossible(
                "a user namespace gets no ids here: {}; run it as root of the machine itself, or "
                "give --real-root".format(error.strerror)
            ) from None


def _finish(parent: int) -> None:
    """Has the parent of the root's first process kill that one, and so all processes of the root;
    waits for their end."""
    os.kill(parent, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    while True:
        done, _ = os.waitpid(parent, os.WNOHANG)
        if done:
            return
        if time.monotonic() > deadline:
            raise LimitPassed(
                "a process of the driver cannot be killed: the kernel waits for a disk or a "
                "server; see ps -o pid,stat,wchan,args"
            )
        time.sleep(_END_PAUSE_SECONDS)


def _add_loop_devices(dev: str) -> None:
    """Makes nodes for all loop devices that nobody uses now, unless they have one.

    dev: the directory /dev of the root"""
    present = set(os.listdir(dev))
    absent = [n for n in range(_LOOP_NODES) if "loop{}".format(n) not in present]
    # Nearly always the only absent nodes are those of devices in use. The supervisor looks every
    # 20 ms.
    taken = set(loopdev.attached())
    for number in absent:
        name = "loop{}".format(number)
        if "/dev/" + name not in taken:
            os.mknod(os.path.join(dev, name), stat.S_IFBLK | 0o660, os.makedev(_LOOP_MAJOR, number))


def _process_count(first: int) -> int:
    """How many processes and threads the root has, read from the root's own /proc."""
    proc = "/proc/{}/root/proc".format(first)
    count = 0
    try:
        names = os.listdir(proc)
    except OSError:  # the first process has just ended
        return 0
    for name in names:
        if name.isdigit():
            with contextlib.suppress(OSError):  # that process has just ended
                # A directory for each thread is a link to this one, besides its name and itself.
                count += os.stat(os.path.join(proc, name, "task")).st_nlink - 2
    return count


class _First:
    """That side of the root: becomes the parent of the root's first process, which makes the root
    and does the work."""

    def __init__(self, settings: Settings, directory: str, writer: int, go_reader: int) -> None:
        self._settings = settings
        self._directory = directory
        self._writer = writer
        self._go_reader = go_reader
        self._numbers_writer = -1
        self._groups = control_groups.Groups()

    def become(self, work: "Callable[[Inside], bytes]") -> "NoReturn":
        try:
            self._guarded(lambda: self._start(work))
        finally:
            os._exit(0)

    def _guarded(self, step: "Callable[[], None]") -> None:
        """Does the step, and reports why that is impossible."""
        try:
            step()
        except OSError as error:
            words = "cannot make a throw-away root: {}: {}".format(error.filename, error.strerror)
            if error.errno in (errno.EPERM, errno.ENOSPC):
                words += "; the machine's root needs CAP_SYS_ADMIN and user namespaces for that"
            self._report({"impossible": words})
        except Impossible as reason:
            self._report({"impossible": str(reason)})
        except Exception as error:
            self._report({"impossible": "bug in flexvol sanity: {!r}".format(error)})

    def _close_others(self) -> None:
        """Closes what this process has open of the machine: the driver finds the descriptors of the
        first process in /proc/1/fd."""
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        kept = (0, 1, 2, self._writer, self._go_reader)
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in kept:
                try:
                    os.close(int(name))
                except OSError:  # the descriptor of this very list
                    continue

    def _report(self, message: "object") -> None:
        os.write(self._writer, json.dumps(message).encode() + b"\n")

    def _start(self, work: "Callable[[Inside], bytes]") -> None:
        """In the parent of the root's first process, which outlives the root."""
        namespaces.die_with_parent(signal.SIGTERM)
        self._close_others()
        os.setsid()
        namespaces.unshare(namespaces.NEW_PID)
        limits = control_groups.Limits(self._settings.memory_bytes, _PROCESSES_OF_GROUP)
        self._groups = control_groups.make("flexvol-sanity-{}".format(os.getpid()), limits)
        try:
            self._accompany(work)
        finally:
            self._groups.remove()

    def _accompany(self, work: "Callable[[Inside], bytes]") -> None:
        """Starts the first process, waits for its end, and gives back what the root has taken."""
        numbers_reader, self._numbers_writer = os.pipe()
        first = os.fork()
        if first == 0:
            try:
                self._guarded(lambda: self._work(work))
            finally:
                os._exit(0)
        os.close(self._numbers_writer)
        # Only the parent knows for sure that the number is still that of the first process.
        signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGKILL))
        self._report({"process": first})
        held = _HeldFiles(first, numbers_reader)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _, status = os.waitpid(first, 0)
        held.detach_loop_devices()
        if os.WIFSIGNALED(status):
            with contextlib.suppress(BrokenPipeError):  # if the supervisor had it killed
                self._report({"killed": os.WTERMSIG(status)})

    def _dropped(self) -> "List[str]":
        return [name for name in _DROPPED if name != "MKNOD" or not self._settings.make_devices]

    def _work(self, work: "Callable[[Inside], bytes]") -> None:
        namespaces.die_with_parent(signal.SIGKILL)
        system_calls.leave_session_keyring()
        self._groups.enter()
        kinds = namespaces.NEW_MOUNTS | namespaces.NEW_IPC | namespaces.NEW_UTS
        if _has_group_namespaces():
            kinds |= namespaces.NEW_GROUPS
        if not self._settings.network:
            kinds |= namespaces.NEW_NETWORK
        namespaces.unshare(kinds)
        # The kernel keeps from the first process all signals of the root for which the process has
        # no handler.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")  # rather than a process of this machine
        os.umask(0)
        root = _Root(self._settings, self._directory)
        root.make()
        if not self._settings.network:
            namespaces.loopback_up()
        if not self._settings.real_root:
            _enter_user_namespace()
            _shut_control_groups(root.kernel_settings)
            _shut_system_calls(self._settings.network)
        os.close(root.kernel_settings)
        self._report({"made": True})
        if os.read(self._go_reader, 2) != b"go":
            return
        os.close(self._go_reader)
        namespaces.hide_process()
        namespaces.drop_capabilities(self._dropped())
        places = root.places + _make_empty(self._settings.scratch_bytes)
        self._report_file_systems(places)
        # As systemd has it on a node. Nothing outside is a peer of these mounts.
        namespaces.mount("", "/", "", namespaces.RECURSIVE | namespaces.SHARED)
        answer = _ANSWER + work(Inside(self._settings, places))
        kill_all()
        while answer:
            written = os.write(self._writer, answer)
            answer = answer[written:]

    def _report_file_systems(self, places: "Places") -> None:
        """Tells the parent, which has to find what the driver leaves in them."""
        numbers: "Set[int]" = set()
        if self._settings.real_root:
            numbers = _numbers_of(places)
        mounted = [mount.device for mount in mount_table.table()]
        message = json.dumps([sorted(numbers), mounted])
        with open(self._numbers_writer, "w") as pipe:
            pipe.write(message)


def _has_group_namespaces() -> bool:
    """Before Linux 4.6 there are none, and no control groups can be mounted in a user namespace."""
    return os.path.exists("/proc/self/ns/cgroup")


def _shut_control_groups(kernel_settings: int) -> None:
    """Control groups can be mounted only in a control group namespace that the user namespace
    owns: the user namespace gets none, and neither do those in it (namespaces(7)).

    kernel_settings: /proc/sys, which shows each user namespace its own settings, writable"""
    if not _has_group_namespaces():
        return
    flags = os.O_WRONLY | os.O_CLOEXEC
    with open(os.open(_GROUP_NAMESPACES, flags, dir_fd=kernel_settings), "w") as setting:
        setting.write("0")


def _shut_system_calls(has_network: bool) -> None:
    try:
        system_calls.shut(all_sockets=has_network)
    except system_calls.Unknown as machine:
        raise Impossible(
            "which system calls are to be shut is not known for {}; give --real-root, which holds "
            "a driver against accidents only".format(machine)
        ) from None


def _enter_user_namespace() -> None:
    """Mounts that come from another user namespace are locked: they can be neither taken away nor
    made writable (mount_namespaces(7))."""
    try:
        namespaces.unshare(namespaces.NEW_USER | namespaces.NEW_MOUNTS)
    except OSError as error:
        raise Impossible(
            "no user namespace can be made here ({}); see the sysctl user.max_user_namespaces, "
            "or give --real-root, which holds a driver against accidents only".format(
                error.strerror
            )
        ) from None
    namespaces.die_with_parent(signal.SIGKILL)


def kill_all() -> None:
    """Kills all other processes of the root; for the root's first process."""
    if os.getpid() != 1:
        raise Impossible("only the first process of a root may end all others")
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return


def _make_empty(scratch_bytes: int) -> "Places":
    """Mounts the directories that are empty. Mounts that are made in the user namespace itself have
    no locked flags, so that a bind of them may get any flags, as on a node."""
    places = []
    for path in _EMPTY:
        mode = "1777" if path in _OPEN_TO_ALL else "755"
        options = "mode={},size={}".format(mode, scratch_bytes)
        namespaces.mount("flexvol-sanity", path, "tmpfs", 0, options)
        places.append((os.open(path, _DIRECTORY), path))
    places.append((os.open("/dev", _DIRECTORY), "/dev"))
    for path in _BELOW_EMPTY:
        os.mkdir(path, 0o1777 if path in _OPEN_TO_ALL else 0o755)
    os.umask(0o022)
    return places


class _HeldFiles:
    """The file systems of a root, which stay there until this process ends; for the parent of the
    root's first process. Otherwise the kernel would give their numbers to others.

    first: the number of the first process. numbers_reader: the pipe with the numbers of the file
    systems; with nothing if the root was not made"""

    def __init__(self, first: int, numbers_reader: int) -> None:
        with open(numbers_reader) as pipe:
            text = pipe.read()
        self._numbers: "Set[int]" = set()
        self._mounted_before: "Set[str]" = set()
        self._mount_table: "Optional[int]" = None
        if not text:  # the first process has ended before the driver was called
            return
        numbers, mounted = json.loads(text)
        self._numbers.update(numbers)
        self._mounted_before.update(mounted)
        with contextlib.suppress(OSError):  # the first process has ended by now
            # An open table keeps its namespace, with all mounts.
            path = "/proc/{}/mountinfo".format(first)
            self._mount_table = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def detach_loop_devices(self) -> None:
        """Takes the files of the root away from all loop devices, when all processes of the root
        have ended."""
        for device in _loop_devices_on(self._numbers | self._mounted_by_the_driver()):
            loop = loopdev.open_existing(device)
            if loop is not None:
                with loop:
                    loop.detach()

    def _mounted_by_the_driver(self) -> "Set[int]":
        """The numbers of the file systems that the driver has mounted and left. One that this
        machine has mounted, too, may have files of others."""
        if self._mount_table is None or not self._numbers:
            return set()
        # Kept open, as the mounts go with it.
        with open(self._mount_table, closefd=False) as lines:
            mounted = {mount_table.Mount(line.rstrip("\n")).device for line in lines}
        mounted -= self._mounted_before
        mounted -= {mount.device for mount in mount_table.table()}
        return {os.makedev(*map(int, number.split(":"))) for number in mounted}


def _device_numbers(path: str) -> "Set[int]":
    """The numbers that files below the path have as their device: an overlay has one for what was
    written, and others for what lies below."""
    probe = os.path.join(path, ".flexvol-sanity-probe")
    numbers = set()
    try:
        with open(probe, "w") as file:
            numbers.add(os.fstat(file.fileno()).st_dev)
        os.unlink(probe)
    except OSError:  # the driver made it read-only, or mounted over it
        pass
    for name in _KNOWN_FILES:
        with contextlib.suppress(OSError):
            numbers.add(os.stat(name).st_dev)
    return numbers


def own_loop_devices(places: "Places") -> "List[str]":
    """The loop devices whose files lie in the root.

    places: as of Inside"""
    return _loop_devices_on(_numbers_of(places))


def _numbers_of(places: "Places") -> "Set[int]":
    """The numbers that files of the root have as their device."""
    numbers = {os.fstat(directory).st_dev for directory, _ in places}
    for _, path in places:
        numbers.update(_device_numbers(path))
    return numbers


def _loop_devices_on(numbers: "Set[int]") -> "List[str]":
    """The loop devices whose files have one of these numbers as their device."""
    devices = []
    for device in loopdev.attached():
        loop = loopdev.open_existing(device)
        if loop is None:
            continue
        with loop:
            backing = loop.backing()
        if backing is not None and backing[0] in numbers:
            devices.append(device)
    return devices


class _Root:
    """Makes the root, in the mount namespace of its first process.

    places: the open directories that have what is written in the overlays, and their paths.
    kernel_settings: /proc/sys, open and writable."""

    def __init__(self, settings: Settings, directory: str) -> None:
        self._settings = settings
        self._directory = directory
        self._root = os.path.join(directory, "root")
        self.places: "Places" = []
        self.kernel_settings = -1

    def make(self) -> None:
        namespaces.mount("", "/", "", namespaces.RECURSIVE | namespaces.PRIVATE)
        machine = [mount for mount in mount_table.table() if not _is_replaced(mount.path)]
        size = "mode=755,size={}".format(self._settings.scratch_bytes)
        namespaces.mount("flexvol-sanity", self._directory, "tmpfs", _NO_DEVICES, size)
        os.mkdir(self._root, 0o755)
        try:
            self._overlay("/", self._root)
        except OSError as error:
            raise Impossible(
                "the kernel lays no overlay over this machine's root: {}; in a container without "
                "the kernel's whole rights, or on an overlay over an overlay, run it on the "
                "machine itself".format(error.strerror)
            ) from None
        for mount in machine:
            self._show(mount)
        for path in _EMPTY:
            os.makedirs(self._root + path, 0o755, exist_ok=True)
        self._place_driver()
        self._make_devices()
        self._make_proc()
        flags = namespaces.READ_ONLY | _STRICT
        namespaces.mount("sysfs", self._root + "/sys", "sysfs", flags)
        namespaces.change_root(self._root)

    def _overlay(self, lower: str, target: str) -> None:
        """Shows the directory `lower` at `target`, and writes elsewhere."""
        own = os.path.join(self._directory, "written-{}".format(len(self.places) + 1))
        for part in ("", "upper", "work"):
            os.mkdir(os.path.join(own, part), 0o755)
        written = os.open(own + "/upper", _DIRECTORY)
        self.places.append((written, target[len(self._root) :] or "/"))
        os.chdir(lower)  # a path would have to be escaped
        form = "lowerdir=.,upperdir={0}/upper,workdir={0}/work"
        namespaces.mount("overlay", target, "overlay", _NO_DEVICES, form.format(own))

    def _show(self, mount: "mount_table.Mount") -> None:
        """Shows one more file system of this machine, or a part of it."""
        if mount.path == "/" or mount.fs_type not in _SHOWN_TYPES:
            return
        target = self._root + mount.path
        if os.path.isdir(mount.path) and os.path.isdir(target):
            try:
                self._overlay(mount.path, target)
                return
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ELOOP):
                    raise
        if os.path.exists(target) and not _reaches_out(mount.path):
            namespaces.bind(mount.path, target, namespaces.READ_ONLY | _NO_DEVICES)

    def _place_driver(self) -> None:
        target = self._root + self._settings.plugin_directory()
        os.makedirs(target, 0o755, exist_ok=True)
        real = os.path.realpath(self._settings.driver)
        name = self._settings.driver_name()[1]
        try:
            self._overlay(os.path.dirname(real), target)
        except OSError:  # a server's file system may not lie below an overlay
            shutil.copy(real, os.path.join(target, name))
            return
        finally:
            os.chdir("/")
        if name != os.path.basename(real):
            link = os.path.join(target, name)
            if os.path.lexists(link):
                os.unlink(link)
            os.symlink(os.path.basename(real), link)

    def _make_devices(self) -> None:
        dev = self._root + "/dev"
        # Made before the new /dev is there: the machine's nodes tell the numbers.
        options = "mode=755,size={}".format(_DEV_BYTES)
        namespaces.mount("dev", dev, "tmpfs", namespaces.NOSUID, options)
        for name in _DEVICES:
            self._copy_device("/dev/" + name)
        for path in self._settings.devices:
            if not os.path.exists(path):
                raise Impossible("{} is not there".format(path))
            self._copy_device(path)
        for target, name in _LINKS:
            os.symlink(target, os.path.join(dev, name))
        os.mkdir(os.path.join(dev, "pts"), 0o755)
        os.mkdir(os.path.join(dev, "shm"), 0o1777)
        options = "newinstance,ptmxmode=0666,mode=0620"
        flags = namespaces.NOSUID | namespaces.NOEXEC
        namespaces.mount("devpts", dev + "/pts", "devpts", flags, options)
        if self._settings.loop_devices:
            self._make_loop_devices(dev)

    def _copy_device(self, path: str) -> None:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return
        target = self._root + path
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        os.mknod(target, status.st_mode, status.st_rdev)

    def _make_loop_devices(self, dev: str) -> None:
        if not os.path.exists(_LOOP_CONTROL):
            raise Impossible("this machine has no loop devices; load them: modprobe loop")
        self._copy_device(_LOOP_CONTROL)
        _add_loop_devices(dev)

    def _make_proc(self) -> None:
        proc = self._root + "/proc"
        namespaces.mount("proc", proc, "proc", _STRICT)
        self.kernel_settings = os.open(proc + "/sys", _DIRECTORY)
        for path in _of_no_process(proc):
            namespaces.bind(path, path, namespaces.READ_ONLY | _STRICT)
        for name in _HIDDEN_BELOW_PROC:
            path = os.path.join(proc, name)
            if os.path.exists(path):
                namespaces.bind(self._root + "/dev/null", path)


def _is_replaced(path: str) -> bool:
    return any((path + "/").startswith(replaced + "/") for replaced in _REPLACED)


def _reaches_out(path: str) -> bool:
    """Whether something else than a directory or a plain file is mounted there. A socket has its
    listener, and a pipe its reader, in this machine also where it is read-only."""
    mode = os.stat(path).st_mode
    return not stat.S_ISDIR(mode) and not stat.S_ISREG(mode)


def _of_no_process(proc: str) -> "List[str]":
    """What below /proc belongs to no process, but to the whole machine: all but the processes'
    directories and links to them."""
    paths = [os.path.join(proc, name) for name in os.listdir(proc) if not name.isdigit()]
    return [path for path in paths if not os.path.islink(path)]
