"""A volume: the directory <pool>/<name>/ with `image` and its record, volume.json.

It is made under a name with a dot and renamed into place, and renamed to such a name before it is
deleted, so that a volume is there whole or not at all; what a crash leaves has a dot-name and is
swept."""

import binascii
import errno
import os
import time

from node.drivers.loop import image as images
from node.drivers.loop import pools, records
from node.host import disks, files, filesystems, locks, loopdev, mounts, undo, work
from shared.options import ANY, AWAITED, Claim
from shared.protocol import (
    Busy,
    Failure,
    Internal,
    InvalidArgument,
    NotFound,
    Pending,
    shown,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

    from node.drivers.loop.locks import Lock
    from node.drivers.loop.pools import Pool
    from node.drivers.loop.records import Record
    from shared.options import Options, Pod

_MAKING = ".new-"
_DELETING = ".deleted-"
HIDDEN = (_MAKING, _DELETING)
IMPORTING = (
    ".importing-"  # what has come of a volume's stream, until all of it has; see by_hand/streams.py
)
ARCHIVED = ".archived-"  # see archives.py
_KEPT = (_MAKING, IMPORTING, ARCHIVED)  # what may be kept for a time
_FILES = (
    pools.IMAGE,
    *undo.FILES,
    *work.FILES,
    records.FILE,
    "." + records.FILE + ".new",
)
_IN_USE_SECONDS = 2
_COPYING_SECONDS = 3600  # by when a copy that was begun has gone on, if it ever does


class Wish:
    """What a class asks of a new volume, beside its size and file system.

    thick: whether the image takes all its blocks at once.
    make_options: words for mkfs.
    root: for the root directory of the file system; None if the class asks for nothing.
    archive: None if a deleted volume is not kept."""

    def __init__(
        self,
        thick: bool,
        make_options: "List[str]",
        root: "Optional[records.RootDirectory]",
        archive: "Optional[records.Archiving]",
    ) -> None:
        self.thick = thick
        self.make_options = make_options
        self.root = root
        self.archive = archive


class Volume:
    """An open volume. record: its volume.json. directory: its descriptor. name: of that
    directory, so with a dot if it is an archive, or not all of it is here yet."""

    def __init__(self, pool: "Pool", name: str, directory: int, record: "Record") -> None:
        self.pool = pool
        self.name = name
        self.directory = directory
        self.record = record

    def __enter__(self) -> "Volume":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.directory)

    @property
    def size_bytes(self) -> int:
        return self.record.size_bytes

    @property
    def fs_type(self) -> str:
        return self.record.fs_type

    @property
    def thick(self) -> bool:
        return self.record.thick

    @property
    def left_out(self) -> "List[str]":
        """The mount options that its last mount went without, as the kernel refused them."""
        return self.record.left_out

    @property
    def without_options(self) -> str:
        """The sentence about them; "" if there are none."""
        if not self.left_out:
            return ""
        words = "volume {} is mounted without {}: the kernel of this node refuses it for {}"
        options = " and ".join(shown(option) for option in self.left_out)
        return words.format(self.name, options, self.fs_type)

    @property
    def owner(self) -> "Optional[Claim]":
        return self.record.owner

    def awaits(self, claim: Claim) -> bool:
        """Whether it was adopted for a claim of that name and has no other yet, or was made for any
        that comes."""
        if self.owner is None or self.owner.uid not in (AWAITED, claim.uid):
            return False
        return (self.owner.namespace, self.owner.name) in (
            (claim.namespace, claim.name),
            (ANY, ANY),
        )

    @property
    def moving_to(self) -> str:
        """The node that it is being moved to, or was: this copy is then not to be used any more."""
        return self.record.moving_to

    @property
    def never_mounted(self) -> bool:
        """Whether nobody has had the volume since provision made it: no pod, no person who adopted
        it, no move. Such a volume may go with its claim, whatever is in it.

        `blank` says more: that the volume is empty too. A copy is not blank, as it has the data of
        its source; its record has `neverMounted` for as long. An older flexvol does not know that
        field, but takes `newUuid` away at the first mount, and `move` it writes too."""
        record = self.record
        if record.blank:
            return True
        is_untouched = bool(record.new_uuid) and record.move is None
        is_archive = self.name.startswith(ARCHIVED)
        return record.copy_never_mounted and is_untouched and not is_archive

    def as_used(self) -> "Dict[str, Any]":
        """The changes of its record, for `save`, when somebody has the volume from now on."""
        changes: "Dict[str, Any]" = {"blank": False}
        if self.record.copy_never_mounted:
            changes["copy_never_mounted"] = False
        return changes

    @property
    def used_bytes(self) -> int:
        """What the image has taken of the pool's disk."""
        return os.stat(pools.IMAGE, dir_fd=self.directory, follow_symlinks=False).st_blocks * 512

    def save(self, **changes: "Any") -> None:
        """Changes fields of the record; on disk when it returns."""
        self.change(**changes)
        records.write(self.directory, self.record)

    def change(self, **changes: "Any") -> None:
        """Changes fields of the record, which the next `save` writes."""
        self.record = self.record.changed(**changes)

    def open_image(self, flags: int = os.O_RDWR) -> int:
        """Its descriptor. Raises Internal if it is missing, is a link, or is a file elsewhere
        too."""
        try:
            image = files.open_file(self.directory, pools.IMAGE, flags)
        except FileNotFoundError:
            raise Internal(
                (
                    "volume {}: its image is missing in {}/{}; put it back, or restore it from "
                    "a backup"
                ).format(self.name, self.pool.path, self.name)
            ) from None
        if os.fstat(image).st_nlink > 1:
            os.close(image)
            raise Internal(
                "volume {}: its image has a second name (a hard link); refused".format(self.name)
            )
        return image

    def mounted_at(self) -> "List[str]":
        """Where our mount namespace shows the volume or a part of it, or kubelet's does: paths for
        this process."""
        image = self.open_image()
        try:
            loop = self.find_loop(image)
        finally:
            os.close(image)
        if loop is None:
            return []
        with loop:
            shown = mounts.of_device(loop.path, parts=True, also_kubelets=True)
            return [mount.reach for mount in shown]

    def check_pod(self, pod: "Optional[Pod]") -> None:
        """Raises InvalidArgument unless it is a volume, and the pod of its owner's namespace.
        kubelet names the pod, so its author cannot; everything else in the options could be theirs.
        Raises Busy if it is being moved."""
        self.check_volume()
        if pod is None:
            raise InvalidArgument(
                "volume {}: the options name no pod, and a volume belongs to a namespace".format(
                    self.name
                )
            )
        if self.owner is None:
            raise InvalidArgument(
                (
                    "volume {} has no owner and mounts for no one; give it one with: loop adopt "
                    "<options>"
                ).format(self.name)
            )
        if self.owner.namespace != pod.namespace:
            raise InvalidArgument(
                "volume {} belongs to namespace {} (claim {}), not to {}; its owner is "
                "changed with: "
                "loop adopt <options>".format(
                    self.name,
                    shown(self.owner.namespace),
                    shown(self.owner.name),
                    shown(pod.namespace),
                )
            )
        if self.moving_to:
            words = (
                "volume {} is being moved to node {}; if that was cut short, run it again: kubectl "
                "flexvol move"
            )
            raise Busy(words.format(self.name, shown(self.moving_to)))

    def check_volume(self) -> None:
        """Raises InvalidArgument if it is a snapshot, which no pod, PV or claim may be about."""
        if self.record.kind != records.VOLUME:
            wrong = (
                "{} is a snapshot of {}; a claim gets its data by the annotation "
                "flexvol/from-snapshot"
            )
            raise InvalidArgument(wrong.format(self.name, self.record.source))

    def lock_image(self, image: int) -> None:
        """Takes the kernel's lock on the open image: from now on no loop device has it, here or on
        another node. Raises Busy, saying who uses it."""
        for _ in locks.attempts(_IN_USE_SECONDS):
            if files.try_lock(image):
                self._check_current(image)
                loop = self.find_loop(image)
                if loop is None:
                    return
                loop.close()
                raise Busy(self.made_by_hand(loop.path))
        raise Busy(
            "volume {} is in use {}; its pods, or whatever else has it, must end first (see: loop "
            "status)".format(self.name, self._user(image))
        )

    def _user(self, image: int) -> str:
        """Where the image is in use, as the end of a sentence. A container sees no locks of other
        containers and of the node itself, but all of the node's loop devices."""
        holder = files.lock_holder(image)
        if holder:
            return "on this node: " + holder
        device = loopdev.named_like(self.image_path)
        if device:
            return "on this node: a pod, or whatever else has {}".format(device)
        return "in another container, or on another node that shares its pool"

    @property
    def image_path(self) -> str:
        return "{}/{}/{}".format(self.pool.path, self.name, pools.IMAGE)

    def find_loop(self, image: int) -> "Optional[loopdev.Loop]":
        """The loop device on its open image, or None."""
        return loopdev.find(image, self.image_path)

    def made_by_hand(self, device: str) -> str:
        """The sentence for a device that does not hold the lock, as all of ours do."""
        return (
            "volume {} is on {}, which was attached by hand; unmount what is mounted from it, "
            "then: losetup -d {}".format(self.name, device, device)
        )

    def _check_current(self, descriptor: int) -> None:
        """While we waited for the lock the volume may have been replaced or deleted. Checks that
        the locked file is still the one at the volume's path."""
        have = os.fstat(descriptor)
        try:
            now = os.stat(
                self.name + "/" + pools.IMAGE, dir_fd=self.pool.directory, follow_symlinks=False
            )
        except FileNotFoundError:
            raise NotFound(
                "volume {} was deleted meanwhile; nothing is left of it to work on".format(
                    self.name
                )
            ) from None
        if (have.st_dev, have.st_ino) != (now.st_dev, now.st_ino) or have.st_nlink != 1:
            raise Busy("volume {} was replaced meanwhile; try again".format(self.name))


def find(pool: "Pool", name: str, hidden: str = "") -> "Optional[Volume]":
    """Opens the volume `name`; None if it is not there. Raises Internal if what is there is not a
    volume of ours."""
    try:
        directory = files.open_below(pool.directory, hidden + name)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise Internal(
            "{} in pool {} is not a directory; refused".format(name, pool.name)
        ) from None
    try:
        return Volume(pool, name, directory, records.read(pool, name, directory))
    except BaseException:
        os.close(directory)
        raise


def half_made(pool: "Pool", name: str) -> "Optional[Volume]":
    """Opens the copy called `name` that waits for the next call to go on with it; None if there is
    none. The caller holds the volume's lock."""
    try:
        volume = find(pool, name, _MAKING)
    except Internal:  # a call that was killed left no record, and the next sweep takes that away
        return None
    if volume is not None and volume.record.copied_bytes is None:
        os.close(volume.directory)
        return None
    return volume


def remove_half_made(volume: Volume) -> None:
    """Removes what `half_made` opened. The caller holds the volume's lock."""
    remove(volume.pool, _MAKING + volume.record.name)


def get(pool: "Pool", name: str) -> Volume:
    """As `find`, but NotFound if it is not there."""
    volume = find(pool, name)
    if volume is None:
        raise NotFound(
            "volume {} is not in pool {} of this node; see: loop status".format(name, pool.name)
        )
    return volume


def create(
    pool: "Pool", options: "Options", size_bytes: int, fs_type: str, wish: Wish, lock: "Lock"
) -> Volume:
    """Makes and publishes an empty volume, which is not there yet. The caller holds its lock."""
    uuid = filesystems.new_uuid()
    record = new_record(options, size_bytes, fs_type, uuid, wish)
    return make(
        pool, record, lambda volume: images.make(volume.directory, fs_type, uuid, wish, lock)
    )


def make(pool: "Pool", record: "Record", fill: "Callable[[Volume], None]") -> Volume:
    """Makes and publishes the volume of that record, with an image that `fill` fills. The caller
    holds its lock. Leaves nothing on failure, except what a copy has `copiedBytes` of when it
    raises Pending or Busy, to go on there."""
    name, volume = record.name, _continued(pool, record)
    making = _MAKING + name
    try:
        if volume is None:
            remove(pool, making)  # left by a crash; the lock is ours, so no one is making it
            with pool.lock():
                pool.check_open()
                pool.check_room(record.size_bytes, record.size_bytes)
                os.mkdir(making, 0o700, dir_fd=pool.directory)
                volume = Volume(pool, name, files.open_below(pool.directory, making), record)
                images.reserve(volume.directory, record.size_bytes)
        _fill(volume, fill)
        volume.change(copy_of=None, copied_bytes=None, copied_to=None)
        if record.kind == records.SNAPSHOT:
            with pool.lock():
                volume.change(number=_next_number(pool, record.source))
                _publish(volume, making)
        else:
            _publish(volume, making)
        return volume
    except BaseException as error:
        if volume is not None:
            os.close(volume.directory)
        if (
            volume is None
            or not isinstance(error, (Pending, Busy))
            or volume.record.copied_bytes is None
        ):
            remove(pool, making)
        raise


def _fill(volume: Volume, fill: "Callable[[Volume], None]") -> None:
    """A tool that says that the pool's disk is full or broken has the reason that such an error of
    our own has: the claim may go to another node."""
    try:
        fill(volume)
    except Internal as error:
        about = "volume {} in pool {}".format(volume.name, volume.pool.name)
        raise disks.failure_in(error.message, about) or error from None


def _publish(volume: Volume, making: str) -> None:
    """Gives a volume that is complete its name; on disk then."""
    directory = volume.pool.directory
    volume.save()
    os.rename(making, volume.name, src_dir_fd=directory, dst_dir_fd=directory)
    try:
        os.fsync(directory)
    except OSError as error:
        # The volume is there, so this is no failure after which another node may make it.
        raise Internal(
            "volume {} is made in pool {}, and it is not known whether the disk keeps it: {}; see "
            "dmesg".format(volume.name, volume.pool.name, error.strerror)
        ) from None


def snapshots(pool: "Pool", of: str) -> "List[Record]":
    """The records of the snapshots of the volume `of`, the oldest first. A damaged one is not
    among them: nothing proves whose it is."""
    found = []
    for name in pool.names():
        try:
            with get(pool, name) as volume:
                record = volume.record
        except (Failure, OSError):  # damaged, or deleted meanwhile
            continue
        if record.kind == records.SNAPSHOT and record.source == of:
            found.append(record)
    return sorted(found, key=lambda record: record.snapshot_order)


def _next_number(pool: "Pool", of: str) -> int:
    """The number of the next snapshot of the volume `of`. The caller holds the pool's lock until
    it has that number.

    Those without a number are given theirs first. An older flexvol made them after all that have
    one: before the update, when none had, or beside this flexvol, or when the node was set back."""
    older = snapshots(pool, of)
    highest = max((record.number for record in older), default=0)
    for record in older:
        if not record.number:
            highest = min(highest + 1, records.NUMBERS - 1)
            _give_number(pool, record.name, highest)
    return min(highest + 1, records.NUMBERS - 1)


def _give_number(pool: "Pool", snapshot: str, number: int) -> None:
    try:
        with get(pool, snapshot) as volume:
            volume.save(number=number)
    except (NotFound, FileNotFoundError):
        return  # it was deleted meanwhile


def _continued(pool: "Pool", record: "Record") -> "Optional[Volume]":
    """What an earlier call has copied for the volume of that record, if its source is as it was
    then."""
    try:
        volume = find(pool, record.name, _MAKING)
    except Internal:  # it has no record: the call was killed
        return None
    if volume is None:
        return None
    before = volume.record
    is_of_it = (
        before.copied_bytes is not None
        and before.copy_of == record.copy_of
        and before.size_bytes == record.size_bytes
        and before.thick == record.thick
    )
    if is_of_it and before.copied_to == _image_identity(volume):
        volume.record = record.changed(copied_bytes=before.copied_bytes, copied_to=before.copied_to)
        return volume
    os.close(volume.directory)
    return None


def _image_identity(volume: Volume) -> str:
    """As files.identity has it; "" if the image is missing."""
    try:
        image = volume.open_image()
    except Failure:
        return ""
    try:
        return files.identity(image)
    finally:
        os.close(image)


def new_record(
    options: "Options", size_bytes: int, fs_type: str, uuid: str, wish: Wish
) -> "records.Record":
    return records.new(
        name=options.volume,
        size_bytes=size_bytes,
        sector_bytes=loopdev.SECTOR_BYTES,
        fs_type=fs_type,
        fs_uuid=uuid,
        thick=wish.thick,
        root=wish.root,
        archive=wish.archive,
        owner=options.claim,
        cluster_uid=options.cluster_uid,
        class_name=options.class_name,
        reclaim_policy=options.reclaim_policy,
        access_modes=options.access_modes,
        mount_options=options.mount_options,
        created=stamp(time.time()),
        blank=options.claim.uid != AWAITED,  # what a person had made is not collected
    )


def stamp(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def delete(volume: Volume) -> None:
    """Deletes a volume that nobody uses; Busy otherwise. The caller holds its lock."""
    deleting = take_away(volume, _DELETING)
    # A file that is open would stay on NFS and FUSE, under another name.
    remove(volume.pool, deleting)


def take_away(volume: Volume, prefix: str, suffix: str = "", **changes: "Any") -> str:
    """Gives the directory of a volume that nobody uses (Busy otherwise) a new name between
    `prefix`, which hides it, and `suffix`, and returns it; on disk then. changes: of its record."""
    hidden = prefix + binascii.hexlify(os.urandom(8)).decode() + suffix
    present = os.listdir(volume.directory)
    strange = strange_in(volume.directory)
    if strange:
        raise Internal(
            "volume {} holds {}, which is not flexvol's, so nothing of it is touched; move that "
            "out of {}/{}, and the volume goes at the next try".format(
                volume.name, shown(strange[0]), volume.pool.path, volume.name
            )
        )
    if pools.IMAGE not in present and undo.FILE not in present:
        # They were taken away by hand: there is nothing to lose.
        rename(volume, hidden)
        return hidden
    image = volume.open_image()
    try:
        volume.lock_image(image)
        if changes:
            volume.save(**changes)
        rename(volume, hidden)
        return hidden
    finally:
        os.close(image)


def strange_in(directory: int) -> "List[str]":
    """What lies in the open directory of a volume and is not flexvol's, sorted."""
    names = os.listdir("/proc/self/fd/{}".format(directory))
    return sorted(name for name in names if name not in _FILES)


def rename(volume: Volume, name: str) -> None:
    """Gives its directory another name, on disk then. A volume of that name is not overwritten: it
    is not empty."""
    directory = volume.pool.directory
    os.rename(volume.name, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def check_free(pool: "Pool", name: str) -> None:
    """Raises InvalidArgument if there is a volume of that name."""
    if files.exists(pool.directory, name):
        raise InvalidArgument(
            "volume {} exists already in pool {}; nothing is overwritten".format(name, pool.name)
        )


def sweep(pool: "Pool") -> None:
    """Removes what crashes left: volumes whose deletion had begun, and volumes nobody is making any
    more."""
    ages = kept_seconds(pool)
    for name in pool.hidden():
        if name.startswith(_DELETING):
            remove(pool, name)
        elif name.startswith(_MAKING) and not goes_on(name, ages):
            try:
                with pool.volume_lock(name[len(_MAKING) :], seconds=0):
                    if not goes_on(name, kept_seconds(pool)):
                        remove(pool, name)
            except Busy:
                continue  # it is being made right now
        elif name.startswith(IMPORTING):
            from node.drivers.loop.by_hand import streams  # late: there seldom is one

            streams.sweep(pool, name, ages)
    pool.locks.sweep()


def goes_on(making: str, ages: "Dict[str, float]") -> bool:
    """Whether the directory is a copy between two calls. A copy that nobody has gone on with for
    long is none: its claim is gone. ages: as kept_seconds has them."""
    return making.startswith(_MAKING) and ages.get(making, _COPYING_SECONDS) < _COPYING_SECONDS


def kept_seconds(pool: "Pool", write: bool = True) -> "Dict[str, float]":
    """For how many seconds, by the pool's clock, each hidden directory has been as it is that is
    kept for a time: archives, copies that are being made, and streams that have not come whole.
    write: whether the clock notes what it has seen; see clock.ages."""
    marks = {name: _mark(pool, name) for name in pool.hidden() if name.startswith(_KEPT)}
    marks = {name: mark for name, mark in marks.items() if mark}
    if not marks:
        return {}
    from node.drivers.loop import clock  # late: most pools have nothing of the kind

    return clock.ages(pool, marks, write)


def _mark(pool: "Pool", name: str) -> str:
    """What is another one after each step of a copy or a stream; "" for what is kept for no time.
    An archive stays as it is, and has a name that no other ever had."""
    if name.startswith(ARCHIVED):
        return name
    try:
        status = os.stat(name + "/" + records.FILE, dir_fd=pool.directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return "" if name.startswith(_MAKING) else name  # no step of it was completed
    if name.startswith(_MAKING) and not _is_half_copied(pool, name):
        return ""  # it was killed between its last step and the one that publishes it
    return "{} {}".format(status.st_ino, status.st_mtime_ns)


def _is_half_copied(pool: "Pool", making: str) -> bool:
    """Whether it is a copy that a later call goes on with."""
    try:
        volume = find(pool, making)
    except Internal:  # its record is damaged
        return False
    if volume is None:
        return False
    with volume:
        return volume.record.copied_bytes is not None


def remove(pool: "Pool", name: str) -> None:
    """Removes a hidden directory with the files that are ours, and no more; one that is gone is
    fine."""
    try:
        directory = files.open_below(pool.directory, name)
    except FileNotFoundError:
        return
    try:
        for entry in _FILES:
            _ignore_missing(os.unlink, entry, directory)
    finally:
        os.close(directory)
    try:
        _ignore_missing(os.rmdir, name, pool.directory)
    except OSError as error:
        # FUSE and NFS keep a file under another name until its last user is gone; the next sweep
        # comes by again.
        if error.errno != errno.ENOTEMPTY:
            raise


def _ignore_missing(remove: "Any", name: str, directory: int) -> None:
    try:
        remove(name, dir_fd=directory)
    except FileNotFoundError:
        return
