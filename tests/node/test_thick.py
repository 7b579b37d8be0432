"""A thick volume has all its blocks, on every file system that a pool may lie on, whatever is done
with it."""

from __future__ import annotations

import subprocess

import pytest

from tests.node.clones import OTHER
from tests.node.nodes import MIB, Node
from tests.node.pools import POOL, pool_on, promise_without_end

POOLS = ("ext4", "xfs", "btrfs", "tmpfs")
FILE_SYSTEMS = ("ext4", "xfs", "btrfs")
SIZES = {"ext4": 400 * MIB, "xfs": 300 * MIB, "btrfs": 256 * MIB}


def make_pool(node: Node, on: str) -> None:
    if on != "tmpfs":
        pool_on(node, on, 3000 * MIB)
        return
    mounted = node.enter("mount", "-t", "tmpfs", "-o", "size=3000m", "none", POOL)
    assert mounted.returncode == 0
    node.command("pool", "init", "default", "--replace", "--reserve", "0")


def check_thick(node: Node, volume: str, when: str) -> None:
    status = node.image(volume).stat()
    assert status.st_blocks * 512 >= status.st_size, (when, volume, status)


@pytest.mark.parametrize("fs", FILE_SYSTEMS)
@pytest.mark.parametrize("on", POOLS, ids="a pool on {}".format)
def test_a_thick_volume_keeps_all_its_blocks_through_its_life(node: Node, on: str, fs: str) -> None:
    make_pool(node, on)
    size = SIZES[fs]
    node.provision(size=size, fs=fs, thick="true")
    check_thick(node, "pvc-1", "made")

    root = node.mount("web")
    (root / "data").write_bytes(b"x" * 20 * MIB)
    subprocess.run(["sync", "-f", root], check=True)
    (root / "data").unlink()
    node.unmount("web")
    check_thick(node, "pvc-1", "mounted and unmounted")

    path = node.pod_dir("web")
    node.mount("web")
    node.run("expandfs", node.options(), "", path, str(size + 200 * MIB), str(size))
    node.unmount("web")
    # A file system that cannot grow while it is mounted grows now.
    node.mount("web")
    node.unmount("web")
    node.until_free()
    assert node.image().stat().st_size == size + 200 * MIB
    check_thick(node, "pvc-1", "grown")

    also = {"sourceVolume": "pvc-1", "kubernetes.io/pvc.uid": OTHER}
    node.ok("provision", node.request("pvc-2", size + 200 * MIB, fs, also, thick="true"))
    check_thick(node, "pvc-2", "copied")
    node.mount("web", "pvc-2")
    node.unmount("web", "pvc-2")
    check_thick(node, "pvc-2", "copied and mounted")

    node.ok("delete", node.deletion("pvc-2", OTHER))
    driver = node.executable[0]
    moved = f"{driver} export pvc-1 > {POOL}/.stream && mv {POOL}/pvc-1 /var/lib/flexvol/.away"
    back = f"{driver} import < {POOL}/.stream && rm -r /var/lib/flexvol/.away"
    done = node.enter("sh", "-ec", f"{moved}\n{back}")
    assert done.returncode == 0, done
    check_thick(node, "pvc-1", "imported")


@pytest.mark.parametrize(
    "on",
    [
        pytest.param("ext4", id="a pool on ext4"),
        pytest.param("tmpfs", id="a pool on tmpfs"),
    ],
)
def test_a_thick_volume_that_cannot_have_its_blocks_is_not_made(node: Node, on: str) -> None:
    """The pool promises more than its disk has."""
    make_pool(node, on)
    promise_without_end(node)

    message = node.fails(
        "ResourceExhausted", "provision", node.request("pvc-1", 4000 * MIB, thick="true")
    )

    assert "No space left on device" in message
    assert list(node.path(POOL).glob("*/image")) + list(node.path(POOL).glob(".*/image")) == []


@pytest.mark.parametrize(
    "on",
    [
        pytest.param("ext4", id="a pool on ext4"),
        pytest.param("tmpfs", id="a pool on tmpfs"),
    ],
)
def test_a_thick_volume_that_cannot_grow_stays_as_it_is(node: Node, on: str) -> None:
    make_pool(node, on)
    promise_without_end(node)
    node.provision(size=64 * MIB, thick="true")
    node.mount("web")

    words = ("", node.pod_dir("web"), str(4000 * MIB), str(64 * MIB))
    node.fails("ResourceExhausted", "expandfs", node.options(), *words)

    assert node.image().stat().st_size == 64 * MIB
    check_thick(node, "pvc-1", "not grown")
    node.unmount("web")
    node.mount("web")
