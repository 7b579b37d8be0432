"""A new volume, or a snapshot, with the data of another volume of its pool.

Where the pool's file system lets two files share their blocks, that is one step, also while the
source is in use: what its pods had fsynced is in the clone, as after a power cut. Elsewhere, and
for thick volumes, whose blocks are their own, the source's blocks are copied while nobody uses the
source, in as many calls as that takes."""

import os
import time

from node.drivers.loop import images, making, pools, volumes
from node.host import copy_on_write, copying, files, filesystems, undo, work
from shared.options import AWAITED
from shared.protocol import CALLOUTS, Busy, InvalidArgument, Pending, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional, Tuple

    from node.drivers.loop.class_settings import ClassSettings
    from node.drivers.loop.pools import Pool
    from node.drivers.loop.records import Record
    from node.drivers.loop.volumes import Volume
    from node.host.descriptors import Descriptor
    from shared.options import Options

    # Shares the blocks of the source's image; returns whether the file system can do that.
    Share = Callable[[], bool]
    # Calls `Share` while the source keeps still. The second argument says whether the source is in
    # use.
    Still = Callable[[Share, bool], bool]

# A copy gives way after this time: the provisioner makes what waits before it goes on with the
# copy, so that long copies do not keep other claims waiting. Locks and the answer take at most a
# minute of the callout's time limit.
_COPY_SECONDS = min(60, CALLOUTS["provision"].seconds - 60)
_SYNC_SECONDS = 10
# In which state of its source a clone was made, as its record tells.
UNMOUNTED = "unmounted"
IN_USE = "in use"


def clone(pool: "Pool", options: "Options", size_bytes: int, settings: "ClassSettings") -> "Volume":
    """Makes and publishes the volume that the options name, from options.source_volume. The caller
    holds the lock of the new volume."""
    with volumes.get(pool, options.source_volume) as source:
        _check_may_be_cloned(source, options.claim.namespace)
        _check_fits(source, size_bytes, settings.fs_type)
        if size_bytes > source.size_bytes:
            size_bytes = max(size_bytes, source.file_system.minimum_grown_bytes)
        record = making.new_record(options, size_bytes, "", settings)
        of_clone = record.changed(
            blank=False,
            clone_never_mounted=options.claim.uid != AWAITED,
            root=source.record.root,
            new_uuid=filesystems.new_uuid(),
        )
        return make(source, of_clone)


def _check_may_be_cloned(source: "Volume", namespace: str) -> None:
    if source.owner is None or source.owner.namespace != namespace:
        raise InvalidArgument(
            "volume {} does not belong to namespace {}, so no claim there may have a "
            "copy of it; make the claim in the namespace of the volume's own claim".format(
                source.name, shown(namespace)
            )
        )


def _check_fits(source: "Volume", size_bytes: int, fs_type: str) -> None:
    if fs_type != source.fs_type or size_bytes < source.size_bytes:
        raise InvalidArgument(
            "a copy of volume {} is {} of {} MiB or more, and {} of {} MiB is asked "
            "for; make the claim as large, and its class of the same fsType".format(
                source.name, source.fs_type, source.size_bytes >> 20, fs_type, size_bytes >> 20
            )
        )


def at_once(source: "Volume", share: "Share", in_use: bool) -> bool:
    """Shares the blocks as they are. What was written and not fsynced comes too, if that can be
    written soon."""
    if in_use:
        _write_back(source)
    return share()


def _write_back(source: "Volume") -> None:
    """Has the kernel write what the source's file system holds back. Where no mount of that file
    system is seen, as in the provisioner's container, all file systems are written."""
    roots = source.mounted_at()
    if not roots:
        copying.write_back(None, _SYNC_SECONDS)
        return
    with files.open_path(roots[0], os.O_RDONLY | os.O_DIRECTORY) as root:
        copying.write_back(root, _SYNC_SECONDS)


def make(source: "Volume", record: "Record", still: "Optional[Still]" = None) -> "Volume":
    """Makes and publishes the clone of that record.

    still: how the source is kept still; see `at_once`. The caller holds the lock of the clone, and
    not the lock of the source, as both may be one file."""
    with source.open_image() as image:
        images.check(source, image)
        if source.file_system.has_errors(image):
            raise InvalidArgument(
                "the kernel noted errors in the {} of volume {}, so it is not "
                "copied; its next mount repairs it".format(source.fs_type, source.name)
            )
        cloning = _Cloning(source, image, still)
        of_clone = record.changed(source=source.name, copy_of=cloning.version())
        return making.make(source.pool, of_clone, cloning.fill)


class _Cloning:
    """A clone in the making: the source, with its open image, and how the source keeps still."""

    def __init__(self, source: "Volume", image: "Descriptor", still: "Optional[Still]") -> None:
        self._source = source
        self._image = image
        self._still = still

    def version(self) -> str:
        """A text that is another one after each write to the source's image."""
        status = os.fstat(self._image)
        return "{} {} {}".format(self._source.name, status.st_ino, status.st_ctime_ns)

    def fill(self, clone: "Volume") -> None:
        """Fills the image of the clone, on disk when it returns."""
        with files.open_file(clone.directory, pools.IMAGE, os.O_RDWR) as target:
            in_use = not self._image.try_lock()
            shared = self._share(clone, target, in_use)
            os.fsync(target)
            if clone.thick:
                images.fill_holes(target)
            # The UUID at that moment: the source may be a clone itself that was given another.
            uuid = self._source.file_system.uuid(target)
            taken = IN_USE if shared and in_use else UNMOUNTED
            clone.change(fs_uuid=uuid, taken=taken)

    def _share(self, clone: "Volume", target: "Descriptor", in_use: bool) -> bool:
        """Shares the blocks, or copies them where that cannot be. Returns whether the blocks are
        shared."""
        source = self._source
        before = self._state()
        length = before[0]
        if length > clone.size_bytes:
            raise Busy("volume {} grows; try again".format(source.name))
        shared = False
        if not source.thick and not clone.thick:
            _write_alike(self._image, clone, target)

            def share() -> bool:
                return source.pool.share(self._image, target, length)

            if self._still is None:
                shared = at_once(source, share, in_use)
            else:
                shared = self._still(share, in_use)
        if not shared:
            self.copy(clone, target, length)
        elif self._state() != before:
            raise Busy(
                "volume {} was changed by a callout meanwhile; try again".format(source.name)
            )
        return shared

    def _state(self) -> "Tuple[int, int]":
        """The length of the source's image, and a time that each callout at work changes. Raises
        Busy while a tool's work on the image may have to be undone."""
        source = self._source
        if undo.is_left(source.directory):
            work.check_idle(source.pool.directory, source.name)
            raise Busy(
                "volume {} is being checked or grown, or that was cut short; mount it first".format(
                    source.name
                )
            )
        length = os.fstat(self._image).st_size
        changed_ns = os.fstat(source.directory).st_mtime_ns
        return length, changed_ns

    def copy(self, clone: "Volume", target: int, length: int) -> None:
        """Copies on from where the last call stopped. Raises Pending when this call must stop."""
        source = self._source
        self._lock_source(clone)
        if self.version() != clone.record.copy_of:
            raise Busy("volume {} was written to meanwhile; try again".format(source.name))
        begin = clone.record.copied_bytes or 0
        if clone.thick and not begin:
            images.allocate(target, 0, clone.size_bytes)
        began = time.monotonic()
        end = copying.copy(self._image, target, begin, length, began + _COPY_SECONDS)
        if end < length:
            clone.save(copied_bytes=end, copied_to=files.identity(target))
            raise Pending(
                "{} of {} MiB of {} are copied to {}, {}; the next call goes on".format(
                    end >> 20,
                    length >> 20,
                    source.name,
                    clone.name,
                    self._pace(begin, end, length, time.monotonic() - began),
                )
            )

    def _pace(self, begin: int, end: int, length: int, seconds: float) -> str:
        """How fast the copy went from `begin` to `end`, and how long the rest takes at that
        rate."""
        from shared import progress  # late: few callouts copy

        copied_bytes = copying.data_bytes(self._image, begin, end)
        left_bytes = copying.data_bytes(self._image, end, length)
        return progress.pace(copied_bytes, left_bytes, seconds)

    def _lock_source(self, clone: "Volume") -> None:
        try:
            self._source.lock_image(self._image)
        except Busy as busy:
            reason = "its pool's file system has no reflinks"
            if self._source.thick or clone.thick:
                reason = "it is thick"
            raise Busy(
                "{}; it can only be copied while no pod uses it, as {}".format(busy, reason)
            ) from None


def _write_alike(image: int, clone: "Volume", target: int) -> None:
    """Makes the empty target a file that is overwritten as the source's image is: in place or not.
    btrfs shares no blocks between two files that differ in that, and an older flexvol made images
    that were not overwritten in place."""
    in_place = copy_on_write.is_overwritten_in_place(image)
    if in_place == copy_on_write.is_overwritten_in_place(target):
        return
    with clone.pool.lock():
        length = os.fstat(target).st_size
        os.ftruncate(target, 0)
        copy_on_write.overwrite_in_place(target, in_place)
        os.ftruncate(target, length)
