"""The findings of `doctor` about a pool: whether callouts can work there, its room, the rests of
crashes, and files that are not flexvol's."""

import os

from node.drivers.loop import removing, sweeping, volumes
from node.drivers.loop.by_hand import findings
from node.host import config, files
from shared.protocol import Busy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List

    from node.drivers.loop.by_hand.findings import Finding
    from node.drivers.loop.pools import Pool

_MIB = 1 << 20
# A pool with less room than this is full: no volume is smaller.
_FULL_BYTES = 16 * _MIB
# What the next sweep removes, unless a call is at work on it: also what a stream left that was cut
# before its first byte.
_LEFT = (*sweeping.PASSING, volumes.IMPORTING)
# Under such a name NFS and FUSE keep a deleted file until its last user is gone.
_HELD_BY_THE_DISK = (".nfs", ".fuse_hidden")


def examine(pool: "Pool") -> "Iterator[Finding]":
    """Returns all findings about the pool but those about its volumes."""
    trouble = pool.trouble()
    if trouble:
        yield findings.from_sentence(trouble)
    if pool.replaced_by:
        yield findings.from_sentence(pool.former())
    if pool.cordoned:
        yield findings.remark(
            "pool {0} is cordoned: no new volumes until: loop pool uncordon {0}".format(pool.name)
        )
    yield _room(pool, trouble)
    for hidden in pool.hidden():
        yield from _hidden(pool, hidden)
    for path in _strange(pool):
        yield findings.remark(_is_strange(pool, path))
    if pool.name not in config.remembered():
        yield findings.remark(
            "pool {0} is not noted in {1}, so it would not be missed while its disk is away; "
            "noted by: loop pool init {0}".format(pool.name, config.POOLS)
        )


def _room(pool: "Pool", trouble: str) -> "Finding":
    """How much can still be promised and written. trouble: as Pool.trouble has it."""
    figures = pool.figures()
    disk = os.fstatvfs(pool.directory)
    left_bytes = disk.f_bavail * disk.f_frsize
    if figures.obstacle and not trouble:
        return findings.wrong(
            "pool {} at {}: nothing can be made on its disk, as {}".format(
                pool.name, pool.path, figures.obstacle
            ),
            "see dmesg and df -i {0}; mount it writable again, or free some".format(pool.path),
        )
    numbers = (
        "pool {} at {}: {} MiB can still be promised, {} MiB are free on its disk of {} MiB"
    ).format(
        pool.name,
        pool.path,
        figures.free // _MIB,
        left_bytes // _MIB,
        figures.capacity // _MIB,
    )
    if left_bytes < _FULL_BYTES:
        return findings.wrong(
            numbers, "free some space at once: writes to thin volumes fail when it is used up"
        )
    if figures.free < _FULL_BYTES and not trouble:
        return findings.wrong(
            numbers, "grow the disk, lower the reserve in pool.json, or delete unneeded claims"
        )
    return findings.remark(numbers)


def _hidden(pool: "Pool", hidden: str) -> "Iterator[Finding]":
    """About a directory that is no volume yet, or no volume any more."""
    path = "{}/{}".format(pool.path, hidden)
    if hidden.startswith(volumes.IMPORTING) and _is_kept(pool, hidden):
        name = hidden[len(volumes.IMPORTING) :]
        yield findings.remark(
            "{} is the part of the stream of volume {} that has come; an import may go on with it, "
            "and it is removed when nothing more has come for a day".format(path, name)
        )
    elif hidden.startswith(_LEFT) and _is_left(pool, hidden):
        yield _left(pool, hidden)
    elif _is_half_copied(pool, hidden):
        yield findings.remark(
            "{} is a copy that is half done; the next call for its claim goes on with it, if "
            "its source is as it was, and else begins anew".format(path)
        )


def _is_kept(pool: "Pool", hidden: str) -> bool:
    """Whether the hidden directory is kept for a time."""
    return hidden in sweeping.kept_seconds(pool, write=False)


def _is_half_copied(pool: "Pool", hidden: str) -> bool:
    return sweeping.goes_on(hidden, sweeping.kept_seconds(pool, write=False))


def _is_left(pool: "Pool", hidden: str) -> bool:
    """Whether no one is at work on the hidden directory. A volume being made is locked by its name,
    except a copy between two calls."""
    if _is_half_copied(pool, hidden):
        return False
    volume = hidden.partition("-")[2]
    try:
        with pool.look(volume, seconds=0):
            return True
    except Busy:
        return False


def _left(pool: "Pool", hidden: str) -> "Finding":
    """About a directory that a killed callout left, which the next `list` removes, unless a file in
    the directory is not flexvol's."""
    for entry in _strange_in(pool, hidden):
        if not entry.startswith(_HELD_BY_THE_DISK):
            sentence = _is_strange(pool, hidden + "/" + entry)
            return findings.remark(
                "{}; the rest of that directory then goes by itself".format(sentence)
            )
    return findings.wrong(
        "{}/{} was left by a callout that was killed".format(pool.path, hidden), "loop list"
    )


def _is_strange(pool: "Pool", path: str) -> str:
    return (
        "{0}/{1} is not flexvol's and is left alone; no volume misses it if you move it out of "
        "the pool"
    ).format(pool.path, path)


def _strange(pool: "Pool") -> "Iterator[str]":
    """The paths, in the pool, of files that are not flexvol's."""
    yield from pool.strange()
    for name in pool.names():
        for entry in _strange_in(pool, name):
            yield name + "/" + entry


def _strange_in(pool: "Pool", name: str) -> "List[str]":
    """The names of files in the directory of a volume that are not flexvol's."""
    try:
        directory = files.open_below(pool.directory, name)
    except OSError:
        return []  # deleted at this very moment, or no directory, about which there is a finding
    with directory:
        return removing.strange_in(directory)
