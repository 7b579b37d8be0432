"""The file systems that a volume may have: ext4, xfs and btrfs, one class in one module each.

A new file system is a class beside them with the interface of base.FileSystem, and an entry in
TABLE."""

from node.host.filesystems.base import FileSystem, NotPermitted
from node.host.filesystems.btrfs import Btrfs
from node.host.filesystems.ext4 import Ext4
from node.host.filesystems.uuids import new_uuid
from node.host.filesystems.xfs import Xfs
from shared import process
from shared.protocol import Internal, InvalidArgument, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List

__all__ = (
    "DEFAULT",
    "MIB",
    "TABLE",
    "FileSystem",
    "NotPermitted",
    "get",
    "minimum_bytes_by_name",
    "missing",
    "new_uuid",
)

MIB = 1 << 20
TABLE: "Dict[str, FileSystem]" = {kind.name: kind() for kind in (Ext4, Xfs, Btrfs)}
DEFAULT = "ext4"


def get(name: str) -> FileSystem:
    """The file system called `name`; the default one for "". Raises InvalidArgument for a file
    system that is not in the table."""
    kind = TABLE.get(name or DEFAULT)
    if kind is None:
        raise InvalidArgument(
            "file system {} is unknown; known are: {}".format(shown(name), ", ".join(TABLE))
        )
    return kind


def minimum_bytes_by_name() -> "Dict[str, int]":
    """The smallest volume with each file system; "" is the file system of a class that names
    none."""
    smallest = {name: kind.minimum_bytes for name, kind in TABLE.items()}
    smallest[""] = smallest[DEFAULT]
    return smallest


def missing(tools: "Iterable[str]") -> "List[str]":
    """Those of the programs that this machine does not have."""
    absent = []
    for tool in tools:
        try:
            process.find(tool)
        except Internal:
            absent.append(tool)
    return absent
