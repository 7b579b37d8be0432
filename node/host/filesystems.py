"""ext4, xfs and btrfs: make, identify, check and grow, one class each in one table.

Every file system is made for 4096-byte sectors, so that an image mounts on every disk, and with the
features that kernel 4.18 knows and no newer ones (features.py), because the tools in the container
are newer than the node's kernel may be."""

import binascii
import errno
import fcntl
import os
import struct

from node.host import abi, features, mount_calls, mounts, undo, work
from node.host.mount_calls import Superblock
from shared import process
from shared.protocol import Internal, InvalidArgument, Unavailable, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Iterable, List, Optional, Tuple

MIB = 1 << 20
_BLOCK_BYTES = 4096
_MAKE_SECONDS = 300
# A tool that checks, grows or changes what is in an image may take hours. It is killed, and undone,
# after so long without progress.
_IDLE_SECONDS = 600
_UNDO_BYTES = 16 * MIB
_VERSION_SECONDS = 10
# How e2fsck ends that has left errors as they are, with or without having mended others.
_UNDECIDED = (4, 5)
_LOG_BYTES = 2 << 30  # the largest log that xfs has
_REFUSAL_CHARACTERS = 200
# A kernel refuses a commit interval of more than INT_MAX ticks, of which it has 1000 a second at
# most.
_COMMIT_SECONDS = 2147483


class Value:
    """What the value of an option of mkfs or mount may be. says: for a message. holds: whether a
    text is one."""

    def __init__(self, says: str, holds: "Callable[[str], bool]") -> None:
        self.says = says
        self.holds = holds


_NO_VALUE = Value("takes no value", lambda text: text == "")


def _number(text: str) -> "Optional[int]":
    """A whole number as people write it; None for anything else. The kernel reads 010 as 8."""
    if not text or text.strip("0123456789") or (text[0] == "0" and text != "0"):
        return None
    return int(text)


def _whole(least: int, most: int) -> Value:
    def holds(text: str) -> bool:
        number = _number(text)
        return number is not None and least <= number <= most

    return Value("is a whole number from {} to {}".format(least, most), holds)


def _one_of(*words: str) -> Value:
    return Value("is one of " + ", ".join(words), lambda text: text in words)


def _bytes(text: str) -> int:
    """A number of bytes, which may end in k, m or g; 0 for anything else."""
    shift = {"k": 10, "m": 20, "g": 30}.get(text[-1:], 0)
    number = _number(text[:-1] if shift else text)
    return 0 if number is None else number << shift


def _power_of_two(least: int, most: int) -> Value:
    def holds(text: str) -> bool:
        size = _bytes(text)
        return least <= size <= most and size & size - 1 == 0

    says = "is a power of two from {}k to {}k, like 64k".format(least >> 10, most >> 10)
    return Value(says, holds)


def _keyed(key: str, value: Value) -> Value:
    """KEY=VALUE, as mkfs has it after some options."""

    def holds(text: str) -> bool:
        return text.startswith(key + "=") and value.holds(text[len(key) + 1 :])

    return Value("is {}=VALUE, which {}".format(key, value.says), holds)


class FileSystem:
    """name: as in mount -t. minimum_bytes: the smallest image it is made in. minimum_grown_bytes:
    the smallest size it
    can be grown to. mount_tools: the programs that a node needs to mount every volume with it."""

    name = ""
    minimum_bytes = 0
    minimum_grown_bytes = 0
    mount_tools: "Tuple[str, ...]" = ()

    # What a class may ask for: options of mkfs, and options of the mounted file system. Values
    # beyond these are refused by every mkfs, or by every kernel from 4.18 on.
    make_options: "Dict[str, Value]" = {}
    mount_options: "Dict[str, Value]" = {}

    def make(self, image: int, uuid: str, thick: bool, options: "List[str]", lock: int) -> None:
        """Makes it in the open file `image`, of which nothing is given back to the pool if `thick`.

        uuid: what it is known by from now on. options: checked words for mkfs. lock: the descriptor
        of a lock that the tool must hold as long as it lives. Raises InvalidArgument if mkfs
        refuses the options for an image of this size; Internal, with the tool's words, if it
        cannot make the file system at all, or makes it with features that are not allowed."""
        line = self._make_line(uuid, thick)
        target = ["/proc/self/fd/{}".format(image)]
        made = process.run(line + options + target, _MAKE_SECONDS, (image, lock))
        if made.status != 0 and options:
            without = process.run(line + target, _MAKE_SECONDS, (image, lock))
            if without.status == 0:
                raise InvalidArgument(
                    "mkfsOptions {}: {} refuses them for a volume of {} MiB: {}".format(
                        shown(" ".join(options)),
                        line[0],
                        os.fstat(image).st_size >> 20,
                        _refusal(made),
                    )
                )
        made.check()
        surplus = features.surplus(self.name, image)
        if surplus:
            tool = process.run([line[0], "-V"], _VERSION_SECONDS).text
            raise Internal(
                "{} ({}) makes {} with {}, which is none of the features of kernel {} that "
                "volumes have; nothing was left; use an older version of that tool, or a newer "
                "flexvol".format(line[0], tool[:80], self.name, ", ".join(surplus), features.KERNEL)
            )

    def _make_line(self, uuid: str, thick: bool) -> "List[str]":
        raise NotImplementedError

    def check_make_options(self, words: "List[str]") -> None:
        """Raises InvalidArgument unless they are pairs of an option and its value that a class may
        ask for."""
        for number in range(0, len(words), 2):
            pair = words[number : number + 2]
            self._check(
                "mkfs option", " ".join(pair), pair[0], "".join(pair[1:]), self.make_options
            )

    def check_mount_option(self, option: str) -> None:
        """Raises InvalidArgument unless a class may ask for it: one of the file system, or a flag
        of each mount."""
        name, equals, value = option.partition("=")
        if equals and not value:
            value = equals  # so that "nodelalloc=" is refused as well as "commit="
        self._check("mount option", option, name, value, self._known_mount_options())

    def allows_mount_option(self, option: str) -> bool:
        """Whether a class may ask for it."""
        try:
            self.check_mount_option(option)
            return True
        except InvalidArgument:
            return False

    def knows_mount_option(self, option: str) -> bool:
        """Whether a class may ask for one of that name, whatever its value."""
        return option.partition("=")[0] in self._known_mount_options()

    def _known_mount_options(self) -> "Dict[str, Value]":
        flags = {flag: _NO_VALUE for flag in mount_calls.FLAGS if flag != "ro"}
        return dict(self.mount_options, **flags)

    def _check(
        self, what: str, shown_as: str, name: str, value: str, known: "Dict[str, Value]"
    ) -> None:
        if name not in known:
            raise InvalidArgument(
                "{} {} is not one that a class may have for {}: {}".format(
                    what, shown(shown_as), self.name, ", ".join(sorted(known)) or "none"
                )
            )
        if not known[name].holds(value):
            raise InvalidArgument(
                "{} {}: {} of {} {}".format(
                    what, shown(shown_as), name, self.name, known[name].says
                )
            )

    def in_kernel(self) -> bool:
        """Whether the kernel has it, or has a module for it that a mount loads."""
        with open("/proc/filesystems") as known:
            if self.name in known.read().split():
                return True
        try:
            return (
                process.run(["modprobe", "--dry-run", "--quiet", "fs-" + self.name], 10).status == 0
            )
        except Internal:  # no modprobe, no modules
            return False

    def discard_options(self, thick: bool) -> "List[str]":
        """Thin volumes give back what the pod frees."""
        return [] if thick else ["discard"]

    def uuid(self, device: int) -> str:
        """What it was made with, read from an open image or device that carries it."""
        raise NotImplementedError

    def size_bytes(self, device: int) -> "Optional[int]":
        """The size its superblock states, read from an open image or device; None if this is not on
        it."""
        raise NotImplementedError

    def mounted_bytes(self, root: int) -> int:
        """The size that the kernel knows of the mounted file system with the open directory
        `root`, where it may be newer than the superblock's; else 0."""
        return 0

    def has_errors(self, device: int) -> bool:
        """Whether the kernel noted in the superblock that it found errors."""
        return False

    def recover(self, place: "undo.Place") -> bool:
        """Undoes what a tool that was killed on its way has left, by what lies in the volume's
        directory, if the image is what that tool left. Returns whether the file system needs a full
        check. `recover`, `repair`, `set_uuid` and `grow_unmounted`, and no callout else, run tools
        on an image that may hold data."""
        return False

    def repair(self, place: "undo.Place", everything: bool = False) -> None:
        """Repairs what needs no decision, before the first mount. everything: looks also where
        nothing is noted. Raises Unavailable for anything worse."""

    def set_uuid(self, place: "undo.Place", uuid: str) -> None:
        """Gives a copy that was never mounted another UUID than its source; `recover` deals with
        what was cut short. It may be of a file system in use, so that there is a log to replay."""
        raise NotImplementedError

    def grow_unmounted(self, place: "undo.Place") -> None:
        """Fills the grown device while it is not mounted, after `grow` was NotPermitted."""
        raise NotImplementedError

    def grow(self, root: int, size_bytes: int) -> None:
        """Fills the grown device, `size_bytes` long, through its mounted root. Does nothing if it
        fills it already."""
        raise NotImplementedError


class Ext4(FileSystem):
    name = "ext4"
    minimum_bytes = 16 * MIB
    mount_tools = ("e2fsck", "resize2fs")
    # mke2fs 1.47 would add orphan_file and metadata_csum_seed, which kernel 4.18 and e2fsck 1.45
    # refuse.
    _FEATURES = (
        "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,"
        "huge_file,dir_nlink,extra_isize,metadata_csum"
    )
    make_options = {
        "-i": _whole(1024, 64 * MIB),
        "-m": _whole(0, 49),
        "-J": _keyed("size", _whole(4, 40000)),
    }
    mount_options = {
        "commit": _whole(0, _COMMIT_SECONDS),
        "data": _one_of("ordered", "journal"),
        "nodelalloc": _NO_VALUE,
        "journal_checksum": _NO_VALUE,
    }
    _RESIZE = abi.ioctl(abi.WRITE, 0x66, 16, 8)  # EXT4_IOC_RESIZE_FS

    def _make_line(self, uuid: str, thick: bool) -> "List[str]":
        discard = "nodiscard" if thick else "discard"
        line = [
            "mkfs.ext4",
            "-q",
            "-F",
            "-b",
            str(_BLOCK_BYTES),
            "-I",
            "256",
            "-m",
            "0",
            "-e",
            "remount-ro",
        ]
        return line + ["-O", self._FEATURES, "-E", discard, "-U", uuid]

    def _superblock(self, device: int) -> "Optional[bytes]":
        block = os.pread(device, 1024, 1024)
        return block if len(block) == 1024 and block[56:58] == b"\x53\xef" else None

    def size_bytes(self, device: int) -> "Optional[int]":
        block = self._superblock(device)
        if block is None:
            return None
        low, log_size = struct.unpack_from("<I16xI", block, 4)
        (high,) = struct.unpack_from("<I", block, 0x150)
        return (int(low) | int(high) << 32) << (10 + int(log_size))

    def uuid(self, device: int) -> str:
        return _uuid_text((self._superblock(device) or bytes(1024))[0x68:0x78])

    def has_errors(self, device: int) -> bool:
        # After a crash without errors there is none: the kernel replays the journal, as after every
        # power cut.
        return undo.has_errors(self._superblock(device) or bytes(1024))

    def recover(self, place: "undo.Place") -> bool:
        return undo.recover(place, _IDLE_SECONDS)

    def repair(self, place: "undo.Place", everything: bool = False) -> None:
        line = ["e2fsck", "-f", "-p"] if everything else ["e2fsck", "-p"]
        result = undo.run(line, (0, 1), place, _IDLE_SECONDS)
        if result.status in _UNDECIDED:
            raise work.NeedsDecision(
                (
                    "the file system has errors that need a decision; run e2fsck on a copy of "
                    "the image: "
                )
                + result.text[-300:]
            )
        result.check(1)

    def set_uuid(self, place: "undo.Place", uuid: str) -> None:
        self.repair(place)  # which replays the journal
        # The checksums of all metadata go on from the old UUID, which kernel 4.4 and e2fsprogs 1.43
        # understand.
        line = ["tune2fs", "-O", "metadata_csum_seed", "-U", uuid]
        undo.run(line, (0,), place, _IDLE_SECONDS).check()

    def grow_unmounted(self, place: "undo.Place") -> None:
        with open(place.device, "rb") as grown:
            room = _UNDO_BYTES + grown.seek(0, os.SEEK_END) // 1024
        disk = os.fstatvfs(place.directory)
        if disk.f_bavail * disk.f_frsize < room:
            raise Unavailable(
                "its growth needs {} MiB of the pool's disk, which has less; free some".format(
                    room >> 20
                )
            )
        with open(place.device, "rb") as grown:
            reserved = self._reserved_bytes(place)
            has, wanted = self.size_bytes(grown.fileno()) or 0, grown.seek(0, os.SEEK_END)
        if has < reserved < wanted:
            self._resize(place, str(reserved // _BLOCK_BYTES))
        self._resize(place)

    def _resize(self, place: "undo.Place", *blocks: str) -> None:
        # resize2fs wants a check whose date is newer than the last mount's.
        undo.run(["e2fsck", "-f", "-p"], (0, 1), place, _IDLE_SECONDS).check(1)
        undo.run(["resize2fs"], (0,), place, _IDLE_SECONDS, blocks).check()

    def _reserved_bytes(self, place: "undo.Place") -> int:
        """The size up to which the blocks that mkfs reserved hold the descriptors of all groups.
        resize2fs does not pass it in one step ("Illegal doubly indirect block found"), but grows to
        it, and from there to any size."""
        block = place.superblock()
        (blocks,) = struct.unpack_from("<I", block, 4)
        (group_blocks,) = struct.unpack_from("<I", block, 0x20)
        (reserved,) = struct.unpack_from("<H", block, 0xCE)
        (descriptor_bytes,) = struct.unpack_from("<H", block, 0xFE)
        groups_per_block = _BLOCK_BYTES // (descriptor_bytes or 32)
        groups = -(-int(blocks) // int(group_blocks))
        descriptor_blocks = -(-groups // groups_per_block) + int(reserved)
        return int(descriptor_blocks * groups_per_block * group_blocks * _BLOCK_BYTES)

    def grow(self, root: int, size_bytes: int) -> None:
        try:
            fcntl.ioctl(root, self._RESIZE, struct.pack("=Q", size_bytes // _BLOCK_BYTES))
        except OSError as error:
            if error.errno == errno.EPERM:
                raise NotPermitted(
                    "the kernel does not let us grow a mounted ext4 (that needs "
                    "CAP_SYS_RESOURCE, which this kubelet "
                    "lacks); the volume grows when its next pod starts"
                ) from None
            raise


class NotPermitted(Unavailable):
    """Growth while mounted needs a capability that this process does not have."""


def _is_log_size(text: str) -> bool:
    return text[-1:] in ("m", "g") and 0 < _bytes(text) <= _LOG_BYTES


class Xfs(FileSystem):
    name = "xfs"
    minimum_bytes = 300 * MIB  # mkfs.xfs refuses less since 5.19
    make_options = {
        "-i": _keyed("maxpct", _whole(0, 100)),
        "-d": _keyed("agcount", _whole(2, 1000000)),
        "-l": _keyed("size", Value("is a size like 64m or 1g", _is_log_size)),
    }
    mount_options = {
        # At least a page of this kernel.
        "allocsize": _power_of_two(os.sysconf("SC_PAGE_SIZE"), 1 << 30),
        "logbufs": _whole(2, 8),
        "logbsize": _power_of_two(16 << 10, 256 << 10),
        "largeio": _NO_VALUE,
        "swalloc": _NO_VALUE,
    }
    _GEOMETRY = abi.ioctl(abi.READ, 0x58, 100, 112)  # XFS_IOC_FSGEOMETRY_V1
    _GROW_DATA = abi.ioctl(abi.WRITE, 0x58, 110, 16)  # XFS_IOC_FSGROWFSDATA
    # What newer tools turn on by themselves and kernel 4.18 refuses, with the version that can turn
    # it off.
    _NEWER = (
        ((5, 10), "-m", "bigtime=0,inobtcount=0"),
        ((5, 19), "-i", "nrext64=0"),
        ((6, 10), "-i", "exchange=0"),
        ((6, 10), "-n", "parent=0"),
        ((6, 13), "-m", "metadir=0"),
    )

    def _make_line(self, uuid: str, thick: bool) -> "List[str]":
        line = ["mkfs.xfs", "-q", "-f", "-b", "size=4096", "-s", "size=4096"]
        line += ["-m", "crc=1,finobt=1,rmapbt=0,reflink=0,uuid=" + uuid, "-i", "sparse=1"]
        version = self._version()
        for since, option, value in self._NEWER:
            if version >= since:
                line += [option, value]
        return line + (["-K"] if thick else [])

    def _version(self) -> "Tuple[int, ...]":
        words = process.run(["mkfs.xfs", "-V"], _VERSION_SECONDS).check().text.split()
        try:
            return tuple(int(number) for number in words[-1].split(".")[:2])
        except (ValueError, IndexError):
            raise Internal(
                "mkfs.xfs -V printed {}, which holds no version; install xfsprogs anew".format(
                    shown(" ".join(words))
                )
            ) from None

    def size_bytes(self, device: int) -> "Optional[int]":
        block = os.pread(device, 512, 0)
        if block[:4] != b"XFSB" or len(block) != 512:
            return None
        block_bytes, blocks = struct.unpack_from(">IQ", block, 4)
        return int(block_bytes * blocks)

    def uuid(self, device: int) -> str:
        return _uuid_text(os.pread(device, 16, 32))

    def recover(self, place: "undo.Place") -> bool:
        """An older flexvol let xfs_db set the UUID, and noted that; when that was cut short the log
        may be one that the kernel does not mount. What the kernel mounts needs nothing. Nothing is
        cleared by force, because a restored image may have data in its log."""
        if not undo.is_left(place.directory):
            return False
        try:
            mounts.replay(Superblock(place.device, self.name, ["nouuid"]))
        except Internal as refusal:
            raise Unavailable(
                "the kernel does not mount this copy, which was stopped while it got a UUID of its "
                "own; make the copy again, or put a backup of the image in its place and remove "
                "the file undo beside it: {}".format(refusal)
            ) from None
        undo.forget(place.directory)
        return False

    def set_uuid(self, place: "undo.Place", uuid: str) -> None:
        from node.host import xfs_uuid  # late: few volumes are copies

        mounts.replay(Superblock(place.device, self.name, ["nouuid"]))
        with open(place.device, "r+b", 0) as device:
            xfs_uuid.change(device.fileno(), binascii.unhexlify(uuid.replace("-", "")), _crc32c)

    def mounted_bytes(self, root: int) -> int:
        block_bytes, _, blocks = self._geometry(root)
        return block_bytes * blocks

    def grow(self, root: int, size_bytes: int) -> None:
        block_bytes, maximum_inode_percent, blocks = self._geometry(root)
        wanted = size_bytes // block_bytes
        if wanted > blocks:
            fcntl.ioctl(root, self._GROW_DATA, struct.pack("=QI4x", wanted, maximum_inode_percent))

    def _geometry(self, root: int) -> "Tuple[int, int, int]":
        """Bytes a block, how many per cent of the space inodes may take, and the blocks, of the
        mounted file system with the open directory `root` (struct xfs_fsop_geom_v1)."""
        geometry = fcntl.ioctl(root, self._GEOMETRY, bytes(112))
        block_bytes, inode_percent, blocks = struct.unpack_from("=I24xIQ", geometry, 0)
        return int(block_bytes), int(inode_percent), int(blocks)


def _is_compression(text: str) -> bool:
    """The kernel takes a level that it does not have for another one, or refuses it."""
    method, colon, level = text.partition(":")
    levels = {"zlib": 9, "zstd": 15}
    if not colon:
        return method in levels or method == "lzo"
    return method in levels and _whole(1, levels[method]).holds(level)


_COMPRESSION = Value("is zlib, zlib:1 to zlib:9, lzo, zstd, or zstd:1 to zstd:15", _is_compression)


class Btrfs(FileSystem):
    name = "btrfs"
    minimum_bytes = 112 * MIB
    minimum_grown_bytes = 256 * MIB  # btrfs_ioctl_resize refuses less
    make_options = {
        "-m": _one_of("dup", "single"),
        "-n": _one_of("4096", "8192", "16384", "32768"),
    }
    mount_options = {
        "autodefrag": _NO_VALUE,
        "commit": _whole(0, _COMMIT_SECONDS),
        "compress": _COMPRESSION,
        "compress-force": _COMPRESSION,
    }
    _RESIZE = abi.ioctl(abi.WRITE, 0x94, 3, 4096)  # BTRFS_IOC_RESIZE
    _SUPERBLOCK = 65536
    _METADATA_UUID = 1 << 10  # an incompatible feature, of kernel 5.0

    def _make_line(self, uuid: str, thick: bool) -> "List[str]":
        line = [
            "mkfs.btrfs",
            "-q",
            "-f",
            "-s",
            "4096",
            "-n",
            "16384",
            "-m",
            "dup",
            "-d",
            "single",
            "-U",
            uuid,
        ]
        without = self._defaults_too_new()
        if without:
            line += ["-O", ",".join("^" + name for name in without)]
        return line + (["-K"] if thick else [])

    def _defaults_too_new(self) -> "List[str]":
        """The features that this mkfs makes unless it is told not to, and that are not allowed. It
        lists the ones it knows, a default one as: "no-holes - ... (compat=3.14, default=5.15)"."""
        listed = process.run(["mkfs.btrfs", "-O", "list-all"], _VERSION_SECONDS).check()
        names = []
        for line in listed.output.decode("utf-8", "replace").splitlines():
            name = line.split(" ")[0]
            if "default=" in line and name not in features.BTRFS_NAMES:
                names.append(name)
        return names

    def discard_options(self, thick: bool) -> "List[str]":
        return ["nodiscard"] if thick else ["discard"]

    def size_bytes(self, device: int) -> "Optional[int]":
        block = os.pread(device, 4096, self._SUPERBLOCK)
        if block[0x40:0x48] != b"_BHRfS_M" or len(block) != 4096:
            return None
        return int(struct.unpack_from("<Q", block, 0x70)[0])

    def uuid(self, device: int) -> str:
        return _uuid_text(os.pread(device, 16, self._SUPERBLOCK + 0x20))

    def set_uuid(self, place: "undo.Place", uuid: str) -> None:
        """As `btrfstune -m` does: metadata keep the old UUID, which the superblock has beside the
        new one. But the tool begins new transactions, after which the kernel refuses the log that a
        copy of a volume in use has (tried). This is one write; the kernel writes the superblock's
        other copies with its next commit."""
        with open(place.device, "r+b", 0) as file:
            block = bytearray(os.pread(file.fileno(), _BLOCK_BYTES, self._SUPERBLOCK))
            (features,) = struct.unpack_from("<Q", block, 0xBC)
            if not features & self._METADATA_UUID:
                block[0x23B:0x24B] = block[0x20:0x30]
                struct.pack_into("<Q", block, 0xBC, features | self._METADATA_UUID)
            block[0x20:0x30] = binascii.unhexlify(uuid.replace("-", ""))
            struct.pack_into("<I", block, 0, _crc32c(bytes(block[0x20:])))
            os.pwrite(file.fileno(), block, self._SUPERBLOCK)
            os.fsync(file.fileno())

    def grow(self, root: int, size_bytes: int) -> None:
        fcntl.ioctl(root, self._RESIZE, bytearray(struct.pack("=q4088s", 0, b"1:max")))


def _crc32c(data: bytes) -> int:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


def _refusal(failed: "process.Result") -> str:
    """The first words in which mkfs says what it does not take; how it is called comes after
    them, and what btrfs has to tell of its defaults before them."""
    words = failed.text.partition("Usage:")[0]
    _, _, error = words.rpartition("ERROR: ")
    return error.strip()[:_REFUSAL_CHARACTERS]


def new_uuid() -> str:
    """A random one, as mkfs takes it."""
    value = bytearray(os.urandom(16))
    value[6] = value[6] & 0x0F | 0x40
    value[8] = value[8] & 0x3F | 0x80
    return _uuid_text(bytes(value))


def _uuid_text(value: bytes) -> str:
    text = binascii.hexlify(value).decode()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


TABLE: "Dict[str, FileSystem]" = {kind.name: kind() for kind in (Ext4, Xfs, Btrfs)}
DEFAULT = "ext4"


def minimum_bytes_by_name() -> "Dict[str, int]":
    """The smallest volume with each file system; "" is the file system of a class that names
    none."""
    smallest = {name: kind.minimum_bytes for name, kind in TABLE.items()}
    smallest[""] = smallest[DEFAULT]
    return smallest


def missing(tools: "Iterable[str]") -> "List[str]":
    """Those of the programs that this machine does not have."""
    absent = []
    for tool in tools:
        try:
            process.find(tool)
        except Internal:
            absent.append(tool)
    return absent


def get(name: str) -> FileSystem:
    """The file system called `name`, or the default for "". Raises InvalidArgument for one we do
    not have."""
    try:
        return TABLE[name or DEFAULT]
    except KeyError:
        raise InvalidArgument(
            "file system {} is unknown; known are: {}".format(shown(name), ", ".join(TABLE))
        ) from None
