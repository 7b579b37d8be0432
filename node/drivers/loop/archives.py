"""Archives: what is kept of deleted volumes whose class says `onDelete: archive`, for as long as it
says.

An archive is the volume's directory under a new hidden name, .archived-HEX-VOLUME, so that no pod
reaches it, and the pool counts it as before. Whoever renames one holds its image's lock, as with
any volume."""

import os
import time

from node.drivers.loop import pools, records, removing, sweeping, volumes
from node.host import files
from shared.protocol import Failure, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.volumes import Volume

PREFIX = volumes.ARCHIVED
_VOLUME_AT = len(PREFIX) + 17


def wished(found: "Volume") -> "Dict[str, Any]":
    """What `list` tells of a volume that its class says to archive, and for how long (0: for
    ever)."""
    kept = found.record.archive
    if kept is None:
        return {"onDelete": "delete"}
    return {"onDelete": "archive", "archiveSeconds": kept.seconds}


def is_wished(found: "Volume") -> bool:
    """Whether it is archived when it is deleted. Not archived: a volume that was never mounted and
    is no copy (it is empty), and the old copy of a volume that was moved (its data is on the other
    node)."""
    record, present = found.record, files.exists(found.directory, pools.IMAGE)
    return bool(
        record.archive and present and not record.blank and not found.moving_to and not holds(found)
    )


def put(found: "Volume") -> str:
    """Makes an archive of a volume that nobody uses (else Busy), and returns its name. The caller
    holds its lock."""
    written = os.stat(pools.IMAGE, dir_fd=found.directory, follow_symlinks=False).st_mtime
    since = int(max(time.time(), written))  # a clock that is behind must not end its time early
    archive = _archived_at(found, since)
    hidden = removing.take_away(found, PREFIX, "-" + found.name, archive=archive)
    sweeping.kept_seconds(found.pool)  # its time begins now, and not when `list` sees it
    return hidden[1:]


def holds(found: "Volume") -> bool:
    """Whether what was found is an archive."""
    return found.name.startswith(PREFIX)


def names(pool: "Pool") -> "List[str]":
    return sorted(name for name in pool.hidden() if name.startswith(PREFIX))


def find(pool: "Pool", name: str) -> "Optional[Volume]":
    """The archive of that name, which `put` gave it; None if there is none."""
    return volumes.find(pool, "." + name) if name.startswith(PREFIX[1:]) else None


def is_there(pool: "Pool", name: str) -> bool:
    """Whether a volume of that name is in the pool, or an archive that `get` gives for the name."""
    return name in pool.names() or bool(_meant(pool, name))


def _meant(pool: "Pool", name: str) -> "List[str]":
    """The archives of that name, and of the volume of that name."""
    return [hidden for hidden in names(pool) if name in (hidden[1:], hidden[_VOLUME_AT:])]


def get(pool: "Pool", name: str) -> "Volume":
    """The archive of that name, or the only one of the volume of that name. Raises NotFound if
    there is none, and InvalidArgument if there are several."""
    found = _meant(pool, name)
    if len(found) > 1:
        names_of_all = ", ".join(hidden[1:] for hidden in found)
        raise InvalidArgument(
            "volume {} has several archives; name one: {}".format(name, names_of_all)
        )
    return volumes.get(pool, found[0] if found else name)


def volume_or_archive(pool: "Pool", name: str) -> "Volume":
    """The volume of that name; if there is none, its archive. Raises as `get` does."""
    return volumes.find(pool, name) or get(pool, name)


def restore(found: "Volume", **changes: "Any") -> str:
    """Makes it a volume again, and returns its name. changes: of its record. Raises InvalidArgument
    if there is one of that name."""
    image = found.open_image()
    try:
        found.lock_image(image)
        volumes.check_free(found.pool, found.record.name)
        found.save(archive=_archived_at(found, 0), **changes)
        found.rename(found.record.name)
    finally:
        os.close(image)
    return found.record.name


def sweep(pool: "Pool") -> None:
    """Removes the archives whose time is over by the pool's clock. One that is brought back, looked
    at or damaged stays."""
    ages = sweeping.kept_seconds(pool)
    for name in names(pool):
        try:
            with volumes.get(pool, name) as found:
                seconds = _archiving(found).seconds
                if seconds and ages.get(name, 0) >= seconds:
                    removing.delete(found)
        except (Failure, OSError):
            continue  # the list says what is wrong with it


def until(found: "Volume") -> int:
    """When its time is over if the node is up until then, in seconds since 1970 by the clock that
    the node had when it was archived; 0 if never. It is told to people, and decides nothing."""
    archiving = _archiving(found)
    if not archiving.seconds or not archiving.since:
        return 0
    return archiving.since + archiving.seconds


def _archiving(found: "Volume") -> "records.Archiving":
    return found.record.archive or records.Archiving(0, 0)


def _archived_at(found: "Volume", since: int) -> "records.Archiving":
    return records.Archiving(_archiving(found).seconds, since)


def describe(found: "Volume") -> "Dict[str, Any]":
    """What `list` says of it beside what it says of any volume."""
    times = {
        "archivedAt": _archiving(found).since,
        "keptUntil": until(found),
    }
    told: "Dict[str, Any]" = {key: records.stamp(when) for key, when in times.items() if when}
    return dict(told, name=found.name[1:], archiveOf=found.record.name, state="archived")
