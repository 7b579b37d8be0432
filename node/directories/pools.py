"""An export that is mounted: the records in it, the paths that are taken, and the directories."""

import errno
import os

from node.directories.records import (
    MARKS,
    PATH_LENGTH,
    RECORD_SUFFIX,
    Record,
    damaged,
    mark_of,
    read_json,
    to_json,
)
from node.host import files
from node.host.descriptors import Descriptor
from shared.deadlines import TimedOut
from shared.process import run
from shared.protocol import Busy, Failure, InvalidArgument, Pending, Unavailable, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional

POOL_FILE = "pool.json"
VOLUMES = "volumes"
PATHS = "paths"
DELETING = "deleting"
ARCHIVE_PREFIX = "archived-"
# In PATHS, of a directory that has volumes in it. No volume has this name.
PARENT = "/"
# Records are changed within milliseconds.
LOCK_SECONDS = 20
# The provisioner waits 300 s for delete. Before the files of a volume are removed the export is
# mounted and the lock is waited for, and whatever is not removed in time is for the next call.
DELETE_SECONDS = 240
REMOVE_SECONDS = 150


class Pool:
    """An export that is mounted now. root: its open directory. marks: the directory .flexvol."""

    def __init__(self, name: str, root: int, marks: Descriptor) -> None:
        self.name = name
        self.root = root
        self._marks = marks
        self._id = ""

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self._marks.close()

    def lock(self) -> Descriptor:
        """Keeps everyone else from changing records until the lock is closed."""
        with files.open_file(self._marks, "lock", os.O_RDWR | os.O_CREAT) as lock:
            lock.lock("pool " + self.name, LOCK_SECONDS)
            return lock.kept_open()

    def prepare(self) -> None:
        """Makes what .flexvol of a new export lacks. The caller holds the lock."""
        if self.id():
            return
        for name in (VOLUMES, PATHS, DELETING):
            files.make_directory(self._marks, name)
        files.write(self._marks, POOL_FILE, to_json({"id": os.urandom(8).hex()}))

    def id(self) -> str:
        """The id by which PVs know the export again; "" before the first volume."""
        if self._id:
            return self._id
        try:
            pool_id = read_json(self._marks, POOL_FILE).get("id")
        except FileNotFoundError:
            self._check_new()
            return ""
        if not isinstance(pool_id, str) or not pool_id:
            raise damaged(POOL_FILE)
        self._id = pool_id
        return pool_id

    def _check_new(self) -> None:
        """Raises Unavailable if the export has records, for then its id is lost: with another one
        no PV would find its volume again."""
        try:
            records = files.open_below(self._marks, VOLUMES)
        except FileNotFoundError:
            return
        with records:
            if self.names(records):
                raise self._lost(POOL_FILE)

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

    def _open(self, name: str) -> Descriptor:
        """Opens a directory of .flexvol. Raises Unavailable if the directory is lost, for then all
        volumes would seem to be gone."""
        try:
            return files.open_below(self._marks, name)
        except FileNotFoundError:
            raise self._lost(name) from None

    def _lost(self, name: str) -> Unavailable:
        return Unavailable(
            "the export has lost {}/{}; put it back from a backup, or see that the server has the "
            "right disk mounted".format(MARKS, name)
        )

    # Records.

    def open_records(self) -> Descriptor:
        """Opens the directory with the records."""
        return self._open(VOLUMES)

    def names(self, records: int) -> "List[str]":
        """The names of the volumes. Whatever else a person has put beside the records, such as the
        copy of an editor, is of no volume. records: as `open_records` opens them."""
        end = len(RECORD_SUFFIX)
        files_there = filter(_is_record, os.listdir(records))
        return sorted(name[:-end] for name in files_there)

    def record(self, volume: str) -> "Optional[Record]":
        """The record of the volume; None if there is none."""
        with self.open_records() as records:
            return self.record_in(records, volume)

    def record_in(self, records: int, volume: str) -> "Optional[Record]":
        """As `record`. records: as `open_records` opens them."""
        try:
            # Not looked for first: the kernel may remember for half a minute that a file of a
            # server is there or is not, but asks the server when the file is opened.
            values = read_json(records, volume + RECORD_SUFFIX)
        except FileNotFoundError:
            return None
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
        with self.open_records() as records:
            files.write(records, changed.name + RECORD_SUFFIX, to_json(changed.values))
        return changed

    def forget(self, record: Record) -> None:
        """Gives the path of the record free, and removes the record. The caller holds the lock."""
        self._give_up(record)
        with self.open_records() as records:
            os.unlink(record.name + RECORD_SUFFIX, dir_fd=records)

    def check_no_trace(self, volume: str) -> None:
        """Raises Unavailable if a path is taken by the volume, which has no record: then the record
        is lost, and the volume is not gone."""
        with self._open(PATHS) as paths:
            for mark in os.listdir(paths):
                # What begins with a dot is a mark that a killed call did not get to write.
                if not mark.startswith(".") and self._taker_by(paths, mark) == volume:
                    raise self._lost_record(volume, mark)

    def _lost_record(self, volume: str, mark: str) -> Unavailable:
        return Unavailable(
            "volume {0} has the path {1} of the export, and no record; put {2}/{3}/{0}.json back "
            "from a backup, or, if nobody needs that directory, remove {2}/{4}/{5}".format(
                volume, mark.replace("%", "/"), MARKS, VOLUMES, PATHS, mark
            )
        )

    # Paths. A path is taken before its directory is made, so that no volume ever lies in another
    # one, and none where somebody else has made a directory.

    def take(self, path: str, volume: str) -> None:
        """Makes the volume's directory, and those that the directory is in."""
        for parent in reversed(parents_of(path)):
            self._take(parent, PARENT)
        self._take(path, volume)

    def _take(self, path: str, taker: str) -> None:
        name = os.path.basename(path)
        with self._open(PATHS) as paths, self._parent(path) as parent:
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

    def _give_up(self, record: Record) -> None:
        """Gives the path free, with the directories above that have no other volume in them."""
        with self._open(PATHS) as paths:
            if self._taker(paths, record.path) == record.name:
                os.unlink(mark_of(record.path), dir_fd=paths)
            for parent in parents_of(record.path):
                if self._taker(paths, parent) != PARENT or not self._remove_empty(parent):
                    return
                os.unlink(mark_of(parent), dir_fd=paths)

    def _remove_empty(self, path: str) -> bool:
        """Whether the directory was empty, or not there, so that the path has no directory now."""
        try:
            with self._parent(path) as parent:
                os.rmdir(os.path.basename(path), dir_fd=parent)
        except OSError as error:
            return error.errno == errno.ENOENT
        return True

    def check_not_lost(self, record: Record) -> None:
        """Raises Unavailable if the path of a new record is taken by a volume of that name."""
        if self.has_taken(record):
            raise self._lost_record(record.name, mark_of(record.path))

    def has_taken(self, record: Record) -> bool:
        """Whether the volume has the path of its record."""
        return self.taker(record) == record.name

    def taker(self, record: Record) -> str:
        """Who has the path of the record: a volume, PARENT, or "" for nobody."""
        with self._open(PATHS) as paths:
            return self._taker(paths, record.path)

    def _taker(self, paths: int, path: str) -> str:
        """The volume that has the path, PARENT, or "" if nobody has the path."""
        return self._taker_by(paths, mark_of(path))

    def _taker_by(self, paths: int, mark: str) -> str:
        try:
            return files.read(paths, mark).decode("ascii")
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise damaged("{}/{}".format(PATHS, mark)) from None

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
        """Whether the volume holds nothing, or has no directory yet. What lies at a path that the
        volume never got is not the volume's."""
        if not record.inode and not self.has_taken(record):
            return True
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
        with self._parent(record.path) as parent, self._open_deleting() as aside:
            old = os.path.basename(record.path)
            os.rename(old, record.name, src_dir_fd=parent, dst_dir_fd=aside)

    def remove_aside(self, volume: str) -> None:
        """Removes what this or an earlier call has set aside of the volume. Raises Pending if that
        takes longer than one call may last."""
        with self._open_deleting() as deleting:
            if not files.exists(deleting, volume):
                return
            path = "/proc/self/fd/{}/{}".format(int(deleting), volume)
            words = ["rm", "-rf", "--one-file-system", path]
            try:
                run(words, REMOVE_SECONDS, inherit=[deleting]).check()
            except TimedOut:
                raise Pending(
                    "volume {} is being deleted; its files are many, or the server is slow, so the "
                    "next call goes on".format(volume)
                ) from None

    def set_aside_names(self) -> "List[str]":
        """The names of the volumes of which something is left that was set aside."""
        try:
            with files.open_below(self._marks, DELETING) as deleting:
                return sorted(os.listdir(deleting))
        except FileNotFoundError:
            return []

    def _open_deleting(self) -> Descriptor:
        files.make_directory(self._marks, DELETING)
        return files.open_below(self._marks, DELETING)


def _is_record(name: str) -> bool:
    """Whether the file in VOLUMES is the record of a volume."""
    return name.endswith(RECORD_SUFFIX) and not name.startswith(".")


def parents_of(path: str) -> "List[str]":
    """The paths of the directories that the path leads through, the deepest first."""
    names = path.split("/")
    return ["/".join(names[:count]) for count in range(len(names) - 1, 0, -1)]


def open_pool(name: str, root: int, may_be_new: bool = False) -> Pool:
    """Opens the pool in the export that is open at `root`.

    may_be_new: whether the export may be one that has no volume yet. Raises Unavailable if the
    export has no directory .flexvol, which is never made here: such an export may be the empty
    directory below a disk that the server has not mounted."""
    try:
        return Pool(name, root, files.open_below(root, MARKS))
    except FileNotFoundError:
        pass
    sentence = (
        "pool {}: the export has no directory {}; see that the server has its disk mounted "
        "there".format(name, MARKS)
    )
    if may_be_new:
        sentence += ", or, if the export is a new one for flexvol: mkdir -m 700 EXPORT/" + MARKS
    raise Unavailable(sentence)
