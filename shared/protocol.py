"""The FlexVolume contract as plain data: callouts, capabilities, options, replies and failures.

Both sides speak through this module: the driver on the node and the provisioner in its pod. It
touches no file, process or clock. Facts about Kubernetes come from its source,
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
_VALUE_LENGTH = 4096
_SHOWN_LENGTH = 80
_MESSAGE_LENGTH = 1000  # an event's message ends at 1024


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
        return str(self)

    def to_dict(self) -> "Dict[str, Any]":
        return {
            "status": self.status,
            "reason": self.reason,
            "message": self.message[:_MESSAGE_LENGTH],
        }


class InvalidArgument(Failure):
    """The request can never succeed as it stands: said once as an event, retried slowly."""


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
    """The driver does not have this callout. kubelet remembers that for the whole driver until it
    is probed again, so it is never the answer to one volume's trouble."""

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

    about: what was worked on, such as "volume pvc-1 in pool default", with which its sentence
    begins. The reason is one that sends a claim elsewhere where another node may do better.
    """
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
    are integers.
    seconds: how long it may take at most.
    caller: the program that calls it.
    about: one line for a person.
    """

    def __init__(self, arguments: "Tuple[str, ...]", seconds: int, caller: str, about: str) -> None:
        self.arguments = arguments
        self.seconds = seconds
        self.caller = caller
        self.about = about


_KUBELET, _CONTROLLER, _PROVISIONER = "kubelet", "kube-controller-manager", "provisioner"

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
        return {name: getattr(self, name) for name in self.NAMES}


class Reply:
    """The answer of a callout that succeeded; only what is given is printed.

    device: where attach and waitforattach found the device.
    attached: isattached's answer.
    capabilities: init's answer.
    volume: provision's answer, {"options": {str: str} for the PV, "capacityBytes": int, "fsType":
    str}.
    volumes, pools: list's answer; see the README's chapter on own drivers for their fields.
    """

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
        wire: "Dict[str, Any]" = {"status": SUCCESS}
        for key, attribute in self._WIRE:
            value = getattr(self, attribute)
            if value is not None and value != "":
                wire[key] = value
        if self.capabilities is not None:
            wire["capabilities"] = self.capabilities.to_dict()
        return wire


class Secret:
    """A value that must not be seen: printed anywhere, it is three stars."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        return self._value

    def __repr__(self) -> str:
        return "***"


class Pod:
    """The pod a mount is for; kubelet fills it in, so its author cannot forge it."""

    def __init__(self, namespace: str, name: str, uid: str) -> None:
        self.namespace = namespace
        self.name = name
        self.uid = uid


class Claim:
    """The claim a volume was made for."""

    def __init__(self, namespace: str, name: str, uid: str) -> None:
        self.namespace = namespace
        self.name = name
        self.uid = uid


_BUILT_IN = "kubernetes.io/"
_SECRET = _BUILT_IN + "secret/"
VOLUME = _BUILT_IN + "pvOrVolumeName"
FS_TYPE = _BUILT_IN + "fsType"
READ_WRITE = _BUILT_IN + "readwrite"
POD_NAMESPACE = _BUILT_IN + "pod.namespace"
POD_NAME = _BUILT_IN + "pod.name"
POD_UID = _BUILT_IN + "pod.uid"
SERVICE_ACCOUNT = _BUILT_IN + "serviceAccount.name"
FS_GROUP = _BUILT_IN + "mounterArgs.FsGroup"
CLAIM_NAMESPACE = _BUILT_IN + "pvc.namespace"
CLAIM_NAME = _BUILT_IN + "pvc.name"
CLAIM_UID = _BUILT_IN + "pvc.uid"
ACCESS_MODES = _BUILT_IN + "pvc.accessModes"
CLASS_NAME = _BUILT_IN + "storageClass.name"
RECLAIM_POLICY = _BUILT_IN + "reclaimPolicy"
MOUNT_OPTIONS = _BUILT_IN + "mountOptions"
NODE_NAME = _BUILT_IN + "node.name"
CLUSTER_UID = _BUILT_IN + "clusterUid"
REQUEST_BYTES, REQUEST_MIB, REQUEST_GIB = "requestBytes", "requestMiB", "requestGiB"
# Which parameter of the class asks for a Secret at each mount: createSecret or secretName.
CLASS_SECRET = _BUILT_IN + "storageClass.secret"
TAKEN_BACK = _BUILT_IN + "takenBack"
ONLY_FIND = _BUILT_IN + "onlyFind"
ONLY_IF_BLANK, ONLY_IF_AWAITED = _BUILT_IN + "onlyIfBlank", _BUILT_IN + "onlyIfAwaited"
ONLY_IF_OWNER = _BUILT_IN + "onlyIfOwner"
# In place of the owner's uid in ONLY_IF_OWNER: the volume's record names no owner.
NO_OWNER = "none"
# In place of a claim's uid, where no such claim is there yet: the volume awaits it. The names of
# any claim are ANY.
AWAITED, ANY = "awaited", "*"
SOURCE_VOLUME = "sourceVolume"
# The parameters of a class that the provisioner takes for itself, whatever the driver, and those
# that it takes for a driver that uses a Secret.
PROVISIONER_PARAMETERS = ("fsType", "csi.storage.k8s.io/fstype", "onNodeGone")
SECRET_PARAMETERS = ("secretName", "secretNamespace", "createSecret")
_REQUEST_KEYS = frozenset((REQUEST_BYTES, REQUEST_MIB, REQUEST_GIB, SOURCE_VOLUME))


def is_reserved(key: str) -> bool:
    """True for the keys that kubelet or the provisioner fill in, which class parameters may
    therefore not set."""
    return key in _REQUEST_KEYS or key.startswith(_BUILT_IN)


class Options:
    """Typed view of the one flat JSON object of strings that kubelet and the provisioner pass.

    Everything in it may be hostile: a pod's author can write inline options, and a PV can be
    edited. Values are checked when they are read, and an error names the key and shows the value,
    except a secret's."""

    def __init__(self, values: "Dict[str, str]") -> None:
        self._values = values

    @classmethod
    def parse(cls, text: str) -> "Options":
        """Reads the JSON argument. Raises InvalidArgument, without repeating the text: it may hold
        secrets."""
        import json

        try:
            values = json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise InvalidArgument(
                "the options are not a JSON object: {}".format(_without_text(error))
            ) from None
        if not isinstance(values, dict):
            raise InvalidArgument(
                (
                    'the options are not a JSON object but a {}; they are like {{"KEY": "VALUE"}}'
                ).format(type(values).__name__)
            )
        for key, value in values.items():
            if not isinstance(value, str):
                raise InvalidArgument(
                    "option {} is a {}; every option is a string".format(
                        shown(key), type(value).__name__
                    )
                )
            if not _is_line(key) or (not key.startswith(_SECRET) and not _is_line(value)):
                raise InvalidArgument(
                    "option {} is longer than {} characters or holds control characters: {}".format(
                        shown(key),
                        _VALUE_LENGTH,
                        "***" if key.startswith(_SECRET) else shown(value),
                    )
                )
        return cls(values)

    def text(self) -> str:
        """The JSON argument, keys sorted as kubelet sorts them."""
        import json

        return json.dumps(self._values, sort_keys=True)

    @property
    def own(self) -> "Dict[str, str]":
        """The driver's own options: what the PV, the inline volume or the class says."""
        return {key: value for key, value in self._values.items() if not is_reserved(key)}

    def expect_own(self, known: "Tuple[str, ...]", uses_secret: bool = False) -> "Dict[str, str]":
        """`own`, or InvalidArgument if it has a key that is not `known`. Where the options are a
        class's parameters, the sentence names those too that the provisioner takes for itself.

        uses_secret: whether the driver's mount reads Options.secrets. A class that asks for a
        Secret of another driver is refused: its author believes in a protection that is not
        there."""
        self._expect_no_secret(uses_secret)
        own = self.own
        unknown = sorted(key for key in own if key not in known)
        if unknown:
            of_class = PROVISIONER_PARAMETERS + (SECRET_PARAMETERS if uses_secret else ())
            every = known + of_class if self.class_advice else known
            raise InvalidArgument(self._unknown(unknown[0], every))
        return own

    def _expect_no_secret(self, uses_secret: bool) -> None:
        asked = self._values.get(CLASS_SECRET, "")
        if not asked or uses_secret:
            return
        sentence = "the storage class has {}, and this driver uses no secret; leave {} out".format(
            shown(asked),
            "createSecret" if asked == "createSecret" else "secretName and secretNamespace",
        )
        raise InvalidArgument("; ".join(filter(None, (sentence, self.class_advice))))

    def _unknown(self, key: str, known: "Tuple[str, ...]") -> str:
        advice = self.class_advice
        sentence = "unknown option {}; known are: {}".format(
            shown(key), ", ".join(known) if known else "none"
        )
        near = similar(key, known)
        if near:
            sentence += "; {} may be meant".format(near)
        return "; ".join(filter(None, (sentence, advice)))

    @property
    def class_advice(self) -> str:
        """What a person does about a parameter of the storage class that these options are of; ""
        if they are of none, as those of a PV."""
        name = self._values.get(CLASS_NAME, "")
        return class_advice(name) if name else ""

    @property
    def volume(self) -> str:
        """The PV's name (of an inline volume: its name in the pod), checked against the name
        pattern."""
        return check_name("volume name", self._need(VOLUME))

    @property
    def fs_type(self) -> str:
        return self._values.get(FS_TYPE, "")

    @property
    def read_only(self) -> bool:
        value = self._values.get(READ_WRITE, "rw")
        if value not in ("rw", "ro"):
            raise InvalidArgument(
                "option {} is {}; it is rw or ro".format(READ_WRITE, shown(value))
            )
        return value == "ro"

    @property
    def pod(self) -> "Optional[Pod]":
        """The pod to mount for; only mount has one."""
        if POD_NAMESPACE not in self._values:
            return None
        return Pod(
            self._need(POD_NAMESPACE), self._values.get(POD_NAME, ""), self._values.get(POD_UID, "")
        )

    @property
    def service_account(self) -> str:
        return self._values.get(SERVICE_ACCOUNT, "")

    @property
    def fs_group(self) -> "Optional[int]":
        return self._integer(FS_GROUP) if FS_GROUP in self._values else None

    @property
    def secrets(self) -> "Dict[str, Secret]":
        """The volume's secret, decoded; only mount gets it."""
        import binascii

        decoded = {}
        for key, value in self._values.items():
            if key.startswith(_SECRET):
                try:
                    decoded[key[len(_SECRET) :]] = Secret(binascii.a2b_base64(value.encode()))
                except ValueError:
                    raise InvalidArgument(
                        "option {} is not base64; kubelet passes each value of a Secret so".format(
                            shown(key)
                        )
                    ) from None
        return decoded

    @property
    def request_bytes(self) -> int:
        """The size asked for; only provision has it."""
        size = self._integer(REQUEST_BYTES)
        if size == 0:
            raise InvalidArgument("option {} is 0; ask for at least one byte".format(REQUEST_BYTES))
        return size

    @property
    def claim(self) -> "Claim":
        """The claim a volume is made for, or the claim of the PV that is to be deleted."""
        return Claim(self._need(CLAIM_NAMESPACE), self._need(CLAIM_NAME), self._need(CLAIM_UID))

    @property
    def access_modes(self) -> "List[str]":
        return _words(self._values.get(ACCESS_MODES, ""))

    @property
    def mount_options(self) -> "List[str]":
        return _words(self._values.get(MOUNT_OPTIONS, ""))

    @property
    def class_name(self) -> str:
        return self._values.get(CLASS_NAME, "")

    @property
    def reclaim_policy(self) -> str:
        return self._values.get(RECLAIM_POLICY, "")

    @property
    def node(self) -> str:
        return self._values.get(NODE_NAME, "")

    @property
    def cluster_uid(self) -> str:
        return self._values.get(CLUSTER_UID, "")

    @property
    def only_find(self) -> bool:
        """True when provisioning is undone: provision then answers where the volume is, or raises
        NotFound, and makes nothing."""
        return self._values.get(ONLY_FIND) == "true"

    @property
    def only_if_blank(self) -> bool:
        """True when provisioning is undone or an orphan is collected: a volume that was ever
        mounted, or was adopted, must then not be deleted. And true when a volume is adopted only to
        be kept: one that was mounted is kept already."""
        return self._values.get(ONLY_IF_BLANK) == "true"

    @property
    def taken_back(self) -> "Optional[str]":
        """delete only: the id of the cancelled move whose copy is being removed. The copy is then
        not archived. None if there is no such move."""
        return self._values.get(TAKEN_BACK)

    @property
    def only_if_awaited(self) -> bool:
        """True when a PV says that its claim has come: that owns the volume only if the volume
        awaited it."""
        return self._values.get(ONLY_IF_AWAITED) == "true"

    @property
    def only_if_owner(self) -> str:
        """In an adoption: the uid of the claim that the record named when the provisioner decided;
        NO_OWNER for none, AWAITED for a volume that awaits its claim. A record that names another
        claim by now is left alone. "" if the adoption has no such condition."""
        return self._values.get(ONLY_IF_OWNER, "")

    @property
    def source_volume(self) -> str:
        """The volume to clone, or ""."""
        return (
            check_name(SOURCE_VOLUME, self._values[SOURCE_VOLUME])
            if self._values.get(SOURCE_VOLUME)
            else ""
        )

    def _need(self, key: str) -> str:
        value = self._values.get(key, "")
        if not value:
            raise InvalidArgument("option {} is missing; see: loop help CALLOUT".format(key))
        return value

    def _integer(self, key: str) -> int:
        return integer("option " + key, self._need(key))


def parse_arguments(callout: str, arguments: "List[str]") -> "Dict[str, Any]":
    """The arguments of `callout` by their names in CALLOUTS: Options, integers and strings.

    Raises InvalidArgument for an unknown callout, a wrong count, or a value that cannot be read.
    """
    row = CALLOUTS.get(callout)
    if row is None:
        raise InvalidArgument(
            "unknown callout {}; known are: {}".format(shown(callout), ", ".join(CALLOUTS))
        )
    if len(arguments) != len(row.arguments):
        raise InvalidArgument(
            "{0} takes {1} arguments{2}, but got {3}; see: loop help {0}".format(
                callout,
                len(row.arguments),
                " (" + " ".join("<" + name + ">" for name in row.arguments) + ")"
                if row.arguments
                else "",
                len(arguments),
            )
        )
    parsed: "Dict[str, Any]" = {}
    for name, value in zip(row.arguments, arguments):
        if name == "options":
            parsed[name] = Options.parse(value)
        elif name.endswith("_bytes"):
            parsed[name] = integer(name, value)
        elif not _is_line(value):
            raise InvalidArgument(
                "{} holds control characters or is too long: {}".format(name, shown(value))
            )
        else:
            parsed[name] = value
    return parsed


def check_name(what: str, value: str) -> str:
    """`value` if it can name a volume or a pool: lower case letters, digits, '-' and '.', as in a
    PV's name; it begins and ends with a letter or digit, and so is never a path, a hidden file or
    '..'."""
    if not is_name(value):
        raise InvalidArgument(
            (
                "{} {} is not a name: 1 to {} of a-z, 0-9, '-' and '.', beginning and ending with "
                "a letter or digit"
            ).format(what, shown(value), NAME_LENGTH)
        )
    return value


def is_name(value: str) -> bool:
    return len(value) <= NAME_LENGTH and is_object_name(value)


def is_object_name(value: str) -> bool:
    """Whether a claim, a class or a namespace may have that name. Kubernetes allows longer ones
    than a volume or a pool may have: there a name is that of a file too."""
    return (
        0 < len(value) <= OBJECT_NAME_LENGTH
        and _NAME_CHARACTERS.issuperset(value)
        and value[0] not in "-."
        and value[-1] not in "-."
        and ".." not in value
    )


def integer(what: str, value: str) -> int:
    """A decimal number of bytes or the like, 0 to 2**63-1."""
    if not value.encode("ascii", "replace").isdigit() or len(value) > 19:
        raise InvalidArgument(
            "{} is {}; it is a whole number, 0 or more".format(what, shown(value))
        )
    number = int(value)
    if number >= 1 << 63:
        raise InvalidArgument("{} is {}; that is more than 2**63-1".format(what, shown(value)))
    return number


def nobody(before: "Dict[str, str]", token: str) -> "Dict[str, str]":
    """The owner that a volume of no claim gets while a person deletes it, as `delete` demands the
    owner's uid. before: the owner in the volume's record; {} if it names none. token: of this
    deletion alone."""
    return {
        "namespace": before.get("namespace") or ANY,
        "name": before.get("name") or ANY,
        "uid": "deleted-" + token,
    }


def of_volume(name: str, sentence: str) -> str:
    """The sentence about the volume `name`, which names the volume once, as the sentence of a
    failure may do already."""
    about = "volume " + name
    return naming(about, about, sentence)


def naming(about: str, words: str, sentence: str) -> str:
    """The sentence, which begins with `about` unless it has `words` already. words: a name for
    example; that name within a longer one does not count."""
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
    return (
        quoted
        if len(quoted) <= _SHOWN_LENGTH
        else quoted[:_SHOWN_LENGTH] + "...' ({} characters)".format(len(value))
    )


def similar(word: str, known: "Iterable[str]") -> str:
    """The one of the known words that is most like the word; "" if none is. Letters' case does not
    count."""
    import difflib  # late: only a mistake needs it

    by_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower()[:_SHOWN_LENGTH], by_lower, 1)
    return by_lower[near[0]] if near else ""


def class_advice(name: str) -> str:
    """What a person does about a storage class with a wrong parameter."""
    return (
        "a StorageClass cannot be changed: make {} anew (kubectl replace --force -f FILE); its "
        "volumes stay as they are"
    ).format(shown(name))


def _is_line(value: str) -> bool:
    return len(value) <= _VALUE_LENGTH and (not value or value.isprintable())


def _words(value: str) -> "List[str]":
    return [word for word in value.split(",") if word]


def _unique(pairs: "List[Tuple[str, Any]]") -> "Dict[str, Any]":
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key stands in it twice")
    return values


def _without_text(error: BaseException) -> str:
    return str(error) if not isinstance(error, RecursionError) else "nested too deeply"
