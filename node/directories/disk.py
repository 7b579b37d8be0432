"""Volumes that are directories of one disk of the node: which there are, whose each is, and on
which disk.

ROOT/.id                the id by which PVs know the disk again
ROOT/NAMESPACE/VOLUME   a volume
ROOT/NAMESPACE/.VOLUME  its record; no volume has a name that begins with a dot

A volume lies below the namespace of its claim. kubelet tells the namespace of a pod, which nobody
can forge, so no pod reaches a volume of another namespace. examples/directory.py is a driver of
such volumes."""

import contextlib
import errno
import os

from node.host import files
from shared.process import run
from shared.protocol import Busy, InvalidArgument, NotFound, Unavailable, check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from node.host.descriptors import Descriptor
    from shared.options import Options

ID = ".id"
DELETE_SECONDS = 200  # the provisioner waits longer for a callout
LOCK_SECONDS = 10  # another call writes a record meanwhile


class Disk:
    """The disk. root: the directory that has the volumes. pool: how `list` and the inventory call
    the disk. is_made: whether the root is made if there is none. If not, a person makes the root as
    a directory of the disk, so that a root that is missing tells that the disk is not mounted."""

    def __init__(self, root: str, pool: str, is_made: bool = True) -> None:
        self.root = root
        self.pool = pool
        self._is_made = is_made

    # For provision, mount and delete.

    def make(self, options: "Options", **also: "Any") -> "Dict[str, Any]":
        """Makes the volume of a claim, or finds the volume if an earlier call made it; returns its
        record. What `options` in the record has belongs into the PV.

        also: more values for the record of a new volume, such as `sizeBytes`. `list` shows them.
        Raises InvalidArgument if the volume is of another claim, NotFound if it is only to be
        found, and is not there."""
        path = self.path(options.claim.namespace, options.volume)
        if options.only_find and not is_there(path) and not is_there(_record_path(path)):
            raise _not_found(path)
        pool_id = self._named()
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with self._locked(path) as directory:
            record = self.record(path)
            _check_owner(path, record, options)
            if not record:
                record = {
                    "options": {"poolId": pool_id},
                    "poolId": pool_id,
                    "owner": vars(options.claim),
                    "clusterUid": options.cluster_uid,
                    "reclaimPolicy": options.reclaim_policy,
                }
                record.update(also)
                # First: what a crash leaves then is listed with its owner.
                _write(directory, path, record)
            os.makedirs(path, exist_ok=True)
        return record

    def find(self, options: "Options") -> str:
        """The directory of the volume that a pod is to have. Raises Unavailable while another disk,
        or none, is mounted, NotFound if the namespace of the pod has no such volume."""
        path = self.path(options.pod.namespace if options.pod else "", options.volume)
        self._check_id(options)
        if not is_there(path):
            raise _not_found(path)
        return path

    def remove(self, options: "Options") -> None:
        """Deletes the volume with all its files, and nothing that somebody mounted below it. Raises
        Unavailable while another disk is mounted, InvalidArgument if the volume is of another
        claim, Busy if it is to be deleted only while it holds no files, and has some."""
        path = self.path(options.claim.namespace, options.volume)
        self._check_id(options)
        _check_owner(path, self.record(path), options)
        if options.only_if_blank:
            _remove_empty(path)
        else:
            run(["rm", "-rf", "--one-file-system", path], DELETE_SECONDS).check()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_record_path(path))

    # For expandfs, and for drivers that note more.

    def path_by_name(self, volume: str) -> str:
        """The directory of a volume whose namespace is not told: no two volumes of a cluster have
        one name. Raises NotFound if there is no such volume."""
        for path in self._paths():
            if os.path.basename(path) == volume:
                return path
        raise _not_found(os.path.join(self.root, "*", volume))

    def record(self, path: str) -> "Dict[str, Any]":
        """What is noted of the volume with that directory; {} if nothing is. Raises Unavailable if
        somebody has damaged the record."""
        import json  # late: most callouts of kubelet do not need it

        name = _record_path(path)
        try:
            with open(name) as file:
                record = json.load(file)
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise _damaged(name, " ({})".format(error)) from None
        if not isinstance(record, dict) or not _has_owner(record):
            raise _damaged(name)
        return record

    def change(self, path: str, **changes: "Any") -> None:
        """Notes more, or other values, of the volume with that directory. Raises NotFound if
        nothing is noted of the volume: a record without an owner would count as damaged."""
        with self._locked(path) as directory:
            record = self.record(path)
            if not record:
                raise _not_found(_record_path(path))
            _write(directory, path, dict(record, **changes))

    # For list.

    def volumes(self) -> "List[Dict[str, Any]]":
        """The entries of all volumes. A volume without files is blank: nothing is lost with it. A
        volume whose record cannot be read is listed with the error, and keeps no other from being
        listed."""
        return [self._entry(path) for path in self._paths()]

    def room(self) -> "Dict[str, Any]":
        """The entry of the pool, which is the disk."""
        self._check_root()
        disk = os.statvfs(self.root)
        return {
            "name": self.pool,
            "id": self._id(),
            "capacityBytes": disk.f_blocks * disk.f_frsize,
            "freeBytes": disk.f_bavail * disk.f_frsize,
        }

    def path(self, namespace: str, volume: str) -> str:
        """The directory of a volume of that namespace."""
        return os.path.join(self.root, check_name("namespace", namespace), volume)

    def _paths(self) -> "List[str]":
        """The directories of all volumes, also of those that have a record only."""
        import glob

        self._check_root()
        paths = {path for path in glob.glob(os.path.join(self.root, "*", "*")) if is_there(path)}
        for record in glob.glob(os.path.join(self.root, "*", ".[!.]*")):
            directory, name = os.path.split(record)
            paths.add(os.path.join(directory, name[1:]))
        return sorted(paths)

    def _entry(self, path: str) -> "Dict[str, Any]":
        entry: "Dict[str, Any]" = {"name": os.path.basename(path), "pool": self.pool}
        try:
            entry["blank"] = not is_there(path) or not os.listdir(path)
            entry.update(self.record(path))
        except Unavailable as failure:
            entry["error"] = failure.message
        except OSError as error:
            entry["error"] = "{}: {}".format(error.filename, error.strerror)
        return entry

    def _locked(self, path: str) -> "Descriptor":
        """Keeps all others from the records of the namespace until the directory is closed."""
        with files.open_path(os.path.dirname(path), os.O_DIRECTORY) as directory:
            directory.lock(path, LOCK_SECONDS)
            return directory.kept_open()

    # The id of the disk.

    def _check_root(self) -> None:
        if self._is_made:
            os.makedirs(self.root, exist_ok=True)
        elif not is_there(self.root):
            raise Unavailable(
                "there is no {}; see that its disk is mounted, and make that directory on a disk "
                "that is new".format(self.root)
            )

    def _id(self) -> str:
        """The id of the disk; "" before its first volume."""
        try:
            with open(os.path.join(self.root, ID)) as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def _named(self) -> str:
        """The id of the disk, which gets one with its first volume."""
        import uuid

        self._check_root()
        with files.open_path(self.root, os.O_DIRECTORY) as root:
            root.lock(self.root, LOCK_SECONDS)
            if not self._id():
                files.write(root, ID, uuid.uuid4().hex.encode())
        return self._id()

    def _check_id(self, options: "Options") -> None:
        """Raises Unavailable unless the disk is the one that the volume's PV means: the volume is
        not gone."""
        found = self._id()
        expected = options.own.get("poolId", found)
        if expected != found:
            raise Unavailable(
                "{} is on {}, and the volume is on the disk {!r}; see that the right disk is "
                "mounted".format(
                    self.root,
                    "the disk {!r}".format(found) if found else "a disk without volumes",
                    expected,
                )
            )


def is_there(path: str) -> bool:
    """Whether there is anything at the path. A disk that cannot be read raises OSError: what cannot
    be seen may be there."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def _not_found(path: str) -> NotFound:
    return NotFound("{} does not exist on this node; see: kubectl flexvol inventory".format(path))


def _damaged(record: str, why: str = "") -> Unavailable:
    return Unavailable(
        "{} is not what the driver wrote{}; put it back from a backup".format(record, why)
    )


def _record_path(path: str) -> str:
    directory, volume = os.path.split(path)
    return os.path.join(directory, "." + volume)


def _write(directory: int, path: str, record: "Dict[str, Any]") -> None:
    import json

    name = os.path.basename(_record_path(path))
    files.write(directory, name, json.dumps(record).encode())


def _has_owner(record: "Dict[str, Any]") -> bool:
    """Whether the record says whose the volume is. One that `change` wrote of a volume without a
    record has no owner at all."""
    if "owner" not in record:
        return True
    owner = record["owner"]
    return isinstance(owner, dict) and bool(owner.get("uid"))


def _check_owner(path: str, record: "Dict[str, Any]", options: "Options") -> None:
    """Raises InvalidArgument if the volume was made for another claim, as where two clusters have
    one disk."""
    claim_uid = options.claim.uid
    owner_uid = record.get("owner", {}).get("uid", claim_uid)
    if owner_uid != claim_uid:
        raise InvalidArgument(
            "{} is of the claim with the uid {!r}, not {!r}; it is left alone".format(
                path, owner_uid, claim_uid
            )
        )


def _remove_empty(path: str) -> None:
    """Raises Busy if the volume holds files. rmdir removes no file, whatever comes in between."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        raise Busy("{} holds files; it is left alone".format(path)) from None
