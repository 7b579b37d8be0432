"""The features of a finished file system, read from its superblock and compared with what every
node of ours can mount.

A newer mkfs turns on features that an older kernel refuses, so mkfs is told what to leave out. A
feature that becomes a default after this was written is not among what mkfs is told; therefore the
bits of each new superblock are compared with the bits that are allowed."""

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Tuple

# The kernel whose features are allowed, and no newer ones.
KERNEL = "4.18"
_EXT4_SUPERBLOCK = 1024
_BTRFS_SUPERBLOCK = 65536


class _Word:
    """A word of feature bits in a superblock. offset: in the image. form: as struct has it.
    allowed: the bits that may be set. names: bits that may not be, for a message; a bit without a
    name is shown as a number."""

    def __init__(
        self, label: str, offset: int, form: str, allowed: int, names: "Dict[int, str]"
    ) -> None:
        self.label = label
        self.offset = offset
        self.form = form
        self.allowed = allowed
        self.names = names

    def surplus(self, device: int) -> "List[str]":
        """The bits that are set and not allowed, as words."""
        (value,) = struct.unpack(
            self.form, os.pread(device, struct.calcsize(self.form), self.offset)
        )
        surplus = int(value) & ~self.allowed
        bits = [1 << number for number in range(surplus.bit_length()) if surplus >> number & 1]
        return [self.names.get(bit, "{} {:#x}".format(self.label, bit)) for bit in bits]


# Offsets and bits: fs/ext4/ext4.h, struct ext4_super_block. Allowed: has_journal, ext_attr,
# resize_inode, dir_index; filetype, extent, 64bit, flex_bg; sparse_super, large_file, huge_file,
# dir_nlink, extra_isize, metadata_csum.
_EXT4 = (
    _Word(
        "compat",
        _EXT4_SUPERBLOCK + 0x5C,
        "<I",
        0x4 | 0x8 | 0x10 | 0x20,
        {
            0x200: "sparse_super2",
            0x400: "fast_commit",
            0x800: "stable_inodes",
            0x1000: "orphan_file",
        },
    ),
    _Word(
        "incompat",
        _EXT4_SUPERBLOCK + 0x60,
        "<I",
        0x2 | 0x40 | 0x80 | 0x200,
        {
            0x10: "meta_bg",
            0x400: "ea_inode",
            0x2000: "metadata_csum_seed",
            0x4000: "large_dir",
            0x8000: "inline_data",
            0x10000: "encrypt",
            0x20000: "casefold",
        },
    ),
    _Word(
        "ro_compat",
        _EXT4_SUPERBLOCK + 0x64,
        "<I",
        0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400,
        {
            0x100: "quota",
            0x200: "bigalloc",
            0x2000: "project",
            0x8000: "verity",
            0x10000: "orphan_present",
        },
    ),
)
# fs/xfs/libxfs/xfs_format.h, struct xfs_dsb. Allowed: version 5 with nlink, align, logv2, sector,
# extflg, dirv2, morebits, attr; lazysbcount, attr2, projid32, crc; finobt; ftype, sparse inodes.
_XFS = (
    _Word("version", 100, ">H", 0xBCB5, {}),
    _Word("features2", 200, ">I", 0x2 | 0x8 | 0x80 | 0x100, {}),
    _Word("compat", 208, ">I", 0, {}),
    _Word("ro_compat", 212, ">I", 0x1, {0x2: "rmapbt", 0x4: "reflink", 0x8: "inobtcount"}),
    _Word(
        "incompat",
        216,
        ">I",
        0x1 | 0x2,
        {
            0x4: "meta_uuid",
            0x8: "bigtime",
            0x10: "needsrepair",
            0x20: "nrext64",
            0x40: "exchange",
            0x80: "parent",
            0x100: "metadir",
            0x200: "zoned",
        },
    ),
    _Word("log_incompat", 220, ">I", 0, {0x1: "larp"}),
)
# fs/btrfs/accessors.h and include/uapi/linux/btrfs.h, struct btrfs_super_block. Allowed: the free
# space tree, which is complete (valid) in kernel 4.9; mixed_backref, default_subvol, big_metadata,
# extended_iref, skinny_metadata, no_holes; checksums by crc32c, which is type 0.
_BTRFS = (
    _Word("compat", _BTRFS_SUPERBLOCK + 0xAC, "<Q", 0, {}),
    _Word(
        "compat_ro",
        _BTRFS_SUPERBLOCK + 0xB4,
        "<Q",
        0x1 | 0x2,
        {0x4: "verity", 0x8: "block-group-tree"},
    ),
    _Word(
        "incompat",
        _BTRFS_SUPERBLOCK + 0xBC,
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
    _Word("checksum type", _BTRFS_SUPERBLOCK + 0xC4, "<H", 0, {}),
)
_WORDS: "Dict[str, Tuple[_Word, ...]]" = {"ext4": _EXT4, "xfs": _XFS, "btrfs": _BTRFS}
# What mkfs.btrfs may make, as it calls them; extref is extended_iref.
BTRFS_NAMES = ("extref", "skinny-metadata", "no-holes", "free-space-tree")


def surplus(fs_type: str, device: int) -> "List[str]":
    """The features of the new file system on the open image that are not allowed, as words."""
    return [word for words in _WORDS[fs_type] for word in words.surplus(device)]
