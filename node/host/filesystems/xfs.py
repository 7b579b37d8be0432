"""xfs: made, identified and grown. The kernel repairs an xfs by replaying its log."""

import fcntl
import os
import struct

from node.host import abi, mounts, undo
from node.host.filesystems import uuids
from node.host.filesystems.base import VERSION_SECONDS, FileSystem
from node.host.filesystems.features import Word
from node.host.filesystems.option_values import (
    NO_VALUE,
    Value,
    keyed,
    power_of_two,
    to_bytes,
    whole,
)
from node.host.mount_calls import Superblock
from shared import process
from shared.protocol import Internal, Unavailable, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Tuple

_MIB = 1 << 20
# The largest log that xfs has.
_LOG_BYTES = 2 << 30
# Of fs/xfs/libxfs/xfs_fs.h: XFS_IOC_FSGEOMETRY_V1 and XFS_IOC_FSGROWFSDATA.
_GEOMETRY_BYTES = 112
_GEOMETRY = abi.ioctl(abi.READ, 0x58, 100, _GEOMETRY_BYTES)
_GROW_DATA = abi.ioctl(abi.WRITE, 0x58, 110, 16)
# Offsets: fs/xfs/libxfs/xfs_format.h, struct xfs_dsb.
_SUPERBLOCK_BYTES = 512
_MAGIC = b"XFSB"
_UUID_OFFSET = 32


def _is_log_size(text: str) -> bool:
    return text[-1:] in ("m", "g") and 0 < to_bytes(text) <= _LOG_BYTES


class _Geometry:
    """What the kernel knows of a mounted xfs (struct xfs_fsop_geom_v1)."""

    def __init__(self, root: int) -> None:
        answer = fcntl.ioctl(root, _GEOMETRY, bytes(_GEOMETRY_BYTES))
        block_bytes, inode_percent, blocks = struct.unpack_from("=I24xIQ", answer, 0)
        self.block_bytes = int(block_bytes)
        self.blocks = int(blocks)
        # How many per cent of the space inodes may take.
        self.inode_percent = int(inode_percent)


class Xfs(FileSystem):
    """xfs with the features of kernel 4.18."""

    name = "xfs"
    minimum_bytes = 300 * _MIB  # mkfs.xfs refuses less since 5.19
    make_options = {
        "-i": keyed("maxpct", whole(0, 100)),
        "-d": keyed("agcount", whole(2, 1000000)),
        "-l": keyed("size", Value("is a size like 64m or 1g", _is_log_size)),
    }
    mount_options = {
        # At least a page of this kernel.
        "allocsize": power_of_two(os.sysconf("SC_PAGE_SIZE"), 1 << 30),
        "logbufs": whole(2, 8),
        "logbsize": power_of_two(16 << 10, 256 << 10),
        "largeio": NO_VALUE,
        "swalloc": NO_VALUE,
    }
    # What newer tools turn on by themselves and kernel 4.18 refuses, with the version that can turn
    # it off.
    _NEWER = (
        ((5, 10), "-m", "bigtime=0,inobtcount=0"),
        ((5, 19), "-i", "nrext64=0"),
        ((6, 10), "-i", "exchange=0"),
        ((6, 10), "-n", "parent=0"),
        ((6, 13), "-m", "metadir=0"),
    )
    # Version 5 with nlink, align, logv2, sector, extflg, dirv2, morebits, attr; lazysbcount, attr2,
    # projid32, crc; finobt; ftype, sparse inodes.
    allowed_features = (
        Word("version", 100, ">H", 0xBCB5, {}),
        Word("features2", 200, ">I", 0x2 | 0x8 | 0x80 | 0x100, {}),
        Word("compat", 208, ">I", 0, {}),
        Word("ro_compat", 212, ">I", 0x1, {0x2: "rmapbt", 0x4: "reflink", 0x8: "inobtcount"}),
        Word(
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
        Word("log_incompat", 220, ">I", 0, {0x1: "larp"}),
    )

    def _make_line(self, uuid: str, thick: bool) -> "List[str]":
        line = ["mkfs.xfs", "-q", "-f", "-b", "size=4096", "-s", "size=4096"]
        line += ["-m", "crc=1,finobt=1,rmapbt=0,reflink=0,uuid=" + uuid, "-i", "sparse=1"]
        version = self._version()
        for since, option, value in self._NEWER:
            if version >= since:
                line += [option, value]
        if thick:
            line.append("-K")
        return line

    def _version(self) -> "Tuple[int, ...]":
        words = process.run(["mkfs.xfs", "-V"], VERSION_SECONDS).check().text.split()
        try:
            return tuple(int(number) for number in words[-1].split(".")[:2])
        except (ValueError, IndexError):
            raise Internal(
                "mkfs.xfs -V printed {}, which holds no version; install xfsprogs anew".format(
                    shown(" ".join(words))
                )
            ) from None

    def size_bytes(self, device: int) -> "Optional[int]":
        block = os.pread(device, _SUPERBLOCK_BYTES, 0)
        if len(block) != _SUPERBLOCK_BYTES or not block.startswith(_MAGIC):
            return None
        block_bytes, blocks = struct.unpack_from(">IQ", block, 4)
        return int(block_bytes * blocks)

    def uuid(self, device: int) -> str:
        return uuids.to_text(os.pread(device, 16, _UUID_OFFSET))

    def recover(self, target: "undo.Target") -> bool:
        """An older flexvol let xfs_db set the UUID, and noted that; when that was cut short, the
        kernel may not mount the log. An xfs that the kernel mounts needs nothing. Nothing is
        cleared by force, because a restored image may have data in its log."""
        if not undo.is_left(target.directory):
            return False
        try:
            self._replay(target)
        except Internal as refusal:
            raise Unavailable(
                "the kernel does not mount this copy, which was stopped while it got a UUID of its "
                "own; make the copy again, or put a backup of the image in its place and remove "
                "the file undo beside it: {}".format(refusal)
            ) from None
        undo.forget(target.directory)
        return False

    def set_uuid(self, target: "undo.Target", uuid: str) -> None:
        from node.host.filesystems import xfs_uuid  # late: few volumes are copies

        self._replay(target)
        with open(target.device, "r+b", 0) as device:
            xfs_uuid.change(device.fileno(), uuids.to_bytes(uuid))

    def _replay(self, target: "undo.Target") -> None:
        mounts.replay(Superblock(target.device, self.name, ["nouuid"]))

    def mounted_bytes(self, root: int) -> int:
        geometry = _Geometry(root)
        return geometry.block_bytes * geometry.blocks

    def grow(self, root: int, size_bytes: int) -> None:
        geometry = _Geometry(root)
        wanted = size_bytes // geometry.block_bytes
        if wanted > geometry.blocks:
            request = struct.pack("=QI4x", wanted, geometry.inode_percent)
            fcntl.ioctl(root, _GROW_DATA, request)
