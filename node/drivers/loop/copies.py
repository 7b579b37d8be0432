"""A new volume, or a snapshot, with the data of another volume of its pool.

Where the pool's file system lets two files share their blocks, that is one step, also while the
source is in use: what its pods had fsynced is in the copy, as after a power cut. Elsewhere, and for
thick volumes, whose blocks are their own, the source's blocks are copied while nobody uses it, in
as many calls as that takes."""

import os
import time

from node.drivers.loop import image as images
from node.drivers.loop import pools
from node.drivers.loop import volume as volumes
from node.host import copy_on_write, copying, files, filesystems, undo, work
from shared.options import AWAITED
from shared.protocol import CALLOUTS, Busy, InvalidArgument, Pending, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional, Tuple

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.records import Record
    from node.drivers.loop.volume import Volume, Wish
    from shared.options import Options

    Still = Callable[[Callable[[], bool], bool], bool]

# A copy gives way after so long: the provisioner makes what waits before it goes on with the copy,
# so that long copies do not keep other claims waiting. Locks and the answer take at most a minute.
_COPY_SECONDS = min(60, CALLOUTS["provision"].seconds - 60)
_SYNC_SECONDS = 10
# In which state of its source a copy was made, as its record tells it.
UNMOUNTED, IN_USE = "unmounted", "in use"


def clone(
    pool: "Pool", options: "Options", size_bytes: int, fs_type: str, wish: "Wish"
) -> "Volume":
    """Makes and publishes the volume that the options name, from options.source_volume. The caller
    holds its lock."""
    with volumes.get(pool, options.source_volume) as source:
        if source.owner is None or source.owner.namespace != options.claim.namespace:
            wrong = (
                "volume {} does not belong to namespace {}, so no claim there may have a "
                "copy of it; "
                "make the claim in the namespace of the volume's own claim"
            )
            raise InvalidArgument(wrong.format(source.name, shown(options.claim.namespace)))
        if fs_type != source.fs_type or size_bytes < source.size_bytes:
            wrong = (
                "a copy of volume {} is {} of {} MiB or more, and {} of {} MiB is asked for; "
                "make the claim as large, and its class of the same fsType"
            )
            numbers = source.size_bytes >> 20, fs_type, size_bytes >> 20
            raise InvalidArgument(wrong.format(source.name, source.fs_type, *numbers))
        if size_bytes > source.size_bytes:
            size_bytes = max(size_bytes, filesystems.get(fs_type).minimum_grown_bytes)
        record = volumes.new_record(options, size_bytes, fs_type, "", wish)
        copy = record.changed(
            blank=False,
            copy_never_mounted=options.claim.uid != AWAITED,
            root=source.record.root,
            new_uuid=filesystems.new_uuid(),
        )
        return make(source, copy)


def at_once(source: "Volume", share: "Callable[[], bool]", in_use: bool) -> bool:
    """What is written and not fsynced comes too, if that can be written soon."""
    if in_use:
        _write_back(source)
    return share()


def _write_back(source: "Volume") -> None:
    """Has written what the source's file system holds back; where no mount of it is seen, as in the
    provisioner's container, what all file systems do."""
    roots = source.mounted_at()
    if not roots:
        copying.write_back(None, _SYNC_SECONDS)
        return
    root = os.open(roots[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        copying.write_back(root, _SYNC_SECONDS)
    finally:
        os.close(root)


def make(source: "Volume", record: "Record", still: "Optional[Still]" = None) -> "Volume":
    """Makes and publishes the copy of that record. still: calls what it is given, knowing whether
    the source is in use, while that keeps still. The caller holds the copy's lock; not the
    source's, as both may be one file."""
    image = source.open_image()
    try:
        images.check(source, image)
        if filesystems.get(source.fs_type).has_errors(image):
            wrong = (
                "the kernel noted errors in the {} of volume {}, so it is not copied; its "
                "next mount repairs it"
            )
            raise InvalidArgument(wrong.format(source.fs_type, source.name))
        copy = record.changed(source=source.name, copy_of=_version(source, image))
        while_still = still or (lambda share, in_use: at_once(source, share, in_use))
        return volumes.make(source.pool, copy, lambda made: _fill(source, image, made, while_still))
    finally:
        os.close(image)


def _version(source: "Volume", image: int) -> str:
    """Another one after each write to it."""
    status = os.fstat(image)
    return "{} {} {}".format(source.name, status.st_ino, status.st_ctime_ns)


def _fill(source: "Volume", image: int, made: "Volume", still: "Still") -> None:
    target = files.open_file(made.directory, pools.IMAGE, os.O_RDWR)
    try:
        in_use = not files.try_lock(image)
        length, _ = before = _quiet(source, image)
        if length > made.size_bytes:
            raise Busy("volume {} grows; try again".format(source.name))
        shared = False
        if not source.thick and not made.thick:
            _write_alike(image, made, target)
            shared = still(lambda: source.pool.share(image, target, length), in_use)
        if not shared:
            _copy(source, image, made, target, length)
        elif _quiet(source, image) != before:
            raise Busy(
                "volume {} was changed by a callout meanwhile; try again".format(source.name)
            )
        os.fsync(target)
        if made.thick:
            images.fill_holes(target)
        # The UUID at that moment: the source may be a copy itself that was given another.
        uuid = filesystems.get(source.fs_type).uuid(target)
        made.change(fs_uuid=uuid, taken=IN_USE if shared and in_use else UNMOUNTED)
    finally:
        os.close(target)


def _write_alike(image: int, made: "Volume", target: int) -> None:
    """btrfs shares no blocks between a file that it overwrites in place and one that it does not,
    as images were in an older flexvol. The empty `target` becomes as the source's image is."""
    in_place = copy_on_write.is_overwritten_in_place(image)
    if in_place == copy_on_write.is_overwritten_in_place(target):
        return
    with made.pool.lock():
        length = os.fstat(target).st_size
        os.ftruncate(target, 0)
        copy_on_write.overwrite_in_place(target, in_place)
        os.ftruncate(target, length)


def _quiet(source: "Volume", image: int) -> "Tuple[int, int]":
    """The image's length, and something that each callout at work changes. Raises Busy while a
    tool's work on the image may have to be undone."""
    if undo.is_left(source.directory):
        work.check_idle(source.pool.directory, source.name)
        raise Busy(
            "volume {} is being checked or grown, or that was cut short; mount it first".format(
                source.name
            )
        )
    return os.fstat(image).st_size, os.fstat(source.directory).st_mtime_ns


def _copy(source: "Volume", image: int, made: "Volume", target: int, length: int) -> None:
    """Copies on from where the last call stopped. Raises Pending when this one must stop."""
    try:
        source.lock_image(image)
    except Busy as busy:
        why = (
            "it is thick"
            if source.thick or made.thick
            else "its pool's file system has no reflinks"
        )
        raise Busy(
            "{}; it can only be copied while no pod uses it, as {}".format(busy, why)
        ) from None
    if _version(source, image) != made.record.copy_of:
        raise Busy("volume {} was written to meanwhile; try again".format(source.name))
    begin = made.record.copied_bytes or 0
    if made.thick and not begin:
        images.allocate(target, 0, made.size_bytes)
    begin = copying.copy(image, target, begin, length, time.monotonic() + _COPY_SECONDS)
    if begin < length:
        made.save(copied_bytes=begin, copied_to=files.identity(target))
        raise Pending(
            "{} of {} MiB of {} are copied to {}; the next call goes on".format(
                begin >> 20, length >> 20, source.name, made.name
            )
        )
