"""Snapshots: copies of a volume that no pod sees, made and deleted by a person.

On the node itself, by root, the file system of a volume in use is frozen for that moment: what its
pods wrote is on the image, and nothing is half done. From elsewhere, as in the provisioner's
container, the copy is as after a power cut."""

import errno
import os
import select
import signal
import time

from node.drivers.loop import clones, node_pools, records, removing, snapshot_numbers, volumes
from node.host import files, freezing
from shared.protocol import Busy, Failure, Internal, InvalidArgument, NotFound, Pending, check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, List, Optional, Tuple

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.records import Record
    from node.drivers.loop.volumes import Volume

_FROZEN_SECONDS = 30  # to share blocks takes far less, and pods wait for it
FROZEN = "frozen"
_NAMES_A_SECOND = 1000  # how many snapshots of one volume get a name after the same second
_TAKEN = {
    FROZEN: "its file system was frozen for it, so all written before is in it",
    clones.IN_USE: "crash-consistent: what its pods had fsynced is in it, as after a power cut",
    clones.UNMOUNTED: "no pod was using it",
}


def make(of: str, name: str, keep: "Optional[int]", pool_name: "Optional[str]") -> "Iterator[str]":
    """Makes a snapshot of the volume `of`, called `name` or after the time, and deletes the oldest
    ones of that volume beyond `keep`. Says what it did, line by line. pool_name: as
    node_pools.pool_with has it."""
    with node_pools.pool_with(check_name("volume name", of), pool_name) as pool:
        record, how = _make_named(pool, of, name)
        yield "made {} of {}: {}".format(record.name, of, _TAKEN[how])
        if keep is None:
            return
        snapshots = snapshot_numbers.in_order(pool, of)
        failures = []
        for old in surplus(snapshots, record.snapshot_order, keep):
            try:
                yield _delete(pool, old.name, old)
            except NotFound:
                continue  # another run with --keep has deleted it
            except Failure as failure:
                failures.append(failure)
        if failures:
            raise failures[0]


def surplus(snapshots: "List[Record]", newest: "Tuple[int, str, str]", keep: int) -> "List[Record]":
    """Which of the snapshots of one volume are deleted after a new one was made.

    snapshots: their records, the oldest first. newest: the place of the new one in that order.
    keep: how many may be left, the new one included; at least 1.

    Only older ones are counted and deleted: the new one stays, and so do those that other runs
    have made since, whose own `keep` then counts this one."""
    older = [one for one in snapshots if one.snapshot_order < newest]
    count = len(older) + 1 - keep
    return older[: max(0, count)]


def _make_named(pool: "Pool", of: str, name: str) -> "Tuple[Record, str]":
    """Makes a snapshot called `name`, or after the time if that is "". Returns its record, and in
    which state of its source it was made."""
    now = time.time()
    for candidate in [check_name("snapshot name", name)] if name else _free_names(of, now):
        with volumes.get(pool, of) as source, pool.volume_lock(candidate):
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
        "{} is there already in pool {}; choose another name".format(name or of, pool.name)
    )


def _free_names(of: str, now: float) -> "Iterator[str]":
    """Names after the time. The second of two snapshots within one second gets a number too."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    first = check_name("snapshot name", "{}-{}".format(of, stamp))
    yield first
    for number in range(2, _NAMES_A_SECOND):
        yield check_name("snapshot name", "{}-{}".format(first, number))


def delete(name: str, pool_name: "Optional[str]") -> str:
    """Deletes the snapshot of that name; says so. pool_name: as node_pools.pool_with has it."""
    with node_pools.pool_with(check_name("snapshot name", name), pool_name) as pool:
        return _delete(pool, name)


def _delete(pool: "Pool", name: str, expected: "Optional[Record]" = None) -> str:
    """Deletes the snapshot `name`. expected: its record; another snapshot that has taken its name
    meanwhile is then left, with NotFound."""
    with pool.volume_lock(name), volumes.get(pool, name) as found:
        if found.record.kind != records.SNAPSHOT:
            raise InvalidArgument(
                "{} is a volume and no snapshot; to delete a volume, delete its claim".format(name)
            )
        if expected is not None and found.record != expected:
            raise NotFound(
                (
                    "snapshot {} was replaced by another one just now; the new one is left alone"
                ).format(name)
            )
        removing.delete(found)
    return "deleted {} of {}".format(name, found.record.source)


def _make(source: "Volume", record: "Record") -> "Tuple[Record, str]":
    """Returns the record of the snapshot, and in which state of the source it was made."""
    frozen = False

    def still(share: "Callable[[], bool]", in_use: bool) -> bool:
        nonlocal frozen
        path = next(iter(source.mounted_at()), "") if in_use else ""
        if path:
            try:
                shared = _frozen(path, share)
                frozen = shared
                return shared
            except PermissionError:
                pass  # it is not as good without
        return clones.at_once(source, share, in_use)

    while True:
        try:
            made = clones.make(source, record, still)
            break
        except Pending:  # no limit of time is ours
            continue
    with made:
        if frozen:
            made.save(taken=FROZEN)
        return made.record, made.record.taken


def _frozen(path: str, work: "Callable[[], bool]") -> bool:
    """What `work` returns, which is done while the file system at `path` is frozen. A child freezes
    it, and thaws it when we are done, when we have ended in whatever way, or when the time is over.
    Raises PermissionError, or Busy."""
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if os.fstat(root).st_dev == os.stat(os.path.dirname(path)).st_dev:
        # Unmounted meanwhile: it is the disk below.
        os.close(root)
        raise Busy("the volume was unmounted from {} just now; try again".format(path))
    # So that others see that it is frozen by us. Our child keeps the lock for as long as it is.
    files.try_lock(root)
    ours, orders = os.pipe()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(orders)
            os.close(told)
            _freeze_until(root, ours, tell)
        finally:
            os._exit(1)
    os.close(ours)
    os.close(tell)
    try:
        code = os.read(told, 16).decode()
        if code != "0":
            _raise(path, int(code or errno.EIO))
        done = work()
    finally:
        os.close(orders)
        late = os.read(told, 16) != b"in time"
        os.close(told)
        if os.waitpid(child, 0)[1] != 0:
            freezing.thaw(root)  # it was killed
        os.close(root)
    if late:
        raise Busy(
            "the file system at {} did not stay frozen: {} s are the most".format(
                path, _FROZEN_SECONDS
            )
        )
    return done


def _raise(path: str, code: int) -> None:
    if code == errno.EPERM:
        raise PermissionError(code, os.strerror(code))
    if code == errno.EBUSY:
        raise Busy(
            (
                "the file system at {0} is frozen by somebody else; unless a backup is at work on "
                "it, thaw it with: fsfreeze -u {0}"
            ).format(path)
        )
    raise Internal("the file system at {} cannot be frozen: {}".format(path, os.strerror(code)))


def _freeze_until(root: int, orders: int, tell: int) -> None:
    """In the child: tells how the freeze went, and in the end whether it held. What ends our parent
    does not end us."""
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        freezing.freeze(root)
    except OSError as error:
        os.write(tell, str(error.errno).encode())
        os._exit(0)
    try:
        os.write(tell, b"0")
        in_time = bool(select.select([orders], [], [], _FROZEN_SECONDS)[0])
    finally:
        freezing.thaw(root)
    os.write(tell, b"in time" if in_time else b"late")
    os._exit(0)
