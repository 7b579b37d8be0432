"""Mounts of what a server on the network exports: NFS and CIFS.

The kernel speaks both protocols itself, so a node needs neither mount.nfs nor mount.cifs. What
these programs do besides, such as to look up the server's address, is done here. A password goes
straight to the kernel: no child's arguments and no file ever hold it.

A server may hang. Whatever waits for the server is therefore done in a child, by `bounded`, and the
callout answers in time whatever the child does."""

import errno

from node.host import apart, config, mount_calls, mount_table, mounts
from node.host.mount_calls import MountRefused, OptionRefused, Superblock
from shared.protocol import (
    FAILURES,
    Failure,
    Internal,
    InvalidArgument,
    NotFound,
    Unavailable,
    shown,
    system_failure,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Sequence

# A server that is well answers within a second; one whose disks sleep takes some more.
MOUNT_SECONDS = 40
# To write back what a pod wrote last takes longer than to mount. unmount has 60 s.
_UNMOUNT_SECONDS = 40
# The name of the option by which the kernel gets the server's address.
_ADDRESS_OPTIONS = {"nfs": "addr", "cifs": "ip"}
# Where the servers listen, unless the mount options name a port.
_PORTS = {"nfs": 2049, "cifs": 445}
# How long the addresses of a server that has several may take to answer; twice that of a SYN that
# is lost once.
_PROBE_SECONDS = 2
# What an address does with a connection, the best first.
_TAKES = 0
_REFUSES = 1
_SILENT = 2
# How mountinfo names these kinds of file systems.
_MOUNTED_AS = {"nfs": ("nfs", "nfs4"), "cifs": ("cifs", "smb3")}
# The kernel modules, for the advice.
_MODULES = {"nfs": "nfsv4", "cifs": "cifs"}
# With what a server, or the network before the server, refuses a connection. Another address of the
# server may do better.
_UNREACHABLE = frozenset(
    (
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ETIMEDOUT,
        errno.EIO,
        errno.EAGAIN,
        errno.EINPROGRESS,
        errno.ENOTCONN,
    )
)
# With what a kernel or a server refuses a version of the protocol that it does not speak.
_NOT_SPOKEN = frozenset((errno.EPROTONOSUPPORT, errno.EPROTO, errno.EOPNOTSUPP, errno.EINVAL))
_FORBIDDEN = frozenset((errno.EACCES, errno.EPERM, errno.EKEYREJECTED, errno.EKEYEXPIRED))
# Words for the program mount, or for fstab, which mean nothing to the kernel; and those that take
# back a flag that config.json of the node gives to every mount, which no volume may.
_NO_OPTIONS = frozenset(
    (
        "rw",
        "defaults",
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "owner",
        "group",
        "_netdev",
        "nofail",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "atime",
        "diratime",
        "iversion",
        "noiversion",
        "silent",
        "loud",
        "comment",
        "suid",
        "dev",
        "exec",
    )
)


class Share:
    """A directory that a server exports.

    fs_type: "nfs" or "cifs". host: the server's name or address. source: what is mounted, as the
    kernel names it: "HOST:/DIRECTORY" or "//HOST/SHARE/DIRECTORY". options: of the file system,
    "FLAG" or "KEY=VALUE". choices: options of which the first is added that the kernel and the
    server both know, such as versions of the protocol."""

    def __init__(
        self,
        fs_type: str,
        host: str,
        source: str,
        options: "Sequence[str]",
        choices: "Sequence[str]" = (),
    ) -> None:
        if not host or ".." in source.split("/"):
            raise InvalidArgument(
                "{} is no directory of a server; name the server, and a directory without "
                "'..'".format(shown(source))
            )
        self.fs_type = fs_type
        self.host = host
        self.source = source
        self.options = options
        self.choices = choices


class MountOptions:
    """Mount options as a person writes them, "ro,hard,timeo=600".

    flags: those that each mount has of its own, sorted, with the flags that the node's config.json
    gives to every mount. of_file_system: all others, in their order."""

    def __init__(self, text: str, read_only: bool = False) -> None:
        flags = set(config.mount_flags())
        if read_only:
            flags.add("ro")
        self.of_file_system: "List[str]" = []
        for word in text.split(","):
            word = word.strip()
            if word in mount_calls.FLAGS:
                flags.add(word)
            elif word and not _is_for_others(word):
                self.of_file_system.append(word)
        self.flags = sorted(flags)


def _is_for_others(word: str) -> bool:
    return word in _NO_OPTIONS or word.startswith(("x-", "comment="))


def mount(share: Share, path: str, flags: "Sequence[str]") -> None:
    """Mounts the share at the directory `path`, in one step.

    flags: of this one mount, of mount_calls.FLAGS. Raises Unavailable if the server does not answer
    within MOUNT_SECONDS; NotFound or InvalidArgument if the server or the kernel refuses."""

    def mount_one(superblock: Superblock) -> None:
        mounts.mount(
            superblock.device,
            superblock.fs_type,
            superblock.options,
            path,
            flags,
            lambda _root: None,
        )

    bounded(share.source, lambda: _mount_by(share, mount_one), MOUNT_SECONDS)


def open_share(share: Share) -> mounts.Unseen:
    """Mounts the share where nobody sees the mount; the end of the `with` takes the mount away.

    Waits for the server without a limit, so the caller is a child: see `bounded`."""
    unseen: mounts.Unseen = _mount_by(share, mounts.open_unseen)
    return unseen


def unmount(path: str, fs_type: str) -> None:
    """Unmounts `path`, until nothing is mounted there. A directory that is no mount point is left
    alone.

    fs_type: "nfs" or "cifs"; a mount of any other kind is not ours. Raises Busy while something in
    the mount is in use; Unavailable if the server hangs and the mount is still there."""

    def is_ours(mount: mount_table.Mount) -> bool:
        return mount.fs_type in _MOUNTED_AS[fs_type]

    try:
        bounded(path, lambda: mounts.unmount(path, is_ours), _UNMOUNT_SECONDS)
    except Unavailable:
        # The kernel takes the mount away first, and says goodbye to the server after that. The
        # server may be gone: the pod's directory is free all the same.
        if mount_table.at(path) is not None:
            raise


def bounded(what: str, work: "Callable[[], Any]", seconds: float) -> "Any":
    """Does the work in a child, and returns what `work` returns, which JSON can say.

    what: the share or the path that the work waits for. While a killed child of earlier work on
    this one hangs in the kernel, no other child is started. Raises the Failure of the work;
    Unavailable if the work takes longer than `seconds`: the child is then killed."""

    def entries(_: str) -> "Iterator[Any]":
        yield _outcome(what, work)

    look = apart.look([what], entries, seconds, seconds)[what]
    if look.ended_early:
        raise Internal("{}: {}".format(what, look.error))
    if not look.entries:
        raise Unavailable(
            "{} does not answer within {:g} s; see that its server runs, that this node finds the "
            "server's name and reaches the server, and dmesg".format(what, seconds)
        )
    outcome = look.entries[0]
    if "reason" in outcome:
        raise FAILURES[outcome["reason"]](outcome["message"])
    return outcome["result"]


def _outcome(what: str, work: "Callable[[], Any]") -> "Dict[str, Any]":
    try:
        return {"result": work()}
    except Failure as failure:
        return failure.to_dict()
    except OSError as error:
        return system_failure(error, what).to_dict()
    except Exception as error:  # whose text may hold a password
        return Internal("bug in the driver: {}".format(type(error).__name__)).to_dict()


def _mount_by(share: Share, mount_one: "Callable[[Superblock], Any]") -> "Any":
    """Calls `mount_one` with each address of the server, until the share is mounted by one. Returns
    what `mount_one` returns."""
    refusal = MountRefused("{} has no address".format(share.host), 0)
    for address in _addresses(share):
        try:
            return _mount_from(share, address, mount_one)
        except MountRefused as error:
            refusal = error
        if refusal.code not in _UNREACHABLE:
            break
    raise _failure(share, refusal)


def _mount_from(
    share: Share, address: "List[str]", mount_one: "Callable[[Superblock], Any]"
) -> "Any":
    """Calls `mount_one` with each of the share's choices, while the kernel or the server does not
    speak what was chosen. Raises the last refusal.

    address: the option with the server's address."""
    refusal = MountRefused("no choice", 0)
    for choice in share.choices or ("",):
        options = [*address, *share.options]
        if choice:
            options.append(choice)
        try:
            return _mount_as(Superblock(share.source, share.fs_type, options), mount_one)
        except MountRefused as error:
            refusal = error
        if refusal.code not in _NOT_SPOKEN:
            break
    raise refusal


def _mount_as(superblock: Superblock, mount_one: "Callable[[Superblock], Any]") -> "Any":
    """Calls `mount_one`. Raises MountRefused also for what comes as another error."""
    try:
        return mount_one(superblock)
    except FileNotFoundError as error:  # mount(2) says so
        raise MountRefused(str(error.strerror), errno.ENOENT) from None
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        raise MountRefused(str(error.strerror), errno.ENODEV) from None


def _addresses(share: Share) -> "List[List[str]]":
    """The option with each address of the server in turn; no option if the share's own options have
    an address."""
    import _socket  # late, and not socket: that one imports selectors and enum, 20 ms

    own = dict(option.partition("=")[::2] for option in share.options)
    if "addr" in own or "ip" in own:
        return [[]]
    port = own.get("port", "")
    if not port.isdigit():
        port = str(_PORTS[share.fs_type])
    try:
        found = _socket.getaddrinfo(share.host, port, 0, _socket.SOCK_STREAM)
    except _socket.gaierror as error:
        raise Unavailable(
            "the server {} of {} has no address on this node ({}); see the node's DNS and "
            "/etc/hosts".format(shown(share.host), shown(share.source), error.strerror)
        ) from None
    except UnicodeError:  # a label of the name is empty, or too long for DNS
        raise InvalidArgument(
            "the server {} of {} has no name that DNS can have: each part between two dots has 1 "
            "to 63 characters".format(shown(share.host), shown(share.source))
        ) from None
    name = _ADDRESS_OPTIONS[share.fs_type]
    return [["{}={}".format(name, entry[4][0])] for entry in _answering_first(found)]


def _answering_first(found: "List[Any]") -> "List[Any]":
    """The addresses, as getaddrinfo returns them; first those that take a connection, and last
    those that are silent, for to mount from a silent address takes minutes. All are asked at once,
    until one takes a connection."""
    import select
    import time

    if len(found) == 1:
        return found
    probes = [_Probe(address) for address in found]
    poll = select.poll()
    waiting = {}
    for probe in probes:
        if probe.rank == _SILENT:
            waiting[probe.descriptor] = probe
            poll.register(probe.descriptor, select.POLLOUT)
    end = time.monotonic() + _PROBE_SECONDS
    while waiting and all(probe.rank != _TAKES for probe in probes):
        answered = poll.poll(max(0, end - time.monotonic()) * 1000)
        if not answered:
            break
        for descriptor, _ in answered:
            poll.unregister(descriptor)
            waiting.pop(descriptor).note_answer()
    for probe in probes:
        probe.close()
    return [probe.address for probe in sorted(probes, key=lambda probe: probe.rank)]


class _Probe:
    """A connection that is being made to an address, to see whether the address answers.

    address: as getaddrinfo returns it. rank: what the address does by now. descriptor: of the
    connection; it can be written to when the address has answered."""

    def __init__(self, address: "Any") -> None:
        import _socket

        family, kind, protocol, _, target = address
        self.address = address
        self.rank = _REFUSES
        self.descriptor = -1
        self._connection: "Any" = None
        try:
            self._connection = _socket.socket(family, kind | _socket.SOCK_NONBLOCK, protocol)
        except OSError:  # the kernel has no IPv6
            return
        self.descriptor = self._connection.fileno()
        code = self._connection.connect_ex(target)
        if code == errno.EINPROGRESS:
            self.rank = _SILENT
        elif code == 0:
            self.rank = _TAKES

    def note_answer(self) -> None:
        import _socket

        code = self._connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        self.rank = _REFUSES if code else _TAKES

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _failure(share: Share, refusal: MountRefused) -> Failure:
    """The failure that a refused mount is to whoever called the driver."""
    code = refusal.code
    source = shown(share.source)
    if code == errno.ENOENT:
        return NotFound("{} is not there; see what its server exports ({})".format(source, refusal))
    if code == errno.ENODEV:
        return Unavailable(
            "the kernel of this node has no {}; install the package with its modules, and run: "
            "modprobe {}".format(share.fs_type, _MODULES[share.fs_type])
        )
    if code in _UNREACHABLE:
        return Unavailable(
            "the server of {} cannot be reached; see that it runs and that this node reaches it "
            "({})".format(source, refusal)
        )
    if code in _FORBIDDEN:
        return InvalidArgument(
            "the server of {} refuses this node or its user; see whom the server lets in, the user "
            "name and password if there are any, and whether something on this node forbids to "
            "mount: a security module, or a container without CAP_SYS_ADMIN ({})".format(
                source, refusal
            )
        )
    if code in _NOT_SPOKEN or isinstance(refusal, OptionRefused):
        return InvalidArgument(
            "{} is not mounted with these mount options; see dmesg, and change what this kernel or "
            "the server does not know ({})".format(source, refusal)
        )
    return Internal("{}: {}; see dmesg".format(source, refusal))
