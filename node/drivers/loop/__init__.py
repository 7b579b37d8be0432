"""The loop driver: a volume is a file system in a file of exactly the size asked, on any disk,
mounted through a loop device.

Each callout imports its modules when the callout begins, because imports are the greater part of
the time that a callout takes."""

import os

from node.drivers import Driver
from node.drivers.loop import pools, volumes
from node.host import freezing, mount_table, mounts
from shared.protocol import (
    InvalidArgument,
    Reply,
    ResourceExhausted,
    is_object_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from node.drivers.loop.pools import Pool
    from node.drivers.loop.volumes import Volume
    from node.operations import Operations
    from shared.options import Options


class LoopDriver(Driver):
    """See ../__init__.py for what each callout is; here is what is particular to this driver."""

    EXAMPLE = {"pool": "default", "poolId": "ID"}

    def mount(self, mount_dir: str, options: "Options") -> Reply:
        from node.drivers.loop import mounting

        name = options.volume
        pod = options.pod
        read_only = options.read_only
        mounts.check_directory(mount_dir)
        with _pool_of_pv(options) as pool, pool.volume_lock(name) as lock:
            volume = volumes.get(pool, name)
            with volume:
                volume.check_pod(pod)
                mounting.mount(volume, mount_dir, read_only, lock)
                return Reply(message=volume.without_options)

    def unmount(self, mount_dir: str) -> Reply:
        mounts.check_path(mount_dir)
        mounted = mount_table.at(mount_dir)
        mounts.unmount(mount_dir, mounts.shows_image)
        try:
            os.rmdir(mount_dir)  # never what is in it: that would be data written past the volume
        except FileNotFoundError:
            return Reply(message="it was already gone")
        finally:
            if mounted is not None:
                # After the directory, with which the mounts of other namespaces there have gone.
                freezing.thaw_left(mounted)
        return Reply()

    def expandfs(
        self, options: "Options", device: str, mount_dir: str, new_bytes: int, old_bytes: int
    ) -> Reply:
        from node.drivers.loop import growing, images

        name = options.volume
        mounts.check_directory(mount_dir)
        with _pool_of_pv(options) as pool, pool.volume_lock(name) as lock:
            volume = volumes.get(pool, name)
            with volume:
                size_bytes = images.round_up(new_bytes, volume.fs_type)
                try:
                    growing.grow(volume, size_bytes, mount_dir, lock)
                except (InvalidArgument, ResourceExhausted) as error:
                    raise type(error)("{}; {}".format(error, _way_out(volume))) from None
                return Reply(volume_new_size=volume.size_bytes)

    def provision(self, options: "Options") -> Reply:
        from node.drivers.loop import provisioning

        return provisioning.provision(options)

    def delete(self, options: "Options") -> Reply:
        from node.drivers.loop import deleting

        with _pool_of_pv(options) as pool:
            return deleting.delete(pool, options)

    def list(self) -> Reply:
        from node.drivers.loop import listing

        return listing.list_all()

    def adopt(self, options: "Options") -> Reply:
        from node.drivers.loop import adopting

        return adopting.adopt(options)

    def operations(self) -> "Operations":
        from node.drivers.loop.by_hand.operations import LoopOperations  # late: no callout needs it

        return LoopOperations()


def _pool_of_pv(options: "Options") -> "Pool":
    """Opens the pool that the PV names, which must still be the one with the PV's id."""
    own = options.expect_own(volumes.PV_OPTIONS)
    for key in volumes.PV_OPTIONS:
        if not own.get(key):
            raise InvalidArgument(
                "option {} is missing; the volume's PV names its pool and its pool's id".format(key)
            )
    return pools.open_pool(own["pool"], own["poolId"])


def _way_out(volume: "Volume") -> str:
    """The way out where a volume cannot grow as its claim asks. Kubernetes has none: it has raised
    the PV before it asked the driver, and repeats the call until the driver succeeds."""
    owner = volume.owner
    claim = "NAMESPACE/CLAIM"
    if owner is not None and is_object_name(owner.namespace) and is_object_name(owner.name):
        claim = "{}/{}".format(owner.namespace, owner.name)
    return (
        "volume {} keeps its {} MiB and its data; to cancel the growth: kubectl flexvol "
        "cancel-expansion {}".format(volume.name, volume.size_bytes >> 20, claim)
    )
