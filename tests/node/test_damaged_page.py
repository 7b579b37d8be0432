"""What docs/troubleshooting.md says about a volume that is damaged."""

from __future__ import annotations

import subprocess

from tests import documents
from tests.node.nodes import Node

VOLUME = "pvc-8a6ad8b3-1111-4222-8333-944445555666"
# Whatever e2fsck found, it was repaired; see e2fsck(8).
REPAIRED = (0, 1)


def damage(node: Node) -> None:
    """The kernel noted errors, and where the blocks of the file `lost` are is lost."""
    image = node.image(VOLUME)
    for request in ("set_super_value state 2", "set_inode_field lost block[0] 0"):
        line = ["debugfs", "-w", "-R", request, str(image)]
        subprocess.run(line, check=True, capture_output=True)


def test_a_volume_whose_errors_need_a_decision_works_again_by_the_steps_of_the_page(
    node: Node,
) -> None:
    node.provision(VOLUME)
    root = node.mount("web", VOLUME)
    (root / "lost").write_text("lost")
    (root / "kept").write_text("kept")
    node.unmount("web", VOLUME)
    node.until_free(VOLUME)
    damage(node)
    assert "the kernel noted errors in its ext4" in node.command("status")
    mount = ["mount", node.pod_dir("web", VOLUME), node.options(VOLUME)]
    assert "errors that need a decision" in node.fails("Unavailable", *mount)
    for directory in ("/mnt", "/media"):
        assert node.enter("mount", "-t", "tmpfs", "none", directory).returncode == 0
    copy, check, look, leave, put_back = documents.commands_in(
        documents.chapter("A volume is damaged")
    )

    for line in (copy, check, look):
        done = node.enter(*line.split())
        assert done.returncode in (REPAIRED if line == check else (0,)), done.stderr
    assert node.path("/media/kept").read_text() == "kept"
    for line in (leave, put_back):
        assert node.enter(*line.split()).returncode == 0

    root = node.mount("web", VOLUME)
    assert (root / "kept").read_text() == "kept"
    assert "noted errors" not in node.command("status")
    node.unmount("web", VOLUME)
