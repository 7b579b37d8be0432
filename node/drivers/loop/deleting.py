"""The callout delete: a volume whose claim is gone is deleted, or archived if its class said so."""

from node.drivers.loop import archives, making, removing, sweeping, volumes
from shared.options import AWAITED
from shared.protocol import InvalidArgument, Reply, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from node.drivers.loop.pools import Pool
    from node.drivers.loop.volumes import Volume
    from shared.options import Claim, Options

_ALREADY_GONE = "it was already gone"


def delete(pool: "Pool", options: "Options") -> Reply:
    """As Driver.delete, in the pool that the PV names."""
    name = options.volume
    # Before the lock: what a killed provision left of this volume has the same lock.
    sweeping.sweep(pool)
    with pool.volume_lock(name):
        volume = volumes.find(pool, name) or archives.find(pool, name)
        if volume is None:
            return _delete_unfinished(pool, name, options.claim)
        with volume:
            return _delete(volume, options)


def _delete(volume: "Volume", options: "Options") -> Reply:
    _check_owner(volume, options)
    volume.check_volume()
    if options.only_if_blank:
        _check_unused(volume)
        removing.delete(volume)
        return Reply()
    is_cancelled_move = volume.record.move_id == options.cancelled_move
    if archives.is_archived_when_deleted(volume) and not is_cancelled_move:
        return Reply(message="it is archived as " + archives.make(volume))
    removing.delete(volume)
    return Reply()


def _check_owner(volume: "Volume", options: "Options") -> None:
    claim = options.claim
    owner_uid = volume.owner.uid if volume.owner else None
    if owner_uid == claim.uid and claim.uid != AWAITED:
        return
    raise InvalidArgument(
        "volume {} is owned by claim uid {}, not {}; it is left alone".format(
            options.volume,  # an archive's name without the dot that hides its directory
            "none" if owner_uid is None else shown(owner_uid),
            shown(claim.uid),
        )
    )


def _check_unused(volume: "Volume") -> None:
    """Raises InvalidArgument unless the volume may go because its claim went before any pod had the
    volume."""
    record = volume.record
    if not volume.never_mounted:
        raise InvalidArgument(
            "volume {} has been mounted and may hold data; it is left alone".format(volume.name)
        )
    if not record.blank and record.reclaim_policy != "Delete":
        raise InvalidArgument(
            "volume {} is a copy of {}, and its class keeps its volumes ({}); it is left "
            "alone".format(volume.name, record.source, record.reclaim_policy)
        )


def _delete_unfinished(pool: "Pool", name: str, claim: "Claim") -> Reply:
    """Removes the copy for that claim that is half made, so that it does not keep its room for the
    hour after which any other such copy is swept."""
    unfinished = making.find_unfinished(pool, name)
    if unfinished is None:
        return Reply(message=_ALREADY_GONE)
    with unfinished:
        if unfinished.owner is None or unfinished.owner.uid != claim.uid:
            return Reply(message=_ALREADY_GONE)
        making.remove_unfinished(unfinished)
    return Reply(message="it was a copy that was half made")
