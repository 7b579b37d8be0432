"""The FlexVolume contract as plain data: callouts, capabilities, replies, failures and names.

Both sides speak through this module: the driver on the node and the provisioner in its pod. This
module touches no file, process or clock. Facts about Kubernetes come from its source,
pkg/volume/flexvolume (1.36); where the public specification differs, the source is right. A
callout's cost is its imports, so json is imported late."""

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Optional, Tuple, Type

VERSION = "0.1.0"

SUCCESS = "Success"
FAILURE = "Failure"
NOT_SUPPORTED = "Not supported"

# A DNS subdomain, as Kubernetes demands of a PV's name; shorter than its 253, because a volume
# being made or deleted has a longer name on disk and a file name ends at 255.
NAME_LENGTH = 200
OBJECT_NAME_LENGTH = 253  # a DNS subdomain's: apimachinery, pkg/util/validation
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
# Hostile values in a message: enough to know the value, too little to hide the sentence.
_SHOWN_LENGTH = 80
# An event's message ends at 1024 characters (client-go, tools/events).
_MESSAGE_LENGTH = 1000


class Failure(Exception):
    """What a callout answers instead of success. Raise a subclass; its name travels as `reason`."""

    status = FAILURE

    @property
    def reason(self) -> str:
        """The name of the contract's failure that this is, or is a kind of."""
        for kind in type(self).__mro__:
            if kind.__name__ in FAILURES:
                return kind.__name__
        return Internal.__name__

    @property
    def message(self) -> str:
        """The sentence for a person: what is wrong, with which value, what to do."""
        return str(self)

    def to_dict(self) -> "Dict[str, Any]":
        """The object to print, with a message that an event can hold."""
        return {
            "status": self.status,
            "reason": self.reason,
            "message": self.message[:_MESSAGE_LENGTH],
        }


class InvalidArgument(Failure):
    """The request can never succeed as it stands: reported once as an event, retried slowly."""


class ResourceExhausted(Failure):
    """No room; nothing was begun. Another node may have room."""


class NotFound(Failure):
    """The volume that was named is not here."""


class Busy(Failure):
    """Someone else is using what was named; the message says who. Retried with backoff."""


class Unavailable(Failure):
    """The storage cannot be reached now; nothing was begun. Another node may reach it."""


class Pending(Failure):
    """Begun and going on: call again, soon and without a warning."""


class Internal(Failure):
    """Anything else: the outcome is unknown, so the call is repeated until it is known."""


class NotSupported(Failure):
    """The driver does not have this callout. kubelet remembers that for the whole driver until the
    driver is probed again, so NotSupported is never the answer to one volume's trouble."""

    status = NOT_SUPPORTED


FAILURES: "Dict[str, Type[Failure]]" = {
    kind.__name__: kind
    for kind in (
        InvalidArgument,
        ResourceExhausted,
        NotFound,
        Busy,
        Unavailable,
        Pending,
        Internal,
        NotSupported,
    )
}

# What the kernel's errors mean to a person: errno -> the failure, what is wrong, what to do. Only
# those are here that have one meaning whichever system call returned them; "its disk" is that of
# the volume or pool that the sentence begins with.
_FULL = "free some space on it"
_SEE_LOG = "see dmesg for what is wrong with the disk"
_SERVER = "see that the disk's server answers, and mount the disk again if that does not help"
_SYSTEM_ERRORS: "Dict[int, Tuple[Type[Failure], str, str]]" = {
    errno.ENOSPC: (ResourceExhausted, "its disk is full", _FULL),
    errno.EDQUOT: (ResourceExhausted, "the quota on its disk is used up", _FULL),
    errno.EFBIG: (
        ResourceExhausted,
        "its disk's file system, or the limit of this process, takes no file of that size",
        "ask for less, or use a pool on xfs",
    ),
    errno.EROFS: (Unavailable, "its disk is read-only", _SEE_LOG + ", and mount it writable"),
    errno.EIO: (Unavailable, "its disk reports an error", _SEE_LOG),
    errno.EREMOTEIO: (Unavailable, "its disk reports an error", _SEE_LOG),
    errno.ENXIO: (Unavailable, "its disk is gone", _SEE_LOG),
    errno.ENODEV: (Unavailable, "its disk is gone", _SEE_LOG),
    errno.ESTALE: (Unavailable, "its disk's server has forgotten the file", _SERVER),
    errno.ENOTCONN: (Unavailable, "its disk's server does not answer", _SERVER),
    errno.ETIMEDOUT: (Unavailable, "its disk's server does not answer", _SERVER),
    errno.EHOSTDOWN: (Unavailable, "its disk's server does not answer", _SERVER),
    errno.EHOSTUNREACH: (Unavailable, "its disk's server does not answer", _SERVER),
    errno.ENOLCK: (
        Unavailable,
        "its disk's server gives no locks",
        "see that the server's lock service runs, and for NFS 3 also rpc.statd on this node",
    ),
    errno.ENOMEM: (Unavailable, "this node is out of memory", "free some, or end what takes it"),
    errno.EMFILE: (
        Unavailable,
        "this process may open no more files",
        "raise kubelet's limit of open files",
    ),
    errno.ENFILE: (Unavailable, "this node may open no more files", "raise the sysctl fs.file-max"),
    errno.EPERM: (
        Internal,
        "the kernel does not permit it",
        "run it as root of the node itself, or see what a security module or a filter of system "
        "calls forbids",
    ),
    errno.EACCES: (
        Internal,
        "the kernel does not permit it",
        "run it as root of the node itself, or see what a security module forbids",
    ),
    errno.ENOTDIR: (
        Internal,
        "a part of the path is a link, or no directory",
        "see what lies there; loop doctor looks at all pools",
    ),
}


def system_failure(error: OSError, about: str) -> Failure:
    """The failure that an error of a system call is to whoever called the driver.

    about: what was worked on, such as "volume pvc-1 in pool default", with which the sentence
    begins. Where another node may do better the failure's reason sends a claim elsewhere."""
    words = error.strerror or type(error).__name__
    if isinstance(error.filename, str):
        words = "{}: {}".format(shown(error.filename), words)
    known = _SYSTEM_ERRORS.get(error.errno or 0)
    if known is None:
        return Internal(
            "{}: a system call failed unexpectedly ({}); loop doctor tells more".format(
                about, words
            )
        )
    kind, wrong, remedy = known
    return kind("{}: {} ({}); {}".format(about, wrong, words, remedy))


class Callout:
    """One row of CALLOUTS.

    arguments: their names in the order they have on the command line; `options` is JSON, `*_bytes`
    are integers. seconds: how long the callout may take at most. caller: the program that calls.
    about: one line for a person."""

    def __init__(self, arguments: "Tuple[str, ...]", seconds: int, caller: str, about: str) -> None:
        self.arguments = arguments
        self.seconds = seconds
        self.caller = caller
        self.about = about


_KUBELET = "kubelet"
_CONTROLLER = "kube-controller-manager"
_PROVISIONER = "provisioner"

# The only place that knows the arguments of a callout and their order.
CALLOUTS: "Dict[str, Callout]" = {
    "init": Callout((), 10, _KUBELET, "say what this driver can do"),
    "getvolumename": Callout(
        ("options",), 10, _KUBELET, "name the volume (its answer is discarded)"
    ),
    "attach": Callout(("options", "node"), 300, _CONTROLLER, "attach a volume to a node"),
    "waitforattach": Callout(
        ("device", "options"), 300, _KUBELET, "wait until the volume's device is there"
    ),
    "isattached": Callout(
        ("options", "node"), 60, _CONTROLLER, "tell whether a volume is attached to a node"
    ),
    "detach": Callout(("volume", "node"), 300, _CONTROLLER, "detach a volume from a node"),
    "mountdevice": Callout(
        ("device_dir", "device", "options"), 300, _KUBELET, "mount a device once for all pods"
    ),
    "unmountdevice": Callout(("device_dir",), 120, _KUBELET, "unmount a device after its last pod"),
    # kubelet has no limit for these two; a check of a large ext4, and its growth by a tool, take
    # minutes.
    "mount": Callout(
        ("mount_dir", "options"), 1500, _KUBELET, "mount a volume at a pod's directory"
    ),
    "unmount": Callout(("mount_dir",), 60, _KUBELET, "unmount a pod's directory"),
    "expandvolume": Callout(
        ("options", "device_dir", "new_bytes", "old_bytes"), 300, _CONTROLLER, "grow a volume"
    ),
    "expandfs": Callout(
        ("options", "device", "mount_dir", "new_bytes", "old_bytes"),
        1500,
        _KUBELET,
        "grow a mounted file system",
    ),
    "provision": Callout(
        ("options",), 600, _PROVISIONER, "create a volume; repeating it finds the same volume"
    ),
    "delete": Callout(
        ("options",), 300, _PROVISIONER, "delete a volume; one that is gone is a success"
    ),
    "list": Callout((), 60, _PROVISIONER, "list the volumes and the pools"),
    "adopt": Callout(
        ("options",), 60, _PROVISIONER, "make a claim the owner of a volume that exists"
    ),
}


class Capabilities:
    """What `init` reports. All five are always stated, because kubelet takes attach,
    selinuxRelabel, fsGroup and requiresFSResize for true where they are left out (driver-call.go
    defaultCapabilities)."""

    NAMES = ("attach", "selinuxRelabel", "supportsMetrics", "fsGroup", "requiresFSResize")

    def __init__(
        self,
        attach: bool,
        selinuxRelabel: bool,  # noqa: N803 (the wire's own names)
        supportsMetrics: bool,  # noqa: N803
        fsGroup: bool,  # noqa: N803
        requiresFSResize: bool,  # noqa: N803
    ) -> None:
        self.attach = attach
        self.selinuxRelabel = selinuxRelabel
        self.supportsMetrics = supportsMetrics
        self.fsGroup = fsGroup
        self.requiresFSResize = requiresFSResize

    def to_dict(self) -> "Dict[str, bool]":
        """The object that init prints."""
        return {name: getattr(self, name) for name in self.NAMES}


class Reply:
    """The answer of a callout that succeeded; only what is given is printed.

    device: where attach and waitforattach found the device. attached: isattached's answer.
    capabilities: init's answer. volume: provision's answer, {"options": {str: str} for the PV,
    "capacityBytes": int, "fsType": str}. volumes, pools: list's answer; shared/schemas.py has their
    fields."""

    _WIRE = (
        ("message", "message"),
        ("device", "device"),
        ("volumeName", "volume_name"),
        ("attached", "attached"),
        ("volumeNewSize", "volume_new_size"),
        ("volume", "volume"),
        ("volumes", "volumes"),
        ("pools", "pools"),
    )

    def __init__(
        self,
        message: str = "",
        device: "Optional[str]" = None,
        volume_name: "Optional[str]" = None,
        attached: "Optional[bool]" = None,
        volume_new_size: "Optional[int]" = None,
        capabilities: "Optional[Capabilities]" = None,
        volume: "Optional[Dict[str, Any]]" = None,
        volumes: "Optional[List[Dict[str, Any]]]" = None,
        pools: "Optional[List[Dict[str, Any]]]" = None,
    ) -> None:
        self.message = message
        self.device = device
        self.volume_name = volume_name
        self.attached = attached
        self.volume_new_size = volume_new_size
        self.capabilities = capabilities
        self.volume = volume
        self.volumes = volumes
        self.pools = pools

    def to_dict(self) -> "Dict[str, Any]":
        """The object to print."""
        wire: "Dict[str, Any]" = {"status": SUCCESS}
        for key, attribute in self._WIRE:
            value = getattr(self, attribute)
            if value is not None and value != "":
                wire[key] = value
        if self.capabilities is not None:
            wire["capabilities"] = self.capabilities.to_dict()
        return wire


def check_name(what: str, value: str) -> str:
    """Returns `value` if a volume or a pool can have that name. Raises InvalidArgument otherwise.

    what: whose name, for the message. A name has lower case letters, digits, '-' and '.', as a PV's
    name; it begins and ends with a letter or digit, and so is never a path, a hidden file or
    '..'."""
    if not is_name(value):
        raise InvalidArgument(
            "{} {} is not a name: 1 to {} of a-z, 0-9, '-' and '.', beginning and ending with "
            "a letter or digit".format(what, shown(value), NAME_LENGTH)
        )
    return value


def is_name(value: str) -> bool:
    """Whether a volume or a pool may have that name."""
    return len(value) <= NAME_LENGTH and is_object_name(value)


def is_object_name(value: str) -> bool:
    """Whether a claim, a class or a namespace may have that name. Kubernetes allows longer names
    than a volume or a pool may have: there a name is that of a file too."""
    if not 0 < len(value) <= OBJECT_NAME_LENGTH or ".." in value:
        return False
    if value[0] in "-." or value[-1] in "-.":
        return False
    return _NAME_CHARACTERS.issuperset(value)


def of_volume(name: str, sentence: str) -> str:
    """The sentence about the volume `name`. The sentence of a failure may name the volume already;
    the returned one names the volume once."""
    about = "volume " + name
    return naming(about, about, sentence)


def naming(about: str, words: str, sentence: str) -> str:
    """The sentence, which begins with `about` unless the sentence has `words` already.

    words: a name for example; that name within a longer name does not count."""
    begin = sentence.find(words)
    while begin >= 0:
        end = begin + len(words)
        beside = sentence[max(0, begin - 1) : begin] + sentence[end : end + 1]
        if _NAME_CHARACTERS.isdisjoint(beside):
            return sentence
        begin = sentence.find(words, begin + 1)
    return "{}: {}".format(about, sentence)


def shown(value: str) -> str:
    """`value` as it may stand in a message: quoted, escaped, cut."""
    quoted = ascii(value)
    if len(quoted) <= _SHOWN_LENGTH:
        return quoted
    return "{}...' ({} characters)".format(quoted[:_SHOWN_LENGTH], len(value))


def similar(word: str, known: "Iterable[str]") -> str:
    """The known word that is most like the given word; "" if no known word is like it. Letters'
    case does not count."""
    import difflib  # late: only a mistake needs it

    by_lower = {known_word.lower(): known_word for known_word in known}
    near = difflib.get_close_matches(word.lower()[:_SHOWN_LENGTH], by_lower, 1)
    return by_lower[near[0]] if near else ""
