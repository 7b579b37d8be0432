"""The troubles of a volume's loop devices, for `status` and `doctor`: devices that do not protect
the volume, devices without a mount, and file systems that do not work any more."""

import os

from node.drivers.loop.by_hand import findings
from node.host import freezing, mount_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterator, List

    from node.drivers.loop.by_hand.findings import Finding
    from node.host.descriptors import Descriptor


class Device:
    """A loop device as it was seen. clears_itself: whether the kernel detaches the device when its
    last user is gone."""

    def __init__(self, path: str, clears_itself: bool) -> None:
        self.path = path
        self.number = mount_table.device_number(path)
        self.clears_itself = clears_itself

    def is_shown_by(self, mount: "mount_table.Mount") -> bool:
        """Whether the mount shows the device's file system, or a part of that."""
        return mount.is_of(self.number, self.path)


class ShownBy:
    """A mount that shows a volume, and the loop device of the volume that is mounted there."""

    def __init__(self, mount: "mount_table.Mount", device: Device) -> None:
        self.mount = mount
        self.device = device


def troubles(
    image: "Descriptor", devices: "List[Device]", shown_by: "List[ShownBy]"
) -> "Iterator[Finding]":
    """Tells what is wrong with a volume that has loop devices.

    image: the open image, which may be read-only. devices: those on the image, at least one.
    shown_by: the mounts that show the volume."""
    is_unprotected = image.try_lock(shared=True)
    if is_unprotected:
        for device in devices:
            yield _attached_by_hand(device)
        return
    if len(devices) > 1:
        paths = ", ".join(device.path for device in devices)
        yield findings.wrong(
            "it has more than one loop device, which destroys it: " + paths,
            "stop its pods, then detach the one that was made by hand: losetup -d",
        )
    for device in devices:
        of_device = [shown.mount for shown in shown_by if shown.device is device]
        if all(mount.is_staged() for mount in of_device):
            yield _unmounted(device, staged=of_device)
    whole = [shown for shown in shown_by if shown.mount.root == "/"]
    if whole:
        yield from _file_system_troubles(whole[0])


def _attached_by_hand(device: Device) -> "Finding":
    return findings.wrong(
        "{} was attached to it by hand, without the lock that protects it".format(device.path),
        "unmount what is mounted from {0}, then: losetup -d {0}".format(device.path),
    )


def _unmounted(device: Device, staged: "List[mount_table.Mount]") -> "Finding":
    """Why a device that holds the volume's lock is there without a mount of a pod. staged: mounts
    that a callout prepared and did not come to publish."""
    if staged:
        path = staged[0].path
        return findings.wrong(
            "a killed callout left a mount that no pod has, at " + path,
            "the next mount or unmount of any volume clears it, or: "
            + staged[0].command("umount", path),
        )
    holders = _holders(device)
    if holders:
        first = min(holders)
        names = []
        for process, path in sorted(holders.items()):
            names.append("{} at {}".format(_process(process), path))
        return findings.wrong(
            "{} is mounted only in mount namespaces of others: {}".format(
                device.path, ", ".join(names)
            ),
            "end that process, or: nsenter -t {} -m umount {}".format(first, holders[first]),
        )
    if not device.clears_itself:
        return findings.wrong(
            "{} has the volume's lock, is not mounted, and will not go away by itself: a callout "
            "was killed".format(device.path),
            "the next mount takes it over; or: losetup -d " + device.path,
        )
    if _is_open(device.path):
        return findings.wrong(
            "{} is not mounted, but a process keeps it open".format(device.path),
            "find it with: fuser -v " + device.path,
        )
    return findings.wrong(
        "{} is not mounted, and no process keeps it open, but the kernel does: its file system was "
        "frozen, as backups do, and unmounted before it was thawed".format(device.path),
        "the next mount thaws it; or: mount {0} /mnt && fsfreeze -u /mnt; umount /mnt".format(
            device.path
        ),
    )


def _holders(device: Device) -> "Dict[int, str]":
    """The processes whose mount namespace shows the device, each with the path of the mount."""
    holders = {}
    for process, mount in mount_table.elsewhere():
        if device.is_shown_by(mount):
            holders[process] = mount.path
    return holders


def _is_open(device: str) -> bool:
    """Whether a process has the device open."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        directory = "/proc/{}/fd".format(process)
        try:
            descriptors = os.listdir(directory)
        except OSError:  # the process ended meanwhile
            continue
        if any(_leads_to(directory + "/" + number, device) for number in descriptors):
            return True
    return False


def _leads_to(link: str, path: str) -> bool:
    try:
        return os.readlink(link) == path
    except OSError:  # the file was closed meanwhile
        return False


def _process(process: int) -> str:
    try:
        with open("/proc/{}/comm".format(process)) as file:
            return "process {} ({})".format(process, file.read().strip())
    except OSError:
        return "process {}, which ended".format(process)


def _file_system_troubles(shown: ShownBy) -> "Iterator[Finding]":
    mount = shown.mount
    if freezing.is_frozen_by_others(mount, shown.device.path):
        yield findings.wrong(
            "its {} is frozen at {}, so whatever writes to it waits".format(
                mount.fs_type, mount.path
            ),
            "unless a backup is at work on it: fsfreeze -u " + mount.path,
        )
        return
    stopped = mount.stopped()
    if stopped:
        yield findings.wrong(
            "its {} {}".format(mount.fs_type, stopped),
            "see dmesg for why; then stop its pods, and the next one's mount repairs what needs "
            "no decision",
        )
