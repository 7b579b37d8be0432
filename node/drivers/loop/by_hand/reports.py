"""What a person asks about a node: each volume with its devices, mounts and pods, and what is
wrong, with a remedy.

Nothing is changed here. What looks wrong is looked at again under the volume's lock before it is
told, so that a callout at work is not taken for damage."""

import os
import time

from node.drivers.loop import (
    archives,
    images,
    node_pools,
    pools,
    records,
    removing,
    sweeping,
    volumes,
)
from node.host import apart, config, files, filesystems, kubelet, loopdev, mounts, undo, work
from shared.protocol import Busy, Failure, Reply, Unavailable, of_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.volumes import Volume

    Finding = Tuple[str, str]  # what, and its remedy
    _Seen = Tuple[str, Any]  # one of the kinds below, and what was seen

_FULL_BYTES = 16 << 20
# No file system fills its image to the last byte: ext4 leaves out a last group of a few blocks.
_ROUNDED_BYTES = 16 << 20
_LOCK_SECONDS = 5
_SETTLE_SECONDS = 0.2
_STATUS_SECONDS = 300  # of a node with very many volumes that are not well
_ALL = "*"
_POOL, _VOLUME, _FINDING = "pool", "volume", "finding"
# Under such a name NFS and FUSE keep a deleted file until its last user is gone.
_HELD_BY_THE_DISK = (".nfs", ".fuse_hidden")


class _Device:
    """A loop device as it was seen."""

    def __init__(self, path: str, clears_itself: bool) -> None:
        self.path = path
        self.number = mounts.device_number(path)
        self.clears_itself = clears_itself


class _Machine:
    """What the volumes of a pool are compared with, read once by the process that looks at the
    pool: the search for kubelets asks the disk that all pools lie on, which may hang."""

    def __init__(self) -> None:
        self.backing_paths = loopdev.backing_paths()
        self.mounts = mounts.of_pods()
        self._pod_logs = _entries(kubelet.pod_logs_directory())

    def pod(self, path: str) -> str:
        """The pod whose directory holds `path`: its uid, with namespace and name if its logs tell
        them; "" for none."""
        words = path.split("/")
        if "pods" not in words[:-2]:
            return ""
        uid = words[words.index("pods") + 1]
        for log in self._pod_logs:
            if log.endswith("_" + uid):
                return "{1}/{2} ({0})".format(uid, *log.split("_"))
        return uid

    def devices_of(self, found: "Volume", image: int) -> "List[_Device]":
        devices = []
        for loop in loopdev.of_image(image, found.image_path, self.backing_paths):
            with loop:
                devices.append(_Device(loop.path, loop.clears_itself()))
        return devices


def _entries(directory: str) -> "List[str]":
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


class _Survey:
    """What one look at each pool of this node showed. pools: an entry for each pool. volumes: an
    entry for each volume, and one named "*" for a pool of which not all could be seen. findings:
    what there is to say of the pools."""

    def __init__(self) -> None:
        self.pools: "List[Dict[str, Any]]" = []
        self.volumes: "List[Dict[str, Any]]" = []
        self.findings: "List[Finding]" = []

    def add(self, name: str, look: "apart.Look") -> None:
        """The look at the pool of that name."""
        seen: "Dict[str, List[Any]]" = {_POOL: [], _VOLUME: [], _FINDING: []}
        for kind, entry in look.entries:
            seen[kind].append(entry)
        if look.error:
            seen[_POOL].append(pools.describe_absent(name, Unavailable(look.error)))
            unseen = {"name": _ALL, "pool": name, "troubles": [_unseen(look.error, seen[_VOLUME])]}
            seen[_VOLUME].append(unseen)
        self.pools += seen[_POOL][:1]
        self.volumes += seen[_VOLUME]
        self.findings += [(what, remedy) for what, remedy in seen[_FINDING]]


def _survey(
    look_at_pool: "Callable[[Pool], Iterator[_Seen]]", also: "Sequence[str]" = ()
) -> _Survey:
    """Looks once at each pool of this node, with `look_at_pool`, and then at each volume in it.
    also: as node_pools.look has it."""

    def look_at(name: str) -> "Iterator[_Seen]":
        try:
            with pools.open_pool(name) as pool:
                yield from look_at_pool(pool)
                machine = _Machine()
                is_usable = not pool.trouble()
                for volume_name in pool.names():
                    yield _VOLUME, _look(pool, volume_name, machine, is_usable)
        except (Failure, OSError) as error:
            yield _POOL, pools.describe_absent(name, error)
            yield _VOLUME, {"name": _ALL, "pool": name, "troubles": [_finding(error)]}

    survey = _Survey()
    for name, look in node_pools.look(look_at, also, _STATUS_SECONDS).items():
        survey.add(name, look)
    return survey


def _unseen(error: str, volumes: "List[Dict[str, Any]]") -> "Finding":
    """Of a pool that stopped answering after the entries of these volumes had come."""
    what, _, remedy = error.partition("; ")
    if not volumes:
        return what + "; none of its volumes was seen", remedy
    last = volumes[-1]["name"]
    return what + "; what comes after volume {} was not seen".format(last), remedy


def status() -> Reply:
    """As Driver.status has it."""
    survey = _survey(_describe_pool)
    return Reply(volumes=survey.volumes, pools=survey.pools)


def _describe_pool(pool: "Pool") -> "Iterator[_Seen]":
    try:
        entry = pool.describe()
        entry["archives"] = [name[1:] for name in archives.names(pool)]
    except (Failure, OSError) as error:
        entry = pools.describe_absent(pool.name, error)
    yield _POOL, entry


def examine() -> "List[Finding]":
    """Everything that was looked at; what is wrong has a remedy."""
    try:
        survey = _survey(_examine_pool)
        if not survey.volumes and not survey.findings:  # the node has no pool at all
            survey = _survey(_examine_pool, also=(pools.DEFAULT,))
    except Failure as unreadable:  # the node's settings, or its note of the pools
        return [_free_device(), _unreadable(unreadable)]
    entries = survey.volumes
    used = {entry.get("fsType") for entry in entries}
    findings = [_free_device()]
    for kind in filesystems.TABLE.values():
        findings.append(_file_system(kind, kind.name in used or kind.name == filesystems.DEFAULT))
    for entry in entries:
        if entry["name"] == _ALL:
            findings += entry["troubles"]
    findings += survey.findings
    volumes = [entry for entry in entries if entry["name"] != _ALL]
    for entry in volumes:
        findings += [(of_volume(entry["name"], what), remedy) for what, remedy in entry["troubles"]]
        if entry.get("remark"):
            findings.append((entry["remark"], ""))
    mounted = sum(1 for entry in volumes if entry.get("mounts"))
    findings.append(("volumes: {}, of them mounted: {}".format(len(volumes), mounted), ""))
    return findings


def _free_device() -> "Finding":
    try:
        path = loopdev.next_free()
    except OSError as error:
        what = "cannot get a loop device: {}".format(error)
        return what, "load the kernel module: modprobe loop"
    if not os.path.exists(path) and not loopdev.can_make_node():
        what = "the next loop device, {}, is not in /dev".format(path)
        return what, "run it on the node, not in a container"
    return "a loop device is free: {}".format(path), ""


def _file_system(kind: "filesystems.FileSystem", is_used: bool) -> "Finding":
    """One that no volume here has may be missing."""
    missing = filesystems.missing(kind.mount_tools)
    if not kind.in_kernel():
        what, remedy = (
            "the kernel has no {}".format(kind.name),
            "install the kernel's module {}".format(kind.name),
        )
    elif missing:
        what = "{} cannot be checked and grown: {} is missing".format(
            kind.name, " and ".join(missing)
        )
        remedy = "install the package that has it, e2fsprogs for ext4"
    else:
        unmade = filesystems.missing(("mkfs." + kind.name,))
        return "{}: mounts here{}".format(
            kind.name, "; made only in the provisioner's container" if unmade else ""
        ), ""
    return (what, remedy) if is_used else (what + "; no volume here needs it", "")


def _examine_pool(pool: "Pool") -> "Iterator[_Seen]":
    try:
        for finding in _findings(pool):
            yield _FINDING, finding
    except (Failure, OSError) as error:
        yield _FINDING, _finding(error)


def _findings(pool: "Pool") -> "Iterator[Finding]":
    trouble = pool.trouble()
    if trouble:
        yield _split(trouble)
    if pool.replaced_by:
        yield _split(pool.former())
    if pool.cordoned:
        cordoned = "pool {0} is cordoned: no new volumes until: loop pool uncordon {0}"
        yield cordoned.format(pool.name), ""
    yield _room(pool, trouble)
    for hidden in pool.hidden():
        yield from _on_hidden(pool, hidden)
    for name in pool.strange():
        yield _strange(pool, name), ""
    for name in pool.names():
        for entry in _strange_in(pool, name):
            yield _strange(pool, name + "/" + entry), ""
    if pool.name not in config.remembered():
        yield (
            "pool {0} is not noted in {1}, so it would not be missed while its disk is away; "
            "noted by: loop pool init {0}".format(pool.name, config.POOLS),
            "",
        )


def _room(pool: "Pool", trouble: str) -> "Finding":
    """What can still be promised and written. trouble: why no callout can work there, or ""."""
    figures = pool.figures()
    disk = os.fstatvfs(pool.directory)
    left = disk.f_bavail * disk.f_frsize
    numbers = (
        "pool {} at {}: {} MiB can still be promised, {} MiB are free on its disk of {} MiB"
    ).format(pool.name, pool.path, figures.free >> 20, left >> 20, figures.capacity >> 20)
    remedy = ""
    if figures.obstacle and not trouble:
        numbers = "pool {} at {}: nothing can be made on its disk, as {}".format(
            pool.name, pool.path, figures.obstacle
        )
        remedy = "see dmesg and df -i {0}; mount it writable again, or free some".format(pool.path)
    elif left < _FULL_BYTES:
        remedy = "free some space at once: writes to thin volumes fail when it is used up"
    elif figures.free < _FULL_BYTES and not trouble:
        remedy = "grow the disk, lower the reserve in pool.json, or delete unneeded claims"
    return numbers, remedy


def _left(pool: "Pool", hidden: str) -> "Finding":
    """Of what a killed callout left, which the next `list` removes, but for what is not ours."""
    strange = [name for name in _strange_in(pool, hidden) if not name.startswith(_HELD_BY_THE_DISK)]
    if strange:
        return (
            "{}; the rest of that directory then goes by itself".format(
                _strange(pool, hidden + "/" + strange[0])
            ),
            "",
        )
    return "{}/{} was left by a callout that was killed".format(pool.path, hidden), "loop list"


def _strange(pool: "Pool", name: str) -> str:
    return (
        "{0}/{1} is not flexvol's and is left alone; no volume misses it if you move it out of "
        "the pool"
    ).format(pool.path, name)


def _strange_in(pool: "Pool", name: str) -> "List[str]":
    """What is not ours in the directory of a volume."""
    try:
        directory = files.open_below(pool.directory, name)
    except OSError:
        return []  # deleted at this very moment, or told as what it is
    try:
        return removing.strange_in(directory)
    finally:
        os.close(directory)


def _on_hidden(pool: "Pool", hidden: str) -> "Iterator[Finding]":
    """Of a directory that is no volume yet, or none any more."""
    path = "{}/{}".format(pool.path, hidden)
    if hidden.startswith(volumes.IMPORTING):
        name = hidden[len(volumes.IMPORTING) :]
        yield (
            "{} is what has come of the stream of volume {}; an import that goes on with it takes "
            "it up, and a day after the last of it came it is removed".format(path, name),
            "",
        )
    elif hidden.startswith(sweeping.PASSING) and _is_left(pool, hidden):
        yield _left(pool, hidden)
    elif sweeping.goes_on(hidden, sweeping.kept_seconds(pool, write=False)):
        yield (
            "{} is a copy that is half done; the next call for its claim goes on with it, if "
            "its source is as it was, and else begins anew".format(path),
            "",
        )


def _finding(error: Exception) -> "Finding":
    """Of a pool that cannot be read."""
    return _split(str(error))


def _split(sentence: str) -> "Finding":
    """A failure's own sentence ends with what to do."""
    what, _, remedy = sentence.partition("; ")
    return what, remedy or "see that its disk is mounted and sound"


def _unreadable(error: Failure) -> "Finding":
    """Of a file in /etc/flexvol, without which no pool can be found."""
    what, _, remedy = str(error).partition("; ")
    return what, remedy or "mend that file; it is JSON, and every call for a volume reads it"


def _is_left(pool: "Pool", hidden: str) -> bool:
    """Whether no one is at work on the hidden directory. A volume being made is locked by its name,
    except a copy between two calls."""
    if sweeping.goes_on(hidden, sweeping.kept_seconds(pool, write=False)):
        return False
    try:
        with pool.look(hidden.partition("-")[2], seconds=0):
            return True
    except Busy:
        return False


def _look(pool: "Pool", name: str, machine: _Machine, is_usable: bool) -> "Dict[str, Any]":
    """The entry of one volume. is_usable: whether callouts can work in the pool. If they cannot,
    no callout is waited for, and what the disk answers is said of the pool and not of each volume
    again."""
    entry: "Dict[str, Any]" = {"name": name, "pool": pool.name, "troubles": []}
    try:
        with volumes.get(pool, name) as found:
            entry.update(_describe(found, machine))
            if entry["troubles"] and is_usable:
                time.sleep(_SETTLE_SECONDS)
                with pool.look(name, _LOCK_SECONDS):
                    entry.update(_describe(found, _Machine()))
    except Busy as busy:
        remark = work.going_on(pool.directory, name)
        if remark:
            entry.update(remark=remark, troubles=[])
            return entry
        entry["troubles"] = [
            (str(busy), "a callout hangs; see what that process waits for, and dmesg")
        ]
    except (Failure, OSError) as error:
        is_of_pool = isinstance(error, OSError) and not is_usable
        if name in pool.names() and not is_of_pool:  # else it was deleted meanwhile
            entry["troubles"] = [
                (
                    str(error),
                    "put right what is named here, or restore image and volume.json from one "
                    "backup; do not remove the volume's directory, its data may be whole",
                )
            ]
    return entry


def _describe(found: "Volume", machine: _Machine) -> "Dict[str, Any]":
    image = found.open_image(os.O_RDONLY)  # its disk may be read-only
    try:
        devices = machine.devices_of(found, image)
        shown = [
            (mount, device)
            for mount in machine.mounts
            for device in devices
            if _shows(mount, device)
        ]
        entry = found.record.to_json("owner", "sizeBytes", "fsType", "kind", "source")
        entry.update(
            usedBytes=found.used_bytes,
            remark=found.without_options if shown else "",
            image=found.image_path,
            devices=[device.path for device in devices],
            mounts=[
                {
                    "path": mount.path,
                    "pod": machine.pod(mount.path),
                    "readOnly": "ro" in mount.flags.split(","),
                }
                for mount, _ in shown
            ],
            troubles=list(
                _device_troubles(found, image, devices, shown)
                if devices
                else _troubles(found, image)
            ),
        )
        size = _file_system_bytes(found, image, [mount for mount, _ in shown])
        entry["fileSystemBytes"] = size
        is_volume = found.record.kind == records.VOLUME  # no pod ever starts with a snapshot
        is_smaller = 0 < size < found.size_bytes - _ROUNDED_BYTES
        if is_volume and is_smaller and not entry["troubles"]:
            entry["troubles"].append(_smaller(found, size))
        return entry
    finally:
        os.close(image)


def _file_system_bytes(found: "Volume", image: int, shown: "List[mounts.Mount]") -> int:
    """The size of its file system; 0 if the image holds none. xfs writes its superblock long after
    it grew, so a mounted one is asked too."""
    kind = filesystems.get(found.fs_type)
    written = kind.size_bytes(image) or 0
    if not shown or not written:
        return written
    try:
        root = mounts.open_root(shown[0].path)
        try:
            return max(written, kind.mounted_bytes(root))
        finally:
            os.close(root)
    except OSError:  # unmounted meanwhile, or stopped, which _file_system_troubles names
        return written


def _smaller(found: "Volume", size_bytes: int) -> "Finding":
    """Of a volume whose growth did not come to its end."""
    what = "its {} has {} MiB, {} MiB asked".format(
        found.fs_type, size_bytes >> 20, found.size_bytes >> 20
    )
    return what, (
        "it grows when its next pod starts; the driver's log says why it did not: "
        "journalctl -t flexvol, or /var/log/flexvol/loop.log"
    )


def _shows(mount: "mounts.Mount", device: _Device) -> bool:
    return mount.is_of(device.number, device.path)


def _troubles(found: "Volume", image: int) -> "Iterator[Finding]":
    """Of a volume that is not in use."""
    kind = filesystems.get(found.fs_type)
    _, why = images.compare(found, image)
    if why:
        yield why, images.RESTORE + "; flexvol leaves them alone"
    elif undo.is_left(found.directory):
        yield (
            "a check or growth of its {} was stopped, and what it overwrote is kept in {}/{}/undo "
            "(of which image that is: undo.json)".format(kind.name, found.pool.path, found.name),
            "its next mount puts that back, if the image is still as the tool left it; instead, "
            "image and volume.json may be restored from one backup",
        )
    elif kind.has_errors(image):
        yield (
            "the kernel noted errors in its {}".format(kind.name),
            (
                "its next mount repairs what needs no decision; for the rest run e2fsck on a copy "
                "of the image"
            ),
        )


def _device_troubles(
    found: "Volume",
    image: int,
    devices: "List[_Device]",
    shown: "List[Tuple[mounts.Mount, _Device]]",
) -> "Iterator[Finding]":
    """Of a volume that has loop devices."""
    if files.try_lock(image, shared=True):  # which needs no image that can be written to
        for device in devices:
            what = "{} was attached to it by hand, without the lock that protects it".format(
                device.path
            )
            yield what, "unmount what is mounted from {0}, then: losetup -d {0}".format(device.path)
        return
    if len(devices) > 1:
        yield (
            "it has more than one loop device, which destroys it: "
            + ", ".join(device.path for device in devices),
            "stop its pods, then detach the one that was made by hand: losetup -d",
        )
    for device in devices:
        mine = [mount for mount, of in shown if of is device]
        if not any(not mounts.is_staged(mount) for mount in mine):
            yield _unmounted(device, mine)
    for mount, device in [(mount, of) for mount, of in shown if mount.root == "/"][:1]:
        yield from _file_system_troubles(mount, device)


def _unmounted(device: _Device, staged: "List[mounts.Mount]") -> "Finding":
    """Why a device that holds its lock is there without a mount of ours."""
    holders = {
        process: mount.path for process, mount in mounts.elsewhere() if _shows(mount, device)
    }
    if staged:
        where = staged[0].path
        return (
            "only a killed callout's preparation is left, at " + where,
            "the next mount or unmount of any volume clears it, or: "
            + staged[0].command("umount", where),
        )
    if holders:
        first = min(holders)
        who = ", ".join(
            "{} at {}".format(_process(process), path) for process, path in sorted(holders.items())
        )
        return (
            "{} is mounted only in mount namespaces of others: {}".format(device.path, who),
            "end that process, or: nsenter -t {} -m umount {}".format(first, holders[first]),
        )
    if not device.clears_itself:
        return (
            (
                "{} holds its lock, unmounted, and will not go away by itself: a callout was killed"
            ).format(device.path),
            "the next mount takes it over; or: losetup -d " + device.path,
        )
    if _is_open(device.path):
        return "{} is not mounted, but a process keeps it open".format(
            device.path
        ), "find it with: fuser -v " + device.path
    return (
        "{} is not mounted, and no process keeps it open, but the kernel does: its file system was "
        "frozen, as backups do, and unmounted before it was thawed".format(device.path),
        "the next mount thaws it; or: mount {0} /mnt && fsfreeze -u /mnt; umount /mnt".format(
            device.path
        ),
    )


def _is_open(device: str) -> bool:
    """Whether a process has the device open."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        directory = "/proc/{}/fd".format(process)
        try:
            names = os.listdir(directory)
        except OSError:  # it ended meanwhile
            continue
        for name in names:
            try:
                if os.readlink(directory + "/" + name) == device:
                    return True
            except OSError:  # it was closed meanwhile
                continue
    return False


def _process(process: int) -> str:
    try:
        with open("/proc/{}/comm".format(process)) as file:
            return "process {} ({})".format(process, file.read().strip())
    except OSError:
        return "process {}, which ended".format(process)


def _file_system_troubles(mount: "mounts.Mount", device: _Device) -> "Iterator[Finding]":
    if mounts.is_frozen(mount, device.path):
        yield (
            "its {} is frozen at {}, so whatever writes to it waits".format(
                mount.fs_type, mount.path
            ),
            "unless a backup is at work on it: fsfreeze -u " + mount.path,
        )
        return
    how = mount.stopped()
    if how:
        remedy = (
            "see dmesg for why; then stop its pods, and the next one's mount repairs what "
            "needs no decision"
        )
        yield "its {} {}".format(mount.fs_type, how), remedy
