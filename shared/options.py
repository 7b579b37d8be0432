"""The options: the one flat JSON object of strings that kubelet and the provisioner pass on.

Their keys, their values as types, and the checks that all of them need: everything in the object
may be hostile. json is imported late, because a callout's cost is its imports."""

from shared.protocol import CALLOUTS, InvalidArgument, NotSupported, check_name, shown, similar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

# No value of kubelet's or of the provisioner's is as long.
_VALUE_LENGTH = 4096
# Digits of 2**63-1, the largest number that Go reads as an int64.
_INTEGER_DIGITS = 19
_INTEGER_END = 1 << 63

# The keys of the options, as kubelet and the provisioner write them.
_BUILT_IN = "kubernetes.io/"
_SECRET = _BUILT_IN + "secret/"
_DOMAINS_OF_KUBERNETES = (".kubernetes.io", ".k8s.io")
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
REQUEST_BYTES = "requestBytes"
REQUEST_MIB = "requestMiB"
REQUEST_GIB = "requestGiB"
# Which parameter of the class asks for a Secret at each mount: createSecret or secretName.
CLASS_SECRET = _BUILT_IN + "storageClass.secret"
# The key is older than its name.
CANCELLED_MOVE = _BUILT_IN + "takenBack"
ONLY_FIND = _BUILT_IN + "onlyFind"
ONLY_IF_BLANK = _BUILT_IN + "onlyIfBlank"
ONLY_IF_AWAITED = _BUILT_IN + "onlyIfAwaited"
ONLY_IF_OWNER = _BUILT_IN + "onlyIfOwner"
# In place of the owner's uid in ONLY_IF_OWNER: the volume's record names no owner.
NO_OWNER = "none"
# In place of a claim's uid, where no such claim is there yet: the volume awaits the claim.
AWAITED = "awaited"
# In place of a claim's namespace and name, where the volume awaits whichever claim comes.
ANY = "*"
# How a person reads that.
ANY_CLAIM = "any claim"
SOURCE_VOLUME = "sourceVolume"
# The parameters of a class that the provisioner takes for itself, whatever the driver, and those
# that it takes for a driver that uses a Secret.
PROVISIONER_PARAMETERS = ("fsType", "csi.storage.k8s.io/fstype", "onNodeGone")
SECRET_PARAMETERS = ("secretName", "secretNamespace", "createSecret")
_REQUEST_KEYS = frozenset((REQUEST_BYTES, REQUEST_MIB, REQUEST_GIB, SOURCE_VOLUME))


class Secret:
    """A value that must not be seen: printed anywhere, a Secret is three stars."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"


class Pod:
    """The pod that a mount is for; kubelet fills it in, so the pod's author cannot forge it."""

    def __init__(self, namespace: str, name: str, uid: str) -> None:
        self.namespace = namespace
        self.name = name
        self.uid = uid


class Claim:
    """The claim that a volume was made for."""

    def __init__(self, namespace: str, name: str, uid: str) -> None:
        self.namespace = namespace
        self.name = name
        self.uid = uid


def is_reserved(key: str) -> bool:
    """Whether neither a class's parameter nor a PV's option may have the key: kubelet or the
    provisioner fills it in, or the API server refuses it."""
    return key in _REQUEST_KEYS or _is_of_kubernetes(key)


def _is_of_kubernetes(key: str) -> bool:
    """Whether the API server refuses a FlexVolume that has an option of the key
    (validateFlexVolumeSource in pkg/apis/core/validation)."""
    domain = key.partition("/")[0]
    # Go has one lower case letter for each letter, Python may have two.
    lower = "".join(letter.lower()[:1] for letter in domain)
    return ("." + lower).endswith(_DOMAINS_OF_KUBERNETES)


class Options:
    """The options as types.

    Everything in the options may be hostile: a pod's author can write inline options, and a PV can
    be edited. Values are checked when they are read, and an error names the key and shows the
    value, except a secret's."""

    def __init__(self, values: "Dict[str, str]") -> None:
        self._values = values

    @classmethod
    def parse(cls, text: str) -> "Options":
        """Reads the JSON argument. Raises InvalidArgument, without repeating the text, which may
        hold secrets."""
        import json

        try:
            values = json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise InvalidArgument(
                "the options are not a JSON object: {}".format(_without_text(error))
            ) from None
        if not isinstance(values, dict):
            raise InvalidArgument(
                "the options are not a JSON object but a {}; they are like "
                '{{"KEY": "VALUE"}}'.format(type(values).__name__)
            )
        for key, value in values.items():
            _check_option(key, value)
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
        """The driver's own options, of which each must be `known`.

        uses_secret: whether the driver's mount reads Options.secrets. A class that asks for a
        Secret of another driver is refused: its author believes in a protection that is not there.
        Raises InvalidArgument for an unknown option. Where the options are a class's parameters,
        the sentence names those too that the provisioner takes for itself."""
        self._expect_no_secret(uses_secret)
        own = self.own
        unknown = sorted(key for key in own if key not in known)
        if not unknown:
            return own
        if self.class_advice:
            known += PROVISIONER_PARAMETERS
            if uses_secret:
                known += SECRET_PARAMETERS
        raise InvalidArgument(self._unknown(unknown[0], known))

    def _expect_no_secret(self, uses_secret: bool) -> None:
        asked = self._values.get(CLASS_SECRET, "")
        if not asked or uses_secret:
            return
        surplus = "secretName and secretNamespace"
        if asked == "createSecret":
            surplus = "createSecret"
        sentence = "the storage class has {}, and this driver uses no secret; leave {} out".format(
            shown(asked), surplus
        )
        raise InvalidArgument(self._with_advice(sentence))

    def _unknown(self, key: str, known: "Tuple[str, ...]") -> str:
        names = ", ".join(known) or "none"
        sentence = "unknown option {}; known are: {}".format(shown(key), names)
        near = similar(key, known)
        if near:
            sentence += "; {} may be meant".format(near)
        return self._with_advice(sentence)

    def _with_advice(self, sentence: str) -> str:
        advice = self.class_advice
        return "{}; {}".format(sentence, advice) if advice else sentence

    @property
    def class_advice(self) -> str:
        """What a person does about a parameter of the storage class that these options are of; ""
        if they are of no class, as those of a PV."""
        name = self.class_name
        return class_advice(name) if name else ""

    @property
    def volume(self) -> str:
        """The PV's name (of an inline volume: its name in the pod), checked against the name
        pattern."""
        return check_name("volume name", self._need(VOLUME))

    @property
    def fs_type(self) -> str:
        """The file system that is asked for; "" for the driver's choice."""
        return self._values.get(FS_TYPE, "")

    @property
    def read_only(self) -> bool:
        """Whether the pod may only read the volume."""
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
        namespace = self._need(POD_NAMESPACE)
        name = self._values.get(POD_NAME, "")
        uid = self._values.get(POD_UID, "")
        return Pod(namespace, name, uid)

    @property
    def service_account(self) -> str:
        """The pod's service account."""
        return self._values.get(SERVICE_ACCOUNT, "")

    @property
    def fs_group(self) -> "Optional[int]":
        """The pod's fsGroup; None if the pod has none."""
        if FS_GROUP not in self._values:
            return None
        return self._integer(FS_GROUP)

    @property
    def secrets(self) -> "Dict[str, Secret]":
        """The volume's secret, decoded; only mount gets it."""
        secrets = {}
        for key, value in self._values.items():
            if key.startswith(_SECRET):
                secrets[key[len(_SECRET) :]] = _decoded(key, value)
        return secrets

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
        """The claim's access modes."""
        return _words(self._values.get(ACCESS_MODES, ""))

    @property
    def mount_options(self) -> "List[str]":
        """The class's mount options."""
        return _words(self._values.get(MOUNT_OPTIONS, ""))

    @property
    def class_name(self) -> str:
        """The name of the claim's storage class; "" if these options are of none."""
        return self._values.get(CLASS_NAME, "")

    @property
    def reclaim_policy(self) -> str:
        """The class's reclaimPolicy."""
        return self._values.get(RECLAIM_POLICY, "")

    @property
    def node(self) -> str:
        """The node that the volume is made on; "" for storage that every node reaches."""
        return self._values.get(NODE_NAME, "")

    @property
    def cluster_uid(self) -> str:
        """What tells this cluster from others: the uid of its namespace kube-system."""
        return self._values.get(CLUSTER_UID, "")

    @property
    def only_find(self) -> bool:
        """provision only: whether provisioning is being undone. provision then answers where the
        volume is, or raises NotFound, and makes nothing."""
        return self._values.get(ONLY_FIND) == "true"

    @property
    def only_if_blank(self) -> bool:
        """delete: whether provisioning is being undone or an orphan collected. A volume that was
        ever mounted, or was adopted, must then not be deleted. adopt: whether the volume is adopted
        only to be kept. A volume that was mounted is kept already."""
        return self._values.get(ONLY_IF_BLANK) == "true"

    @property
    def cancelled_move(self) -> "Optional[str]":
        """delete only: the id of the cancelled move whose copy is being removed. The copy is then
        not archived. None if there is no such move."""
        return self._values.get(CANCELLED_MOVE)

    @property
    def only_if_awaited(self) -> bool:
        """adopt only: whether a PV says that its claim has come. The claim owns the volume only if
        the volume awaited the claim."""
        return self._values.get(ONLY_IF_AWAITED) == "true"

    @property
    def only_if_owner(self) -> str:
        """adopt only: the uid of the claim that the record named when the provisioner decided;
        NO_OWNER for no claim, AWAITED for a volume that awaits its claim. A record that names
        another claim by now is left alone. "" if the adoption has no such condition."""
        return self._values.get(ONLY_IF_OWNER, "")

    @property
    def source_volume(self) -> str:
        """The volume to clone, or ""."""
        name = self._values.get(SOURCE_VOLUME, "")
        return check_name(SOURCE_VOLUME, name) if name else ""

    def _need(self, key: str) -> str:
        value = self._values.get(key, "")
        if not value:
            raise InvalidArgument("option {} is missing; see: loop help CALLOUT".format(key))
        return value

    def _integer(self, key: str) -> int:
        return integer("option " + key, self._need(key))


def _check_option(key: str, value: "Any") -> None:
    if not isinstance(value, str):
        raise InvalidArgument(
            "option {} is a {}; every option is a string".format(shown(key), type(value).__name__)
        )
    is_secret = key.startswith(_SECRET)
    if _is_line(key) and (is_secret or _is_line(value)):
        return
    raise InvalidArgument(
        "option {} is longer than {} characters or holds control characters: {}".format(
            shown(key), _VALUE_LENGTH, "***" if is_secret else shown(value)
        )
    )


def _decoded(key: str, value: str) -> Secret:
    import binascii

    try:
        return Secret(binascii.a2b_base64(value.encode()))
    except ValueError:
        raise InvalidArgument(
            "option {} is not base64; kubelet passes each value of a Secret so".format(shown(key))
        ) from None


def parse_arguments(callout: str, arguments: "List[str]") -> "Dict[str, Any]":
    """The arguments of `callout` by their names in CALLOUTS: Options, integers and strings.

    Raises NotSupported for an unknown callout, which a newer kubelet may make; InvalidArgument for
    a wrong count, or a value that cannot be read.
    """
    row = CALLOUTS.get(callout)
    if row is None:
        raise NotSupported(
            "unknown callout {}; known are: {}".format(shown(callout), ", ".join(CALLOUTS))
        )
    if len(arguments) != len(row.arguments):
        raise InvalidArgument(_wrong_count(callout, row.arguments, len(arguments)))
    named = zip(row.arguments, arguments)
    return {name: _parse_argument(name, value) for name, value in named}


def _decoded_argument(value: str) -> str:
    """A JSON argument as it was sent, which is UTF-8: a Python 3.6 that kubelet starts without a
    locale has decoded it as ASCII, with a surrogate for each other byte."""
    try:
        sent = value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # no command line has such a character
        return value
    return sent.decode("utf-8", "surrogateescape")


def _wrong_count(callout: str, names: "Tuple[str, ...]", count: int) -> str:
    listed = ""
    if names:
        listed = " ({})".format(" ".join("<{}>".format(name) for name in names))
    return "{0} takes {1} arguments{2}, but got {3}; see: loop help {0}".format(
        callout, len(names), listed, count
    )


def _parse_argument(name: str, value: str) -> "Any":
    if name == "options":
        return Options.parse(_decoded_argument(value))
    if name.endswith("_bytes"):
        return integer(name, value)
    if not _is_line(value):
        raise InvalidArgument(
            "{} holds control characters or is too long: {}".format(name, shown(value))
        )
    return value


def integer(what: str, value: str) -> int:
    """A decimal number of bytes or the like, 0 to 2**63-1. what: whose value, for the message."""
    is_number = value.encode("ascii", "replace").isdigit()
    if not is_number or len(value) > _INTEGER_DIGITS:
        raise InvalidArgument(
            "{} is {}; it is a whole number, 0 or more".format(what, shown(value))
        )
    number = int(value)
    if number >= _INTEGER_END:
        raise InvalidArgument("{} is {}; that is more than 2**63-1".format(what, shown(value)))
    return number


def nobody(before: "Dict[str, str]", token: str) -> "Dict[str, str]":
    """The owner that a volume of no claim gets while a person deletes the volume, as `delete`
    demands the owner's uid.

    before: the owner in the volume's record; {} if the record names no owner. token: of this
    deletion alone."""
    return {
        "namespace": before.get("namespace") or ANY,
        "name": before.get("name") or ANY,
        "uid": "deleted-" + token,
    }


def shown_claim(owner: "Optional[Dict[str, str]]") -> str:
    """The claim that a volume's record names, as a person reads it: NAMESPACE/NAME; "any claim" for
    a volume that waits for whichever claim comes; "-" where the record names none.

    owner: as a driver lists it"""
    if not owner:
        return "-"
    if owner["name"] == ANY:
        return ANY_CLAIM
    return "{}/{}".format(owner["namespace"], owner["name"])


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
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error)
