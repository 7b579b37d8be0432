"""The driver mydriver as kubelet and the provisioner run it: ./build.sh test drivers/mydriver"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import protocol
from tests import own_drivers
from tests.own_drivers import MIB, OwnNode

HERE = Path(__file__).resolve().parent
# A shell command that gives a node the storage of the driver. If this command or the driver mounts
# a disk, node.judge() below needs more words: docs/sanity.md has --loop-devices and others.
SETUP = "mkdir -p /var/lib/flexvol-mydriver"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[OwnNode]:
    """A node with the driver and with its storage."""
    with own_drivers.own_node(tmp_path, HERE / "mydriver.py", HERE / "deploy") as node:
        node.enter("sh", "-ec", SETUP)
        yield node


def test_a_volume_lives_as_its_claim_does(node: OwnNode) -> None:
    """Every call is made twice, as a call that was cut is made again."""
    options = node.provision()["options"]
    assert node.provision()["options"] == options

    pod = node.mount(**options)
    node.mount(**options)
    assert node.mounts() == 1
    (pod / "file").write_text("kept")
    node.expand(128 * MIB)
    node.expand(128 * MIB)
    node.unmount()
    node.unmount()
    assert node.mounts() == 0
    again = node.mount("again", **options)
    assert (again / "file").read_text() == "kept"
    node.unmount("again")

    node.delete(**options)
    node.delete(**options)
    assert node.volumes() == []
    with pytest.raises(protocol.Failure):
        node.mount(**options)
    assert node.mounts() == 0


def test_a_volume_goes_whoever_owns_its_files(node: OwnNode) -> None:
    """The provisioner's container is root without the rights of root: it lists and deletes what a
    pod of another user has closed to everybody, by the capabilities in the manifest."""
    options = node.provision()["options"]
    pod = node.mount(**options)
    closed = pod / "closed"
    closed.mkdir()
    (closed / "file").write_text("of a user")
    for path in (closed / "file", closed, pod):
        os.chown(path, 1000, 1000)
        path.chmod(0o1700)
    node.unmount()

    assert node.volumes() in (["pvc-1"], [])
    node.delete(**options)

    assert node.volumes() == []


def test_a_pod_that_may_only_read_cannot_write(node: OwnNode) -> None:
    options = node.provision()["options"]

    pod = node.mount(access="ro", **options)

    with pytest.raises(OSError, match="Read-only file system"):
        (pod / "file").write_text("not kept")


def test_a_pod_of_another_namespace_gets_nothing(node: OwnNode) -> None:
    options = node.provision()["options"]

    with pytest.raises(protocol.Failure):
        node.mount(namespace="evil", **options)

    assert node.mounts() == 0


def test_the_scheduler_looks_for_room_only_where_the_driver_lists_pools(node: OwnNode) -> None:
    """With a CSIDriver object, and without pools, no pod would be scheduled."""
    assert node.lists_pools() or not own_drivers.has_csi_driver(HERE / "deploy")


def test_flexvol_sanity_finds_no_fault(node: OwnNode) -> None:
    """docs/sanity/checks.md has what each check is about. Leave checks out while you work by `-k
    "not sanity"`."""
    node.judge("--setup", SETUP)
