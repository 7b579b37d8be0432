"""A pool mends what is no data, and what is not flexvol's in it does no harm: no alarm, and a
remedy for all that it hinders."""

from __future__ import annotations

import json

import pytest

from tests.node.nodes import Node

ROOT = "/var/lib/flexvol"
POOL = f"{ROOT}/default"


def pool_of(node: Node, name: str = "default") -> dict[str, object]:
    (entry,) = [pool for pool in node.ok("list")["pools"] if pool["name"] == name]
    assert isinstance(entry, dict)
    return entry


@pytest.mark.short
def test_a_pool_that_was_moved_by_copying_its_files_works(node: Node) -> None:
    """cp -a OLD/* NEW/ leaves the lock files behind, whose names begin with a dot."""
    node.provision()
    (node.mount("web") / "file").write_text("kept")
    node.unmount("web")
    copy = [
        f"mkdir {ROOT}/copied",
        f"cp -a {POOL}/* {ROOT}/copied/",
        f"mv {POOL} /var/lib/kubelet/",
        f"mv {ROOT}/copied {POOL}",
    ]
    assert node.enter("sh", "-c", " && ".join(copy)).returncode == 0

    assert "error" not in pool_of(node)
    assert (node.mount("web") / "file").read_text() == "kept"
    node.unmount("web")
    node.ok("delete", node.deletion())


@pytest.fixture
def read_only(node: Node) -> Node:
    """A node with a volume, on a disk that has become read-only."""
    node.provision()
    assert node.enter("mount", "--bind", POOL, POOL).returncode == 0
    assert node.enter("mount", "-o", "remount,bind,ro", POOL).returncode == 0
    return node


def test_a_read_only_disk_is_an_error_of_its_pool_and_of_none_of_its_volumes(
    read_only: Node,
) -> None:
    listed = read_only.ok("list")

    (pool,) = listed["pools"]
    assert "read-only" in pool["error"] and "remount,rw" in pool["error"]
    assert pool["freeBytes"] == 0
    assert [entry["name"] for entry in listed["volumes"]] == ["pvc-1"]
    assert "error" not in listed["volumes"][0]
    assert "read-only" in read_only.command("status")
    remedy = pool["error"].partition("then: ")[2].replace("remount,rw", "remount,bind,rw")
    assert read_only.enter("sh", "-c", remedy).returncode == 0
    assert "error" not in read_only.ok("list")["pools"][0]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("file", id="a file"),
        pytest.param("directory", id="a directory"),
        pytest.param("link", id="a link"),
        pytest.param("fifo", id="a fifo"),
    ],
)
def test_what_is_not_flexvols_in_a_pool_is_no_damaged_volume(node: Node, kind: str) -> None:
    node.provision()
    make = {
        "file": f"echo precious > {POOL}/other",
        "directory": f"mkdir {POOL}/other && echo precious > {POOL}/other/file",
        "link": f"ln -s pvc-1 {POOL}/other",
        "fifo": f"mkfifo {POOL}/other",
    }
    assert node.enter("sh", "-c", make[kind]).returncode == 0

    listed = node.ok("list")

    assert [entry["name"] for entry in listed["volumes"]] == ["pvc-1"]
    assert "error" not in listed["volumes"][0]
    assert pool_of(node)["strange"] == ["other"]
    assert "other" not in [row["name"] for row in json.loads(status(node))["volumes"]]
    node.ok("delete", node.deletion())
    assert node.enter("test", "-e", f"{POOL}/other", "-o", "-L", f"{POOL}/other").returncode == 0


def status(node: Node) -> str:
    return node.command("status", "--json")


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param("image", id="the image is lost"),
        pytest.param("volume.json", id="the record is lost"),
    ],
)
def test_a_volume_that_lost_a_part_of_itself_is_still_an_error(node: Node, lost: str) -> None:
    node.provision()
    node.path(f"{POOL}/pvc-1/{lost}").unlink()

    (entry,) = node.ok("list")["volumes"]

    assert "is missing" in entry["error"]
    assert "strange" not in pool_of(node)


def test_a_deletion_that_a_strange_file_hinders_has_a_remedy_that_works(node: Node) -> None:
    node.provision()
    (node.image().parent / "notes").write_text("precious")

    message = node.fails("Internal", "delete", node.deletion())

    assert f"move that out of {POOL}/pvc-1" in message
    assert node.image().exists()
    move = ["mv", f"{POOL}/pvc-1/notes", "/var/lib/kubelet/notes"]
    assert node.enter(*move).returncode == 0
    node.ok("delete", node.deletion())
    assert not node.image().exists()
    assert node.path("/var/lib/kubelet/notes").read_text() == "precious"
