"""The loop driver: a volume is a file system in a file of exactly the size asked, on any disk,
mounted through a loop
device. Each callout reads: validate, lock, do."""

import os

from node.drivers import Driver
from node.drivers.loop import archives, image, node_pools, pools, records, volume
from node.host import filesystems, mounts
from shared.options import AWAITED, NO_OWNER, integer
from shared.protocol import (
    Busy,
    Failure,
    InvalidArgument,
    NotFound,
    Reply,
    ResourceExhausted,
    Unavailable,
    is_object_name,
    shown,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple

    from node.drivers.loop.pools import Pool
    from node.operations import Operations
    from shared.options import Claim, Options

_PLACE = ("pool", "poolId")
_PARAMETERS = ("pool", "thick", "mkfsOptions", "uid", "gid", "mode", "onDelete", "archiveFor")


class LoopDriver(Driver):
    """See ../__init__.py for what each callout is; here is what is particular to this driver."""

    EXAMPLE = {"pool": "default", "poolId": "ID"}

    def mount(self, mount_dir: str, options: "Options") -> Reply:
        name, pod, read_only = options.volume, options.pod, options.read_only
        mounts.check_directory(mount_dir)
        with _pool_of(options) as place, place.volume_lock(name) as lock, volume.get(
            place, name
        ) as found:
            found.check_pod(pod)
            image.mount(found, mount_dir, read_only, lock)
            return Reply(message=found.without_options)

    def unmount(self, mount_dir: str) -> Reply:
        mounts.check_path(mount_dir)
        mounted = mounts.at(mount_dir)
        mounts.unmount(mount_dir)
        try:
            os.rmdir(mount_dir)  # never what is in it: that would be data written past the volume
        except FileNotFoundError:
            return Reply(message="it was already gone")
        finally:
            if mounted is not None:
                # After the directory, with which the mounts of other namespaces there have gone.
                mounts.thaw_left(mounted)
        return Reply()

    def expandfs(
        self, options: "Options", device: str, mount_dir: str, new_bytes: int, old_bytes: int
    ) -> Reply:
        name = options.volume
        mounts.check_directory(mount_dir)
        with _pool_of(options) as place, place.volume_lock(name) as lock, volume.get(
            place, name
        ) as found:
            try:
                image.grow(found, image.round_up(new_bytes, found.fs_type), mount_dir, lock)
            except (InvalidArgument, ResourceExhausted) as error:
                raise type(error)("{}; {}".format(error, _without_growth(found))) from None
            return Reply(volume_new_size=found.size_bytes)

    def provision(self, options: "Options") -> Reply:
        if options.only_find:
            return _find_only(options)
        name, claim, own = options.volume, options.claim, options.expect_own(_PARAMETERS)
        source = options.source_volume
        fs_type, wish = _wish(options)
        size_bytes = image.round_up(options.request_bytes, fs_type)
        with pools.open_pool(own.get("pool", pools.DEFAULT)) as place, place.volume_lock(
            name
        ) as lock:
            volume.sweep(place)
            found = volume.find(place, name)
            if found is None and source:
                from node.drivers.loop import copies  # late: few volumes are copies

                found = copies.clone(place, options, size_bytes, fs_type, wish)
            elif found is None:
                found = volume.create(place, options, size_bytes, fs_type, wish, lock)
            with found:
                _check_made_for(found, claim, source, fs_type, size_bytes)
                return _made(found)

    def delete(self, options: "Options") -> Reply:
        with _pool_of(options) as place:
            volume.sweep(place)  # before the lock: what a killed provision left has the same one
            return _delete(place, options)

    def list(self) -> Reply:
        volumes: "List[Dict[str, Any]]" = []
        entries_of_pools: "List[Dict[str, Any]]" = []
        for name, look in node_pools.look(_list_pool).items():
            if look.error:
                entries_of_pools.append(pools.describe_absent(name, Unavailable(look.error)))
                continue
            entries_of_pools.append(look.entries[0])
            volumes.extend(look.entries[1:])
        return Reply(volumes=volumes, pools=entries_of_pools)

    def operations(self) -> "Operations":
        from node.drivers.loop.by_hand.operations import LoopOperations  # late: no callout needs it

        return LoopOperations()

    def adopt(self, options: "Options") -> Reply:
        name, own = options.volume, options.expect_own(_PLACE)
        # What a PV says is about the volume that there is. Only a person brings an archive back.
        is_from_pv = bool(options.only_if_awaited or options.only_if_owner)
        find = volume.get if is_from_pv else archives.volume_or_archive
        pool_name = own.get("pool", pools.DEFAULT)
        if not own:  # a person's call; a PV names its pool and its pool's id
            holder, _ = node_pools.only_holder(name, lambda place: archives.is_there(place, name))
            pool_name = holder or pools.DEFAULT
        place = pools.open_pool(pool_name, own.get("poolId"))
        with place, place.volume_lock(name), find(place, name) as found:
            if options.only_if_blank and not found.never_mounted:
                return Reply(message="it is kept already")
            if is_from_pv:
                _check_adoption(found, options)
            found.check_volume()
            changes = dict(
                found.as_used(),
                owner=options.claim,
                cluster_uid=options.cluster_uid or found.record.cluster_uid,
                move=None,
            )
            if archives.holds(found):
                return Reply(
                    message="it is brought back as volume " + archives.restore(found, **changes)
                )
            found.save(**changes)
        return Reply()


def _check_adoption(found: "volume.Volume", options: "Options") -> None:
    """Raises a Failure unless the record still is as the PV's instance took it to be: the record
    may have changed since the instance read it."""
    claim = options.claim
    if found.moving_to:
        raise Busy(
            "volume {} is being moved to node {}; a claim gets it when that is done".format(
                found.name, shown(found.moving_to)
            )
        )
    if options.only_if_awaited and not found.awaits(claim):
        raise InvalidArgument(
            "volume {} does not await this claim; see: loop help adopt".format(found.name)
        )
    owner_uid = found.owner.uid if found.owner else NO_OWNER
    if options.only_if_owner and owner_uid not in (options.only_if_owner, claim.uid):
        raise Busy(
            "volume {} was given to the claim with the uid {} just now, so it is not given to {}; "
            "its provisioner looks again".format(found.name, shown(owner_uid), shown(claim.uid))
        )


def _made(found: "volume.Volume") -> Reply:
    """The answer of provision."""
    return Reply(
        volume={
            "options": {"pool": found.pool.name, "poolId": found.pool.id},
            "capacityBytes": found.size_bytes,
            "fsType": found.fs_type,
        }
    )


def _find_only(options: "Options") -> Reply:
    """The answer of a provision that makes nothing: its claim is gone, and what an earlier call
    made for that claim, whole or half, is to be deleted."""
    name = options.volume
    with pools.open_pool(options.own.get("pool", pools.DEFAULT)) as place:
        volume.sweep(place)  # before the lock: what a killed provision left has the same one
        with place.volume_lock(name):
            found = volume.find(place, name) or volume.half_made(place, name)
            if found is None:
                raise NotFound(
                    "volume {} is not in pool {}; nothing is left of it to delete".format(
                        name, place.name
                    )
                )
            with found:
                _check_owner(found, options.claim)
                return _made(found)


def _check_made_for(
    found: "volume.Volume", claim: "Claim", source: str, fs_type: str, size_bytes: int
) -> None:
    """Raises InvalidArgument unless the volume is what the claim asks for: an earlier call may have
    made it for another claim, as another copy, or of another size."""
    _check_owner(found, claim)
    if source and found.record.source != source:
        raise InvalidArgument(
            "volume {} exists and is no copy of {}; it is left alone".format(found.name, source)
        )
    if found.fs_type != fs_type or found.size_bytes < size_bytes:
        raise InvalidArgument(
            "volume {} exists with {} and {} bytes, not {} and {}; it is left alone".format(
                found.name, found.fs_type, found.size_bytes, fs_type, size_bytes
            )
        )


def _check_owner(found: "volume.Volume", claim: "Claim") -> None:
    is_volume = found.record.kind == records.VOLUME
    if found.owner is None or found.owner.uid != claim.uid or not is_volume:
        raise InvalidArgument(
            "volume {} exists and is a snapshot, or owned by another claim; it is left "
            "alone (see: loop status)".format(found.name)
        )


def _pool_of(options: "Options") -> "Pool":
    """The pool that the PV names, which must still be the one with the PV's id."""
    own = options.expect_own(_PLACE)
    for key in _PLACE:
        if not own.get(key):
            raise InvalidArgument(
                "option {} is missing; the volume's PV names its pool and its pool's id".format(key)
            )
    return pools.open_pool(own["pool"], own["poolId"])


def _without_growth(found: "volume.Volume") -> str:
    """The way out where a volume cannot grow as its claim asks. Kubernetes has none: it has raised
    the PV before it asked the driver, and repeats the call until the driver succeeds."""
    owner = found.owner
    claim = "NAMESPACE/CLAIM"
    if owner is not None and is_object_name(owner.namespace) and is_object_name(owner.name):
        claim = "{}/{}".format(owner.namespace, owner.name)
    return (
        "volume {} keeps its {} MiB and its data; to give the growth up: kubectl flexvol "
        "cancel-expansion {}"
    ).format(found.name, found.size_bytes >> 20, claim)


def _wish(options: "Options") -> "Tuple[str, volume.Wish]":
    """The kind of file system that the class asks for, and the rest of what it asks for. Raises
    InvalidArgument, saying what to do about a class, if a value cannot be."""
    own = options.own
    try:
        kind = filesystems.get(options.fs_type)
        thick = _boolean("thick", own.get("thick", "false"))
        wish = volume.Wish(
            thick, own.get("mkfsOptions", "").split(), _root(own), archives.wish(own)
        )
        kind.check_make_options(wish.make_options)
        for option in options.mount_options:
            kind.check_mount_option(option)
    except InvalidArgument as error:
        advice = options.class_advice
        raise InvalidArgument("; ".join(filter(None, (error.message, advice)))) from None
    return kind.name, wish


def _boolean(key: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise InvalidArgument('option {} is {}; it is "true" or "false"'.format(key, shown(value)))
    return value == "true"


def _root(own: "Dict[str, str]") -> "Optional[records.RootDirectory]":
    """The owner and mode that the class gives a new volume's root; None if it says nothing of
    them."""
    if not any(own.get(key) for key in ("uid", "gid", "mode")):
        return None
    mode = own.get("mode", "")
    if mode.strip("01234567") or len(mode) > 5 or int(mode or "0", 8) > 0o7777:
        raise InvalidArgument('option mode is {}; it is octal, like "0770"'.format(shown(mode)))
    octal = int(mode, 8) if mode else None
    return records.RootDirectory(_id("uid", own), _id("gid", own), octal)


def _id(key: str, own: "Dict[str, str]") -> int:
    number = integer("option " + key, own.get(key) or "0")
    if number >= (1 << 32) - 1:
        raise InvalidArgument(
            "option {} is {}; it is at most {}".format(key, number, (1 << 32) - 2)
        )
    return number


def _delete(place: "Pool", options: "Options") -> Reply:
    name, claim = options.volume, options.claim
    with place.volume_lock(name):
        found = volume.find(place, name) or archives.find(place, name)
        if found is None:
            return _delete_half_made(place, name, claim)
        with found:
            if found.owner is None or found.owner.uid != claim.uid or claim.uid == AWAITED:
                raise InvalidArgument(
                    "volume {} is owned by claim uid {}, not {}; it is left alone".format(
                        name,
                        shown(found.owner.uid) if found.owner else "none",
                        shown(claim.uid),
                    )
                )
            found.check_volume()
            if options.only_if_blank:
                _check_unused(found)
                volume.delete(found)
                return Reply()
            if archives.is_wished(found) and found.record.move_id != options.taken_back:
                return Reply(message="it is archived as " + archives.put(found))
            volume.delete(found)
    return Reply()


def _delete_half_made(place: "Pool", name: str, claim: "Claim") -> Reply:
    """Takes away the copy for that claim that is half made, so that it does not keep its room for
    the hour after which any other such copy is swept."""
    half = volume.half_made(place, name)
    if half is None:
        return Reply(message="it was already gone")
    with half:
        if half.owner is None or half.owner.uid != claim.uid:
            return Reply(message="it was already gone")
        volume.remove_half_made(half)
    return Reply(message="it was a copy that was half made")


def _check_unused(found: "volume.Volume") -> None:
    """Raises InvalidArgument if the volume may not go although its claim went before a pod had
    it."""
    if not found.never_mounted:
        raise InvalidArgument(
            "volume {} has been mounted and may hold data; it is left alone".format(found.name)
        )
    if not found.record.blank and found.record.reclaim_policy != "Delete":
        raise InvalidArgument(
            "volume {} is a copy of {}, and its class keeps its volumes ({}); it is left "
            "alone".format(found.name, found.record.source, found.record.reclaim_policy)
        )


def _list_pool(name: str) -> "Iterator[Dict[str, Any]]":
    """What `list` tells of the pool, and then of each volume in it."""
    try:
        with pools.open_pool(name) as place:
            if not place.trouble():
                volume.sweep(place)
                archives.sweep(place)
            described = place.describe()
            entries = [_describe(place, entry) for entry in place.names() + archives.names(place)]
    except (Failure, OSError) as error:
        yield pools.describe_absent(name, error)
        return
    yield described
    yield from entries


def _describe(place: "Pool", name: str) -> "Dict[str, Any]":
    # The name of an archive's directory begins with a dot, which hides it from pods.
    entry: "Dict[str, Any]" = {"name": name.lstrip("."), "pool": place.name}
    try:
        with volume.get(place, name) as found:
            # Told even if the image is damaged: a person may want to delete the volume then.
            options = {"pool": place.name, "poolId": place.id}
            whose = found.record.to_json("owner", "kind", "source")
            entry.update(whose, options=options, **archives.wished(found))
            if archives.holds(found):
                entry.update(archives.describe(found))
            elif found.moving_to:
                entry.update(state="moving", movingTo=found.moving_to)
            entry.update(_described(found), **options)
            return entry
    except (Failure, OSError) as error:  # damaged, or deleted at this very moment
        return dict(entry, error=str(error))


def _described(found: "volume.Volume") -> "Dict[str, Any]":
    fields = (
        "sizeBytes",
        "fsType",
        "thick",
        "class",
        "reclaimPolicy",
        "accessModes",
        "clusterUid",
        "created",
        "blank",
    )
    entry = found.record.to_json(*fields)
    entry["neverMounted"] = found.never_mounted
    if found.record.kind == records.SNAPSHOT:
        # How good the copy is, and its place among those of its source.
        entry.update(taken=found.record.taken, number=found.record.number)
    image = found.open_image(os.O_RDONLY)  # the disk may be read-only
    try:
        entry["usedBytes"] = found.used_bytes
        kind = filesystems.get(found.fs_type)
        entry["damaged"] = kind.has_errors(image)
        entry["fileSystemBytes"] = kind.size_bytes(image) or 0
        entry["move"] = found.record.move_id
    finally:
        os.close(image)
    return entry
