"""The zipapp installs itself so that kubelet sees nothing or all of it, and only if it works on
this node."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node.nodes import Node

PLUGINS = "/var/lib/kubelet/plugins-exec"
INSTALLED = PLUGINS + "/flexvol~loop/loop"


@pytest.fixture(scope="session")
def executable(for_python: Path) -> list[str]:
    """What installs is the built file."""
    return [str(for_python)]


@pytest.mark.short
def test_install_copies_proves_and_makes_the_default_pool(node: Node) -> None:
    said = node.command("install", PLUGINS)

    assert INSTALLED in said
    assert "requiresFSResize" in said
    assert [path.name for path in node.path(PLUGINS).iterdir()] == ["flexvol~loop"]
    assert [path.name for path in node.path(PLUGINS + "/flexvol~loop").iterdir()] == ["loop"]
    reply = json.loads(node.enter(INSTALLED, "init").stdout)
    assert reply["capabilities"]["attach"] is False


def test_installing_again_touches_nothing(node: Node) -> None:
    node.command("install", PLUGINS)
    before = node.path(INSTALLED).stat()

    assert "unchanged" in node.command("install", PLUGINS)

    after = node.path(INSTALLED).stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def test_an_update_replaces_the_file_in_one_step_and_clears_what_a_crash_left(node: Node) -> None:
    node.command("install", PLUGINS)
    installed = node.path(INSTALLED)
    installed.write_bytes(
        installed.read_bytes().replace(b"#!/bin/sh\n", b"#!/bin/sh\n# older\n", 1)
    )
    node.path(PLUGINS + "/.flexvol~loop.new").mkdir()

    assert "installed" in node.command("install", PLUGINS)

    assert not installed.read_bytes().startswith(b"#!/bin/sh\n# older\n")
    assert [path.name for path in node.path(PLUGINS).iterdir()] == ["flexvol~loop"]


@pytest.mark.short
def test_the_installed_file_holds_bytecode_of_the_nodes_python_and_every_source(node: Node) -> None:
    node.command("install", PLUGINS)

    with (
        zipfile.ZipFile(node.path(INSTALLED)) as installed,
        zipfile.ZipFile(node.executable[-1]) as built,
    ):
        sources = {name: built.read(name) for name in built.namelist()}
        assert {
            name: installed.read(name) for name in installed.namelist() if name in sources
        } == sources
        assert {name + "c" for name in sources if name.endswith(".py")} == set(
            installed.namelist()
        ) - set(sources)
    loaded = node.enter(INSTALLED, "provision", "{").stdout + node.enter(INSTALLED, "list").stdout
    assert loaded.count(b'"status"') == 2


def test_a_damaged_file_is_replaced(node: Node) -> None:
    node.command("install", PLUGINS)
    installed = node.path(INSTALLED)
    content = bytearray(installed.read_bytes())
    content[len(content) // 2] ^= 0xFF
    installed.write_bytes(content)

    assert "installed" in node.command("install", PLUGINS)

    assert installed.read_bytes() != bytes(content)


def test_where_it_does_not_work_nothing_is_changed(node: Node) -> None:
    root = "/var/lib/kubelet/empty-root"  # a host without an interpreter
    node.path(root).mkdir()

    done = node.enter(*node.executable, "install", "--host-root", root, "/plugins")

    assert done.returncode == 1
    assert b"nothing was changed" in done.stderr
    assert list(node.path(root + "/plugins").iterdir()) == []


def test_a_default_pool_whose_disk_is_away_is_not_made_anew(make_node: Callable[..., Node]) -> None:
    node = make_node()
    assert "made pool default" in node.command("install", PLUGINS)
    identity = node.pool_id()
    node.path("/var/lib/flexvol/default").rename(node.path("/var/lib/flexvol/disk-that-is-away"))

    assert "not made anew" in node.command("install", PLUGINS)

    assert not node.path("/var/lib/flexvol/default").exists()
    node.path("/var/lib/flexvol/disk-that-is-away").rename(node.path("/var/lib/flexvol/default"))
    assert "found pool default" in node.command("install", PLUGINS)
    assert node.pool_id() == identity
