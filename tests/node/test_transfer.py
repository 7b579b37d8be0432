"""A volume goes from node to node as a stream: only while nobody uses it, only what is in it, all
of it or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node.nodes import MIB, UID, Node

BLOCK = 1 << 16
SIZES = {"ext4": 256 * MIB, "xfs": 320 * MIB, "btrfs": 128 * MIB}
MOVE = ("--move", "m1", "--to", "node-2")


@pytest.fixture
def other(make_node: Callable[..., Node]) -> Node:
    node = make_node("other")
    node.command("pool", "init", "default", "--reserve", "0")
    return node


def filled(node: Node, fs: str = "ext4", size: int = 0, **own: Any) -> str:
    """A volume with 12 MiB that cannot be guessed, in two files; the checksum of these."""
    node.provision(fs=fs, size=size or SIZES[fs], **own)
    pod = node.mount("web")
    for name in ("one", "two"):
        (pod / name).write_bytes(os.urandom(6 * MIB))
    node.unmount("web")
    return checksum(node)


def checksum(node: Node, volume: str = "pvc-1") -> str:
    pod = node.mount("check", volume)
    found = hashlib.sha256(
        b"".join((pod / name).read_bytes() for name in ("one", "two"))
    ).hexdigest()
    node.unmount("check", volume)
    node.until_free(volume)
    return found


def export(node: Node, *words: str, volume: str = "pvc-1") -> bytes:
    done = node.enter(*node.executable, "export", *words, volume)
    assert done.returncode == 0, done.stderr
    return done.stdout


def moved(node: Node) -> bytes:
    """Exported as a move does it, whose input stays open for as long as the mover lives."""
    exporting = node.start(
        *node.executable,
        "export",
        *MOVE,
        "pvc-1",
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert exporting.stdin and exporting.stdout
    with exporting.stdin, exporting.stdout:
        stream: bytes = exporting.stdout.read()
        assert exporting.wait(20) == 0
    return stream


def send(node: Node, stream: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    return node.enter(*node.executable, "import", *words, input=stream)


def refused(node: Node, stream: bytes, *words: str) -> str:
    done = send(node, stream, *words)
    assert (done.returncode, done.stdout) == (1, b""), done
    return done.stderr.decode()


def arrived(node: Node, *words: str) -> int:
    return int(node.command("import", "--arrived", "pvc-1", *words))


def pool_of(node: Node) -> set[str]:
    return {entry.name for entry in node.path("/var/lib/flexvol/default").iterdir()} - {
        "pool.json",
        ".locks",
    }


def header_of(stream: bytes) -> tuple[dict[str, Any], bytes]:
    first, line, rest = stream.split(b"\n", 2)
    assert first == b"flexvol volume stream 1"
    return json.loads(line), rest


def stream_of(header: Any, rest: bytes) -> bytes:
    return b"flexvol volume stream 1\n" + json.dumps(header).encode() + b"\n" + rest


@pytest.mark.short
@pytest.mark.parametrize("fs", SIZES)
def test_a_volume_arrives_on_another_node_with_its_data_and_its_record_and_sparse(
    node: Node, other: Node, fs: str
) -> None:
    sent = filled(node, fs, onDelete="archive", archiveFor="24h", thick="false")

    stream = export(node)
    done = send(other, stream)

    assert done.stdout == b"imported volume pvc-1 into pool default\n", done.stderr
    assert len(stream) < 12 * MIB + 24 * MIB < SIZES[fs]
    assert other.image().stat().st_size == SIZES[fs]
    assert other.image().stat().st_blocks * 512 <= node.image().stat().st_blocks * 512 + MIB
    assert other.record() == {**node.record(), "blank": False}
    assert other.record()["archive"] == {"seconds": 24 * 3600, "since": 0}
    assert checksum(other) == sent == checksum(node)  # the old copy is whole


def test_a_thick_volume_arrives_with_all_its_blocks(node: Node, other: Node) -> None:
    sent = filled(node, thick="true")

    assert send(other, export(node)).returncode == 0

    assert other.image().stat().st_blocks * 512 >= SIZES["ext4"]
    assert checksum(other) == sent


def test_the_bare_image_is_a_plain_file_system_for_any_other_storage(
    node: Node, tmp_path: Path
) -> None:
    filled(node)
    bare = tmp_path / "bare"

    bare.write_bytes(export(node, "--raw"))

    assert bare.read_bytes() == node.image().read_bytes()
    done = node.enter(
        "sh", "-c", f"mount -o loop,ro {bare} /mnt && cat /mnt/one | wc -c && umount /mnt"
    )
    assert done.stdout.split() == [str(6 * MIB).encode()], done


def test_what_is_in_use_is_not_exported_and_what_is_being_exported_is_not_mounted(
    node: Node,
) -> None:
    filled(node)
    node.mount("web")
    done = node.enter(*node.executable, "export", "pvc-1")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"volume pvc-1 is in use" in done.stderr
    node.unmount("web")
    node.until_free()

    # Nobody reads on, so the export waits.
    exporting = node.start(*node.executable, "export", "pvc-1", stderr=subprocess.DEVNULL)
    assert exporting.stdout and exporting.stdout.read(5) == b"flexv"
    assert "is in use" in node.fails("Busy", "mount", node.pod_dir("web"), node.options())
    assert "is in use" in node.fails("Busy", "delete", node.deletion())

    exporting.stdout.close()  # the reader has gone
    assert exporting.wait(20) == 1
    node.mount("web")
    node.unmount("web")


def test_a_stream_that_is_cut_anywhere_leaves_no_volume_and_goes_on_from_what_import_says(
    node: Node, other: Node
) -> None:
    sent = filled(node)
    stream = export(node)
    header, rest = header_of(stream)
    begin = len(stream) - len(rest)

    for cut in (
        0,
        10,
        begin - 5,
        begin,
        begin + 3,
        begin + 7 * BLOCK + 100,
        len(stream) // 2,
        len(stream) - 1,
    ):
        part = stream if not arrived(other) else export(node, "--from", str(arrived(other)))
        before = arrived(other)
        said = refused(
            other,
            part[: max(0, cut - (len(stream) - len(part)))] if before else part[:cut],
        )
        assert "cut" in said
        assert arrived(other) >= before
        assert other.ok("list")["volumes"] == []
        other.fails("NotFound", "mount", other.pod_dir("web"), other.options())
    here = arrived(other)
    assert 0 < here <= header["length"]
    assert f"--from {here} pvc-1" in said

    last = export(node, "--from", str(here))
    assert len(last) < len(stream) // 4
    assert send(other, last).returncode == 0
    assert checksum(other) == sent
    assert pool_of(other) == {"pvc-1"}


def test_a_stream_that_begins_beyond_what_is_here_is_refused(node: Node, other: Node) -> None:
    filled(node)

    assert "what came before is not here" in refused(other, export(node, "--from", str(4 * BLOCK)))
    assert pool_of(other) == set()
    assert refused_export(node, "--from", "17") and refused_export(node, "--from", str(1 << 40))


def refused_export(node: Node, *words: str) -> bytes:
    done = node.enter(*node.executable, "export", *words, "pvc-1")
    assert (done.returncode, done.stdout) == (1, b"")
    return done.stderr


def test_the_whole_stream_again_after_a_cut_is_fine_too(node: Node, other: Node) -> None:
    sent = filled(node)
    stream = export(node)
    refused(other, stream[: len(stream) // 2])

    assert send(other, stream).returncode == 0

    assert checksum(other) == sent


def test_what_changed_between_two_parts_is_noticed_and_nothing_of_it_is_kept(
    node: Node, other: Node
) -> None:
    filled(node)
    refused(other, export(node)[: 9 * MIB])
    (node.mount("web") / "one").write_bytes(os.urandom(6 * MIB))
    node.unmount("web")
    node.until_free()
    assert arrived(other)

    said = refused(other, export(node, "--from", str(arrived(other))))

    assert "its checksum is not the one of the data that came" in said
    assert pool_of(other) == set()
    assert send(other, export(node)).returncode == 0
    assert checksum(other) == checksum(node)


def test_the_importer_killed_in_the_middle_goes_on_and_so_does_the_exporter(
    node: Node, other: Node
) -> None:
    node.provision(size=512 * MIB)
    pod = node.mount("web")
    for name in ("one", "two"):
        (pod / name).write_bytes(os.urandom(80 * MIB))
    node.unmount("web")
    sent = checksum(node)
    stream = export(node)

    importing = other.start(*other.executable, "import", stdin=subprocess.PIPE)
    assert importing.stdin
    importing.stdin.write(stream[: 120 * MIB])
    importing.stdin.flush()
    deadline = time.monotonic() + 60
    # What has arrived is durable: even a power cut does not take it.
    while not (here := arrived(other)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "is being imported just now" in refused(other, stream)
    importing.send_signal(signal.SIGKILL)
    importing.wait(10)
    importing.stdin.close()
    assert importing.stdout
    importing.stdout.close()
    assert other.ok("list")["volumes"] == []

    assert send(other, export(node, "--from", str(here))).returncode == 0
    assert checksum(other) == sent


def test_a_stream_of_which_any_byte_is_wrong_brings_nothing(node: Node, other: Node) -> None:
    filled(node)
    stream = export(node)
    header, rest = header_of(stream)
    data = len(stream) - len(rest) + 12
    place = len(stream) - len(rest)

    for where in (
        0,
        3,
        place,
        place + 5,
        place + 9,
        data,
        data + BLOCK // 2,
        len(stream) - 45,
        len(stream) - 40,
        len(stream) - 32,
        len(stream) - 1,
    ):
        broken = bytearray(stream)
        broken[where] ^= 0x41
        assert refused(other, bytes(broken)).startswith("flexvol import: "), where
        assert pool_of(other) == set(), where
    assert header["record"]["name"] == "pvc-1"


def hostile(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda header: {**header, **changes}


def record(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda header: {**header, "record": {**header["record"], **changes}}


LIES: list[Callable[[dict[str, Any]], Any]] = [
    record(name="../../etc"),
    record(name=".locks"),
    record(name="pool.json/x"),
    record(name="a" * 300),
    record(name=["pvc-1"]),
    record(name="PVC"),
    record(sizeBytes=-1),
    record(sizeBytes=0),
    record(sizeBytes=1 << 40),
    record(sizeBytes=True),
    record(sizeBytes="64"),
    record(fsType="vfat"),
    record(fsType="../x"),
    record(mountOptions=["suid"]),
    record(mountOptions=["loop=/dev/sda"]),
    record(mountOptions=[3]),
    record(owner="me"),
    record(owner={"namespace": "shop"}),
    record(owner={"namespace": "a\x1b[2J", "name": "b", "uid": "c"}),
    record(accessModes=["\n"]),
    record(schema=99),
    record(schema="2"),
    record(sectorBytes=512),
    record(root={"uid": "x", "gid": 0}),
    record(archive={"seconds": "x", "since": 0}),
    record(**{"class": "a\nb"}),
    hostile(length=-1),
    hostile(length=1 << 62),
    hostile(length=1 << 70),
    hostile(length=MIB + 1),
    hostile(length="64"),
    hostile(length=None),
    hostile(**{"from": -BLOCK}),
    hostile(**{"from": 1}),
    hostile(record=None),
    hostile(record=[]),
    lambda header: {},
    lambda header: [header],
]


def test_a_header_that_lies_is_refused_and_leaves_nothing(node: Node, other: Node) -> None:
    node.provision()
    header, rest = header_of(export(node))
    before = other.snapshot()

    for number, lie in enumerate(LIES):
        said = refused(other, stream_of(lie(header), rest))
        assert "Traceback" not in said, number
        assert other.snapshot() == before, number
        assert pool_of(other) == set(), number


def test_a_block_that_lies_is_refused_and_leaves_nothing(node: Node, other: Node) -> None:
    node.provision()
    header, _ = header_of(export(node))

    for where, size in [
        (1, BLOCK),
        (1 << 63, BLOCK),
        (64 * MIB, BLOCK),
        (0, 0),
        (0, 17),
        (0, (1 << 32) - 1),
    ]:
        said = refused(
            other,
            stream_of(header, struct.pack(">QL", where, size) + bytes(4 * BLOCK)),
        )
        assert f"no block can be at {where} with {size} bytes" in said
        assert pool_of(other) == set()


def test_a_volume_that_exists_is_never_overwritten(node: Node, other: Node) -> None:
    filled(node)
    other.provision()
    before = other.image().read_bytes()

    assert "exists already in pool default; nothing is overwritten" in refused(other, export(node))

    assert other.image().read_bytes() == before
    assert other.record()["owner"]["uid"] == UID


def test_what_does_not_fit_is_refused_with_the_numbers_and_its_room_is_taken_from_the_first_byte_on(
    node: Node, other: Node
) -> None:
    filled(node)
    stream = export(node)
    disk = other.path("/var/lib/flexvol/small")
    disk.mkdir()
    assert (
        other.enter(
            "mount", "-t", "tmpfs", "-o", "size=200m", "none", "/var/lib/flexvol/small"
        ).returncode
        == 0
    )
    other.command("pool", "init", "small", "--reserve", "0")
    assert "pool small has no room for 256 MiB more" in refused(other, stream, "--pool", "small")

    refused(other, stream[: len(stream) // 2])

    (default,) = [pool for pool in other.ok("list")["pools"] if pool["name"] == "default"]
    assert default["committedBytes"] == SIZES["ext4"]


def test_what_came_of_a_stream_is_forgotten_when_that_is_said(node: Node, other: Node) -> None:
    filled(node)
    refused(other, export(node)[: 4 * MIB])

    assert "no unfinished stream of volume pvc-1" in other.command("import", "--forget", "pvc-1")

    assert pool_of(other) == set()
    assert "no unfinished stream of volume pvc-1" in other.command("import", "--forget", "pvc-1")


def test_what_came_of_a_stream_is_given_up_after_a_day(
    node: Node, other: Node, for_python: Path
) -> None:
    filled(node)
    refused(other, export(node)[: 4 * MIB])
    (hidden,) = pool_of(other)
    other.ok("list")
    assert pool_of(other) == {hidden}

    with other.clock_ahead(for_python, 1 << 27):
        other.ok("list")
    with other.up_for(23 * 3600):
        other.ok("list")
    assert pool_of(other) == {hidden}

    with other.up_for(25 * 3600):
        other.ok("list")

    assert pool_of(other) == set()
    assert arrived(other) == 0


def test_a_copy_that_is_moved_mounts_for_no_one_until_adopt_takes_it_back(
    node: Node, other: Node
) -> None:
    sent = filled(node, onDelete="archive")

    stream = moved(node)

    said = node.fails("Busy", "mount", node.pod_dir("web"), node.options())
    assert "pvc-1 is being moved to node 'node-2'" in said
    (entry,) = node.ok("list")["volumes"]
    assert (entry["state"], entry["movingTo"], entry["move"]) == ("moving", "node-2", "m1")
    refused(other, stream[: 4 * MIB])
    assert arrived(other, "--move", "m1") > 0
    assert arrived(other, "--move", "m2") == 0  # nothing of another move is gone on with
    assert send(other, stream).returncode == 0
    (entry,) = other.ok("list")["volumes"]
    assert (entry.get("state"), entry["move"]) == (None, "m1")
    assert checksum(other) == sent

    node.ok("adopt", node.deletion())
    assert checksum(node) == sent
    moved(node)
    node.ok("delete", node.deletion())
    assert pool_of(node) == set()  # it is elsewhere, so nothing is archived


def test_a_mover_that_is_killed_does_not_leave_the_volume_locked(node: Node) -> None:
    filled(node)
    exporting = node.start(
        *node.executable,
        "export",
        *MOVE,
        "pvc-1",
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert exporting.stdin and exporting.stdout and exporting.stdout.read(5) == b"flexv"
    assert b"is in use" in refused_export(node)

    exporting.stdin.close()  # the pipe that it writes to is full, and stays open

    assert exporting.wait(20) == 1
    exporting.stdout.close()
    assert moved(node)


def test_a_terminal_gets_no_stream_and_a_wrong_line_is_a_usage_error(node: Node) -> None:
    node.provision()
    line = " ".join([*node.executable, "export", "pvc-1"])
    done = node.enter("script", "-qec", line, "/dev/null")
    assert b"this is a terminal" in done.stdout
    assert node.enter(*node.executable, "export").returncode == 2
    assert b"is not a name" in node.enter(*node.executable, "export", "../x").stderr
    assert (
        b"no volume or snapshot pvc-9 is in the pools"
        in node.enter(*node.executable, "export", "pvc-9").stderr
    )
    assert "import says it has" in node.command("export", "--help")
