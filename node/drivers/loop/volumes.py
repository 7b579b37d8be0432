"""Volumes: a volume is the directory <pool>/<name>/ with `image` and its record, volume.json.

The directory is made under a hidden name and renamed into place, and renamed to a hidden name
before its files are removed. So a volume is there whole or not at all. What a crash leaves has a
hidden name, and sweeping.py clears it."""

import os

from node.drivers.loop import pools, records
from node.host import files, filesystems, locks, loopdev, mount_table, undo, work
from shared.options import ANY, AWAITED
from shared.protocol import Busy, Internal, InvalidArgument, NotFound, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.records import Record
    from node.host.descriptors import Descriptor
    from node.host.filesystems import FileSystem
    from node.host.loopdev import Loop
    from shared.options import Claim, Pod

# What the hidden name of a volume's directory begins with; see sweeping.HIDDEN.
MAKING = ".new-"
DELETING = ".deleted-"
IMPORTING = ".importing-"
ARCHIVED = ".archived-"

# The files that flexvol makes in a volume's directory.
FILES = (
    pools.IMAGE,
    *undo.FILES,
    *work.FILES,
    records.FILE,
    "." + records.FILE + ".new",
)
# What the options of a volume's PV say of the volume: the name of its pool, and the pool's id.
PV_OPTIONS = ("pool", "poolId")
# A pod that has just ended gives its loop device back within this time.
_IN_USE_SECONDS = 2
_BLOCK_BYTES = 512  # the unit of st_blocks; see stat(2)


class Volume:
    """An open volume.

    directory: the open directory of the volume.
    name: of that directory, so a hidden name for an archive and for a stream that has not come
    whole. The name of the volume is then in the record."""

    def __init__(self, pool: "Pool", name: str, directory: "Descriptor", record: "Record") -> None:
        self.pool = pool
        self.name = name
        self.directory = directory
        self.record = record

    def __enter__(self) -> "Volume":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the volume's directory."""
        self.directory.close()

    @property
    def size_bytes(self) -> int:
        return self.record.size_bytes

    @property
    def fs_type(self) -> str:
        return self.record.fs_type

    @property
    def file_system(self) -> "FileSystem":
        return filesystems.get(self.fs_type)

    @property
    def thick(self) -> bool:
        return self.record.thick

    @property
    def owner(self) -> "Optional[Claim]":
        return self.record.owner

    @property
    def moving_to(self) -> str:
        """As Record.moving_to."""
        return self.record.moving_to

    @property
    def pv_options(self) -> "Dict[str, str]":
        """The options of the volume's PV: PV_OPTIONS."""
        return {"pool": self.pool.name, "poolId": self.pool.id}

    @property
    def image_path(self) -> str:
        return "{}/{}/{}".format(self.pool.path, self.name, pools.IMAGE)

    @property
    def used_bytes(self) -> int:
        """How much of the pool's disk the image has taken."""
        status = os.stat(pools.IMAGE, dir_fd=self.directory, follow_symlinks=False)
        return status.st_blocks * _BLOCK_BYTES

    @property
    def without_options(self) -> str:
        """The sentence about the mount options that the kernel refused at the last mount; "" if the
        kernel refused none."""
        left_out = self.record.left_out
        if not left_out:
            return ""
        options = " and ".join(shown(option) for option in left_out)
        return "volume {} is mounted without {}: the kernel of this node refuses it for {}".format(
            self.name, options, self.fs_type
        )

    @property
    def never_mounted(self) -> bool:
        """Whether nobody has had the volume since provision made it: no pod, no person who adopted
        it, no move. Such a volume may go with its claim, whatever is in it.

        The field `blank` says more: that the volume is empty too. A clone is not blank, as it has
        the data of its source; its record has `neverMounted` instead. An older flexvol does not
        change that field, so the two fields count too that an older flexvol changes when somebody
        gets the volume: it takes `newUuid` away at the first mount, and writes `move`."""
        if self.record.blank:
            return True
        is_untouched = bool(self.record.new_uuid) and self.record.move is None
        is_archive = self.name.startswith(ARCHIVED)
        return self.record.clone_never_mounted and is_untouched and not is_archive

    def as_used(self) -> "Dict[str, Any]":
        """The changes of the record, for `save`, when somebody has the volume from now on."""
        changes: "Dict[str, Any]" = {"blank": False}
        if self.record.clone_never_mounted:
            changes["clone_never_mounted"] = False
        return changes

    def change(self, **changes: "Any") -> None:
        """Changes the record in memory, as Record.changed does. The next `save` writes it."""
        self.record = self.record.changed(**changes)

    def save(self, **changes: "Any") -> None:
        """Changes the record, as Record.changed does; on disk when it returns."""
        self.change(**changes)
        records.write(self.directory, self.record)

    def rename(self, name: str) -> None:
        """Gives the volume's directory another name, on disk when it returns. A volume of that name
        is not overwritten, because its directory is not empty."""
        directory = self.pool.directory
        os.rename(self.name, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)

    def open_image(self, flags: int = os.O_RDWR) -> "Descriptor":
        """Opens the image. Raises Internal if the image is missing, is a symbolic link, or has a
        second name."""
        try:
            image = files.open_file(self.directory, pools.IMAGE, flags)
        except FileNotFoundError:
            raise Internal(
                "volume {0}: its image is missing in {1}/{0}; put it back, or "
                "restore it from a backup".format(self.name, self.pool.path)
            ) from None
        with image:
            if os.fstat(image).st_nlink > 1:
                raise Internal(
                    "volume {}: its image has a second name (a hard link); refused".format(
                        self.name
                    )
                )
            return image.kept_open()

    def find_loop(self, image: int) -> "Optional[Loop]":
        """The loop device on the volume's open image, open, or None."""
        return loopdev.find(image, self.image_path)

    def mounted_at(self) -> "List[str]":
        """The paths, for this process, at which our mount namespace or kubelet's shows the volume
        or a part of it."""
        with self.open_image() as image:
            loop = self.find_loop(image)
        if loop is None:
            return []
        with loop:
            shown_at = mount_table.of_device(loop.path, parts=True, also_kubelets=True)
            return [mount.reach for mount in shown_at]

    def lock_image(self, image: "Descriptor") -> None:
        """Takes the kernel's lock on the open image, so that no loop device has the image, here or
        on another node. Raises Busy, with the name of the user, if the image is in use."""
        for _ in locks.attempts(_IN_USE_SECONDS):
            if not image.try_lock():
                continue
            self._check_current(image)
            loop = self.find_loop(image)
            if loop is None:
                return
            loop.close()
            raise Busy(self.made_by_hand(loop.path))
        raise Busy(
            "volume {} is in use {}; its pods, or whatever else has it, must end "
            "first (see: loop status)".format(self.name, self._user(image))
        )

    def _check_current(self, image: "Descriptor") -> None:
        """While we waited for the lock the volume may have been replaced or deleted. Checks that
        the locked file is still the one at the volume's path."""
        path = self.name + "/" + pools.IMAGE
        if image.is_at(self.pool.directory, path):
            return
        if not files.exists(self.pool.directory, path):
            raise NotFound(
                "volume {} was deleted meanwhile; nothing is left of it to work on".format(
                    self.name
                )
            )
        raise Busy("volume {} was replaced meanwhile; try again".format(self.name))

    def _user(self, image: "Descriptor") -> str:
        """Where the image is in use, as the end of a sentence. A container sees no locks of other
        containers and of the node itself, but all of the node's loop devices."""
        holder = image.lock_holder()
        if holder:
            return "on this node: " + holder
        device = loopdev.named_like(self.image_path)
        if device:
            return "on this node: a pod, or whatever else has {}".format(device)
        return "in another container, or on another node that shares its pool"

    def made_by_hand(self, device: str) -> str:
        """The sentence about a loop device that does not hold the lock, as all of ours do."""
        return (
            "volume {0} is on {1}, which was attached by hand; unmount what is "
            "mounted from it, then: losetup -d {1}".format(self.name, device)
        )

    def awaits(self, claim: "Claim") -> bool:
        """Whether the volume was adopted for a claim of that name and has no other claim yet, or
        was made for any claim that comes."""
        if self.owner is None or self.owner.uid not in (AWAITED, claim.uid):
            return False
        owner = (self.owner.namespace, self.owner.name)
        return owner in ((claim.namespace, claim.name), (ANY, ANY))

    def check_volume(self) -> None:
        """Raises InvalidArgument for a snapshot, which no pod, PV or claim may be about."""
        if self.record.kind == records.VOLUME:
            return
        raise InvalidArgument(
            "{} is a snapshot of {}; a claim gets its data by the annotation "
            "flexvol/from-snapshot".format(self.name, self.record.source)
        )

    def check_pod(self, pod: "Optional[Pod]") -> None:
        """Raises InvalidArgument unless this is a volume, and the pod is of its owner's namespace.
        kubelet names the pod, so the pod's author cannot; every other option could be the author's.
        Raises Busy if the volume is being moved."""
        self.check_volume()
        if pod is None:
            raise InvalidArgument(
                "volume {}: the options name no pod, and only the pods of its "
                "namespace may mount it".format(self.name)
            )
        if self.owner is None:
            raise InvalidArgument(
                "volume {} has no owner, so no pod may mount it; give it an owner "
                "with: loop adopt <options>".format(self.name)
            )
        if self.owner.namespace != pod.namespace:
            raise InvalidArgument(
                "volume {} belongs to namespace {} (claim {}), not to {}; its owner "
                "is changed with: loop adopt <options>".format(
                    self.name,
                    shown(self.owner.namespace),
                    shown(self.owner.name),
                    shown(pod.namespace),
                )
            )
        if self.moving_to:
            raise Busy(
                "volume {} is being moved to node {}; if that was cut short, run it "
                "again: kubectl flexvol move".format(self.name, shown(self.moving_to))
            )


def find(pool: "Pool", name: str, prefix: str = "") -> "Optional[Volume]":
    """Opens the volume `name`, whose directory has a name of `prefix` and `name`.

    Returns None if no such directory is there. Raises Internal if the directory is not a volume of
    ours."""
    try:
        directory = files.open_below(pool.directory, prefix + name)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise Internal(
            "{} in pool {} is not a directory; refused".format(name, pool.name)
        ) from None
    with directory:
        record = records.read(pool, name, directory)
        return Volume(pool, name, directory.kept_open(), record)


def get(pool: "Pool", name: str) -> Volume:
    """As `find`, but raises NotFound if the volume is not there."""
    volume = find(pool, name)
    if volume is None:
        raise NotFound(
            "volume {} is not in pool {} of this node; see: loop status".format(name, pool.name)
        )
    return volume


def check_free(pool: "Pool", name: str) -> None:
    """Raises InvalidArgument if a volume of that name is in the pool."""
    if files.exists(pool.directory, name):
        raise InvalidArgument(
            "volume {} exists already in pool {}; nothing is overwritten".format(name, pool.name)
        )
