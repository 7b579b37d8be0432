"""The callout adopt: a volume that is there gets another owner, and an archive is brought back."""

from node.drivers.loop import archives, node_pools, pools, volumes
from shared.options import NO_OWNER
from shared.protocol import Busy, InvalidArgument, Reply, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from node.drivers.loop.pools import Pool
    from node.drivers.loop.volumes import Volume
    from shared.options import Options


def adopt(options: "Options") -> Reply:
    """As Driver.adopt. The options of a PV are about the volume that is there; only a person
    brings an archive back."""
    name = options.volume
    is_from_pv = bool(options.only_if_awaited or options.only_if_owner)
    find = volumes.get if is_from_pv else archives.get_volume_or_archive
    with _open_pool(options) as pool, pool.volume_lock(name), find(pool, name) as volume:
        if options.only_if_blank and not volume.never_mounted:
            return Reply(message="it is kept already")
        if is_from_pv:
            _check_still_so(volume, options)
        volume.check_volume()
        return _give(volume, options)


def _open_pool(options: "Options") -> "Pool":
    """Opens the pool that the PV names, which must still be the one with the PV's id. A person's
    call may name no pool; then the only pool of this node with that volume is meant."""
    name = options.volume
    own = options.expect_own(volumes.PV_OPTIONS)
    if own:
        return pools.open_pool(own.get("pool", pools.DEFAULT), own.get("poolId"))
    holder, _ = node_pools.only_holder(name, lambda pool: archives.is_in(pool, name))
    return pools.open_pool(holder or pools.DEFAULT)


def _check_still_so(volume: "Volume", options: "Options") -> None:
    """Raises a Failure unless the record still is as the PV's instance took it to be: the record
    may have changed since the instance read it."""
    claim = options.claim
    if volume.moving_to:
        raise Busy(
            "volume {} is being moved to node {}; a claim gets it when that is done".format(
                volume.name, shown(volume.moving_to)
            )
        )
    if options.only_if_awaited and not volume.awaits(claim):
        raise InvalidArgument(
            "volume {} does not await this claim; see: loop help adopt".format(volume.name)
        )
    owner_uid = volume.owner.uid if volume.owner else NO_OWNER
    if options.only_if_owner and owner_uid not in (options.only_if_owner, claim.uid):
        raise Busy(
            "volume {} was given to the claim with the uid {} just now, so it is not "
            "given to {}; its provisioner looks again".format(
                volume.name, shown(owner_uid), shown(claim.uid)
            )
        )


def _give(volume: "Volume", options: "Options") -> Reply:
    changes = dict(
        volume.as_used(),
        owner=options.claim,
        cluster_uid=options.cluster_uid or volume.record.cluster_uid,
        move=None,
    )
    if archives.is_archive(volume):
        name = archives.restore(volume, **changes)
        return Reply(message="it is brought back as volume " + name)
    volume.save(**changes)
    return Reply()
