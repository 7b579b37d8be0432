"""Directories of an NFS export: each claim gets a directory, which pods on any number of nodes
mount and write to at once.

docs/your-own-driver/nfs.md says how this driver is installed and what it promises. This file knows
NFS, the administrator's settings and what a PV names. What is done in an export that is mounted,
with records of all volumes, is in node/directories: a driver for another file system of a network,
such as CephFS, mounts in another way and shares the rest."""

from node.directories import callouts
from node.directories.pools import DELETE_SECONDS, Pool, open_pool
from node.directories.records import CLASS_PARAMETERS, Record
from node.drivers import (
    Capabilities,
    Driver,
    InvalidArgument,
    Options,
    Reply,
    Unavailable,
    check_name,
    shown,
)
from node.host import apart, mount_table, mounts, network_mounts
from node.host.network_mounts import MountOptions, Share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List

CONFIG = "/etc/flexvol/nfs.json"
CONFIG_FORM = '{"pools": {"default": {"server": "HOST", "share": "/DIRECTORY"}}}'
EXPORT_SETTINGS = ("server", "share", "mountOptions")
VOLUME_OPTIONS = ("pool", "poolId", "server", "share", "mountOptions")
DEFAULT_POOL = "default"
# The newest version that the server speaks is taken, unless the mount options name one.
VERSIONS = ("vers=4.2", "vers=4.1", "vers=4.0")
VERSION_OPTIONS = ("vers", "nfsvers", "v3", "v4", "v4.0", "v4.1", "v4.2")
# Values of local_lock with which flock(2) takes a lock of the server.
LOCKS_OF_THE_SERVER = ("none", "posix")
# The provisioner waits 600 s for provision and 60 s for adopt.
PROVISION_SECONDS = 120
ADOPT_SECONDS = 40


class NfsDriver(Driver):
    EXAMPLE = {"pool": "default", "poolId": "ID", "server": "HOST", "share": "/DIRECTORY"}
    VOLUMES_ON_NODES = False
    # fsGroup: kubelet would go through all files of a volume that other pods write to.
    capabilities = Capabilities(
        attach=False,
        selinuxRelabel=False,
        supportsMetrics=True,
        fsGroup=False,
        requiresFSResize=True,
    )

    def provision(self, options: Options) -> Reply:
        own = options.expect_own(("pool", *CLASS_PARAMETERS))
        if options.source_volume:
            raise InvalidArgument("a directory of an export cannot begin as a copy; leave that out")
        if options.fs_type not in ("", "nfs", "nfs4"):
            raise InvalidArgument(
                "fsType is {}; a volume of this driver is a directory, so leave fsType out".format(
                    shown(options.fs_type)
                )
            )
        export = export_of(own)
        volume = export.visit_within(
            PROVISION_SECONDS, lambda pool: make(pool, export, options), may_be_new=True
        )
        return Reply(volume=volume)

    def mount(self, mount_dir: str, options: Options) -> Reply:
        mounts.check_directory(mount_dir)
        if mount_table.at(mount_dir) is not None:
            return Reply()
        export = Export.of_pv(options)
        export.within(network_mounts.MOUNT_SECONDS, lambda: export.show_volume(options, mount_dir))
        return Reply()

    def unmount(self, mount_dir: str) -> Reply:
        mounts.check_path(mount_dir)
        network_mounts.unmount(mount_dir, "nfs")
        return Reply()

    def expandfs(
        self, options: Options, device: str, mount_dir: str, new_bytes: int, old_bytes: int
    ) -> Reply:
        export = Export.of_pv(options)
        pool_id = options.own.get("poolId", "")
        volume = options.volume
        export.visit_within(
            network_mounts.MOUNT_SECONDS,
            lambda pool: callouts.note_size(pool, pool_id, volume, new_bytes),
        )
        return Reply()

    def delete(self, options: Options) -> Reply:
        export = export_of(options.own)
        message = export.visit_within(DELETE_SECONDS, lambda pool: callouts.remove(pool, options))
        return Reply(message=message)

    def adopt(self, options: Options) -> Reply:
        export = export_of(options.own)
        message = export.visit_within(ADOPT_SECONDS, lambda pool: callouts.give(pool, options))
        return Reply(message=message)

    def list(self) -> Reply:
        exports = configured()
        looks = apart.look(
            sorted(exports), lambda name: callouts.told(name, entries_of(exports[name]))
        )
        pools: "List[Dict[str, Any]]" = []
        volumes: "List[Dict[str, Any]]" = []
        for name, look in looks.items():
            callouts.gather(name, look, pools, volumes)
        return Reply(volumes=volumes, pools=pools)


class Export:
    """An export, as the driver's own file or a PV names it. pool: its name in a class."""

    def __init__(self, pool: str, values: "Dict[str, str]") -> None:
        self.pool = check_name("pool", pool)
        self.server = values.get("server", "")
        self.directory = values.get("share", "")
        self.mount_options = check_mount_options(values.get("mountOptions", ""))
        if not self.directory.startswith("/"):
            raise InvalidArgument(
                "the share {} of pool {} is no absolute path; name the directory that the server "
                "exports".format(shown(self.directory), pool)
            )

    @classmethod
    def of_pv(cls, options: Options) -> "Export":
        """The export that a PV or an inline volume names."""
        own = options.expect_own(VOLUME_OPTIONS)
        return cls(own.get("pool", DEFAULT_POOL), own)

    def share(self) -> Share:
        """The whole export, to be mounted."""
        host = "[{}]".format(self.server) if ":" in self.server else self.server
        options = MountOptions(self.mount_options).of_file_system
        names_version = any(option.partition("=")[0] in VERSION_OPTIONS for option in options)
        return Share(
            fs_type="nfs",
            host=self.server,
            source="{}:{}".format(host, self.directory),
            options=options,
            choices=() if names_version else VERSIONS,
        )

    def within(self, seconds: float, work: "Callable[[], Any]") -> "Any":
        """Does the work in a child. Raises Unavailable if the server does not answer in time."""
        what = "pool {} ({}:{})".format(self.pool, self.server, self.directory)
        return network_mounts.bounded(what, work, seconds)

    def visit_within(
        self, seconds: float, work: "Callable[[Pool], Any]", may_be_new: bool = False
    ) -> "Any":
        """Mounts the export where nobody sees the mount, and returns what `work` returns, which
        JSON can say. may_be_new: whether the export may be one that has no volume yet."""

        def visit() -> "Any":
            share = self.share()
            with network_mounts.open_share(share) as unseen, open_pool(
                self.pool, unseen.root, may_be_new
            ) as pool:
                return work(pool)

        return self.within(seconds, visit)

    def show_volume(self, options: Options, mount_dir: str) -> None:
        """Mounts the volume at the directory of the pod. Waits for the server without a limit."""
        pool_id = options.own.get("poolId", "")
        namespace = options.pod.namespace if options.pod else ""
        flags = MountOptions(self.mount_options, options.read_only).flags
        with network_mounts.open_share(self.share()) as unseen, open_pool(
            self.pool, unseen.root
        ) as pool, callouts.use(pool, pool_id, options.volume, namespace) as directory:
            unseen.show(directory, mount_dir, flags)


def check_mount_options(text: str) -> str:
    """Returns the mount options. Raises InvalidArgument for those with which a lock is no lock of
    the server: two nodes could then change the records at the same time, and two claims could get
    one directory."""
    for option in MountOptions(text).of_file_system:
        key, _, value = option.partition("=")
        if key == "nolock" or (key == "local_lock" and value not in LOCKS_OF_THE_SERVER):
            raise InvalidArgument(
                "the mount option {} keeps locks from the server, by which nodes and clusters that "
                "share an export keep from each other's volumes; leave it out".format(shown(option))
            )
    return text


def configured() -> "Dict[str, Export]":
    """The exports that the administrator's file names, by pool. The provisioner has that file; a
    node needs none, as a PV names its export."""
    import json

    try:
        with open(CONFIG, "rb") as file:
            pools: "Dict[str, Dict[str, str]]" = json.loads(file.read().decode("utf-8"))["pools"]
        unknown = {key for values in pools.values() for key in values} - set(EXPORT_SETTINGS)
        if unknown:
            raise ValueError("{} is no setting of a pool".format(shown(min(unknown))))
        return {pool: Export(pool, values) for pool, values in pools.items()}
    except FileNotFoundError:
        raise Unavailable(
            "there is no {}, which names the exports; run this where the provisioner runs, or "
            "write the file like {}".format(CONFIG, CONFIG_FORM)
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unavailable(
            "{} cannot be used ({}); write it like {}".format(CONFIG, error, CONFIG_FORM)
        ) from None


def export_of(own: "Dict[str, str]") -> Export:
    """The configured export of the pool that a class or a PV names. A PV does not decide where that
    export is: who can edit a PV could else make the provisioner delete on another server."""
    pool = own.get("pool", DEFAULT_POOL)
    exports = configured()
    if pool not in exports:
        raise Unavailable(
            "pool {} is not in {}, which has: {}; add it there, or correct the storage "
            "class".format(shown(pool), CONFIG, ", ".join(sorted(exports)) or "none")
        )
    return exports[pool]


def make(pool: Pool, export: Export, options: Options) -> "Dict[str, Any]":
    """Makes the volume, or finds the volume; returns the answer of `provision`."""
    mount_options = ",".join(filter(None, [export.mount_options, *options.mount_options]))
    check_mount_options(mount_options)
    record = callouts.make(pool, options, {"mountOptions": mount_options})
    return {
        "options": volume_options(pool, export, record),
        "capacityBytes": record.size_bytes,
        "fsType": "",
    }


def volume_options(pool: Pool, export: Export, record: Record) -> "Dict[str, str]":
    """The options of the volume's PV, which are all that a node needs to mount."""
    values = {
        "pool": pool.name,
        "poolId": pool.id(),
        "server": export.server,
        "share": export.directory,
        "mountOptions": record.text("mountOptions"),
    }
    return {key: value for key, value in values.items() if value}


def entries_of(export: Export) -> "Iterator[Dict[str, Any]]":
    """What `list` says: the entry of the pool, and then one for each volume, as they are found.
    Waits for the server without a limit."""
    with network_mounts.open_share(export.share()) as unseen, open_pool(
        export.pool, unseen.root
    ) as pool:
        yield from describe(pool, export)


def describe(pool: Pool, export: Export) -> "Iterator[Dict[str, Any]]":
    return callouts.describe(pool, lambda record: volume_options(pool, export, record))
