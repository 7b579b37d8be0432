"""The pools of this node: which pools the node has, which of them answers, and which of them holds
a volume.

A node knows its pools from /etc/flexvol (see node/host/config.py) and from the directory of all
pools. The notes in /etc/flexvol tell a pool whose disk is away from a pool that never was. Nothing
here changes a pool or the notes; by_hand/pool_setup.py does."""

import os

from node.drivers.loop import pools
from node.host import apart, config
from shared.protocol import Failure, InvalidArgument, NotFound, Unavailable, is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

    from node.drivers.loop.pools import Pool

    Work = Callable[[str], Iterator[Any]]

# The pools that gave no answer to this process, each with the sentence about that. A command that
# looks at its pools several times waits only once for a pool that hangs.
_silent: "Dict[str, str]" = {}


def names() -> "List[str]":
    """Returns the names of this node's pools, sorted: the pools that were made here, those that
    config.json places, and those that are found below the root of the pools. Some may be away."""
    certain = _certain()
    unnoted = _unnoted()
    if unnoted is None:
        return sorted(certain or {pools.DEFAULT})
    found = set()
    for name, look in _look_at(unnoted, _is_pool).items():
        # A disk that does not answer may be a pool.
        if look.error or look.entries[0]:
            found.add(name)
    return sorted(certain | found)


def look(
    work: "Work",
    also: "Sequence[str]" = (),
    seconds: float = apart.ALL_SECONDS,
) -> "Dict[str, apart.Look]":
    """Does the work on each pool of this node, on all pools at once.

    work: as apart.look has it. also: names of pools that are looked at whether the node has them or
    not. seconds: by when all looks end.

    Returns the looks by the names of the pools, sorted. A directory below the root of the pools
    that is in no note is looked at too, and left out if it turns out to be no pool."""
    certain = _certain() | set(also)
    unnoted = _unnoted()
    if unnoted is None:
        return _no_answers(certain or {pools.DEFAULT})

    def work_in_pool(name: str) -> "Iterator[Any]":
        if name in certain or _exists(_pool_file(name)):
            yield from work(name)

    looks = _look_at(sorted(certain.union(unnoted)), work_in_pool, seconds)
    for name in sorted(set(looks) - certain):
        is_pool = looks[name].entries or looks[name].error
        if not is_pool:
            del looks[name]
    return looks


def look_at(name: str, work: "Work") -> "apart.Look":
    """Does the work on the pool, or other directory, of that name, as `look` does on all pools."""
    return _look_at([name], work)[name]


def open_pool(name: str) -> "Pool":
    """Opens the pool for a command of a person, as pools.open_pool does for a callout. Raises
    Unavailable also if the pool does not answer."""
    check_answers(name)
    return pools.open_pool(name)


def pool_with(name: str, pool_name: "Optional[str]") -> "Pool":
    """Opens the pool that holds the volume or snapshot `name`: the pool called `pool_name`, or the
    only pool of this node that holds that name.

    Raises NotFound, naming the pools that could not be seen, and InvalidArgument if several pools
    hold the name."""
    if pool_name is not None:
        return open_pool(pool_name)
    holder, unseen = only_holder(name, lambda pool: name in pool.names())
    if holder is not None:
        return pools.open_pool(holder)
    absent = "no volume or snapshot {} is in the pools of this node; see: loop status".format(name)
    raise NotFound("; ".join([absent, *unseen]))


def only_holder(name: str, holds: "Callable[[Pool], bool]") -> "Tuple[Optional[str], List[str]]":
    """Looks for the only pool of this node that holds the volume `name`.

    holds: whether a pool holds the volume. Returns the name of the pool, or None, and a sentence
    for each pool that could not be seen. Raises InvalidArgument if several pools hold the name, as
    nothing tells which of the volumes is meant."""

    def look_for(pool_name: str) -> "Iterator[Any]":
        try:
            with pools.open_pool(pool_name) as pool:
                yield holds(pool)
        except (Failure, OSError) as error:
            yield str(error)

    holders: "List[str]" = []
    unseen: "List[str]" = []
    for pool_name, seen in look(look_for).items():
        answer = seen.error or seen.entries[0]
        if isinstance(answer, str):
            unseen.append(answer)
        elif answer:
            holders.append(pool_name)
    if len(holders) > 1:
        all_holders = " and in ".join("pool " + holder for holder in holders)
        raise InvalidArgument(
            "{} is in {}, so nothing was done; name the pool that is meant, as with: --pool "
            "{}".format(name, all_holders, holders[0])
        )
    holder = holders[0] if holders else None
    return holder, unseen


def check_answers(name: str) -> None:
    """Raises Unavailable if the disk or server of the pool hangs."""
    hang = look_at(name, touch).error
    if hang:
        raise Unavailable(hang)


def touch(name: str) -> "Iterator[bool]":
    """Work for `look` that reads from the pool, so that a pool that hangs shows itself. Whoever
    opens the pool next learns why the pool cannot be opened."""
    try:
        with pools.open_pool(name) as pool:
            yield pool.names() != []
    except (Failure, OSError):
        yield False


def _certain() -> "Set[str]":
    """The names of the pools that the node has noted or that config.json places. Raises Unavailable
    if a file in /etc/flexvol cannot be read."""
    return set(config.pools()) | set(config.remembered())


def _unnoted() -> "Optional[List[str]]":
    """The names of the directories below the root of the pools that are in no note, so that only a
    look tells whether they are pools. None if the root itself does not answer, and so no pool
    does."""
    root = look_at(config.ROOT, lambda _: iter([config.below_root()]))
    if root.error:
        return None
    noted = {entry.path for entry in config.remembered().values()}
    noted.update(config.pools().values())
    unnoted = []
    for name in root.entries[0]:
        if is_name(name) and os.path.join(config.ROOT, name) not in noted:
            unnoted.append(name)
    return unnoted


def _no_answers(names: "Set[str]") -> "Dict[str, apart.Look]":
    return {name: apart.Look([], apart.unanswered(name)) for name in sorted(names)}


def _look_at(
    names: "Sequence[str]", work: "Work", seconds: float = apart.ALL_SECONDS
) -> "Dict[str, apart.Look]":
    """The looks at the pools of these names, in this order. A pool that was silent before is not
    asked again."""
    asked = [name for name in names if name not in _silent]
    answers = apart.look(asked, work, seconds=seconds)
    for name, answer in answers.items():
        if answer.error:
            _silent[name] = answer.error
    looks = {}
    for name in names:
        looks[name] = answers.get(name) or apart.Look([], _silent[name])
    return looks


def _is_pool(name: str) -> "Iterator[bool]":
    """Work for `look`: whether the directory below the root is a pool."""
    yield _exists(_pool_file(name))


def _pool_file(name: str) -> str:
    return os.path.join(config.ROOT, name, pools.FILE)


def _exists(path: str) -> bool:
    """Whether the file is there. Raises PermissionError where os.path.exists would say no."""
    try:
        os.stat(path)
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
