"""What docs/pools.md says of disks, where it takes more than the commands of the page in a row."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import documents
from tests.node.nodes import MIB, Node

FSTAB_GENERATOR = "/usr/lib/systemd/system-generators/systemd-fstab-generator"
OLD = "/var/lib/flexvol/old"


def test_systemd_mounts_the_disk_of_the_page_and_starts_the_node_without_it(
    tmp_path: Path,
) -> None:
    """What `systemctl daemon-reload` makes of /etc/fstab is made by this program of systemd."""
    if not os.path.exists(FSTAB_GENERATOR):
        pytest.skip(f"{FSTAB_GENERATOR} is missing: install the package systemd")
    _, line, *_ = shlex.split(documents.command("echo 'LABEL=flexvol-fast"))
    (tmp_path / "fstab").write_text(line + "\n")
    units = [tmp_path / name for name in ("normal", "early", "late")]
    for directory in units:
        directory.mkdir()

    environment = {**os.environ, "SYSTEMD_FSTAB": str(tmp_path / "fstab")}
    subprocess.run([FSTAB_GENERATOR, *units], env=environment, check=True)

    name = "var-lib-flexvol-fast.mount"
    unit = (units[0] / name).read_text().splitlines()
    assert "What=/dev/disk/by-label/flexvol-fast" in unit
    assert (units[0] / "local-fs.target.wants" / name).exists()
    assert not (units[0] / "local-fs.target.requires" / name).exists()


def test_the_pool_of_an_old_root_disk_is_found_under_another_name_with_its_volumes(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    died = make_node("died")
    died.command("pool", "init", "default", "--reserve", "0")
    died.provision("pvc-1")
    (died.mount("web") / "kept").write_text("kept")
    died.unmount("web")
    died.until_free()
    pool_id = died.pool_id()
    root_disk = tmp_path / "root-disk"
    root_disk.touch()
    os.truncate(root_disk, 300 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-d", died.directory, root_disk], check=True)
    node = make_node("node")
    node.command("pool", "init", "default", "--reserve", "0")
    commands = documents.commands_in(documents.chapter("The pool of an old root disk"))
    script = "\n".join(["set -ex", "mount -t tmpfs none /mnt", *commands])
    script = script.replace("/dev/sdd1", shlex.quote(str(root_disk)))
    assert "/dev/sd" not in script

    done = node.enter("sh", "-c", script.replace("./loop", shlex.join(node.executable)))

    assert done.returncode == 0, done.stderr.decode()
    assert f"found pool old at {OLD} (id {pool_id})" in done.stdout.decode()
    listed = [(one["name"], one["pool"]) for one in node.ok("list")["volumes"]]
    assert listed == [("pvc-1", "old")]
    node.ok("mount", node.pod_dir("web"), node.options(pool="old", poolId=pool_id))
    assert (node.path(node.pod_dir("web")) / "kept").read_text() == "kept"
    node.unmount("web")
