"""Gives an unmounted xfs whose log is empty another UUID, so that the xfs can be mounted at every
moment of that.

xfs_db does the same, and clears the whole log for it: killed on its way, xfs_db leaves a log of
half old and half new blocks, which the kernel does not mount and xfs_repair -L, seen with 6.1, does
not mend. Here three kinds of sectors are written, each in one write, in this order:

- the superblock's copies, which the kernel does not read when it mounts;
- the header of the log's last record, which names the UUID of the superblock: a header without a
  UUID fits any superblock (xlog_header_check_mount);
- the superblock. The metadata keep the old UUID, which the superblock has beside the new one from
  then on (XFS_SB_FEAT_INCOMPAT_META_UUID, kernel 4.3).

Offsets are those of struct xfs_dsb (xfs_format.h) and struct xlog_rec_header (xfs_log_format.h)."""

import os
import struct

from node.host.filesystems.uuids import crc32c
from shared.protocol import Internal

_MAGIC = b"XFSB"
_UUID = slice(32, 48)
_META_UUID = slice(248, 264)
_INCOMPATIBLE = 216
_HAS_META_UUID = 4
_SUPERBLOCK_CRC = 224
_SUPERBLOCK_READ_BYTES = 4096  # the largest sector that a disk has

_RECORD_MAGIC = 0xFEEDBABE
_LOG_BLOCK_BYTES = 512
_HEADER_BYTES = 328
_HEADER_LENGTH = 12
_HEADER_CRC = 32
_HEADER_UUID = slice(304, 320)
_SMALL_RECORD_BYTES = 32 << 10  # a larger record has more than one block of headers


def change(device: int, uuid: bytes) -> None:
    """Writes the UUID of 16 bytes into the xfs on the open device; on disk when it returns. Raises
    Internal, before the superblock is changed, where the log is not as the kernel leaves it."""
    layout = _Layout(os.pread(device, _SUPERBLOCK_READ_BYTES, 0))
    for group in range(1, layout.groups):
        _change_superblock(device, layout, group, uuid)
    _Log(device, layout).take_uuid_out()
    os.fsync(device)
    _change_superblock(device, layout, 0, uuid)
    os.fsync(device)


class _Layout:
    """Where an xfs has its superblocks and its log, in bytes."""

    def __init__(self, superblock: bytes) -> None:
        (self._block_bytes,) = struct.unpack_from(">I", superblock, 4)
        (self._log_start,) = struct.unpack_from(">Q", superblock, 48)
        self._group_blocks, self.groups = struct.unpack_from(">II", superblock, 84)
        (log_blocks,) = struct.unpack_from(">I", superblock, 96)
        (self.sector_bytes,) = struct.unpack_from(">H", superblock, 102)
        self._group_bits = superblock[124]
        self.log_blocks = int(log_blocks * self._block_bytes // _LOG_BLOCK_BYTES)

    def superblock_at(self, group: int) -> int:
        """Where the allocation group has its copy of the superblock."""
        return int(group * self._group_blocks * self._block_bytes)

    @property
    def log_at(self) -> int:
        """Where the log begins."""
        group = self._log_start >> self._group_bits
        block = self._log_start & ((1 << self._group_bits) - 1)
        return int((group * self._group_blocks + block) * self._block_bytes)


def _change_superblock(device: int, layout: _Layout, group: int, uuid: bytes) -> None:
    where = layout.superblock_at(group)
    block = bytearray(os.pread(device, layout.sector_bytes, where))
    if not block.startswith(_MAGIC):
        raise Internal("the xfs has no superblock at {}; run xfs_repair on a copy".format(where))
    (features,) = struct.unpack_from(">I", block, _INCOMPATIBLE)
    if not features & _HAS_META_UUID:
        block[_META_UUID] = block[_UUID]
        struct.pack_into(">I", block, _INCOMPATIBLE, features | _HAS_META_UUID)
    block[_UUID] = uuid
    struct.pack_into("<I", block, _SUPERBLOCK_CRC, 0)
    struct.pack_into("<I", block, _SUPERBLOCK_CRC, crc32c(bytes(block)))
    os.pwrite(device, block, where)


class _Log:
    """The log of an unmounted xfs on an open device: blocks that are written in rounds."""

    def __init__(self, device: int, layout: _Layout) -> None:
        self._device = device
        self._begin = layout.log_at
        self._blocks = layout.log_blocks

    def take_uuid_out(self) -> None:
        """Takes the UUID out of the last record's header."""
        block = self._last_record()
        header = bytearray(self._read(block, _LOG_BLOCK_BYTES))
        (length,) = struct.unpack_from(">I", header, _HEADER_LENGTH)
        if length > _SMALL_RECORD_BYTES:
            raise Internal(
                "the last record of the xfs's log has {} bytes; run xfs_repair on a copy of "
                "the image".format(length)
            )
        data = self._read(block + 1, length)
        (written,) = struct.unpack_from("<I", header, _HEADER_CRC)
        if _record_checksum(header, data) != written:
            raise Internal(
                "the last record of the xfs's log is not as its checksum says; run xfs_repair on a "
                "copy of the image"
            )
        header[_HEADER_UUID] = bytes(16)
        struct.pack_into("<I", header, _HEADER_CRC, _record_checksum(header, data))
        os.pwrite(self._device, header, self._begin + block * _LOG_BLOCK_BYTES)

    def _last_record(self) -> int:
        """The block that has the last record's header. Each block has the number of the round in
        which it was written. The log was unmounted, so the log has no gaps, and ends where that
        number falls; a record may begin at the end of the log and go on at the beginning."""
        first = self._round(0)
        low = 0  # the end is after this block
        high = self._blocks  # and not after this one
        while high - low > 1:
            middle = (low + high) // 2
            if self._round(middle) == first:
                low = middle
            else:
                high = middle
        for back in range(1, _SMALL_RECORD_BYTES // _LOG_BLOCK_BYTES + 2):
            block = (high - back) % self._blocks
            (magic,) = struct.unpack(">I", self._read(block, 4))
            if magic == _RECORD_MAGIC:
                return block
        raise Internal("the log of the xfs has no last record; run xfs_repair on a copy")

    def _read(self, block: int, length: int) -> bytes:
        """`length` bytes from the block on, which go on at the log's beginning after its end."""
        where = block % self._blocks * _LOG_BLOCK_BYTES
        until_end = min(length, self._blocks * _LOG_BLOCK_BYTES - where)
        rest = os.pread(self._device, length - until_end, self._begin)
        return os.pread(self._device, until_end, self._begin + where) + rest

    def _round(self, block: int) -> int:
        """The number of the round in which the block was written."""
        word, number = struct.unpack(">II", self._read(block, 8))
        return int(number if word == _RECORD_MAGIC else word)


def _record_checksum(header: bytearray, data: bytes) -> int:
    fields = bytearray(header[:_HEADER_BYTES])
    struct.pack_into("<I", fields, _HEADER_CRC, 0)
    return crc32c(bytes(fields) + data)
