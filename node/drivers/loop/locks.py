"""The locks of a pool: one for its room, and one for each volume.

Each is a lock of the kernel (flock) on a file in the pool's directory .locks, so it ends with the
last process that has the file open, however that process ends. The locks hold between all nodes
that share the pool. The pool's clock lies in the same directory; see clock.py."""

import binascii
import errno
import os

from node.host import files, work
from node.host.descriptors import Descriptor
from shared.protocol import Busy, Unavailable, is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Sequence

DIRECTORY = ".locks"
# How long a callout waits for another callout that is at work on the same volume or room. kubelet
# repeats a callout that was Busy, so the waiting saves no more than that repetition.
LOCK_SECONDS = 20
_ROOM_FILE = "pool"
_SUFFIX = ".lock"  # of a volume's lock file; no pool's lock and no older lock ends so
# In an older flexvol a volume's lock was one of this many files, by a hash of its name.
_OLDER_LOCK_FILES = 1024
# Why a disk takes no new file: it is full, a quota is used up, it is mounted read-only.
_NO_FILE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Lock:
    """A held lock. A child process that must not be overtaken inherits `descriptor`."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Gives the lock back."""
        self.descriptor.close()


class SharedLocks:
    """Locks that are held together with whoever shares them too. descriptors: of their files."""

    def __init__(self) -> None:
        self.descriptors: "List[Descriptor]" = []

    def __enter__(self) -> "SharedLocks":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def add(self, descriptor: Descriptor, what: str, seconds: float) -> None:
        """Shares the lock on an open file, which is closed with the others. Raises Busy after
        `seconds`. what: the name of the lock, for the message."""
        self.descriptors.append(descriptor)
        descriptor.lock(what, seconds, shared=True)

    def release(self) -> None:
        """Gives the locks back."""
        for descriptor in self.descriptors:
            descriptor.close()


class VolumeLock(Lock):
    """The held lock of one volume. Its file is removed with the volume: whoever waits for the lock
    then looks at the file's name again, and makes a new file."""

    def __init__(
        self, lock_files: "LockFiles", volume: str, descriptor: Descriptor, older: SharedLocks
    ) -> None:
        super().__init__(descriptor)
        self._lock_files = lock_files
        self._volume = volume
        self._older = older

    def release(self) -> None:
        try:
            self._lock_files.remove_unless_volume(self._volume)
        finally:
            self._older.release()
            super().release()


class LockFiles:
    """The lock files of one pool.

    pool_name, pool_path: of the pool, for messages. pool_directory: the descriptor of its
    directory, which belongs to the caller."""

    def __init__(self, pool_name: str, pool_path: str, pool_directory: int) -> None:
        self._pool_name = pool_name
        self._pool_path = pool_path
        self._pool_directory = pool_directory

    def lock_room(self, seconds: float) -> Descriptor:
        """Takes the lock under which the pool's room is counted and taken, and returns its
        descriptor. Raises Busy after `seconds`."""
        return self._lock(_ROOM_FILE, "pool " + self._pool_name, seconds)

    def lock_volume(self, volume: str, seconds: float) -> VolumeLock:
        """Takes the lock of a volume, also of a volume that is not made yet; no two volumes share a
        lock. Raises Busy after `seconds`; at once if long work on the volume has the lock."""
        if work.going_on(self._pool_directory, volume):
            seconds = 0  # the work may take hours, and nobody waits for that
        older = self._share([_older_name(volume)], os.O_RDWR, volume, seconds)
        try:
            descriptor = self._lock_or_name_work(volume, seconds)
        except BaseException:
            older.release()
            raise
        return VolumeLock(self, volume, descriptor, older)

    def _lock_or_name_work(self, volume: str, seconds: float) -> Descriptor:
        try:
            return self._lock(volume + _SUFFIX, "volume " + volume, seconds)
        except Busy:
            work.check_idle(self._pool_directory, volume)
            raise

    def look(self, volume: str, seconds: float) -> SharedLocks:
        """Waits until no callout is at work on the volume, and keeps callouts away until the locks
        are released. No file is made, and none is opened for writing. Raises Busy after
        `seconds`."""
        names = [_older_name(volume), volume + _SUFFIX]
        return self._share(names, os.O_RDONLY, volume, seconds)

    def lock_out_older(self, volume: str) -> SharedLocks:
        """Keeps an older flexvol away from the volume as long as a process has the lock's
        descriptor open, also if no older one has served this pool so far: a node may go back to it.
        The caller holds the volume's lock. No lock is taken if the disk is full, so that there is
        no room for the lock's file."""
        older = SharedLocks()
        try:
            descriptor = self._open(_older_name(volume), os.O_RDWR | os.O_CREAT)
        except Unavailable:
            return older
        try:
            older.add(descriptor, "volume " + volume, LOCK_SECONDS)
        except BaseException:
            older.release()
            raise
        return older

    def _share(
        self, names: "Sequence[str]", flags: int, volume: str, seconds: float
    ) -> SharedLocks:
        """Shares the locks of those of the files `names` that are there.

        One of these files is an older flexvol's, which may serve this pool too while nodes are
        updated. The older one locks the file of the name's hash for itself alone. This one shares
        that lock, so that two volumes of one hash do not wait for each other. A pool that no older
        flexvol has served has no such file."""
        shared = SharedLocks()
        try:
            for name in names:
                try:
                    descriptor = self._open(name, flags)
                except FileNotFoundError:
                    continue  # nobody has locked this volume since the file was removed
                shared.add(descriptor, "volume " + volume, seconds)
        except BaseException:
            shared.release()
            raise
        return shared

    def _lock(self, name: str, what: str, seconds: float) -> Descriptor:
        """Opens and locks the lock file `name`. While this waited, the lock's volume may have been
        deleted and the file with it; then the file that has the name now is locked."""
        path = DIRECTORY + "/" + name
        while True:
            with self._open(name, os.O_RDWR | os.O_CREAT) as file:
                file.lock(what, seconds)
                if file.is_at(self._pool_directory, path):
                    return file.kept_open()

    def _open(self, name: str, flags: int) -> Descriptor:
        try:
            with self.open_directory(make=bool(flags & os.O_CREAT)) as directory:
                return files.open_file(directory, name, flags)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            raise Unavailable(
                "pool {0} at {1} has no room for a lock file: {2}; see its disk with: df {1}, and "
                "its inodes with: df -i {1}".format(
                    self._pool_name, self._pool_path, error.strerror
                )
            ) from None

    def open_directory(self, make: bool) -> Descriptor:
        """Opens the directory of the lock files, which a copy of a pool may lack.

        make: whether a missing directory is made. Raises FileNotFoundError if it is not."""
        try:
            return files.open_below(self._pool_directory, DIRECTORY)
        except FileNotFoundError:
            if not make:
                raise
        files.make_directory(self._pool_directory, DIRECTORY)
        return files.open_below(self._pool_directory, DIRECTORY)

    def remove_unless_volume(self, volume: str) -> None:
        """Removes the lock file of a volume that is gone. One lock file for each volume name would
        leave files behind for ever. The caller holds that lock."""
        if files.exists(self._pool_directory, volume):
            return
        try:
            os.unlink(DIRECTORY + "/" + volume + _SUFFIX, dir_fd=self._pool_directory)
        except FileNotFoundError:
            return  # somebody has removed the directory of the lock files

    def sweep(self) -> None:
        """Removes the lock files that killed callouts left of volumes that are gone."""
        for volume in self._left():
            try:
                self.lock_volume(volume, seconds=0).release()  # which removes the file
            except Busy:
                continue  # a callout is at work with that name

    def _left(self) -> "List[str]":
        """The names of volumes that have a lock file and no directory."""
        try:
            with self.open_directory(make=False) as directory:
                entries = os.listdir("/proc/self/fd/{:d}".format(directory))
        except FileNotFoundError:
            return []
        left = []
        for entry in entries:
            if not entry.endswith(_SUFFIX):
                continue
            volume = entry[: -len(_SUFFIX)]
            if is_name(volume) and not files.exists(self._pool_directory, volume):
                left.append(volume)
        return left

    def remove(self) -> None:
        """Removes the lock files and their directory, with the pool."""
        with files.open_below(self._pool_directory, DIRECTORY) as directory:
            for entry in os.listdir(directory):
                os.unlink(entry, dir_fd=directory)
        os.rmdir(DIRECTORY, dir_fd=self._pool_directory)


def _older_name(volume: str) -> str:
    """The lock file that an older flexvol has for the volume."""
    return "{:03x}".format(binascii.crc32(volume.encode()) % _OLDER_LOCK_FILES)
