"""Pools: a name becomes a directory that is provably the right one, with its limits, its lock and
its volumes.

A pool is made by `flexvol pool init` or `flexvol install` (by_hand/pool_setup.py), never by a
callout. Without its pool.json, or with another id in it, every callout answers Unavailable: a disk
that is not mounted must neither read as "already deleted" nor fill the disk below it."""

import binascii
import errno
import os
import stat

from node.drivers.loop import records
from node.host import config, copying, disks, files, work
from shared.protocol import (
    Busy,
    Failure,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
    is_name,
    shown,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from node.drivers.loop.rooms import Figures

DEFAULT = "default"
FILE = "pool.json"
IMAGE = "image"
RECORD = records.FILE
_SCHEMA = 1
_LOCKS = ".locks"
OWN_FILES = (FILE, "." + FILE + ".new", _LOCKS)
_MADE_BY_MKFS = "lost+found"
_LOCK_SUFFIX = ".lock"  # a volume's lock file; no pool's lock and no older lock ends so
# In an older flexvol a volume's lock was one of this many files, by a hash of its name.
_OLDER_LOCK_FILES = 1024
_LOCK_SECONDS = 20
# Why a disk takes no new file: it is full, a quota is used up, it is mounted read-only.
_NO_FILE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# The default pool shares the root disk with kubelet, which deletes images from 85 % use on and
# evicts pods when 15 % are left for images (imageGCHighThresholdPercent, imagefs.available). A full
# pool must leave more than that.
DEFAULT_RESERVE = "20%"
DEFAULT_OVERCOMMIT = 1.0


class Lock:
    """A held lock; children that must not be overtaken inherit `descriptor`."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)


class VolumeLock(Lock):
    """A held lock of one volume. Its file is removed with the volume: whoever waits for the lock
    then looks at the file's name again, and makes a new file."""

    def __init__(self, pool: "Pool", volume: str, descriptor: int, older: "Optional[int]") -> None:
        super().__init__(descriptor)
        self._pool = pool
        self._volume = volume
        self._older = older

    def __exit__(self, *exception: object) -> None:
        try:
            if not files.exists(self._pool.directory, self._volume):
                self._pool.remove_lock_file(self._volume)
        finally:
            if self._older is not None:
                os.close(self._older)
            super().__exit__(*exception)


class Look:
    """Keeps the callouts of a volume away while the volume is looked at."""

    def __init__(self) -> None:
        self.descriptors: "List[int]" = []

    def __enter__(self) -> "Look":
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


class RoomLock(Lock):
    """The held lock of a pool's room, whose file also holds what is remembered of the room."""

    def __init__(self, pool: "Pool", descriptor: int) -> None:
        super().__init__(descriptor)
        self._pool = pool
        pool.room_lock = self

    def __exit__(self, *exception: object) -> None:
        self._pool.room_lock = None
        super().__exit__(*exception)


class Pool:
    """An open pool. directory: its descriptor, through which everything in it is reached.
    replaced_by: the id of the pool that a person made in its place with --replace; "" if none. Such
    a former pool serves the volumes that it has and takes no new ones: it may lie on the root
    disk, below the disk of the pool that is meant."""

    def __init__(
        self,
        name: str,
        path: str,
        directory: int,
        settings: "Dict[str, Any]",
        replaced_by: str = "",
    ) -> None:
        self.name = name
        self.path = path
        self.directory = directory
        self.id: "str" = settings["id"]
        self._overcommit = float(settings["overcommit"])
        self._reserve = str(settings["reserve"])
        self.cordoned = settings.get("cordoned") is True
        self.replaced_by = replaced_by
        self.room_lock: "Optional[RoomLock]" = None  # while we hold it

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.directory)

    def lock(self, seconds: float = _LOCK_SECONDS) -> RoomLock:
        """The lock under which room is counted and taken. Raises Busy after `seconds`."""
        return RoomLock(self, self._lock_file("pool", "pool " + self.name, seconds))

    def volume_lock(self, volume: str, seconds: float = _LOCK_SECONDS) -> VolumeLock:
        """The lock that serialises the callouts of a volume, also of one that is not made yet.
        No two volumes share a lock. Raises Busy after `seconds`."""
        what = "volume " + volume
        if work.going_on(self.directory, volume):
            seconds = 0  # that may take hours, and nobody waits for it
        older = self._older_lock(volume, what, seconds)
        try:
            descriptor = self._lock_file(volume + _LOCK_SUFFIX, what, seconds)
        except Busy:
            if older is not None:
                os.close(older)
            work.check_idle(self.directory, volume)
            raise
        except BaseException:
            if older is not None:
                os.close(older)
            raise
        return VolumeLock(self, volume, descriptor, older)

    def look(self, volume: str, seconds: float) -> Look:
        """Waits until no callout is at work on the volume, and keeps others away meanwhile. No
        file is made, and none is opened for writing. Raises Busy after `seconds`."""
        look = Look()
        try:
            for name in (_older_lock_file(volume), volume + _LOCK_SUFFIX):
                try:
                    descriptor = self._open_lock(name, os.O_RDONLY)
                except FileNotFoundError:
                    continue  # nobody has locked this volume since the file was removed
                look.descriptors.append(descriptor)
                files.lock(descriptor, "volume " + volume, seconds, shared=True)
        except BaseException:
            look.__exit__()
            raise
        return look

    def _older_lock(self, volume: str, what: str, seconds: float) -> "Optional[int]":
        """Keeps away an older flexvol, which may serve this pool too while nodes are updated. The
        older one locks the file of the name's hash for itself alone. We share that lock, so that
        two volumes of one hash do not wait for each other. A pool that no older flexvol has
        served has no such file."""
        try:
            descriptor = self._open_lock(_older_lock_file(volume), os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            files.lock(descriptor, what, seconds, shared=True)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def lock_out_older(self, volume: str) -> "Optional[int]":
        """A descriptor that keeps an older flexvol away from the volume as long as a process has it
        open, also if no older one has served this pool so far: a node may go back to it. The
        caller holds the volume's lock. None if the disk is full, so that there is no room for the
        file."""
        try:
            descriptor = self._open_lock(_older_lock_file(volume), os.O_RDWR | os.O_CREAT)
        except Unavailable:
            return None
        try:
            files.lock(descriptor, "volume " + volume, _LOCK_SECONDS, shared=True)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _lock_file(self, name: str, what: str, seconds: float) -> int:
        """The descriptor of the lock file `name`, locked. While we waited, its volume may have
        been deleted and the file with it; then the lock is one of the new file of that name."""
        while True:
            descriptor = self._open_lock(name, os.O_RDWR | os.O_CREAT)
            try:
                files.lock(descriptor, what, seconds)
                if self._is_lock_file(name, descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _is_lock_file(self, name: str, descriptor: int) -> bool:
        """Whether the open file is still the one of that name. NFS may remember the name of a
        file that another node removed; but whoever has just got a lock has a fresh count of the
        file's names."""
        have = os.fstat(descriptor)
        try:
            named = os.stat(_LOCKS + "/" + name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return have.st_nlink == 1 and (have.st_dev, have.st_ino) == (named.st_dev, named.st_ino)

    def _open_lock(self, name: str, flags: int) -> int:
        try:
            directory = self.open_locks(make=bool(flags & os.O_CREAT))
            try:
                return files.open_file(directory, name, flags)
            finally:
                os.close(directory)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            raise Unavailable(
                "pool {0} at {1} has no room for a lock file: {2}; see its disk with: df {1}, and "
                "its inodes with: df -i {1}".format(self.name, self.path, error.strerror)
            ) from None

    def open_locks(self, make: bool) -> int:
        """A descriptor of the directory with the lock files and the pool's clock, which a copy of a
        pool may lack."""
        try:
            return files.open_below(self.directory, _LOCKS)
        except FileNotFoundError:
            if not make:
                raise
        files.make_directory(self.directory, _LOCKS)
        return files.open_below(self.directory, _LOCKS)

    def remove_lock_file(self, volume: str) -> None:
        """Removes the lock file of a volume that is gone. The caller holds that lock."""
        try:
            os.unlink(_LOCKS + "/" + volume + _LOCK_SUFFIX, dir_fd=self.directory)
        except FileNotFoundError:
            return  # somebody has removed the directory of locks

    def sweep_lock_files(self) -> None:
        """Removes the lock files that killed callouts left of volumes that are gone."""
        for volume in self._lock_files_left():
            try:
                lock = self.volume_lock(volume, seconds=0)
            except Busy:
                continue  # a callout is at work with that name
            lock.__exit__()

    def _lock_files_left(self) -> "List[str]":
        """The names of volumes that have a lock file and no directory."""
        try:
            directory = self.open_locks(make=False)
        except FileNotFoundError:
            return []
        try:
            names = os.listdir("/proc/self/fd/{}".format(directory))
        finally:
            os.close(directory)
        volumes = [name[: -len(_LOCK_SUFFIX)] for name in names if name.endswith(_LOCK_SUFFIX)]
        return [
            volume
            for volume in volumes
            if is_name(volume) and not files.exists(self.directory, volume)
        ]

    def names(self) -> "List[str]":
        """The names of its volumes, sorted. A directory that has lost its image or its record is
        still one."""
        return sorted(name for name in self._entries() if is_name(name) and self._is_volume(name))

    def strange(self) -> "List[str]":
        """What lies in the pool, sorted, and is not flexvol's. It is left alone, and is no damage.
        Names with a dot are not judged."""
        return sorted(
            name
            for name in self._entries()
            if not name.startswith(".")
            and name not in (FILE, _MADE_BY_MKFS)
            and not (is_name(name) and self._is_volume(name))
        )

    def _is_volume(self, name: str) -> bool:
        try:
            entry = os.stat(name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return False  # deleted at this very moment
        if not stat.S_ISDIR(entry.st_mode):
            return False
        return any(files.exists(self.directory, name + "/" + own) for own in (IMAGE, RECORD))

    def trouble(self) -> str:
        """Why no callout can work in the pool although the pool is there, and what to do; "" if
        callouts can. Tries what each of them does first, which is to take a lock."""
        if os.fstatvfs(self.directory).f_flag & os.ST_RDONLY:
            return (
                "pool {0} at {1} is on a disk that is read-only, so no volume can be made, mounted "
                "or deleted there; see dmesg for why, then: mount -o remount,rw {1}"
            ).format(self.name, self.path)
        try:
            with self.lock(seconds=0):
                return ""
        except Busy:
            return ""  # somebody is at work
        except Failure as failure:
            return str(failure)
        except OSError as error:
            return (
                "pool {0} at {1}: its lock files cannot be used ({1}/{2}: {3}); move {1}/{2} out "
                "of the pool, and flexvol makes it anew"
            ).format(self.name, self.path, _LOCKS, error.strerror)

    def _entries(self) -> "List[str]":
        """Read by a descriptor of its own each time: btrfs leaves out what came since one was
        opened or rewound, and others make volumes meanwhile."""
        return os.listdir("/proc/self/fd/{}".format(self.directory))

    def hidden(self) -> "List[str]":
        """The directories of volumes being made or deleted."""
        return [name for name in self._entries() if name.startswith(".") and name != _LOCKS]

    def figures(self) -> "Figures":
        """What the pool has promised, and what it still can; see rooms.py."""
        from node.drivers.loop import rooms  # late: few callouts count

        disk = disks.Disk(self.directory)
        reserve = reserve_bytes(self._reserve, disk.capacity)
        return rooms.figures(self, disk, reserve, self._overcommit)

    def describe(self) -> "Dict[str, Any]":
        """What `list` tells of it. In a cordoned pool there is no room for a new volume, but what
        is there may grow."""
        from node.host import filesystems, mounts  # late: few callouts list

        figures = self.figures()
        free = 0 if self.cordoned or self.replaced_by else figures.free
        entry: "Dict[str, Any]" = {
            "name": self.name,
            "id": self.id,
            "capacityBytes": figures.capacity,
            "committedBytes": figures.promised,
            "usedBytes": figures.owned,
            "reserveBytes": figures.reserve,
            "metadataBytes": figures.metadata,
            "othersBytes": figures.others,
            "freeBytes": free,
            "maximumVolumeBytes": min(free, figures.largest_image),
            "minimumVolumeBytes": filesystems.minimum_bytes_by_name(),
            "defaultFsType": filesystems.DEFAULT,
            "cordoned": self.cordoned,
            "byName": True,
        }
        if self.replaced_by:
            entry["noRoom"] = self.former()
        elif figures.obstacle:
            entry["noRoom"] = figures.obstacle
        if mounts.may_be_shared(self.directory):
            entry["mayBeShared"] = True
        strange = self.strange()
        if strange:
            entry["strange"] = strange
        trouble = self.trouble()
        if trouble:
            entry.update(error=trouble, freeBytes=0, maximumVolumeBytes=0)
        return entry

    def remove_locks(self) -> None:
        """Removes the lock files and their directory, with the pool."""
        directory = files.open_below(self.directory, _LOCKS)
        try:
            for name in os.listdir(directory):
                os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)
        os.rmdir(_LOCKS, dir_fd=self.directory)

    def former(self) -> str:
        """The sentence about a pool that was replaced by another one."""
        return (
            "pool {} is away: at {} is a former pool of that name (id {}), which serves its "
            "volumes and takes no new ones, and the pool that replaced it has the id {}; mount the "
            "disk of that one there"
        ).format(self.name, self.path, self.id, self.replaced_by)

    def check_open(self) -> None:
        """Raises ResourceExhausted if it takes no new volumes, and Unavailable if it was removed
        since it was opened. The caller holds the lock."""
        if not files.exists(self.directory, FILE):
            raise Unavailable(
                "pool {} was removed meanwhile; name another one in the class".format(self.name)
            )
        if self.replaced_by:
            raise Unavailable(self.former())
        if self.cordoned:
            raise ResourceExhausted(
                (
                    "pool {0} is cordoned, so it takes no new volumes; undone by: loop pool "
                    "uncordon {0}"
                ).format(self.name)
            )

    def check_room(self, more_bytes: int, size_bytes: int = 0) -> None:
        """Raises ResourceExhausted, with the numbers, if `more_bytes` cannot be promised, or if no
        image there can have `size_bytes`; Unavailable if the disk takes nothing. The caller holds
        the lock."""
        self.figures().check(self.name, more_bytes, size_bytes)

    def share(self, source: int, target: int, size_bytes: int) -> bool:
        """Lets the open image `target` begin with so many bytes of the image `source`, on the same
        blocks; False where that cannot be. Raises ResourceExhausted if the pool could then no
        longer keep what it has promised."""
        from node.drivers.loop import rooms

        with self.lock():
            rooms.forget(self, (source, target))
            if not copying.share(source, target, size_bytes):
                return False
            figures = self.figures()
            if figures.loses_by_sharing:
                figures.check(self.name, 0, 0)
        return True


def _older_lock_file(volume: str) -> str:
    return "{:03x}".format(binascii.crc32(volume.encode()) % _OLDER_LOCK_FILES)


def open_pool(name: str, pool_id: "Optional[str]" = None) -> Pool:
    """Opens the pool `name`. Raises Unavailable if the pool is away, or is not the one with
    `pool_id`; without `pool_id`, if it is not the one that was made here under that name."""
    path, known = config.locate(name, pool_id is not None)
    try:
        directory = files.open_directory(path)
    except OSError as error:
        sentence = linked(name, path)
        if not sentence:
            sentence = _absent(name, path, str(error.strerror), bool(known or pool_id))
        raise Unavailable(sentence) from None
    try:
        settings = _settings(name, path, directory, known, bool(known or pool_id))
        if pool_id is not None and settings["id"] != pool_id:
            raise Unavailable(
                "pool {} at {} was replaced: its id is {}, the volume's is {}".format(
                    name, path, settings["id"], shown(pool_id)
                )
            )
        if pool_id is None and known and not known.is_one_of_its_ids(settings["id"]):
            raise Unavailable(
                "pool {} is away: at {} is a pool with the id {}, and this node's has {}; mount "
                "its own disk there".format(name, path, settings["id"], known.id)
            )
        replaced_by = ""
        if known and settings["id"] != known.id:
            replaced_by = known.id
        return Pool(name, path, directory, settings, replaced_by)
    except BaseException:
        os.close(directory)
        raise


def linked(name: str, path: str, root: str = "") -> str:
    """The sentence about a symbolic link in the path of a pool, with the command that replaces the
    link by a bind mount; "" if there is no link. root: where the node's / is, without a slash at
    the end."""
    link = files.first_link(root + path)
    if not link:
        return ""
    target = os.path.join(os.path.dirname(link), os.readlink(link))
    sentence = (
        "pool {0} cannot be used: {1} is a symbolic link to {2}, and no link is followed to a "
        "pool; make it a bind mount: rm {1} && mkdir {1} && mount --bind {2} {1}"
    )
    return sentence.format(name, link[len(root) :], target)


def _absent(name: str, path: str, why: str, was_made: bool) -> str:
    """The sentence about a pool that cannot be found. A new pool is proposed only where the node
    has none at all: in the place of one that is away it would hide the volumes of that one, and a
    name that is mistyped would become a pool on the root disk."""
    others = _others_known(name)
    if was_made:
        away = (
            "pool {} is not mounted at {} ({}), so it is away with its volumes; mount its disk "
            "there, and all goes on by itself"
        ).format(name, path, why)
        if others and name not in config.known_names():
            return "{}. This node has noted no pool of that name, but {}".format(away, others)
        return away
    absent = "pool {} is not mounted, or was never made, at {} ({})".format(name, path, why)
    if others:
        return (
            "{}; this node has {}: see whether one of these is meant, and if not, mount the disk "
            "of pool {}"
        ).format(absent, others, name)
    return "{}; mount its disk, or run: loop pool init {}".format(absent, name)


def _others_known(name: str) -> str:
    """The other pools of this node, in words; "" if there is none. No disk is asked, as any may
    hang."""
    others = sorted(config.known_names() - {name})
    if others:
        return " and ".join("pool " + other for other in others)
    below = sorted(entry for entry in config.below_root() if is_name(entry) and entry != name)
    if below:
        return "{} in {} (see: loop pool list)".format(" and ".join(below[:10]), config.ROOT)
    return ""


class Damaged(Unavailable):
    """The pool is there, and its pool.json is not as flexvol wrote it. The pool's volumes may be
    whole, so nothing takes the place of this pool."""


def _settings(
    name: str, path: str, directory: int, known: "Optional[config.Remembered]", was_made: bool
) -> "Dict[str, Any]":
    """What pool.json says. known: what the node has noted of the pool."""
    import json

    known_id = known.id if known else None
    try:
        settings = json.loads(files.read(directory, FILE).decode("utf-8"))
    except FileNotFoundError:
        raise Unavailable(_absent(name, path, "it has no " + FILE, was_made)) from None
    except OSError as error:
        raise Damaged(
            "{}/{} cannot be read ({}); see the disk, and dmesg, first. {}".format(
                path, FILE, error.strerror, _written_anew(known_id)
            )
        ) from None
    except (Failure, ValueError, RecursionError) as error:
        raise _damaged(path, "cannot be read: {}".format(error), known_id) from None
    if isinstance(settings, dict) and settings.get("schema") not in (_SCHEMA, None):
        raise Damaged(
            "{}/{} has a schema other than {}; use a newer flexvol".format(path, FILE, _SCHEMA)
        )
    if not isinstance(settings, dict) or settings.get("schema") is None:
        raise _damaged(path, "is not what flexvol wrote", known_id)
    check_limits(settings.get("reserve"), settings.get("overcommit"))
    if not isinstance(settings.get("id"), str):
        raise _damaged(path, "has no id", known_id)
    return settings


def _damaged(path: str, why: str, known_id: "Optional[str]") -> Damaged:
    return Damaged("{}/{} {}; {}".format(path, FILE, why, _written_anew(known_id)))


def _written_anew(known_id: "Optional[str]") -> str:
    """How a person puts a pool.json right."""
    identity, where = "ID", " with the poolId that the PVs of its volumes have"
    if known_id:
        identity, where = shown(known_id).strip("'"), ""
    return (
        "the pool's volumes are left as they are: put the file back from a backup, or, if the "
        'disk is the right one, write the file anew{}: {{"schema": {}, "id": "{}", '
        '"reserve": "{}", "overcommit": {}}}'
    ).format(where, _SCHEMA, identity, DEFAULT_RESERVE, DEFAULT_OVERCOMMIT)


def check_limits(reserve: "Any", overcommit: "Any") -> None:
    """Raises InvalidArgument unless `reserve` is bytes or per cent and `overcommit` a factor of 0.1
    to 100."""
    reserve_bytes(reserve, 0)
    if (
        isinstance(overcommit, bool)
        or not isinstance(overcommit, (int, float))
        or not 0.1 <= overcommit <= 100
    ):
        raise InvalidArgument("overcommit is {!r}; it is a factor of 0.1 to 100".format(overcommit))


def reserve_bytes(reserve: "Any", capacity: int) -> int:
    """ "20%" of `capacity`, or a number of bytes."""
    text = str(reserve)
    number = text[:-1] if text.endswith("%") else text
    if not number.isdecimal() or (text.endswith("%") and int(number) > 100):
        raise InvalidArgument(
            'reserve is {}; it is a number of bytes or per cent, like "20%"'.format(shown(text))
        )
    return capacity * int(number) // 100 if text.endswith("%") else int(number)


def describe_absent(name: str, error: Exception) -> "Dict[str, Any]":
    """What `list` tells of a pool that cannot be used: why, and which pool of this node it is."""
    entry: "Dict[str, Any]" = {"name": name, "error": str(error), "byName": True}
    try:
        known = config.remembered().get(name)
    except Unavailable:
        return entry  # the error is about the same file
    if known:
        entry["id"] = known.id
    return entry
