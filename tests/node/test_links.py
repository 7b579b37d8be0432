"""Who can write in a pool cannot lead the driver out of it: links that come and go while callouts
run."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.node.killing import STEPPER
from tests.node.nodes import MIB, Node

ROUNDS = 6
ROUNDS_LIMIT = 60
# Exchanges two names of a directory, each time at once, until it is ended.
EXCHANGER = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
first, second = map(os.fsencode, sys.argv[1:])
while True:
    if libc.renameat2(-100, first, -100, second, 2):
        sys.exit(os.strerror(ctypes.get_errno()))
    time.sleep(0.0007)
"""


def content(directory: Path) -> dict[str, tuple[str, int, int]]:
    return {
        path.name: (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_size,
            path.stat().st_mode,
        )
        for path in directory.iterdir()
    }


def _directory(volume: Path, precious: Path) -> tuple[Path, Path]:
    link = volume.with_name(".link")
    link.symlink_to(f"../{precious.name}")
    return volume, link


def _image(volume: Path, precious: Path) -> tuple[Path, Path]:
    link = volume.with_name(".link")
    link.symlink_to(f"../../{precious.name}/image")
    return volume / "image", link


def _image_by_hard_link(volume: Path, precious: Path) -> tuple[Path, Path]:
    link = volume.with_name(".link")
    link.hardlink_to(precious / "image")
    return volume / "image", link


def _record(volume: Path, precious: Path) -> tuple[Path, Path]:
    link = volume.with_name(".link")
    link.symlink_to(f"../../{precious.name}/volume.json")
    return volume / "volume.json", link


@pytest.mark.newest
@pytest.mark.parametrize(
    "lay",
    [
        pytest.param(_directory, id="a link in the place of the directory"),
        pytest.param(_image, id="a link in the place of the image"),
        pytest.param(_image_by_hard_link, id="a hard link in the place of the image"),
        pytest.param(_record, id="a link in the place of the record"),
    ],
)
def test_what_a_link_leads_to_is_never_touched(node: Node, lay: object) -> None:
    assert callable(lay)
    node.provision(fs="xfs", size=300 * MIB)
    node.mount("web")  # from here on it is not blank
    node.unmount("web")
    volume = node.image().parent
    precious = node.path("/var/lib/flexvol/precious")
    # The copy has all that makes a volume, so that only the way to it is wrong.
    shutil.copytree(volume, precious)
    before = content(precious)
    names = [str(path).replace(str(node.path("/")), "/", 1) for path in lay(volume, precious)]
    exchanger = node.start(sys.executable, "-I", "-S", "-c", EXCHANGER, *names)
    succeeded = 0
    try:
        for number in range(ROUNDS_LIMIT):
            if number >= ROUNDS and (succeeded or lay is _image_by_hard_link):
                break
            for argv in (
                ("mount", node.pod_dir("web"), node.options()),
                (
                    "expandfs",
                    node.options(),
                    "",
                    node.pod_dir("web"),
                    str((300 + number) * MIB),
                    "0",
                ),
                ("list",),
                ("unmount", node.pod_dir("web")),
            ):
                reply = node.run(*argv)
                succeeded += argv[0] == "mount" and reply["status"] == "Success"
                assert "bug" not in reply.get("message", ""), reply
                assert str(precious) not in _backing_files()
            node.run("delete", node.deletion(uid="another claim's"))
        assert exchanger.poll() is None, exchanger.communicate()
    finally:
        exchanger.kill()
        exchanger.communicate(timeout=10)

    assert content(precious) == before
    assert succeeded > 0 or lay is _image_by_hard_link  # which never has one name only
    assert node.mounts() == []


def _backing_files() -> str:
    return subprocess.run(
        ["losetup", "-l", "-n", "-O", "BACK-FILE"], capture_output=True, text=True, check=True
    ).stdout


def test_a_second_name_of_a_file_where_the_record_is_written_aside_costs_that_file_nothing(
    node: Node,
) -> None:
    node.provision()
    precious = node.path("/var/lib/flexvol/precious")
    precious.write_bytes(b"precious" * 10000)
    node.image().with_name(".volume.json.new").hardlink_to(precious)

    node.mount("web")  # which notes in the record that there may be data now

    assert node.record()["blank"] is False
    assert precious.read_bytes() == b"precious" * 10000


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="stepper.py knows the calls of x86-64 only"
)
def test_a_link_laid_where_a_tool_keeps_what_it_overwrites_leads_it_nowhere(
    node: Node, tmp_path: Path
) -> None:
    node.provision()
    (node.mount("web") / "data").write_text("kept")
    node.unmount("web")
    node.until_devices(0)
    # Tools grow the volume later.
    node.fails(
        "Internal",
        "expandfs",
        node.options(),
        "",
        node.pod_dir("web"),
        str(128 * MIB),
        "0",
    )
    precious = node.path("/var/lib/flexvol/precious")
    precious.write_bytes(b"precious" * 10000)
    undo = "/var/lib/flexvol/default/pvc-1/undo"
    lay = f'[ -z "$TOOL" ] || ln -sfn /var/lib/flexvol/precious {undo}'
    line = [
        sys.executable,
        str(STEPPER),
        str(tmp_path / "calls.json"),
        "--between",
        lay,
        "--",
        *node.executable,
    ]

    done = node.enter(*line, "mount", node.pod_dir("web"), node.options())

    assert b"undo is a symbolic link; refused" in done.stdout, done
    tools = [call for call in json.loads((tmp_path / "calls.json").read_text()) if call["tool"]]
    assert len(tools) > 10
    assert precious.read_bytes() == b"precious" * 10000
    node.until_devices(0)
    node.path(undo).unlink()
    assert (node.mount("web") / "data").read_text() == "kept"
