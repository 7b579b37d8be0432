"""The image of a volume: a file with a file system, made before the volume is published, never
formatted afterwards, and compared with the record before anything is done with it."""

import os

from node.drivers.loop import pools
from node.host import copy_on_write, files, filesystems
from shared.protocol import Internal, ResourceExhausted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

    from node.drivers.loop.class_settings import ClassSettings
    from node.drivers.loop.locks import Lock
    from node.drivers.loop.volumes import Volume

MIB = filesystems.MIB
RESTORE = "restore image and volume.json together from one backup"
_BLOCK_BYTES = 512  # the unit of st_blocks; see stat(2)


def round_up(size_bytes: int, fs_type: str) -> int:
    """The size in bytes that an image of at least `size_bytes` really gets: whole MiB, and no less
    than the file system needs."""
    size_bytes = max(size_bytes, filesystems.get(fs_type).minimum_bytes)
    return -(-size_bytes // MIB) * MIB


def reserve(directory: int, size_bytes: int) -> None:
    """Makes the empty image in the volume's open directory. The pool's accounting counts the length
    of the image, so the room is taken from now on.

    A block of the image that was written once is overwritten in place, also on btrfs: a new block
    for each write would need room that nobody has promised."""
    with files.open_file(directory, pools.IMAGE, os.O_RDWR | os.O_CREAT | os.O_EXCL) as image:
        copy_on_write.overwrite_in_place(image)
        os.ftruncate(image, size_bytes)


def make(directory: int, uuid: str, settings: "ClassSettings", lock: "Lock") -> None:
    """Makes the file system in the reserved image, on disk when it returns.

    uuid: of the file system. lock: of the volume, which mkfs inherits."""
    file_system = filesystems.get(settings.fs_type)
    with files.open_file(directory, pools.IMAGE, os.O_RDWR) as image:
        if settings.thick:
            allocate(image, 0, os.fstat(image).st_size)
        file_system.make(image, uuid, settings.thick, settings.make_options, lock.descriptor)
        os.fsync(image)
        if settings.thick:
            fill_holes(image)


def allocate(image: int, begin: int, size_bytes: int) -> None:
    """Takes the blocks of a thick image from `begin` to its end at `size_bytes`. Raises
    ResourceExhausted if the disk does not give them."""
    try:
        os.posix_fallocate(image, begin, size_bytes - begin)
    except OSError as error:
        raise ResourceExhausted(
            "the pool's disk cannot give {} bytes: {}".format(size_bytes, error.strerror)
        ) from None


def fill_holes(image: int) -> None:
    """Takes those blocks again that a thick image has lost: to mkfs, which zeroes blocks by giving
    them back where the pool's disk knows no other way (tmpfs), or to a copy tool. The data stay as
    they are. Raises ResourceExhausted if the image still has fewer blocks than bytes."""
    length = os.fstat(image).st_size
    if _taken_bytes(image) < length:
        allocate(image, 0, length)
        os.fsync(image)
    taken = _taken_bytes(image)
    if taken < length:
        raise ResourceExhausted(
            "the pool's disk has given {} of the {} bytes of a thick image; make a thin one".format(
                taken, length
            )
        )


def _taken_bytes(image: int) -> int:
    return os.fstat(image).st_blocks * _BLOCK_BYTES


def check(volume: "Volume", device: int) -> int:
    """Compares the open device or image with the volume's record, as `compare` does.

    Returns the size of the file system in bytes. Raises Internal if the file system is not the one
    of the record; nothing is ever formatted here."""
    size_bytes, difference = compare(volume, device)
    if difference:
        raise Internal(
            "volume {}: {}; it is left alone; {}".format(volume.name, difference, RESTORE)
        )
    return size_bytes


def compare(volume: "Volume", device: int) -> "Tuple[int, str]":
    """Compares the open device or image with the volume's record. The device is only read.

    Returns the size of the file system in bytes (0 if the device carries none), and the difference
    from the record as a sentence ("" if there is none)."""
    length = os.lseek(device, 0, os.SEEK_END)
    if length < volume.size_bytes:
        return 0, "its image has {} bytes and its record says {}".format(length, volume.size_bytes)
    size_bytes = volume.file_system.size_bytes(device)
    if size_bytes is None:
        return 0, "its image does not carry the {} that its record says".format(volume.fs_type)
    if not _is_of_record(volume, device):
        return size_bytes, (
            "its image does not carry the {} that its record says was made in it".format(
                volume.fs_type
            )
        )
    if size_bytes > length:
        return size_bytes, "its {} has {} bytes and its image only {}".format(
            volume.fs_type, size_bytes, length
        )
    return size_bytes, ""


def _is_of_record(volume: "Volume", device: int) -> bool:
    """Whether the UUID is the one of the record, or the one that a clone gets at its first mount:
    the clone may have got that one just now."""
    record = volume.record
    if not record.fs_uuid:
        return True  # a record of the first schema
    return volume.file_system.uuid(device) in (record.fs_uuid, record.new_uuid)
