"""How a volume grows, while a pod has it: its image, its record, its loop device, its file
system."""

import os

from node.drivers.loop import images, mounting
from node.drivers.loop.attached import Attached, NotGrown
from node.drivers.loop.mounting import Mounting
from node.host import files, mount_table, mounts, undo
from node.host.filesystems import NotPermitted
from shared.protocol import Failure, Internal, Pending, ResourceExhausted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

    from node.drivers.loop.locks import Lock
    from node.drivers.loop.volumes import Volume
    from node.host.descriptors import Descriptor


def grow(volume: "Volume", size_bytes: int, mount_dir: str, lock: "Lock") -> None:
    """Grows image, record, loop device and file system to `size_bytes`, as far as each is smaller.

    mount_dir: the pod's directory that kubelet names, a writable mount of the volume. Raises
    ResourceExhausted if the pool has no room, Internal if the volume is not mounted there, and
    Unavailable, with both sizes, if the file system did not grow."""
    if size_bytes > volume.size_bytes:
        size_bytes = max(size_bytes, volume.file_system.minimum_grown_bytes)
    with volume.open_image() as image:
        _grow_image(volume, image, size_bytes)
        loop = volume.find_loop(image)
    if loop is None:
        raise Internal(
            "volume {} is not mounted on this node; it grows when its next pod starts".format(
                volume.name
            )
        )
    with loop:
        loop.follow_size()
        if not mounting.is_shown(loop, mount_dir):
            raise Internal(
                "volume {} is not mounted at {}; it grows when its next pod starts".format(
                    volume.name, mount_dir
                )
            )
        attached = Attached(volume, loop, lock)
        attached.check_thawed(mount_table.at(mount_dir))
        _grow_file_system(attached, mount_dir)


def _grow_image(volume: "Volume", image: "Descriptor", size_bytes: int) -> None:
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
    """Makes a thick image longer, or leaves the image as it was."""
    try:
        images.allocate(image, length, size_bytes)
    except ResourceExhausted:
        os.ftruncate(image, length)
        raise


def _grow_file_system(attached: Attached, mount_dir: str) -> None:
    """Grows the mounted file system. Where the kernel does not permit that, and no pod has begun
    to use the volume, the file system is unmounted for a moment, and a tool grows it."""
    try:
        _grow_mounted(attached, mount_dir)
    except NotGrown as error:
        raise attached.not_grown(error) from None
    except NotPermitted:
        if not _may_be_unmounted(attached, mount_dir):
            raise
        failure = _grow_unmounted(attached, mount_dir)
        if failure is not None:
            raise failure from None


def _grow_mounted(attached: Attached, mount_dir: str) -> None:
    """Grows through the directory that kubelet names, which is a writable mount."""
    has_bytes = attached.file_system.size_bytes(attached.device) or 0
    if has_bytes >= attached.volume.size_bytes:
        return
    with files.open_path(mount_dir, os.O_RDONLY | os.O_DIRECTORY) as root:
        attached.grow_root(root)


def _may_be_unmounted(attached: Attached, mount_dir: str) -> bool:
    if not _is_starting(mount_dir) or not mount_table.is_only_mount(attached.loop.path, mount_dir):
        return False
    return not attached.has_errors()


def _grow_unmounted(attached: Attached, mount_dir: str) -> "Optional[Failure]":
    """Unmounts the volume, and mounts it again grown. Returns the failure of the growth; None if
    the file system has grown."""
    mounts.unmount(mount_dir, mounts.shows_image)
    failure = _mount_again_grown(attached, mount_dir)
    if not _is_starting(mount_dir):
        raise Internal(
            "volume {}: its pod began while the volume grew; delete the pod".format(
                attached.volume.name
            )
        ) from None
    return failure


def _mount_again_grown(attached: Attached, mount_dir: str) -> "Optional[Failure]":
    """As Mounting.first, after an unmount. kubelet takes the volume for mounted, so it must be,
    grown or not, unless a tool's work could not be undone."""
    mount = Mounting(attached, mount_dir, read_only=False)
    try:
        return mount.first()
    except Pending:
        raise  # a tool works on the image; kubelet finds the directory unmounted, and calls mount
    except BaseException:
        if mount_table.at(mount_dir) is None and not undo.is_left(attached.volume.directory):
            mount.mount_ungrown()
        raise


def _is_starting(mount_dir: str) -> bool:
    """Whether the pod's sandbox is still to be made, so that its volume can be unmounted for a
    moment.

    When all volumes at POD/volumes/DRIVER/NAME are ready, kubelet makes the pod's directory of
    logs, NAMESPACE_NAME_POD, and later POD/containers/NAME with each container
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
