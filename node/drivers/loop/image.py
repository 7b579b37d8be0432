"""The image: a file with a file system, made before its volume is published, and its loop device
while it is mounted.

The kernel holds the lock: a loop device keeps the locked open file it was given, so there is never
a second one on the same image, on this node or, where the pool is shared, on another."""

import errno
import os

from node.drivers.loop import pools
from node.host import config, copy_on_write, files, filesystems, log, loopdev, mounts, undo, work
from shared.protocol import Busy, Failure, Internal, Pending, ResourceExhausted, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Optional, Tuple

    from node.drivers.loop.locks import Lock
    from node.drivers.loop.records import RootDirectory
    from node.drivers.loop.volume import Volume, Wish
    from node.host.loopdev import Loop

MIB = filesystems.MIB
_REPAIR_BYTES = 16 * MIB


def round_up(size_bytes: int, fs_type: str) -> int:
    """The size an image of at least `size_bytes` really gets."""
    size_bytes = max(size_bytes, filesystems.get(fs_type).minimum_bytes)
    return -(-size_bytes // MIB) * MIB


def reserve(directory: int, size_bytes: int) -> None:
    """Makes the empty image; its length is what the pool's accounting counts, so the room is taken
    from now on. A block of it that was written once is overwritten in place, also on btrfs: a new
    block for each write would need room that nobody has promised."""
    descriptor = files.open_file(directory, pools.IMAGE, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        copy_on_write.overwrite_in_place(descriptor)
        os.ftruncate(descriptor, size_bytes)
    finally:
        os.close(descriptor)


RESTORE = "restore image and volume.json together from one backup"


def make(directory: int, fs_type: str, uuid: str, wish: "Wish", lock: "Lock") -> None:
    """Fills the reserved image with its file system, on disk when it returns."""
    descriptor = files.open_file(directory, pools.IMAGE, os.O_RDWR)
    try:
        if wish.thick:
            allocate(descriptor, 0, os.fstat(descriptor).st_size)
        filesystems.get(fs_type).make(
            descriptor, uuid, wish.thick, wish.make_options, lock.descriptor
        )
        os.fsync(descriptor)
        if wish.thick:
            fill_holes(descriptor)
    finally:
        os.close(descriptor)


def allocate(descriptor: int, begin: int, size_bytes: int) -> None:
    """Really takes the blocks of a thick image from `begin` to its end at `size_bytes`."""
    try:
        os.posix_fallocate(descriptor, begin, size_bytes - begin)
    except OSError as error:
        raise ResourceExhausted(
            "the pool's disk cannot give {} bytes: {}".format(size_bytes, error.strerror)
        ) from None


def fill_holes(descriptor: int) -> None:
    """Takes the blocks again that a thick image has lost: to mkfs, which zeroes some by giving them
    back, where the pool's disk knows no other way (tmpfs), or to a copy tool. Data stay as they
    are. Raises ResourceExhausted if the image still has fewer blocks than bytes."""
    length = os.fstat(descriptor).st_size
    if _taken(descriptor) < length:
        allocate(descriptor, 0, length)
        os.fsync(descriptor)
    taken = _taken(descriptor)
    if taken < length:
        raise ResourceExhausted(
            "the pool's disk has given {} of the {} bytes of a thick image; make a thin one".format(
                taken, length
            )
        )


def _taken(descriptor: int) -> int:
    return os.fstat(descriptor).st_blocks * 512


def mount(volume: "Volume", mount_dir: str, read_only: bool, lock: "Lock") -> None:
    """Shows the volume at `mount_dir`: bound to a mount that is there, or first attached, checked
    and mounted."""
    mounts.clear_stages()
    image = volume.open_image()
    try:
        found = volume.find_loop(image)
        if found is not None:
            with found:
                if not _is_shown(found, mount_dir):
                    _mount_again(volume, found, image, mount_dir, read_only, lock)
            return
        _is_shown(None, mount_dir)
        volume.lock_image(image)
        loop = loopdev.attach(image)
    finally:
        os.close(image)
    with loop:
        _mount_first(volume, loop, mount_dir, read_only, lock)


def _is_shown(loop: "Optional[Loop]", mount_dir: str) -> bool:
    """Whether `mount_dir` is a mount of the device, so that a repeated callout has nothing to do.
    Raises Internal if it is a mount of anything else."""
    top = mounts.at(mount_dir)
    if top is None:
        return False
    if loop is None or all(existing.path != top.path for existing in mounts.of_device(loop.path)):
        raise Internal(
            (
                "{0} is a mount of {1} already, not of this volume; see what uses it, then: "
                "umount {0}"
            ).format(mount_dir, top.source)
        )
    return True


def _mount_again(
    volume: "Volume", loop: "Loop", image: int, mount_dir: str, read_only: bool, lock: "Lock"
) -> None:
    """Uses the device another pod has, here or in another mount namespace, or that a killed callout
    left. It stays while `loop` is open."""
    if files.try_lock(image):
        raise Busy(volume.made_by_hand(loop.path))
    if not loop.clears_itself():
        loop.set_clears_itself()
    if "ReadWriteOncePod" in volume.record.access_modes and mounts.of_device(loop.path, parts=True):
        # kubelet's own words (pkg/volume/util), which it says only of volumes that are attached.
        raise Busy(
            "volume uses the ReadWriteOncePod access mode and is already in use by another pod; "
            "it is mounted when that pod has ended"
        )
    for existing in mounts.of_device(loop.path):
        how = existing.stopped()
        if how:
            raise Unavailable(
                "volume {}: its {} {} (see dmesg); when its other pods have left, the next "
                "mount repairs what needs no "
                "decision".format(volume.name, volume.fs_type, how)
            )
        _check_thawed(volume, existing, loop)
        try:
            mounts.bind(existing.path, mount_dir, _flags(volume, read_only), must_be_mount=True)
            return
        except FileNotFoundError:
            continue  # unmounted meanwhile
    loop.follow_size()  # a callout may have been killed between the image's growth and the device's
    mounts.thaw_unmounted(loop.path, volume.fs_type)
    if not loop.is_mounted():
        _mount_first(volume, loop, mount_dir, read_only, lock)
        return
    try:
        _mount_device(volume, loop, mount_dir, read_only, _preparation(volume, loop))
    except (filesystems.NotPermitted, _NotGrown) as failed:
        # A growth that is not permitted is done when no other mount namespace has it any more.
        _log_growth(_not_grown(volume, loop, failed))
        _mount_device(volume, loop, mount_dir, read_only, _preparation(volume, loop, grows=False))


def _check_thawed(volume: "Volume", mount: "Optional[mounts.Mount]", loop: "Loop") -> None:
    """Raises Busy if the file system is frozen: whatever writes to it would wait without end, be it
    a pod, kubelet or we."""
    if mount is not None and mounts.is_frozen(mount, loop.path):
        raise Busy(
            "volume {0}: its {1} at {2} is frozen, so whatever writes to it waits; unless a backup "
            "is at work on it, thaw it with: fsfreeze -u {2}".format(
                volume.name, volume.fs_type, mount.path
            )
        )


def _mount_device(
    volume: "Volume",
    loop: "Loop",
    mount_dir: str,
    read_only: bool,
    prepare: "Callable[[int], None]",
) -> None:
    """Mounts it with the options of its record, but without those that this kernel refuses: the
    data matters more than how it is cached. Another kernel may have them, or an older flexvol may
    have let a class have them."""
    kind = filesystems.get(volume.fs_type)
    refused = _refused_options(volume)
    wanted = [
        option
        for option in volume.record.mount_options
        if option not in mounts.FLAGS and option not in refused
    ]
    flags = _flags(volume, read_only)

    def mount_with(options: "List[str]") -> None:
        left_out = refused + [option for option in wanted if option not in options]

        def prepare_and_note(root: int) -> None:
            prepare(root)
            _note_left_out(volume, left_out)

        every = options + kind.discard_options(volume.thick)
        mounts.mount(loop.path, kind.name, every, mount_dir, flags, prepare_and_note)

    _without_refused(mount_with, wanted)


def _refused_options(volume: "Volume") -> "List[str]":
    """The mount options of its record that no class may have: the record, too, may have been
    copied in from elsewhere, or be of an older flexvol."""
    kind = filesystems.get(volume.fs_type)
    options = volume.record.mount_options
    return [option for option in options if not kind.allows_mount_option(option)]


def _without_refused(mount_with: "Callable[[List[str]], None]", options: "List[str]") -> None:
    """Calls `mount_with` with as many of the options as the kernel takes. Where the kernel names
    the option that it refuses, that one is left out; where it names none, one after the other is,
    and at last all. Raises the first refusal if the options are not the reason."""
    try:
        mount_with(options)
        return
    except mounts.OptionRefused as refusal:
        if not options:
            raise
        first = refusal
    if first.option in options:
        rest = [option for option in options if option != first.option]
        _without_refused(mount_with, rest)
        return
    fewer = [options[:number] + options[number + 1 :] for number in range(len(options))]
    for attempt in fewer + [[]]:
        try:
            mount_with(attempt)
            return
        except mounts.OptionRefused:
            continue
    raise first


def _note_left_out(volume: "Volume", options: "List[str]") -> None:
    """Writes into the record which mount options the volume is mounted without, for status and the
    log. That a full pool has no room for that does not keep the volume from its pod."""
    if volume.left_out == options:
        return
    try:
        volume.save(left_out=options)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise


def _flags(volume: "Volume", read_only: bool) -> "List[str]":
    """What this one mount gets: from the node's config, the class and the pod."""
    refused = _refused_options(volume)
    flags = config.mount_flags() + [
        option
        for option in volume.record.mount_options
        if option in mounts.FLAGS and option not in refused
    ]
    return sorted(set(flags + (["ro"] if read_only else [])))


def _mount_first(
    volume: "Volume", loop: "Loop", mount_dir: str, read_only: bool, lock: "Lock"
) -> "Optional[Failure]":
    """Mounts what no pod here has. A growth that fails does not keep the pod from its data: then
    the file system is mounted with the size that it has, and why is returned."""
    check(volume, loop.descriptor)
    work.clear(volume.directory)
    place = undo.Place(loop.path, volume.directory, lock.descriptor)
    if volume.thick:
        loop.refuse_discard()
    _make_ready(volume, loop, place)
    check(volume, loop.descriptor)
    if volume.record.blank or volume.record.copy_never_mounted:
        volume.save(**volume.as_used())  # from now on its pod may write

    try:
        _mount_device(volume, loop, mount_dir, read_only, _preparation(volume, loop))
        return None
    except filesystems.NotPermitted:
        why = _grow_unmounted(volume, loop, place)
    except _NotGrown as failed:
        why = _not_grown(volume, loop, failed)
    if why:
        _log_growth(why)
    _mount_device(volume, loop, mount_dir, read_only, _preparation(volume, loop, grows=False))
    return why


def _make_ready(volume: "Volume", loop: "Loop", place: "undo.Place") -> None:
    """Undoes what was stopped, gives a copy its UUID, and repairs what the kernel noted as bad."""
    kind, uuid = filesystems.get(volume.fs_type), volume.record.new_uuid
    is_bad = undo.is_left(volume.directory) or kind.has_errors(loop.descriptor)
    has_other_uuid = bool(uuid) and kind.uuid(loop.descriptor) != uuid

    def task() -> None:
        needs_check = kind.recover(place)
        # A copy has its source's UUID until its first mount, and no kernel mounts two file systems
        # of one UUID.
        if has_other_uuid and kind.uuid(loop.descriptor) != uuid:
            kind.set_uuid(place, uuid)
        if needs_check or kind.has_errors(loop.descriptor):
            _check_room_to_repair(volume)
            kind.repair(place, needs_check)

    if is_bad or has_other_uuid:
        doing = "checked" if is_bad else "prepared for its first mount"
        _work(volume, loop, place, doing, task)
    if uuid:
        volume.save(fs_uuid=uuid, new_uuid="")


def _check_room_to_repair(volume: "Volume") -> None:
    disk = os.fstatvfs(volume.pool.directory)
    if disk.f_bavail * disk.f_frsize < _REPAIR_BYTES:
        raise Unavailable(
            (
                "volume {} needs a check, which writes, and its pool {} is full; free some of "
                "its disk"
            ).format(volume.name, volume.pool.name)
        )


def _work(
    volume: "Volume", loop: "Loop", place: "undo.Place", doing: str, task: "Callable[[], None]"
) -> None:
    keep = [volume.pool.directory, loop.descriptor, place.lock]
    with volume.pool.locks.lock_out_older(volume.name) as older:
        keep.extend(older.descriptors)
        site = work.Site(volume.name, volume.directory, keep)
        work.do(site, _doing(volume, doing), task)


def _doing(volume: "Volume", participle: str) -> str:
    return "its {} is being {}".format(volume.fs_type, participle)


class _NotGrown(Exception):
    """The file system could not be grown, and has the size that it had."""


def _grow_unmounted(volume: "Volume", loop: "Loop", place: "undo.Place") -> "Optional[Failure]":
    """Why the growth by a tool failed; None if it did not. Raises a failure if the file system is
    not as it was before."""
    kind = filesystems.get(volume.fs_type)
    earlier = work.earlier_failure(volume.directory, _doing(volume, "grown"))
    if earlier is not None:
        return earlier

    def task() -> None:
        try:
            kind.grow_unmounted(place)
        except (Failure, OSError) as error:
            kind.recover(place)
            raise _not_grown(volume, loop, error) from None

    try:
        _work(volume, loop, place, "grown", task)
        return None
    except Pending:
        raise
    except Failure as failure:
        if undo.is_left(volume.directory):
            raise
        return failure


def _not_grown(volume: "Volume", loop: "Loop", error: Exception) -> Failure:
    has = filesystems.get(volume.fs_type).size_bytes(loop.descriptor) or 0
    return Unavailable(
        "volume {} has {} MiB, {} MiB asked: {}".format(
            volume.name, has >> 20, volume.size_bytes >> 20, error
        )
    )


def _log_growth(failure: Failure) -> None:
    log.write("loop", "growth", "", failure.to_dict(), 0)


def _preparation(volume: "Volume", loop: "Loop", grows: bool = True) -> "Callable[[int], None]":
    """What is to be done through the mounted root before a pod sees it. Raises Internal if the
    image is not ours. What it returns raises NotPermitted or _NotGrown if it `grows` and cannot."""
    small = check(volume, loop.descriptor) < volume.size_bytes

    def prepare(root: int) -> None:
        if small and grows:
            _grow_root(volume, root)
        wish = volume.record.root
        if wish is not None:
            _set_root(root, wish)
            volume.save(root=None)  # once: from now on the pods decide

    return prepare


def _grow_root(volume: "Volume", root: int) -> None:
    try:
        filesystems.get(volume.fs_type).grow(root, volume.size_bytes)
    except filesystems.NotPermitted:
        raise
    except OSError as error:
        raise _NotGrown("the kernel does not grow it: {}".format(error.strerror)) from None
    except Failure as failure:
        raise _NotGrown(failure.message) from None


def check(volume: "Volume", device: int) -> int:
    """The size of the file system on the open device or image, in bytes. Raises Internal unless it
    is the one that the record says, in an image of the size the record says: nothing is ever
    formatted here."""
    size, why = compare(volume, device)
    if why:
        raise Internal("volume {}: {}; it is left alone; {}".format(volume.name, why, RESTORE))
    return size


def compare(volume: "Volume", device: int) -> "Tuple[int, str]":
    """The size of the file system on the open device or image, in bytes (0 for none), and why it is
    not what the volume's record says ("" if it is). The device is only read."""
    length = os.lseek(device, 0, os.SEEK_END)
    if length < volume.size_bytes:
        return 0, "its image has {} bytes and its record says {}".format(length, volume.size_bytes)
    kind = filesystems.get(volume.fs_type)
    size = kind.size_bytes(device)
    if size is None:
        return 0, "its image does not carry the {} that its record says".format(volume.fs_type)
    why = ""
    uuid = volume.record.fs_uuid
    known = (uuid, volume.record.new_uuid)  # of a copy that has just got its own: both may be
    if uuid and kind.uuid(device) not in known:
        why = "its image does not carry the {} that its record says was made in it".format(
            volume.fs_type
        )
    elif size > length:
        why = "its {} has {} bytes and its image only {}".format(volume.fs_type, size, length)
    return size, why


def _set_root(root: int, wish: "RootDirectory") -> None:
    """Owner and mode of the volume's root, on disk when it returns."""
    os.fchown(root, wish.uid, wish.gid)
    if wish.mode is not None:  # after the owner, whose change clears bits
        os.fchmod(root, wish.mode)
    os.fsync(root)


def grow(volume: "Volume", size_bytes: int, mount_dir: str, lock: "Lock") -> None:
    """Grows image, record, loop device and file system to `size_bytes`, as far as each is
    smaller."""
    if size_bytes > volume.size_bytes:
        size_bytes = max(size_bytes, filesystems.get(volume.fs_type).minimum_grown_bytes)
    image = volume.open_image()
    try:
        _grow_image(volume, image, size_bytes)
        loop = volume.find_loop(image)
    finally:
        os.close(image)
    if loop is None:
        raise Internal(
            "volume {} is not mounted on this node; it grows when its next pod starts".format(
                volume.name
            )
        )
    with loop:
        loop.follow_size()
        if not _is_shown(loop, mount_dir):
            raise Internal(
                "volume {} is not mounted at {}; it grows when its next pod starts".format(
                    volume.name, mount_dir
                )
            )
        _check_thawed(volume, mounts.at(mount_dir), loop)
        try:
            _grow_mounted(volume, loop, mount_dir)
        except filesystems.NotPermitted:
            if not _is_starting(mount_dir) or not mounts.is_only_mount(loop.path, mount_dir):
                raise
            if filesystems.get(volume.fs_type).has_errors(loop.descriptor):
                raise
            mounts.unmount(mount_dir)
            why = _mount_again_grown(volume, loop, mount_dir, lock)
            if not _is_starting(mount_dir):
                raise Internal(
                    "volume {}: its pod began while the volume grew; delete the pod".format(
                        volume.name
                    )
                ) from None
            if why:
                raise why from None
        except _NotGrown as failed:
            raise _not_grown(volume, loop, failed) from None


def _mount_again_grown(
    volume: "Volume", loop: "Loop", mount_dir: str, lock: "Lock"
) -> "Optional[Failure]":
    """As _mount_first, after an unmount; kubelet takes the volume for mounted, so it must be,
    grown or not, unless a tool's work could not be undone."""
    try:
        return _mount_first(volume, loop, mount_dir, False, lock)
    except Pending:
        raise  # a tool works on the image; kubelet finds the directory unmounted, and calls mount
    except BaseException:
        if mounts.at(mount_dir) is None and not undo.is_left(volume.directory):
            prepare = _preparation(volume, loop, grows=False)
            _mount_device(volume, loop, mount_dir, False, prepare)
        raise


def _is_starting(mount_dir: str) -> bool:
    """Whether the pod's sandbox is still to be made, so that its volume can be unmounted for a
    moment: when all volumes at POD/volumes/DRIVER/NAME are ready, kubelet makes the pod's directory
    of logs, NAMESPACE_NAME_POD, and later POD/containers/NAME with each container
    (pkg/kubelet/kuberuntime, createPodSandbox)."""
    pod = os.path.dirname(os.path.dirname(os.path.dirname(mount_dir)))
    if os.path.basename(os.path.dirname(pod)) != "pods":
        return False
    if _names(pod + "/containers"):
        return False
    from node.host import kubelet  # late: few callouts grow a volume between two mounts

    ending = "_" + os.path.basename(pod)
    return not any(name.endswith(ending) for name in _names(kubelet.pod_logs_directory()))


def _names(directory: str) -> "List[str]":
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _grow_image(volume: "Volume", image: int, size_bytes: int) -> None:
    with volume.pool.lock():
        length = os.fstat(image).st_size
        if size_bytes > length:
            volume.pool.check_room(size_bytes - length, size_bytes)
            if volume.thick:
                _allocate_more(image, length, size_bytes)
            else:
                os.ftruncate(image, size_bytes)
            os.fsync(image)
    if size_bytes > volume.size_bytes:
        volume.save(size_bytes=size_bytes)


def _allocate_more(image: int, length: int, size_bytes: int) -> None:
    """Makes a thick image longer, or leaves it as it was."""
    try:
        allocate(image, length, size_bytes)
    except ResourceExhausted:
        os.ftruncate(image, length)
        raise


def _grow_mounted(volume: "Volume", loop: "Loop", mount_dir: str) -> None:
    """Grows through the directory kubelet names, which is a writable mount."""
    file_system = filesystems.get(volume.fs_type)
    if (file_system.size_bytes(loop.descriptor) or 0) < volume.size_bytes:
        root = os.open(mount_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _grow_root(volume, root)
        finally:
            os.close(root)
