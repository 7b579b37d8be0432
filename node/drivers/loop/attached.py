"""A volume with its loop device: the parts that all work on its file system needs, before a pod has
the volume and while a pod has it."""

from node.drivers.loop import images
from node.host import freezing, undo
from node.host.filesystems import NotPermitted
from shared.protocol import Busy, Failure, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from node.drivers.loop.locks import Lock
    from node.drivers.loop.volumes import Volume
    from node.host.loopdev import Loop
    from node.host.mount_table import Mount


class NotGrown(Exception):
    """The file system could not be grown, and has the size that it had."""


class Attached:
    """A volume, its open loop device, its file system and its lock.

    lock: of the volume; tools that change the image inherit the lock."""

    def __init__(self, volume: "Volume", loop: "Loop", lock: "Lock") -> None:
        self.volume = volume
        self.loop = loop
        self.lock = lock
        self.file_system = volume.file_system

    @property
    def device(self) -> int:
        """The open device."""
        return self.loop.descriptor

    def tool_target(self) -> "undo.Target":
        """Where a tool that changes the image works."""
        return undo.Target(self.loop.path, self.volume.directory, self.lock.descriptor)

    def check(self) -> int:
        """As images.check."""
        return images.check(self.volume, self.device)

    def has_errors(self) -> bool:
        """Whether the kernel noted errors in the file system."""
        return self.file_system.has_errors(self.device)

    def check_thawed(self, mount: "Optional[Mount]") -> None:
        """Raises Busy if the file system is frozen at that mount: whatever writes to it would wait
        without end, be it a pod, kubelet or flexvol."""
        if mount is None or not freezing.is_frozen_by_others(mount, self.loop.path):
            return
        raise Busy(
            "volume {0}: its {1} at {2} is frozen, so whatever writes to it waits; "
            "unless a backup is at work on it, thaw it with: fsfreeze -u {2}".format(
                self.volume.name, self.volume.fs_type, mount.path
            )
        )

    def grow_root(self, root: int) -> None:
        """Grows the file system to the size of the record, through its open root directory. Raises
        NotGrown; or NotPermitted if this kernel lets only a tool grow it, unmounted."""
        try:
            self.file_system.grow(root, self.volume.size_bytes)
        except NotPermitted:
            raise
        except OSError as error:
            raise NotGrown("the kernel does not grow it: {}".format(error.strerror)) from None
        except Failure as failure:
            raise NotGrown(failure.message) from None

    def not_grown(self, error: Exception) -> Failure:
        """The failure of a growth that this error stopped."""
        has_bytes = self.file_system.size_bytes(self.device) or 0
        return Unavailable(
            "volume {} has {} MiB, {} MiB asked: {}".format(
                self.volume.name, has_bytes >> 20, self.volume.size_bytes >> 20, error
            )
        )
