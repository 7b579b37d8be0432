"""What the callouts of a driver do in an export that is mounted."""

import errno
import os

from node.directories.records import Record, new_record
from shared.options import ANY, AWAITED, NO_OWNER
from shared.protocol import (
    Busy,
    Failure,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    shown,
    system_failure,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List

    from node.directories.pools import Pool
    from node.host.apart import Look
    from node.host.descriptors import Descriptor
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


GONE = "it was already gone"
# With what a server does not let a node write, or has no room: a pod may need the volume to make
# room.
UNWRITTEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
# What `list` says of a volume of which only such files are left.
SET_ASIDE = (
    "it was deleted, and .flexvol/deleting/{} of the export holds what is left of it; if no PV of "
    "that name is being deleted any more, remove that directory on the server"
)


def make(pool: "Pool", options: "Options", also: "Dict[str, Any]") -> Record:
    """Makes the volume that is asked for, or finds the volume; returns its record.

    also: what the record of a new volume has beside the values of every record. The record comes
    first, so that whatever a crash leaves can be finished or removed."""
    with pool.lock():
        pool.prepare()
        record = pool.record(options.volume)
        if record is None and options.only_find:
            raise NotFound(
                "pool {} has no volume {}; nothing is left of it to delete".format(
                    pool.name, options.volume
                )
            )
        if record is None:
            check_room(pool, options.request_bytes)
            record = new_record(options, **also)
            pool.check_not_lost(record)
            pool.write(record)
        if record.owner["uid"] != options.claim.uid:
            raise InvalidArgument(
                "volume {} exists and is of another claim; it is left alone".format(record.name)
            )
        if not record.inode and not options.only_find:
            record = make_directory_or_nothing(pool, record)
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


def make_directory_or_nothing(pool: "Pool", record: Record) -> Record:
    """As `make_directory`; but if the volume cannot have its path, then nothing is left of the
    volume, for nobody calls again to have that removed."""
    try:
        return make_directory(pool, record)
    except InvalidArgument:
        if not pool.has_taken(record):
            pool.forget(record)
        raise


def make_directory(pool: "Pool", record: Record) -> Record:
    """Makes the directory of a new volume. Returns the record, which has its inode now."""
    pool.take(record.path, record.name)
    if not pool.is_empty(record):
        raise InvalidArgument(
            "{} in the export holds what flexvol has not made; move it away".format(record.path)
        )
    with pool.open(record) as directory:
        os.fchmod(directory, record.mode)
        os.fsync(directory)
        return pool.write(record, inode=os.fstat(directory).st_ino)


def use(pool: "Pool", pool_id: str, volume: str, namespace: str) -> "Descriptor":
    """Opens the directory of the volume for a pod of the namespace.

    kubelet tells the namespace of a pod, which nobody can forge, and the record tells that of the
    volume's claim. The directory that is returned is the one that was looked up in this export, so
    the caller mounts that very directory, and does not look up its path again: whoever may write to
    another volume of the server could have put a link there."""
    pool.check_id(pool_id)
    record = pool.record(volume)
    if record is None or not record.inode:
        raise no_directory(pool, volume)
    if record.owner["namespace"] != namespace:
        raise InvalidArgument(
            "volume {} is of a claim in another namespace than {}; only pods beside its claim may "
            "have it".format(volume, shown(namespace))
        )
    try:
        directory = pool.open(record)
    except FileNotFoundError:
        raise no_directory(pool, volume) from None
    with directory:
        if record.blank and not change_from_node(pool, volume, blank=False):
            raise no_directory(pool, volume)  # deleted just now
        return directory.kept_open()


def no_directory(pool: "Pool", volume: str) -> NotFound:
    return NotFound(
        "pool {} has no directory for volume {}; see: kubectl flexvol inventory".format(
            pool.name, volume
        )
    )


def note_size(pool: "Pool", pool_id: str, volume: str, size_bytes: int) -> None:
    """Notes how large the volume's claim is by now."""
    pool.check_id(pool_id)
    record = pool.record(volume)
    if record is not None and record.size_bytes < size_bytes:
        change_from_node(pool, volume, sizeBytes=size_bytes)


def change_from_node(pool: "Pool", volume: str, **changes: "Any") -> bool:
    """Changes the record; returns whether the volume has one. Where the server does not let this
    node write to .flexvol, or has no room for that, the record stays as it is: then an inventory
    shows the size of the first claim, and a volume counts as blank while it is empty."""
    try:
        with pool.lock():
            record = pool.record(volume)
            if record is None:
                return False
            pool.write(record, **changes)
    except OSError as error:
        if error.errno not in UNWRITTEN:
            raise
    return True


def remove(pool: "Pool", options: "Options") -> str:
    """Deletes or archives the volume. Returns a sentence where there is something to say."""
    if "poolId" not in options.own and not pool.id():
        return GONE  # from an export that has had no volume yet
    pool.check_id(options.own.get("poolId", pool.id()))
    # What an earlier volume of that name left there has the place of this one.
    pool.remove_aside(options.volume)
    with pool.lock():
        record = pool.record(options.volume)
        if record is None:
            pool.check_no_trace(options.volume)
            message = GONE
        else:
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
    if not pool.is_there(record):
        return ""
    taker = pool.taker(record)
    if taker != record.name:
        # Without its inode the volume never had the directory, which is somebody else's then.
        return left_in_export(record) if record.inode and not taker else ""
    if only_if_blank or not record.inode:
        if not pool.is_empty(record):
            return left_in_export(record)
        pool.remove_empty(record)
        return ""
    if record.is_archived or not pool.is_own(record):
        return "its directory is kept as {}".format(pool.archive(record))
    pool.set_aside(record)
    return ""


def left_in_export(record: Record) -> str:
    return "its directory {} is left in the export".format(record.path)


def give(pool: "Pool", options: "Options") -> str:
    """Makes the claim the volume's owner."""
    claim = options.claim
    pool.check_id(options.own.get("poolId", pool.id()))
    with pool.lock():
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
            clusterUid=options.cluster_uid or record.cluster_uid,
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


def describe(pool: "Pool", options_of: "OptionsOf") -> "Iterator[Dict[str, Any]]":
    """What `list` says of an export: the entry of the pool, and then one for each volume, which
    comes as soon as the server has answered about that volume."""
    room = room_of(pool)
    yield {
        "name": pool.name,
        "id": pool.id(),
        "capacityBytes": room.capacity_bytes,
        "reserveBytes": 0,
        "freeBytes": room.free_bytes,
        "maximumVolumeBytes": room.free_bytes,
        "byName": True,
        "mayBeShared": True,
    }
    if not pool.id():
        return
    with pool.open_records() as records:
        names = pool.names(records)
        for name in names:
            entry = begun_entry(pool, name)
            describe_volume(pool, records, entry, options_of)
            yield entry
    for name in pool.set_aside_names():
        if name not in names:
            yield dict(begun_entry(pool, name), error=SET_ASIDE.format(name))


def told(pool_name: str, entries: "Iterator[Dict[str, Any]]") -> "Iterator[Dict[str, Any]]":
    """The entries of `describe`, and at their end {"failure": MESSAGE} if there was a failure."""
    try:
        yield from entries
    except Failure as failure:
        yield {"failure": failure.message}
    except OSError as error:
        yield {"failure": system_failure(error, "pool " + pool_name).message}


def begun_entry(pool: "Pool", name: str) -> "Dict[str, Any]":
    return {"name": name, "pool": pool.name, "poolId": pool.id()}


def describe_volume(
    pool: "Pool", records: int, entry: "Dict[str, Any]", options_of: "OptionsOf"
) -> None:
    """Completes the entry of a volume."""
    try:
        record = pool.record_in(records, entry["name"])
        if record is None:  # deleted just now
            entry["error"] = "it is gone"
            return
        entry.update((key, record.values.get(key)) for key in LISTED)
        entry["fsType"] = ""
        entry["options"] = options_of(record)
        entry["blank"] = record.blank
        if not record.inode:
            entry["blank"] = record.blank and pool.is_empty(record)
            return
        with pool.open(record) as directory:
            # Of a volume that was used nobody asks: its directory may hold a million files.
            if record.blank:
                entry["blank"] = not os.listdir(directory)
    except FileNotFoundError:
        entry["error"] = "its directory {} is not in the export".format(entry["path"])
    except (Failure, OSError) as error:
        entry["error"] = str(error)


def gather(
    name: str, look: "Look", pools: "List[Dict[str, Any]]", volumes: "List[Dict[str, Any]]"
) -> None:
    """Adds the entries of a pool, which a look has gathered, to those of all pools. A pool that was
    not seen to its end has an error, and no volumes: those that were not seen are not gone.

    look: its entries are those of `told`."""
    failures = [entry["failure"] for entry in look.entries if "failure" in entry]
    if look.error:
        failures.append(look.error)
    if failures:
        pools.append({"name": name, "byName": True, "error": failures[0]})
        return
    of_pool = look.entries[0]
    own = look.entries[1:]
    of_pool["committedBytes"] = sum(entry.get("sizeBytes", 0) for entry in own)
    pools.append(of_pool)
    volumes.extend(own)
