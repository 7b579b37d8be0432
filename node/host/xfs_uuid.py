"""Gives an unmounted xfs whose log is empty another UUID, so that it can be mounted at every moment
of that.

xfs_db does the same, and clears the whole log for it: killed on its way, it leaves a log of half
old and half new blocks, which the kernel does not mount and xfs_repair -L, seen with 6.1, does not
mend. Here three kinds of sectors are written, each in one write, in this order:

- the superblock's copies, which the kernel does not read when it mounts;
- the header of the log's last record, which names the UUID of the superblock: a header without a
  UUID fits any (xlog_header_check_mount);
- the superblock. The metadata keep the old UUID, which the superblock has beside the new one from
  then on (XFS_SB_FEAT_INCOMPAT_META_UUID, kernel 4.3).

Offsets are those of struct xfs_dsb (xfs_format.h) and struct xlog_rec_header (xfs_log_format.h)."""

import os
import struct

from shared.protocol import Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    Checksum = Callable[[bytes], int]

_MAGIC = b"XFSB"
_UUID, _META_UUID = slice(32, 48), slice(248, 264)
_INCOMPATIBLE, _HAS_META_UUID = 216, 4
_SUPERBLOCK_CRC = 224

_RECORD_MAGIC = 0xFEEDBABE
_LOG_BLOCK_BYTES = 512
_HEADER_BYTES = 328
_HEADER_CRC = 32
_HEADER_UUID = slice(304, 320)
_SMALL_RECORD_BYTES = 32 << 10  # a larger record has more than one block of headers


class _Layout:
    """Where an xfs has its superblocks and its log, in bytes."""

    def __init__(self, block: bytes) -> None:
        (self._block_bytes,) = struct.unpack_from(">I", block, 4)
        (self._log_start,) = struct.unpack_from(">Q", block, 48)
        self._group_blocks, self.groups = struct.unpack_from(">II", block, 84)
        (log_blocks,) = struct.unpack_from(">I", block, 96)
        (self.sector_bytes,) = struct.unpack_from(">H", block, 102)
        self._group_bits = block[124]
        self.log_blocks = int(log_blocks * self._block_bytes // _LOG_BLOCK_BYTES)

    def superblock_at(self, group: int) -> int:
        return int(group * self._group_blocks * self._block_bytes)

    @property
    def log_at(self) -> int:
        group = self._log_start >> self._group_bits
        block = self._log_start & ((1 << self._group_bits) - 1)
        return int((group * self._group_blocks + block) * self._block_bytes)


def change(device: int, uuid: bytes, checksum: "Checksum") -> None:
    """Writes the UUID of 16 bytes into the xfs on the open device; on disk when it returns.

    checksum: CRC-32C. Raises Internal, before the superblock is changed, where the log is not as
    the kernel leaves it."""
    primary = os.pread(device, 4096, 0)
    layout = _Layout(primary)
    for group in range(1, layout.groups):
        _change_superblock(device, layout.superblock_at(group), layout, uuid, checksum)
    _take_uuid_out_of_log(device, layout, checksum)
    os.fsync(device)
    _change_superblock(device, 0, layout, uuid, checksum)
    os.fsync(device)


def _change_superblock(
    device: int, where: int, layout: _Layout, uuid: bytes, checksum: "Checksum"
) -> None:
    block = bytearray(os.pread(device, layout.sector_bytes, where))
    if block[:4] != _MAGIC:
        raise Internal("the xfs has no superblock at {}; run xfs_repair on a copy".format(where))
    (features,) = struct.unpack_from(">I", block, _INCOMPATIBLE)
    if not features & _HAS_META_UUID:
        block[_META_UUID] = block[_UUID]
        struct.pack_into(">I", block, _INCOMPATIBLE, features | _HAS_META_UUID)
    block[_UUID] = uuid
    struct.pack_into("<I", block, _SUPERBLOCK_CRC, 0)
    struct.pack_into("<I", block, _SUPERBLOCK_CRC, checksum(bytes(block)))
    os.pwrite(device, block, where)


def _take_uuid_out_of_log(device: int, layout: _Layout, checksum: "Checksum") -> None:
    block = _last_record(device, layout)
    header = bytearray(_read_log(device, layout, block, _LOG_BLOCK_BYTES))
    (length,) = struct.unpack_from(">I", header, 12)
    if length > _SMALL_RECORD_BYTES:
        raise Internal(
            (
                "the last record of the xfs's log has {} bytes; run xfs_repair on a copy of "
                "the image"
            ).format(length)
        )
    data = _read_log(device, layout, block + 1, length)
    (written,) = struct.unpack_from("<I", header, _HEADER_CRC)
    if _record_checksum(header, data, checksum) != written:
        raise Internal(
            "the last record of the xfs's log is not as its checksum says; run xfs_repair on a "
            "copy of "
            "the image"
        )
    header[_HEADER_UUID] = bytes(16)
    struct.pack_into("<I", header, _HEADER_CRC, _record_checksum(header, data, checksum))
    os.pwrite(device, header, layout.log_at + block * _LOG_BLOCK_BYTES)


def _record_checksum(header: bytearray, data: bytes, checksum: "Checksum") -> int:
    fields = bytearray(header[:_HEADER_BYTES])
    struct.pack_into("<I", fields, _HEADER_CRC, 0)
    return checksum(bytes(fields) + data)


def _last_record(device: int, layout: _Layout) -> int:
    """The block of the log that has the last record's header. Each block has the number of the
    round in which it was written. The log was unmounted, so it has no gaps, and ends where that
    number falls; a record may begin at the end of the log and go on at its beginning."""
    first = _round(device, layout, 0)
    low, high = 0, layout.log_blocks  # the end is after `low`, and not after `high`
    while high - low > 1:
        middle = (low + high) // 2
        if _round(device, layout, middle) == first:
            low = middle
        else:
            high = middle
    for back in range(1, _SMALL_RECORD_BYTES // _LOG_BLOCK_BYTES + 2):
        block = (high - back) % layout.log_blocks
        (magic,) = struct.unpack(">I", _read_log(device, layout, block, 4))
        if magic == _RECORD_MAGIC:
            return block
    raise Internal("the log of the xfs has no last record; run xfs_repair on a copy")


def _read_log(device: int, layout: _Layout, block: int, length: int) -> bytes:
    """So many bytes of the log from the block on, which go on at its beginning after its end."""
    where = block % layout.log_blocks * _LOG_BLOCK_BYTES
    until_end = min(length, layout.log_blocks * _LOG_BLOCK_BYTES - where)
    rest = os.pread(device, length - until_end, layout.log_at)
    return os.pread(device, until_end, layout.log_at + where) + rest


def _round(device: int, layout: _Layout, block: int) -> int:
    word, number = struct.unpack(">II", _read_log(device, layout, block, 8))
    return int(number if word == _RECORD_MAGIC else word)
