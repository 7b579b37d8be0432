"""A driver of your own: each volume is a directory of the node's disk, without a size limit.

Build the driver into the file: `./build.sh build --driver examples/directory.py`. Install it on the
nodes: `flexvol install --driver directory`. Start the provisioner with `--driver
flexvol/directory`. The storage class has `provisioner: directory.flexvol`. The page
docs/your-own-driver/directory.md has the manifests, and what the example leaves out."""

import contextlib
import errno
import os

from node.drivers import (
    Busy,
    Driver,
    InvalidArgument,
    NotFound,
    Options,
    Reply,
    Unavailable,
    check_name,
    run,
)
from node.host import files, mount_table, mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

ROOT = "/var/lib/flexvol-directory"
POOL = "directory"  # the one disk of this driver, as `list` and the inventory call it
DISK_ID = ".id"  # the file on the disk that tells it from every other disk
DELETE_SECONDS = 200  # the provisioner waits longer for a callout
LOCK_SECONDS = 10  # another call writes a record meanwhile


def path_of(namespace: str, volume: str) -> str:
    """A volume lies below the namespace of its claim. kubelet tells the namespace of a pod, which
    nobody can forge, so no pod reaches a volume of another namespace."""
    return os.path.join(ROOT, check_name("namespace", namespace), volume)


def is_there(path: str) -> bool:
    """Whether the volume exists. A disk that cannot be read raises OSError: what cannot be seen may
    be there."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def disk_id() -> str:
    """The id of the disk; "" before its first volume."""
    try:
        with open(os.path.join(ROOT, DISK_ID)) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def named_disk() -> str:
    """The id of the disk, which gets one with its first volume."""
    import uuid  # late: no callout of kubelet needs it

    os.makedirs(ROOT, exist_ok=True)
    with files.open_path(ROOT, os.O_DIRECTORY) as root:
        root.lock(ROOT, LOCK_SECONDS)
        if not disk_id():
            files.write(root, DISK_ID, uuid.uuid4().hex.encode())
    return disk_id()


def check_disk(options: Options) -> None:
    """Raises Unavailable unless the disk is the one that the volume's PV means. While another disk,
    or none, is mounted at ROOT, the volume is not gone."""
    found = disk_id()
    expected = options.own.get("poolId", found)
    if expected != found:
        raise Unavailable(
            "the disk at {} has the id {!r}, and the volume is on the disk {!r}; see that the "
            "right disk is mounted".format(ROOT, found, expected)
        )


def record_of(path: str) -> str:
    """The record says whose a volume is. It lies beside the volume, under a hidden name, which no
    volume can have."""
    directory, volume = os.path.split(path)
    return os.path.join(directory, "." + volume)


def read_record(path: str) -> "Dict[str, Any]":
    """The record of the volume; {} if it has none. Raises ValueError if somebody damaged it."""
    import json  # late: no callout of kubelet needs it

    try:
        with open(record_of(path)) as file:
            record: "Dict[str, Any]" = json.load(file)
    except FileNotFoundError:
        return {}
    return record


def check_owner(path: str, options: Options) -> None:
    """Raises InvalidArgument if the volume was made for another claim, as where two clusters have
    one disk."""
    owner = read_record(path).get("owner", {}).get("uid", options.claim.uid)
    if owner != options.claim.uid:
        raise InvalidArgument(
            "{} is of the claim with the uid {!r}, not {!r}; it is left alone".format(
                path, owner, options.claim.uid
            )
        )


def entry_of(path: str) -> "Dict[str, Any]":
    """What `list` says of a volume. A volume without files is blank: nothing is lost with it. A
    volume whose record cannot be read is listed with the error, and keeps no other from being
    listed."""
    entry: "Dict[str, Any]" = {"name": os.path.basename(path), "pool": POOL}
    try:
        entry["blank"] = not os.listdir(path)
        entry.update(read_record(path))
    except (OSError, ValueError) as error:
        entry["error"] = "{}: {}".format(record_of(path), error)
    return entry


class DirectoryDriver(Driver):
    def provision(self, options: Options) -> Reply:
        import json

        options.expect_own(())
        if options.source_volume:
            raise InvalidArgument("a directory cannot begin as a copy of another volume")
        path = path_of(options.claim.namespace, options.volume)
        if options.only_find and not is_there(path):
            raise NotFound("{} does not exist on this node".format(path))
        own = {"poolId": named_disk()}
        record = {"options": own, "poolId": own["poolId"], "owner": vars(options.claim)}
        record["clusterUid"] = options.cluster_uid
        record["reclaimPolicy"] = options.reclaim_policy
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with files.open_path(os.path.dirname(path), os.O_DIRECTORY) as directory:
            directory.lock(path, LOCK_SECONDS)
            check_owner(path, options)
            os.makedirs(path, exist_ok=True)
            files.write(directory, os.path.basename(record_of(path)), json.dumps(record).encode())
        size_bytes = options.request_bytes
        return Reply(volume={"options": own, "capacityBytes": size_bytes, "fsType": ""})

    def list(self) -> Reply:
        import glob

        os.makedirs(ROOT, exist_ok=True)  # no volume was made yet
        disk = os.statvfs(ROOT)
        pool = {"name": POOL, "id": disk_id(), "capacityBytes": disk.f_blocks * disk.f_frsize}
        pool["freeBytes"] = disk.f_bavail * disk.f_frsize
        paths = sorted(glob.glob(os.path.join(ROOT, "*", "*")))
        volumes = [entry_of(path) for path in paths if is_there(path)]
        return Reply(volumes=volumes, pools=[pool])

    def mount(self, mount_dir: str, options: Options) -> Reply:
        namespace = options.pod.namespace if options.pod else ""
        path = path_of(namespace, options.volume)
        check_disk(options)
        if not is_there(path):
            raise NotFound("{} does not exist on this node".format(path))
        # os.path.ismount does not see a bind mount within one file system.
        if mount_table.at(mount_dir) is None:
            flags = ["nosuid", "nodev"]
            if options.read_only:
                flags.append("ro")
            mounts.bind(path, mount_dir, flags)
        return Reply()

    def unmount(self, mount_dir: str) -> Reply:
        # kubelet names the pod's directory, in which nobody but this driver mounts.
        mounts.unmount(mount_dir, lambda mount: True)
        return Reply()

    def expandfs(
        self, options: Options, device: str, mount_dir: str, new_bytes: int, old_bytes: int
    ) -> Reply:
        # A directory has no size limit, so nothing is to grow.
        return Reply()

    def delete(self, options: Options) -> Reply:
        path = path_of(options.claim.namespace, options.volume)
        check_disk(options)
        check_owner(path, options)
        if options.only_if_blank:
            remove_empty(path)
        else:  # with all its files, and nothing that somebody mounted below it
            run(["rm", "-rf", "--one-file-system", path], DELETE_SECONDS).check()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(record_of(path))
        return Reply()


def remove_empty(path: str) -> None:
    """Raises Busy if the volume holds files. rmdir removes no file, whatever comes in between."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        raise Busy("{} holds files, and is kept".format(path)) from None
