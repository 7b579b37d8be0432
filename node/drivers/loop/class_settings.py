"""What a StorageClass asks of a new volume, beside its size."""

from node.drivers.loop import records
from node.host import filesystems
from shared.options import integer
from shared.protocol import InvalidArgument, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional

    from shared.options import Options

# The parameters of a class that this driver knows.
PARAMETERS = ("pool", "thick", "mkfsOptions", "uid", "gid", "mode", "onDelete", "archiveFor")

_OCTAL_DIGITS = "01234567"
_MOST_MODE_DIGITS = 5
_MOST_MODE = 0o7777  # all permission bits, with set-user-id, set-group-id and sticky
_HOUR_SECONDS = 3600
_LONGEST_HOURS = 1000000  # 114 years; the clock of a pool counts to 3,000
_NO_ID = (1 << 32) - 1  # chown(2) takes it for "leave the owner as it is"


class ClassSettings:
    """What a class asks of a new volume, beside its size.

    fs_type: the kind of file system.
    thick: whether the image takes all its blocks at once.
    make_options: words for mkfs.
    root: for the root directory of the file system; None if the class asks for nothing.
    archive: None if a deleted volume is not kept."""

    def __init__(
        self,
        fs_type: str,
        thick: bool,
        make_options: "List[str]",
        root: "Optional[records.RootDirectory]",
        archive: "Optional[records.Archiving]",
    ) -> None:
        self.fs_type = fs_type
        self.thick = thick
        self.make_options = make_options
        self.root = root
        self.archive = archive


def read(options: "Options") -> ClassSettings:
    """Reads the settings from the options of a provision, whose own options are checked to be
    PARAMETERS. Raises InvalidArgument, with what to do about a class, if a value cannot be."""
    try:
        return _read(options)
    except InvalidArgument as error:
        parts = [error.message, options.class_advice]
        raise InvalidArgument("; ".join(part for part in parts if part)) from None


def _read(options: "Options") -> ClassSettings:
    own = options.own
    file_system = filesystems.get(options.fs_type)
    settings = ClassSettings(
        file_system.name,
        _boolean("thick", own.get("thick", "false")),
        own.get("mkfsOptions", "").split(),
        _root(own),
        _archive(own),
    )
    file_system.check_make_options(settings.make_options)
    for option in options.mount_options:
        file_system.check_mount_option(option)
    return settings


def _boolean(key: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise InvalidArgument('option {} is {}; it is "true" or "false"'.format(key, shown(value)))
    return value == "true"


def _root(own: "Dict[str, str]") -> "Optional[records.RootDirectory]":
    """The owner and mode that the class gives to the root directory; None if it gives neither."""
    if not any(own.get(key) for key in ("uid", "gid", "mode")):
        return None
    mode = _mode(own.get("mode", ""))
    return records.RootDirectory(_id("uid", own), _id("gid", own), mode)


def _mode(text: str) -> "Optional[int]":
    if not text:
        return None
    is_octal = not text.strip(_OCTAL_DIGITS) and len(text) <= _MOST_MODE_DIGITS
    if not is_octal or int(text, 8) > _MOST_MODE:
        raise InvalidArgument('option mode is {}; it is octal, like "0770"'.format(shown(text)))
    return int(text, 8)


def _id(key: str, own: "Dict[str, str]") -> int:
    number = integer("option " + key, own.get(key) or "0")
    if number >= _NO_ID:
        raise InvalidArgument("option {} is {}; it is at most {}".format(key, number, _NO_ID - 1))
    return number


def _archive(own: "Dict[str, str]") -> "Optional[records.Archiving]":
    """For how long a deleted volume is kept as an archive; None if it is not kept."""
    on_delete = own.get("onDelete", "delete")
    span = own.get("archiveFor", "")
    is_misplaced = bool(span) and on_delete == "delete"
    if on_delete not in ("delete", "archive") or is_misplaced:
        raise InvalidArgument(
            "option onDelete is {}; it may be delete or archive, and archiveFor is "
            "only allowed beside onDelete: archive".format(shown(on_delete))
        )
    hours = 0
    if span.endswith("h"):
        hours = integer("option archiveFor, in hours,", span[:-1])
    if span and not 0 < hours <= _LONGEST_HOURS:
        raise InvalidArgument(
            "option archiveFor is {}; it is a time in hours, like 720h, at most {}h".format(
                shown(span), _LONGEST_HOURS
            )
        )
    if on_delete == "delete":
        return None
    return records.Archiving(hours * _HOUR_SECONDS, 0)
