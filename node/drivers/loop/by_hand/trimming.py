"""Trimming: the mounted thin volumes give their free blocks back to the disk of their pool, when a
person or a timer asks for that."""

import errno
import fcntl
import struct
import time

from node.drivers.loop import node_pools, pools, volumes
from node.host import abi, apart, mount_table, mounts
from node.host.descriptors import Descriptor
from shared.protocol import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.volumes import Volume

    Entry = Dict[str, Any]

_FITRIM = abi.ioctl(abi.READ_WRITE, 0x58, 121, 24)
_RANGE = struct.Struct("=QQQ")  # struct fstrim_range: start, length, least extent, all in bytes
# How much of a file system is trimmed at a time. ext4 notes only for whole groups of blocks, of
# 128 MiB, that they are trimmed.
_PIECE_BYTES = 1 << 30
_END_BYTES = (1 << 64) - 1  # the last address there can be
_TRIM_ERRORS = {
    errno.EOPNOTSUPP: "its pool's disk cannot punch holes into files",
    errno.EPERM: (
        "the right CAP_SYS_ADMIN is missing; run it as root of the node, not in a container"
    ),
}
_TRIM_SECONDS = 600  # a large file system on a slow disk has ended by then
_HANGING_VOLUMES = 2  # after so many a pool is left
# How long the blocks of an image are waited for, and how often they are counted meanwhile.
_SETTLE_SECONDS = 10.0
_PAUSE_SECONDS = 0.05
_ALL = "*"  # the name of an entry that is about all volumes of a pool


def trim(pool_name: "Optional[str]") -> "Iterator[Entry]":
    """Gives back the free blocks of the mounted thin volumes, one volume after the other, as
    Operations.trim has it. Each volume is trimmed by a process of its own, and a pool is left after
    two volumes that hang."""
    if pool_name is None:
        looks = node_pools.look(_volumes)
    else:
        looks = {pool_name: node_pools.look_at(pool_name, _volumes)}
    for name, look in looks.items():
        if look.error:
            yield {"name": _ALL, "pool": name, "error": look.error}
        else:
            yield from _trim_pool(name, look.entries)


def _volumes(pool_name: str) -> "Iterator[Entry]":
    """Work for node_pools.look: the entries of the volumes of a pool."""
    try:
        with pools.open_pool(pool_name) as pool:
            for name in pool.names():
                yield {"name": name, "pool": pool_name}
    except (Failure, OSError) as error:
        yield {"name": _ALL, "pool": pool_name, "error": str(error)}


def _trim_pool(pool_name: str, entries: "List[Entry]") -> "Iterator[Entry]":
    hanging = 0
    for entry in entries:
        if "error" in entry:
            yield entry
            continue
        if hanging == _HANGING_VOLUMES:
            yield dict(entry, error="its pool hangs")
            continue
        look = _trim_apart(pool_name, entry["name"])
        if look.error:
            hanging += 1
            hangs = "the trim did not end within {} s; see the disk of the pool, and dmesg".format(
                _TRIM_SECONDS
            )
            yield dict(entry, error=hangs)
        else:
            yield dict(entry, **look.entries[0])


def _trim_apart(pool_name: str, name: str) -> "apart.Look":
    """Trims one volume in a process of its own; the look has an error if that process hangs."""

    def work(pool_name: str) -> "Iterator[Entry]":
        try:
            with pools.open_pool(pool_name) as pool:
                yield _trim(pool, name)
        except (Failure, OSError) as error:
            yield {"error": str(error)}

    return apart.look([pool_name], work, _TRIM_SECONDS, _TRIM_SECONDS)[pool_name]


def _trim(pool: "Pool", name: str) -> "Entry":
    """Trims one volume. Returns an entry with the outcome."""
    try:
        with volumes.get(pool, name) as volume:
            if volume.thick:
                return {"skipped": "thick: it keeps its blocks"}
            before_bytes = volume.used_bytes
            if not _trim_pieces(volume):
                return {"skipped": "not mounted"}
            given_bytes = before_bytes - _settled_bytes(volume)
            return {"givenBytes": max(0, given_bytes)}
    except Failure as failure:
        return {"error": failure.message}
    except OSError as error:
        return {"error": _TRIM_ERRORS.get(error.errno or 0, str(error.strerror))}


def _trim_pieces(volume: "Volume") -> bool:
    """Trims the volume's file system piece by piece, for as long as it is mounted. Returns whether
    it was mounted at all.

    Nothing of it is kept open between two pieces. So a volume whose pods have ended is free after
    one piece at most, however large it is."""
    is_first = True
    for start, length in _pieces(volume.size_bytes):
        root = _open_root(volume)
        if root is None:
            return not is_first
        with root:
            try:
                fcntl.ioctl(root, _FITRIM, _RANGE.pack(start, length, 0))
            except OSError as error:
                if error.errno == errno.EINVAL and not is_first:
                    break  # the file system ends before this piece
                raise
        is_first = False
    return True


def _pieces(size_bytes: int) -> "Iterator[Tuple[int, int]]":
    """Start and length of each piece of a file system of that size. The addresses of btrfs are not
    those of its device, and grow beyond its size; so pieces of twice the length each follow, up to
    the last address there can be."""
    start = 0
    while start < size_bytes:
        yield start, _PIECE_BYTES
        start += _PIECE_BYTES
    while start < _END_BYTES:
        length = min(start, _END_BYTES - start)
        yield start, length
        start += length


def _settled_bytes(volume: "Volume") -> int:
    """How much of the pool's disk the image takes, once that no longer falls: xfs gives the last
    blocks back a little later."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    taken_bytes = volume.used_bytes
    while time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
        before_bytes = taken_bytes
        taken_bytes = volume.used_bytes
        if taken_bytes >= before_bytes:
            break
    return taken_bytes


def _open_root(volume: "Volume") -> "Optional[Descriptor]":
    """Opens the root of the volume's file system, through one of its mounts; None if the volume has
    no mount."""
    with volume.open_image() as image:
        loop = volume.find_loop(image)
    if loop is None:
        return None
    with loop:
        for mount in mount_table.of_device(loop.path, also_kubelets=True):
            try:
                return Descriptor(mounts.open_root(mount.reach))
            except FileNotFoundError:  # unmounted meanwhile
                continue
    return None
