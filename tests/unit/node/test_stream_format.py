"""A stream brings an image as it is, and is refused if any part of it is missing or changed."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.drivers.loop.by_hand import stream_format
from node.drivers.loop.by_hand.stream_format import BLOCK_BYTES, Cut, Damaged, Header
from node.host import files
from node.host.descriptors import Descriptor
from shared.protocol import Failure, InvalidArgument
from tests.unit.node import own_pool

LENGTH = 1 << 20
# Where the image has data: its first block, two that follow each other, and its last one.
WRITTEN = (0, 5, 6, LENGTH // BLOCK_BYTES - 1)
RECORD = own_pool.RECORD.changed(size_bytes=LENGTH)


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Descriptor]:
    with files.open_path(str(tmp_path / "image"), os.O_RDWR | os.O_CREAT) as opened:
        os.ftruncate(opened, LENGTH)
        for number in WRITTEN:
            os.pwrite(opened, bytes([number + 1]) * 100, number * BLOCK_BYTES)
        yield opened


def stream_of(image: Descriptor, begin: int = 0) -> bytes:
    out = io.BytesIO()
    stream_format.write(out, image, Header(RECORD, LENGTH, begin))
    return out.getvalue()


def read_all(stream: bytes) -> tuple[Header, dict[int, bytes], bytes]:
    """The header, the blocks by their positions, and the checksum of a stream."""
    source = io.BytesIO(stream)
    header = stream_format.read_header(source)
    blocks = {}
    end = header.begin
    while block := stream_format.read_block(source, header.length, end):
        blocks[block.position] = block.content
        end = block.end
    checksum = stream_format.read_checksum(source)
    assert source.read() == b""
    return header, blocks, checksum


def test_a_stream_brings_the_record_and_each_block_that_is_not_all_zeros(image: Descriptor) -> None:
    header, blocks, checksum = read_all(stream_of(image))

    assert header.record == RECORD
    assert (header.length, header.begin) == (LENGTH, 0)
    assert sorted(blocks) == [number * BLOCK_BYTES for number in WRITTEN]
    for position, content in blocks.items():
        assert content == os.pread(image, BLOCK_BYTES, position)
    assert checksum == stream_format.checksum(image, LENGTH)


@pytest.mark.parametrize(
    ("data", "known"),
    [
        pytest.param(5, 5, id="a number"),
        pytest.param(None, 0, id="the stream of an older version"),
        pytest.param("5", 0, id="a text"),
        pytest.param(-5, 0, id="less than nothing"),
        pytest.param(10**400, 0, id="more than a file can have"),
        pytest.param(True, 0, id="a truth value"),
    ],
)
def test_how_much_will_come_is_known_if_the_header_tells(data: object, known: int) -> None:
    line = stream_with()
    if data is not None:
        line = line.replace(b'"length"', b'"data": ' + json.dumps(data).encode() + b', "length"')

    assert stream_format.read_header(io.BytesIO(line)).data_bytes == known


def test_a_stream_tells_how_much_will_come(image: Descriptor) -> None:
    out = io.BytesIO()
    read: list[int] = []

    stream_format.write(out, image, Header(RECORD, LENGTH, 0, 7), read.append)

    header, blocks, _ = read_all(out.getvalue())
    assert header.data_bytes == 7
    assert sum(read) == sum(map(len, blocks.values()))


def test_zeros_that_are_no_hole_are_not_sent(image: Descriptor) -> None:
    before = stream_of(image)

    os.pwrite(image, bytes(BLOCK_BYTES), 3 * BLOCK_BYTES)

    assert stream_of(image) == before


def test_a_stream_that_goes_on_has_the_checksum_of_the_whole_image(image: Descriptor) -> None:
    whole = read_all(stream_of(image))
    rest = read_all(stream_of(image, begin=6 * BLOCK_BYTES))

    assert sorted(rest[1]) == [number * BLOCK_BYTES for number in WRITTEN if number >= 6]
    assert rest[2] == whole[2]


def test_the_bare_image_is_the_image(image: Descriptor) -> None:
    out = io.BytesIO()

    stream_format.write_bare(out, image, LENGTH)

    assert out.getvalue() == os.pread(image, LENGTH, 0)


def test_a_bare_image_may_end_with_a_hole(image: Descriptor) -> None:
    os.ftruncate(image, LENGTH - BLOCK_BYTES)
    os.ftruncate(image, LENGTH)
    out = io.BytesIO()

    stream_format.write_bare(out, image, LENGTH)

    assert out.getvalue() == os.pread(image, LENGTH, 0)


def test_a_stream_is_cut_wherever_it_ends_early(image: Descriptor) -> None:
    stream = stream_of(image)
    ends = [*range(0, len(stream), 997), *range(len(stream) - 60, len(stream))]

    for end in ends:
        with pytest.raises(Cut):
            read_all(stream[:end])


def block_header(position: int, size: int) -> bytes:
    return position.to_bytes(8, "big") + size.to_bytes(4, "big")


@pytest.mark.parametrize(
    ("position", "size"),
    [
        pytest.param(BLOCK_BYTES // 2, BLOCK_BYTES, id="a position between two blocks"),
        pytest.param(BLOCK_BYTES, BLOCK_BYTES - 1, id="a short block"),
        pytest.param(BLOCK_BYTES, 2 * BLOCK_BYTES, id="a long block"),
        pytest.param(BLOCK_BYTES, 0, id="an end before the end of the image"),
        pytest.param(0, BLOCK_BYTES, id="a block that has come already"),
        pytest.param(LENGTH, BLOCK_BYTES, id="a block behind the image"),
        pytest.param((1 << 64) - BLOCK_BYTES, BLOCK_BYTES, id="a block behind every file"),
    ],
)
def test_a_block_that_cannot_be_is_refused(position: int, size: int) -> None:
    source = io.BytesIO(block_header(position, size) + bytes(2 * BLOCK_BYTES))

    with pytest.raises(Damaged):
        stream_format.read_block(source, LENGTH, BLOCK_BYTES)


FIRST_LINE = b"flexvol volume stream 1\n"


def stream_with(
    record: dict[str, Any] | None = None, length: object = LENGTH, begin: object = 0
) -> bytes:
    """The first lines of a stream. record: changed fields of its record."""
    header = {"record": {**RECORD.to_json(), **(record or {})}, "length": length, "from": begin}
    return FIRST_LINE + json.dumps(header).encode() + b"\n"


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        pytest.param(b"x" * 100, "is not a stream", id="other bytes"),
        pytest.param(b"flexvol volume stream 2\n{}\n", "is not a stream", id="a later format"),
        pytest.param(FIRST_LINE + b"{}\n", "header cannot be read", id="no fields"),
        pytest.param(FIRST_LINE + b"[]\n", "header cannot be read", id="a list"),
        pytest.param(
            FIRST_LINE + b"[" * (1 << 16),
            "cannot be read",
            id="a header too deep",
        ),
        pytest.param(
            FIRST_LINE + b" " * (1 << 17),
            "cannot be read",
            id="a header too long",
        ),
        pytest.param(stream_with(length=True), "impossible sizes", id="a length that is no number"),
        pytest.param(stream_with(length=-LENGTH), "impossible sizes", id="a negative length"),
        pytest.param(stream_with(length=1 << 63), "impossible sizes", id="too great a length"),
        pytest.param(
            stream_with(begin=2 * LENGTH), "impossible sizes", id="a beginning behind the end"
        ),
        pytest.param(
            stream_with(length=LENGTH + 512), "that no volume has", id="a length between two MiB"
        ),
        pytest.param(stream_with(begin=512), "that no volume has", id="a beginning within a block"),
        pytest.param(
            stream_with({"sizeBytes": 2 * LENGTH}),
            "that no volume has",
            id="a volume that is larger than its image",
        ),
        pytest.param(stream_with({"sizeBytes": 0}), "that no volume has", id="an empty volume"),
        pytest.param(stream_with({"sectorBytes": 512}), "sectors", id="sectors of another size"),
        pytest.param(
            stream_with({"class": "fast\x1b[2J"}),
            "control characters",
            id="control characters in the record",
        ),
        pytest.param(
            stream_with({"owner": {"namespace": "a\nb", "name": "data", "uid": "1"}}),
            "control characters",
            id="control characters in the owner",
        ),
        pytest.param(stream_with({"fsType": "ntfs"}), "ntfs", id="another file system"),
        pytest.param(
            stream_with({"mountOptions": ["no-such-option"]}),
            "no-such-option",
            id="a mount option that is not known",
        ),
        pytest.param(
            stream_with({"name": "../etc"}), "volume name", id="a name that leads elsewhere"
        ),
    ],
)
def test_first_lines_of_no_volume_are_refused(stream: bytes, message: str) -> None:
    with pytest.raises(Failure) as refused:
        stream_format.read_header(io.BytesIO(stream))

    assert message in str(refused.value)


def test_the_record_of_a_stream_must_be_a_record() -> None:
    with pytest.raises(Failure, match="damaged"):
        stream_format.read_header(io.BytesIO(stream_with({"thick": "yes"})))


def test_an_option_that_only_its_value_makes_impossible_may_come() -> None:
    header = stream_format.read_header(io.BytesIO(stream_with({"mountOptions": ["commit=0x"]})))

    assert header.record.mount_options == ["commit=0x"]


def test_a_refusal_is_the_senders_fault() -> None:
    with pytest.raises(InvalidArgument):
        stream_format.read_header(io.BytesIO(b"x" * 100))
