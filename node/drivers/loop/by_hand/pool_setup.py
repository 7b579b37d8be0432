"""Pools are made, noted in /etc/flexvol/pools.json, cordoned and removed here, by what a person or
`flexvol install` runs. Callouts never do so."""

import binascii
import os

from node.drivers.loop import node_pools, pools
from node.host import config, files
from shared.protocol import Failure, InvalidArgument, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple

    from node.drivers.loop.pools import Pool

_SCHEMA = 1
_LOCK_SECONDS = 20
# Where an older flexvol notes the id of the pool `default`: on the pool's own disk, if that is
# mounted at the root of the pools. It is kept for a node that goes back to an older flexvol, which
# would else make another pool in the place of one that is away.
_OLDER_NOTE = ".default-pool-was-made"
# What may be in the directory of a pool that holds nothing: ours, and what mkfs makes.
_NOTHING = (*pools.OWN_FILES, "lost+found")


def cordon(name: str, cordoned: bool) -> str:
    """Writes into pool.json whether the pool takes no new volumes, and says so. A callout that has
    begun goes on."""
    import json

    with node_pools.open_pool(name) as pool, pool.lock():
        settings = json.loads(files.read(pool.directory, pools.FILE).decode("utf-8"))
        before = settings.get("cordoned") is True
        if before != cordoned:
            settings["cordoned"] = cordoned
            files.write(pool.directory, pools.FILE, json.dumps(settings, indent=1).encode())
    state = (
        "takes no new volumes; those in it stay as they are" if cordoned else "takes new volumes"
    )
    return "pool {} at {} {}{}".format(
        name, pool.path, state, "" if before != cordoned else " (as before)"
    )


def init(
    name: str,
    reserve: str = pools.DEFAULT_RESERVE,
    overcommit: float = pools.DEFAULT_OVERCOMMIT,
    replace: bool = False,
) -> "Tuple[Pool, bool]":
    """Makes the pool `name`, or finds it, and notes it. Returns it, open, and whether it was made.
    Raises InvalidArgument if its directory holds other things, or if another pool of that name is
    noted, there or away, unless `replace` gives that one up."""
    pools.check_limits(reserve, overcommit)
    path = config.pool_directory(name)
    node_pools.check_answers(name)
    linked = pools.linked(name, path)
    if linked:
        raise InvalidArgument(linked)
    if not replace:
        _check_not_replaced(name)
    config.check_writable()
    os.makedirs(path, 0o700, exist_ok=True)
    directory = files.open_directory(path)
    try:
        with pools.Lock(os.dup(directory)) as held:
            files.lock(held.descriptor, "pool " + name, _LOCK_SECONDS)
            made = not files.exists(directory, pools.FILE)
            if made:
                _make(directory, path, reserve, overcommit)
            with pools.open_pool(name, _id_at(directory, path)) as pool:
                config.remember(name, pool.id, path)
    finally:
        os.close(directory)
    return pools.open_pool(name), made


def _check_not_replaced(name: str) -> None:
    """Raises InvalidArgument if a pool of that name was made here, and is not the one there."""
    if name not in config.remembered():
        return
    try:
        with pools.open_pool(name) as pool:
            if pool.replaced_by:
                raise Unavailable(pool.former())
    except pools.Damaged:
        raise
    except Unavailable as absent:
        raise InvalidArgument(
            "{}. No other pool is made in its place: its claims would be taken for lost. Only if "
            "its disk will never come back: --replace".format(absent)
        ) from None


def _make(directory: int, path: str, reserve: str, overcommit: float) -> None:
    import json

    strange = [entry for entry in os.listdir(directory) if entry not in _NOTHING]
    if strange:
        raise InvalidArgument(
            "{} is not empty ({}); a pool is made in an empty directory".format(path, strange[0])
        )
    os.fchmod(directory, 0o700)
    settings = {
        "schema": _SCHEMA,
        "id": binascii.hexlify(os.urandom(8)).decode(),
        "overcommit": overcommit,
        "reserve": reserve,
    }
    files.write(directory, pools.FILE, json.dumps(settings, indent=1).encode())


def _id_at(directory: int, path: str) -> "Optional[str]":
    """The id in the pool.json that is there; None if that cannot be read, which open_pool says."""
    import json

    try:
        settings: "Any" = json.loads(files.read(directory, pools.FILE).decode("utf-8"))
        return str(settings["id"])
    except (Failure, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def prepare_node(host_root: str) -> "List[str]":
    """What `flexvol install` does at each start on a node: makes the pool `default` once, and notes
    each pool that is there. host_root: where the node's / is. Returns a sentence for each pool.
    Raises InvalidArgument if no pod could ever mount a volume of `default`."""
    looks = node_pools.look(node_pools.touch, also=(pools.DEFAULT,))
    hang = looks.pop(pools.DEFAULT).error
    if hang:
        sentences = [hang]
    else:
        _refuse_links(host_root)
        sentences = [_default()]
    for name, seen in looks.items():
        sentences.append(seen.error or _note_if_there(name))
    return sentences


def _refuse_links(host_root: str) -> None:
    """A container's mount leads through a link, and the driver on the node does not: claims would
    be bound, and no pod would get its volume."""
    root = host_root.rstrip("/")
    link = pools.linked(pools.DEFAULT, config.pool_directory(pools.DEFAULT), root)
    if link:
        raise InvalidArgument(link)


def _default() -> str:
    """Makes the default pool, once. Where it was made before and is not there now, its disk is
    away: a new pool in its place would fill the disk below, and hide itself when the other is
    back."""
    name = pools.DEFAULT
    older_id = _older_note()
    try:
        with pools.open_pool(name) as pool:
            _note_for_older(older_id, pool.id)
            return _noted(pool)
    except Unavailable as absent:
        if older_id and name not in config.remembered() and not config.is_default_removed():
            config.remember(name, older_id, config.pool_directory(name))
        if name in config.remembered():
            return "{}; it was made before, so it is not made anew".format(absent)
    if config.is_default_removed():
        return (
            "pool default was removed, so it is not made anew; made again by: loop pool init "
            "default"
        )
    with init(name)[0] as pool:
        _note_for_older(older_id, pool.id)
        return "made pool {} at {} (id {})".format(name, pool.path, pool.id)


def _note_for_older(noted_id: str, pool_id: str) -> None:
    if noted_id:
        return
    try:
        root = files.open_directory(config.ROOT)
        try:
            files.write(root, _OLDER_NOTE, (pool_id + "\n").encode("ascii"))
        finally:
            os.close(root)
    except OSError:
        return  # a disk that cannot be written to; the node's own note is in pools.json


def _older_note() -> str:
    """The id that an older flexvol noted; "" if there is no such note."""
    try:
        with open(os.path.join(config.ROOT, _OLDER_NOTE)) as file:
            return file.read().strip()
    except OSError:
        return ""


def _note_if_there(name: str) -> str:
    """Notes the pool, if it is there; says what is known of it."""
    try:
        with pools.open_pool(name) as pool:
            return _noted(pool)
    except (Unavailable, InvalidArgument) as absent:
        return str(absent)


def _noted(pool: "Pool") -> str:
    """Notes the pool that is there, and says so. A former pool stays a former one: only a person
    puts it in the place of the pool that replaced it, with --replace."""
    if pool.replaced_by:
        return pool.former()
    is_new = config.remember(pool.name, pool.id, pool.path) if _is_new(pool) else False
    how = "noted" if is_new else "found"
    return "{} pool {} at {} (id {})".format(how, pool.name, pool.path, pool.id)


def _is_new(pool: "Pool") -> bool:
    known = config.remembered().get(pool.name)
    return known is None or (known.id == pool.id and known.path != pool.path)


def table() -> "List[Dict[str, str]]":
    """The pools of this node: name, id, path and state of each."""
    known = config.remembered()

    def row_of(name: str) -> "Iterator[Dict[str, str]]":
        try:
            with pools.open_pool(name) as pool:
                yield {"id": pool.id, "state": _state(pool)}
        except (Failure, OSError) as error:
            yield {"state": str(error)}

    rows = []
    for name, seen in node_pools.look(row_of).items():
        row = {"name": name, "id": known[name].id if name in known else "", "path": ""}
        row.update({"state": seen.error} if seen.error else seen.entries[0])
        try:
            row["path"] = config.pool_directory(name)
        except (Unavailable, InvalidArgument) as error:
            row["state"] = str(error)
        if name not in known:
            row["state"] += " (not noted: loop pool init {} notes it)".format(name)
        rows.append(row)
    return rows


def _state(pool: "Pool") -> str:
    if pool.replaced_by:
        return pool.former()
    return "cordoned" if pool.cordoned else "takes volumes"


def remove(name: str, away: bool) -> str:
    """Takes an empty pool from this node. away: only forgets a pool whose disk will not come back.
    Raises InvalidArgument while the pool holds anything, or is away and `away` is not said."""
    known = node_pools.names()
    if name not in known:
        raise InvalidArgument(
            "this node has no pool {}; it has {}".format(
                name, " and ".join("pool " + other for other in known) or "no pool at all"
            )
        )
    placed = ""
    if name in config.pools():
        placed = "; {} places it still: take it out there".format(config.CONFIG)
    try:
        pool = node_pools.open_pool(name)
    except pools.Damaged:
        raise
    except Unavailable as absent:
        if not away:
            raise InvalidArgument(
                "{}. A pool that is away may hold volumes, so it is not removed. Only if its "
                "disk will never come back: --away, which forgets the pool".format(absent)
            ) from None
        config.forget(name)
        return "forgot pool {}, which is away; its disk is as it was{}".format(name, placed)
    with pool:
        if away:
            raise InvalidArgument(
                (
                    "pool {0} is there, so it is not removed as away; without --away: loop pool "
                    "remove {0}"
                ).format(name)
            )
        if pool.replaced_by:
            raise InvalidArgument(pool.former())  # else that one would be forgotten too
        _remove(pool)
    return "removed pool {} from {}{}".format(name, pool.path, placed)


def _remove(pool: "Pool") -> None:
    """Under the lock of the pool, which whoever makes a volume holds while its room is taken."""
    with pool.lock():
        held = sorted(entry for entry in os.listdir(pool.path) if entry not in _NOTHING)
        if held:
            raise InvalidArgument(
                (
                    "pool {} holds {} volumes, copies or other files, so it is not removed: {}; "
                    "delete the claims of the volumes, and snapshots, archives (archived-...) and "
                    "what has no claim with: loop delete NAME; loop list has them all, and loop "
                    "doctor names what is not flexvol's"
                ).format(pool.name, len(held), ", ".join(held[:10]))
            )
        config.forget(pool.name)
        os.unlink(pools.FILE, dir_fd=pool.directory)
        pool.remove_locks()
    os.fsync(pool.directory)
    _remove_directory(pool.path)


def _remove_directory(path: str) -> None:
    """The empty directory of a removed pool; a disk that is mounted there, or what mkfs made on
    it, stays."""
    try:
        os.rmdir(path)
    except OSError:
        return
