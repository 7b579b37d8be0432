"""Open files that close themselves, with the locks that live as long as they are open."""

import fcntl
import os

from node.host import locks
from shared.protocol import Busy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional


class Descriptor(int):
    """An open file, directory or device. A Descriptor is the number that the kernel knows the open
    file by, so every function of os and fcntl takes a Descriptor as it is.

    The end of a `with` closes the file. A lock on the file ends when the last process that has the
    file open closes it; children and loop devices may have it open for longer than we do."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._is_open = True

    def __enter__(self) -> "Descriptor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file, unless that was done before."""
        if self._is_open:
            self._is_open = False
            os.close(self)

    def kept_open(self) -> "Descriptor":
        """The same open file for whoever takes it over: the end of our own `with` leaves it open.

        A function that opens a file, checks the file and returns it does so in a `with`, so that
        the file is closed if a check raises."""
        self._is_open = False
        return Descriptor(self)

    def is_at(self, directory: int, path: str) -> bool:
        """Whether the open file is still the one at `path` in the open directory, and the only name
        of the file is that one. While we waited for a lock another process may have removed or
        replaced the file.

        NFS may remember the name of a file that another node removed; but whoever has just got a
        lock has a fresh count of the file's names."""
        have = os.fstat(self)
        try:
            named = os.stat(path, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        is_same = (have.st_dev, have.st_ino) == (named.st_dev, named.st_ino)
        return is_same and have.st_nlink == 1

    def try_lock(self, shared: bool = False) -> bool:
        """Whether the lock on the file was free and is ours now.

        shared: others may have the lock too, if they share it as well."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False

    def lock(self, what: str, seconds: float, shared: bool = False) -> None:
        """Takes the lock on the file, as `try_lock` does.

        what: what the lock is of, for the message. Raises Busy, with the holder's name, if the lock
        is not free within `seconds`."""
        for _ in locks.attempts(seconds):
            if self.try_lock(shared):
                return
        holder = self.lock_holder()
        if holder is None:
            holder = "another container, or another node that shares the pool, has it"
        raise Busy("{} is locked, {}; gave up after {:g} s".format(what, holder, seconds))

    def lock_holder(self) -> "Optional[str]":
        """Who holds the lock on the file, as a sentence. None if the kernel tells us of nobody: the
        holder is then in another container or on another node."""
        return locks.holder(self)
