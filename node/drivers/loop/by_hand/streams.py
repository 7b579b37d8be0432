"""A volume as a stream, for another node or pool: what of its image is not zero, in blocks, with a
checksum.

    flexvol volume stream 1\\n
    one line of JSON: {"record": volume.json, "length": bytes of the image, "from": where this
    stream begins}
    for each block: where it is and its length, and so many bytes
    as the last "where" the image's length, with no bytes, and the checksum of the whole image

The end is in it, as the reader of an `exec` is never told of one. The checksum is of all blocks
from the image's first on, so that a stream that goes on with one that was cut is checked with all
that came before. What has come is in a hidden directory, .importing-NAME, until it is complete and
proven."""

import errno
import itertools
import os
import struct

from node.drivers.loop import images, node_pools, pools, records, removing, sweeping, volumes
from node.host import files, filesystems, loopdev, undo
from shared.protocol import Busy, Failure, InvalidArgument, Unavailable, check_name, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Dict, Iterator, Optional, Tuple

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.records import Record
    from node.drivers.loop.volumes import Volume

_FIRST_LINE = b"flexvol volume stream 1\n"
_HEADER_BYTES = 1 << 16
_BLOCK_HEADER = struct.Struct(">QL")
_BLOCK_BYTES = 1 << 16
_ZEROS = bytes(_BLOCK_BYTES)
_GIVEN_UP_SECONDS = 24 * 3600
_DURABLE_BYTES = 64 << 20  # no more than this is to be sent again after a crash


class _Damaged(Exception):
    """The stream is not what it should be."""


class _Cut(Exception):
    """It ended too early."""


def send(
    pool_name: "Optional[str]",
    name: str,
    out: "BinaryIO",
    begin: int,
    raw: bool,
    move: "Optional[Dict[str, str]]",
) -> None:
    """Writes the stream of a volume that nobody uses (Busy otherwise), nor can use until the
    stream ends.

    pool_name: as node_pools.pool_with has it. begin: how much has arrived already. raw: the bare
    image instead. move: goes into its record first; see Volume.moving_to."""
    import hashlib
    import json

    check_name("volume name", name)
    pool = node_pools.pool_with(name, pool_name)
    with pool, pool.volume_lock(name):
        found = volumes.get(pool, name)
        with found:
            descriptor = _hold(found, move)
    try:
        length = os.fstat(descriptor).st_size
        if begin % _BLOCK_BYTES or begin > length:
            raise InvalidArgument(
                "no stream of {} begins at {}; import says how much it has".format(name, begin)
            )
        if raw:
            _send_raw(descriptor, length, out)
        else:
            header = {"record": found.record.to_json(), "length": length, "from": begin}
            out.write(_FIRST_LINE + json.dumps(header).encode("ascii") + b"\n")
            checksum = hashlib.sha256()
            for where, block in _blocks(descriptor, length):
                _add(checksum, where, block)
                if where >= begin:
                    out.write(_BLOCK_HEADER.pack(where, len(block)) + block)
            out.write(_BLOCK_HEADER.pack(length, 0) + checksum.digest())
        out.flush()
    finally:
        os.close(descriptor)


def _hold(found: "Volume", move: "Optional[Dict[str, str]]") -> int:
    """Its image, open, with the lock that keeps it from being mounted."""
    if undo.is_left(found.directory):
        words = "volume {}: a tool was stopped while it changed it; its next mount puts that right"
        raise Unavailable(words.format(found.name))
    descriptor = found.open_image()
    try:
        found.lock_image(descriptor)
        images.check(found, descriptor)
        if move is not None:
            moving = records.Move(move["id"], move["to"])
            found.save(move=moving, **found.as_used())
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _send_raw(descriptor: int, length: int, out: "BinaryIO") -> None:
    sent = 0
    for where, block in itertools.chain(_blocks(descriptor, length), [(length, b"")]):
        while sent < where:
            sent += out.write(_ZEROS[: where - sent])
        sent += out.write(block)


def _blocks(descriptor: int, length: int) -> "Iterator[Tuple[int, bytes]]":
    """The blocks of an image that are not all zeros, and where they are, whatever of it is a
    hole."""
    where = 0
    while where < length:
        try:
            where = max(
                where, os.lseek(descriptor, where, os.SEEK_DATA) // _BLOCK_BYTES * _BLOCK_BYTES
            )
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # from here on there are only holes
        block = os.pread(descriptor, min(_BLOCK_BYTES, length - where), where)
        if block != _ZEROS[: len(block)]:
            yield where, block
        where += _BLOCK_BYTES


def _add(checksum: "Any", where: int, block: bytes) -> None:
    checksum.update(_BLOCK_HEADER.pack(where, len(block)))
    checksum.update(block)


def arrived(pool_name: str, name: str, move_id: str) -> int:
    """How much of a volume's stream is here, on disk: where one that goes on with it begins. Raises
    InvalidArgument if
    the volume is here. move_id: of the move it must be of."""
    with node_pools.open_pool(pool_name) as pool, pool.volume_lock(check_name("volume name", name)):
        volumes.check_free(pool, name)
        found = _begun(pool, name)
        if found is None:
            return 0
        with found:
            if found.record.move_id != move_id:
                return 0
            return found.record.imported_bytes or 0


def forget(pool_name: str, name: str) -> None:
    """Gives up what has come of a volume's stream, and its room; Busy if more is coming."""
    with node_pools.open_pool(pool_name) as pool, pool.volume_lock(check_name("volume name", name)):
        if volumes.IMPORTING + name in pool.hidden():
            _forget(pool, volumes.IMPORTING + name)


def _begun(pool: "Pool", name: str) -> "Optional[Volume]":
    """What came of an earlier stream; None if nothing did, or nothing that can be gone on with."""
    try:
        found = volumes.find(pool, volumes.IMPORTING + name)
    except Failure:  # it was killed before it had a record
        return None
    if found is not None and found.record.imported_bytes is None:
        os.close(found.directory)
        return None
    return found


def receive(pool_name: str, source: "BinaryIO") -> str:
    """Reads a stream to its end, publishes its volume, and returns the name. Raises Unavailable if
    the stream is cut, saying how to go on; InvalidArgument if it is not what it should be, and then
    nothing is left of it."""
    try:
        record, length, begin = _header(source)
    except _Cut:
        raise Unavailable(
            "the stream was cut in its first lines; export the volume again"
        ) from None
    with node_pools.open_pool(pool_name) as pool:
        sweeping.sweep(pool)
        name, wrong = record.name, ""
        with pool.volume_lock(name):
            volumes.check_free(pool, name)
            found, descriptor = _open(pool, record, length, begin)
        try:
            with found:
                _fill(found, descriptor, length, source)
                with pool.volume_lock(name):
                    found.save(imported_bytes=None)
                    found.rename(name)
        except _Damaged as damage:
            wrong = str(damage)
        finally:
            os.close(descriptor)
        if wrong:
            with pool.volume_lock(name):
                _forget(pool, found.name)
            raise InvalidArgument(
                "the stream of volume {} is damaged: {}; export it again".format(name, wrong)
            )
        return name


def sweep(pool: "Pool", hidden: str, ages: "Dict[str, float]") -> None:
    """Removes what came of a stream that was cut, if for a day nothing more has come. ages: as
    sweeping.kept_seconds has them."""
    if ages.get(hidden, 0) < _GIVEN_UP_SECONDS:
        return
    try:
        with pool.volume_lock(hidden[len(volumes.IMPORTING) :], seconds=0):
            if sweeping.kept_seconds(pool).get(hidden, 0) >= _GIVEN_UP_SECONDS:
                _forget(pool, hidden)
    except (Busy, FileNotFoundError):
        return


def _forget(pool: "Pool", hidden: str) -> None:
    """Removes what has come; Busy if more is coming. The caller holds the volume's lock."""
    directory = files.open_below(pool.directory, hidden)
    try:
        descriptor = files.open_file(directory, pools.IMAGE, os.O_RDWR | os.O_CREAT)
    finally:
        os.close(directory)
    try:
        if not files.try_lock(descriptor):
            raise Busy(
                "volume {} is being imported just now; wait until that has ended".format(
                    hidden[len(volumes.IMPORTING) :]
                )
            )
        removing.remove(pool, hidden)
    finally:
        os.close(descriptor)


def _header(source: "BinaryIO") -> "Tuple[Record, int, int]":
    """The record that the volume is to have, the length of its image, and where the stream begins.
    All of it may have been written by anyone."""
    import json

    if _read(source, len(_FIRST_LINE)) != _FIRST_LINE:
        raise InvalidArgument(
            "this is not a stream of flexvol export, or one of another version; export the "
            "volume with "
            "the version that imports it"
        )
    line = source.readline(_HEADER_BYTES)
    try:
        header = json.loads(line.decode("ascii"))
        content, length, begin = header["record"], header["length"], header["from"]
        record = records.check(content, content["name"], "the stream's record")
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        if not line.endswith(b"\n") and len(line) < _HEADER_BYTES:
            raise _Cut from None
        raise InvalidArgument(
            "the stream's header cannot be read: {}".format(type(error).__name__)
        ) from None
    name, kind = check_name("volume name", record.name), filesystems.get(record.fs_type)
    for option in record.mount_options:
        if not kind.knows_mount_option(option):
            kind.check_mount_option(option)  # a value that is refused here is left out by mount
    sizes = (record.size_bytes, length, begin)
    if not all(type(size) is int for size in sizes) or not 0 <= begin <= length < 1 << 63:
        raise InvalidArgument(
            "the stream of volume {} states impossible sizes (sizeBytes {}, length {}, from {}); "
            "export it again".format(name, *(shown(str(size)) for size in sizes))
        )
    if length % images.MIB or begin % _BLOCK_BYTES or not 0 < record.size_bytes <= length:
        raise InvalidArgument(
            "the stream of volume {} states sizes that no volume has (sizeBytes {}, length {}, "
            "from {}); "
            "export it again".format(name, *sizes)
        )
    if record.sector_bytes != loopdev.SECTOR_BYTES:
        raise InvalidArgument(
            (
                "volume {} has sectors of another size than {} bytes; make a volume here and copy "
                "its files"
            ).format(name, loopdev.SECTOR_BYTES)
        )
    words = list(content.values()) + list((content["owner"] or {}).values())
    words += record.access_modes + record.mount_options
    if not all(word.isprintable() for word in words if isinstance(word, str)):
        raise InvalidArgument(
            "the record of volume {} holds control characters; export it again".format(name)
        )
    return _as_copy(record), length, begin


def _as_copy(record: "Record") -> "Record":
    """The record of a copy that takes the volume's place: of what the stream's says only what a
    record says."""
    archive = record.archive and records.Archiving(record.archive.seconds, 0)
    move = record.move and records.Move(record.move.id, "")
    return record.without_optional().changed(
        number=record.number or None, blank=False, archive=archive, move=move
    )


def _read(source: "BinaryIO", size: int) -> bytes:
    piece = source.read(size)
    if len(piece) < size:
        raise _Cut
    return piece


def _open(pool: "Pool", record: "Record", length: int, begin: int) -> "Tuple[Volume, int]":
    """The hidden directory to fill, which says how much of it has come, and its image, locked. The
    caller holds the volume's lock."""
    hidden = volumes.IMPORTING + record.name
    found = _begun(pool, record.name)
    if found is not None:
        here = found.record.imported_bytes or 0
        is_same = found.record.changed(imported_bytes=None) == record
        if is_same and 0 < begin <= here:
            return found, _lock(found, length, begin)
        os.close(found.directory)
    if begin:
        words = "the stream begins at {}, and what came before is not here; export all of it"
        raise InvalidArgument(words.format(begin))
    if hidden in pool.hidden():
        _forget(pool, hidden)
    with pool.lock():
        pool.check_open()
        pool.check_room(length, length)
        os.mkdir(hidden, 0o700, dir_fd=pool.directory)
        directory = files.open_below(pool.directory, hidden)
        images.reserve(directory, length)
    found = volumes.Volume(pool, hidden, directory, record)
    return found, _lock(found, length, 0)


def _lock(found: "Volume", length: int, begin: int) -> int:
    """What came after `begin` is forgotten."""
    descriptor = found.open_image()
    try:
        if not files.try_lock(descriptor):
            raise Busy(
                "volume {} is being imported just now; wait until that has ended".format(
                    found.record.name
                )
            )
        found.save(imported_bytes=begin)
        with found.pool.lock():
            os.ftruncate(descriptor, begin)
            os.ftruncate(descriptor, length)
        if found.thick and begin < length:
            images.allocate(descriptor, begin, length)
    except BaseException:
        os.close(descriptor)
        os.close(found.directory)
        raise
    return descriptor


def _fill(found: "Volume", descriptor: int, length: int, source: "BinaryIO") -> None:
    """Writes what comes into the image, on disk when it returns, and checks that it is all
    there."""
    import hashlib

    here, unsaved = found.record.imported_bytes or 0, 0
    try:
        while True:
            where, size = _BLOCK_HEADER.unpack(_read(source, _BLOCK_HEADER.size))
            if (where, size) == (length, 0):
                checksum = _read(source, hashlib.sha256().digest_size)
                break
            if where < here or where % _BLOCK_BYTES or size != _BLOCK_BYTES or where >= length:
                raise _Damaged("no block can be at {} with {} bytes".format(where, size))
            _write(descriptor, where, _read(source, size))
            here, unsaved = where + size, unsaved + size
            if unsaved >= _DURABLE_BYTES:
                os.fsync(descriptor)
                found.save(imported_bytes=here)
                unsaved = 0
    except _Cut:
        os.fsync(descriptor)
        found.save(imported_bytes=here)
        words = (
            "the stream of volume {0} was cut; {1} of {2} bytes are here; go on with: "
            "loop export --pool POOL --from {1} {0} (POOL: where the volume is), into: loop import "
            "--pool {3}"
        )
        raise Unavailable(words.format(found.record.name, here, length, found.pool.name)) from None
    os.fsync(descriptor)
    if found.thick:
        images.fill_holes(descriptor)
    own = hashlib.sha256()
    for where, block in _blocks(descriptor, length):
        _add(own, where, block)
    if own.digest() != checksum:
        raise _Damaged("its checksum is not that of what it brought")


def _write(descriptor: int, where: int, block: bytes) -> None:
    while block:
        written = os.pwrite(descriptor, block, where)
        where, block = where + written, block[written:]
