"""Volumes that are directories of the node's disk, without a size limit: a driver of your own in
thirty lines.

./build.sh build --driver examples/directory.py; then `flexvol install --driver directory` on the
nodes, and `--driver flexvol/directory` for the provisioner, whose class is `provisioner:
directory.flexvol`."""

import os

from node.drivers import Driver, NotFound, Options, Reply, check_name, run
from node.host import mount_table, mounts

ROOT = "/var/lib/flexvol-directory"


def path_of(namespace: str, volume: str) -> str:
    """A volume lies below its claim's namespace. A pod's namespace cannot be forged, so none
    reaches another's."""
    return os.path.join(ROOT, check_name("namespace", namespace), volume)


class DirectoryDriver(Driver):
    def provision(self, options: Options) -> Reply:
        options.expect_own(())
        os.makedirs(path_of(options.claim.namespace, options.volume), exist_ok=True)
        return Reply(volume={"options": {}, "capacityBytes": options.request_bytes, "fsType": ""})

    def mount(self, mount_dir: str, options: Options) -> Reply:
        path = path_of(options.pod.namespace if options.pod else "", options.volume)
        if not os.path.isdir(path):
            raise NotFound("{} does not exist on this node".format(path))
        # os.path.ismount does not see a bind on one file system.
        if mount_table.at(mount_dir) is None:
            flags = ["nosuid", "nodev"]
            if options.read_only:
                flags.append("ro")
            mounts.bind(path, mount_dir, flags)
        return Reply()

    def unmount(self, mount_dir: str) -> Reply:
        # What we mounted shows a directory of a disk, never the whole disk.
        mounts.unmount(mount_dir, lambda mount: mount.root != "/")
        return Reply()

    def expandfs(
        self, options: Options, device: str, mount_dir: str, new_bytes: int, old_bytes: int
    ) -> Reply:
        return Reply()

    def delete(self, options: Options) -> Reply:
        run(["rm", "-rf", path_of(options.claim.namespace, options.volume)], 200).check()
        return Reply()
