"""Trimming: the mounted thin volumes give their free blocks back to the disk of their pool, when a
person or a timer asks for that."""

import errno
import fcntl
import os
import struct
import time

from node.drivers.loop import node_pools, pools, volumes
from node.host import abi, apart, mounts
from shared.protocol import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, Optional, Tuple

    from node.drivers.loop.pools import Pool

_FITRIM = abi.ioctl(abi.READ_WRITE, 0x58, 121, 24)
_RANGE = struct.Struct("=QQQ")  # struct fstrim_range: start, length, least extent, all in bytes
# How much of a file system is trimmed at a time. ext4 notes only for whole groups of blocks, of
# 128 MiB, that they are trimmed.
_PIECE_BYTES = 1 << 30
_END_BYTES = (1 << 64) - 1
_TRIM_ERRORS = {
    errno.EOPNOTSUPP: "its pool's disk cannot punch holes into files",
    errno.EPERM: (
        "the right CAP_SYS_ADMIN is missing; run it as root of the node, not in a container"
    ),
}
_TRIM_SECONDS = 600  # a large file system on a slow disk has ended by then
_HANGING_VOLUMES = 2
_SETTLE_SECONDS, _LOOK_SECONDS = 10.0, 0.05


def trim(pool_name: "Optional[str]") -> "Iterator[Dict[str, Any]]":
    """Gives back what the mounted thin volumes have free, one after the other; as Driver.trim has
    it. Each volume is trimmed by a process of its own, and a pool is left after two volumes that
    hang."""
    if pool_name is None:
        looks = node_pools.look(_volumes)
    else:
        looks = {pool_name: node_pools.look_at(pool_name, _volumes)}
    for name, look in looks.items():
        if look.error:
            yield {"name": "*", "pool": name, "error": look.error}
            continue
        hanging = 0
        for found in look.entries:
            if "error" in found or hanging == _HANGING_VOLUMES:
                yield {"error": "its pool hangs", **found}
                continue
            entry, hangs = _trim_apart(name, found["name"])
            hanging += hangs
            yield {**found, **entry}


def _trim_apart(pool_name: str, name: str) -> "Tuple[Dict[str, Any], bool]":
    """What came of one volume, and whether it hangs."""

    def work(pool_name: str) -> "Iterator[Dict[str, Any]]":
        try:
            with pools.open_pool(pool_name) as pool:
                yield _trim(pool, name)
        except (Failure, OSError) as error:
            yield {"error": str(error)}

    look = apart.look([pool_name], work, _TRIM_SECONDS, _TRIM_SECONDS)[pool_name]
    if not look.error:
        return look.entries[0], False
    hangs = "it did not end within {} s; see its disk, and dmesg".format(_TRIM_SECONDS)
    return {"error": hangs}, True


def _volumes(pool_name: str) -> "Iterator[Dict[str, Any]]":
    try:
        with pools.open_pool(pool_name) as pool:
            for name in pool.names():
                yield {"name": name, "pool": pool_name}
    except (Failure, OSError) as error:
        yield {"name": "*", "pool": pool_name, "error": str(error)}


def _trim(pool: "Pool", name: str) -> "Dict[str, Any]":
    """What came of one volume."""
    try:
        with volumes.get(pool, name) as found:
            if found.thick:
                return {"skipped": "thick: it keeps its blocks"}
            before = found.used_bytes
            if not _trim_pieces(found):
                return {"skipped": "not mounted"}
            return {"givenBytes": max(0, before - _settled_bytes(found))}
    except Failure as failure:
        return {"error": failure.message}
    except OSError as error:
        return {"error": _TRIM_ERRORS.get(error.errno or 0, str(error.strerror))}


def _trim_pieces(found: "volumes.Volume") -> bool:
    """Trims the volume's file system piece by piece, for as long as it is mounted. Returns whether
    it was mounted at all.

    Nothing of it is kept open between two pieces. So a volume whose pods have ended is free after
    one piece at most, however large it is."""
    for number, (start, length) in enumerate(_pieces(found.size_bytes)):
        root = _open_root(found)
        if root is None:
            return number > 0
        try:
            fcntl.ioctl(root, _FITRIM, _RANGE.pack(start, length, 0))
        except OSError as error:
            if error.errno == errno.EINVAL and number:
                break  # the file system ends before this piece
            raise
        finally:
            os.close(root)
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


def _settled_bytes(found: "volumes.Volume") -> int:
    """What the image takes once that no longer falls: xfs does not wait for the last of what it
    gives back."""
    deadline, last = time.monotonic() + _SETTLE_SECONDS, found.used_bytes
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        before, last = last, found.used_bytes
        if last >= before:
            break
    return last


def _open_root(found: "volumes.Volume") -> "Optional[int]":
    """The root of its file system, through one of its mounts; None if it has none."""
    image = found.open_image()
    try:
        loop = found.find_loop(image)
    finally:
        os.close(image)
    if loop is None:
        return None
    with loop:
        for mount in mounts.of_device(loop.path, also_kubelets=True):
            try:
                return mounts.open_root(mount.reach)
            except FileNotFoundError:  # unmounted meanwhile
                continue
    return None
