"""Pools are made, noted in /etc/flexvol/pools.json, cordoned and removed here, by what a person or
`flexvol install` runs. Callouts never do so."""

import os

from node.drivers.loop import locks, node_pools, pool_settings, pools
from node.host import config, files
from shared.protocol import Failure, InvalidArgument, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterator, List, Tuple

    from node.drivers.loop.pools import Pool

# Where an older flexvol notes the id of the pool `default`: on the pool's own disk, if that is
# mounted at the root of the pools. The note is kept for a node that goes back to an older flexvol,
# which would else make another pool in the place of a pool that is away.
_OLDER_NOTE = ".default-pool-was-made"
# Files that an empty pool may have: flexvol's, and the one that mkfs makes.
_NOTHING = (*pools.OWN_FILES, pools.MADE_BY_MKFS)
_MOST_NAMES = 10  # of what a pool holds, in one sentence


def make(name: str, reserve: str, overcommit: float, replace: bool, unless_removed: bool) -> str:
    """Makes the pool `name`, or finds it, and notes it on this node.

    reserve, overcommit: its limits, as pool_settings has them. replace: gives up another pool of
    that name that is noted, there or away. unless_removed: does nothing if a person has removed the
    pool. Returns a sentence about the pool. Raises
    InvalidArgument if the pool's directory holds other things, or if another pool of that name is
    noted, without `replace`."""
    if unless_removed and config.is_removed(name):
        return _not_made_again(name)
    pool, is_new = _make_or_find(name, reserve, overcommit, replace)
    with pool:
        how = "made" if is_new else "found"
        sentence = "{} pool {} at {} (id {})".format(how, pool.name, pool.path, pool.id)
        if _shares_disk_above(pool):
            sentence += (
                "; the pool shares its disk with the directory above it, so both may promise "
                "the same room. If a disk was to be mounted there: loop pool remove {0}, then "
                "mkdir -p {1}, mount the disk, loop pool init {0}"
            ).format(name, pool.path)
        return sentence


def _not_made_again(name: str) -> str:
    return (
        "pool {0} was removed from this node by hand, so nothing makes the pool again by itself; "
        "a person does so by: loop pool init {0}"
    ).format(name)


def _shares_disk_above(pool: "Pool") -> bool:
    above = os.stat(os.path.dirname(pool.path))
    return os.fstat(pool.directory).st_dev == above.st_dev


def _make_or_find(name: str, reserve: str, overcommit: float, replace: bool) -> "Tuple[Pool, bool]":
    """As `make` has it. Returns the pool, open, and whether it was made."""
    pool_settings.check_limits(reserve, overcommit)
    path = config.pool_directory(name)
    node_pools.check_answers(name)
    link = pools.linked(name, path)
    if link:
        raise InvalidArgument(link)
    if not replace:
        _check_not_replaced(name)
    config.check_writable()
    os.makedirs(path, 0o700, exist_ok=True)
    with files.open_directory(path) as directory:
        directory.lock("pool " + name, locks.LOCK_SECONDS)
        is_new = not files.exists(directory, pools.FILE)
        if is_new:
            _make_in(directory, path, reserve, overcommit)
        # A pool.json that cannot be read gives no id; open_pool then raises the reason.
        pool_id = pool_settings.id_in(directory)
        with pools.open_pool(name, pool_id) as pool:
            config.remember(name, pool.id, path)
    return pools.open_pool(name), is_new


def _check_not_replaced(name: str) -> None:
    """Raises InvalidArgument if a pool of that name was made on this node, and is away."""
    if name not in config.remembered():
        return
    try:
        with pools.open_pool(name) as pool:
            if pool.replaced_by:
                raise Unavailable(pool.former())
    except pool_settings.Damaged:
        raise
    except Unavailable as absent:
        raise InvalidArgument(
            "{}. No other pool is made in its place: its claims would be taken for lost. Only if "
            "its disk will never come back: --replace".format(absent)
        ) from None


def _make_in(directory: int, path: str, reserve: str, overcommit: float) -> None:
    strange = [entry for entry in os.listdir(directory) if entry not in _NOTHING]
    if strange:
        raise InvalidArgument(
            "{} is not empty ({}); a pool is made in an empty directory".format(path, strange[0])
        )
    os.fchmod(directory, 0o700)
    pool_settings.make(directory, reserve, overcommit)


def cordon(name: str, cordoned: bool) -> str:
    """Writes into pool.json whether the pool takes no new volumes. A callout that has begun goes
    on. Returns a sentence about the pool."""
    with node_pools.open_pool(name) as pool, pool.lock():
        is_new = pool_settings.set_cordoned(pool.directory, cordoned)
    state = "takes new volumes"
    if cordoned:
        state = "takes no new volumes; those in it stay as they are"
    if not is_new:
        state += " (as before)"
    return "pool {} at {} {}".format(name, pool.path, state)


def prepare_node(host_root: str) -> "List[str]":
    """Makes the pool `default` once, and notes each pool that is there, as `flexvol install` does
    at each start on a node.

    host_root: where the node's / is. Returns a sentence for each pool. Raises InvalidArgument if no
    pod could ever mount a volume of `default`."""
    looks = node_pools.look(node_pools.touch, also=(pools.DEFAULT,))
    hang = looks.pop(pools.DEFAULT).error
    if hang:
        sentences = [hang]
    else:
        _refuse_links(host_root)
        sentences = [_prepare_default()]
    for name, look in looks.items():
        sentences.append(look.error or _note_if_there(name))
    return sentences


def _refuse_links(host_root: str) -> None:
    """A container's mount leads through a link, and the driver on the node does not: claims would
    be bound, and no pod would get its volume."""
    root = host_root.rstrip("/")
    link = pools.linked(pools.DEFAULT, config.pool_directory(pools.DEFAULT), root)
    if link:
        raise InvalidArgument(link)


def _prepare_default() -> str:
    """Makes the default pool, once. Where it was made before and is not there now, its disk is
    away: a new pool in its place would fill the disk below, and hide itself when the other is
    back."""
    name = pools.DEFAULT
    older_id = _older_note()
    try:
        with pools.open_pool(name) as pool:
            _note_for_older(older_id, pool.id)
            return _note(pool)
    except Unavailable as absent:
        is_noted = name in config.remembered()
        if older_id and not is_noted and not config.is_removed(name):
            config.remember(name, older_id, config.pool_directory(name))
            is_noted = True
        if is_noted:
            return "{}; it was made before, so it is not made anew".format(absent)
    if config.is_removed(name):
        return _not_made_again(name)
    pool, _ = _make_or_find(
        name, pool_settings.DEFAULT_RESERVE, pool_settings.DEFAULT_OVERCOMMIT, replace=False
    )
    with pool:
        _note_for_older(older_id, pool.id)
        return "made pool {} at {} (id {})".format(name, pool.path, pool.id)


def _note_for_older(noted_id: str, pool_id: str) -> None:
    if noted_id:
        return
    try:
        with files.open_directory(config.ROOT) as root:
            files.write(root, _OLDER_NOTE, (pool_id + "\n").encode("ascii"))
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
    """Notes the pool, if it is there. Returns a sentence about the pool."""
    try:
        with pools.open_pool(name) as pool:
            return _note(pool)
    except (Unavailable, InvalidArgument) as absent:
        return str(absent)


def _note(pool: "Pool") -> str:
    """Notes the open pool, and returns a sentence about it. A former pool stays a former pool: only
    a person puts it in the place of the pool that replaced it, with --replace."""
    if pool.replaced_by:
        return pool.former()
    is_new = False
    if _is_to_note(pool):
        is_new = config.remember(pool.name, pool.id, pool.path)
    how = "noted" if is_new else "found"
    return "{} pool {} at {} (id {})".format(how, pool.name, pool.path, pool.id)


def _is_to_note(pool: "Pool") -> bool:
    """Whether the node has no note of the pool, or another path for it."""
    known = config.remembered().get(pool.name)
    if known is None:
        return True
    return known.id == pool.id and known.path != pool.path


def table() -> "List[Dict[str, str]]":
    """Returns name, id, path and state of each pool of this node."""
    known = config.remembered()
    rows = []
    for name, look in node_pools.look(_row_of).items():
        row = {"name": name, "id": "", "path": ""}
        if name in known:
            row["id"] = known[name].id
        if look.error:
            row["state"] = look.error
        else:
            row.update(look.entries[0])
        try:
            row["path"] = config.pool_directory(name)
        except (Unavailable, InvalidArgument) as error:
            row["state"] = str(error)
        if name not in known:
            row["state"] += " (not noted: loop pool init {} notes it)".format(name)
        rows.append(row)
    return rows


def _row_of(name: str) -> "Iterator[Dict[str, str]]":
    """Work for node_pools.look."""
    try:
        with pools.open_pool(name) as pool:
            yield {"id": pool.id, "state": _state(pool)}
    except (Failure, OSError) as error:
        yield {"state": str(error)}


def _state(pool: "Pool") -> str:
    if pool.replaced_by:
        return pool.former()
    if pool.cordoned:
        return "cordoned"
    return "takes volumes"


def remove(name: str, away: bool) -> str:
    """Takes an empty pool from this node.

    away: only forgets a pool whose disk will not come back. Returns a sentence about the pool.
    Raises InvalidArgument while the pool holds anything, and if it is away without `away`, or there
    with `away`."""
    _check_known(name)
    placed = ""
    if name in config.pools():
        placed = "; {} places it still: take it out there".format(config.CONFIG)
    try:
        pool = node_pools.open_pool(name)
    except pool_settings.Damaged:
        raise
    except Unavailable as absent:
        if not away:
            raise InvalidArgument(
                "{}. A pool that is away may hold volumes, so it is not removed. Only if its "
                "disk will never come back: --away, which forgets the pool".format(absent)
            ) from None
        config.note_removed(name)
        return "forgot pool {}, which is away; its disk is as it was{}".format(name, placed)
    with pool:
        if away:
            raise InvalidArgument(
                "pool {0} is there, so it is not removed as away; without --away: loop pool "
                "remove {0}".format(name)
            )
        if pool.replaced_by:
            # The note is of the pool that replaced it, and would be forgotten too.
            raise InvalidArgument(pool.former())
        _remove(pool)
    return "removed pool {} from {}{}".format(name, pool.path, placed)


def _check_known(name: str) -> None:
    """Raises InvalidArgument if this node has no pool of that name."""
    known = node_pools.names()
    if name in known:
        return
    known_pools = " and ".join("pool " + other for other in known)
    raise InvalidArgument(
        "this node has no pool {}; it has {}".format(name, known_pools or "no pool at all")
    )


def _remove(pool: "Pool") -> None:
    """Under the lock of the pool, which whoever makes a volume holds while its room is taken."""
    with pool.lock():
        held = sorted(entry for entry in os.listdir(pool.path) if entry not in _NOTHING)
        if held:
            raise InvalidArgument(
                "pool {} holds {} volumes, copies or other files, so it is not removed: {}; "
                "delete the claims of the volumes, and snapshots, archives (archived-...) and "
                "what has no claim with: loop delete NAME; loop list has them all, and loop "
                "doctor names what is not flexvol's".format(
                    pool.name, len(held), ", ".join(held[:_MOST_NAMES])
                )
            )
        config.note_removed(pool.name)
        os.unlink(pools.FILE, dir_fd=pool.directory)
        pool.locks.remove()
    os.fsync(pool.directory)
    _remove_directory(pool.path)


def _remove_directory(path: str) -> None:
    """Removes the empty directory of a removed pool; a disk that is mounted there, or what mkfs
    made on it, stays."""
    try:
        os.rmdir(path)
    except OSError:
        return
