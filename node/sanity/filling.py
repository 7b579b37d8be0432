"""Fills a volume, to see a limit that the size of its file system does not show: a quota."""

import errno
import os

from node.sanity.check import NotAsked

_CHUNK_BYTES = 1 << 20
# So often a server or a disk is asked whether it has taken what was written.
_CHUNKS_OF_A_SYNC = 8
_FULL = (errno.EDQUOT, errno.ENOSPC)


class Filling:
    """A file that fills a volume. taken_bytes: how much of the file the volume has taken.

    path: of the file"""

    def __init__(self, path: str) -> None:
        self.taken_bytes = 0
        self._path = path

    def reaches(self, wanted_bytes: int) -> bool:
        """Makes the file so long, a multiple of 1 MiB, and returns whether the volume takes it.

        :raises NotAsked: if that does not tell of a limit: the volume takes no files, or the disk
        below it has no room for the file"""
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise NotAsked("the volume takes no files: {}".format(error.strerror)) from None
        try:
            # Only as much as is there, if the driver has lost data meanwhile.
            self.taken_bytes = min(self.taken_bytes, os.fstat(descriptor).st_size)
            _expect_room(descriptor, wanted_bytes - self.taken_bytes)
            self._write(descriptor, wanted_bytes)
        except OSError as error:
            if error.errno not in _FULL:
                raise NotAsked("the volume cannot be filled: {}".format(error.strerror)) from None
            _expect_room(descriptor, wanted_bytes - self.taken_bytes)
        finally:
            os.close(descriptor)
        return self.taken_bytes >= wanted_bytes

    def _write(self, descriptor: int, wanted_bytes: int) -> None:
        while self.taken_bytes < wanted_bytes:
            end = min(self.taken_bytes + _CHUNKS_OF_A_SYNC * _CHUNK_BYTES, wanted_bytes)
            for offset in range(self.taken_bytes, end, _CHUNK_BYTES):
                # Random bytes, as a file system may make others smaller.
                _write_all(descriptor, os.urandom(_CHUNK_BYTES), offset)
            os.fsync(descriptor)
            self.taken_bytes = end


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    while content:
        written = os.pwrite(descriptor, content, offset)
        content = content[written:]
        offset += written


def _expect_room(descriptor: int, wanted_bytes: int) -> None:
    disk = os.fstatvfs(descriptor)
    if disk.f_bavail * disk.f_frsize < wanted_bytes:
        raise NotAsked(
            "the disk has no room for {} more bytes, which a volume without a limit would "
            "take".format(wanted_bytes)
        )
