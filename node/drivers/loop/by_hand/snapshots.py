"""Snapshots: copies of a volume that no pod sees, made and deleted by a person.

On the node itself, by root, the file system of a volume in use is frozen for that moment; see
frozen.py. From elsewhere, as in the provisioner's container, the copy is as after a power cut."""

import sys
import time

from node.drivers.loop import clones, node_pools, records, removing, snapshot_numbers, volumes
from node.drivers.loop.by_hand import frozen
from node.host import files
from shared import terminal
from shared.protocol import Failure, InvalidArgument, NotFound, Pending, check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, Iterator, List, Optional, Tuple

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.records import Record
    from node.drivers.loop.volumes import Volume

# In which state of its source a snapshot was made, as its record has it; beside clones.IN_USE and
# clones.UNMOUNTED.
FROZEN = "frozen"
_NAMES_A_SECOND = 1000  # how many snapshots of one volume get a name after the same second
_TAKEN = {
    FROZEN: "its file system was frozen for it, so all written before is in it",
    clones.IN_USE: "crash-consistent: what its pods had fsynced is in it, as after a power cut",
    clones.UNMOUNTED: "no pod was using it",
}


def make(
    source: str, name: str, keep: "Optional[int]", pool_name: "Optional[str]"
) -> "Iterator[str]":
    """Makes a snapshot of the volume `source`, and deletes the oldest snapshots of that volume
    beyond `keep`.

    name: of the snapshot; "" for a name after the time. keep: None to delete nothing. pool_name: as
    node_pools.pool_with has it. Returns a sentence for each snapshot that was made or deleted."""
    with node_pools.pool_with(check_name("volume name", source), pool_name) as pool:
        new = _make_named(pool, source, name)
        yield "made {} of {}: {}".format(new.name, source, _TAKEN[new.taken])
        if keep is not None:
            yield from _delete_surplus(pool, new, keep)


def _delete_surplus(pool: "Pool", new: "Record", keep: int) -> "Iterator[str]":
    """Goes on after a snapshot that cannot be deleted, and raises its failure in the end."""
    snapshots = snapshot_numbers.in_order(pool, new.source)
    failures = []
    for old in surplus(snapshots, new.snapshot_order, keep):
        try:
            yield _delete(pool, old.name, old)
        except NotFound:
            continue  # another run with --keep has deleted it
        except Failure as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


def surplus(snapshots: "List[Record]", newest: "Tuple[int, str, str]", keep: int) -> "List[Record]":
    """Returns which of the snapshots of one volume are deleted after a new one was made.

    snapshots: their records, the oldest first. newest: the place of the new one in that order.
    keep: how many may be left, the new one included; at least 1.

    Only older ones are counted and deleted: the new one stays, and so do those that other runs
    have made since, whose own `keep` then counts this one."""
    older = [snapshot for snapshot in snapshots if snapshot.snapshot_order < newest]
    count = len(older) + 1 - keep
    return older[: max(0, count)]


def _make_named(pool: "Pool", source_name: str, name: str) -> "Record":
    """As `make` has it. Returns the record of the new snapshot."""
    now = time.time()
    names: "Iterable[str]" = _free_names(source_name, now)
    if name:
        names = [check_name("snapshot name", name)]
    for candidate in names:
        with volumes.get(pool, source_name) as source, pool.volume_lock(candidate):
            source.check_volume()
            if files.exists(pool.directory, candidate):
                continue
            record = source.record.changed(
                name=candidate,
                kind=records.SNAPSHOT,
                new_uuid="",
                thick=False,
                created=records.stamp(now),
                **source.as_used(),
            )
            return _make(source, record)
    raise InvalidArgument(
        "a volume or snapshot {} is already in pool {}; choose another name".format(
            name or source_name, pool.name
        )
    )


def _free_names(source_name: str, now: float) -> "Iterator[str]":
    """Names after the time. The second of two snapshots within one second gets a number too."""
    time_of_name = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    first = check_name("snapshot name", "{}-{}".format(source_name, time_of_name))
    yield first
    for number in range(2, _NAMES_A_SECOND):
        yield check_name("snapshot name", "{}-{}".format(first, number))


def _make(source: "Volume", record: "Record") -> "Record":
    """Makes the snapshot of that record, and returns the record as it is then."""
    keeper = _StillKeeper(source)
    with _copy(source, record, keeper) as snapshot:
        if keeper.has_frozen:
            snapshot.save(taken=FROZEN)
        return snapshot.record


def _copy(source: "Volume", record: "Record", keeper: "_StillKeeper") -> "Volume":
    while True:
        try:
            return clones.make(source, record, keeper.keep_still)
        except Pending as pending:
            # Callouts copy in steps; a command has no limit of time.
            if terminal.is_terminal(sys.stderr):
                print(str(pending).partition(";")[0], file=sys.stderr)


class _StillKeeper:
    """Keeps the source of a snapshot still while its blocks are shared. has_frozen: whether the
    source's file system was frozen for that."""

    def __init__(self, source: "Volume") -> None:
        self.has_frozen = False
        self._source = source

    def keep_still(self, share: "Callable[[], bool]", in_use: bool) -> bool:
        """As clones.make has it."""
        paths = self._source.mounted_at() if in_use else []
        if paths:
            try:
                self.has_frozen = frozen.while_frozen(paths[0], share)
                return self.has_frozen
            except PermissionError:
                pass  # the copy is then as after a power cut
        return clones.at_once(self._source, share, in_use)


def delete(name: str, pool_name: "Optional[str]") -> str:
    """Deletes the snapshot of that name. pool_name: as node_pools.pool_with has it. Returns a
    sentence about the snapshot."""
    with node_pools.pool_with(check_name("snapshot name", name), pool_name) as pool:
        return _delete(pool, name)


def _delete(pool: "Pool", name: str, expected: "Optional[Record]" = None) -> str:
    """Deletes the snapshot `name`. expected: its record; another snapshot that has taken its name
    meanwhile is then left, with NotFound."""
    with pool.volume_lock(name), volumes.get(pool, name) as snapshot:
        if snapshot.record.kind != records.SNAPSHOT:
            raise InvalidArgument(
                "{} is a volume and no snapshot; to delete a volume, delete its claim".format(name)
            )
        if expected is not None and snapshot.record != expected:
            raise NotFound(
                "snapshot {} was replaced by another one just now; the new one is left "
                "alone".format(name)
            )
        removing.delete(snapshot)
    return "deleted {} of {}".format(name, snapshot.record.source)
