"""How a volume goes: its directory gets a hidden name first, and then the files of flexvol in it
are removed, and no others."""

import binascii
import errno
import os

from node.drivers.loop import pools, volumes
from node.host import files, undo
from shared.protocol import Internal, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.volumes import Volume

_HIDDEN_BYTES = 8  # of chance in a hidden name, so that no two are alike


def delete(volume: "Volume") -> None:
    """Deletes a volume that nobody uses; raises Busy otherwise. The caller holds its lock."""
    hidden = take_away(volume, volumes.DELETING)
    # The image is closed by now: NFS and FUSE keep an open file under another name.
    remove(volume.pool, hidden)


def take_away(volume: "Volume", prefix: str, suffix: str = "", **changes: "Any") -> str:
    """Gives the directory of a volume that nobody uses a hidden name, on disk when it returns.

    The name is made of the prefix, 16 random digits and the suffix. changes: of the record, as
    Record.changed has them. Returns the name. Raises Busy if the volume is in use, and Internal if
    files that are not flexvol's lie in the directory."""
    chance = binascii.hexlify(os.urandom(_HIDDEN_BYTES)).decode()
    hidden = prefix + chance + suffix
    present = os.listdir(volume.directory)
    _check_nothing_strange(volume)
    if pools.IMAGE not in present and undo.FILE not in present:
        # Both were taken away by hand: there is nothing to lose.
        volume.rename(hidden)
        return hidden
    with volume.open_image() as image:
        volume.lock_image(image)
        if changes:
            volume.save(**changes)
        volume.rename(hidden)
        return hidden


def _check_nothing_strange(volume: "Volume") -> None:
    strange = strange_in(volume.directory)
    if strange:
        raise Internal(
            "volume {0} holds {1}, which is not flexvol's, so nothing of it is "
            "touched; move that out of {2}/{0}, and the volume goes at the next try".format(
                volume.name, shown(strange[0]), volume.pool.path
            )
        )


def strange_in(directory: int) -> "List[str]":
    """The names of the files in a volume's open directory that are not flexvol's, sorted."""
    names = os.listdir("/proc/self/fd/{}".format(directory))
    return sorted(name for name in names if name not in volumes.FILES)


def remove(pool: "Pool", hidden: str) -> None:
    """Removes a hidden directory with the files of flexvol in it, and no others. A directory that
    is gone is fine."""
    try:
        directory = files.open_below(pool.directory, hidden)
    except FileNotFoundError:
        return
    with directory:
        for name in volumes.FILES:
            _ignore_missing(os.unlink, name, directory)
    try:
        _ignore_missing(os.rmdir, hidden, pool.directory)
    except OSError as error:
        # FUSE and NFS keep a file under another name until its last user is gone; the next sweep
        # comes by again.
        if error.errno != errno.ENOTEMPTY:
            raise


def _ignore_missing(remove_name: "Callable[..., None]", name: str, directory: int) -> None:
    try:
        remove_name(name, dir_fd=directory)
    except FileNotFoundError:
        return
