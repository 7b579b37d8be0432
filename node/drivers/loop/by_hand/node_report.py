"""The findings of `doctor` about the node itself: its loop devices, and the file systems of its
kernel with their tools."""

import os

from node.drivers.loop.by_hand import findings
from node.host import filesystems, loopdev

TYPE_CHECKING = False
if TYPE_CHECKING:
    from node.drivers.loop.by_hand.findings import Finding


def free_device() -> "Finding":
    """Tells whether a volume could get a loop device."""
    try:
        path = loopdev.next_free()
    except OSError as error:
        return findings.wrong(
            "cannot get a loop device: {}".format(error),
            "load the kernel module: modprobe loop",
        )
    if not os.path.exists(path) and not loopdev.can_make_node():
        return findings.wrong(
            "the next loop device, {}, is not in /dev".format(path),
            "run it on the node, not in a container",
        )
    return findings.remark("a loop device is free: {}".format(path))


def file_system(kind: "filesystems.FileSystem", is_used: bool) -> "Finding":
    """Tells whether a kind of file system can be mounted here. is_used: whether a volume of this
    node may have that kind, so that it must not be missing."""
    what, remedy = _file_system(kind)
    if remedy and not is_used:
        return findings.remark(what + "; no volume here needs it")
    return what, remedy


def _file_system(kind: "filesystems.FileSystem") -> "Finding":
    if not kind.in_kernel():
        return findings.wrong(
            "the kernel has no {}".format(kind.name),
            "install the kernel's module {}".format(kind.name),
        )
    missing = filesystems.missing(kind.mount_tools)
    if missing:
        return findings.wrong(
            "{} cannot be checked and grown: {} is missing".format(
                kind.name, " and ".join(missing)
            ),
            "install the package that has it, e2fsprogs for ext4",
        )
    what = "{}: mounts here".format(kind.name)
    if filesystems.missing(("mkfs." + kind.name,)):
        what += "; made only in the provisioner's container"
    return findings.remark(what)
