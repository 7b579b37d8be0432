"""The zipapp installs itself so that kubelet sees nothing or all of it, and only if it works on this node."""

from __future__ import annotations

import json

from tests.node.conftest import Node

PLUGINS = "/var/lib/kubelet/plugins-exec"
INSTALLED = PLUGINS + "/flexvol~loop/loop"


def test_install_copies_proves_and_makes_the_default_pool(make_node: object, node: Node) -> None:
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

    assert "already" in node.command("install", PLUGINS)

    after = node.path(INSTALLED).stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def test_an_update_replaces_the_file_in_one_step_and_clears_what_a_crash_left(node: Node) -> None:
    node.command("install", PLUGINS)
    with node.path(INSTALLED).open("ab") as old:
        old.write(b"older")
    node.path(PLUGINS + "/.flexvol~loop.new").mkdir()

    assert "now" in node.command("install", PLUGINS)

    assert not node.path(INSTALLED).read_bytes().endswith(b"older")
    assert [path.name for path in node.path(PLUGINS).iterdir()] == ["flexvol~loop"]


def test_where_it_does_not_work_nothing_is_changed(node: Node) -> None:
    root = "/var/lib/kubelet/empty-root"  # a host without an interpreter
    node.path(root).mkdir()

    done = node.enter(*node.executable, "install", "--host-root", root, "/plugins")

    assert done.returncode == 1
    assert b"nothing was changed" in done.stderr
    assert list(node.path(root + "/plugins").iterdir()) == []
