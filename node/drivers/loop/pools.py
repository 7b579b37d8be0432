"""Pools: a name becomes a directory that is provably the right one, with its limits, its locks and
its volumes.

A pool is made by `flexvol pool init` or `flexvol install` (by_hand/pool_setup.py), never by a
callout. Without its pool.json, or with another id in it, every callout answers Unavailable: a disk
that is not mounted must neither read as "already deleted" nor fill the disk below it."""

import os
import stat

from node.drivers.loop import locks, pool_settings, records
from node.host import config, copying, disks, files
from shared.protocol import (
    Busy,
    Failure,
    ResourceExhausted,
    Unavailable,
    is_name,
    shown,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from node.drivers.loop.pool_settings import PoolSettings
    from node.drivers.loop.rooms import Figures
    from node.host.descriptors import Descriptor

DEFAULT = "default"
FILE = pool_settings.FILE
IMAGE = "image"
RECORD = records.FILE
OWN_FILES = (FILE, "." + FILE + ".new", locks.DIRECTORY)
MADE_BY_MKFS = "lost+found"
_MOST_OTHERS = 10  # names of directories in one sentence


class RoomLock(locks.Lock):
    """The held lock of a pool's room, whose file also holds what is remembered of the room."""

    def __init__(self, pool: "Pool", descriptor: "Descriptor") -> None:
        super().__init__(descriptor)
        self._pool = pool
        pool.room_lock = self

    def release(self) -> None:
        self._pool.room_lock = None
        super().release()


class Pool:
    """An open pool.

    directory: its descriptor, through which everything in the pool is reached. settings: what its
    pool.json says. locks: its lock files. replaced_by: the id of the pool that a person made in its
    place with --replace; "" if none. Such a former pool serves the volumes that it has and takes no
    new ones: it may lie on the root disk, below the disk of the pool that is meant. room_lock: the
    lock of its room while this process holds it."""

    def __init__(
        self,
        name: str,
        path: str,
        directory: "Descriptor",
        settings: "PoolSettings",
        replaced_by: str = "",
    ) -> None:
        self.name = name
        self.path = path
        self.directory = directory
        self.settings = settings
        self.replaced_by = replaced_by
        self.locks = locks.LockFiles(name, path, directory)
        self.room_lock: "Optional[RoomLock]" = None

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.directory.close()

    @property
    def id(self) -> str:
        """The id of the pool, by its pool.json."""
        return self.settings.id

    @property
    def cordoned(self) -> bool:
        """Whether a person has closed the pool to new volumes."""
        return self.settings.cordoned

    def lock(self, seconds: float = locks.LOCK_SECONDS) -> RoomLock:
        """Takes the lock under which room is counted and taken. Raises Busy after `seconds`."""
        return RoomLock(self, self.locks.lock_room(seconds))

    def volume_lock(self, volume: str, seconds: float = locks.LOCK_SECONDS) -> locks.VolumeLock:
        """Takes the lock that serialises the callouts of a volume; see locks.py. Raises Busy after
        `seconds`."""
        return self.locks.lock_volume(volume, seconds)

    def look(self, volume: str, seconds: float) -> locks.SharedLocks:
        """Keeps the callouts of a volume away while the volume is looked at; see locks.py. Raises
        Busy after `seconds`."""
        return self.locks.look(volume, seconds)

    def names(self) -> "List[str]":
        """Returns the names of the pool's volumes, sorted. A directory that has lost its image or
        its record is still a volume."""
        return sorted(name for name in self._entries() if self._is_volume(name))

    def hidden(self) -> "List[str]":
        """Returns the names of the directories of volumes that are being made or deleted, that are
        archived, or of which not all has come."""
        entries = self._entries()
        return [name for name in entries if name.startswith(".") and name != locks.DIRECTORY]

    def strange(self) -> "List[str]":
        """Returns the names of the files in the pool that are not flexvol's, sorted. They are
        left alone, and are no damage. Names with a dot are not judged."""
        strange = []
        for name in self._entries():
            is_ours = name.startswith(".") or name in (FILE, MADE_BY_MKFS)
            if not is_ours and not self._is_volume(name):
                strange.append(name)
        return sorted(strange)

    def _entries(self) -> "List[str]":
        """The pool's directory is opened anew each time: btrfs leaves out of an open directory's
        list the volumes that others have made since it was opened or rewound."""
        return os.listdir("/proc/self/fd/{:d}".format(self.directory))

    def _is_volume(self, name: str) -> bool:
        if not is_name(name):
            return False
        try:
            entry = os.stat(name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return False  # deleted at this very moment
        if not stat.S_ISDIR(entry.st_mode):
            return False
        return any(files.exists(self.directory, name + "/" + own) for own in (IMAGE, RECORD))

    def trouble(self) -> str:
        """Returns why no callout can work in the pool although the pool is there, and how a person
        mends that; "" if callouts can. Takes a lock, as each callout does first."""
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
            ).format(self.name, self.path, locks.DIRECTORY, error.strerror)

    def figures(self) -> "Figures":
        """Counts how much the pool has promised, and how much it can still promise; see
        rooms.py."""
        from node.drivers.loop import rooms  # late: few callouts count

        disk = disks.Disk(self.directory)
        reserve_bytes = pool_settings.reserve_bytes(self.settings.reserve, disk.capacity)
        return rooms.figures(self, disk, reserve_bytes, self.settings.overcommit)

    def describe(self) -> "Dict[str, Any]":
        """Returns the pool's entry in the answer of `list`. A cordoned pool has no room for a
        new volume, but its volumes may grow."""
        from node.host import filesystems, mount_table  # late: few callouts list

        figures = self.figures()
        free_bytes = figures.free
        if self.cordoned or self.replaced_by:
            free_bytes = 0
        entry: "Dict[str, Any]" = {
            "name": self.name,
            "id": self.id,
            "capacityBytes": figures.capacity,
            "committedBytes": figures.promised,
            "usedBytes": figures.owned,
            "reserveBytes": figures.reserve,
            "metadataBytes": figures.metadata,
            "othersBytes": figures.others,
            "freeBytes": free_bytes,
            "maximumVolumeBytes": min(free_bytes, figures.largest_image),
            "minimumVolumeBytes": filesystems.minimum_bytes_by_name(),
            "defaultFsType": filesystems.DEFAULT,
            "cordoned": self.cordoned,
            "byName": True,
        }
        if self.replaced_by:
            entry["noRoom"] = self.former()
        elif figures.obstacle:
            entry["noRoom"] = figures.obstacle
        if mount_table.may_be_shared(self.directory):
            entry["mayBeShared"] = True
        strange = self.strange()
        if strange:
            entry["strange"] = strange
        trouble = self.trouble()
        if trouble:
            entry.update(error=trouble, freeBytes=0, maximumVolumeBytes=0)
        return entry

    def former(self) -> str:
        """Returns the sentence about a pool that was replaced by another one."""
        return (
            "pool {} is away: at {} is a former pool of that name (id {}), which serves its "
            "volumes and takes no new ones, and the pool that replaced it has the id {}; mount the "
            "disk of that one there"
        ).format(self.name, self.path, self.id, self.replaced_by)

    def check_open(self) -> None:
        """Raises ResourceExhausted if the pool takes no new volumes, and Unavailable if it was
        removed since it was opened. The caller holds the pool's lock."""
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
        the pool's lock."""
        self.figures().check(self.name, more_bytes, size_bytes)

    def share(self, source: int, target: int, size_bytes: int) -> bool:
        """Lets the open image `target` begin with so many bytes of the open image `source`, on the
        same blocks. Returns False where that cannot be. Raises ResourceExhausted if the pool could
        then no longer keep its promises."""
        from node.drivers.loop import shared_blocks

        with self.lock():
            shared_blocks.forget(self, (source, target))
            if not copying.share(source, target, size_bytes):
                return False
            figures = self.figures()
            if figures.loses_by_sharing:
                figures.check(self.name, 0, 0)
        return True


class _Wanted:
    """The pool that a caller wants to open.

    pool_id: the id that the volume's PV has for the pool, or None. path: its directory. known: the
    node's note of the pool, or None."""

    def __init__(self, name: str, pool_id: "Optional[str]") -> None:
        path, known = config.locate(name, pool_id is not None)
        self.name = name
        self.pool_id = pool_id
        self.path = path
        self.known = known

    def open_directory(self) -> "Descriptor":
        try:
            return files.open_directory(self.path)
        except OSError as error:
            sentence = linked(self.name, self.path)
            if not sentence:
                sentence = self.absent(str(error.strerror))
            raise Unavailable(sentence) from None

    def read_settings(self, directory: int) -> "PoolSettings":
        known_id = self.known.id if self.known else None
        try:
            return pool_settings.read(directory, self.path, known_id)
        except FileNotFoundError:
            raise Unavailable(self.absent("it has no " + FILE)) from None

    def check_id(self, pool_id: str) -> None:
        """Raises Unavailable if a pool with that id is not the wanted pool."""
        if self.pool_id is not None:
            if pool_id != self.pool_id:
                raise Unavailable(
                    "pool {} at {} was replaced: its id is {}, the volume's is {}".format(
                        self.name, self.path, pool_id, shown(self.pool_id)
                    )
                )
            return
        if self.known and not self.known.is_one_of_its_ids(pool_id):
            raise Unavailable(
                "pool {} is away: at {} is a pool with the id {}, and this node's has {}; mount "
                "its own disk there".format(self.name, self.path, pool_id, self.known.id)
            )

    def replaced_by(self, pool_id: str) -> str:
        """The id of the pool that has replaced the pool with that id; "" if none has."""
        if self.known and pool_id != self.known.id:
            return self.known.id
        return ""

    def absent(self, why: str) -> str:
        """The sentence about a pool that cannot be found. A new pool is proposed only where the
        node has no pool at all: a new pool in the place of a pool that is away would hide the
        volumes of that pool, and a mistyped name would become a pool on the root disk."""
        others = _others_known(self.name)
        was_made = bool(self.known or self.pool_id)
        if was_made:
            away = (
                "pool {} is not mounted at {} ({}), so it is away with its volumes; mount its disk "
                "there, and all goes on by itself"
            ).format(self.name, self.path, why)
            if others and self.name not in config.known_names():
                return "{}. This node has noted no pool of that name, but {}".format(away, others)
            return away
        absent = "pool {} is not mounted, or was never made, at {} ({})".format(
            self.name, self.path, why
        )
        if others:
            return (
                "{}; this node has {}: see whether one of these is meant, and if not, mount the "
                "disk of pool {}"
            ).format(absent, others, self.name)
        return "{}; mount its disk, or run: loop pool init {}".format(absent, self.name)


def open_pool(name: str, pool_id: "Optional[str]" = None) -> Pool:
    """Opens the pool `name`.

    pool_id: the id that the pool must have, by the PV of a volume. Raises Unavailable if the pool
    is away, or has another id; without `pool_id`, if it is not the pool that was made on this node
    under that name."""
    wanted = _Wanted(name, pool_id)
    with wanted.open_directory() as directory:
        settings = wanted.read_settings(directory)
        wanted.check_id(settings.id)
        replaced_by = wanted.replaced_by(settings.id)
        return Pool(name, wanted.path, directory.kept_open(), settings, replaced_by)


def linked(name: str, path: str, root: str = "") -> str:
    """Returns the sentence about a symbolic link in the path of a pool, with the command that
    replaces the link by a bind mount; "" if there is no link.

    root: where the node's / is, without a slash at the end."""
    link = files.first_link(root + path)
    if not link:
        return ""
    target = os.path.join(os.path.dirname(link), os.readlink(link))
    link_on_node = link[len(root) :]
    sentence = (
        "pool {0} cannot be used: {1} is a symbolic link to {2}, and no link is followed to a "
        "pool; make it a bind mount: rm {1} && mkdir {1} && mount --bind {2} {1}"
    )
    return sentence.format(name, link_on_node, target)


def _others_known(name: str) -> str:
    """The other pools of this node, in words; "" if the node has no other. No disk is asked, as any
    disk may hang."""
    others = sorted(config.known_names() - {name})
    if others:
        return " and ".join("pool " + other for other in others)
    below = sorted(entry for entry in config.below_root() if is_name(entry) and entry != name)
    if below:
        names = " and ".join(below[:_MOST_OTHERS])
        return "{} in {} (see: loop pool list)".format(names, config.ROOT)
    return ""


def describe_absent(name: str, error: Exception) -> "Dict[str, Any]":
    """Returns the entry, in the answer of `list`, of a pool that cannot be used: why, and which
    pool of this node it is."""
    entry: "Dict[str, Any]" = {"name": name, "error": str(error), "byName": True}
    try:
        known = config.remembered().get(name)
    except Unavailable:
        return entry  # the error is about the same file
    if known:
        entry["id"] = known.id
    return entry
