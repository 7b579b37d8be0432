"""Directories of an NFS export: each claim gets a directory, which pods on any number of nodes
mount and write to at once.

docs/your-own-driver/nfs.md says how this driver is installed and what it promises. The export has a
directory `.flexvol`, which a person makes and which no pod sees. The driver keeps a record of each
volume there, and touches no directory of the export that it has no record of:

.flexvol/pool.json          the id by which PVs know the export again
.flexvol/lock               whose lock is held while records are changed
.flexvol/volumes/NAME.json  the record of a volume
.flexvol/paths/SHOP%DATA    that the path SHOP/DATA is taken, and by which volume
.flexvol/deleting/NAME      what is left of a volume that is being deleted
"""

import errno
import os
import time

from node.drivers import (
    Busy,
    Capabilities,
    Driver,
    Failure,
    InvalidArgument,
    NotFound,
    Options,
    Reply,
    ResourceExhausted,
    Unavailable,
    check_name,
    run,
    shown,
)
from node.host import apart, files, mount_table, mounts, network_mounts
from node.host.descriptors import Descriptor
from node.host.network_mounts import MountOptions, Share
from shared.options import ANY, AWAITED, NO_OWNER
from shared.protocol import is_object_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Optional

CONFIG = "/etc/flexvol/nfs.json"
CONFIG_FORM = '{"pools": {"default": {"server": "HOST", "share": "/DIRECTORY"}}}'
EXPORT_SETTINGS = ("server", "share", "mountOptions")
CLASS_PARAMETERS = ("pool", "archiveOnDelete", "pathPattern", "mode")
VOLUME_OPTIONS = ("pool", "poolId", "server", "share", "mountOptions")
DEFAULT_POOL = "default"
# The newest version that the server speaks is taken, unless the mount options name one.
VERSIONS = ("vers=4.2", "vers=4.1", "vers=4.0")
VERSION_OPTIONS = ("vers", "nfsvers", "v3", "v4", "v4.0", "v4.1", "v4.2")

MARKS = ".flexvol"
VOLUMES = "volumes"
PATHS = "paths"
DELETING = "deleting"
RECORD_SUFFIX = ".json"
ARCHIVE_PREFIX = "archived-"
# In PATHS, of a directory that has volumes in it. No volume has this name.
PARENT = "/"
# A file name ends at 255, and an archive's name has ARCHIVE_PREFIX too.
PATH_LENGTH = 240
PATH_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/")
# Any pod that has the volume may write to it, whatever its user, as with other NFS provisioners.
DEFAULT_MODE = "0777"
# Records are changed within milliseconds.
LOCK_SECONDS = 20
# The provisioner waits 600 s for provision, 300 s for delete and 60 s for adopt.
PROVISION_SECONDS = 120
DELETE_SECONDS = 240
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
        own = options.expect_own(CLASS_PARAMETERS)
        if options.source_volume:
            raise InvalidArgument("a directory of an export cannot begin as a copy; leave that out")
        if options.fs_type not in ("", "nfs", "nfs4"):
            raise InvalidArgument(
                "fsType is {}; a volume of this driver is a directory, so leave fsType out".format(
                    shown(options.fs_type)
                )
            )
        export = export_of(own)
        volume = export.visit_within(PROVISION_SECONDS, lambda pool: make(pool, export, options))
        return Reply(volume=volume)

    def mount(self, mount_dir: str, options: Options) -> Reply:
        mounts.check_directory(mount_dir)
        if mount_table.at(mount_dir) is not None:
            return Reply()
        own = options.expect_own(VOLUME_OPTIONS)
        namespace = options.pod.namespace if options.pod else ""
        volume = options.volume
        export = Export(own.get("pool", DEFAULT_POOL), own)
        path = export.visit_within(
            network_mounts.MOUNT_SECONDS,
            lambda pool: use(pool, own.get("poolId", ""), volume, namespace),
        )
        mount_options = MountOptions(export.mount_options, options.read_only)
        network_mounts.mount(export.share(path), mount_dir, mount_options.flags)
        return Reply()

    def unmount(self, mount_dir: str) -> Reply:
        mounts.check_path(mount_dir)
        network_mounts.unmount(mount_dir, "nfs")
        return Reply()

    def expandfs(
        self, options: Options, device: str, mount_dir: str, new_bytes: int, old_bytes: int
    ) -> Reply:
        own = options.expect_own(VOLUME_OPTIONS)
        volume = options.volume
        Export(own.get("pool", DEFAULT_POOL), own).visit_within(
            network_mounts.MOUNT_SECONDS,
            lambda pool: note_size(pool, own.get("poolId", ""), volume, new_bytes),
        )
        return Reply()

    def delete(self, options: Options) -> Reply:
        export = export_of(options.own)
        message = export.visit_within(DELETE_SECONDS, lambda pool: remove(pool, options))
        return Reply(message=message)

    def adopt(self, options: Options) -> Reply:
        export = export_of(options.own)
        message = export.visit_within(ADOPT_SECONDS, lambda pool: give(pool, options))
        return Reply(message=message)

    def list(self) -> Reply:
        exports = configured()
        looks = apart.look(sorted(exports), lambda name: entries_of(exports[name]))
        pools = []
        volumes: "List[Dict[str, Any]]" = []
        for name, look in looks.items():
            if look.error:
                pools.append({"name": name, "byName": True, "error": look.error})
                continue
            pools.append(look.entries[0])
            volumes.extend(look.entries[1:])
        return Reply(volumes=volumes, pools=pools)


class Export:
    """An export, as the driver's own file or a PV names it. pool: its name in a class."""

    def __init__(self, pool: str, values: "Dict[str, str]") -> None:
        self.pool = check_name("pool", pool)
        self.server = values.get("server", "")
        self.directory = values.get("share", "")
        self.mount_options = values.get("mountOptions", "")
        if not self.directory.startswith("/"):
            raise InvalidArgument(
                "the share {} of pool {} is no absolute path; name the directory that the server "
                "exports".format(shown(self.directory), pool)
            )

    def share(self, path: str = "") -> Share:
        """A directory of the export, by its path; by default the whole export."""
        host = "[{}]".format(self.server) if ":" in self.server else self.server
        directory = os.path.join(self.directory, path) if path else self.directory
        options = MountOptions(self.mount_options).of_file_system
        names_version = any(option.partition("=")[0] in VERSION_OPTIONS for option in options)
        return Share(
            fs_type="nfs",
            host=self.server,
            source="{}:{}".format(host, directory),
            options=options,
            choices=() if names_version else VERSIONS,
        )

    def visit(self, work: "Callable[[Pool], Any]") -> "Any":
        """Mounts the export where nobody sees the mount, and returns what `work` returns. Waits for
        the server without a limit."""

        def in_root(root: int) -> "Any":
            with open_marks(root, self.pool) as marks:
                return work(Pool(self.pool, root, marks))

        return network_mounts.visit(self.share(), in_root)

    def visit_within(self, seconds: float, work: "Callable[[Pool], Any]") -> "Any":
        """As `visit`, in a child. Raises Unavailable if the server does not answer in time."""
        what = "pool {} ({}:{})".format(self.pool, self.server, self.directory)
        return network_mounts.bounded(what, lambda: self.visit(work), seconds)


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


def open_marks(root: int, pool: str) -> Descriptor:
    """Opens the directory .flexvol of an export. The driver never makes that directory: an export
    that lacks it may be the empty directory below a disk that the server has not mounted."""
    try:
        return files.open_below(root, MARKS)
    except FileNotFoundError:
        raise Unavailable(
            "pool {0}: the export has no directory {1}, so the server has not mounted its disk, "
            "or the export is not meant for flexvol; if it is, once: mkdir EXPORT/{1}".format(
                pool, MARKS
            )
        ) from None


class Record:
    """What the driver notes of a volume.

    values: as in the file. path: of its directory in the export. inode: the number of the directory
    that the driver made; 0 before the directory is made. blank: whether no pod and no person has
    had the volume."""

    def __init__(self, values: "Dict[str, Any]") -> None:
        self.values = values
        self.name = check_name("volume", values["name"])
        self.path = check_path(values["path"])
        self.inode = int(values["inode"])
        self.owner: "Dict[str, str]" = values["owner"]
        self.size_bytes = int(values["sizeBytes"])
        self.blank = values["blank"] is True


class Pool:
    """An export that is mounted now. root: its open directory. marks: the directory .flexvol."""

    def __init__(self, name: str, root: int, marks: int) -> None:
        self.name = name
        self.root = root
        self._marks = marks

    def lock(self) -> Descriptor:
        """Keeps everyone else from changing records until the lock is closed, and makes what
        .flexvol lacks."""
        with files.open_file(self._marks, "lock", os.O_RDWR | os.O_CREAT) as lock:
            lock.lock("pool " + self.name, LOCK_SECONDS)
            for name in (VOLUMES, PATHS, DELETING):
                files.make_directory(self._marks, name)
            if not files.exists(self._marks, "pool.json"):
                files.write(self._marks, "pool.json", to_json({"id": os.urandom(8).hex()}))
            return lock.kept_open()

    def id(self) -> str:
        """The id by which PVs know the export again; "" before the first volume."""
        if not files.exists(self._marks, "pool.json"):
            return ""
        return str(read_json(self._marks, "pool.json").get("id"))

    def check_id(self, pool_id: str) -> None:
        """Raises Unavailable unless the export is the one that a PV means. The server may have
        another disk there, and a volume that is not on that one is not gone."""
        if not pool_id or self.id() != pool_id:
            raise Unavailable(
                "pool {} has the id {}, and the volume is in a pool with the id {}; see that the "
                "server has the right disk mounted".format(
                    self.name, shown(self.id()), shown(pool_id)
                )
            )

    # Records.

    def names(self) -> "List[str]":
        """The names of the volumes."""
        if not self.id():
            return []
        with files.open_below(self._marks, VOLUMES) as records:
            names = os.listdir(records)
        end = len(RECORD_SUFFIX)
        return sorted(name[:-end] for name in names if not name.startswith("."))

    def record(self, volume: str) -> "Optional[Record]":
        """The record of the volume; None if there is none."""
        with files.open_below(self._marks, VOLUMES) as records:
            if not files.exists(records, volume + RECORD_SUFFIX):
                return None
            values = read_json(records, volume + RECORD_SUFFIX)
        try:
            record = Record(values)
        except (Failure, AttributeError, KeyError, TypeError, ValueError):
            record = None
        if record is None or record.name != volume:
            raise damaged(volume + RECORD_SUFFIX)
        return record

    def write(self, record: Record, **changes: "Any") -> Record:
        """Writes the record with the changes, and returns it. The caller holds the lock."""
        changed = Record(dict(record.values, **changes))
        with files.open_below(self._marks, VOLUMES) as records:
            files.write(records, changed.name + RECORD_SUFFIX, to_json(changed.values))
        return changed

    def forget(self, record: Record) -> None:
        """Gives the path of the record free, and removes the record. The caller holds the lock."""
        if self.has_taken(record):
            with files.open_below(self._marks, PATHS) as paths:
                os.unlink(mark_of(record.path), dir_fd=paths)
        with files.open_below(self._marks, VOLUMES) as records:
            os.unlink(record.name + RECORD_SUFFIX, dir_fd=records)

    # Paths. A path is taken before its directory is made, so that no volume ever lies in another
    # one, and none where somebody else has made a directory.

    def take(self, path: str, volume: str) -> None:
        """Makes the volume's directory, and those that the directory is in."""
        names = path.split("/")
        for count in range(1, len(names)):
            self._take("/".join(names[:count]), PARENT)
        self._take(path, volume)

    def _take(self, path: str, taker: str) -> None:
        name = os.path.basename(path)
        with files.open_below(self._marks, PATHS) as paths, self._parent(path) as parent:
            before = self._taker(paths, path)
            if before not in ("", taker):
                raise InvalidArgument(
                    "the path {} is taken by {}; choose another pathPattern, or delete what has "
                    "it".format(path, "volumes below it" if before == PARENT else before)
                )
            if not before:
                if files.exists(parent, name):
                    raise InvalidArgument(
                        "{} is in the export, and flexvol has not made it; move it away".format(
                            path
                        )
                    )
                files.write(paths, mark_of(path), taker.encode("ascii"))
            if not files.exists(parent, name):
                os.mkdir(name, 0o755, dir_fd=parent)

    def has_taken(self, record: Record) -> bool:
        """Whether the volume has the path of its record."""
        with files.open_below(self._marks, PATHS) as paths:
            return self._taker(paths, record.path) == record.name

    def _taker(self, paths: int, path: str) -> str:
        if not files.exists(paths, mark_of(path)):
            return ""
        return files.read(paths, mark_of(path)).decode("ascii")

    # Directories. No name in a path leads through a symbolic link.

    def _parent(self, path: str) -> Descriptor:
        """Opens the directory that holds the last name of the path."""
        directory = files.open_below(self.root, ".")
        for name in path.split("/")[:-1]:
            with directory:
                inner = files.open_below(directory, name)
            directory = inner
        return directory

    def open(self, record: Record) -> Descriptor:
        """Opens the volume's directory. Raises FileNotFoundError if there is none."""
        with self._parent(record.path) as parent:
            return files.open_below(parent, os.path.basename(record.path))

    def is_there(self, record: Record) -> bool:
        """Whether the volume has a directory."""
        try:
            self.open(record).close()
            return True
        except FileNotFoundError:
            return False

    def is_own(self, record: Record) -> bool:
        """Whether the volume's directory is the one that the driver made. A directory that a person
        has put in its place, from a backup for example, is not."""
        with self.open(record) as directory:
            return os.fstat(directory).st_ino == record.inode

    def is_empty(self, record: Record) -> bool:
        """Whether the volume holds nothing, or has no directory yet."""
        try:
            with self.open(record) as directory:
                return not os.listdir(directory)
        except FileNotFoundError:
            return True

    def remove_empty(self, record: Record) -> None:
        """Removes the volume's directory; the server refuses that if anything is in it."""
        with self._parent(record.path) as parent:
            os.rmdir(os.path.basename(record.path), dir_fd=parent)

    def archive(self, record: Record) -> str:
        """Gives the volume's directory a name under which it is kept, and returns that name."""
        name = record.path.replace("/", "-")
        if not name.endswith(record.name):
            name = "{}-{}".format(name[: PATH_LENGTH - len(record.name) - 1], record.name)
        name = ARCHIVE_PREFIX + name
        if files.exists(self.root, name):
            raise Busy("{} is in the export already; move it away".format(name))
        with self._parent(record.path) as parent:
            old = os.path.basename(record.path)
            os.rename(old, name, src_dir_fd=parent, dst_dir_fd=self.root)
        return name

    def set_aside(self, record: Record) -> None:
        """Takes the volume's directory to where nobody sees it, to be removed."""
        with self._parent(record.path) as parent, files.open_below(self._marks, DELETING) as aside:
            old = os.path.basename(record.path)
            os.rename(old, record.name, src_dir_fd=parent, dst_dir_fd=aside)

    def remove_aside(self, volume: str) -> None:
        """Removes what this or an earlier call has set aside of the volume."""
        with files.open_below(self._marks, DELETING) as deleting:
            if files.exists(deleting, volume):
                path = "/proc/self/fd/{}/{}".format(int(deleting), volume)
                words = ["rm", "-rf", "--one-file-system", path]
                run(words, DELETE_SECONDS, inherit=[deleting]).check()


def check_path(path: str) -> str:
    """Returns the path of a volume's directory, if it can be one. A name that begins with a dot is
    the driver's, or the server's own."""
    names = path.split("/")
    is_named = all(name and not name.startswith(".") for name in names)
    if not is_named or len(path) > PATH_LENGTH or not PATH_CHARACTERS.issuperset(path):
        raise InvalidArgument(
            "{} is no path of a volume: 1 to {} letters, digits, '-', '_', '.' and '/', and no "
            "name in it begins with a dot".format(shown(path), PATH_LENGTH)
        )
    return path


def mark_of(path: str) -> str:
    """The name of the file in PATHS. No path has a percent sign."""
    return path.replace("/", "%")


def to_json(values: "Dict[str, Any]") -> bytes:
    import json

    return json.dumps(values, indent=1, sort_keys=True).encode("ascii") + b"\n"


def read_json(directory: int, name: str) -> "Dict[str, Any]":
    """The object in a file of .flexvol. Raises Unavailable if the file has none."""
    import json

    try:
        values = json.loads(files.read(directory, name).decode("ascii"))
    except ValueError:
        raise damaged(name) from None
    if not isinstance(values, dict):
        raise damaged(name)
    return values


def damaged(name: str) -> Unavailable:
    return Unavailable(
        "{} in {} of the export is not what flexvol wrote; put it back from a backup".format(
            name, MARKS
        )
    )


# What the callouts do in an export that is mounted.


def make(pool: Pool, export: Export, options: Options) -> "Dict[str, Any]":
    """Makes the volume that is asked for, or finds it. Returns the answer of `provision`.

    The record comes first, so that whatever a crash leaves can be finished or removed."""
    with pool.lock():
        record = pool.record(options.volume)
        if record is None and options.only_find:
            raise NotFound(
                "pool {} has no volume {}; nothing is left of it to delete".format(
                    pool.name, options.volume
                )
            )
        if record is None:
            check_room(pool, options.request_bytes)
            record = pool.write(new_record(export, options))
        if record.owner["uid"] != options.claim.uid:
            raise InvalidArgument(
                "volume {} exists and is of another claim; it is left alone".format(record.name)
            )
        if not record.inode and not options.only_find:
            record = make_directory(pool, record)
        return {
            "options": volume_options(pool, export, record),
            "capacityBytes": record.size_bytes,
            "fsType": "",
        }


def check_room(pool: Pool, size_bytes: int) -> None:
    """Raises ResourceExhausted if the export has less free than is asked for. Nothing is kept free
    for a volume, and nothing limits a volume."""
    free_bytes = room_of(pool).free_bytes
    if size_bytes > free_bytes:
        raise ResourceExhausted(
            "pool {} has {} bytes free, and {} are asked for; free some, or ask for less".format(
                pool.name, free_bytes, size_bytes
            )
        )


def new_record(export: Export, options: Options) -> Record:
    """The record of a volume whose directory is not made yet."""
    own = options.own
    claim = options.claim
    mount_options = [export.mount_options, *options.mount_options]
    return Record({
        "schema": 1,
        "name": options.volume,
        "path": path_for(options, own.get("pathPattern", "")),
        "inode": 0,
        "mode": mode_of(own.get("mode", DEFAULT_MODE)),
        "sizeBytes": options.request_bytes,
        "owner": {"namespace": claim.namespace, "name": claim.name, "uid": claim.uid},
        "clusterUid": options.cluster_uid,
        "class": options.class_name,
        "reclaimPolicy": options.reclaim_policy,
        "accessModes": options.access_modes,
        "mountOptions": ",".join(filter(None, mount_options)),
        "onDelete": "archive" if archives(own.get("archiveOnDelete", "true")) else "delete",
        "blank": True,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    })  # fmt: skip


def path_for(options: Options, pattern: str) -> str:
    """The path of a new volume: as the class's pathPattern says, else NAMESPACE-CLAIM-VOLUME."""
    claim = options.claim
    words = [word for word in (claim.namespace, claim.name) if word != ANY]
    for word in words:
        if not is_object_name(word):
            raise InvalidArgument(
                "{} is the name of no namespace and no claim; see the request".format(shown(word))
            )
    if pattern and len(words) == 2:
        path = pattern.replace("${.PVC.namespace}", words[0]).replace("${.PVC.name}", words[1])
        return check_path(path.strip("/"))
    begin = "-".join(words)[: PATH_LENGTH - len(options.volume) - 1]
    return check_path("{}-{}".format(begin, options.volume) if begin else options.volume)


def mode_of(text: str) -> int:
    """The permissions of a new volume's directory, written as for chmod."""
    if len(text) not in (3, 4) or not frozenset("01234567").issuperset(text):
        raise InvalidArgument("mode is {}; write it in octal, like 0770".format(shown(text)))
    return int(text, 8)


def archives(text: str) -> bool:
    """Whether the directory of a deleted volume is kept."""
    if text not in ("true", "false"):
        raise InvalidArgument("archiveOnDelete is {}; it is true or false".format(shown(text)))
    return text == "true"


def make_directory(pool: Pool, record: Record) -> Record:
    """Makes the directory of a new volume. Returns the record, which has its inode now."""
    pool.take(record.path, record.name)
    if not pool.is_empty(record):
        raise InvalidArgument(
            "{} in the export holds what flexvol has not made; move it away".format(record.path)
        )
    with pool.open(record) as directory:
        os.fchmod(directory, record.values["mode"])
        os.fsync(directory)
        return pool.write(record, inode=os.fstat(directory).st_ino)


def volume_options(pool: Pool, export: Export, record: Record) -> "Dict[str, str]":
    """The options of the volume's PV, which are all that a node needs to mount."""
    values = {
        "pool": pool.name,
        "poolId": pool.id(),
        "server": export.server,
        "share": export.directory,
        "mountOptions": record.values["mountOptions"],
    }
    return {key: value for key, value in values.items() if value}


def use(pool: Pool, pool_id: str, volume: str, namespace: str) -> str:
    """Returns the path of the volume for a pod of the namespace.

    kubelet tells the namespace of a pod, which nobody can forge, and the record tells that of the
    volume's claim. So no pod reaches a volume of another namespace, whatever inline volume or PV
    names it."""
    pool.check_id(pool_id)
    record = pool.record(volume)
    if record is None or not record.inode or not pool.is_there(record):
        raise NotFound(
            "pool {} has no directory for volume {}; see: kubectl flexvol inventory".format(
                pool.name, volume
            )
        )
    if record.owner["namespace"] != namespace:
        raise InvalidArgument(
            "volume {} is of a claim in another namespace than {}; only pods beside its claim may "
            "have it".format(volume, shown(namespace))
        )
    if record.blank:
        change_from_node(pool, volume, blank=False)
    return record.path


def note_size(pool: Pool, pool_id: str, volume: str, size_bytes: int) -> None:
    """Notes how large the volume's claim is by now."""
    pool.check_id(pool_id)
    record = pool.record(volume)
    if record is not None and record.size_bytes < size_bytes:
        change_from_node(pool, volume, sizeBytes=size_bytes)


def change_from_node(pool: Pool, volume: str, **changes: "Any") -> None:
    """Changes the record. Where the server does not let this node write to .flexvol, the record
    stays as it is: then an inventory shows the size of the first claim, and a volume counts as
    blank while it is empty."""
    try:
        with pool.lock():
            record = pool.record(volume)
            if record is not None:
                pool.write(record, **changes)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def remove(pool: Pool, options: Options) -> str:
    """Deletes or archives the volume. Returns a sentence where there is something to say."""
    with pool.lock():
        pool.check_id(options.own.get("poolId", pool.id()))
        record = pool.record(options.volume)
        message = "it was already gone"
        if record is not None:
            check_owner(record, options.claim.uid)
            message = discard(pool, record, options.only_if_blank)
            pool.forget(record)
    # The lock is not held for as long as this takes; nobody else works on what was set aside.
    pool.remove_aside(options.volume)
    return message


def check_owner(record: Record, uid: str) -> None:
    """Raises InvalidArgument unless the volume is of the claim with that uid."""
    owner_uid = record.owner["uid"]
    if owner_uid != uid or uid == AWAITED:
        raise InvalidArgument(
            "volume {} is of the claim with the uid {}, not {}; it is left alone".format(
                record.name, shown(owner_uid), shown(uid)
            )
        )


def discard(pool: Pool, record: Record, only_if_blank: bool) -> str:
    """Takes the volume's directory away, as its class said. A directory that the driver did not
    make is never deleted."""
    if only_if_blank and not (record.blank and pool.is_empty(record)):
        raise InvalidArgument(
            "volume {} has been mounted and may hold data; it is left alone".format(record.name)
        )
    if not pool.has_taken(record) or not pool.is_there(record):
        return ""
    if only_if_blank or not record.inode:
        if pool.is_empty(record):
            pool.remove_empty(record)
        return ""
    if record.values["onDelete"] != "delete" or not pool.is_own(record):
        return "its directory is kept as {}".format(pool.archive(record))
    pool.set_aside(record)
    return ""


def give(pool: Pool, options: Options) -> str:
    """Makes the claim the volume's owner."""
    claim = options.claim
    with pool.lock():
        pool.check_id(options.own.get("poolId", pool.id()))
        record = pool.record(options.volume)
        if record is None:
            raise NotFound(
                "pool {} has no volume {}; see: kubectl flexvol inventory".format(
                    pool.name, options.volume
                )
            )
        if options.only_if_blank and not record.blank:
            return "it is kept already"
        check_still_so(record, options)
        pool.write(
            record,
            owner={"namespace": claim.namespace, "name": claim.name, "uid": claim.uid},
            clusterUid=options.cluster_uid or record.values["clusterUid"],
            blank=False,
        )
        return ""


def check_still_so(record: Record, options: Options) -> None:
    """Raises a Failure unless the record is still as the provisioner saw it."""
    claim = options.claim
    owner = record.owner
    named = (owner["namespace"], owner["name"])
    awaits = named in ((claim.namespace, claim.name), (ANY, ANY))
    if owner["uid"] not in (AWAITED, claim.uid):
        awaits = False
    if options.only_if_awaited and not awaits:
        raise InvalidArgument(
            "volume {} does not await this claim; it is left alone".format(record.name)
        )
    owner_uid = owner["uid"] or NO_OWNER
    if options.only_if_owner and owner_uid not in (options.only_if_owner, claim.uid):
        raise Busy(
            "volume {} was given to the claim with the uid {} just now; its provisioner looks "
            "again".format(record.name, shown(owner_uid))
        )


class Room:
    """The bytes of the export's disk, and those that are free."""

    def __init__(self, capacity_bytes: int, free_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.free_bytes = free_bytes


def room_of(pool: Pool) -> Room:
    figures = os.statvfs(pool.root)
    return Room(figures.f_blocks * figures.f_frsize, figures.f_bavail * figures.f_frsize)


def entries_of(export: Export) -> "Iterator[Dict[str, Any]]":
    """What `list` says: the entry of the pool, and then one for each volume."""
    try:
        yield from export.visit(lambda pool: describe(pool, export))
    except Failure as failure:
        yield {"name": export.pool, "byName": True, "error": failure.message}


def describe(pool: Pool, export: Export) -> "List[Dict[str, Any]]":
    room = room_of(pool)
    volumes = [describe_volume(pool, export, name) for name in pool.names()]
    of_pool = {
        "name": pool.name,
        "id": pool.id(),
        "capacityBytes": room.capacity_bytes,
        "committedBytes": sum(entry.get("sizeBytes", 0) for entry in volumes),
        "reserveBytes": 0,
        "freeBytes": room.free_bytes,
        "maximumVolumeBytes": room.free_bytes,
        "byName": True,
        "mayBeShared": True,
    }
    return [of_pool, *volumes]


# The values of a record that an inventory shows as they are.
SHOWN = (
    "path",
    "owner",
    "sizeBytes",
    "class",
    "reclaimPolicy",
    "accessModes",
    "clusterUid",
    "onDelete",
    "created",
)


def describe_volume(pool: Pool, export: Export, name: str) -> "Dict[str, Any]":
    entry: "Dict[str, Any]" = {"name": name, "pool": pool.name, "poolId": pool.id()}
    try:
        record = pool.record(name)
        if record is None:  # deleted just now
            return dict(entry, error="it is gone")
        entry.update((key, record.values.get(key)) for key in SHOWN)
        entry["fsType"] = ""
        entry["options"] = volume_options(pool, export, record)
        entry["blank"] = record.blank and pool.is_empty(record)
        if record.inode and not pool.is_there(record):
            entry["error"] = "its directory {} is not in the export".format(record.path)
    except (Failure, OSError) as error:
        entry["error"] = str(error)
    return entry
