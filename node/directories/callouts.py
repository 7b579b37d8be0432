"""What the callouts of a driver do in an export that is mounted."""

import errno
import os

from node.directories.records import Record, new_record
from shared.options import ANY, AWAITED, NO_OWNER
from shared.protocol import Busy, Failure, InvalidArgument, NotFound, ResourceExhausted, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List

    from node.directories.pools import Pool
    from shared.options import Options

    OptionsOf = Callable[[Record], Dict[str, str]]  # of the PV of a volume

# The values of a record that an inventory shows as they are.
LISTED = (
    "path",
    "owner",
    "sizeBytes",
    "class",
    "reclaimPolicy",
    "accessModes",
    "clusterUid",
    "onDelete",
    "created",
)


def make(pool: "Pool", options: "Options", also: "Dict[str, Any]") -> Record:
    """Makes the volume that is asked for, or finds the volume; returns its record.

    also: what the record of a new volume has beside the values of every record. The record comes
    first, so that whatever a crash leaves can be finished or removed."""
    with pool.lock():
        record = pool.record(options.volume)
        if record is None and options.only_find:
            raise NotFound(
                "pool {} has no volume {}; nothing is left of it to delete".format(
                    pool.name, options.volume
                )
            )
        if record is None:
            check_room(pool, options.request_bytes)
            record = pool.write(new_record(options, **also))
        if record.owner["uid"] != options.claim.uid:
            raise InvalidArgument(
                "volume {} exists and is of another claim; it is left alone".format(record.name)
            )
        if not record.inode and not options.only_find:
            record = make_directory(pool, record)
        return record


def check_room(pool: "Pool", size_bytes: int) -> None:
    """Raises ResourceExhausted if the export has less free than is asked for. Nothing is kept free
    for a volume, and nothing limits a volume."""
    free_bytes = room_of(pool).free_bytes
    if size_bytes > free_bytes:
        raise ResourceExhausted(
            "pool {} has {} bytes free, and {} are asked for; free some, or ask for less".format(
                pool.name, free_bytes, size_bytes
            )
        )


def make_directory(pool: "Pool", record: Record) -> Record:
    """Makes the directory of a new volume. Returns the record, which has its inode now."""
    pool.take(record.path, record.name)
    if not pool.is_empty(record):
        raise InvalidArgument(
            "{} in the export holds what flexvol has not made; move it away".format(record.path)
        )
    with pool.open(record) as directory:
        os.fchmod(directory, record.values["mode"])
        os.fsync(directory)
        return pool.write(record, inode=os.fstat(directory).st_ino)


def use(pool: "Pool", pool_id: str, volume: str, namespace: str) -> str:
    """Returns the path of the volume for a pod of the namespace.

    kubelet tells the namespace of a pod, which nobody can forge, and the record tells that of the
    volume's claim. So no pod reaches a volume of another namespace, whatever inline volume or PV
    names it."""
    pool.check_id(pool_id)
    record = pool.record(volume)
    if record is None or not record.inode or not pool.is_there(record):
        raise NotFound(
            "pool {} has no directory for volume {}; see: kubectl flexvol inventory".format(
                pool.name, volume
            )
        )
    if record.owner["namespace"] != namespace:
        raise InvalidArgument(
            "volume {} is of a claim in another namespace than {}; only pods beside its claim may "
            "have it".format(volume, shown(namespace))
        )
    if record.blank:
        change_from_node(pool, volume, blank=False)
    return record.path


def note_size(pool: "Pool", pool_id: str, volume: str, size_bytes: int) -> None:
    """Notes how large the volume's claim is by now."""
    pool.check_id(pool_id)
    record = pool.record(volume)
    if record is not None and record.size_bytes < size_bytes:
        change_from_node(pool, volume, sizeBytes=size_bytes)


def change_from_node(pool: "Pool", volume: str, **changes: "Any") -> None:
    """Changes the record. Where the server does not let this node write to .flexvol, the record
    stays as it is: then an inventory shows the size of the first claim, and a volume counts as
    blank while it is empty."""
    try:
        with pool.lock():
            record = pool.record(volume)
            if record is not None:
                pool.write(record, **changes)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def remove(pool: "Pool", options: "Options") -> str:
    """Deletes or archives the volume. Returns a sentence where there is something to say."""
    with pool.lock():
        pool.check_id(options.own.get("poolId", pool.id()))
        record = pool.record(options.volume)
        message = "it was already gone"
        if record is not None:
            check_owner(record, options.claim.uid)
            message = discard(pool, record, options.only_if_blank)
            pool.forget(record)
    # The lock is not held for as long as this takes; nobody else works on what was set aside.
    pool.remove_aside(options.volume)
    return message


def check_owner(record: Record, uid: str) -> None:
    """Raises InvalidArgument unless the volume is of the claim with that uid."""
    owner_uid = record.owner["uid"]
    if owner_uid != uid or uid == AWAITED:
        raise InvalidArgument(
            "volume {} is of the claim with the uid {}, not {}; it is left alone".format(
                record.name, shown(owner_uid), shown(uid)
            )
        )


def discard(pool: "Pool", record: Record, only_if_blank: bool) -> str:
    """Takes the volume's directory away, as its class said. A directory that the driver did not
    make is never deleted."""
    if only_if_blank and not (record.blank and pool.is_empty(record)):
        raise InvalidArgument(
            "volume {} has been mounted and may hold data; it is left alone".format(record.name)
        )
    if not pool.has_taken(record) or not pool.is_there(record):
        return ""
    if only_if_blank or not record.inode:
        if pool.is_empty(record):
            pool.remove_empty(record)
        return ""
    if record.values["onDelete"] != "delete" or not pool.is_own(record):
        return "its directory is kept as {}".format(pool.archive(record))
    pool.set_aside(record)
    return ""


def give(pool: "Pool", options: "Options") -> str:
    """Makes the claim the volume's owner."""
    claim = options.claim
    with pool.lock():
        pool.check_id(options.own.get("poolId", pool.id()))
        record = pool.record(options.volume)
        if record is None:
            raise NotFound(
                "pool {} has no volume {}; see: kubectl flexvol inventory".format(
                    pool.name, options.volume
                )
            )
        if options.only_if_blank and not record.blank:
            return "it is kept already"
        check_still_so(record, options)
        pool.write(
            record,
            owner={"namespace": claim.namespace, "name": claim.name, "uid": claim.uid},
            clusterUid=options.cluster_uid or record.values["clusterUid"],
            blank=False,
        )
        return ""


def check_still_so(record: Record, options: "Options") -> None:
    """Raises a Failure unless the record is still as the provisioner saw it."""
    claim = options.claim
    owner = record.owner
    named = (owner["namespace"], owner["name"])
    awaits = named in ((claim.namespace, claim.name), (ANY, ANY))
    if owner["uid"] not in (AWAITED, claim.uid):
        awaits = False
    if options.only_if_awaited and not awaits:
        raise InvalidArgument(
            "volume {} does not await this claim; it is left alone".format(record.name)
        )
    owner_uid = owner["uid"] or NO_OWNER
    if options.only_if_owner and owner_uid not in (options.only_if_owner, claim.uid):
        raise Busy(
            "volume {} was given to the claim with the uid {} just now; its provisioner looks "
            "again".format(record.name, shown(owner_uid))
        )


class Room:
    """The bytes of the export's disk, and those that are free."""

    def __init__(self, capacity_bytes: int, free_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.free_bytes = free_bytes


def room_of(pool: "Pool") -> Room:
    figures = os.statvfs(pool.root)
    return Room(figures.f_blocks * figures.f_frsize, figures.f_bavail * figures.f_frsize)


def describe(pool: "Pool", options_of: "OptionsOf") -> "List[Dict[str, Any]]":
    """What `list` says of an export: the entry of the pool, and then one for each volume."""
    room = room_of(pool)
    volumes = [describe_volume(pool, name, options_of) for name in pool.names()]
    of_pool = {
        "name": pool.name,
        "id": pool.id(),
        "capacityBytes": room.capacity_bytes,
        "committedBytes": sum(entry.get("sizeBytes", 0) for entry in volumes),
        "reserveBytes": 0,
        "freeBytes": room.free_bytes,
        "maximumVolumeBytes": room.free_bytes,
        "byName": True,
        "mayBeShared": True,
    }
    return [of_pool, *volumes]


def describe_volume(pool: "Pool", name: str, options_of: "OptionsOf") -> "Dict[str, Any]":
    entry: "Dict[str, Any]" = {"name": name, "pool": pool.name, "poolId": pool.id()}
    try:
        record = pool.record(name)
        if record is None:  # deleted just now
            return dict(entry, error="it is gone")
        entry.update((key, record.values.get(key)) for key in LISTED)
        entry["fsType"] = ""
        entry["options"] = options_of(record)
        entry["blank"] = record.blank and pool.is_empty(record)
        if record.inode and not pool.is_there(record):
            entry["error"] = "its directory {} is not in the export".format(record.path)
    except (Failure, OSError) as error:
        entry["error"] = str(error)
    return entry
