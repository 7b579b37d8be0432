"""The record of a volume, volume.json, as an object: each field is an attribute of `Record`.

The fields are listed once, in the body of `Record`. From that list come the check of a record that
was read, the defaults of records that an older flexvol wrote, and the record of a new volume."""

import time

from node.host import files
from shared.options import Claim
from shared.protocol import Internal, is_name, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from node.drivers.loop.pools import Pool

FILE = "volume.json"
SCHEMA = 3
# What `kind` may be.
VOLUME = "volume"
SNAPSHOT = "snapshot"
# Numbers of snapshots are below this one: every JSON library reads such whole numbers exactly.
NUMBERS = 1 << 53
_IDS = 1 << 32  # uids and gids have 32 bits
_SECONDS = 1 << 40  # 35,000 years
_UUID_LENGTH = 36
_UUID_CHARACTERS = frozenset("0123456789abcdefABCDEF-")


class RootDirectory:
    """Owner and mode that a class asks for the root directory of a new volume.

    mode: None if the class gives no mode."""

    def __init__(self, uid: int, gid: int, mode: "Optional[int]") -> None:
        self.uid = uid
        self.gid = gid
        self.mode = mode


class Archiving:
    """For how long the volume is kept as an archive after it was deleted.

    seconds: 0 for ever. since: when it was archived, in seconds since 1970; 0 before that."""

    def __init__(self, seconds: int, since: int) -> None:
        self.seconds = seconds
        self.since = since


class Move:
    """The move that the volume is part of.

    id: of the move. to: the node that the volume moves to, or moved to; "" in the new copy."""

    def __init__(self, move_id: str, to: str) -> None:
        self.id = move_id
        self.to = to


class Field:
    """One field of volume.json, as an attribute of `Record`.

    key: the field's name in the file.
    since: the schema that brought the field; a record of an older schema gets `default`.
    default: also the value of an optional field that a record lacks.
    optional: whether a record may lack the field."""

    def __init__(
        self, key: str, since: int = 1, default: "Any" = None, optional: bool = False
    ) -> None:
        self.key = key
        self.since = since
        self.default = default
        self.optional = optional

    def is_right_in(self, content: "Dict[str, Any]") -> bool:
        """Whether this field of a record's content has a value that it may have."""
        if self.key not in content:
            return self.optional
        return self._fits(content[self.key])

    def _fits(self, value: "Any") -> bool:
        """Whether the field may have that value, which anybody may have written: a person, or the
        author of a stream."""
        raise NotImplementedError

    def to_json(self, value: "Any") -> "Any":
        """Returns the attribute's value as the file has it."""
        return value

    def _value(self, record: "Record") -> "Any":
        return record.content.get(self.key, self.default)


class Text(Field):
    """A text."""

    def _fits(self, value: "Any") -> bool:
        return isinstance(value, str)

    def __get__(self, record: "Record", _: type) -> str:
        text: str = self._value(record)
        return text


class Uuid(Text):
    """The UUID of a file system, or ""."""

    def _fits(self, value: "Any") -> bool:
        if not isinstance(value, str):
            return False
        if not value:
            return True
        return len(value) == _UUID_LENGTH and not set(value) - _UUID_CHARACTERS


class Flag(Field):
    """True or false."""

    def _fits(self, value: "Any") -> bool:
        return isinstance(value, bool)

    def __get__(self, record: "Record", _: type) -> bool:
        flag: bool = self._value(record)
        return flag


class Number(Field):
    """A whole number."""

    def _fits(self, value: "Any") -> bool:
        return isinstance(value, int)

    def __get__(self, record: "Record", _: type) -> int:
        number: int = self._value(record)
        return number


class SnapshotNumber(Number):
    """A number from 0 to below NUMBERS."""

    def _fits(self, value: "Any") -> bool:
        return _are_below(NUMBERS, [value])


class Progress(Field):
    """How many bytes of a volume have come so far; None if the volume is whole."""

    def _fits(self, value: "Any") -> bool:
        return isinstance(value, int)

    def __get__(self, record: "Record", _: type) -> "Optional[int]":
        number: "Optional[int]" = self._value(record)
        return number


class Words(Field):
    """A list of texts."""

    def _fits(self, value: "Any") -> bool:
        return isinstance(value, list) and all(isinstance(word, str) for word in value)

    def __get__(self, record: "Record", _: type) -> "List[str]":
        return list(self._value(record))


class Part(Field):
    """A field that is an object of its own, or null. keys: of that object, each of which is an
    attribute of the Python object too."""

    keys: "Tuple[str, ...]" = ()

    def _fits(self, value: "Any") -> bool:
        if value is None:
            return True
        if not isinstance(value, dict) or any(key not in value for key in self.keys):
            return False
        return self._fits_object(value)

    def _fits_object(self, value: "Dict[str, Any]") -> bool:
        """Whether the object, which has all keys, may have these values."""
        raise NotImplementedError

    def to_json(self, value: "Any") -> "Any":
        if value is None:
            return None
        return {key: getattr(value, key) for key in self.keys}

    def _values(self, record: "Record") -> "List[Any]":
        """The values of the keys; empty if the field is null."""
        value = self._value(record)
        return [value[key] for key in self.keys] if value else []


class Owner(Part):
    """The claim that the volume was made for, or adopted for."""

    keys = ("namespace", "name", "uid")

    def _fits_object(self, value: "Dict[str, Any]") -> bool:
        return all(isinstance(value[key], str) for key in self.keys)

    def __get__(self, record: "Record", _: type) -> "Optional[Claim]":
        values = self._values(record)
        return Claim(*values) if values else None


class Root(Part):
    """A RootDirectory."""

    keys = ("uid", "gid", "mode")

    def _fits_object(self, value: "Dict[str, Any]") -> bool:
        mode = value["mode"]
        has_mode = mode is None or isinstance(mode, int)
        return has_mode and _are_below(_IDS, [value["uid"], value["gid"]])

    def __get__(self, record: "Record", _: type) -> "Optional[RootDirectory]":
        values = self._values(record)
        return RootDirectory(*values) if values else None


class Archive(Part):
    """An Archiving."""

    keys = ("seconds", "since")

    def _fits_object(self, value: "Dict[str, Any]") -> bool:
        return _are_below(_SECONDS, [value[key] for key in self.keys])

    def __get__(self, record: "Record", _: type) -> "Optional[Archiving]":
        values = self._values(record)
        return Archiving(*values) if values else None


class Moved(Part):
    """A Move."""

    keys = ("id", "to")

    def _fits_object(self, value: "Dict[str, Any]") -> bool:
        return all(isinstance(value[key], str) for key in self.keys)

    def __get__(self, record: "Record", _: type) -> "Optional[Move]":
        values = self._values(record)
        return Move(*values) if values else None


def _are_below(limit: int, values: "List[Any]") -> bool:
    """Whether all values are whole numbers from 0 to below the limit; a bool is none."""
    return all(type(value) is int and 0 <= value < limit for value in values)


class Record:
    """What volume.json says of a volume. A record never changes; `changed` returns another record.

    Fields that a newer flexvol of the same schema has added stay in the file."""

    __slots__ = ("content",)

    name = Text("name")
    size_bytes = Number("sizeBytes")
    sector_bytes = Number("sectorBytes")
    fs_type = Text("fsType")
    fs_uuid = Uuid("fsUuid", since=2, default="")
    thick = Flag("thick")
    # What is done once to the root directory, before the first pod sees it.
    root = Root("root", since=2)
    # None if a volume of this class is not archived but deleted.
    archive = Archive("archive", since=3)
    move = Moved("move", since=3)
    owner = Owner("owner")
    cluster_uid = Text("clusterUid")
    class_name = Text("class")
    reclaim_policy = Text("reclaimPolicy")
    access_modes = Words("accessModes")
    mount_options = Words("mountOptions")
    created = Text("created")
    # Whether the volume was never mounted and is empty.
    blank = Flag("blank")
    kind = Text("kind", since=3, default=VOLUME)
    # The volume that a copy or a snapshot was made of.
    source = Text("source", since=3, default="")
    # The UUID that the file system of a copy gets at its first mount.
    new_uuid = Uuid("newUuid", since=3, default="")
    # The mount options that the kernel refused at the last mount.
    left_out = Words("leftOut", default=(), optional=True)
    # Whether nobody has had the volume, a clone, since it was made; see Volume.never_mounted. An
    # older flexvol does not know this field.
    clone_never_mounted = Flag("neverMounted", default=False, optional=True)
    # In which state of its source a clone or snapshot was made; see clones.py.
    taken = Text("taken", default="", optional=True)
    # The place of a snapshot among those of its source; see snapshot_numbers.py.
    number = SnapshotNumber("number", default=0, optional=True)
    # While a volume is copied: the source with its state, the progress, and the file copied to.
    copy_of = Text("copyOf", default="", optional=True)
    copied_bytes = Progress("copiedBytes", optional=True)
    copied_to = Text("copiedTo", default="", optional=True)
    # While the stream of a volume comes: how much of the image has come.
    imported_bytes = Progress("imported", optional=True)

    def __init__(self, content: "Dict[str, Any]") -> None:
        """content: as the file has it."""
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and self.content == other.content

    def __hash__(self) -> int:
        return hash((self.name, self.source))

    def changed(self, **changes: "Any") -> "Record":
        """Returns a record with other values. changes: by attribute; None takes an optional field
        away."""
        content = dict(self.content)
        for attribute, value in changes.items():
            field = FIELDS[attribute]
            if value is None and field.optional:
                content.pop(field.key, None)
            else:
                content[field.key] = field.to_json(value)
        return Record(content)

    def without_optional(self) -> "Record":
        """Returns a record with only those fields that every record has."""
        required = [field.key for field in FIELDS.values() if not field.optional]
        content = {key: self.content[key] for key in required}
        return Record(dict(content, schema=SCHEMA))

    def to_json(self, *keys: str) -> "Dict[str, Any]":
        """Returns the fields of these names as the file has them; all if none is named."""
        if not keys:
            return dict(self.content)
        return {key: self.content[key] for key in keys}

    @property
    def move_id(self) -> str:
        """The id of the move that the volume is part of, or ""."""
        return self.move.id if self.move else ""

    @property
    def moving_to(self) -> str:
        """The node that the volume moves to, or moved to, so that this copy is not to be used any
        more; or ""."""
        return self.move.to if self.move else ""

    @property
    def snapshot_order(self) -> "Tuple[int, str, str]":
        """What the snapshots of one volume are ordered by.

        The numbers decide, which snapshots get one after the other. Clocks may be set, so the times
        decide only among the snapshots that an older flexvol made without a number; these get their
        numbers when the next snapshot is made."""
        return self.number, self.created, self.name


def stamp(when: float) -> str:
    """A time in seconds since 1970 as the field `created` has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


FIELDS: "Dict[str, Field]" = {
    name: field for name, field in vars(Record).items() if isinstance(field, Field)
}


def new(**values: "Any") -> Record:
    """Returns the record of a new volume. values: by attribute; what a later schema brought may be
    missing."""
    content: "Dict[str, Any]" = {"schema": SCHEMA}
    for field in FIELDS.values():
        if field.since > 1:
            content[field.key] = field.default
    return Record(content).changed(**values)


def read(pool: "Pool", name: str, directory: int) -> Record:
    """Reads the record in the open directory `name` of the pool. Raises Internal if the record is
    missing or is no volume's."""
    import json

    where = "{}/{}/{}".format(pool.path, name, FILE)
    try:
        content = json.loads(files.read(directory, FILE).decode("utf-8"))
    except FileNotFoundError:
        raise Internal(
            "{} is missing, so the directory is left alone; restore that file from a backup".format(
                where
            )
        ) from None
    except (ValueError, RecursionError) as error:
        raise Internal("{} cannot be read: {}".format(where, error)) from None
    return check(content, name, where)


def check(content: "Any", name: str, where: str) -> Record:
    """Returns the record with that content, made new if an older flexvol wrote it.

    name: of the volume's directory. where: the record's place, for messages. Raises Internal if
    the content is not a volume's record."""
    if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
        raise Internal("{} is not a volume's record; put the file back from a backup".format(where))
    if content["schema"] > SCHEMA:
        raise Internal(
            "{} has schema {}; this flexvol knows {}: install a newer one".format(
                where, content["schema"], SCHEMA
            )
        )
    content = _with_later_fields(content)
    wrong = [field.key for field in FIELDS.values() if not field.is_right_in(content)]
    if wrong:
        raise Internal("{} is damaged: {}".format(where, ", ".join(wrong)))
    if not _may_be_called(content["name"], name):
        raise Internal("{} is damaged: it names volume {}".format(where, shown(content["name"])))
    return Record(content)


def _with_later_fields(content: "Dict[str, Any]") -> "Dict[str, Any]":
    """The content of a record that an older flexvol wrote, with the fields that came later."""
    schema = content["schema"]
    later = {field.key: field.default for field in FIELDS.values() if field.since > schema}
    return {**later, **content, "schema": SCHEMA}


def _may_be_called(name: str, directory: str) -> bool:
    """Whether the record of the volume `name` may lie in a directory of that name. The hidden name
    of a directory, which begins with a dot, need not name the volume."""
    if name == directory:
        return True
    return directory.startswith(".") and is_name(name)


def write(directory: int, record: Record) -> None:
    """Replaces the record in the volume's open directory, on disk when it returns."""
    import json

    text = json.dumps(record.content, indent=1)
    files.write(directory, FILE, text.encode("ascii"))
