"""A driver of your own in thirty lines: each volume is a directory of the node's disk, without a
size limit.

Build the driver into the file: `./build.sh build --driver examples/directory.py`. Install it on the
nodes: `flexvol install --driver directory`. Start the provisioner with `--driver
flexvol/directory`. The storage class has `provisioner: directory.flexvol`. The page
docs/your-own-driver/directory.md has the manifests, and what the example leaves out."""

from node.directories.disk import Disk
from node.drivers import Driver, InvalidArgument, Options, Reply
from node.host import mount_table, mounts

# Which volumes there are, whose each is, and what a pod may have.
DISK = Disk("/var/lib/flexvol-directory", pool="directory")


class DirectoryDriver(Driver):
    def provision(self, options: Options) -> Reply:
        options.expect_own(())
        if options.source_volume:
            raise InvalidArgument("a directory cannot begin as a copy of another volume")
        own = DISK.make(options)["options"]
        size_bytes = options.request_bytes
        return Reply(volume={"options": own, "capacityBytes": size_bytes, "fsType": ""})

    def list(self) -> Reply:
        return Reply(volumes=DISK.volumes(), pools=[DISK.room()])

    def mount(self, mount_dir: str, options: Options) -> Reply:
        path = DISK.find(options)
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
        DISK.remove(options)
        return Reply()
