"""The work of tools on a file system that no pod has: undo what was stopped, give a clone its UUID,
check and repair, grow.

Such work may take hours, so it goes on in a process of its own; see node/host/work.py."""

import os

from node.drivers.loop import images
from node.host import undo, work
from shared.protocol import Failure, Pending, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    from node.drivers.loop.attached import Attached
    from node.drivers.loop.volumes import Volume

# A check writes, and keeps what it overwrites: it begins only where the pool has this much room.
_REPAIR_BYTES = 16 * images.MIB


def make_ready(attached: "Attached") -> None:
    """Undoes what was stopped, gives a clone its UUID, and repairs what the kernel noted as bad.

    A clone has its source's UUID until its first mount, and no kernel mounts two file systems of
    one UUID. Raises Pending if the work goes on when this callout cannot wait any longer."""
    volume = attached.volume
    file_system = attached.file_system
    new_uuid = volume.record.new_uuid
    is_bad = undo.is_left(volume.directory) or attached.has_errors()
    has_other_uuid = bool(new_uuid) and file_system.uuid(attached.device) != new_uuid

    def task() -> None:
        target = attached.tool_target()
        needs_check = file_system.recover(target)
        if has_other_uuid and file_system.uuid(attached.device) != new_uuid:
            file_system.set_uuid(target, new_uuid)
        if needs_check or attached.has_errors():
            _check_room_to_repair(volume)
            file_system.repair(target, needs_check)

    if is_bad:
        _work(attached, "checked", task)
    elif has_other_uuid:
        _work(attached, "prepared for its first mount", task)
    if new_uuid:
        volume.save(fs_uuid=new_uuid, new_uuid="")


def _check_room_to_repair(volume: "Volume") -> None:
    disk = os.fstatvfs(volume.pool.directory)
    if disk.f_bavail * disk.f_frsize < _REPAIR_BYTES:
        raise Unavailable(
            "volume {} needs a check, which writes, and its pool {} is full; free "
            "some of its disk".format(volume.name, volume.pool.name)
        )


def grow(attached: "Attached") -> "Optional[Failure]":
    """Grows the file system to the size of the record by a tool, where the kernel did not permit
    the growth of a mounted one.

    Returns the failure of the growth, after which the file system is as it was before; None if the
    file system has grown. Raises a failure if the file system is not as it was before."""
    volume = attached.volume
    earlier = work.earlier_failure(volume.directory, _doing(volume, "grown"))
    if earlier is not None:
        return earlier

    def task() -> None:
        target = attached.tool_target()
        try:
            attached.file_system.grow_unmounted(target)
        except (Failure, OSError) as error:
            attached.file_system.recover(target)
            raise attached.not_grown(error) from None

    try:
        _work(attached, "grown", task)
        return None
    except Pending:
        raise
    except Failure as failure:
        if undo.is_left(volume.directory):
            raise
        return failure


def _work(attached: "Attached", participle: str, task: "Callable[[], None]") -> None:
    """Does the task in a process of its own, which keeps the volume's lock, the image's, and an
    older flexvol's."""
    volume = attached.volume
    keep = [volume.pool.directory, attached.device, attached.lock.descriptor]
    with volume.pool.locks.lock_out_older(volume.name) as older:
        keep.extend(older.descriptors)
        site = work.Site(volume.name, volume.directory, keep)
        work.do(site, _doing(volume, participle), task)


def _doing(volume: "Volume", participle: str) -> str:
    return "its {} is being {}".format(volume.fs_type, participle)
