"""A driver that attaches: a volume is an image file that every node reaches, and attach makes a
loop device of it, as a storage system would give a disk to one node.

Who attaches must be able to run it: kube-controller-manager, or each kubelet that is told to
attach."""

import errno
import fcntl
import os

from node.drivers import (
    Busy,
    Capabilities,
    Driver,
    NotFound,
    Options,
    Reply,
    Unavailable,
    check_name,
    run,
)
from node.host import files, filesystems, loopdev, mount_table, mounts
from node.host.descriptors import Descriptor

ROOT = "/srv/flexvol-tests/attaching"
_LOCK_SECONDS = 20
_DETACH = 0x4C01  # LOOP_CLR_FD
_FLAGS = ("nosuid", "nodev")


class Disk:
    """A volume's directory, locked: `image`, and `node`, which names the one that has it
    attached."""

    def __init__(self, volume: str) -> None:
        self.volume = check_name("volume", volume)
        self.path = os.path.join(ROOT, volume)

    def __enter__(self) -> "Disk":
        self.lock = _locked_root()
        try:
            self.directory = files.open_below(self.lock, self.volume)
            self.image = files.open_file(self.directory, "image", os.O_RDWR)
        except FileNotFoundError:
            os.close(self.lock)
            raise NotFound("volume {} does not exist".format(self.volume)) from None
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (self.image, self.directory, self.lock):
            os.close(descriptor)

    def node(self) -> str:
        try:
            return files.read(self.directory, "node").decode()
        except FileNotFoundError:
            return ""

    def device(self) -> str:
        """The path of its loop device, or ""."""
        loop = loopdev.find(self.image, os.path.join(self.path, "image"))
        if loop is None:
            return ""
        with loop:
            return loop.path

    def attach(self) -> str:
        device = self.device()
        if device:
            return device
        return run(["losetup", "--find", "--show", self.path + "/image"], 30).check().text

    def detach(self) -> None:
        """Takes the device away. Raises Busy while anyone has it mounted, in whatever mount
        namespace."""
        device = self.device()
        if device:
            with loopdev.Loop(device, _open_unused(device)) as loop:
                fcntl.ioctl(loop.descriptor, _DETACH)
            if self.device():
                raise Busy("{} of volume {} is still open".format(device, self.volume))
        os.unlink("node", dir_fd=self.directory)


def _locked_root() -> Descriptor:
    root = files.open_directory(ROOT)
    root.lock(ROOT, _LOCK_SECONDS)
    return root


def _open_unused(device: str) -> Descriptor:
    """Opens the device so that nobody can mount it as long as it is open."""
    try:
        return files.open_path(device, os.O_RDWR | os.O_EXCL)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Busy("{} is mounted".format(device)) from None
        raise


def _make(path: str, size_bytes: int, kind: filesystems.FileSystem, lock: int) -> None:
    """Makes the image in the directory `path`, under its own name only when it is whole."""
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
    with files.open_directory(path) as directory:
        with files.open_file(directory, ".image", flags) as image:
            os.truncate(image, size_bytes)
            kind.make(image, filesystems.new_uuid(), False, [], lock)
            os.fsync(image)
        os.rename(".image", "image", src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)


def device_directory(mount_dir: str) -> str:
    """Where kubelet had the device mounted, which it does not tell `mount`.

    From DIR/pods/UID/volumes/VENDOR~DRIVER/VOLUME to
    DIR/plugins/kubernetes.io/flexvolume/VENDOR/DRIVER/mounts/VOLUME."""
    kubelet, _, below = mount_dir.rpartition("/pods/")
    _, _, driver, volume = below.split("/")
    return os.path.join(
        kubelet, "plugins/kubernetes.io/flexvolume", driver.replace("~", "/"), "mounts", volume
    )


class AttachingDriver(Driver):
    capabilities = Capabilities(
        attach=True, selinuxRelabel=True, supportsMetrics=True, fsGroup=True, requiresFSResize=True
    )

    def provision(self, options: Options) -> Reply:
        options.expect_own(())
        kind = filesystems.get(options.fs_type)
        disk = Disk(options.volume)
        with _locked_root() as lock:
            if not os.path.exists(disk.path + "/image"):
                if options.only_find:
                    raise NotFound("volume {} does not exist".format(disk.volume))
                os.makedirs(disk.path, 0o700, exist_ok=True)
                _make(disk.path, max(options.request_bytes, kind.minimum_bytes), kind, lock)
        size_bytes = os.path.getsize(disk.path + "/image")
        return Reply(volume={"options": {}, "capacityBytes": size_bytes, "fsType": kind.name})

    def delete(self, options: Options) -> Reply:
        try:
            with Disk(options.volume) as disk:
                if disk.node():
                    raise Busy("volume {} is attached to {}".format(disk.volume, disk.node()))
                run(["rm", "-r", disk.path], 60).check()
        except NotFound:
            return Reply(message="it was already gone")
        return Reply()

    def attach(self, options: Options, node: str) -> Reply:
        with Disk(options.volume) as disk:
            if disk.node() not in ("", node):
                raise Busy(
                    "volume {} is attached to {}; only one node can have it".format(
                        disk.volume, disk.node()
                    )
                )
            # The node is noted first, so that detach undoes what a crash leaves.
            files.write(disk.directory, "node", node.encode())
            return Reply(device=disk.attach())

    def isattached(self, options: Options, node: str) -> Reply:
        with Disk(options.volume) as disk:
            return Reply(attached=disk.node() == node and disk.device() != "")

    def detach(self, volume: str, node: str) -> Reply:
        try:
            with Disk(volume) as disk:
                if disk.node() != node:
                    return Reply(message="it was not attached to {}".format(node))
                disk.detach()
        except NotFound as failure:
            return Reply(message=str(failure))
        return Reply()

    def waitforattach(self, device: str, options: Options) -> Reply:
        with Disk(options.volume) as disk:
            # A kubelet that attaches has forgotten the device after a restart, and passes "".
            there = disk.device()
            if not there or device not in ("", there):
                raise Unavailable("volume {} has not got the device {}".format(disk.volume, device))
            return Reply(device=there)

    def mountdevice(self, device_dir: str, device: str, options: Options) -> Reply:
        mounts.check_directory(device_dir)
        with Disk(options.volume) as disk:
            if device != disk.device():
                raise Unavailable("volume {} has not got the device {}".format(disk.volume, device))
            if mount_table.at(device_dir) is None:
                # All nodes of a test share one kernel, which would mount it twice.
                os.close(_open_unused(device))
                kind = filesystems.get(options.fs_type)
                mounts.mount(device, kind.name, (), device_dir, _FLAGS, lambda root: None)
        return Reply()

    def unmountdevice(self, device_dir: str) -> Reply:
        mounts.check_path(device_dir)
        mounts.unmount(device_dir, mounts.shows_image)
        return Reply()

    def mount(self, mount_dir: str, options: Options) -> Reply:
        mounts.check_directory(mount_dir)
        if mount_table.at(mount_dir) is None:
            flags = _FLAGS + ("ro",) if options.read_only else _FLAGS
            mounts.bind(device_directory(mount_dir), mount_dir, flags, must_be_mount=True)
        return Reply()

    def unmount(self, mount_dir: str) -> Reply:
        mounts.check_path(mount_dir)
        mounts.unmount(mount_dir, mounts.shows_image)
        return Reply()

    def expandfs(
        self, options: Options, device: str, mount_dir: str, new_bytes: int, old_bytes: int
    ) -> Reply:
        with Disk(options.volume) as disk:
            loop = loopdev.find(disk.image, os.path.join(disk.path, "image"))
            if loop is None or loop.path != device:
                raise Unavailable("volume {} has not got the device {}".format(disk.volume, device))
            with loop:
                if os.fstat(disk.image).st_size < new_bytes:
                    os.truncate(disk.image, new_bytes)
                loop.follow_size()
            with files.open_directory(mount_dir) as root:
                filesystems.get(options.fs_type).grow(root, os.fstat(disk.image).st_size)
        return Reply()
