"""The callout provision: a claim gets a new volume, or the volume that an earlier call made for
it."""

from node.drivers.loop import class_settings, images, making, pools, records, sweeping, volumes
from shared.protocol import InvalidArgument, NotFound, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from node.drivers.loop.class_settings import ClassSettings
    from node.drivers.loop.locks import Lock
    from node.drivers.loop.pools import Pool
    from node.drivers.loop.volumes import Volume
    from shared.options import Claim, Options


def provision(options: "Options") -> Reply:
    """As Driver.provision."""
    if options.only_find:
        return _find_only(options)
    name = options.volume
    claim = options.claim
    own = options.expect_own(class_settings.PARAMETERS)
    source = options.source_volume
    settings = class_settings.read(options)
    size_bytes = images.round_up(options.request_bytes, settings.fs_type)
    pool_name = own.get("pool", pools.DEFAULT)
    with pools.open_pool(pool_name) as pool, pool.volume_lock(name) as lock:
        sweeping.sweep(pool)
        volume = volumes.find(pool, name)
        if volume is None:
            volume = _make(pool, options, size_bytes, settings, lock)
        with volume:
            _check_owner(volume, claim)
            _check_source(volume, source)
            _check_size(volume, settings.fs_type, size_bytes)
            return _answer(volume)


def _make(
    pool: "Pool", options: "Options", size_bytes: int, settings: "ClassSettings", lock: "Lock"
) -> "Volume":
    if not options.source_volume:
        return making.create(pool, options, size_bytes, settings, lock)
    from node.drivers.loop import clones  # late: few volumes are clones

    return clones.clone(pool, options, size_bytes, settings)


def _find_only(options: "Options") -> Reply:
    """The answer of a provision that makes nothing. The claim is gone, and the provisioner asks for
    the volume that an earlier call made for it, whole or half, to delete that volume."""
    name = options.volume
    with pools.open_pool(options.own.get("pool", pools.DEFAULT)) as pool:
        # Before the lock: what a killed provision left of this volume has the same lock.
        sweeping.sweep(pool)
        with pool.volume_lock(name):
            volume = volumes.find(pool, name) or making.find_unfinished(pool, name)
            if volume is None:
                raise NotFound(
                    "volume {} is not in pool {}; nothing is left of it to delete".format(
                        name, pool.name
                    )
                )
            with volume:
                _check_owner(volume, options.claim)
                return _answer(volume)


def _answer(volume: "Volume") -> Reply:
    return Reply(
        volume={
            "options": volume.pv_options,
            "capacityBytes": volume.size_bytes,
            "fsType": volume.fs_type,
        }
    )


# An earlier call may have made the volume for another claim, as another clone, or of another size.


def _check_owner(volume: "Volume", claim: "Claim") -> None:
    is_volume = volume.record.kind == records.VOLUME
    if volume.owner is None or volume.owner.uid != claim.uid or not is_volume:
        raise InvalidArgument(
            "volume {} exists and is a snapshot, or owned by another claim; it is "
            "left alone (see: loop status)".format(volume.name)
        )


def _check_source(volume: "Volume", source: str) -> None:
    if source and volume.record.source != source:
        raise InvalidArgument(
            "volume {} exists and is no copy of {}; it is left alone".format(volume.name, source)
        )


def _check_size(volume: "Volume", fs_type: str, size_bytes: int) -> None:
    if volume.fs_type != fs_type or volume.size_bytes < size_bytes:
        raise InvalidArgument(
            "volume {} exists with {} and {} bytes, not {} and {}; it is left alone".format(
                volume.name, volume.fs_type, volume.size_bytes, fs_type, size_bytes
            )
        )
