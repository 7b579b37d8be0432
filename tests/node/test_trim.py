"""What thin volumes have free goes back to the pool when `trim` is run, as the timer in
deploy/systemd does."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node import edits
from tests.node.nodes import MIB, Node
from tests.sources import ROOT
from tests.waiting import wait_until

UNITS = ROOT / "deploy/systemd"
PLUGINS = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"


def trimmed(node: Node, *words: str, status: int = 0) -> dict[str, dict[str, Any]]:
    done = node.enter(*node.executable, "trim", "--json", *words)
    assert (done.returncode, done.stderr) == (status, b""), done
    return {volume["name"]: volume for volume in json.loads(done.stdout)["volumes"]}


def used_bytes(node: Node, volume: str = "pvc-1") -> int:
    return node.image(volume).stat().st_blocks * 512


def fill_holes(node: Node, volume: str = "pvc-1") -> None:
    """As a backup does that knows no holes: every block of the image is taken."""
    subprocess.run(
        ["fallocate", "-l", str(node.image(volume).stat().st_size), node.image(volume)],
        check=True,
    )


@pytest.mark.short
@pytest.mark.parametrize(
    ("fs", "size"),
    [
        pytest.param("ext4", 64 * MIB, id="ext4"),
        pytest.param("xfs", 300 * MIB, id="xfs"),
        pytest.param("btrfs", 112 * MIB, id="btrfs"),
    ],
)
def test_a_mounted_thin_volume_gives_back_what_it_has_free_and_keeps_its_data(
    node: Node, fs: str, size: int
) -> None:
    node.provision(size=size, fs=fs)
    pod = node.mount("web")
    (pod / "kept").write_bytes(b"k" * 4 * MIB)
    fill_holes(node)
    before = used_bytes(node)
    assert before >= size

    given = trimmed(node)["pvc-1"]["givenBytes"]

    assert given == before - used_bytes(node)
    assert given > size // 3
    node.unmount("web")
    assert (node.mount("web") / "kept").read_bytes() == b"k" * 4 * MIB


def test_thick_and_unmounted_volumes_are_skipped(node: Node) -> None:
    node.provision("pvc-1", thick="true")
    node.provision("pvc-2")
    node.mount("web")
    fill_holes(node, "pvc-2")
    before = used_bytes(node), used_bytes(node, "pvc-2")

    found = trimmed(node)

    assert found["pvc-1"]["skipped"].startswith("thick")
    assert found["pvc-2"]["skipped"] == "not mounted"
    assert (used_bytes(node), used_bytes(node, "pvc-2")) == before


def test_only_the_pool_that_is_named_is_trimmed_and_one_that_is_away_is_an_error(
    node: Node,
) -> None:
    node.command("pool", "init", "fast", "--reserve", "0")
    node.provision("pvc-1")
    node.provision("pvc-2", pool="fast")
    own = {"pool": "fast", "poolId": node.pool_id("fast")}
    node.mount("web")
    node.ok("mount", node.pod_dir("db", "pvc-2"), node.options("pvc-2", **own))

    assert set(trimmed(node, "--pool", "fast")) == {"pvc-2"}
    assert set(trimmed(node)) == {"pvc-1", "pvc-2"}
    assert "not mounted" in trimmed(node, "--pool", "other", status=1)["*"]["error"]


@pytest.mark.parametrize(
    ("fs", "size"),
    [
        pytest.param("ext4", 64 * MIB, id="ext4"),
        pytest.param("xfs", 300 * MIB, id="xfs"),
        pytest.param("btrfs", 112 * MIB, id="btrfs"),
    ],
)
def test_a_pod_ends_while_its_volume_is_trimmed(
    node: Node, for_python: Path, fs: str, size: int
) -> None:
    node.provision(size=size, fs=fs)
    node.mount("web")
    began = node.path("/run/flexvol/trims")
    usual = node.executable
    wait = edits.waiting_for("/run/flexvol/go")
    slow = edits.TRIM_A_PIECE.to(f"open('/run/flexvol/trims', 'w').close(), {wait}")
    line = edits.edited(for_python, node.directory / "slow", slow)
    trimming = node.start(*line, "trim")
    wait_until("the trim has begun", began.exists)

    node.unmount("web")

    assert node.mounts() == []
    assert trimming.poll() is None
    node.path("/run/flexvol/go").touch()
    trimming.communicate(timeout=30)
    assert trimming.returncode == 0
    node.until_devices(0)
    node.executable = usual
    node.ok("delete", node.deletion())


def test_a_volume_is_free_one_piece_after_its_pod_has_ended(node: Node, for_python: Path) -> None:
    node.provision(size=64 * MIB)
    node.mount("web")
    pieces = node.path("/run/flexvol/pieces")
    note = "open('/run/flexvol/pieces', 'a').write('x')"
    changes = [
        edits.TRIMMED_BYTES.to("1 << 20"),
        edits.TRIM_A_PIECE.to(f"{note}, time.sleep(0.5)"),
    ]
    line = edits.edited(for_python, node.directory / "slow", *changes)
    trimming = node.start(*line, "trim")
    pieces.touch()
    wait_until("three pieces are trimmed", lambda: len(pieces.read_text()) > 2)

    node.unmount("web")

    before = len(pieces.read_text())
    trimming.communicate(timeout=30)
    assert len(pieces.read_text()) <= before + 1 < 64
    node.until_devices(0)


def test_all_of_a_file_system_is_trimmed_piece_by_piece(node: Node, for_python: Path) -> None:
    for name, fs, size in (("e", "ext4", 300), ("x", "xfs", 310), ("b", "btrfs", 330)):
        node.provision(f"pvc-{name}", size=size * MIB, fs=fs)
        (node.mount("web", f"pvc-{name}") / "kept").write_bytes(b"k" * 4 * MIB)
        fill_holes(node, f"pvc-{name}")
    small = edits.TRIMMED_BYTES.to("128 << 20")
    node.executable = edits.edited(for_python, node.directory / "pieces", small)

    given = trimmed(node)

    assert given["pvc-e"]["givenBytes"] > 260 * MIB
    assert given["pvc-x"]["givenBytes"] > 220 * MIB
    assert given["pvc-b"]["givenBytes"] > 220 * MIB


def test_a_table_for_people_says_the_bytes(node: Node) -> None:
    node.provision()
    node.mount("web")
    fill_holes(node)

    told = node.command("trim")

    assert "GIVEN BACK" in told
    assert "pvc-1" in told
    assert "MiB given back" in told.splitlines()[-1]


def test_a_volume_that_cannot_be_read_is_named_and_the_others_are_trimmed(node: Node) -> None:
    node.provision("pvc-1")
    node.provision("pvc-2")
    node.mount("db", "pvc-2")
    fill_holes(node, "pvc-2")
    node.image().with_name("volume.json").write_text("{")

    found = trimmed(node, status=1)

    assert "cannot be read" in found["pvc-1"]["error"]
    assert found["pvc-2"]["givenBytes"] > 0


def test_without_the_right_to_trim_it_says_which_is_missing(node: Node) -> None:
    node.provision()
    node.mount("web")

    done = node.enter("setpriv", "--bounding-set=-sys_admin", *node.executable, "trim")

    assert done.returncode == 1
    assert b"CAP_SYS_ADMIN" in done.stdout


def test_systemd_understands_the_units_and_they_run_the_installed_driver(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: install the package systemd")
    node = make_node()
    Path(PLUGINS).mkdir(parents=True, exist_ok=True)
    assert node.enter("mount", "-t", "tmpfs", "none", PLUGINS).returncode == 0
    service, timer = (str(UNITS / name) for name in ("flexvol-trim.service", "flexvol-trim.timer"))

    missing = node.enter("systemd-analyze", "verify", "--man=no", service, timer)
    node.command("install", PLUGINS)
    found = node.enter("systemd-analyze", "verify", "--man=no", service, timer)

    assert b"flexvol~loop/loop is not executable" in missing.stderr  # it does look
    assert (found.returncode, b"flexvol" in found.stderr) == (0, False), found.stderr
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in (service, timer):
        shutil.copy(unit, units)
    # No systemd runs on this machine.
    line = [
        "systemctl",
        f"--root={tmp_path}",
        "enable",
        "flexvol-trim.timer",
    ]
    subprocess.run(line, check=True, capture_output=True)
    assert (units / "timers.target.wants/flexvol-trim.timer").resolve().name == "flexvol-trim.timer"
    run = next(
        line for line in Path(service).read_text().splitlines() if line.startswith("ExecStart=")
    )
    done = node.enter(*run.removeprefix("ExecStart=").split())
    assert done.returncode == 0 and done.stdout.endswith(b"0 B given back\n"), done
