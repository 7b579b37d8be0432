"""A class with `onDelete: archive` keeps what is deleted, for as long as it says, and gives it
back."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node.contents import pool_of
from tests.node.killing import step
from tests.node.nodes import MIB, UID, Node

HOUR = 3600
ARCHIVE: Any = {"onDelete": "archive", "archiveFor": "720h"}


def used(node: Node, volume: str = "pvc-1", text: str = "kept", **own: Any) -> None:
    """A volume with a file in it, which no pod uses any more."""
    node.provision(volume, **(own or ARCHIVE))
    (node.mount("web", volume) / "file").write_text(text)
    node.unmount("web", volume)
    node.until_free(volume)


def archives(node: Node) -> list[dict[str, Any]]:
    return [entry for entry in node.ok("list")["volumes"] if entry.get("state") == "archived"]


def directory(node: Node, archive: dict[str, Any]) -> Path:
    return node.path(f"/var/lib/flexvol/default/.{archive['name']}")


def read(node: Node, volume: str = "pvc-1") -> str:
    text = (node.mount("again", volume) / "file").read_text()
    node.unmount("again", volume)
    return text


@pytest.mark.short
def test_what_is_deleted_is_listed_with_its_time_and_adopt_brings_it_back_with_an_owner(
    node: Node,
) -> None:
    used(node)

    said = node.ok("delete", node.deletion())["message"]

    assert "already gone" in node.ok("delete", node.deletion())["message"]
    (archive,) = archives(node)
    assert said == f"it is archived as {archive['name']}"
    assert "half done" not in node.enter(*node.executable, "doctor").stdout.decode()
    assert (archive["archiveOf"], archive["owner"]["uid"]) == ("pvc-1", UID)
    kept_seconds = [
        time.mktime(time.strptime(archive[key], "%Y-%m-%dT%H:%M:%SZ"))
        for key in ("archivedAt", "keptUntil")
    ]
    assert kept_seconds[1] - kept_seconds[0] == 720 * 3600
    node.fails("NotFound", "mount", node.pod_dir("web"), node.options())
    node.fails(
        "InvalidArgument",
        "mount",
        node.pod_dir("web"),
        node.options("." + archive["name"]),
    )

    back = node.ok("adopt", node.deletion(uid="new"))["message"]

    assert back == "it is brought back as volume pvc-1"
    assert archives(node) == []
    assert (node.record()["owner"]["uid"], node.record()["blank"]) == ("new", False)
    assert read(node) == "kept"
    node.ok("delete", node.deletion(uid="new"))  # the class's wish came back with it
    assert [one["archiveOf"] for one in archives(node)] == ["pvc-1"]


def test_archives_of_one_name_are_all_kept_and_brought_back_by_their_own(node: Node) -> None:
    for text in ("first", "second"):
        used(node, text=text)
        node.ok("delete", node.deletion())
    names = {one["name"] for one in archives(node)}
    assert len(names) == 2

    assert all(name in node.fails("InvalidArgument", "adopt", node.deletion()) for name in names)
    one, other = names
    node.ok("adopt", node.deletion(one))
    first = read(node)
    assert "volume pvc-1 exists already" in node.fails(
        "InvalidArgument", "adopt", node.deletion(other)
    )
    assert [one["name"] for one in archives(node) if "keptUntil" in one] == [other]
    node.ok("delete", node.deletion())
    node.ok("adopt", node.deletion(other))

    assert {first, read(node)} == {"first", "second"}
    assert len(archives(node)) == 1


def test_an_archive_counts_as_room_until_its_time_is_over_and_then_it_goes(node: Node) -> None:
    used(node)
    before = node.ok("list")["pools"][0]["committedBytes"]
    node.ok("delete", node.deletion())
    (archive,) = archives(node)

    with node.up_for(720 * HOUR - 60):
        assert node.ok("list")["pools"][0]["committedBytes"] == before
        assert len(archives(node)) == 1

    with node.up_for(720 * HOUR + 1):
        assert archives(node) == []
    assert not directory(node, archive).exists()
    assert node.ok("list")["pools"][0]["committedBytes"] == 0


@pytest.mark.parametrize(
    "days",
    [
        pytest.param(31, id="a month ahead"),
        pytest.param(36500, id="a century ahead"),
        pytest.param(-31, id="a month behind"),
        pytest.param(-10000, id="27 years behind"),
    ],
)
def test_a_wall_clock_that_is_wrong_deletes_no_archive(
    node: Node, for_python: Path, days: int
) -> None:
    used(node)
    node.ok("delete", node.deletion())
    used(node, "pvc-2")

    with node.clock_ahead(for_python, days * 24 * HOUR):
        assert len(archives(node)) == 1
        node.ok("delete", node.deletion("pvc-2"))  # archived by the clock that is wrong
        assert len(archives(node)) == 2
    assert len(archives(node)) == 2
    with node.up_for(719 * HOUR):
        assert len(archives(node)) == 2

    with node.up_for(721 * HOUR):
        assert archives(node) == []


def test_an_uptime_file_that_a_container_shows_its_own_way_deletes_no_archive(
    node: Node, tmp_path: Path
) -> None:
    """lxcfs shows a container's age as /proc/uptime, and a pod in that container sees the kernel's:
    one boot with two times."""
    used(node)
    node.ok("delete", node.deletion())
    (tmp_path / "uptime").write_text(f"{10 * 8760 * HOUR}.00 0.00\n")
    mounted = node.enter("mount", "--bind", str(tmp_path / "uptime"), "/proc/uptime")
    assert mounted.returncode == 0, mounted

    assert len(archives(node)) == 1


def test_the_time_in_which_the_node_was_up_adds_up_and_a_new_boot_adds_nothing(
    node: Node,
) -> None:
    used(node)
    node.ok("delete", node.deletion())
    file = node.path("/var/lib/flexvol/default/.locks/clock")

    for boot in range(8):  # each is up for 90 hours from its first look on
        clock = json.loads(file.read_text())
        boots = {f"boot-{index}": seen for index, seen in enumerate(clock["boots"].values())}
        file.write_text(json.dumps({**clock, "boots": boots}))
        with node.up_for(1000 * HOUR):
            assert len(archives(node)) == 1
        with node.up_for(1090 * HOUR):
            assert len(archives(node)) == (1 if boot < 7 else 0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="the file is missing"),
        pytest.param(b"", id="the file is empty"),
        pytest.param(b"{", id="the file is no JSON"),
        pytest.param(b"[]", id="the file holds a list"),
        pytest.param(
            b'{"seconds": 1e400, "boots": {}, "since": {}}', id="the seconds are infinite"
        ),
        pytest.param(
            b'{"seconds": "1", "boots": {}, "since": {}}',
            id="the seconds are a text",
        ),
        pytest.param(
            b'{"seconds": 1, "boots": {"x": [1]}, "since": {}}',
            id="a boot has a list",
        ),
        pytest.param(b'{"seconds": 1, "boots": {}, "since": []}', id="since is a list"),
        pytest.param(b"\xff" * 2000, id="the file is no text"),
    ],
)
def test_a_pool_clock_that_is_lost_or_damaged_begins_anew(
    node: Node, content: bytes | None
) -> None:
    used(node)
    node.ok("delete", node.deletion())
    with node.up_for(700 * HOUR):
        node.ok("list")
    file = node.path("/var/lib/flexvol/default/.locks/clock")

    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)

    with node.up_for(1000 * HOUR):
        assert len(archives(node)) == 1
    with node.up_for(1719 * HOUR):
        assert len(archives(node)) == 1
    with node.up_for(1721 * HOUR):
        assert archives(node) == []


def test_an_archive_of_an_older_flexvol_is_kept_from_when_it_is_first_seen(node: Node) -> None:
    used(node)
    node.ok("delete", node.deletion())
    (archive,) = archives(node)
    node.path("/var/lib/flexvol/default/.locks/clock").unlink()
    file = directory(node, archive) / "volume.json"
    record = json.loads(file.read_text())
    record["archive"]["since"] -= 10 * 8760 * HOUR
    file.write_text(json.dumps(record))

    assert len(archives(node)) == 1
    with node.up_for(719 * HOUR):
        assert len(archives(node)) == 1
    with node.up_for(721 * HOUR):
        assert archives(node) == []


def test_nodes_that_share_a_pool_count_the_same_time_once(
    node: Node, make_node: Callable[..., Node]
) -> None:
    used(node)
    other = make_node("other", pool=node.directory / "var/lib/flexvol")
    boot = other.directory / "boot"
    boot.write_text("another boot\n")
    as_other = ["mount", "--bind", str(boot), "/proc/sys/kernel/random/boot_id"]
    assert other.enter(*as_other).returncode == 0
    node.ok("delete", node.deletion())
    other.ok("list")

    for hours in (200, 400, 600):
        for one in (node, other):
            with one.up_for(hours * HOUR):
                assert len(archives(one)) == 1

    with other.up_for(721 * HOUR):
        assert archives(other) == []


def test_without_a_time_it_is_kept_until_its_owner_deletes_the_archive_by_its_name(
    node: Node,
) -> None:
    used(node, onDelete="archive")
    node.ok("delete", node.deletion())
    (archive,) = archives(node)
    assert "keptUntil" not in archive
    with node.up_for(1 << 30):
        assert len(archives(node)) == 1

    node.fails("InvalidArgument", "delete", node.deletion(archive["name"], uid="other"))
    node.ok("delete", node.deletion(archive["name"]))

    assert archives(node) == []
    assert not directory(node, archive).exists()


def test_a_clock_that_is_behind_does_not_end_its_time_early(node: Node) -> None:
    used(node)
    written = int(node.image().stat().st_mtime)
    future = written + 10_000_000
    # A clock that was right wrote the image, and the clock of now is far behind.
    os.utime(node.image(), (future, future))

    node.ok("delete", node.deletion())

    (archive,) = archives(node)
    record = json.loads((directory(node, archive) / "volume.json").read_text())
    assert record["archive"]["since"] == future


def test_what_was_never_mounted_is_deleted_and_a_volume_in_use_stays(node: Node) -> None:
    node.provision(**ARCHIVE)
    node.ok("delete", node.deletion())
    assert node.snapshot().keys() == {"default/pool.json"}

    node.provision(**ARCHIVE)
    node.mount("web")
    node.fails("Busy", "delete", node.deletion())
    assert node.record()["archive"]["since"] == 0
    assert archives(node) == []
    node.fails("InvalidArgument", "delete", node.deletion(uid="other"))


def test_an_archive_that_somebody_looks_at_stays_also_when_its_time_is_over(node: Node) -> None:
    used(node)
    node.ok("delete", node.deletion())
    (archive,) = archives(node)
    image = directory(node, archive) / "image"
    held = f"/var/lib/flexvol/default/.{archive['name']}/image"
    holder = node.start("flock", held, "sh", "-c", "echo locked; cat", stdin=subprocess.PIPE)
    assert holder.stdin and holder.stdout and holder.stdout.readline() == b"locked\n"

    with node.up_for(721 * HOUR):
        assert len(archives(node)) == 1
    assert image.exists()

    holder.stdin.close()
    holder.wait(10)
    holder.stdout.close()
    with node.up_for(721 * HOUR):
        assert archives(node) == []


@pytest.mark.parametrize(
    ("own", "words"),
    [
        pytest.param(
            {"onDelete": "keep"},
            "onDelete is 'keep'; it may be delete or archive",
            id="onDelete is neither delete nor archive",
        ),
        pytest.param(
            {"archiveFor": "720h"},
            "beside onDelete: archive",
            id="archiveFor stands without onDelete",
        ),
        pytest.param(
            {"onDelete": "archive", "archiveFor": "720"},
            "is '720'; it is a time in hours, like 720h",
            id="archiveFor has no unit",
        ),
        pytest.param(
            {"onDelete": "archive", "archiveFor": "30d"},
            "like 720h",
            id="archiveFor has an unknown unit",
        ),
        pytest.param(
            {"onDelete": "archive", "archiveFor": "h"},
            "whole number",
            id="archiveFor has a unit only",
        ),
        pytest.param(
            {"onDelete": "archive", "archiveFor": "-1h"},
            "whole number",
            id="archiveFor is negative",
        ),
        pytest.param(
            {"onDelete": "archive", "archiveFor": "9999999h"},
            "at most",
            id="archiveFor is too long",
        ),
    ],
)
def test_a_class_that_says_it_wrong_is_refused(node: Node, own: Any, words: str) -> None:
    assert words in node.fails(
        "InvalidArgument", "provision", node.request("pvc-1", 64 * MIB, **own)
    )


def test_a_record_of_an_older_flexvol_is_deleted_as_before(node: Node) -> None:
    used(node, fs="ext4")
    record = node.record()
    del record["archive"], record["move"]
    (node.image().parent / "volume.json").write_text(json.dumps({**record, "schema": 2}))

    node.ok("delete", node.deletion())

    assert archives(node) == []
    assert not node.image().exists()


@pytest.mark.newest
@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="stepper.py knows the calls of x86-64 only"
)
@pytest.mark.parametrize("callout", ["delete", "adopt"])
def test_killed_at_every_call_it_is_archived_or_brought_back_whole(
    node: Node, tmp_path: Path, callout: str
) -> None:
    used(node)
    image = node.image().stat().st_ino

    def prepare() -> list[str]:
        if callout == "adopt":
            node.ok("delete", node.deletion())
        return [callout, node.deletion()]

    def finish() -> None:
        node.ok(callout, node.deletion())
        assert len(archives(node)) == (callout == "delete")
        if callout == "delete":
            node.ok("adopt", node.deletion())
        assert node.image().stat().st_ino == image
        assert pool_of(node) == {"pool.json", ".locks", "pvc-1"}

    points = len(step(node, tmp_path, prepare()))
    finish()
    assert points > 5
    for point in range(1, points + 1):
        step(node, tmp_path, prepare(), point)
        finish()
    assert read(node) == "kept"
