"""btrfs: made, identified and grown. The kernel repairs a btrfs by replaying its log."""

import fcntl
import os
import struct

from node.host import abi
from node.host.filesystems import uuids
from node.host.filesystems.base import BLOCK_BYTES, VERSION_SECONDS, FileSystem
from node.host.filesystems.features import Word
from node.host.filesystems.option_values import COMMIT_SECONDS, NO_VALUE, Value, one_of, whole
from shared import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

    from node.host.undo import Target

_MIB = 1 << 20
_RESIZE = abi.ioctl(abi.WRITE, 0x94, 3, 4096)  # BTRFS_IOC_RESIZE
# Offsets and bits: include/uapi/linux/btrfs_tree.h, struct btrfs_super_block.
_SUPERBLOCK = 65536
_MAGIC = b"_BHRfS_M"
_MAGIC_AT = slice(0x40, 0x48)
_UUID_AT = slice(0x20, 0x30)
_METADATA_UUID_AT = slice(0x23B, 0x24B)
_INCOMPATIBLE_AT = 0xBC
_METADATA_UUID = 1 << 10  # BTRFS_FEATURE_INCOMPAT_METADATA_UUID, of kernel 5.0
# What mkfs.btrfs may make, as mkfs calls it; extref is extended_iref.
_NAMES = ("extref", "skinny-metadata", "no-holes", "free-space-tree")
_COMPRESSION_LEVELS = {"zlib": 9, "zstd": 15}


def _is_compression(text: str) -> bool:
    """Whether the text is a method of compression, perhaps with a level. The kernel takes a level
    that it does not have for another level, or refuses the option."""
    method, colon, level = text.partition(":")
    if not colon:
        return method in _COMPRESSION_LEVELS or method == "lzo"
    if method not in _COMPRESSION_LEVELS:
        return False
    return whole(1, _COMPRESSION_LEVELS[method]).holds(level)


_COMPRESSION = Value("is zlib, zlib:1 to zlib:9, lzo, zstd, or zstd:1 to zstd:15", _is_compression)


class Btrfs(FileSystem):
    """btrfs with the features of kernel 4.18."""

    name = "btrfs"
    minimum_bytes = 112 * _MIB
    minimum_grown_bytes = 256 * _MIB  # btrfs_ioctl_resize refuses less
    make_options = {
        "-m": one_of("dup", "single"),
        "-n": one_of("4096", "8192", "16384", "32768"),
    }
    mount_options = {
        "autodefrag": NO_VALUE,
        "commit": whole(0, COMMIT_SECONDS),
        "compress": _COMPRESSION,
        "compress-force": _COMPRESSION,
    }
    # The free space tree, which is complete (valid) in kernel 4.9; mixed_backref, default_subvol,
    # big_metadata, extended_iref, skinny_metadata, no_holes; checksums by crc32c, which is type 0.
    allowed_features = (
        Word("compat", _SUPERBLOCK + 0xAC, "<Q", 0, {}),
        Word(
            "compat_ro",
            _SUPERBLOCK + 0xB4,
            "<Q",
            0x1 | 0x2,
            {0x4: "verity", 0x8: "block-group-tree"},
        ),
        Word(
            "incompat",
            _SUPERBLOCK + _INCOMPATIBLE_AT,
            "<Q",
            0x1 | 0x2 | 0x20 | 0x40 | 0x100 | 0x200,
            {
                0x4: "mixed-bg",
                0x80: "raid56",
                0x400: "metadata-uuid",
                0x800: "raid1c34",
                0x1000: "zoned",
                0x2000: "extent-tree-v2",
                0x4000: "raid-stripe-tree",
                0x10000: "squota",
                0x20000: "remap-tree",
            },
        ),
        Word("checksum type", _SUPERBLOCK + 0xC4, "<H", 0, {}),
    )

    def _make_line(self, uuid: str, thick: bool) -> "List[str]":
        line = ["mkfs.btrfs", "-q", "-f", "-s", "4096", "-n", "16384"]
        line += ["-m", "dup", "-d", "single", "-U", uuid]
        without = self._defaults_too_new()
        if without:
            line += ["-O", ",".join("^" + name for name in without)]
        if thick:
            line.append("-K")
        return line

    def _defaults_too_new(self) -> "List[str]":
        """The features that this mkfs makes unless mkfs is told not to, and that are not allowed.
        mkfs lists what it knows, a default as: "no-holes - ... (compat=3.14, default=5.15)"."""
        listed = process.run(["mkfs.btrfs", "-O", "list-all"], VERSION_SECONDS).check()
        names = []
        for line in listed.output.decode("utf-8", "replace").splitlines():
            name = line.split(" ")[0]
            if "default=" in line and name not in _NAMES:
                names.append(name)
        return names

    def discard_options(self, thick: bool) -> "List[str]":
        return ["nodiscard"] if thick else ["discard"]

    def size_bytes(self, device: int) -> "Optional[int]":
        block = os.pread(device, BLOCK_BYTES, _SUPERBLOCK)
        if len(block) != BLOCK_BYTES or block[_MAGIC_AT] != _MAGIC:
            return None
        return int(struct.unpack_from("<Q", block, 0x70)[0])

    def uuid(self, device: int) -> str:
        return uuids.to_text(os.pread(device, 16, _SUPERBLOCK + _UUID_AT.start))

    def set_uuid(self, target: "Target", uuid: str) -> None:
        """As `btrfstune -m` does: the metadata keep the old UUID, which the superblock has beside
        the new one. But the tool begins new transactions, after which the kernel refuses the log
        that a copy of a volume in use has (tried). Here the superblock is written once; the kernel
        writes its other copies with the next commit."""
        with open(target.device, "r+b", 0) as file:
            device = file.fileno()
            block = bytearray(os.pread(device, BLOCK_BYTES, _SUPERBLOCK))
            (incompatible,) = struct.unpack_from("<Q", block, _INCOMPATIBLE_AT)
            if not incompatible & _METADATA_UUID:
                block[_METADATA_UUID_AT] = block[_UUID_AT]
                struct.pack_into("<Q", block, _INCOMPATIBLE_AT, incompatible | _METADATA_UUID)
            block[_UUID_AT] = uuids.to_bytes(uuid)
            struct.pack_into("<I", block, 0, uuids.crc32c(bytes(block[_UUID_AT.start :])))
            os.pwrite(device, block, _SUPERBLOCK)
            os.fsync(device)

    def grow(self, root: int, size_bytes: int) -> None:
        request = struct.pack("=q4088s", 0, b"1:max")
        fcntl.ioctl(root, _RESIZE, bytearray(request))
