"""A pool's accounting: what its disk has, what was promised of it, and what may still be.

The promise: with overcommit 1 every image may be written full at once. An image that has a block
to itself is written in place. A block that two images share is on the disk once and was promised
twice, so that the first of them that writes it needs another block. So

    room = available to us + blocks that are ours alone - reserve - metadata - promised

where "promised" is the sum of the images' lengths, and "ours alone" counts a shared block at most
once, and not at all where the other file may be a stranger's, where the file system frees no
part of an extent before all of it is free (btrfs), or where it does not tell what is shared (NFS),
so that a copy and its source count as shared with all their blocks.

To read which blocks of an image are shared takes some microseconds an extent, and an image may have
100,000 of them. Each image's shared bytes are therefore remembered. Between two copies of it they
can only become fewer, so an old figure errs on the safe side; `forget` drops the figure
before a copy is made."""

import os
import stat
import time

from node.host import disks, files
from shared.protocol import Busy, Failure, ResourceExhausted, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Optional

    from node.drivers.loop.pools import Pool

IMAGE = "image"
_RECORD = "volume.json"
_MIB = 1 << 20
# Full tables of extents of a file that was written at random take 0.8 % on ext4 and xfs (16 bytes
# for each 4 KiB, half-filled leaves).
_METADATA_PER_MILLE = 10
_BTRFS_METADATA_PER_MILLE = 30
# No new look at an image's extents begins in a call that has read so many: a quarter of a second.
_EXTENTS_A_CALL = 50000
# Beyond this an image counts as shared with all its blocks, as reading it would take seconds.
_MOST_EXTENTS = 500000
# A stranger's copy of an image is seen after so long at the latest.
_LOOK_AGAIN_SECONDS = 600
_MEMORY_BYTES = 1 << 20
_GLANCE_SECONDS = 1  # for the lock, by a call that only wants to know


class Figures:
    """A pool's accounting, all in bytes. capacity: of its file system. promised: the lengths of all
    images. owned: the blocks they have that no one else can need. reserve: what stays free, by
    pool.json. metadata: what the file system itself will need when all images are full. others:
    everything else on the disk, also what its file system keeps and what images share. left: what
    may still be promised; below 0 where others took what was promised. free: the same, for whoever
    wants to make a volume now.

        (capacity - reserve - others - metadata) * overcommit = promised + left"""

    def __init__(
        self, disk: "disks.Disk", promised: int, owned: int, reserve: int, overcommit: float
    ) -> None:
        rate = _BTRFS_METADATA_PER_MILLE if disk.kind == disks.BTRFS else _METADATA_PER_MILLE
        self.capacity = disk.capacity
        self.promised = promised
        self.owned = owned
        self.reserve = reserve
        self.metadata = max(0, promised - owned) * rate // 1000
        self.overcommit = overcommit
        self.others = max(0, disk.capacity - disk.available - owned)
        usable = disk.available + owned - reserve - self.metadata
        self.left = int(usable * overcommit) - promised
        self.obstacle = disk.obstacle
        self.largest_image = disk.largest_file // _MIB * _MIB
        self.loses_by_sharing = disk.kind != disks.XFS
        self._is_full = disk.full

    @property
    def free(self) -> int:
        """In whole MiB, as images are."""
        return 0 if self.obstacle else max(0, self.left // _MIB * _MIB)

    def check(self, pool: str, more_bytes: int, size_bytes: int) -> None:
        """As Pool.check_room."""
        refused = "pool {} has no room for {} MiB more: ".format(pool, -(-more_bytes // _MIB))
        if self.obstacle:
            kind = ResourceExhausted if self._is_full else Unavailable
            raise kind(
                "{}nothing can be made on its disk, as {}; loop doctor tells more".format(
                    refused, self.obstacle
                )
            )
        if more_bytes > self.left:
            raise ResourceExhausted(
                "{}{}; free some, grow the disk, or see pool.json".format(refused, self.terms())
            )
        if size_bytes > self.largest_image:
            raise ResourceExhausted(
                "pool {} has no room for a volume of {} MiB: one file ends at {} MiB there, by the "
                "disk's file system or a limit of this process (ulimit -f); use a pool on "
                "xfs".format(pool, size_bytes // _MIB, self.largest_image // _MIB)
            )

    def terms(self) -> str:
        """What may still be promised, and the terms of that sum, in whole MiB that add up."""
        capacity = self.capacity // _MIB
        reserve = -(-self.reserve // _MIB)
        metadata = -(-self.metadata // _MIB)
        promised = -(-self.promised // _MIB)
        usable = (self.capacity - self.reserve - self.metadata - self.others) // _MIB
        # This term takes the rounding of the others, as it is the least exact one.
        others = capacity - reserve - metadata - usable
        room = int(usable * self.overcommit)
        times = ""
        if self.overcommit != 1:
            times = ", times overcommit {:g} = {} MiB".format(self.overcommit, room)
        left = "{} MiB are left".format(room - promised)
        if room < promised:
            left = "{} MiB more than there are".format(promised - room)
        return (
            "{} MiB can still be promised (capacity {} MiB - reserve {} MiB - metadata {} MiB - "
            "used by others {} MiB = {} MiB{}; promised {} MiB, {})"
        ).format(
            max(0, room - promised),
            capacity,
            reserve,
            metadata,
            others,
            usable,
            times,
            promised,
            left,
        )


class _Image:
    """An image as the accounting sees it. family: the name of the volume that it is of, and of the
    one it was copied from; None if it has no record yet."""

    def __init__(self, entry: str, status: "os.stat_result") -> None:
        self.entry = entry
        self.inode = str(status.st_ino)
        self.length = status.st_size
        self.taken = status.st_blocks * 512
        self.shared = 0
        self.family: "Optional[List[str]]" = None


def figures(pool: "Pool", disk: "disks.Disk", reserve: int, overcommit: float) -> Figures:
    """Counts every image, published or not. What other files on the same disk take, and what root
    may not use, is not ours to promise."""
    images = _images(pool)
    promised = sum(image.length for image in images)
    owned = sum(image.taken for image in images)
    if disk.shares and not disk.obstacle:
        _find_shared(pool, images)
        owned -= sum(image.shared for image in images)
        if disk.kind == disks.XFS:
            owned += _shared_once(images)
    return Figures(disk, promised, owned, reserve, overcommit)


def _images(pool: "Pool") -> "List[_Image]":
    images = []
    for entry in pool.names() + pool.hidden():
        try:
            status = os.stat(entry + "/" + IMAGE, dir_fd=pool.directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISREG(status.st_mode):
            images.append(_Image(entry, status))
    return images


def _find_shared(pool: "Pool", images: "List[_Image]") -> None:
    """Fills in each image's `shared` and `family`: what is remembered, or what a look at it says,
    or all its blocks."""
    for image in images:
        image.family = _family(pool, image.entry)
    copied = {name for image in images for name in (image.family or [])[1:]}
    memory = Memory.read(pool)
    now = time.monotonic()
    budget = _EXTENTS_A_CALL
    for image in sorted(images, key=lambda image: memory.looked_at(image.inode)):
        known = memory.shared.get(image.inode)
        is_family = image.family is not None and (
            len(image.family) > 1 or image.family[0] in copied
        )
        if known is None and not is_family and not _may_share(pool, image):
            continue
        is_fresh = known is not None and now - known[1] < _LOOK_AGAIN_SECONDS
        if not is_fresh and budget > 0 and memory.can_learn:
            found, extents = _look(pool, image)
            if found is None and extents == 0 and image.family is not None and not is_family:
                found = 0  # as `_may_share` has it: it may have been copied before, and is not now
            budget -= max(1, extents)
            known = [image.taken if found is None else found, now]
            memory.learn(image.inode, known)
        image.shared = image.taken if known is None else min(image.taken, int(known[0]))
    memory.write({image.inode for image in images})


def _family(pool: "Pool", entry: str) -> "Optional[List[str]]":
    import json

    try:
        directory = files.open_below(pool.directory, entry)
    except OSError:
        return None
    try:
        record = json.loads(files.read(directory, _RECORD).decode("utf-8"))
        names = [str(record["name"])]
        if record.get("source"):
            names.append(str(record["source"]))
        return names
    except (Failure, OSError, ValueError, LookupError, TypeError, RecursionError):
        return None  # what is wrong with the record, the list says
    finally:
        os.close(directory)


def _may_share(pool: "Pool", image: _Image) -> bool:
    """Where the file system does not tell (NFS, FUSE), an image that is neither a copy nor copied
    shares with copies of its copies at most. Each of these has a source in its record, and counts
    as shared with all its blocks, so what is shared is still counted once."""
    file = _open(pool, image)
    if file is None:
        return True
    try:
        answer = disks.may_share(file)
    finally:
        os.close(file)
    return image.family is None if answer is None else answer


def _look(pool: "Pool", image: _Image) -> "Any":
    file = _open(pool, image)
    if file is None:
        return None, 1
    try:
        return disks.shared_bytes(file, _MOST_EXTENTS)
    finally:
        os.close(file)


def _open(pool: "Pool", image: _Image) -> "Optional[int]":
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(image.entry + "/" + IMAGE, flags, dir_fd=pool.directory)
    except OSError:
        return None


def _shared_once(images: "List[_Image]") -> int:
    """Of the blocks that images of one family share, how many are ours at least: those of the image
    that shares the most. An image that shares, and has no family in the pool, shares with a
    stranger's file, whose blocks are not ours to write."""
    sharing = [image for image in images if image.shared]
    unknown = [image for image in sharing if image.family is None]
    families: "Dict[str, str]" = {}

    def root(name: str) -> str:
        while families.setdefault(name, name) != name:
            name = families[name]
        return name

    for image in sharing:
        if image.family is not None:
            families[root(image.family[-1])] = root(image.family[0])
    most: "Dict[str, int]" = {}
    members: "Dict[str, int]" = {}
    for image in sharing:
        if image.family is not None:
            name = root(image.family[0])
            most[name] = max(most.get(name, 0), image.shared)
            members[name] = members.get(name, len(unknown)) + 1
    return sum(shared for name, shared in most.items() if members[name] > 1)


class Memory:
    """What is remembered of the images' shared bytes, in the file of the pool's lock. It holds
    until the next boot, as nothing of it is synced: [bytes, when they were read], by inode.
    number: of the copies made. Nothing is learned while a copy is being made, nor kept if one was
    made meanwhile."""

    def __init__(self, pool: "Pool", content: "Dict[str, Any]", can_learn: bool) -> None:
        self._pool = pool
        self.number: "int" = content.get("number", 0)
        self.shared: "Dict[str, Any]" = content.get("shared", {})
        self.can_learn = can_learn
        self._has_learned = False

    @classmethod
    def read(cls, pool: "Pool") -> "Memory":
        if pool.room_lock is not None:
            return cls(pool, _remembered(pool.room_lock.descriptor), True)
        try:
            with pool.lock(_GLANCE_SECONDS) as lock:
                return cls(pool, _remembered(lock.descriptor), True)
        except Busy:
            return cls(pool, {}, False)

    def looked_at(self, inode: str) -> float:
        known = self.shared.get(inode)
        return float(known[1]) if known else 0.0

    def learn(self, inode: str, known: "List[Any]") -> None:
        self.shared[inode] = known
        self._has_learned = True

    def write(self, inodes: "Any") -> None:
        """Keeps what was learned of these images."""
        if not self._has_learned:
            return
        if self._pool.room_lock is not None:
            self._write(self._pool.room_lock.descriptor, inodes)
            return
        try:
            with self._pool.lock(_GLANCE_SECONDS) as lock:
                self._write(lock.descriptor, inodes)
        except Busy:
            return  # it is learned again by the next call

    def _write(self, lock: int, inodes: "Any") -> None:
        """Nothing is kept if a copy was made since the memory was read."""
        if _remembered(lock).get("number", 0) == self.number:
            known = {inode: self.shared[inode] for inode in self.shared if inode in inodes}
            _remember(lock, {"number": self.number, "shared": known})


def forget(pool: "Pool", images: "Iterable[int]") -> None:
    """Forgets what is known of open images that are to share blocks before the caller gives the
    pool's lock back."""
    assert pool.room_lock is not None
    lock = pool.room_lock.descriptor
    content = _remembered(lock)
    shared = content.setdefault("shared", {})
    for image in images:
        shared.pop(str(os.fstat(image).st_ino), None)
    content["number"] = content.get("number", 0) + 1
    _remember(lock, content)


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _remembered(lock: int) -> "Dict[str, Any]":
    """What is in the lock's file; nothing if that is of another boot, or is none of ours."""
    import json

    try:
        content = json.loads(os.pread(lock, _MEMORY_BYTES, 0).decode("ascii"))
        if content["boot"] != _boot() or not isinstance(content["number"], int):
            return {}
        for known in content["shared"].values():
            if not (int(known[0]) >= 0 and float(known[1]) >= 0):
                return {}
        return dict(content)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _remember(lock: int, content: "Dict[str, Any]") -> None:
    """Cut off first: what a killed write leaves is then no JSON, and nothing is remembered."""
    import json

    text = json.dumps(dict(content, boot=_boot())).encode("ascii")
    os.ftruncate(lock, 0)
    if len(text) < _MEMORY_BYTES:
        try:
            os.pwrite(lock, text, 0)
        except OSError:
            os.ftruncate(lock, 0)  # the disk is full: nothing is remembered
