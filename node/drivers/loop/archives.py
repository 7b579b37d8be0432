"""Archives: what is kept of deleted volumes whose class says `onDelete: archive`, for as long as it
says.

An archive is the volume's directory under a new hidden name, .archived-HEX-VOLUME, so that no pod
reaches it, and the pool counts it as before. Whoever renames an archive holds its image's lock, as
with any volume. The name of an archive, as people use it, is that of the directory without the
dot."""

import os
import time

from node.drivers.loop import pools, records, removing, sweeping, volumes
from node.host import files
from shared.protocol import Failure, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.records import Archiving
    from node.drivers.loop.volumes import Volume

PREFIX = volumes.ARCHIVED
_HEX_CHARACTERS = 16  # of the random number that removing.take_away puts behind the prefix
_VOLUME_AT = len(PREFIX) + _HEX_CHARACTERS + len("-")


def describe_class(volume: "Volume") -> "Dict[str, Any]":
    """Returns what `list` tells of a volume that its class says to archive, and for how long (0:
    for ever)."""
    archiving = volume.record.archive
    if archiving is None:
        return {"onDelete": "delete"}
    return {"onDelete": "archive", "archiveSeconds": archiving.seconds}


def is_archived_when_deleted(volume: "Volume") -> bool:
    """Whether a deletion keeps the volume as an archive. Not archived: a volume that was never
    mounted and is no copy (it is empty), a volume without an image, the old copy of a volume that
    was moved (its data is on the other node), and an archive."""
    record = volume.record
    if record.archive is None or record.blank:
        return False
    if volume.moving_to or is_archive(volume):
        return False
    return files.exists(volume.directory, pools.IMAGE)


def make(volume: "Volume") -> str:
    """Makes an archive of a volume that nobody uses, and returns its name. The caller holds the
    volume's lock. Raises Busy if the volume is in use."""
    image = os.stat(pools.IMAGE, dir_fd=volume.directory, follow_symlinks=False)
    # A clock that is behind must not end the archive's time early.
    since = int(max(time.time(), image.st_mtime))
    archive = _archiving_since(volume, since)
    hidden = removing.take_away(volume, PREFIX, "-" + volume.name, archive=archive)
    sweeping.kept_seconds(volume.pool)  # its time begins now, and not when `list` sees it
    return _name(hidden)


def is_archive(volume: "Volume") -> bool:
    """Whether the open volume is an archive."""
    return volume.name.startswith(PREFIX)


def hidden_names(pool: "Pool") -> "List[str]":
    """Returns the names of the directories of the pool's archives, sorted."""
    return sorted(name for name in pool.hidden() if name.startswith(PREFIX))


def names(pool: "Pool") -> "List[str]":
    """Returns the names of the pool's archives, sorted."""
    return [_name(hidden) for hidden in hidden_names(pool)]


def _name(hidden: str) -> str:
    return hidden[1:]


def find(pool: "Pool", name: str) -> "Optional[Volume]":
    """Opens the archive of that name, which `make` gave it; None if there is none."""
    hidden = "." + name
    if not hidden.startswith(PREFIX):
        return None
    return volumes.find(pool, hidden)


def is_in(pool: "Pool", name: str) -> bool:
    """Whether the pool has a volume of that name, an archive of that name, or an archive of the
    volume of that name."""
    return name in pool.names() or bool(_meant(pool, name))


def get_volume_or_archive(pool: "Pool", name: str) -> "Volume":
    """Opens the volume of that name; if there is none, the archive of that name, or the only
    archive of the volume of that name. Raises NotFound if there is none, and InvalidArgument if
    there are several."""
    volume = volumes.find(pool, name)
    if volume is not None:
        return volume
    meant = _meant(pool, name)
    if len(meant) > 1:
        names_of_all = ", ".join(_name(hidden) for hidden in meant)
        raise InvalidArgument(
            "volume {} has several archives; name one: {}".format(name, names_of_all)
        )
    return volumes.get(pool, meant[0] if meant else name)


def _meant(pool: "Pool", name: str) -> "List[str]":
    """The directories of the archives of that name, and of the volume of that name."""
    meant = []
    for hidden in hidden_names(pool):
        volume = hidden[_VOLUME_AT:]
        if name in (_name(hidden), volume):
            meant.append(hidden)
    return meant


def restore(archive: "Volume", **changes: "Any") -> str:
    """Makes the archive a volume again, and returns the name of that. changes: of its record.
    Raises InvalidArgument if there is a volume of that name."""
    name = archive.record.name
    with archive.open_image() as image:
        archive.lock_image(image)
        volumes.check_free(archive.pool, name)
        archive.save(archive=_archiving_since(archive, 0), **changes)
        archive.rename(name)
    return name


def sweep(pool: "Pool") -> None:
    """Removes the archives whose time is over by the pool's clock. An archive that is brought back,
    looked at or damaged stays."""
    ages = sweeping.kept_seconds(pool)
    for hidden in hidden_names(pool):
        try:
            with volumes.get(pool, hidden) as archive:
                seconds = _archiving(archive).seconds
                if seconds and ages.get(hidden, 0) >= seconds:
                    removing.delete(archive)
        except (Failure, OSError):
            continue  # the list says what is wrong with it


def describe(archive: "Volume") -> "Dict[str, Any]":
    """Returns what `list` tells of an archive beside what it tells of any volume.

    keptUntil is when the archive's time is over if the node is up until then, by the clock that the
    node had when the volume was archived. It is told to people, and decides nothing."""
    entry: "Dict[str, Any]" = {
        "name": _name(archive.name),
        "archiveOf": archive.record.name,
        "state": "archived",
    }
    archiving = _archiving(archive)
    if archiving.since:
        entry["archivedAt"] = records.stamp(archiving.since)
    if archiving.since and archiving.seconds:
        entry["keptUntil"] = records.stamp(archiving.since + archiving.seconds)
    return entry


def _archiving(volume: "Volume") -> "Archiving":
    return volume.record.archive or records.Archiving(0, 0)


def _archiving_since(volume: "Volume", since: int) -> "Archiving":
    return records.Archiving(_archiving(volume).seconds, since)
