"""How a volume is made: in a hidden directory, under the pool's limits, and renamed to its name
when it is complete and on disk."""

import os
import time

from node.drivers.loop import images, records, removing, volumes
from node.drivers.loop.volumes import Volume
from node.host import disks, files, filesystems, loopdev
from shared.options import AWAITED
from shared.protocol import Busy, Failure, Internal, Pending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional

    from node.drivers.loop.class_settings import ClassSettings
    from node.drivers.loop.locks import Lock
    from node.drivers.loop.pools import Pool
    from node.drivers.loop.records import Record
    from shared.options import Options

    # Fills the image of a volume that is being made.
    Fill = Callable[[Volume], None]


def create(
    pool: "Pool", options: "Options", size_bytes: int, settings: "ClassSettings", lock: "Lock"
) -> Volume:
    """Makes and publishes an empty volume that is not there yet.

    lock: of the volume, which mkfs inherits."""
    uuid = filesystems.new_uuid()
    record = new_record(options, size_bytes, uuid, settings)

    def fill(volume: Volume) -> None:
        images.make(volume.directory, uuid, settings, lock)

    return make(pool, record, fill)


def new_record(
    options: "Options", size_bytes: int, uuid: str, settings: "ClassSettings"
) -> "Record":
    """Returns the record of a new volume for the claim of the options. uuid: of its file system."""
    return records.new(
        name=options.volume,
        size_bytes=size_bytes,
        sector_bytes=loopdev.SECTOR_BYTES,
        fs_type=settings.fs_type,
        fs_uuid=uuid,
        thick=settings.thick,
        root=settings.root,
        archive=settings.archive,
        owner=options.claim,
        cluster_uid=options.cluster_uid,
        class_name=options.class_name,
        reclaim_policy=options.reclaim_policy,
        access_modes=options.access_modes,
        mount_options=options.mount_options,
        created=records.stamp(time.time()),
        # The provisioner collects blank volumes, and not those that a person had made for a claim
        # to come.
        blank=options.claim.uid != AWAITED,
    )


def make(pool: "Pool", record: "Record", fill: "Fill") -> Volume:
    """Makes and publishes the volume of that record. The caller holds the volume's lock.

    fill: fills the image. When `fill` raises Pending or Busy after it has noted `copied_bytes` in
    the record, the hidden directory stays, and the next call goes on with the copy. After any other
    failure nothing is left."""
    volume = _continued(pool, record)
    hidden = volumes.MAKING + record.name
    try:
        if volume is None:
            volume = _begin(pool, record, hidden)
        _fill(volume, fill)
        volume.change(copy_of=None, copied_bytes=None, copied_to=None)
        _publish(volume, hidden)
        return volume
    except BaseException as error:
        goes_on = _goes_on(volume, error)
        if volume is not None:
            volume.close()
        if not goes_on:
            removing.remove(pool, hidden)
        raise


def _begin(pool: "Pool", record: "Record", hidden: str) -> Volume:
    """Makes the hidden directory with an empty image of the full length, under the lock of the
    pool's room."""
    removing.remove(pool, hidden)  # left by a crash; the lock is ours, so nobody is making it
    with pool.lock():
        pool.check_open()
        pool.check_room(record.size_bytes, record.size_bytes)
        os.mkdir(hidden, 0o700, dir_fd=pool.directory)
        directory = files.open_below(pool.directory, hidden)
        with directory:
            images.reserve(directory, record.size_bytes)
            return Volume(pool, record.name, directory.kept_open(), record)


def _fill(volume: Volume, fill: "Fill") -> None:
    """Fills the image. A tool that reports that the pool's disk is full or broken gets the reason
    that such an error of our own has: the claim may go to another node."""
    try:
        fill(volume)
    except Internal as error:
        about = "volume {} in pool {}".format(volume.name, volume.pool.name)
        raise disks.failure_in(error.message, about) or error from None


def _goes_on(volume: "Optional[Volume]", error: BaseException) -> bool:
    """Whether the next call goes on with the copy that this error has stopped."""
    if volume is None or volume.record.copied_bytes is None:
        return False
    return isinstance(error, (Pending, Busy))


def _publish(volume: Volume, hidden: str) -> None:
    """Gives a volume that is complete its name. A snapshot gets its number too, under the lock of
    the pool's room: no other snapshot gets the same number."""
    if volume.record.kind != records.SNAPSHOT:
        _rename(volume, hidden)
        return
    from node.drivers.loop import snapshot_numbers  # late: no callout makes snapshots

    with volume.pool.lock():
        volume.change(number=snapshot_numbers.next_number(volume.pool, volume.record.source))
        _rename(volume, hidden)


def _rename(volume: Volume, hidden: str) -> None:
    """Writes the record and gives the directory the volume's name, on disk when it returns."""
    directory = volume.pool.directory
    volume.save()
    os.rename(hidden, volume.name, src_dir_fd=directory, dst_dir_fd=directory)
    try:
        os.fsync(directory)
    except OSError as error:
        # The volume is there, so this is no failure after which another node may make it.
        raise Internal(
            "volume {} is made in pool {}, and it is not known whether the disk "
            "keeps it: {}; see dmesg".format(volume.name, volume.pool.name, error.strerror)
        ) from None


def find_unfinished(pool: "Pool", name: str) -> "Optional[Volume]":
    """Opens the copy called `name` that waits for the next call to go on with it; None if no such
    copy is there. The caller holds the volume's lock."""
    try:
        volume = volumes.find(pool, name, volumes.MAKING)
    except Internal:  # a call that was killed left no record, and the next sweep removes that
        return None
    if volume is not None and volume.record.copied_bytes is None:
        volume.close()
        return None
    return volume


def remove_unfinished(volume: Volume) -> None:
    """Removes the copy that `find_unfinished` opened. The caller holds the volume's lock."""
    removing.remove(volume.pool, volumes.MAKING + volume.record.name)


def _continued(pool: "Pool", record: "Record") -> "Optional[Volume]":
    """Opens the copy that an earlier call has begun for the volume of that record. Returns None if
    no call has, or if the source has changed since."""
    volume = find_unfinished(pool, record.name)
    if volume is None:
        return None
    before = volume.record
    is_same = (
        before.copy_of == record.copy_of
        and before.size_bytes == record.size_bytes
        and before.thick == record.thick
    )
    if not is_same or before.copied_to != _image_identity(volume):
        volume.close()
        return None
    continued = record.changed(copied_bytes=before.copied_bytes, copied_to=before.copied_to)
    return Volume(pool, record.name, volume.directory, continued)


def _image_identity(volume: Volume) -> str:
    """The identity of the image, as files.identity has it; "" if the image is missing."""
    try:
        image = volume.open_image()
    except Failure:
        return ""
    with image:
        return files.identity(image)
