"""The record of a volume: what is noted of the volume, and the path of its directory."""

import time

from node.host import files
from shared.options import ANY
from shared.protocol import InvalidArgument, Unavailable, check_name, is_object_name, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

    from shared.options import Options

# The directory of an export that holds the records.
MARKS = ".flexvol"
RECORD_SUFFIX = ".json"
# Of a storage class, as new_record reads them.
CLASS_PARAMETERS = ("archiveOnDelete", "pathPattern", "mode")
# A file name ends at 255, and an archive's name has a prefix too.
PATH_LENGTH = 240
PATH_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/")
# Any pod that has the volume may write to it, whatever its user, as with other NFS provisioners.
DEFAULT_MODE = "0777"


class Record:
    """What the driver notes of a volume.

    values: as in the file. path: of its directory in the export. inode: the number of the directory
    that the driver made; 0 before the directory is made. mode: the directory's permissions. blank:
    whether no pod and no person has had the volume. Making a Record of values that are none raises
    AttributeError, KeyError, TypeError, ValueError or a Failure."""

    def __init__(self, values: "Dict[str, Any]") -> None:
        self.values = values
        self.name = check_name("volume", values["name"])
        self.path = check_path(values["path"])
        self.inode = int(values["inode"])
        self.mode = int(values["mode"])
        owner = values["owner"]
        self.owner = {key: _text(owner[key]) for key in ("namespace", "name", "uid")}
        self.cluster_uid = _text(values["clusterUid"])
        self.is_archived = _text(values["onDelete"]) != "delete"
        self.size_bytes = int(values["sizeBytes"])
        self.blank = values["blank"] is True

    def text(self, key: str) -> str:
        """A value that only some drivers' records have. Raises Unavailable if this one has none."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise damaged(self.name + RECORD_SUFFIX)
        return value


def _text(value: "Any") -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def new_record(options: "Options", **also: "Any") -> Record:
    """The record of a volume whose directory is not made yet. also: more values."""
    own = options.own
    claim = options.claim
    values = {
        "schema": 1,
        "name": options.volume,
        "path": path_for(options, own.get("pathPattern", "")),
        "inode": 0,
        "mode": mode_of(own.get("mode", DEFAULT_MODE)),
        "sizeBytes": options.request_bytes,
        "owner": {"namespace": claim.namespace, "name": claim.name, "uid": claim.uid},
        "clusterUid": options.cluster_uid,
        "class": options.class_name,
        "reclaimPolicy": options.reclaim_policy,
        "accessModes": options.access_modes,
        "onDelete": "archive" if archives(own.get("archiveOnDelete", "true")) else "delete",
        "blank": True,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    values.update(also)
    return Record(values)


def path_for(options: "Options", pattern: str) -> str:
    """The path of a new volume: as the class's pathPattern says, else NAMESPACE-CLAIM-VOLUME."""
    claim = options.claim
    words = [word for word in (claim.namespace, claim.name) if word != ANY]
    for word in words:
        if not is_object_name(word):
            raise InvalidArgument(
                "{} is the name of no namespace and no claim; see the request".format(shown(word))
            )
    if pattern and len(words) == 2:
        path = pattern.replace("${.PVC.namespace}", words[0]).replace("${.PVC.name}", words[1])
        return check_path(path.strip("/"))
    begin = "-".join(words)[: PATH_LENGTH - len(options.volume) - 1]
    return check_path("{}-{}".format(begin, options.volume) if begin else options.volume)


def mode_of(text: str) -> int:
    """The permissions of a new volume's directory, written as for chmod."""
    if len(text) not in (3, 4) or not frozenset("01234567").issuperset(text):
        raise InvalidArgument("mode is {}; write it in octal, like 0770".format(shown(text)))
    return int(text, 8)


def archives(text: str) -> bool:
    """Whether the directory of a deleted volume is kept."""
    if text not in ("true", "false"):
        raise InvalidArgument("archiveOnDelete is {}; it is true or false".format(shown(text)))
    return text == "true"


def check_path(path: str) -> str:
    """Returns the path of a volume's directory, if it can be one. A name that begins with a dot is
    the driver's, or the server's own."""
    names = path.split("/")
    is_named = all(name and not name.startswith(".") for name in names)
    if not is_named or len(path) > PATH_LENGTH or not PATH_CHARACTERS.issuperset(path):
        raise InvalidArgument(
            "{} is no path of a volume: 1 to {} letters, digits, '-', '_', '.' and '/', and no "
            "name in it begins with a dot".format(shown(path), PATH_LENGTH)
        )
    return path


def mark_of(path: str) -> str:
    """The name of the file in PATHS. No path has a percent sign."""
    return path.replace("/", "%")


def to_json(values: "Dict[str, Any]") -> bytes:
    import json

    return json.dumps(values, indent=1, sort_keys=True).encode("ascii") + b"\n"


def read_json(directory: int, name: str) -> "Dict[str, Any]":
    """The object in a file of .flexvol. Raises Unavailable if the file has none."""
    import json

    try:
        values = json.loads(files.read(directory, name).decode("ascii"))
    except ValueError:
        raise damaged(name) from None
    if not isinstance(values, dict):
        raise damaged(name)
    return values


def damaged(name: str) -> Unavailable:
    return Unavailable(
        "{} in {} of the export is not what flexvol wrote; put it back from a backup".format(
            name, MARKS
        )
    )
