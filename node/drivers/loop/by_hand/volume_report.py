"""The entry of a volume in `status` and `doctor`: its loop devices, its mounts and pods, and its
troubles."""

import os
import time

from node.drivers.loop import images, records, volumes
from node.drivers.loop.by_hand import device_report, findings
from node.drivers.loop.by_hand.device_report import Device, ShownBy
from node.host import kubelet, loopdev, mount_table, mounts, undo, work
from node.host.descriptors import Descriptor
from shared.protocol import Busy, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List

    from node.drivers.loop.by_hand.findings import Finding
    from node.drivers.loop.pools import Pool
    from node.drivers.loop.volumes import Volume

    Entry = Dict[str, Any]

_MIB = 1 << 20
# Fields of the record that an entry has as they are.
_FIELDS = ("owner", "sizeBytes", "fsType", "kind", "source", "thick")
# No file system fills its image to the last byte: ext4 leaves out a last group of a few blocks.
_ROUNDED_BYTES = 16 * _MIB
# How long a report waits for a volume that does not look well, while a callout is at work on it.
_LOCK_SECONDS = 5
# Pause before the second look at a volume that does not look well: a callout may be just beginning.
_SETTLE_SECONDS = 0.2


class _Machine:
    """The loop devices, mounts and pods of the node, with which the volumes of a pool are compared.
    The process that looks at the pool reads them once: the search for kubelets asks the disk that
    all pools lie on, which may hang."""

    def __init__(self) -> None:
        self.backing_paths = loopdev.backing_paths()
        self.mounts = mount_table.of_pods()
        self._pod_logs = _entries_of(kubelet.pod_logs_directory())

    def pod(self, path: str) -> str:
        """The pod whose directory holds `path`: its uid, with namespace and name if the pod has
        logs; "" for a path that is no pod's."""
        words = path.split("/")
        if "pods" not in words[:-2]:
            return ""
        uid = words[words.index("pods") + 1]
        for log in self._pod_logs:
            if log.endswith("_" + uid):
                return "{1}/{2} ({0})".format(uid, *log.split("_"))
        return uid

    def devices_of(self, volume: "Volume", image: int) -> "List[Device]":
        devices = []
        for loop in loopdev.of_image(image, volume.image_path, self.backing_paths):
            with loop:
                devices.append(Device(loop.path, loop.clears_itself()))
        return devices

    def mounts_of(self, devices: "List[Device]") -> "List[ShownBy]":
        """The mounts that show the volume of these devices."""
        shown_by = []
        for mount in self.mounts:
            for device in devices:
                if device.is_shown_by(mount):
                    shown_by.append(ShownBy(mount, device))
        return shown_by


def _entries_of(directory: str) -> "List[str]":
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def entries(pool: "Pool") -> "Iterator[Entry]":
    """Returns the entry of each volume in the pool."""
    machine = _Machine()
    is_usable = not pool.trouble()
    for name in pool.names():
        yield _entry(pool, name, machine, is_usable)


def _entry(pool: "Pool", name: str, machine: _Machine, is_usable: bool) -> "Entry":
    """The entry of one volume.

    is_usable: whether callouts can work in the pool. If they cannot, no callout is waited for, and
    an error of the disk is a trouble of the pool and not of each volume again."""
    entry: "Entry" = {"name": name, "pool": pool.name, "troubles": []}
    try:
        with volumes.get(pool, name) as volume:
            entry.update(_describe(volume, machine))
            if entry["troubles"] and is_usable:
                time.sleep(_SETTLE_SECONDS)
                with pool.look(name, _LOCK_SECONDS):
                    entry.update(_describe(volume, _Machine()))
    except Busy as busy:
        remark = work.going_on(pool.directory, name)
        if remark:
            entry.update(remark=remark, troubles=[])
        else:
            remedy = "a callout hangs; see what that process waits for, and dmesg"
            entry["troubles"] = [findings.wrong(str(busy), remedy)]
    except (Failure, OSError) as error:
        is_of_pool = isinstance(error, OSError) and not is_usable
        is_deleted = name not in pool.names()
        if not is_deleted and not is_of_pool:
            entry["troubles"] = [_unreadable(error)]
    return entry


def _unreadable(error: Exception) -> "Finding":
    return findings.wrong(
        str(error),
        "put right what is named here, or restore image and volume.json from one "
        "backup; do not remove the volume's directory, its data may be whole",
    )


def _describe(volume: "Volume", machine: _Machine) -> "Entry":
    with volume.open_image(os.O_RDONLY) as image:  # its disk may be read-only
        devices = machine.devices_of(volume, image)
        shown_by = machine.mounts_of(devices)
        entry = volume.record.to_json(*_FIELDS)
        entry["usedBytes"] = volume.used_bytes
        entry["remark"] = volume.without_options if shown_by else ""
        entry["image"] = volume.image_path
        entry["devices"] = [device.path for device in devices]
        entry["mounts"] = [_describe_mount(shown.mount, machine) for shown in shown_by]
        if devices:
            troubles = list(device_report.troubles(image, devices, shown_by))
        else:
            troubles = list(_troubles_unattached(volume, image))
        size_bytes = _file_system_bytes(volume, image, shown_by)
        entry["fileSystemBytes"] = size_bytes
        entry.update(_df(shown_by))
        if not troubles and _is_not_grown(volume, size_bytes):
            troubles.append(_not_grown(volume, size_bytes))
        entry["troubles"] = troubles
        return entry


def _describe_mount(mount: "mount_table.Mount", machine: _Machine) -> "Entry":
    return {
        "path": mount.path,
        "pod": machine.pod(mount.path),
        "readOnly": "ro" in mount.flags.split(","),
    }


def _file_system_bytes(volume: "Volume", image: int, shown_by: "List[ShownBy]") -> int:
    """The size of the volume's file system; 0 if the image holds none. xfs writes its superblock
    long after it grew, so a mounted one is asked too."""
    kind = volume.file_system
    written_bytes = kind.size_bytes(image) or 0
    if not shown_by or not written_bytes:
        return written_bytes
    try:
        with Descriptor(mounts.open_root(shown_by[0].mount.path)) as root:
            return max(written_bytes, kind.mounted_bytes(root))
    except OSError:  # unmounted meanwhile, or stopped, which device_report names
        return written_bytes


def _df(shown_by: "List[ShownBy]") -> "Entry":
    """What df tells of the mounted file system; nothing where none is mounted."""
    if not shown_by:
        return {}
    try:
        with Descriptor(mounts.open_root(shown_by[0].mount.path)) as root:
            status = os.fstatvfs(root)
    except OSError:  # unmounted meanwhile, or stopped, which device_report names
        return {}
    return {
        "fileSystemUsedBytes": (status.f_blocks - status.f_bfree) * status.f_frsize,
        "fileSystemFreeBytes": status.f_bavail * status.f_frsize,
    }


def _is_not_grown(volume: "Volume", size_bytes: int) -> bool:
    """Whether a growth of the volume did not come to its end. A snapshot never grows: no pod starts
    with a snapshot."""
    if volume.record.kind != records.VOLUME:
        return False
    return 0 < size_bytes < volume.size_bytes - _ROUNDED_BYTES


def _not_grown(volume: "Volume", size_bytes: int) -> "Finding":
    return findings.wrong(
        "its {} has {} MiB, {} MiB asked".format(
            volume.fs_type, size_bytes // _MIB, volume.size_bytes // _MIB
        ),
        "it grows when its next pod starts; the driver's log says why it did not: "
        "journalctl -t flexvol, or /var/log/flexvol/loop.log",
    )


def _troubles_unattached(volume: "Volume", image: int) -> "Iterator[Finding]":
    """About a volume without a loop device, so that nobody uses it."""
    kind = volume.file_system
    _, difference = images.compare(volume, image)
    if difference:
        yield findings.wrong(difference, images.RESTORE + "; flexvol leaves them alone")
    elif undo.is_left(volume.directory):
        yield findings.wrong(
            "a check or growth of its {} was stopped, and what it overwrote is kept in {}/{}/undo "
            "(of which image that is: undo.json)".format(kind.name, volume.pool.path, volume.name),
            "its next mount puts that back, if the image is still as the tool left it; instead, "
            "image and volume.json may be restored from one backup",
        )
    elif kind.has_errors(image):
        yield findings.wrong(
            "the kernel noted errors in its {}".format(kind.name),
            "its next mount repairs what needs no decision; for the rest run e2fsck on a copy of "
            "the image",
        )
