"""A driver of your own in thirty lines: each volume is a directory of the node's disk, without a
size limit.

Build the driver into the file: `./build.sh build --driver examples/directory.py`. Install it on the
nodes: `flexvol install --driver directory`. Start the provisioner with `--driver
flexvol/directory`. The storage class has `provisioner: directory.flexvol`."""

import os

from node.drivers import Driver, InvalidArgument, NotFound, Options, Reply, check_name, run
from node.host import mount_table, mounts

ROOT = "/var/lib/flexvol-directory"
DELETE_SECONDS = 200  # the provisioner waits longer for a callout


def path_of(namespace: str, volume: str) -> str:
    """A volume lies below the namespace of its claim. kubelet tells the namespace of a pod, which
    nobody can forge, so no pod reaches a volume of another namespace."""
    return os.path.join(ROOT, check_name("namespace", namespace), volume)


class DirectoryDriver(Driver):
    def provision(self, options: Options) -> Reply:
        options.expect_own(())
        if options.source_volume:
            raise InvalidArgument("a directory cannot begin as a copy of another volume")
        os.makedirs(path_of(options.claim.namespace, options.volume), exist_ok=True)
        size_bytes = options.request_bytes
        return Reply(volume={"options": {}, "capacityBytes": size_bytes, "fsType": ""})

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
        run(["rm", "-rf", path], DELETE_SECONDS).check()
        return Reply()
