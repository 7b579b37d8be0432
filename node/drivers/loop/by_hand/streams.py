"""Export and import: a volume leaves this node as a stream, and comes to it as one.

While a stream comes its volume is in a hidden directory, .importing-NAME, until the volume is
complete and proven. stream_format.py has the format."""

import os

from node.drivers.loop import images, node_pools, pools, records, removing, sweeping, volumes
from node.drivers.loop.by_hand import stream_format
from node.drivers.loop.by_hand.stream_format import BLOCK_BYTES, Cut, Damaged, Header
from node.host import copying, files, undo
from shared.progress import Progress
from shared.protocol import Busy, Failure, InvalidArgument, Unavailable, check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Dict, Optional

    from node.drivers.loop.pools import Pool
    from node.drivers.loop.records import Record
    from node.drivers.loop.volumes import Volume
    from node.host.descriptors import Descriptor

# The part of a stream that has come is removed when nothing more has come for so long.
_GIVEN_UP_SECONDS = 24 * 3600
_DURABLE_BYTES = 64 << 20  # no more than this is to be sent again after a crash


def send(
    pool_name: "Optional[str]",
    name: str,
    out: "BinaryIO",
    begin: int,
    raw: bool,
    move: "Optional[Dict[str, str]]",
) -> None:
    """Writes the stream of a volume that nobody uses, nor can use until the stream ends.

    pool_name: as node_pools.pool_with has it. begin: how much has arrived already. raw: the bare
    image instead. move: {"id": ..., "to": ...}, which goes into the volume's record first; see
    Record.moving_to. Raises Busy if the volume is in use."""
    check_name("volume name", name)
    pool = node_pools.pool_with(name, pool_name)
    with pool, pool.volume_lock(name), volumes.get(pool, name) as volume:
        image = _hold(volume, move)
    with image:
        length = os.fstat(image).st_size
        if begin % BLOCK_BYTES or begin > length:
            raise InvalidArgument(
                "no stream of volume {0} begins at {1}; see how much has come, on the other node: "
                "loop import --pool POOL --arrived {0}".format(name, begin)
            )
        # The checksum is of all blocks, so those that have arrived already are read too.
        total_bytes = copying.data_bytes(image, 0, length)
        with _progress(name, total_bytes, is_moving=move is not None) as progress:
            if raw:
                stream_format.write_bare(out, image, length, progress.add)
            else:
                more_bytes = copying.data_bytes(image, begin, length)
                header = Header(volume.record, length, begin, more_bytes)
                stream_format.write(out, image, header, progress.add)
            out.flush()


def _progress(name: str, total_bytes: int, is_moving: bool) -> Progress:
    """is_moving: the stream is one of kubectl flexvol move, which shows the progress itself, and
    which takes what comes on stderr for an error."""
    return Progress(name, total_bytes, silent=is_moving)


def _hold(volume: "Volume", move: "Optional[Dict[str, str]]") -> "Descriptor":
    """The volume's image, open, with the lock that keeps the volume from being mounted."""
    if undo.is_left(volume.directory):
        raise Unavailable(
            "volume {}: a tool was stopped while it changed it; its next mount puts that "
            "right".format(volume.name)
        )
    with volume.open_image() as image:
        volume.lock_image(image)
        images.check(volume, image)
        if move is not None:
            moving = records.Move(move["id"], move["to"])
            volume.save(move=moving, **volume.as_used())
        return image.kept_open()


def arrived(pool_name: str, name: str, move_id: str) -> int:
    """Returns how many bytes of a volume's image are here, on disk: where a stream that goes on
    begins. move_id: of the move that the stream must be of. Raises InvalidArgument if the volume is
    here."""
    check_name("volume name", name)
    with node_pools.open_pool(pool_name) as pool, pool.volume_lock(name):
        volumes.check_free(pool, name)
        volume = _begun(pool, name)
        if volume is None:
            return 0
        with volume:
            if volume.record.move_id != move_id:
                return 0
            return volume.record.imported_bytes or 0


def forget(pool_name: str, name: str) -> None:
    """Removes the part of a volume's stream that has come, and gives its room back. Raises Busy if
    more is coming."""
    check_name("volume name", name)
    hidden = volumes.IMPORTING + name
    with node_pools.open_pool(pool_name) as pool, pool.volume_lock(name):
        if hidden in pool.hidden():
            _forget(pool, hidden)


def sweep(pool: "Pool", hidden: str, ages: "Dict[str, float]") -> None:
    """Removes the hidden directory of a stream that was cut, if nothing more has come for a day, or
    nothing at all. ages: as sweeping.kept_seconds has them."""
    if _may_go_on(hidden, ages):
        return
    try:
        with pool.volume_lock(_volume_of(hidden), seconds=0):
            if not _may_go_on(hidden, sweeping.kept_seconds(pool)):
                _forget(pool, hidden)
    except (Busy, FileNotFoundError, NotADirectoryError):
        return


def _may_go_on(hidden: str, ages: "Dict[str, float]") -> bool:
    """Whether a stream may go on with the hidden directory. A directory without a record has no
    age: its stream was cut before a byte was on disk, and the next stream begins anew."""
    return ages.get(hidden, _GIVEN_UP_SECONDS) < _GIVEN_UP_SECONDS


def _volume_of(hidden: str) -> str:
    """The name of the volume whose stream comes into the hidden directory."""
    return hidden[len(volumes.IMPORTING) :]


def _begun(pool: "Pool", name: str) -> "Optional[Volume]":
    """Opens the hidden directory of an earlier stream; None if there is none, or none that another
    stream can go on with."""
    try:
        volume = volumes.find(pool, volumes.IMPORTING + name)
    except Failure:  # it was killed before it had a record
        return None
    if volume is not None and volume.record.imported_bytes is None:
        volume.close()
        return None
    return volume


def _forget(pool: "Pool", hidden: str) -> None:
    """Removes the hidden directory of a stream. Raises Busy if more of the stream is coming. The
    caller holds the volume's lock."""
    with files.open_below(pool.directory, hidden) as directory:
        image = files.open_file(directory, pools.IMAGE, os.O_RDWR | os.O_CREAT)
    with image:
        if not image.try_lock():
            raise _is_coming(_volume_of(hidden))
        removing.remove(pool, hidden)


def _is_coming(name: str) -> Busy:
    return Busy("volume {} is being imported just now; wait until that has ended".format(name))


def receive(pool_name: str, source: "BinaryIO") -> str:
    """Reads a stream to its end, publishes its volume, and returns the volume's name.

    Raises Unavailable if the stream is cut, saying how to go on. Raises InvalidArgument if the
    stream is damaged, and then nothing is left of it."""
    try:
        header = stream_format.read_header(source)
    except Cut:
        raise Unavailable(
            "the stream was cut in its first lines; export the volume again"
        ) from None
    header = Header(_as_copy(header.record), header.length, header.begin, header.data_bytes)
    name = header.record.name
    with node_pools.open_pool(pool_name) as pool:
        sweeping.sweep(pool)
        with pool.volume_lock(name):
            volumes.check_free(pool, name)
            arrival = _open(pool, header)
        try:
            with arrival:
                arrival.fill(source, header.data_bytes)
                with pool.volume_lock(name):
                    arrival.publish()
        except Damaged as damage:
            with pool.volume_lock(name):
                _forget(pool, volumes.IMPORTING + name)
            raise InvalidArgument(
                "the stream of volume {} is damaged: {}; export it again".format(name, damage)
            ) from None
        return name


def _as_copy(record: "Record") -> "Record":
    """The record of a copy that takes the volume's place: only fields that every record has are
    taken from the record in the stream."""
    archive = record.archive
    if archive is not None:
        archive = records.Archiving(archive.seconds, 0)
    move = record.move
    if move is not None:
        move = records.Move(move.id, "")
    return record.without_optional().changed(
        number=record.number or None, blank=False, archive=archive, move=move
    )


class _Arrival:
    """A volume that is coming in a stream. volume: its hidden directory, whose record has how much
    of the image has come. image: the image, open and locked. length: of the image, in bytes."""

    def __init__(self, volume: "Volume", image: "Descriptor", length: int) -> None:
        self._volume = volume
        self._image = image
        self._length = length
        self._arrived = volume.record.imported_bytes or 0

    def __enter__(self) -> "_Arrival":
        return self

    def __exit__(self, *_: object) -> None:
        self._volume.close()
        self._image.close()

    def fill(self, source: "BinaryIO", total_bytes: int) -> None:
        """Reads the stream to its end and writes its blocks into the image, on disk when it
        returns. total_bytes: as Header has data_bytes. Raises Damaged, and Unavailable if the
        stream is cut."""
        name = self._volume.record.name
        is_moving = bool(self._volume.record.move_id)
        try:
            with _progress(name, total_bytes, is_moving) as progress:
                checksum = self._write_blocks(source, progress)
        except Cut:
            self._save()
            raise self._cut() from None
        os.fsync(self._image)
        if self._volume.thick:
            images.fill_holes(self._image)
        present_bytes = copying.data_bytes(self._image, 0, self._length)
        with _progress("check of " + name, present_bytes, is_moving) as progress:
            own = stream_format.checksum(self._image, self._length, progress.add)
        if own != checksum:
            raise Damaged("its checksum is not the one of the data that came")

    def _write_blocks(self, source: "BinaryIO", progress: Progress) -> bytes:
        """Returns the checksum at the end of the stream."""
        unsaved_bytes = 0
        while True:
            block = stream_format.read_block(source, self._length, self._arrived)
            if block is None:
                return stream_format.read_checksum(source)
            _write(self._image, block.position, block.content)
            self._arrived = block.end
            progress.add(len(block.content))
            unsaved_bytes += len(block.content)
            if unsaved_bytes >= _DURABLE_BYTES:
                self._save()
                unsaved_bytes = 0

    def _save(self) -> None:
        os.fsync(self._image)
        self._volume.save(imported_bytes=self._arrived)

    def _cut(self) -> Unavailable:
        return Unavailable(
            "the stream of volume {0} was cut; {1} of {2} bytes are here; go on with: "
            "loop export --pool POOL --from {1} {0} (POOL: where the volume is), into: loop import "
            "--pool {3}".format(
                self._volume.record.name, self._arrived, self._length, self._volume.pool.name
            )
        )

    def publish(self) -> None:
        """Gives the hidden directory the volume's name. The caller holds the volume's lock."""
        self._volume.save(imported_bytes=None)
        self._volume.rename(self._volume.record.name)


def _open(pool: "Pool", header: Header) -> _Arrival:
    """Opens the hidden directory that the stream goes on to fill, or makes it. The caller holds the
    volume's lock."""
    record = header.record
    volume = _begun(pool, record.name)
    if volume is not None:
        if _goes_on(volume, header):
            return _locked(volume, header.length, header.begin)
        volume.close()
    if header.begin:
        raise InvalidArgument(
            "the stream begins at {}, and what came before is not here; export all of it".format(
                header.begin
            )
        )
    hidden = volumes.IMPORTING + record.name
    if hidden in pool.hidden():
        _forget(pool, hidden)
    with pool.lock():
        pool.check_open()
        pool.check_room(header.length, header.length)
        os.mkdir(hidden, 0o700, dir_fd=pool.directory)
        directory = files.open_below(pool.directory, hidden)
        images.reserve(directory, header.length)
    volume = volumes.Volume(pool, hidden, directory, record)
    return _locked(volume, header.length, 0)


def _goes_on(volume: "Volume", header: Header) -> bool:
    """Whether the stream goes on with the one that came into `volume`."""
    is_same = volume.record.changed(imported_bytes=None) == header.record
    arrived_bytes = volume.record.imported_bytes or 0
    return is_same and 0 < header.begin <= arrived_bytes


def _locked(volume: "Volume", length: int, begin: int) -> _Arrival:
    """Locks the image of a stream's volume, and empties the image behind `begin`."""
    try:
        with volume.open_image() as image:
            if not image.try_lock():
                raise _is_coming(volume.record.name)
            volume.save(imported_bytes=begin)
            with volume.pool.lock():
                os.ftruncate(image, begin)
                os.ftruncate(image, length)
            if volume.thick and begin < length:
                images.allocate(image, begin, length)
            return _Arrival(volume, image.kept_open(), length)
    except BaseException:
        volume.close()
        raise


def _write(image: int, position: int, content: bytes) -> None:
    while content:
        written = os.pwrite(image, content, position)
        position += written
        content = content[written:]
