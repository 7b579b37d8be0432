"""The commands of docs/backup.md that freeze a volume, while a pod has it mounted."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests import documents
from tests.node.nodes import Node

VOLUME = "pvc-8a6ad8b3-1111-4222-8333-944445555666"
SECONDS = 1  # a write to a file system that is not frozen takes far less


def shell(node: Node, where: Path, *lines: str) -> None:
    done = node.enter("sh", "-ec", "\n".join(lines), cwd=where)
    assert done.returncode == 0, done.stderr.decode()


def test_a_frozen_volume_is_copied_whole_while_its_pod_runs(node: Node, tmp_path: Path) -> None:
    commands = documents.commands_in(documents.chapter("tar on the node"))
    freeze, pack, thaw, unpack = [line.replace("/UID/", "/web/") for line in commands]
    node.provision(VOLUME)
    root = node.mount("web", VOLUME)
    (root / "file").write_text("before")

    shell(node, tmp_path, freeze)
    late = f"echo after > {node.pod_dir('web', VOLUME)}/file"
    writer = node.start("sh", "-c", late, stdout=subprocess.DEVNULL)
    try:
        shell(node, tmp_path, pack)
        time.sleep(SECONDS)
        assert writer.poll() is None
    finally:
        shell(node, tmp_path, thaw)  # nothing can end a writer that waits

    assert writer.wait(10) == 0
    assert (root / "file").read_text() == "after\n"
    node.unmount("web", VOLUME)
    node.until_free(VOLUME)
    shell(node, tmp_path, unpack)
    root = node.mount("web", VOLUME)
    assert (root / "file").read_text() == "before"
    node.unmount("web", VOLUME)
