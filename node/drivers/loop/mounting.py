"""How a volume comes to a pod's directory: as another view of a mount that is there, or attached,
checked and mounted.

The kernel holds the lock. A loop device keeps the locked open file that it was given, so there is
never a second device on the same image, on this node or, where the pool is shared, on another."""

import os

from node.drivers.loop import mount_options, tool_work
from node.drivers.loop.attached import Attached, NotGrown
from node.host import freezing, log, loopdev, mount_table, mounts, work
from node.host.filesystems import NotPermitted
from shared.protocol import Busy, Failure, Internal, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Optional

    from node.drivers.loop.locks import Lock
    from node.drivers.loop.records import RootDirectory
    from node.drivers.loop.volumes import Volume
    from node.host.descriptors import Descriptor
    from node.host.loopdev import Loop

    # What is done through the mounted root directory before a pod sees the mount.
    Prepare = Callable[[int], None]


def mount(volume: "Volume", mount_dir: str, read_only: bool, lock: "Lock") -> None:
    """Shows the volume at the directory `mount_dir`, unless the volume is shown there already.

    lock: of the volume. Raises Busy if the volume is in use elsewhere, or may have one pod only and
    has another; Unavailable if its file system takes no writes; Internal if the image is not the
    one of the record, or `mount_dir` is a mount of anything else."""
    mounts.clear_stages()
    with volume.open_image() as image:
        loop = volume.find_loop(image)
        if loop is not None:
            with loop:
                if not is_shown(loop, mount_dir):
                    attached = Attached(volume, loop, lock)
                    Mounting(attached, mount_dir, read_only).again(image)
            return
        _check_unused(mount_dir)
        volume.lock_image(image)
        loop = loopdev.attach(image)
    with loop:
        Mounting(Attached(volume, loop, lock), mount_dir, read_only).first()


def is_shown(loop: "Loop", mount_dir: str) -> bool:
    """Whether `mount_dir` is a mount of the device, so that a repeated callout has nothing to do.
    Raises Internal if `mount_dir` is a mount of anything else."""
    top = mount_table.at(mount_dir)
    if top is None:
        return False
    if any(existing.path == top.path for existing in mount_table.of_device(loop.path)):
        return True
    raise _taken(top, mount_dir)


def _check_unused(mount_dir: str) -> None:
    top = mount_table.at(mount_dir)
    if top is not None:
        raise _taken(top, mount_dir)


def _taken(top: "mount_table.Mount", mount_dir: str) -> Internal:
    return Internal(
        "{0} is a mount of {1} already, not of this volume; see what uses it, then: "
        "umount {0}".format(mount_dir, top.source)
    )


class Mounting:
    """A mount in the making: of an attached volume, at a pod's directory."""

    def __init__(self, attached: Attached, mount_dir: str, read_only: bool) -> None:
        self._attached = attached
        self._volume = attached.volume
        self._loop = attached.loop
        self._mount_dir = mount_dir
        self._read_only = read_only

    def _flags(self) -> "List[str]":
        return mount_options.flags(self._volume, self._read_only)

    def again(self, image: "Descriptor") -> None:
        """Mounts a volume whose device another pod has, here or in another mount namespace, or a
        killed callout left. The device stays while `loop` is open."""
        if image.try_lock():
            raise Busy(self._volume.made_by_hand(self._loop.path))
        if not self._loop.clears_itself():
            self._loop.set_clears_itself()
        self._check_access_mode()
        if self._bind():
            return
        # A callout may have been killed between the growth of the image and that of the device.
        self._loop.follow_size()
        freezing.thaw_unmounted(self._loop.path, self._volume.fs_type)
        if self._loop.is_mounted():
            self._mount_beside_others()
        else:
            self.first()

    def _check_access_mode(self) -> None:
        if "ReadWriteOncePod" not in self._volume.record.access_modes:
            return
        if not mount_table.of_device(self._loop.path, parts=True):
            return
        # kubelet's own words (pkg/volume/util), which it says only of volumes that are attached.
        raise Busy(
            "volume uses the ReadWriteOncePod access mode and is already in use by "
            "another pod; it is mounted when that pod has ended"
        )

    def _bind(self) -> bool:
        """Binds a mount that our mount namespace has to the pod's directory. Returns False if our
        mount namespace has no mount of the device."""
        for existing in mount_table.of_device(self._loop.path):
            self._check_works(existing)
            try:
                mounts.bind(existing.path, self._mount_dir, self._flags(), must_be_mount=True)
                return True
            except FileNotFoundError:
                continue  # unmounted meanwhile
        return False

    def _check_works(self, existing: "mount_table.Mount") -> None:
        """Raises a failure if the file system of that mount takes no writes."""
        reason = existing.stopped()
        if reason:
            raise Unavailable(
                "volume {}: its {} {} (see dmesg); when its other pods have left, "
                "the next mount repairs what needs no decision".format(
                    self._volume.name, self._volume.fs_type, reason
                )
            )
        self._attached.check_thawed(existing)

    def _mount_beside_others(self) -> None:
        """Mounts a device that another mount namespace has mounted. A growth that is not permitted
        is done when no other mount namespace has the device any more."""
        try:
            self._mount_device(self._preparation())
        except (NotPermitted, NotGrown) as error:
            _log_growth(self._attached.not_grown(error))
            self.mount_ungrown()

    def first(self) -> "Optional[Failure]":
        """Mounts a volume that no pod here has.

        A growth that fails does not keep the pod from its data: then the file system is mounted
        with the size that it has, and the failure of the growth is returned."""
        self._attached.check()
        work.clear(self._volume.directory)
        if self._volume.thick:
            self._loop.refuse_discard()
        tool_work.make_ready(self._attached)
        self._attached.check()
        self._note_used()
        try:
            self._mount_device(self._preparation())
            return None
        except NotPermitted:
            failure = tool_work.grow(self._attached)
        except NotGrown as error:
            failure = self._attached.not_grown(error)
        if failure is not None:
            _log_growth(failure)
        self.mount_ungrown()
        return failure

    def _note_used(self) -> None:
        """Notes in the record that a pod may write from now on."""
        record = self._volume.record
        if record.blank or record.clone_never_mounted:
            self._volume.save(**self._volume.as_used())

    def mount_ungrown(self) -> None:
        """Mounts the file system with the size that it has."""
        self._mount_device(self._preparation(grows=False))

    def _preparation(self, grows: bool = True) -> "Prepare":
        """What is to be done through the mounted root directory before a pod sees the mount.

        Raises Internal if the image is not the volume's. What is returned raises NotPermitted or
        NotGrown if the file system `grows` and cannot."""
        is_small = self._attached.check() < self._volume.size_bytes

        def prepare(root: int) -> None:
            if is_small and grows:
                self._attached.grow_root(root)
            wanted = self._volume.record.root
            if wanted is not None:
                _set_root(root, wanted)
                self._volume.save(root=None)  # once: from now on the pods decide

        return prepare

    def _mount_device(self, prepare: "Prepare") -> None:
        """Mounts the device with the options of the record, but without those that are refused."""
        volume = self._volume
        refused = mount_options.not_allowed(volume)
        wanted = mount_options.of_file_system(volume)
        flags = self._flags()

        def mount_with(options: "List[str]") -> None:
            left_out = refused + [option for option in wanted if option not in options]

            def prepare_and_note(root: int) -> None:
                prepare(root)
                mount_options.note_left_out(volume, left_out)

            file_system = self._attached.file_system
            every_option = options + file_system.discard_options(volume.thick)
            mounts.mount(
                self._loop.path,
                file_system.name,
                every_option,
                self._mount_dir,
                flags,
                prepare_and_note,
            )

        mount_options.without_refused(mount_with, wanted)


def _set_root(root: int, wanted: "RootDirectory") -> None:
    """Sets owner and mode of the volume's open root directory, on disk when it returns."""
    os.fchown(root, wanted.uid, wanted.gid)
    if wanted.mode is not None:  # after the owner, whose change clears bits
        os.fchmod(root, wanted.mode)
    os.fsync(root)


def _log_growth(failure: Failure) -> None:
    log.write("loop", "growth", "", failure.to_dict(), 0)
