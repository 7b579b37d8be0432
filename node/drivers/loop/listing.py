"""The callout list: the pools of this node and the volumes in them, as an inventory tells them."""

import os

from node.drivers.loop import archives, node_pools, pools, records, sweeping, volumes
from shared.protocol import Failure, Reply, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.volumes import Volume

    Entry = Dict[str, Any]

# Fields of the record that an entry has as they are.
_IDENTITY = ("owner", "kind", "source")
_DETAILS = (
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


def list_all() -> Reply:
    """As Driver.list. All pools are looked at at once, each by a process of its own."""
    entries_of_pools: "List[Entry]" = []
    entries_of_volumes: "List[Entry]" = []
    for name, look in node_pools.look(_list_pool).items():
        if look.error:
            entries_of_pools.append(pools.describe_absent(name, Unavailable(look.error)))
            continue
        entries_of_pools.append(look.entries[0])
        entries_of_volumes.extend(look.entries[1:])
    return Reply(volumes=entries_of_volumes, pools=entries_of_pools)


def _list_pool(name: str) -> "Iterator[Entry]":
    """The entry of the pool, and then of each volume and archive in it."""
    try:
        with pools.open_pool(name) as pool:
            if not pool.trouble():
                sweeping.sweep(pool)
                archives.sweep(pool)
            of_pool = pool.describe()
            of_volumes = [
                _describe(pool, name) for name in pool.names() + archives.hidden_names(pool)
            ]
    except (Failure, OSError) as error:
        yield pools.describe_absent(name, error)
        return
    yield of_pool
    yield from of_volumes


def _describe(pool: "Pool", name: str) -> "Entry":
    # The name of an archive's directory begins with a dot, which hides it from pods.
    entry: "Entry" = {"name": name.lstrip("."), "pool": pool.name}
    try:
        with volumes.get(pool, name) as volume:
            # First what holds even if the image is damaged: a person may then delete the volume.
            entry.update(volume.record.to_json(*_IDENTITY))
            entry.update(options=volume.pv_options)
            entry.update(archives.describe_class(volume))
            if archives.is_archive(volume):
                entry.update(archives.describe(volume))
            elif volume.moving_to:
                entry.update(state="moving", movingTo=volume.moving_to)
            entry.update(_details(volume))
            return entry
    except (Failure, OSError) as error:  # damaged, or deleted at this very moment
        return dict(entry, error=str(error))


def _details(volume: "Volume") -> "Entry":
    record = volume.record
    entry = record.to_json(*_DETAILS)
    entry.update(volume.pv_options)
    entry["neverMounted"] = volume.never_mounted
    entry["move"] = record.move_id
    if record.kind == records.SNAPSHOT:
        # How good the snapshot is, and its place among those of its source.
        entry["taken"] = record.taken
        entry["number"] = record.number
    with volume.open_image(os.O_RDONLY) as image:  # the disk may be read-only
        entry["usedBytes"] = volume.used_bytes
        entry["damaged"] = volume.file_system.has_errors(image)
        entry["fileSystemBytes"] = volume.file_system.size_bytes(image) or 0
    return entry
