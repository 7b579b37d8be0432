"""A volume: the directory <pool>/<name>/ with `image` and its record, volume.json.

It is made under a name with a dot and renamed into place, and renamed to such a name before it is
deleted, so that a volume is there whole or not at all; what a crash leaves has a dot-name and is
swept."""

import binascii
import errno
import os
import time

from node.drivers.loop import image as images
from node.drivers.loop import pools
from node.host import disks, files, filesystems, locks, loopdev, mounts, undo, work
from shared.options import ANY, AWAITED, Claim
from shared.protocol import (
    Busy,
    Failure,
    Internal,
    InvalidArgument,
    NotFound,
    Pending,
    is_name,
    shown,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

    from node.drivers.loop.pools import Lock, Pool
    from shared.options import Options, Pod

RECORD = pools.RECORD
SCHEMA = 3
# Schema 1 had no identity of its file system, and no wish for its root's owner; 2 no copies,
# archives and moves.
_SINCE: "Dict[str, Any]" = {
    "fsUuid": "",
    "root": None,
    "kind": "volume",
    "source": "",
    "newUuid": "",
    "archive": None,
    "move": None,
}
VOLUME, SNAPSHOT = "volume", "snapshot"
_NUMBERS = 1 << 53  # of snapshots; every JSON library reads whole numbers below this
# While a copy is being made: of what, in which state, how far it is, and in which file.
_COPYING = ("copyOf", "copiedBytes", "copiedTo")
_MAKING = ".new-"
_DELETING = ".deleted-"
HIDDEN = (_MAKING, _DELETING)
IMPORTING = (
    ".importing-"  # what has come of a volume's stream, until all of it has; see by_hand/streams.py
)
ARCHIVED = ".archived-"  # see archives.py
_KEPT = (_MAKING, IMPORTING, ARCHIVED)  # what may be kept for a time
_FILES = (
    pools.IMAGE,
    *undo.FILES,
    *work.FILES,
    RECORD,
    "." + RECORD + ".new",
)
_IN_USE_SECONDS = 2
_COPYING_SECONDS = 3600  # by when a copy that was begun has gone on, if it ever does


class Wish:
    """What a class asks of a new volume, beside its size and file system. thick: with all its
    blocks. make_options:
    words for mkfs. root: {"uid": int, "gid": int, "mode": int or None} for its root; or None.
    archive: as archives.wish has it."""

    def __init__(self, thick: bool, make_options: "List[str]", root: "Any", archive: "Any") -> None:
        self.thick = thick
        self.make_options = make_options
        self.root = root
        self.archive = archive


class Volume:
    """An open volume. record: volume.json as a dict. directory: its descriptor. name: of that
    directory, so with a dot if it is an archive, or not all of it is here yet."""

    def __init__(self, pool: "Pool", name: str, directory: int, record: "Dict[str, Any]") -> None:
        self.pool = pool
        self.name = name
        self.directory = directory
        self.record = record

    def __enter__(self) -> "Volume":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.directory)

    @property
    def size_bytes(self) -> int:
        return int(self.record["sizeBytes"])

    @property
    def fs_type(self) -> str:
        return str(self.record["fsType"])

    @property
    def thick(self) -> bool:
        return bool(self.record["thick"])

    @property
    def left_out(self) -> "List[str]":
        """The mount options that its last mount went without, as the kernel refused them."""
        options: "List[str]" = self.record.get("leftOut", [])
        return options

    @property
    def without_options(self) -> str:
        """The sentence about them; "" if there are none."""
        if not self.left_out:
            return ""
        words = "volume {} is mounted without {}: the kernel of this node refuses it for {}"
        options = " and ".join(shown(option) for option in self.left_out)
        return words.format(self.name, options, self.fs_type)

    @property
    def owner(self) -> "Optional[Claim]":
        owner = self.record["owner"]
        return Claim(owner["namespace"], owner["name"], owner["uid"]) if owner else None

    def awaits(self, claim: Claim) -> bool:
        """Whether it was adopted for a claim of that name and has no other yet, or was made for any
        that comes."""
        if self.owner is None or self.owner.uid not in (AWAITED, claim.uid):
            return False
        return (self.owner.namespace, self.owner.name) in (
            (claim.namespace, claim.name),
            (ANY, ANY),
        )

    @property
    def moving_to(self) -> str:
        """The node that it is being moved to, or was: this copy is then not to be used any more."""
        return str((self.record["move"] or {}).get("to", ""))

    @property
    def never_mounted(self) -> bool:
        """Whether nobody has had the volume since provision made it: no pod, no person who adopted
        it, no move. Such a volume may go with its claim, whatever is in it.

        `blank` says more: that the volume is empty too. A copy is not blank, as it has the data of
        its source; its record has `neverMounted` for as long. An older flexvol does not know that
        field, but takes `newUuid` away at the first mount, and `move` it writes too."""
        record = self.record
        if record["blank"]:
            return True
        is_untouched = bool(record["newUuid"]) and record["move"] is None
        is_archive = self.name.startswith(ARCHIVED)
        return record.get("neverMounted") is True and is_untouched and not is_archive

    def as_used(self) -> "Dict[str, Any]":
        """The changes of its record, for `save`, when somebody has the volume from now on."""
        changes: "Dict[str, Any]" = {"blank": False}
        if "neverMounted" in self.record:
            changes["neverMounted"] = False
        return changes

    @property
    def used_bytes(self) -> int:
        """What the image has taken of the pool's disk."""
        return os.stat(pools.IMAGE, dir_fd=self.directory, follow_symlinks=False).st_blocks * 512

    def save(self, **changes: "Any") -> None:
        """Changes fields of the record; on disk when it returns."""
        self.record.update(changes)
        files.write(self.directory, RECORD, _json(self.record))

    def open_image(self, flags: int = os.O_RDWR) -> int:
        """Its descriptor. Raises Internal if it is missing, is a link, or is a file elsewhere
        too."""
        try:
            image = files.open_file(self.directory, pools.IMAGE, flags)
        except FileNotFoundError:
            raise Internal(
                (
                    "volume {}: its image is missing in {}/{}; put it back, or restore it from "
                    "a backup"
                ).format(self.name, self.pool.path, self.name)
            ) from None
        if os.fstat(image).st_nlink > 1:
            os.close(image)
            raise Internal(
                "volume {}: its image has a second name (a hard link); refused".format(self.name)
            )
        return image

    def mounted_at(self) -> "List[str]":
        """Where our mount namespace shows the volume or a part of it, or kubelet's does: paths for
        this process."""
        image = self.open_image()
        try:
            loop = self.find_loop(image)
        finally:
            os.close(image)
        if loop is None:
            return []
        with loop:
            shown = mounts.of_device(loop.path, parts=True, also_kubelets=True)
            return [mount.reach for mount in shown]

    def check_pod(self, pod: "Optional[Pod]") -> None:
        """Raises InvalidArgument unless it is a volume, and the pod of its owner's namespace.
        kubelet names the pod, so its author cannot; everything else in the options could be theirs.
        Raises Busy if it is being moved."""
        self.check_volume()
        if pod is None:
            raise InvalidArgument(
                "volume {}: the options name no pod, and a volume belongs to a namespace".format(
                    self.name
                )
            )
        if self.owner is None:
            raise InvalidArgument(
                (
                    "volume {} has no owner and mounts for no one; give it one with: loop adopt "
                    "<options>"
                ).format(self.name)
            )
        if self.owner.namespace != pod.namespace:
            raise InvalidArgument(
                "volume {} belongs to namespace {} (claim {}), not to {}; its owner is "
                "changed with: "
                "loop adopt <options>".format(
                    self.name,
                    shown(self.owner.namespace),
                    shown(self.owner.name),
                    shown(pod.namespace),
                )
            )
        if self.moving_to:
            words = (
                "volume {} is being moved to node {}; if that was cut short, run it again: kubectl "
                "flexvol move"
            )
            raise Busy(words.format(self.name, shown(self.moving_to)))

    def check_volume(self) -> None:
        """Raises InvalidArgument if it is a snapshot, which no pod, PV or claim may be about."""
        if self.record["kind"] != VOLUME:
            wrong = (
                "{} is a snapshot of {}; a claim gets its data by the annotation "
                "flexvol/from-snapshot"
            )
            raise InvalidArgument(wrong.format(self.name, self.record["source"]))

    def lock_image(self, image: int) -> None:
        """Takes the kernel's lock on the open image: from now on no loop device has it, here or on
        another node. Raises Busy, saying who uses it."""
        for _ in locks.attempts(_IN_USE_SECONDS):
            if files.try_lock(image):
                self._check_current(image)
                loop = self.find_loop(image)
                if loop is None:
                    return
                loop.close()
                raise Busy(self.made_by_hand(loop.path))
        raise Busy(
            "volume {} is in use {}; its pods, or whatever else has it, must end first (see: loop "
            "status)".format(self.name, self._user(image))
        )

    def _user(self, image: int) -> str:
        """Where the image is in use, as the end of a sentence. A container sees no locks of other
        containers and of the node itself, but all of the node's loop devices."""
        holder = files.lock_holder(image)
        if holder:
            return "on this node: " + holder
        device = loopdev.named_like(self.image_path)
        if device:
            return "on this node: a pod, or whatever else has {}".format(device)
        return "in another container, or on another node that shares its pool"

    @property
    def image_path(self) -> str:
        return "{}/{}/{}".format(self.pool.path, self.name, pools.IMAGE)

    def find_loop(self, image: int) -> "Optional[loopdev.Loop]":
        """The loop device on its open image, or None."""
        return loopdev.find(image, self.image_path)

    def made_by_hand(self, device: str) -> str:
        """The sentence for a device that does not hold the lock, as all of ours do."""
        return (
            "volume {} is on {}, which was attached by hand; unmount what is mounted from it, "
            "then: losetup -d {}".format(self.name, device, device)
        )

    def _check_current(self, descriptor: int) -> None:
        """While we waited for the lock the volume may have been replaced or deleted. Checks that
        the locked file is still the one at the volume's path."""
        have = os.fstat(descriptor)
        try:
            now = os.stat(
                self.name + "/" + pools.IMAGE, dir_fd=self.pool.directory, follow_symlinks=False
            )
        except FileNotFoundError:
            raise NotFound(
                "volume {} was deleted meanwhile; nothing is left of it to work on".format(
                    self.name
                )
            ) from None
        if (have.st_dev, have.st_ino) != (now.st_dev, now.st_ino) or have.st_nlink != 1:
            raise Busy("volume {} was replaced meanwhile; try again".format(self.name))


def find(pool: "Pool", name: str, hidden: str = "") -> "Optional[Volume]":
    """Opens the volume `name`; None if it is not there. Raises Internal if what is there is not a
    volume of ours."""
    try:
        directory = files.open_below(pool.directory, hidden + name)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise Internal(
            "{} in pool {} is not a directory; refused".format(name, pool.name)
        ) from None
    try:
        return Volume(pool, name, directory, _read_record(pool, name, directory))
    except BaseException:
        os.close(directory)
        raise


def half_made(pool: "Pool", name: str) -> "Optional[Volume]":
    """Opens the copy called `name` that waits for the next call to go on with it; None if there is
    none. The caller holds the volume's lock."""
    try:
        volume = find(pool, name, _MAKING)
    except Internal:  # a call that was killed left no record, and the next sweep takes that away
        return None
    if volume is not None and "copiedBytes" not in volume.record:
        os.close(volume.directory)
        return None
    return volume


def remove_half_made(volume: Volume) -> None:
    """Removes what `half_made` opened. The caller holds the volume's lock."""
    remove(volume.pool, _MAKING + volume.record["name"])


def get(pool: "Pool", name: str) -> Volume:
    """As `find`, but NotFound if it is not there."""
    volume = find(pool, name)
    if volume is None:
        raise NotFound(
            "volume {} is not in pool {} of this node; see: loop status".format(name, pool.name)
        )
    return volume


def _read_record(pool: "Pool", name: str, directory: int) -> "Dict[str, Any]":
    import json

    where = "{}/{}/{}".format(pool.path, name, RECORD)
    try:
        record = json.loads(files.read(directory, RECORD).decode("utf-8"))
    except FileNotFoundError:
        raise Internal(
            "{} is missing, so the directory is left alone; restore that file from a backup".format(
                where
            )
        ) from None
    except (ValueError, RecursionError) as error:
        raise Internal("{} cannot be read: {}".format(where, error)) from None
    return check_record(record, name, where)


def check_record(record: "Any", name: str, where: str) -> "Dict[str, Any]":
    """The record, made new if it is of an older flexvol. Raises Internal if it is no volume's."""
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        raise Internal("{} is not a volume's record; put the file back from a backup".format(where))
    if record["schema"] > SCHEMA:
        raise Internal(
            "{} has schema {}; this flexvol knows {}: install a newer one".format(
                where, record["schema"], SCHEMA
            )
        )
    if record["schema"] < SCHEMA:
        record = {**_SINCE, **record, "schema": SCHEMA}
    wrong = [
        key
        for key, kind in FIELDS.items()
        if key not in record or not isinstance(record[key], kind)
    ]
    wrong = wrong or _wrong_inside(record)
    if wrong or (record["name"] != name and not (name.startswith(".") and is_name(record["name"]))):
        raise Internal(
            "{} is damaged: {}".format(
                where, ", ".join(wrong) or "it names volume " + shown(record["name"])
            )
        )
    return dict(record)


def _wrong_inside(record: "Dict[str, Any]") -> "List[str]":
    owner, root, kept, move = (record[key] for key in ("owner", "root", "archive", "move"))
    right = {
        "accessModes": _are(str, record["accessModes"]),
        "mountOptions": _are(str, record["mountOptions"]),
        "leftOut": _is_list_of_words(record.get("leftOut", [])),
        "owner": owner is None or _are(str, map(owner.get, ("namespace", "name", "uid"))),
        "root": root is None
        or (
            _are_below(1 << 32, map(root.get, ("uid", "gid")))
            and isinstance(root.get("mode", ""), (int, type(None)))
        ),
        "archive": kept is None or _are_below(1 << 40, map(kept.get, ("seconds", "since"))),
        "fsUuid": _is_uuid(record["fsUuid"]),
        "newUuid": _is_uuid(record["newUuid"]),
        "move": move is None or _are(str, map(move.get, ("id", "to"))),
        "number": _are_below(_NUMBERS, [record.get("number", 0)]),
        "neverMounted": isinstance(record.get("neverMounted", False), bool),
    }
    return [key for key in right if not right[key]]


def _are_below(limit: int, values: "Any") -> bool:
    """A stream's header, or a hand, may have written anything."""
    return all(type(value) is int and 0 <= value < limit for value in values)


def _is_uuid(value: str) -> bool:
    return not value or (len(value) == 36 and not set(value) - set("0123456789abcdefABCDEF-"))


def _is_list_of_words(value: "Any") -> bool:
    return isinstance(value, list) and _are(str, value)


def _are(kind: type, values: "Any") -> bool:
    return all(isinstance(value, kind) for value in values)


FIELDS: "Dict[str, Any]" = {
    "name": str,
    "sizeBytes": int,
    "sectorBytes": int,
    "fsType": str,
    "fsUuid": str,
    "thick": bool,
    "root": (dict, type(None)),
    "archive": (dict, type(None)),
    "move": (dict, type(None)),
    "owner": (dict, type(None)),
    "clusterUid": str,
    "class": str,
    "reclaimPolicy": str,
    "accessModes": list,
    "mountOptions": list,
    "created": str,
    "blank": bool,
    "kind": str,
    "source": str,
    "newUuid": str,
}


def create(
    pool: "Pool", options: "Options", size_bytes: int, fs_type: str, wish: Wish, lock: "Lock"
) -> Volume:
    """Makes and publishes an empty volume, which is not there yet. The caller holds its lock."""
    uuid = filesystems.new_uuid()
    record = new_record(options, size_bytes, fs_type, uuid, wish)
    return make(
        pool, record, lambda volume: images.make(volume.directory, fs_type, uuid, wish, lock)
    )


def make(pool: "Pool", record: "Dict[str, Any]", fill: "Callable[[Volume], None]") -> Volume:
    """Makes and publishes the volume of that record, with an image that `fill` fills. The caller
    holds its lock. Leaves nothing on failure, except what a copy has `copiedBytes` of when it
    raises Pending or Busy, to go on there."""
    name, volume = record["name"], _continued(pool, record)
    making = _MAKING + name
    try:
        if volume is None:
            remove(pool, making)  # left by a crash; the lock is ours, so no one is making it
            with pool.lock():
                pool.check_open()
                pool.check_room(record["sizeBytes"], record["sizeBytes"])
                os.mkdir(making, 0o700, dir_fd=pool.directory)
                volume = Volume(pool, name, files.open_below(pool.directory, making), record)
                images.reserve(volume.directory, record["sizeBytes"])
        _fill(volume, fill)
        volume.record = {key: value for key, value in volume.record.items() if key not in _COPYING}
        if record["kind"] == SNAPSHOT:
            with pool.lock():
                volume.record["number"] = _next_number(pool, record["source"])
                _publish(volume, making)
        else:
            _publish(volume, making)
        return volume
    except BaseException as error:
        if volume is not None:
            os.close(volume.directory)
        if (
            volume is None
            or not isinstance(error, (Pending, Busy))
            or "copiedBytes" not in volume.record
        ):
            remove(pool, making)
        raise


def _fill(volume: Volume, fill: "Callable[[Volume], None]") -> None:
    """A tool that says that the pool's disk is full or broken has the reason that such an error of
    our own has: the claim may go to another node."""
    try:
        fill(volume)
    except Internal as error:
        about = "volume {} in pool {}".format(volume.name, volume.pool.name)
        raise disks.failure_in(error.message, about) or error from None


def _publish(volume: Volume, making: str) -> None:
    """Gives a volume that is complete its name; on disk then."""
    directory = volume.pool.directory
    volume.save()
    os.rename(making, volume.name, src_dir_fd=directory, dst_dir_fd=directory)
    try:
        os.fsync(directory)
    except OSError as error:
        # The volume is there, so this is no failure after which another node may make it.
        raise Internal(
            "volume {} is made in pool {}, and it is not known whether the disk keeps it: {}; see "
            "dmesg".format(volume.name, volume.pool.name, error.strerror)
        ) from None


def snapshots(pool: "Pool", of: str) -> "List[Dict[str, Any]]":
    """The records of the snapshots of the volume `of`, the oldest first. A damaged one is not
    among them: nothing proves whose it is."""
    records = []
    for name in pool.names():
        try:
            with get(pool, name) as volume:
                record = volume.record
        except (Failure, OSError):  # damaged, or deleted meanwhile
            continue
        if record["kind"] == SNAPSHOT and record["source"] == of:
            records.append(record)
    return sorted(records, key=snapshot_order)


def snapshot_order(record: "Dict[str, Any]") -> "Tuple[int, str, str]":
    """What snapshots of one volume are ordered by: the numbers they were given one after the
    other. Clocks may be set, so their times decide only among those that an older flexvol made,
    without a number; these get theirs when the next one is made."""
    return record.get("number", 0), record["created"], record["name"]


def _next_number(pool: "Pool", of: str) -> int:
    """The number of the next snapshot of the volume `of`. The caller holds the pool's lock until
    it has that number.

    Those without a number are given theirs first. An older flexvol made them after all that have
    one: before the update, when none had, or beside this flexvol, or when the node was set back."""
    records = snapshots(pool, of)
    highest = max((snapshot_order(record)[0] for record in records), default=0)
    for record in records:
        if not record.get("number"):
            highest = min(highest + 1, _NUMBERS - 1)
            _give_number(pool, record["name"], highest)
    return min(highest + 1, _NUMBERS - 1)


def _give_number(pool: "Pool", snapshot: str, number: int) -> None:
    try:
        with get(pool, snapshot) as volume:
            volume.save(number=number)
    except (NotFound, FileNotFoundError):
        return  # it was deleted meanwhile


def _continued(pool: "Pool", record: "Dict[str, Any]") -> "Optional[Volume]":
    """What an earlier call has copied for the volume of that record, if its source is as it was
    then."""
    try:
        volume = find(pool, record["name"], _MAKING)
    except Internal:  # it has no record: the call was killed
        return None
    if volume is None:
        return None
    before = volume.record
    is_of_it = all(before.get(key) == record.get(key) for key in ("copyOf", "sizeBytes", "thick"))
    if is_of_it and "copiedBytes" in before and before.get("copiedTo") == _image_identity(volume):
        kept = {key: before[key] for key in ("copiedBytes", "copiedTo")}
        volume.record = dict(record, **kept)
        return volume
    os.close(volume.directory)
    return None


def _image_identity(volume: Volume) -> str:
    """As files.identity has it; "" if the image is missing."""
    try:
        image = volume.open_image()
    except Failure:
        return ""
    try:
        return files.identity(image)
    finally:
        os.close(image)


def new_record(
    options: "Options", size_bytes: int, fs_type: str, uuid: str, wish: Wish
) -> "Dict[str, Any]":
    return {
        **_SINCE,
        "schema": SCHEMA,
        "name": options.volume,
        "sizeBytes": size_bytes,
        "sectorBytes": loopdev.SECTOR_BYTES,
        "fsType": fs_type,
        "fsUuid": uuid,
        "thick": wish.thick,
        "root": wish.root,
        "archive": wish.archive,
        "owner": owner_fields(options.claim),
        "clusterUid": options.cluster_uid,
        "class": options.class_name,
        "reclaimPolicy": options.reclaim_policy,
        "accessModes": options.access_modes,
        "mountOptions": options.mount_options,
        "created": stamp(time.time()),
        "blank": options.claim.uid != AWAITED,  # what a person had made is not collected
    }


def stamp(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def owner_fields(claim: "Claim") -> "Dict[str, str]":
    return {"namespace": claim.namespace, "name": claim.name, "uid": claim.uid}


def delete(volume: Volume) -> None:
    """Deletes a volume that nobody uses; Busy otherwise. The caller holds its lock."""
    deleting = take_away(volume, _DELETING)
    # A file that is open would stay on NFS and FUSE, under another name.
    remove(volume.pool, deleting)


def take_away(volume: Volume, prefix: str, suffix: str = "", **changes: "Any") -> str:
    """Gives the directory of a volume that nobody uses (Busy otherwise) a new name between
    `prefix`, which hides it, and `suffix`, and returns it; on disk then. changes: of its record."""
    hidden = prefix + binascii.hexlify(os.urandom(8)).decode() + suffix
    present = os.listdir(volume.directory)
    strange = strange_in(volume.directory)
    if strange:
        raise Internal(
            "volume {} holds {}, which is not flexvol's, so nothing of it is touched; move that "
            "out of {}/{}, and the volume goes at the next try".format(
                volume.name, shown(strange[0]), volume.pool.path, volume.name
            )
        )
    if pools.IMAGE not in present and undo.FILE not in present:
        # They were taken away by hand: there is nothing to lose.
        rename(volume, hidden)
        return hidden
    image = volume.open_image()
    try:
        volume.lock_image(image)
        if changes:
            volume.save(**changes)
        rename(volume, hidden)
        return hidden
    finally:
        os.close(image)


def strange_in(directory: int) -> "List[str]":
    """What lies in the open directory of a volume and is not flexvol's, sorted."""
    names = os.listdir("/proc/self/fd/{}".format(directory))
    return sorted(name for name in names if name not in _FILES)


def rename(volume: Volume, name: str) -> None:
    """Gives its directory another name, on disk then. A volume of that name is not overwritten: it
    is not empty."""
    directory = volume.pool.directory
    os.rename(volume.name, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def check_free(pool: "Pool", name: str) -> None:
    """Raises InvalidArgument if there is a volume of that name."""
    if files.exists(pool.directory, name):
        raise InvalidArgument(
            "volume {} exists already in pool {}; nothing is overwritten".format(name, pool.name)
        )


def sweep(pool: "Pool") -> None:
    """Removes what crashes left: volumes whose deletion had begun, and volumes nobody is making any
    more."""
    ages = kept_seconds(pool)
    for name in pool.hidden():
        if name.startswith(_DELETING):
            remove(pool, name)
        elif name.startswith(_MAKING) and not goes_on(name, ages):
            try:
                with pool.volume_lock(name[len(_MAKING) :], seconds=0):
                    if not goes_on(name, kept_seconds(pool)):
                        remove(pool, name)
            except Busy:
                continue  # it is being made right now
        elif name.startswith(IMPORTING):
            from node.drivers.loop.by_hand import streams  # late: there seldom is one

            streams.sweep(pool, name, ages)
    pool.sweep_lock_files()


def goes_on(making: str, ages: "Dict[str, float]") -> bool:
    """Whether the directory is a copy between two calls. A copy that nobody has gone on with for
    long is none: its claim is gone. ages: as kept_seconds has them."""
    return making.startswith(_MAKING) and ages.get(making, _COPYING_SECONDS) < _COPYING_SECONDS


def kept_seconds(pool: "Pool", write: bool = True) -> "Dict[str, float]":
    """For how many seconds, by the pool's clock, each hidden directory has been as it is that is
    kept for a time: archives, copies that are being made, and streams that have not come whole.
    write: whether the clock notes what it has seen; see clock.ages."""
    marks = {name: _mark(pool, name) for name in pool.hidden() if name.startswith(_KEPT)}
    marks = {name: mark for name, mark in marks.items() if mark}
    if not marks:
        return {}
    from node.drivers.loop import clock  # late: most pools have nothing of the kind

    return clock.ages(pool, marks, write)


def _mark(pool: "Pool", name: str) -> str:
    """What is another one after each step of a copy or a stream; "" for what is kept for no time.
    An archive stays as it is, and has a name that no other ever had."""
    if name.startswith(ARCHIVED):
        return name
    try:
        status = os.stat(name + "/" + RECORD, dir_fd=pool.directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return "" if name.startswith(_MAKING) else name  # no step of it was completed
    if name.startswith(_MAKING) and not _is_half_copied(pool, name):
        return ""  # it was killed between its last step and the one that publishes it
    return "{} {}".format(status.st_ino, status.st_mtime_ns)


def _is_half_copied(pool: "Pool", making: str) -> bool:
    """Whether it is a copy that a later call goes on with."""
    try:
        volume = find(pool, making)
    except Internal:  # its record is damaged
        return False
    if volume is None:
        return False
    with volume:
        return "copiedBytes" in volume.record


def remove(pool: "Pool", name: str) -> None:
    """Removes a hidden directory with the files that are ours, and no more; one that is gone is
    fine."""
    try:
        directory = files.open_below(pool.directory, name)
    except FileNotFoundError:
        return
    try:
        for entry in _FILES:
            _ignore_missing(os.unlink, entry, directory)
    finally:
        os.close(directory)
    try:
        _ignore_missing(os.rmdir, name, pool.directory)
    except OSError as error:
        # FUSE and NFS keep a file under another name until its last user is gone; the next sweep
        # comes by again.
        if error.errno != errno.ENOTEMPTY:
            raise


def _ignore_missing(remove: "Any", name: str, directory: int) -> None:
    try:
        remove(name, dir_fd=directory)
    except FileNotFoundError:
        return


def _json(record: "Dict[str, Any]") -> bytes:
    import json

    return json.dumps(record, indent=1).encode("ascii")
