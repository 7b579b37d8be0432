"""The snapshots of a volume in their order, by the numbers that they get one after the other."""

from node.drivers.loop import records, volumes
from shared.protocol import Failure, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.records import Record


def in_order(pool: "Pool", source: str) -> "List[Record]":
    """Returns the records of the snapshots of the volume `source`, the oldest first. A damaged
    snapshot is not among them: nothing proves which volume it is of."""
    snapshots = []
    for name in pool.names():
        try:
            with volumes.get(pool, name) as volume:
                record = volume.record
        except (Failure, OSError):  # damaged, or deleted meanwhile
            continue
        if record.kind == records.SNAPSHOT and record.source == source:
            snapshots.append(record)
    return sorted(snapshots, key=lambda record: record.snapshot_order)


def next_number(pool: "Pool", source: str) -> int:
    """Returns the number of the next snapshot of the volume `source`. The caller holds the pool's
    lock until that snapshot has the number.

    Snapshots without a number are given theirs first. An older flexvol made them after all that
    have one: before the update, when none had, or beside this flexvol, or when the node was set
    back."""
    snapshots = in_order(pool, source)
    highest = max((record.number for record in snapshots), default=0)
    for record in snapshots:
        if not record.number:
            highest = _following(highest)
            _give_number(pool, record.name, highest)
    return _following(highest)


def _following(number: int) -> int:
    return min(number + 1, records.NUMBERS - 1)


def _give_number(pool: "Pool", snapshot: str, number: int) -> None:
    try:
        with volumes.get(pool, snapshot) as volume:
            volume.save(number=number)
    except (NotFound, FileNotFoundError):
        return  # it was deleted meanwhile
