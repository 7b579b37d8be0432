"""Only what is provably the claim's own and unused is deleted; "already gone" counts only where we
can know."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.node.nodes import UID, Node


@pytest.mark.short
def test_it_is_gone_and_deleting_again_is_a_success(node: Node) -> None:
    node.provision()

    node.ok("delete", node.deletion())

    assert node.snapshot().keys() == {"default/pool.json"}
    assert "already gone" in node.ok("delete", node.deletion())["message"]


def test_while_a_pod_has_it_it_is_busy(node: Node) -> None:
    node.provision()
    pod = node.mount("web")
    (pod / "data").write_text("kept")

    assert "pvc-1 is in use" in node.fails("Busy", "delete", node.deletion())

    assert (pod / "data").read_text() == "kept"


def test_from_a_container_that_does_not_see_the_mount_it_is_busy_too(
    make_node: Callable[..., Node], node: Node
) -> None:
    node.provision()
    node.mount("web")
    container = make_node("container", pool=node.directory / "var/lib/flexvol")
    # The loop devices are not seen either.
    assert container.enter("mount", "-t", "tmpfs", "none", "/dev").returncode == 0
    assert container.enter("mknod", "/dev/null", "c", "1", "3").returncode == 0

    assert "pvc-1 is in use" in container.fails("Busy", "delete", container.deletion())

    node.unmount("web")
    container.ok("delete", container.deletion())
    assert not node.image().exists()


def test_a_pool_whose_disk_is_not_mounted_deletes_nothing(node: Node) -> None:
    node.provision()
    deletion = node.deletion()
    assert node.enter("mount", "-t", "tmpfs", "none", "/var/lib/flexvol/default").returncode == 0

    assert "not mounted" in node.fails("Unavailable", "delete", deletion)
    node.command("pool", "init", "default", "--replace")  # another pool in its place
    assert "was replaced" in node.fails("Unavailable", "delete", deletion)

    assert node.enter("umount", "/var/lib/flexvol/default").returncode == 0
    assert node.image().exists()


def test_another_claims_volume_is_left_alone(node: Node) -> None:
    node.provision()

    assert "left alone" in node.fails("InvalidArgument", "delete", node.deletion(uid="other"))

    assert node.image().exists()


def test_a_directory_with_other_files_in_it_is_left_alone(node: Node) -> None:
    node.provision()
    (node.image().parent / "notes").write_text("precious")

    assert "'notes'" in node.fails("Internal", "delete", node.deletion())

    assert node.image().exists()
    assert (node.image().parent / "notes").read_text() == "precious"


def test_a_directory_without_a_record_is_left_alone(node: Node) -> None:
    node.provision()
    node.image().with_name("volume.json").unlink()

    assert "left alone" in node.fails("Internal", "delete", node.deletion())

    assert node.image().exists()


def test_a_link_out_of_the_pool_is_not_followed(node: Node) -> None:
    node.provision()
    pools = node.path("/var/lib/flexvol")
    node.image().parent.rename(pools / "precious")
    (pools / "default/pvc-1").symlink_to("../precious")

    assert "refused" in node.fails("Internal", "delete", node.deletion())

    assert (pools / "precious/image").exists()


def test_what_was_ever_mounted_is_not_deleted_by_an_undo(node: Node) -> None:
    node.provision("pvc-1")
    node.provision("pvc-2")
    node.mount("web")
    node.unmount("web")
    undo = {"kubernetes.io/onlyIfBlank": "true"}

    assert "may hold data" in node.fails(
        "InvalidArgument", "delete", node.deletion("pvc-1", **undo)
    )
    node.ok("delete", node.deletion("pvc-2", **undo))

    assert node.image("pvc-1").exists()
    assert not node.image("pvc-2").exists()


def test_a_volume_without_its_image_is_named_and_may_be_deleted_by_its_claim_alone(
    node: Node,
) -> None:
    node.provision()
    node.provision("pvc-2")
    image = node.image()
    image.unlink()
    said = (
        "volume pvc-1: its image is missing in /var/lib/flexvol/default/pvc-1; put it back, "
        "or restore it from a backup"
    )

    assert node.fails("Internal", "mount", node.pod_dir("web"), node.options()) == said
    assert [entry.get("error") for entry in node.ok("list")["volumes"]] == [said, None]
    assert said in node.command("status")
    node.fails("InvalidArgument", "delete", node.deletion(uid="other"))
    assert image.parent.is_dir()

    node.ok("delete", node.deletion())

    assert not image.parent.exists()
    assert [entry["name"] for entry in node.ok("list")["volumes"]] == ["pvc-2"]


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param("undo", id="what e2fsck keeps to undo its work"),
        pytest.param("image.bak", id="a copy of the image"),
    ],
)
def test_a_volume_without_its_image_that_holds_anything_else_is_left_alone(
    node: Node, beside: str
) -> None:
    node.provision()
    shutil.move(node.image(), node.image().with_name(beside))

    node.fails("Internal", "delete", node.deletion())

    assert node.image().with_name(beside).stat().st_size > 0
    assert node.record()["name"] == "pvc-1"


def test_what_is_adopted_only_to_be_kept_keeps_the_owner_that_it_got_meanwhile(node: Node) -> None:
    node.provision()
    kept = {"kubernetes.io/onlyIfBlank": "true"}
    node.ok("adopt", node.deletion(**kept))
    assert (node.record()["blank"], node.record()["owner"]["uid"]) == (False, UID)
    node.ok("adopt", node.deletion(uid="another"))

    node.ok("adopt", node.deletion(**kept))

    assert node.record()["owner"]["uid"] == "another"
