"""The format of a stream: a volume as bytes, for another node or pool.

    flexvol volume stream 1\\n
    {"record": volume.json, "length": bytes of the image, "from": where this stream begins,
     "data": about how many bytes of blocks follow, for the progress alone}\\n
    for each block of the image that is not all zeros:
        position in the image   8 bytes, big-endian
        length of the block     4 bytes, big-endian
        the block
    the end:
        length of the image     8 bytes, in the place of a position
        0                       4 bytes, in the place of a length
        checksum                SHA-256

The end is in the stream, as the reader of an `exec` is never told of the end. The checksum is of
all blocks from the image's first on, each with its position and length, so that a stream that goes
on with one that was cut is checked with all that came before."""

import errno
import os
import struct

from node.drivers.loop import images, records
from node.host import filesystems, loopdev
from shared.protocol import VERSION, InvalidArgument, check_name, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Iterator, List, Optional

    from node.drivers.loop.records import Record

    Done = Callable[[int], None]

_FIRST_LINE = b"flexvol volume stream 1\n"
# The second line is not longer: a record has a few hundred bytes, and its mount options may be
# long.
_HEADER_BYTES = 1 << 16
_BLOCK_HEADER = struct.Struct(">QL")
BLOCK_BYTES = 1 << 16
_ZEROS = bytes(BLOCK_BYTES)
_MOST_BYTES = 1 << 63  # no file of the kernel is as long


def _not_told(more_bytes: int) -> None:
    """For work whose progress nobody watches."""


class Damaged(Exception):
    """The stream has a part that cannot be, or its checksum is wrong."""


class Cut(Exception):
    """The stream ended too early."""


class Header:
    """The beginning of a stream.

    record: of the volume. length: of the volume's image, in bytes. begin: where in the image this
    stream begins. data_bytes: about how many bytes of blocks it has; 0 if nobody knows."""

    def __init__(self, record: "Record", length: int, begin: int, data_bytes: int = 0) -> None:
        self.record = record
        self.length = length
        self.begin = begin
        self.data_bytes = data_bytes


class Block:
    """A part of an image. position: of its first byte in the image."""

    def __init__(self, position: int, content: bytes) -> None:
        self.position = position
        self.content = content

    @property
    def end(self) -> int:
        """The position behind the block."""
        return self.position + len(self.content)

    @property
    def header(self) -> bytes:
        """The bytes in front of the block in a stream."""
        return _BLOCK_HEADER.pack(self.position, len(self.content))


def blocks(image: int, length: int) -> "Iterator[Block]":
    """Reads the blocks of the open image that are not all zeros. Holes of the image are zeros."""
    position = 0
    while position < length:
        try:
            data = os.lseek(image, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # from here on there are only holes
        position = max(position, data // BLOCK_BYTES * BLOCK_BYTES)
        content = os.pread(image, min(BLOCK_BYTES, length - position), position)
        if content != _ZEROS[: len(content)]:
            yield Block(position, content)
        position += BLOCK_BYTES


class _Checksum:
    def __init__(self) -> None:
        import hashlib

        self._sum = hashlib.sha256()

    def add(self, block: Block) -> None:
        self._sum.update(block.header)
        self._sum.update(block.content)

    def digest(self) -> bytes:
        return self._sum.digest()


def checksum(image: int, length: int, done: "Done" = _not_told) -> bytes:
    """Returns the checksum of the open image, which its stream ends with. done: is told how many
    more bytes were read."""
    own = _Checksum()
    for block in blocks(image, length):
        own.add(block)
        done(len(block.content))
    return own.digest()


def write(out: "BinaryIO", image: int, header: Header, done: "Done" = _not_told) -> None:
    """Writes the stream of the open image. done: as `checksum` has it."""
    import json

    fields = {
        "record": header.record.to_json(),
        "length": header.length,
        "from": header.begin,
        "data": header.data_bytes,
    }
    out.write(_FIRST_LINE + json.dumps(fields).encode("ascii") + b"\n")
    own = _Checksum()
    for block in blocks(image, header.length):
        own.add(block)
        if block.position >= header.begin:
            out.write(block.header + block.content)
        done(len(block.content))
    out.write(_BLOCK_HEADER.pack(header.length, 0) + own.digest())


def write_bare(out: "BinaryIO", image: int, length: int, done: "Done" = _not_told) -> None:
    """Writes the bytes of the open image, and nothing else. done: as `checksum` has it."""
    written = 0
    for block in blocks(image, length):
        written += _write_zeros(out, block.position - written)
        written += out.write(block.content)
        done(len(block.content))
    _write_zeros(out, length - written)


def _write_zeros(out: "BinaryIO", count: int) -> int:
    written = 0
    while written < count:
        written += out.write(_ZEROS[: count - written])
    return written


def read_header(source: "BinaryIO") -> Header:
    """Reads the beginning of a stream, which anyone may have written.

    Raises InvalidArgument or Internal if it is no stream of a volume that this node can have, and
    Cut if the stream ends there."""
    if _read(source, len(_FIRST_LINE)) != _FIRST_LINE:
        raise InvalidArgument(
            "this is not a stream that flexvol {} exports; export the volume with the version that "
            "imports it".format(VERSION)
        )
    header = _parsed(source.readline(_HEADER_BYTES))
    name = check_name("volume name", header.record.name)
    _check_mount_options(header.record)
    _check_sizes(header, name)
    if header.record.sector_bytes != loopdev.SECTOR_BYTES:
        raise InvalidArgument(
            "volume {} has sectors of another size than {} bytes; make a volume here and copy "
            "its files".format(name, loopdev.SECTOR_BYTES)
        )
    _check_printable(header.record, name)
    return header


def _parsed(line: bytes) -> Header:
    import json

    try:
        header = json.loads(line.decode("ascii"))
        content = header["record"]
        record = records.check(content, content["name"], "the stream's record")
        data_bytes = header.get("data")  # older versions write none
        if type(data_bytes) is not int or not 0 <= data_bytes < _MOST_BYTES:
            data_bytes = 0
        return Header(record, header["length"], header["from"], data_bytes)
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        is_cut = not line.endswith(b"\n") and len(line) < _HEADER_BYTES
        if is_cut:
            raise Cut from None
        raise InvalidArgument(
            "the stream's header cannot be read: {}".format(type(error).__name__)
        ) from None


def _check_mount_options(record: "Record") -> None:
    """A known option may have any value: a mount leaves out an option that is refused here."""
    kind = filesystems.get(record.fs_type)
    for option in record.mount_options:
        if not kind.knows_mount_option(option):
            kind.check_mount_option(option)


def _check_sizes(header: Header, name: str) -> None:
    size_bytes = header.record.size_bytes
    sizes = [size_bytes, header.length, header.begin]
    are_numbers = all(type(size) is int for size in sizes)
    if not are_numbers or not 0 <= header.begin <= header.length < _MOST_BYTES:
        raise InvalidArgument(
            "the stream of volume {} states impossible sizes (sizeBytes {}, length {}, from {}); "
            "export it again".format(name, *[shown(str(size)) for size in sizes])
        )
    are_whole = header.length % images.MIB == 0 and header.begin % BLOCK_BYTES == 0
    if not are_whole or not 0 < size_bytes <= header.length:
        raise InvalidArgument(
            "the stream of volume {} states sizes that no volume has (sizeBytes {}, length {}, "
            "from {}); export it again".format(name, *sizes)
        )


def _check_printable(record: "Record", name: str) -> None:
    words: "List[Any]" = list(record.content.values())
    words += (record.content["owner"] or {}).values()
    words += record.access_modes
    words += record.mount_options
    for word in words:
        if isinstance(word, str) and not word.isprintable():
            raise InvalidArgument(
                "the record of volume {} holds control characters; export it again".format(name)
            )


def read_block(source: "BinaryIO", length: int, least_position: int) -> "Optional[Block]":
    """Reads the next block of the stream of an image.

    length: of the image. least_position: where the block before this one ended. Returns None at the
    end, behind which is the checksum. Raises Damaged if no such block can be, and Cut if the stream
    ends there."""
    position, size = _BLOCK_HEADER.unpack(_read(source, _BLOCK_HEADER.size))
    if position == length and size == 0:
        return None
    is_whole = position % BLOCK_BYTES == 0 and size == BLOCK_BYTES
    if not is_whole or not least_position <= position < length:
        raise Damaged("no block can be at {} with {} bytes".format(position, size))
    return Block(position, _read(source, size))


def read_checksum(source: "BinaryIO") -> bytes:
    """Reads the checksum at the end of a stream."""
    import hashlib

    return _read(source, hashlib.sha256().digest_size)


def _read(source: "BinaryIO", size: int) -> bytes:
    piece = source.read(size)
    if len(piece) < size:
        raise Cut
    return piece
