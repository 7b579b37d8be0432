"""A driver of your own in sixty lines: each volume is a directory of the node's disk, without a
size limit.

Build the driver into the file: `./build.sh build --driver examples/directory.py`. Install it on the
nodes: `flexvol install --driver directory`. Start the provisioner with `--driver
flexvol/directory`. The storage class has `provisioner: directory.flexvol`. The page
docs/your-own-driver/directory.md has the manifests, and what sixty lines leave out."""

import os

from node.drivers import Busy, Driver, InvalidArgument, NotFound, Options, Reply, check_name, run
from node.host import files, mount_table, mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

ROOT = "/var/lib/flexvol-directory"
POOL = "directory"  # the one disk of this driver, as `list` and the inventory call it
DELETE_SECONDS = 200  # the provisioner waits longer for a callout
LOCK_SECONDS = 10  # another call writes a record meanwhile


def path_of(namespace: str, volume: str) -> str:
    """A volume lies below the namespace of its claim. kubelet tells the namespace of a pod, which
    nobody can forge, so no pod reaches a volume of another namespace."""
    return os.path.join(ROOT, check_name("namespace", namespace), volume)


def record_of(path: str) -> str:
    """The record says whose a volume is. It lies beside the volume, under a hidden name, which no
    volume can have."""
    directory, volume = os.path.split(path)
    return os.path.join(directory, "." + volume)


def entry_of(path: str) -> "Dict[str, Any]":
    """What `list` says of a volume. A volume without files is blank: nothing is lost with it."""
    import json  # late: no callout of kubelet needs it

    try:
        with open(record_of(path)) as file:
            entry: "Dict[str, Any]" = json.load(file)
    except FileNotFoundError:
        entry = {"name": os.path.basename(path), "pool": POOL}  # its owner is not known
    entry["blank"] = not os.listdir(path)
    return entry


class DirectoryDriver(Driver):
    def provision(self, options: Options) -> Reply:
        import json

        options.expect_own(())
        if options.source_volume:
            raise InvalidArgument("a directory cannot begin as a copy of another volume")
        path = path_of(options.claim.namespace, options.volume)
        if options.only_find and not os.path.isdir(path):
            raise NotFound("{} does not exist on this node".format(path))
        entry = {"name": options.volume, "pool": POOL, "options": {}, "owner": vars(options.claim)}
        entry["clusterUid"] = options.cluster_uid
        entry["reclaimPolicy"] = options.reclaim_policy
        os.makedirs(path, exist_ok=True)
        with files.open_path(os.path.dirname(path), os.O_DIRECTORY) as directory:
            directory.lock(path, LOCK_SECONDS)
            files.write(directory, os.path.basename(record_of(path)), json.dumps(entry).encode())
        size_bytes = options.request_bytes
        return Reply(volume={"options": {}, "capacityBytes": size_bytes, "fsType": ""})

    def list(self) -> Reply:
        import glob

        os.makedirs(ROOT, exist_ok=True)  # no volume was made yet
        disk = os.statvfs(ROOT)
        pool = {"name": POOL, "capacityBytes": disk.f_blocks * disk.f_frsize}
        pool["freeBytes"] = disk.f_bavail * disk.f_frsize
        volumes = [entry_of(path) for path in sorted(glob.glob(os.path.join(ROOT, "*", "*")))]
        return Reply(volumes=volumes, pools=[pool])

    def mount(self, mount_dir: str, options: Options) -> Reply:
        namespace = options.pod.namespace if options.pod else ""
        path = path_of(namespace, options.volume)
        if not os.path.isdir(path):
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
        return Reply()

    def delete(self, options: Options) -> Reply:
        path = path_of(options.claim.namespace, options.volume)
        if options.only_if_blank and os.path.isdir(path):
            try:
                os.rmdir(path)
            except OSError:
                raise Busy("{} holds files, and is kept".format(path)) from None
        run(["rm", "-rf", path, record_of(path)], DELETE_SECONDS).check()
        return Reply()
