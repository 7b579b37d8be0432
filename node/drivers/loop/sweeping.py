"""Every hidden name in a pool, and who clears it.

A crash leaves nothing but hidden names, so a pool is swept before a volume is made, deleted or
listed. Beside the directories of HIDDEN a pool has two hidden names of its own: `.locks`, in which
`sweep` removes the lock files of volumes that are gone, and `.pool.json.new`, which the next change
of pool.json replaces."""

import os

from node.drivers.loop import records, removing, volumes
from shared.protocol import Busy, Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Optional, Tuple

    from node.drivers.loop.pools import Pool

    Ages = Dict[str, float]
    Clear = Callable[[Pool, str, Ages], None]

# A copy that a call has left half made is removed after this time. The provisioner repeats the call
# within minutes for as long as the claim is there.
_COPYING_SECONDS = 3600


class HiddenName:
    """What begins with `prefix`.

    clear: called by `sweep` for each directory of that name; None for archives, because only `list`
    clears those, by archives.sweep.
    is_kept: whether such a directory may be kept for a time, which the pool's clock counts."""

    def __init__(self, prefix: str, clear: "Optional[Clear]", is_kept: bool) -> None:
        self.prefix = prefix
        self.clear = clear
        self.is_kept = is_kept


def sweep(pool: "Pool") -> None:
    """Removes what crashes left, and what was kept for a time that is over. Archives are left to
    archives.sweep."""
    ages = kept_seconds(pool)
    for name in pool.hidden():
        for hidden in HIDDEN:
            if hidden.clear is not None and name.startswith(hidden.prefix):
                hidden.clear(pool, name, ages)
    pool.locks.sweep()


def _remove_deleted(pool: "Pool", name: str, _: "Ages") -> None:
    removing.remove(pool, name)


def _remove_unmade(pool: "Pool", name: str, ages: "Ages") -> None:
    """Removes a volume that nobody is making any more."""
    if goes_on(name, ages):
        return
    volume = name[len(volumes.MAKING) :]
    try:
        with pool.volume_lock(volume, seconds=0):
            if not goes_on(name, kept_seconds(pool)):
                removing.remove(pool, name)
    except Busy:
        return  # it is being made right now


def _remove_cut_stream(pool: "Pool", name: str, ages: "Ages") -> None:
    from node.drivers.loop.by_hand import streams  # late: there seldom is one

    streams.sweep(pool, name, ages)


# Every hidden name of a volume's directory:
#   .new-VOLUME            a volume that is being made, which is renamed to VOLUME when complete.
#                          Left by a killed call; kept for an hour between two calls of a copy.
#   .deleted-HEX           a volume whose deletion has begun.
#   .importing-VOLUME      what has come of a stream; kept for a day after the last bytes came. One
#                          without a record was cut before its first byte, and is not kept.
#   .archived-HEX-VOLUME   an archive; kept for as long as its class said, or for ever.
HIDDEN: "Tuple[HiddenName, ...]" = (
    HiddenName(volumes.MAKING, _remove_unmade, is_kept=True),
    HiddenName(volumes.DELETING, _remove_deleted, is_kept=False),
    HiddenName(volumes.IMPORTING, _remove_cut_stream, is_kept=True),
    HiddenName(volumes.ARCHIVED, None, is_kept=True),
)
# What the next sweep removes in any case, unless a call is at work on it.
PASSING = (volumes.MAKING, volumes.DELETING)
_KEPT = tuple(hidden.prefix for hidden in HIDDEN if hidden.is_kept)


def goes_on(name: str, ages: "Ages") -> bool:
    """Whether the hidden directory is a copy that the next call goes on with. A copy that no call
    has gone on with for an hour is not: its claim is gone. ages: as kept_seconds has them."""
    if not name.startswith(volumes.MAKING):
        return False
    return ages.get(name, _COPYING_SECONDS) < _COPYING_SECONDS


def kept_seconds(pool: "Pool", write: bool = True) -> "Ages":
    """For how many seconds, by the pool's clock, each hidden directory that is kept for a time has
    been as it is: archives, half-made copies, and streams that have not come whole.

    write: whether the clock notes what it has seen; see clock.ages."""
    marks = {}
    for name in pool.hidden():
        mark = _mark(pool, name) if name.startswith(_KEPT) else ""
        if mark:
            marks[name] = mark
    if not marks:
        return {}
    from node.drivers.loop import clock  # late: most pools keep nothing for a time

    return clock.ages(pool, marks, write)


def _mark(pool: "Pool", name: str) -> str:
    """A text that changes with each step of a copy or a stream; "" for a directory that is not kept
    for a time. An archive stays as it is, and has a name that no other archive ever had."""
    if name.startswith(volumes.ARCHIVED):
        return name
    is_copy = name.startswith(volumes.MAKING)
    try:
        status = os.stat(name + "/" + records.FILE, dir_fd=pool.directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return ""  # no step was completed, so nothing can go on
    if is_copy and not _is_half_copied(pool, name):
        return ""  # its call was killed after the last step
    return "{} {}".format(status.st_ino, status.st_mtime_ns)


def _is_half_copied(pool: "Pool", name: str) -> bool:
    """Whether the hidden directory is a copy that a later call goes on with."""
    try:
        volume = volumes.find(pool, name)
    except Internal:  # its record is damaged
        return False
    if volume is None:
        return False
    with volume:
        return volume.record.copied_bytes is not None
