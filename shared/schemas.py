"""JSON schemas of the contract: of the options that each callout gets, and of its replies.

docs/contract.md has the contract in sentences, docs/contract.json these schemas as a file. A driver
that keeps to the schemas is understood by kubelet, by kube-controller-manager and by the
provisioner. kubelet itself takes more for a reply than the schemas allow, such as keys in other
letters' case; shared/caller.py reads a reply as kubelet does.

A callout never imports this module: the driver checks its options by shared/options.py."""

from shared import json_schema, options
from shared.protocol import CALLOUTS, FAILURE, FAILURES, NOT_SUPPORTED, SUCCESS, Capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

    Schema = Dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REQUEST = ".request"
_REPLY = ".reply"
# The schema of any reply: what kubelet needs to read a reply at all, whatever the callout.
ANY_REPLY = "reply"

_INT64_END = 1 << 63
# The end of a text. In Python a "$" alone also stands before a line feed that ends the text.
_END = r"(?!\n)$"
# A DNS subdomain, but for its length, as apimachinery has it (pkg/util/validation).
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_OBJECT_NAME = _LABEL + r"(\." + _LABEL + r")*"
_ACCESS_MODE = "(ReadWriteOnce|ReadWriteOncePod|ReadOnlyMany|ReadWriteMany)"
# The API server refuses an option of a PV or pod whose key is so, in letters of either case
# (validateFlexVolumeSource in pkg/apis/core/validation). options.is_reserved has the same rule. The
# last letters of K and I are the Kelvin sign and the Turkish I, whose small letters are k and i.
_K = "[Kk\u212a]"
_I = "[Ii\u0130]"
_OF_KUBERNETES = (
    r"([^/]*\.)?("
    + _K
    + r"[Uu][Bb][Ee][Rr][Nn][Ee][Tt][Ee][Ss]|"
    + _K
    + r"8[Ss])\."
    + _I
    + r"[Oo](/|(?!\n)$)"
)
_NOT_BUILT_IN = "^(?!" + _OF_KUBERNETES + ")"
_REQUEST_KEYS = "|".join(
    (options.REQUEST_BYTES, options.REQUEST_MIB, options.REQUEST_GIB, options.SOURCE_VOLUME)
)
_NOT_RESERVED = "^(?!" + _OF_KUBERNETES + "|(" + _REQUEST_KEYS + ")" + _END + ")"
_BASE64 = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?" + _END
_SECRET_KEY = r"^kubernetes\.io/secret/."  # noqa: S105 (the beginning of a key)


def _text(about: str) -> "Schema":
    return {"description": about, "type": "string"}


def _some_text(about: str) -> "Schema":
    return {"description": about, "title": "a text", "type": "string", "pattern": r"\S"}


def _word(about: str, *words: str) -> "Schema":
    return {"description": about, "enum": list(words)}


def _flag(about: str) -> "Schema":
    return {"description": about, "type": "boolean"}


def _size(about: str) -> "Schema":
    return {"description": about, "$ref": "#/$defs/size"}


def _named(about: str) -> "Schema":
    return {"description": about, "$ref": "#/$defs/objectName"}


def _name_or_none(about: str) -> "Schema":
    return {"description": about, "$ref": "#/$defs/nameOrNone"}


def _claim_name(about: str) -> "Schema":
    return {"description": about, "$ref": "#/$defs/claimName"}


def _uid(about: str) -> "Schema":
    return {"description": about, "$ref": "#/$defs/uid"}


def _number(about: str) -> "Schema":
    return {"description": about, "$ref": "#/$defs/number"}


# Requests: the options of a callout.

_FROM_KUBELET = {
    options.VOLUME: _named("the PV's name; of an inline volume, its name in the pod"),
    options.FS_TYPE: _text("the PV's fsType; empty for the driver's choice"),
    options.READ_WRITE: _word("ro if the pod's persistentVolumeClaim is readOnly", "rw", "ro"),
}
_OF_THE_POD = {
    options.POD_NAMESPACE: _named("the pod's namespace"),
    options.POD_NAME: _named("the pod's name"),
    options.POD_UID: _uid("the pod's uid"),
    options.SERVICE_ACCOUNT: _name_or_none("the pod's service account; may be empty"),
}
_FS_GROUP = {options.FS_GROUP: _number("the pod's fsGroup; left out for a pod without one")}
_SECRETS = {
    _SECRET_KEY: {
        "title": "base64",
        "description": "the value of that key of the PV's Secret",
        "type": "string",
        "pattern": _BASE64,
        "writeOnly": True,
    }
}
_OF_THE_CLAIM = {
    options.VOLUME: _named("the PV's name"),
    options.CLAIM_NAMESPACE: _claim_name("the claim's namespace; * for any"),
    options.CLAIM_NAME: _claim_name("the claim's name; * for any"),
    options.CLAIM_UID: _uid("the claim's uid; awaited while there is no such claim"),
}
_TO_PROVISION = {
    options.FS_TYPE: _text("the file system that the class names; empty for the driver's choice"),
    options.REQUEST_BYTES: _number("the size that the claim asks for"),
    options.REQUEST_MIB: _number("the same in MiB, rounded up"),
    options.REQUEST_GIB: _number("the same in GiB, rounded up"),
    options.ACCESS_MODES: {
        "title": "access modes, separated by commas",
        "description": "the claim's access modes",
        "type": "string",
        "pattern": "^" + _ACCESS_MODE + "(," + _ACCESS_MODE + ")*" + _END,
    },
    options.CLASS_NAME: _named("the name of the claim's class"),
    options.RECLAIM_POLICY: _word("the class's reclaimPolicy", "Delete", "Retain"),
    options.MOUNT_OPTIONS: _text("the class's mountOptions, separated by commas"),
    options.NODE_NAME: _name_or_none(
        "the node that the volume is made on; empty if every node reaches the storage"
    ),
    options.CLUSTER_UID: _uid("the uid of the cluster's namespace kube-system"),
}
_MAY_PROVISION = {
    options.CLASS_SECRET: _word(
        "the class's parameter that asks for a Secret", "createSecret", "secretName"
    ),
    options.SOURCE_VOLUME: _named("the volume or snapshot that the new volume is a copy of"),
    options.ONLY_FIND: _word("answer where the volume is, or NotFound; make nothing", "true"),
}
_MAY_DELETE = {
    options.ONLY_IF_BLANK: _word("keep a volume that was ever mounted or adopted", "true"),
    options.CANCELLED_MOVE: _uid("the id of the cancelled move whose copy is being removed"),
}
_MAY_ADOPT = {
    options.CLUSTER_UID: _uid("the cluster that the volume is adopted for, to be recorded"),
    options.ONLY_IF_OWNER: _uid("the uid that the record must name so far; none, or awaited"),
    options.ONLY_IF_AWAITED: _word("refuse a volume that awaits no claim of that name", "true"),
    options.ONLY_IF_BLANK: _word("adopt the volume only to keep it", "true"),
}


def _request(required: "Schema", optional: "Schema", patterns: "Schema") -> "Schema":
    return {
        "type": "object",
        "required": list(required),
        "properties": dict(required, **optional),
        "patternProperties": patterns,
        "additionalProperties": False,
    }


def _requests() -> "Dict[str, Schema]":
    """A schema for each callout that gets options."""
    in_kubelet = {_NOT_BUILT_IN: _text("the driver's own: an option of the PV")}
    in_mount = dict(in_kubelet, **_SECRETS)
    in_class = {_NOT_RESERVED: _text("the driver's own: a parameter of the class")}
    in_volume = {_NOT_RESERVED: _text("the driver's own: an option of the PV")}
    to_mount = dict(_FROM_KUBELET, **_OF_THE_POD)
    to_provision = dict(_OF_THE_CLAIM, **_TO_PROVISION)
    usual = _request(_FROM_KUBELET, {}, in_kubelet)
    special = {
        "mount": _request(to_mount, _FS_GROUP, in_mount),
        "provision": _request(to_provision, _MAY_PROVISION, in_class),
        "delete": _request(_OF_THE_CLAIM, _MAY_DELETE, in_volume),
        "adopt": _request(_OF_THE_CLAIM, _MAY_ADOPT, in_volume),
    }
    schemas = {}
    for callout, row in CALLOUTS.items():
        if "options" in row.arguments:
            schema = special.get(callout, usual)
            schemas[callout + _REQUEST] = dict(title="the options of " + callout, **schema)
    return schemas


# Replies.

_CAPABILITIES = {
    "attach": "kube-controller-manager attaches volumes; true if left out",
    "selinuxRelabel": "the runtime relabels a volume's files; true if left out",
    "supportsMetrics": "kubelet reports how full a volume is; false if left out",
    "fsGroup": "kubelet gives a volume's files to the pod's fsGroup; true if left out",
    "requiresFSResize": "kubelet calls expandfs, without which no claim grows; true if left out",
}
# All that kubelet reads of a reply. A value of another type makes the whole reply a failure
# (driver-call.go, handleCmdResponse), whatever the callout.
_READ_BY_KUBELET = {
    "status": _word("whether the callout succeeded", SUCCESS, FAILURE, NOT_SUPPORTED),
    "message": _text("what is wrong and what to do, for a person; a pod's event has it"),
    "device": _text("attach, waitforattach: the device; empty if it is left out"),
    "volumeName": _text("getvolumename: kubelet reads and drops it"),
    "attached": _flag("isattached: whether the volume is attached to the node"),
    "volumeNewSize": {
        "description": "expandvolume, expandfs: the size in bytes; nobody reads it",
        "type": "integer",
        "minimum": -_INT64_END,
        "maximum": _INT64_END - 1,
    },
    "capabilities": {
        "description": "init: what the driver can do",
        "type": "object",
        "properties": {name: _flag(about) for name, about in _CAPABILITIES.items()},
    },
}
_ANY_REPLY = {
    "title": "any reply: all that kubelet needs",
    "type": "object",
    "required": ["status"],
    "properties": _READ_BY_KUBELET,
}
_FAILURE = {
    "title": "a reply that says why the callout failed",
    "if": {"required": ["status"], "properties": {"status": {"const": FAILURE}}},
    "then": {
        "required": ["message"],
        "properties": {
            "message": {"title": "a text", "pattern": r"\S"},
            "reason": _text(
                "decides what the provisioner does next; any other word than {} is {}".format(
                    ", ".join(name for name in FAILURES if name != "NotSupported"), "Internal"
                )
            ),
        },
    },
}
_OPTIONS = {
    "description": "the driver's own options; strings",
    "type": "object",
    "patternProperties": {_NOT_RESERVED: {"type": "string"}},
    "additionalProperties": False,
}
_OWNER = {
    "description": "the claim that the volume is for; null for none",
    "type": ["object", "null"],
    "required": ["namespace", "name", "uid"],
    "properties": {
        "namespace": _text("the claim's namespace"),
        "name": _text("the claim's name"),
        "uid": _text("the claim's uid"),
    },
}
_VOLUME_MADE = {
    "description": "the volume; without it, the PV is as was asked for and has no options",
    "type": "object",
    "required": ["options", "capacityBytes", "fsType"],
    "properties": {
        "options": dict(_OPTIONS, description="the options of the PV; no secret, as all can read"),
        "capacityBytes": dict(_size("the volume's size, at least what was asked for"), minimum=1),
        "fsType": _text("the file system of the PV; empty for none"),
    },
}
_VOLUME_LISTED = {
    "title": "a volume, snapshot or archive of list",
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": _some_text("the volume's name, as provision was told"),
        "pool": _text("the pool that the volume is in"),
        "error": _text("why nothing is known of the volume"),
        "options": _OPTIONS,
        "owner": _OWNER,
        "kind": _text("snapshot for a volume that is one"),
        "source": _text("the volume that a copy or a snapshot was made of"),
        "state": _text("archived, or moving, for a volume that is so"),
        "class": _text("the name of the storage class"),
        "reclaimPolicy": _text("the reclaimPolicy of the class"),
        "accessModes": {
            "description": "the access modes of the claim",
            "type": "array",
            "items": {"type": "string"},
        },
        "clusterUid": _text("as provision was told"),
        "created": _text("when, as 2026-01-31T23:59:59Z"),
        "fsType": _text("the file system"),
        "blank": _flag("true until the first mount or adopt; false for a copy"),
        "neverMounted": _flag("for a copy: true until the first mount or adopt"),
        "damaged": _flag("the file system has errors"),
        "sizeBytes": _size("the size of the volume"),
        "usedBytes": _size("how much of the storage the volume has taken"),
    },
    "patternProperties": {"Bytes" + _END: {"$ref": "#/$defs/size"}},
}
_POOL_LISTED = {
    "title": "a pool of list",
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": _some_text("the pool's name, which a class has as its parameter pool"),
        "id": _text("tells the pool from another one of that name"),
        "error": _text("why the pool cannot be used"),
        "noRoom": _text("why the pool takes no volumes"),
        "cordoned": _flag("the pool takes no new volumes"),
        "byName": _flag("a class has to name the pool, even if it is the only one"),
        "mayBeShared": _flag("other nodes may have the same disk mounted"),
        "defaultFsType": _text("what a class that names no fsType gets"),
        "capacityBytes": _size("the size of the pool"),
        "freeBytes": _size("what new volumes may take"),
        "maximumVolumeBytes": _size("the largest new volume"),
        "minimumVolumeBytes": {
            "description": "a smaller claim gets so much: one size, or one for each fsType",
            "type": ["integer", "object"],
            "minimum": 0,
            "additionalProperties": {"$ref": "#/$defs/size"},
        },
    },
    "patternProperties": {r"^(?!minimumVolumeBytes$).*Bytes" + _END: {"$ref": "#/$defs/size"}},
}
# What a reply has beside `status` if the callout succeeded.
_SUCCESS: "Dict[str, Schema]" = {
    "init": {
        "required": ["capabilities"],
        "properties": {"capabilities": {"required": list(Capabilities.NAMES)}},
    },
    "isattached": {"required": ["attached"]},
    "provision": {"properties": {"volume": _VOLUME_MADE}},
    "list": {
        "properties": {
            "volumes": {"type": "array", "items": {"$ref": "#/$defs/listedVolume"}},
            "pools": {"type": "array", "items": {"$ref": "#/$defs/listedPool"}},
        },
    },
}


def _replies() -> "Dict[str, Schema]":
    """A schema for each callout, and one for any."""
    schemas: "Dict[str, Schema]" = {ANY_REPLY: _ANY_REPLY}
    for callout in CALLOUTS:
        schema: "Schema" = {
            "title": "a reply to " + callout,
            "$ref": "#/$defs/" + ANY_REPLY,
            "if": {"required": ["status"], "properties": {"status": {"const": SUCCESS}}},
            "else": {"$ref": "#/$defs/failure"},
        }
        if callout in _SUCCESS:
            schema["then"] = _SUCCESS[callout]
        schemas[callout + _REPLY] = schema
    return schemas


# What several schemas refer to.
_PARTS: "Dict[str, Schema]" = {
    "objectName": {
        "title": "a name: a-z, 0-9, '-' and '.', beginning and ending with a letter or digit",
        "type": "string",
        "pattern": "^" + _OBJECT_NAME + _END,
    },
    "claimName": {
        "title": "a name, or * for any",
        "type": "string",
        "pattern": r"^(\*|" + _OBJECT_NAME + ")" + _END,
    },
    "nameOrNone": {
        "title": "a name, or empty",
        "type": "string",
        "pattern": "^(" + _OBJECT_NAME + ")?" + _END,
    },
    "uid": {
        "title": "letters, digits and '-'",
        "type": "string",
        "pattern": r"^[A-Za-z0-9-]+" + _END,
    },
    "number": {
        "title": "a whole number in digits, 0 or more",
        "type": "string",
        "pattern": r"^(0|[1-9][0-9]{0,18})" + _END,
    },
    "size": {"type": "integer", "minimum": 0, "maximum": _INT64_END - 1},
    "failure": _FAILURE,
    "listedVolume": _VOLUME_LISTED,
    "listedPool": _POOL_LISTED,
}
_DEFINITIONS = dict(_requests(), **_replies())
_DEFINITIONS.update(_PARTS)


def names() -> "Tuple[str, ...]":
    """The names of all schemas: `CALLOUT.request` for the options of a callout that gets some,
    `CALLOUT.reply`, and `reply` for what is so in every reply."""
    return tuple(name for name in _DEFINITIONS if name not in _PARTS)


def document(callout: str = "") -> "Schema":
    """The schemas of a callout, or of all, as one JSON schema document: each schema is an entry of
    `$defs` by its name, beside the parts that the schemas refer to."""
    chosen = [name for name in names() if not callout or name.startswith(callout + ".")]
    wanted = set(chosen)
    left = list(chosen)
    while left:
        for name in _references(_DEFINITIONS[left.pop()]):
            if name not in wanted:
                wanted.add(name)
                left.append(name)
    definitions = {name: schema for name, schema in _DEFINITIONS.items() if name in wanted}
    return {"$schema": _DIALECT, "$defs": definitions}


def _references(schema: "Any") -> "List[str]":
    """The names of all definitions that a schema refers to."""
    found = []
    if isinstance(schema, dict):
        if "$ref" in schema:
            found.append(schema["$ref"].rpartition("/")[2])
        for inner in schema.values():
            found += _references(inner)
    return found


def errors(name: str, document: "Any") -> "List[str]":
    """A sentence for each thing that is wrong with a request or a reply; none if all is right.

    name: of `names()`. document: as the module json reads it. The value of a Secret is in no
    sentence. Raises KeyError for an unknown name."""
    root = "the options" if name.endswith(_REQUEST) else "the reply"
    return json_schema.errors(_DEFINITIONS[name], _DEFINITIONS, document, root)
