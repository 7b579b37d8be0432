"""ext4: made, identified, checked and grown; its tools keep what they overwrite (undo.py)."""

import errno
import fcntl
import os
import struct

from node.host import abi, undo, work
from node.host.filesystems import uuids
from node.host.filesystems.base import BLOCK_BYTES, IDLE_SECONDS, FileSystem, NotPermitted
from node.host.filesystems.features import Word
from node.host.filesystems.option_values import COMMIT_SECONDS, NO_VALUE, keyed, one_of, whole
from shared.protocol import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

_MIB = 1 << 20
# Offsets and bits: fs/ext4/ext4.h, struct ext4_super_block.
_SUPERBLOCK = 1024
_SUPERBLOCK_BYTES = 1024
_MAGIC = b"\x53\xef"
_MAGIC_AT = slice(0x38, 0x3A)
_UUID_AT = slice(0x68, 0x78)
# EXT4_IOC_RESIZE_FS.
_RESIZE = abi.ioctl(abi.WRITE, 0x66, 16, 8)
# How e2fsck ends that has left errors as they are, also if it has mended others (e2fsck(8)).
_UNDECIDED = (4, 5)
# How much of e2fsck's words a message has.
_WORDS_CHARACTERS = 300
# What resize2fs overwrites, which is kept beside the image: this, and a part of the new size.
_UNDO_BYTES = 16 * _MIB
_UNDO_PART = 1024


class Ext4(FileSystem):
    """ext4 with the features of mke2fs 1.45. mke2fs 1.47 would add orphan_file and
    metadata_csum_seed, which kernel 4.18 and e2fsck 1.45 refuse."""

    name = "ext4"
    minimum_bytes = 16 * _MIB
    mount_tools = ("e2fsck", "resize2fs")
    make_options = {
        "-i": whole(1024, 64 * _MIB),
        "-m": whole(0, 49),
        "-J": keyed("size", whole(4, 40000)),
    }
    mount_options = {
        "commit": whole(0, COMMIT_SECONDS),
        "data": one_of("ordered", "journal"),
        "nodelalloc": NO_VALUE,
        "journal_checksum": NO_VALUE,
    }
    _FEATURES = (
        "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,"
        "sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
    )
    # The same as bits: has_journal, ext_attr, resize_inode, dir_index; filetype, extent, 64bit,
    # flex_bg; sparse_super, large_file, huge_file, dir_nlink, extra_isize, metadata_csum.
    allowed_features = (
        Word(
            "compat",
            _SUPERBLOCK + 0x5C,
            "<I",
            0x4 | 0x8 | 0x10 | 0x20,
            {
                0x200: "sparse_super2",
                0x400: "fast_commit",
                0x800: "stable_inodes",
                0x1000: "orphan_file",
            },
        ),
        Word(
            "incompat",
            _SUPERBLOCK + 0x60,
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
        Word(
            "ro_compat",
            _SUPERBLOCK + 0x64,
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

    def _make_line(self, uuid: str, thick: bool) -> "List[str]":
        discard = "nodiscard" if thick else "discard"
        line = ["mkfs.ext4", "-q", "-F", "-b", str(BLOCK_BYTES), "-I", "256"]
        line += ["-m", "0", "-e", "remount-ro"]
        line += ["-O", self._FEATURES, "-E", discard, "-U", uuid]
        return line

    def size_bytes(self, device: int) -> "Optional[int]":
        block = self._superblock(device)
        if block is None:
            return None
        low, log_size = struct.unpack_from("<I16xI", block, 4)
        (high,) = struct.unpack_from("<I", block, 0x150)
        blocks = int(low) | int(high) << 32
        return blocks << (10 + int(log_size))

    def uuid(self, device: int) -> str:
        block = self._superblock(device) or bytes(_SUPERBLOCK_BYTES)
        return uuids.to_text(block[_UUID_AT])

    def has_errors(self, device: int) -> bool:
        # A crash without errors notes none: the kernel replays the journal, as after every power
        # cut.
        return undo.has_errors(self._superblock(device) or bytes(_SUPERBLOCK_BYTES))

    def _superblock(self, device: int) -> "Optional[bytes]":
        block = os.pread(device, _SUPERBLOCK_BYTES, _SUPERBLOCK)
        if len(block) != _SUPERBLOCK_BYTES or block[_MAGIC_AT] != _MAGIC:
            return None
        return block

    def recover(self, target: "undo.Target") -> bool:
        return undo.recover(target, IDLE_SECONDS)

    def repair(self, target: "undo.Target", everything: bool = False) -> None:
        line = ["e2fsck", "-f", "-p"] if everything else ["e2fsck", "-p"]
        result = undo.run(line, (0, 1), target, IDLE_SECONDS)
        if result.status in _UNDECIDED:
            raise work.NeedsDecision(
                "the file system has errors that need a decision; run e2fsck on a copy of "
                "the image: {}".format(result.text[-_WORDS_CHARACTERS:])
            )
        result.check(1)

    def set_uuid(self, target: "undo.Target", uuid: str) -> None:
        self.repair(target)  # which replays the journal
        # The checksums of all metadata go on from the old UUID, which kernel 4.4 and e2fsprogs 1.43
        # understand.
        line = ["tune2fs", "-O", "metadata_csum_seed", "-U", uuid]
        undo.run(line, (0,), target, IDLE_SECONDS).check()

    def grow_unmounted(self, target: "undo.Target") -> None:
        with open(target.device, "rb") as grown:
            wanted = grown.seek(0, os.SEEK_END)
        _check_room_to_undo(target, wanted)
        with open(target.device, "rb") as grown:
            reserved = _reserved_bytes(target.superblock())
            size_bytes = self.size_bytes(grown.fileno()) or 0
            wanted = grown.seek(0, os.SEEK_END)
        if size_bytes < reserved < wanted:
            _resize(target, str(reserved // BLOCK_BYTES))
        _resize(target)

    def grow(self, root: int, size_bytes: int) -> None:
        try:
            fcntl.ioctl(root, _RESIZE, struct.pack("=Q", size_bytes // BLOCK_BYTES))
        except OSError as error:
            if error.errno == errno.EPERM:
                raise NotPermitted(
                    "the kernel does not let us grow a mounted ext4 (that needs "
                    "CAP_SYS_RESOURCE, which this kubelet lacks); the volume grows when its next "
                    "pod starts"
                ) from None
            raise


def _check_room_to_undo(target: "undo.Target", size_bytes: int) -> None:
    """Raises Unavailable if the pool's disk has no room for what resize2fs overwrites."""
    room = _UNDO_BYTES + size_bytes // _UNDO_PART
    disk = os.fstatvfs(target.directory)
    if disk.f_bavail * disk.f_frsize < room:
        raise Unavailable(
            "its growth needs {} MiB of the pool's disk, which has less; free some".format(
                room >> 20
            )
        )


def _resize(target: "undo.Target", *blocks: str) -> None:
    # resize2fs wants a check whose date is newer than the last mount's.
    undo.run(["e2fsck", "-f", "-p"], (0, 1), target, IDLE_SECONDS).check(1)
    undo.run(["resize2fs"], (0,), target, IDLE_SECONDS, blocks).check()


def _reserved_bytes(superblock: bytes) -> int:
    """The size up to which the blocks that mkfs reserved hold the descriptors of all groups.
    resize2fs does not pass that size in one step ("Illegal doubly indirect block found"), but grows
    to it, and from there to any size."""
    (blocks,) = struct.unpack_from("<I", superblock, 4)
    (group_blocks,) = struct.unpack_from("<I", superblock, 0x20)
    (reserved,) = struct.unpack_from("<H", superblock, 0xCE)
    (descriptor_bytes,) = struct.unpack_from("<H", superblock, 0xFE)
    groups_per_block = BLOCK_BYTES // (descriptor_bytes or 32)
    groups = -(-int(blocks) // int(group_blocks))
    descriptor_blocks = -(-groups // groups_per_block) + int(reserved)
    return int(descriptor_blocks * groups_per_block * group_blocks * BLOCK_BYTES)
