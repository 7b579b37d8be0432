"""Which blocks of a pool's images another file has too, so that they are not the image's alone.

A shared block counts at most once as ours. It does not count at all where the other file may be a
stranger's, where the file system frees no part of an extent before all of it is free (btrfs), or
where it does not tell what is shared (NFS), so that a copy and its source count as shared with all
their blocks.

To read which blocks of an image are shared takes some microseconds an extent, and an image may have
100,000 of them. Each image's shared bytes are therefore remembered. Between two copies of it they
can only become fewer, so an old figure errs on the safe side; `forget` drops the figure before a
copy is made."""

import os
import time

from node.drivers.loop import records
from node.host import disks, files
from node.host.descriptors import Descriptor
from shared.protocol import Busy, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Optional, Set, Tuple

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.rooms import CountedImage

# No new look at an image's extents begins in a call that has read so many: a quarter of a second.
_EXTENTS_A_CALL = 50000
# Beyond this an image counts as shared with all its blocks, as reading it would take seconds.
_MOST_EXTENTS = 500000
# A stranger's copy of an image is seen after so long at the latest.
_LOOK_AGAIN_SECONDS = 600
# The longest memory that is kept, of some 20,000 images.
_MEMORY_BYTES = 1 << 20
_GLANCE_SECONDS = 1  # for the lock, by a call that only wants to know
_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Family:
    """How an image is related to others. name: of the image's volume. source: the name of the
    volume that this one was copied from; "" if it is no copy."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source


class SharingImage:
    """How much an image shares. family: of the image; None if its record cannot be read.
    shared_bytes: of the image, in blocks that another file may have too."""

    def __init__(self, family: "Optional[Family]", shared_bytes: int) -> None:
        self.family = family
        self.shared_bytes = shared_bytes


def find(pool: "Pool", images: "List[CountedImage]") -> "List[SharingImage]":
    """Returns how much each image shares. That is remembered, or read from the image's extents, or
    taken for all the image's blocks. The images whose last look is the longest ago are looked at
    first."""
    families = {image.entry: _family(pool, image.entry) for image in images}
    memory = Memory.read(pool)
    search = _Search(pool, families, memory)
    sharing = []
    for image in sorted(images, key=lambda image: memory.read_at(image.inode)):
        shared_bytes = search.shared_bytes(image)
        sharing.append(SharingImage(families[image.entry], shared_bytes))
    memory.write({image.inode for image in images})
    return sharing


class _Search:
    """One search for shared blocks, which reads a limited number of extents."""

    def __init__(
        self, pool: "Pool", families: "Dict[str, Optional[Family]]", memory: "Memory"
    ) -> None:
        self._pool = pool
        self._families = families
        self._memory = memory
        self._sources = _sources(families)
        self._now = time.monotonic()
        self._budget = _EXTENTS_A_CALL

    def shared_bytes(self, image: "CountedImage") -> int:
        known = self._memory.known(image.inode)
        family = self._families[image.entry]
        is_related = self._is_related(family)
        if known is None and not is_related and not _may_share(self._pool, image, family):
            return 0
        is_fresh = known is not None and self._now - known.read_at < _LOOK_AGAIN_SECONDS
        if not is_fresh and self._budget > 0 and self._memory.can_learn:
            has_record = family is not None
            known = self._look(image, is_alone=has_record and not is_related)
            self._memory.learn(image.inode, known)
        if known is None:
            return image.taken
        return min(image.taken, known.shared_bytes)

    def _is_related(self, family: "Optional[Family]") -> bool:
        """Whether an image is a copy of another one, or was copied."""
        if family is None:
            return False
        return bool(family.source) or family.name in self._sources

    def _look(self, image: "CountedImage", is_alone: bool) -> "Known":
        """Reads the image's extents. is_alone: the image has a record and no relatives."""
        shared_bytes, extents = _read_shared(self._pool, image)
        self._budget -= max(1, extents)
        if shared_bytes is not None:
            return Known(shared_bytes, self._now)
        if extents == 0 and is_alone:
            # As `_may_share` has it: the image may have been copied before, and is not now.
            return Known(0, self._now)
        return Known(image.taken, self._now)


def _sources(families: "Dict[str, Optional[Family]]") -> "Set[str]":
    """The names of the volumes that others were copied from."""
    return {family.source for family in families.values() if family and family.source}


def _family(pool: "Pool", entry: str) -> "Optional[Family]":
    """The family of the image in the directory `entry`; None if its record cannot be read, about
    which `list` has a sentence."""
    import json

    try:
        with files.open_below(pool.directory, entry) as directory:
            record = json.loads(files.read(directory, records.FILE).decode("utf-8"))
        return Family(str(record["name"]), str(record.get("source") or ""))
    except (Failure, OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _may_share(pool: "Pool", image: "CountedImage", family: "Optional[Family]") -> bool:
    """Where the file system does not tell (NFS, FUSE), an image that is neither a copy nor copied
    shares with copies of its copies at most. Each of these has a source in its record, and counts
    as shared with all its blocks, so what is shared is still counted once."""
    file = _open(pool, image)
    if file is None:
        return True
    with file:
        answer = disks.may_share(file)
    if answer is None:
        return family is None
    return answer


def _read_shared(pool: "Pool", image: "CountedImage") -> "Tuple[Optional[int], int]":
    """As disks.shared_bytes. Nothing is known of an image that cannot be opened."""
    file = _open(pool, image)
    if file is None:
        return None, 1
    with file:
        return disks.shared_bytes(file, _MOST_EXTENTS)


def _open(pool: "Pool", image: "CountedImage") -> "Optional[Descriptor]":
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return Descriptor(os.open(image.path, flags, dir_fd=pool.directory))
    except OSError:
        return None


def bytes_counted_once(images: "List[SharingImage]") -> int:
    """Returns how many of the bytes that images of one family share are ours at least: those of the
    image that shares the most. An image that shares, and has no relative in the pool, shares with a
    stranger's file, whose blocks are not ours to write."""
    relations = _Relations()
    strangers = 0
    related = []
    for image in images:
        if not image.shared_bytes:
            continue
        if image.family is None:
            strangers += 1
            continue
        relations.join(image.family)
        related.append((image.family, image.shared_bytes))
    most: "Dict[str, int]" = {}
    members: "Dict[str, int]" = {}
    for family, shared_bytes in related:
        group = relations.group_of(family.name)
        most[group] = max(most.get(group, 0), shared_bytes)
        # Each stranger may be a copy of this image.
        members[group] = members.get(group, strangers) + 1
    return sum(shared for group, shared in most.items() if members[group] > 1)


class _Relations:
    """Which volumes are copies of each other, over any number of steps. Each volume leads to
    another one of its group, or stands for the group."""

    def __init__(self) -> None:
        self._next: "Dict[str, str]" = {}

    def group_of(self, name: str) -> str:
        """The volume that stands for the group of the volume `name`."""
        while self._next.setdefault(name, name) != name:
            name = self._next[name]
        return name

    def join(self, family: Family) -> None:
        """Notes that the volume and its source are of one group."""
        group = self.group_of(family.name)
        if family.source:
            self._next[self.group_of(family.source)] = group


class Known:
    """shared_bytes: of an image, when they were read. read_at: then, by the monotonic clock."""

    def __init__(self, shared_bytes: int, read_at: float) -> None:
        self.shared_bytes = shared_bytes
        self.read_at = read_at


class _Content:
    """The content of the memory's file. number: of the copies made so far. shared: the knowledge of
    each image, by the number of its inode."""

    def __init__(self, number: int, shared: "Dict[str, Known]") -> None:
        self.number = number
        self.shared = shared


class Memory:
    """The memory of the images' shared bytes, in the file of the lock of the pool's room. It holds
    until the next boot, as nothing of it is synced. Nothing is learned while a copy is being made,
    nor kept if a copy was made meanwhile.

    can_learn: whether no copy is being made."""

    def __init__(self, pool: "Pool", content: _Content, can_learn: bool) -> None:
        self.can_learn = can_learn
        self._pool = pool
        self._number = content.number
        self._shared = content.shared
        self._has_learned = False

    @classmethod
    def read(cls, pool: "Pool") -> "Memory":
        """Reads the memory of the pool, under the lock of its room."""
        if pool.room_lock is not None:
            return cls(pool, _remembered(pool.room_lock.descriptor), True)
        try:
            with pool.lock(_GLANCE_SECONDS) as lock:
                return cls(pool, _remembered(lock.descriptor), True)
        except Busy:
            return cls(pool, _Content(0, {}), False)

    def known(self, inode: str) -> "Optional[Known]":
        """Returns what is known of the image with that inode."""
        return self._shared.get(inode)

    def read_at(self, inode: str) -> float:
        """Returns when the image was last looked at; 0 if never."""
        known = self._shared.get(inode)
        return known.read_at if known else 0.0

    def learn(self, inode: str, known: Known) -> None:
        """Remembers the shared bytes of an image, until `write`."""
        self._shared[inode] = known
        self._has_learned = True

    def write(self, inodes: "Set[str]") -> None:
        """Writes the memory of these images to the file, and forgets all others."""
        if not self._has_learned:
            return
        if self._pool.room_lock is not None:
            self._write(self._pool.room_lock.descriptor, inodes)
            return
        try:
            with self._pool.lock(_GLANCE_SECONDS) as lock:
                self._write(lock.descriptor, inodes)
        except Busy:
            return  # the next call learns it again

    def _write(self, lock: int, inodes: "Set[str]") -> None:
        """Nothing is kept if a copy was made since the memory was read."""
        if _remembered(lock).number != self._number:
            return
        shared = {inode: known for inode, known in self._shared.items() if inode in inodes}
        _remember(lock, _Content(self._number, shared))


def forget(pool: "Pool", images: "Iterable[int]") -> None:
    """Forgets what is known of open images that are to share blocks before the caller gives the
    lock of the pool's room back."""
    assert pool.room_lock is not None
    lock = pool.room_lock.descriptor
    content = _remembered(lock)
    for image in images:
        content.shared.pop(str(os.fstat(image).st_ino), None)
    _remember(lock, _Content(content.number + 1, content.shared))


def _boot() -> str:
    with open(_BOOT_ID) as file:
        return file.read().strip()


def _remembered(lock: int) -> _Content:
    """The content of the lock's file; an empty memory if the file is of another boot, or was not
    written by flexvol.

    {"boot": ID, "number": N, "shared": {INODE: [BYTES, WHEN]}}, where WHEN is by the monotonic
    clock."""
    import json

    nothing = _Content(0, {})
    try:
        content = json.loads(os.pread(lock, _MEMORY_BYTES, 0).decode("ascii"))
        number = content["number"]
        if content["boot"] != _boot() or not isinstance(number, int):
            return nothing
        shared = {}
        for inode, entry in content["shared"].items():
            known = Known(int(entry[0]), float(entry[1]))
            if not (known.shared_bytes >= 0 and known.read_at >= 0):
                return nothing
            shared[inode] = known
        return _Content(number, shared)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return nothing


def _remember(lock: int, content: _Content) -> None:
    """Empties the file first: the rest of a killed write is then no JSON, and nothing is
    remembered."""
    import json

    shared = {inode: [known.shared_bytes, known.read_at] for inode, known in content.shared.items()}
    text = json.dumps({"boot": _boot(), "number": content.number, "shared": shared})
    os.ftruncate(lock, 0)
    if len(text) >= _MEMORY_BYTES:
        return
    try:
        os.pwrite(lock, text.encode("ascii"), 0)
    except OSError:
        os.ftruncate(lock, 0)  # the disk is full: nothing is remembered
