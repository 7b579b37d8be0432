"""An export that is mounted: the records in it, the paths that are taken, and the directories."""

import os

from node.directories.records import (
    MARKS,
    PATH_LENGTH,
    Record,
    damaged,
    mark_of,
    read_json,
    to_json,
)
from node.host import files
from node.host.descriptors import Descriptor
from shared.process import run
from shared.protocol import Busy, Failure, InvalidArgument, Unavailable, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional

VOLUMES = "volumes"
PATHS = "paths"
DELETING = "deleting"
RECORD_SUFFIX = ".json"
ARCHIVE_PREFIX = "archived-"
# In PATHS, of a directory that has volumes in it. No volume has this name.
PARENT = "/"
# Records are changed within milliseconds.
LOCK_SECONDS = 20
# The provisioner waits 300 s for delete.
DELETE_SECONDS = 240


class Pool:
    """An export that is mounted now. root: its open directory. marks: the directory .flexvol."""

    def __init__(self, name: str, root: int, marks: Descriptor) -> None:
        self.name = name
        self.root = root
        self._marks = marks

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self._marks.close()

    def lock(self) -> Descriptor:
        """Keeps everyone else from changing records until the lock is closed, and makes what
        .flexvol lacks."""
        with files.open_file(self._marks, "lock", os.O_RDWR | os.O_CREAT) as lock:
            lock.lock("pool " + self.name, LOCK_SECONDS)
            for name in (VOLUMES, PATHS, DELETING):
                files.make_directory(self._marks, name)
            if not files.exists(self._marks, "pool.json"):
                files.write(self._marks, "pool.json", to_json({"id": os.urandom(8).hex()}))
            return lock.kept_open()

    def id(self) -> str:
        """The id by which PVs know the export again; "" before the first volume."""
        if not files.exists(self._marks, "pool.json"):
            return ""
        return str(read_json(self._marks, "pool.json").get("id"))

    def check_id(self, pool_id: str) -> None:
        """Raises Unavailable unless the export is the one that a PV means. The server may have
        another disk there, and a volume that is not on that one is not gone."""
        if not pool_id or self.id() != pool_id:
            raise Unavailable(
                "pool {} has the id {}, and the volume is in a pool with the id {}; see that the "
                "server has the right disk mounted".format(
                    self.name, shown(self.id()), shown(pool_id)
                )
            )

    # Records.

    def names(self) -> "List[str]":
        """The names of the volumes."""
        if not self.id():
            return []
        with files.open_below(self._marks, VOLUMES) as records:
            names = os.listdir(records)
        end = len(RECORD_SUFFIX)
        return sorted(name[:-end] for name in names if not name.startswith("."))

    def record(self, volume: str) -> "Optional[Record]":
        """The record of the volume; None if there is none."""
        with files.open_below(self._marks, VOLUMES) as records:
            if not files.exists(records, volume + RECORD_SUFFIX):
                return None
            values = read_json(records, volume + RECORD_SUFFIX)
        try:
            record = Record(values)
        except (Failure, AttributeError, KeyError, TypeError, ValueError):
            record = None
        if record is None or record.name != volume:
            raise damaged(volume + RECORD_SUFFIX)
        return record

    def write(self, record: Record, **changes: "Any") -> Record:
        """Writes the record with the changes, and returns it. The caller holds the lock."""
        changed = Record(dict(record.values, **changes))
        with files.open_below(self._marks, VOLUMES) as records:
            files.write(records, changed.name + RECORD_SUFFIX, to_json(changed.values))
        return changed

    def forget(self, record: Record) -> None:
        """Gives the path of the record free, and removes the record. The caller holds the lock."""
        if self.has_taken(record):
            with files.open_below(self._marks, PATHS) as paths:
                os.unlink(mark_of(record.path), dir_fd=paths)
        with files.open_below(self._marks, VOLUMES) as records:
            os.unlink(record.name + RECORD_SUFFIX, dir_fd=records)

    # Paths. A path is taken before its directory is made, so that no volume ever lies in another
    # one, and none where somebody else has made a directory.

    def take(self, path: str, volume: str) -> None:
        """Makes the volume's directory, and those that the directory is in."""
        names = path.split("/")
        for count in range(1, len(names)):
            self._take("/".join(names[:count]), PARENT)
        self._take(path, volume)

    def _take(self, path: str, taker: str) -> None:
        name = os.path.basename(path)
        with files.open_below(self._marks, PATHS) as paths, self._parent(path) as parent:
            before = self._taker(paths, path)
            if before not in ("", taker):
                raise InvalidArgument(
                    "the path {} is taken by {}; choose another pathPattern, or delete what has "
                    "it".format(path, "volumes below it" if before == PARENT else before)
                )
            if not before:
                if files.exists(parent, name):
                    raise InvalidArgument(
                        "{} is in the export, and flexvol has not made it; move it away".format(
                            path
                        )
                    )
                files.write(paths, mark_of(path), taker.encode("ascii"))
            if not files.exists(parent, name):
                os.mkdir(name, 0o755, dir_fd=parent)

    def has_taken(self, record: Record) -> bool:
        """Whether the volume has the path of its record."""
        with files.open_below(self._marks, PATHS) as paths:
            return self._taker(paths, record.path) == record.name

    def _taker(self, paths: int, path: str) -> str:
        if not files.exists(paths, mark_of(path)):
            return ""
        return files.read(paths, mark_of(path)).decode("ascii")

    # Directories. No name in a path leads through a symbolic link.

    def _parent(self, path: str) -> Descriptor:
        """Opens the directory that holds the last name of the path."""
        directory = files.open_below(self.root, ".")
        for name in path.split("/")[:-1]:
            with directory:
                inner = files.open_below(directory, name)
            directory = inner
        return directory

    def open(self, record: Record) -> Descriptor:
        """Opens the volume's directory. Raises FileNotFoundError if there is none."""
        with self._parent(record.path) as parent:
            return files.open_below(parent, os.path.basename(record.path))

    def is_there(self, record: Record) -> bool:
        """Whether the volume has a directory."""
        try:
            self.open(record).close()
            return True
        except FileNotFoundError:
            return False

    def is_own(self, record: Record) -> bool:
        """Whether the volume's directory is the one that the driver made. A directory that a person
        has put in its place, from a backup for example, is not."""
        with self.open(record) as directory:
            return os.fstat(directory).st_ino == record.inode

    def is_empty(self, record: Record) -> bool:
        """Whether the volume holds nothing, or has no directory yet."""
        try:
            with self.open(record) as directory:
                return not os.listdir(directory)
        except FileNotFoundError:
            return True

    def remove_empty(self, record: Record) -> None:
        """Removes the volume's directory; the server refuses that if anything is in it."""
        with self._parent(record.path) as parent:
            os.rmdir(os.path.basename(record.path), dir_fd=parent)

    def archive(self, record: Record) -> str:
        """Gives the volume's directory a name under which it is kept, and returns that name."""
        name = record.path.replace("/", "-")
        if not name.endswith(record.name):
            name = "{}-{}".format(name[: PATH_LENGTH - len(record.name) - 1], record.name)
        name = ARCHIVE_PREFIX + name
        if files.exists(self.root, name):
            raise Busy("{} is in the export already; move it away".format(name))
        with self._parent(record.path) as parent:
            old = os.path.basename(record.path)
            os.rename(old, name, src_dir_fd=parent, dst_dir_fd=self.root)
        return name

    def set_aside(self, record: Record) -> None:
        """Takes the volume's directory to where nobody sees it, to be removed."""
        with self._parent(record.path) as parent, files.open_below(self._marks, DELETING) as aside:
            old = os.path.basename(record.path)
            os.rename(old, record.name, src_dir_fd=parent, dst_dir_fd=aside)

    def remove_aside(self, volume: str) -> None:
        """Removes what this or an earlier call has set aside of the volume."""
        with files.open_below(self._marks, DELETING) as deleting:
            if files.exists(deleting, volume):
                path = "/proc/self/fd/{}/{}".format(int(deleting), volume)
                words = ["rm", "-rf", "--one-file-system", path]
                run(words, DELETE_SECONDS, inherit=[deleting]).check()


def open_pool(name: str, root: int) -> Pool:
    """Opens the pool in the export that is open at `root`. Raises Unavailable if the export has no
    directory .flexvol, which is never made here: such an export may be the empty directory below a
    disk that the server has not mounted."""
    try:
        return Pool(name, root, files.open_below(root, MARKS))
    except FileNotFoundError:
        raise Unavailable(
            "pool {0}: the export has no directory {1}, so the server has not mounted its disk, "
            "or the export is not meant for flexvol; if it is, once: mkdir EXPORT/{1}".format(
                name, MARKS
            )
        ) from None
