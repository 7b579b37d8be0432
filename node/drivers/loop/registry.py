"""Which pools this node has: they are made, found again, noted in /etc/flexvol/pools.json, and
removed here.

The note is what tells a pool whose disk is away from a pool that never was. Only what a person or
`flexvol install` runs makes, notes or removes a pool; callouts only read."""

import binascii
import os

from node.drivers.loop import pools
from node.host import apart, config, files
from shared.protocol import Failure, InvalidArgument, NotFound, Unavailable, is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

    from node.drivers.loop.pools import Pool

_SCHEMA = 1
_LOCK_SECONDS = 20
# Where an older flexvol notes the id of the pool `default`: on the pool's own disk, if that is
# mounted at the root of the pools. It is kept for a node that goes back to an older flexvol, which
# would else make another pool in the place of one that is away.
_OLDER_NOTE = ".default-pool-was-made"
# What may be in the directory of a pool that holds nothing: ours, and what mkfs makes.
_NOTHING = (*pools.OWN_FILES, "lost+found")


# The pools that gave no answer to this process, each with the sentence about that. A command that
# looks at its pools several times waits only once for a pool that hangs.
_silent: "Dict[str, str]" = {}


def names() -> "List[str]":
    """The pools of this node: those that were made here, those that the config places, and those
    that are found below the root. Some may be away."""
    certain = _certain()
    strangers = _strangers()
    if strangers is None:
        return sorted(certain or {pools.DEFAULT})
    looks = _look_at(strangers, _is_pool)
    # A disk that does not answer may be a pool.
    found = {name for name, look in looks.items() if look.error or look.entries[0]}
    return sorted(certain | found)


def look(
    work: "Callable[[str], Iterator[Any]]",
    also: "Sequence[str]" = (),
    seconds: float = apart.ALL_SECONDS,
) -> "Dict[str, apart.Look]":
    """Does the work on each pool of this node, all at once, as apart.look has it; the looks by the
    names of the pools, sorted.

    also: names of pools that are looked at whether the node has them or not. A directory below the
    root that is in no note is looked at too, and left out if it turns out to be no pool."""
    certain = _certain() | set(also)
    strangers = _strangers()
    if strangers is None:
        return {
            name: apart.Look([], apart.unanswered(name))
            for name in sorted(certain or {pools.DEFAULT})
        }

    def work_in_pool(name: str) -> "Iterator[Any]":
        if name in certain or _is_there(_pool_file(name)):
            yield from work(name)

    looks = _look_at(sorted(certain.union(strangers)), work_in_pool, seconds)
    return {
        name: look for name, look in looks.items() if name in certain or look.entries or look.error
    }


def look_at(name: str, work: "Callable[[str], Iterator[Any]]") -> "apart.Look":
    """Does the work on the pool, or other directory, of that name, as `look` does on all."""
    return _look_at([name], work)[name]


def _look_at(
    names: "Sequence[str]",
    work: "Callable[[str], Iterator[Any]]",
    seconds: float = apart.ALL_SECONDS,
) -> "Dict[str, apart.Look]":
    asked = [name for name in names if name not in _silent]
    looks = apart.look(asked, work, seconds=seconds)
    _silent.update({name: look.error for name, look in looks.items() if look.error})
    return {name: looks.get(name) or apart.Look([], _silent[name]) for name in names}


def _certain() -> "Set[str]":
    """The names of the pools that the node has noted or that its config places. Raises Unavailable
    if a file in /etc/flexvol cannot be read."""
    return set(config.pools()) | set(config.remembered())


def _strangers() -> "Optional[List[str]]":
    """What lies below the root of the pools and is in no note, so that a look must tell whether it
    is a pool. None if the root itself does not answer, and so no pool does."""
    root = look_at(config.ROOT, lambda _: iter([config.below_root()]))
    if root.error:
        return None
    noted = {entry.path for entry in config.remembered().values()}
    taken = noted.union(config.pools().values())
    return [
        name
        for name in root.entries[0]
        if is_name(name) and os.path.join(config.ROOT, name) not in taken
    ]


def open_pool(name: str) -> "Pool":
    """As pools.open_pool, for a command of a person: raises Unavailable if the pool does not
    answer."""
    _check_answers(name)
    return pools.open_pool(name)


def pool_with(name: str, pool_name: "Optional[str]") -> "Pool":
    """The pool that holds the volume or snapshot `name`, open: the one called `pool_name`, or the
    only one of this node. Raises NotFound, with the pools that could not be seen, and
    InvalidArgument if several pools hold that name."""
    if pool_name is not None:
        return open_pool(pool_name)
    holder, unseen = only_holder(name, lambda pool: name in pool.names())
    if holder is not None:
        return pools.open_pool(holder)
    absent = "no volume or snapshot {} is in the pools of this node; see: loop status".format(name)
    raise NotFound("; ".join([absent, *unseen]))


def only_holder(name: str, holds: "Callable[[Pool], bool]") -> "Tuple[Optional[str], List[str]]":
    """The only pool of this node that holds the volume `name`, or None; and a sentence for each
    pool that could not be seen. Raises InvalidArgument if several pools hold that name, as nothing
    tells which of the volumes is meant."""

    def look_for(pool_name: str) -> "Iterator[Any]":
        try:
            with pools.open_pool(pool_name) as pool:
                yield holds(pool)
        except (Failure, OSError) as error:
            yield str(error)

    holders: "List[str]" = []
    unseen: "List[str]" = []
    for pool_name, seen in look(look_for).items():
        if seen.error or isinstance(seen.entries[0], str):
            unseen.append(seen.error or seen.entries[0])
        elif seen.entries[0]:
            holders.append(pool_name)
    if len(holders) > 1:
        raise InvalidArgument(
            "{} is in {}, so nothing was done; name the pool that is meant, as with: --pool "
            "{}".format(name, " and in ".join("pool " + holder for holder in holders), holders[0])
        )
    holder = holders[0] if holders else None
    return holder, unseen


def _check_answers(name: str) -> None:
    """Raises Unavailable if the disk or server of the pool hangs."""
    hang = look_at(name, _touch).error
    if hang:
        raise Unavailable(hang)


def _touch(name: str) -> "Iterator[bool]":
    try:
        with pools.open_pool(name) as pool:
            yield pool.names() != []
    except (Failure, OSError):
        yield False  # whoever opens the pool is told why


def _is_pool(name: str) -> "Iterator[bool]":
    """Whether the directory below the root, which is in no note, is a pool."""
    yield _is_there(_pool_file(name))


def _pool_file(name: str) -> str:
    return os.path.join(config.ROOT, name, pools.FILE)


def _is_there(path: str) -> bool:
    """Raises PermissionError where os.path.exists would say no."""
    try:
        os.stat(path)
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_remembered(name: str) -> bool:
    return name in config.remembered()


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
    _check_answers(name)
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
    if not is_remembered(name):
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
    looks = look(_touch, also=(pools.DEFAULT,))
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
        if older_id and not is_remembered(name) and not config.is_default_removed():
            config.remember(name, older_id, config.pool_directory(name))
        if is_remembered(name):
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
    for name, seen in look(row_of).items():
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
    known = names()
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
        pool = open_pool(name)
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
