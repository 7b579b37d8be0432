"""Nothing is taken away from a node that still needs it: uninstall refuses while there are volumes,
and names them."""

from __future__ import annotations

import subprocess

import pytest

from tests.node.nodes import Node

PLUGINS = "/var/lib/kubelet/plugins-exec"
INSTALLED = PLUGINS + "/flexvol~loop/loop"


@pytest.fixture
def installed(node: Node) -> Node:
    node.command("install", PLUGINS)
    return node


def uninstall(node: Node) -> subprocess.CompletedProcess[bytes]:
    """By the installed file itself, as a person does it."""
    return node.enter(INSTALLED, "uninstall", PLUGINS)


@pytest.mark.short
def test_an_empty_node_loses_the_driver_and_keeps_its_pools(installed: Node) -> None:
    done = uninstall(installed)

    assert (done.returncode, done.stderr) == (0, b"")
    assert f"removed {INSTALLED}; the pools stay".encode() in done.stdout
    assert list(installed.path(PLUGINS).iterdir()) == []
    assert installed.path("/var/lib/flexvol/default/pool.json").exists()
    assert f"there is no {INSTALLED}" in installed.command("uninstall", PLUGINS)


def test_while_there_is_a_volume_it_is_named_and_nothing_changes(installed: Node) -> None:
    installed.provision()

    done = uninstall(installed)

    assert done.returncode == 1
    assert b"nothing was changed" in done.stderr
    assert b"pvc-1 in pool default of claim shop/data" in done.stderr
    assert installed.path(INSTALLED).exists()
    installed.ok("delete", installed.deletion())
    assert uninstall(installed).returncode == 0


def test_a_mounted_volume_needs_its_driver_also_if_its_record_is_lost(installed: Node) -> None:
    installed.provision()
    installed.mount("web")
    installed.path("/var/lib/flexvol/default").rename(installed.path("/var/lib/flexvol/.aside"))

    done = uninstall(installed)

    assert done.returncode == 1
    assert installed.pod_dir("web").encode() in done.stderr
    assert installed.path(INSTALLED).exists()
    installed.unmount("web")


def test_a_pool_whose_disk_is_away_may_hold_volumes(installed: Node) -> None:
    installed.path("/etc/flexvol/config.json").write_text(
        '{"pools": {"fast": "/var/lib/flexvol/disk2"}}'
    )

    done = uninstall(installed)

    assert done.returncode == 1
    assert b"pool fast is not mounted" in done.stderr
    assert installed.path(INSTALLED).exists()


def test_what_somebody_put_beside_the_driver_is_left(installed: Node) -> None:
    beside = installed.path(PLUGINS + "/flexvol~loop/notes")
    beside.write_text("mine")

    done = uninstall(installed)

    assert done.returncode == 0
    assert b"left beside it notes" in done.stdout
    assert [path.name for path in beside.parent.iterdir()] == ["notes"]
