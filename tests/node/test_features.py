"""A new file system has the features that are allowed and no others, whatever the node's mkfs makes
by itself: a feature that nobody foresaw is a failed provision, not a volume that another node
refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.node.nodes import MIB, Node

SIZES = {"ext4": 64 * MIB, "xfs": 300 * MIB, "btrfs": 128 * MIB}
BTRFS = 65536

# A tool of another version, as the driver meets it: it makes what the real one makes, and then
# what CODE says. target: the image. argv: its words.
TOOL = """#!{python}
import os, subprocess, sys
argv = sys.argv[1:]
def real():
    done = subprocess.run([{real!r}, *argv], close_fds=False)
    if done.returncode:
        sys.exit(done.returncode)
def turn_on(offset, mask, length, order):
    with open(argv[-1], "r+b") as image:
        image.seek(offset)
        word = int.from_bytes(image.read(length), order) | mask
        image.seek(offset)
        image.write(word.to_bytes(length, order))
{code}
"""
TURN_ON = "real()\nif argv[0] not in ('-V', '-O'): turn_on({}, {}, {}, {!r})"


def with_tool(node: Node, directory: Path, fs: str, code: str, request: str) -> dict[str, str]:
    """The reply of provision on a node whose mkfs for `fs` is the one that `code` describes."""
    real = shutil.which("mkfs." + fs)
    tool = directory / ("mkfs." + fs)
    tool.write_text(TOOL.format(python=sys.executable, real=real, code=code))
    tool.chmod(0o755)
    path = f"{directory}:{os.environ['PATH']}"
    done = node.enter(
        *node.executable,
        "provision",
        request,
        env={**os.environ, "PATH": path},
    )
    reply: dict[str, str] = json.loads(done.stdout)
    return reply


@dataclasses.dataclass(frozen=True)
class Feature:
    """A feature, and the field of the superblock that shows it.

    offset: of the field, from the image's begin. mask: the feature's bit. length: of the field in
    bytes. order: of these bytes."""

    fs: str
    name: str
    offset: int
    mask: int
    length: int
    order: str

    def __str__(self) -> str:
        return f"{self.fs} with {self.name}"


UNKNOWN = [
    Feature("ext4", "orphan_file", 1024 + 0x5C, 0x1000, 4, "little"),
    Feature("ext4", "compat 0x80000000", 1024 + 0x5C, 1 << 31, 4, "little"),
    Feature("ext4", "metadata_csum_seed", 1024 + 0x60, 0x2000, 4, "little"),
    Feature("ext4", "incompat 0x40000", 1024 + 0x60, 1 << 18, 4, "little"),
    Feature("ext4", "ro_compat 0x20000", 1024 + 0x64, 1 << 17, 4, "little"),
    Feature("xfs", "reflink", 212, 0x4, 4, "big"),
    Feature("xfs", "ro_compat 0x400", 212, 1 << 10, 4, "big"),
    Feature("xfs", "parent", 216, 0x80, 4, "big"),
    Feature("xfs", "exchange", 216, 0x40, 4, "big"),
    Feature("xfs", "nrext64", 216, 0x20, 4, "big"),
    Feature("xfs", "metadir", 216, 0x100, 4, "big"),
    Feature("xfs", "incompat 0x80000000", 216, 1 << 31, 4, "big"),
    Feature("xfs", "log_incompat 0x2", 220, 2, 4, "big"),
    Feature("xfs", "features2 0x800", 200, 0x800, 4, "big"),
    Feature("btrfs", "block-group-tree", BTRFS + 0xB4, 0x8, 8, "little"),
    Feature("btrfs", "compat_ro 0x10", BTRFS + 0xB4, 0x10, 8, "little"),
    Feature("btrfs", "raid-stripe-tree", BTRFS + 0xBC, 0x4000, 8, "little"),
    Feature("btrfs", "incompat 0x8000000000000000", BTRFS + 0xBC, 1 << 63, 8, "little"),
    Feature("btrfs", "checksum type 0x1", BTRFS + 0xC4, 1, 2, "little"),
]


@pytest.mark.parametrize("feature", UNKNOWN, ids=str)
def test_a_feature_that_is_not_allowed_fails_provision_and_leaves_nothing(
    node: Node, tmp_path: Path, feature: Feature
) -> None:
    before = node.snapshot()
    code = TURN_ON.format(feature.offset, feature.mask, feature.length, feature.order)

    request = node.request("pvc-1", SIZES[feature.fs], feature.fs)
    reply = with_tool(node, tmp_path, feature.fs, code, request)

    assert (reply["status"], reply["reason"]) == ("Failure", "Internal"), reply
    assert f"with {feature.name}," in reply["message"]
    assert "mkfs." + feature.fs in reply["message"]
    assert "1.47" in reply["message"] or "v6." in reply["message"] or "6." in reply["message"]
    assert node.snapshot() == before


@pytest.mark.parametrize(
    ("fs", "old", "new", "feature"),
    [
        pytest.param(
            "ext4",
            "metadata_csum",
            "metadata_csum,orphan_file",
            "orphan_file",
            id="ext4 with orphan_file",
        ),
        pytest.param("ext4", "metadata_csum", "metadata_csum,quota", "quota", id="ext4 with quota"),
        pytest.param("xfs", "reflink=0", "reflink=1", "reflink", id="xfs with reflink"),
        pytest.param("xfs", "bigtime=0", "bigtime=1", "bigtime", id="xfs with bigtime"),
        pytest.param("btrfs", "-s", "-O\nraid1c34\n-s", "raid1c34", id="btrfs with raid1c34"),
    ],
)
def test_a_feature_that_the_real_tool_makes_is_found(
    node: Node, tmp_path: Path, fs: str, old: str, new: str, feature: str
) -> None:
    code = f"argv = '\\n'.join(argv).replace({old!r}, {new!r}).split('\\n')\nreal()"
    request = node.request("pvc-1", SIZES[fs], fs)

    reply = with_tool(node, tmp_path, fs, code, request)

    assert reply["status"] == "Failure", reply
    assert f"with {feature}," in reply["message"]


@pytest.mark.parametrize(
    "thick", [pytest.param("true", id="thick"), pytest.param("false", id="thin")]
)
@pytest.mark.parametrize("fs", sorted(SIZES))
def test_the_tools_of_this_machine_make_what_is_allowed(node: Node, fs: str, thick: str) -> None:
    node.provision(size=SIZES[fs], fs=fs, thick=thick)
    (node.mount("web") / "file").write_text("data")


NEWER_BTRFS = """
if argv[:2] == ["-O", "list-all"]:
    real()
    print("block-group-tree    - block group tree (compat=6.1, default=6.19)")
    print("squota              - squota support (simple accounting qgroups) (compat=6.7)")
    print("thing-of-tomorrow   - it is on by default (compat=7.9, default=8.0)")
elif argv == ["-V"]:
    real()
else:
    off = argv[argv.index("-O") + 1].split(",")
    assert off == ["^block-group-tree", "^thing-of-tomorrow"], argv
    del argv[argv.index("-O") : argv.index("-O") + 2]
    real()
"""


def test_what_a_newer_btrfs_makes_by_itself_is_turned_off(node: Node, tmp_path: Path) -> None:
    request = node.request("pvc-1", SIZES["btrfs"], "btrfs")

    reply = with_tool(node, tmp_path, "btrfs", NEWER_BTRFS, request)

    assert reply["status"] == "Success", reply
    node.mount("web")


NEWER_XFS = """
version = "mkfs.xfs version 6.13.0"
if argv == ["-V"]:
    print(version)
else:
    for option, value in (("-i", "exchange=0"), ("-n", "parent=0"), ("-m", "metadir=0")):
        at = argv.index(value)
        assert argv[at - 1] == option, argv
        del argv[at - 1 : at + 1]
    real()
"""


def test_what_a_newer_xfs_makes_by_itself_is_turned_off(node: Node, tmp_path: Path) -> None:
    request = node.request("pvc-1", SIZES["xfs"], "xfs")

    reply = with_tool(node, tmp_path, "xfs", NEWER_XFS, request)

    assert reply["status"] == "Success", reply
    node.mount("web")
