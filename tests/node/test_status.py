"""status shows what is on a node and names each volume's trouble with a remedy; so does doctor.
Both only look."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node.devices import attach
from tests.node.nodes import MIB, Node

HELD = "/var/lib/kubelet/held"
POOL = "/var/lib/flexvol/default"


def volumes(node: Node) -> dict[str, dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(node.command("status", "--json"))["volumes"]
    return {volume["name"]: volume for volume in listed}


def wide(node: Node) -> list[str]:
    return node.command("status", "-o", "wide").splitlines()


def trouble(node: Node, volume: str = "pvc-1") -> tuple[str, str]:
    """The one trouble of the volume and its remedy, which status and doctor agree on."""
    (found,) = volumes(node)[volume]["troubles"]
    said = node.command("status")
    diagnosis = node.enter(*node.executable, "doctor")
    assert f"volume {volume}: {found['what']}\n    do this: {found['remedy']}\n" in said
    assert (
        f"WRONG  volume {volume}: {found['what']}\n       do this: {found['remedy']}\n"
        in diagnosis.stdout.decode()
    )
    assert diagnosis.returncode == 1
    return found["what"], found["remedy"]


@pytest.fixture
def hold(node: Node) -> Iterator[Callable[[str], int]]:
    """Starts a process that keeps `path` in a mount namespace of its own, as a container does;
    gives its number."""
    started: list[subprocess.Popen[bytes]] = []

    def start(path: str) -> int:
        script = (
            f"mkdir -p {HELD} && mount --bind {path} {HELD} && umount {path} && echo && "
            "kill -STOP $$"
        )
        started.append(node.start("unshare", "-m", "sh", "-c", script))
        assert started[-1].stdout and started[-1].stdout.readline() == b"\n"
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_volume_with_its_device_pods_and_mounts(node: Node) -> None:
    node.provision(size=64 * MIB)
    node.provision("pvc-2", size=320 * MIB, fs="xfs")
    node.mount("u-1")
    node.mount("u-2", access="ro")
    node.path("/var/log/pods/shop_web_u-1").mkdir()

    found = volumes(node)

    (device,) = node.loop_devices()
    df = os.statvfs(node.path(node.pod_dir("u-1")))
    assert found["pvc-1"] == {
        "name": "pvc-1",
        "pool": "default",
        "troubles": [],
        "remark": "",
        "sizeBytes": 64 * MIB,
        "fileSystemBytes": 64 * MIB,
        "fsType": "ext4",
        "usedBytes": node.image().stat().st_blocks * 512,
        "image": "/var/lib/flexvol/default/pvc-1/image",
        "owner": node.record()["owner"],
        "devices": [device],
        "kind": "volume",
        "source": "",
        "thick": False,
        "fileSystemUsedBytes": df.f_frsize * (df.f_blocks - df.f_bfree),
        "fileSystemFreeBytes": df.f_frsize * df.f_bavail,
        "mounts": [
            {"path": node.pod_dir("u-1"), "pod": "shop/web (u-1)", "readOnly": False},
            {"path": node.pod_dir("u-2"), "pod": "u-2", "readOnly": True},
        ],
    }
    assert (found["pvc-2"]["devices"], found["pvc-2"]["mounts"]) == ([], [])
    _, pool, _, heading, first, second, third = wide(node)
    assert pool.split()[0] == "default" and pool.endswith("takes volumes")
    assert heading.split()[:3] == ["VOLUME", "CLAIM", "SIZE"]
    assert first.split()[:4] == ["pvc-1", "shop/data", "64", "MiB"]
    assert f" {device} " in first and "shop/web (u-1)" in first and first.endswith("/pvc-1/image")
    assert second.split() == ["u-2", node.pod_dir("u-2"), "(ro)"]
    assert third.startswith("pvc-2 ") and third.endswith("/pvc-2/image")


def test_a_subpath_belongs_to_its_pod(node: Node) -> None:
    node.provision()
    (node.mount("u-1") / "inner").mkdir()
    path = "/var/lib/kubelet/pods/u-1/volume-subpaths/pvc-1/web/0"
    node.path(path).mkdir(parents=True)
    node.enter("mount", "--bind", node.pod_dir("u-1") + "/inner", path)

    assert {mount["path"]: mount["pod"] for mount in volumes(node)["pvc-1"]["mounts"]} == {
        node.pod_dir("u-1"): "u-1",
        path: "u-1",
    }


def test_ext4_gone_read_only(node: Node) -> None:
    node.provision()
    node.mount("web")
    (device,) = node.loop_devices()
    node.enter("sh", "-c", f"echo 1 > /sys/fs/ext4/{device[5:]}/trigger_fs_error")

    what, remedy = trouble(node)

    assert what == "its ext4 has gone read-only after an error"
    assert "stop its pods" in remedy


def test_btrfs_gone_read_only(node: Node) -> None:
    node.provision(size=128 * MIB, fs="btrfs")
    node.mount("web")
    assert node.enter("mount", "-o", "remount,ro", node.pod_dir("web")).returncode == 0

    assert trouble(node)[0] == "its btrfs has gone read-only after an error"


def test_xfs_shut_down(node: Node) -> None:
    node.provision(size=320 * MIB, fs="xfs")
    node.mount("web")
    assert node.enter("xfs_io", "-x", "-c", "shutdown", node.pod_dir("web")).returncode == 0

    assert trouble(node)[0] == "its xfs was shut down after an error: Input/output error"


def test_errors_noted_in_a_volume_that_is_not_mounted(node: Node) -> None:
    node.provision()
    subprocess.run(
        ["debugfs", "-w", "-R", "set_super_value state 2", node.image()],
        check=True,
        capture_output=True,
    )

    what, remedy = trouble(node)

    assert what == "the kernel noted errors in its ext4"
    assert "e2fsck" in remedy
    node.mount("web")  # which repairs it, as the remedy says
    assert volumes(node)["pvc-1"]["troubles"] == []


def test_an_image_that_was_cut(node: Node) -> None:
    node.provision()
    os.truncate(node.image(), 32 * MIB)

    assert f"its image has {32 * MIB} bytes and its record says {64 * MIB}" in trouble(node)[0]


def test_a_damaged_record(node: Node) -> None:
    node.provision()
    node.provision("pvc-2")
    node.image().with_name("volume.json").write_text("{")

    assert "volume.json cannot be read" in trouble(node)[0]
    assert volumes(node)["pvc-2"]["troubles"] == []


def test_a_device_attached_by_hand_and_its_remedy(node: Node) -> None:
    node.provision()
    by_hand = (
        node.enter("losetup", "--show", "-f", "/var/lib/flexvol/default/pvc-1/image")
        .stdout.decode()
        .strip()
    )

    what, remedy = trouble(node)

    assert what == f"{by_hand} was attached to it by hand, without the lock that protects it"
    assert remedy.endswith(f": losetup -d {by_hand}")
    node.enter("losetup", "-d", by_hand)
    node.until_devices(0)
    assert volumes(node)["pvc-1"]["troubles"] == []


def test_two_devices_on_one_image(node: Node) -> None:
    node.provision()
    node.mount("web")
    (ours,) = node.loop_devices()
    by_hand = (
        node.enter("losetup", "--show", "-f", "/var/lib/flexvol/default/pvc-1/image")
        .stdout.decode()
        .strip()
    )

    (more, unmounted) = volumes(node)["pvc-1"]["troubles"]

    node.enter("losetup", "-d", by_hand)
    assert "more than one loop device" in more["what"]
    assert ours in more["what"] and by_hand in more["what"]
    assert by_hand in unmounted["what"] and f"losetup -d {by_hand}" in unmounted["remedy"]


def test_a_device_that_a_killed_callout_left_with_the_lock(node: Node) -> None:
    node.provision()
    with node.image().open("r+b") as image:
        fcntl.flock(image, fcntl.LOCK_EX)
        device = attach(image.fileno())

    what, remedy = trouble(node)

    assert what.startswith(f"{device} has the volume's lock, is not mounted, and will not go away")
    assert "the next mount takes it over" in remedy
    node.mount("web")
    assert volumes(node)["pvc-1"]["troubles"] == []
    node.unmount("web")
    node.until_devices(0)


def test_a_mount_in_another_mount_namespace_and_who_holds_it(
    node: Node, hold: Callable[[str], int]
) -> None:
    node.provision()
    node.mount("web")
    holder = hold(node.pod_dir("web"))
    node.unmount("web")

    what, remedy = trouble(node)

    assert f"process {holder} (sh) at {HELD}" in what
    done = subprocess.run(
        remedy.partition("or: ")[2].split(),
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done
    node.until_devices(0)
    assert volumes(node)["pvc-1"]["troubles"] == []


def test_a_killed_callouts_preparation(node: Node) -> None:
    node.provision()
    node.mount("web")
    (device,) = node.loop_devices()
    stage = "/run/flexvol/stage/" + device[5:]
    node.path(stage).mkdir(parents=True)
    node.enter("mount", "--bind", node.pod_dir("web"), stage)
    node.enter("umount", node.pod_dir("web"))  # an unmount by us clears it

    what, remedy = trouble(node)

    assert what == "a killed callout left a mount that no pod has, at " + stage
    node.enter(*remedy.partition("or: ")[2].split())
    node.until_devices(0)


def test_a_device_that_a_process_keeps_open(node: Node) -> None:
    node.provision()
    node.mount("web")
    (device,) = node.loop_devices()
    with open(device, "rb"):
        node.unmount("web")

        assert trouble(node) == (
            f"{device} is not mounted, but a process keeps it open",
            f"find it with: fuser -v {device}",
        )
    node.until_devices(0)


def test_a_pool_that_cannot_be_read_is_not_passed_over(node: Node) -> None:
    node.provision()
    node.path("/etc/flexvol/config.json").write_text(
        json.dumps({"pools": {"away": "/var/lib/flexvol/disk"}})
    )

    found = volumes(node)

    assert set(found) == {"*", "pvc-1"}
    assert found["*"]["troubles"][0]["what"].startswith("pool away is not mounted")
    said = node.command("status")
    assert "\npool away is not mounted" in said and "volume *" not in said


def test_the_pool_of_each_volume_is_shown_where_the_node_has_more_than_one(node: Node) -> None:
    node.command("pool", "init", "fast", "--reserve", "0")
    node.provision()
    node.provision("pvc-2", pool="fast")
    node.mount("u-1")
    node.mount("u-2")

    *_, heading, first, second, third = wide(node)

    assert heading.split()[:3] == ["VOLUME", "POOL", "CLAIM"]
    assert first.split()[:3] == ["pvc-1", "default", "shop/data"]
    assert second.split()[:2] == ["u-2", node.pod_dir("u-2")]
    assert second.index("u-2") == first.index("u-1")
    assert third.split()[:3] == ["pvc-2", "fast", "shop/data"]


def test_archives_are_counted_by_pool_and_it_is_said_how_to_see_them(node: Node) -> None:
    node.command("pool", "init", "fast", "--reserve", "0")
    for volume in ("pvc-1", "pvc-2", "pvc-3"):
        node.provision(volume, onDelete="archive")
        node.mount("web", volume)
        node.unmount("web", volume)
    assert "archive" not in node.command("status")
    for volume in ("pvc-1", "pvc-2"):
        node.ok("delete", node.deletion(volume))

    said = node.command("status")

    assert ": 2 in pool default; see them with: loop list\n" in said
    listed = json.loads(node.command("status", "--json"))
    archived = [one for one in node.ok("list")["volumes"] if one.get("state") == "archived"]
    assert {pool["name"]: pool["archives"] for pool in listed["pools"]} == {
        "default": [entry["name"] for entry in archived],
        "fast": [],
    }
    assert set(volumes(node)) == {"pvc-3"}


def read_only(node: Node) -> None:
    node.enter("mount", "--bind", POOL, POOL)
    assert node.enter("mount", "-o", "remount,bind,ro", POOL).returncode == 0


def without_locks(node: Node) -> None:
    node.enter("sh", "-c", f"rm -rf {POOL}/.locks && touch {POOL}/.locks")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (read_only, "is on a disk that is read-only"),
        (without_locks, "its lock files cannot be"),
    ],
    ids=["a disk that is read-only", "a pool without usable locks"],
)
def test_what_is_wrong_with_a_pool_is_said_once_and_not_of_each_volume(
    node: Node, spoil: Callable[[Node], None], words: str
) -> None:
    """What is wrong with a volume itself is still said."""
    for volume in ("pvc-1", "pvc-2", "pvc-3"):
        node.provision(volume)
    node.mount("web")
    damage = ["debugfs", "-w", "-R", "set_super_value state 2", str(node.image("pvc-3"))]
    subprocess.run(damage, check=True, capture_output=True)
    spoil(node)

    found = volumes(node)
    said = node.command("status")
    diagnosis = node.enter(*node.executable, "doctor").stdout.decode()
    listed = node.ok("list")

    assert [name for name in ("pvc-1", "pvc-2") if found[name]["troubles"]] == []
    assert found["pvc-1"]["mounts"] and found["pvc-2"]["fileSystemBytes"] == 64 * MIB
    assert [one["what"] for one in found["pvc-3"]["troubles"]] == [
        "the kernel noted errors in its ext4"
    ]
    assert said.count(words) == 1
    assert diagnosis.count(words) == 1 and f"WRONG  pool default at {POOL}" in diagnosis
    wrong = [line for line in diagnosis.splitlines() if line.startswith("WRONG") and "pvc-" in line]
    assert wrong == ["WRONG  volume pvc-3: the kernel noted errors in its ext4"]
    assert words in listed["pools"][0]["error"]
    assert [one["name"] for one in listed["volumes"] if "error" in one] == []


def test_a_callout_that_hangs(node: Node) -> None:
    node.provision()
    node.image().with_name("volume.json").write_text("{")
    node.provision("pvc-2")
    subprocess.run(
        ["debugfs", "-w", "-R", "set_super_value state 2", node.image("pvc-2")],
        check=True,
        capture_output=True,
    )
    held = [path.open() for path in node.path("/var/lib/flexvol/default/.locks").iterdir()]
    for lock in held:
        fcntl.flock(lock, fcntl.LOCK_EX)

    (found,) = volumes(node)["pvc-2"]["troubles"]

    for lock in held:
        lock.close()
    assert f"process {os.getpid()}" in found["what"] and "is locked" in found["what"]
    assert "a callout hangs" in found["remedy"]


def test_looking_changes_nothing(node: Node, hold: Callable[[str], int]) -> None:
    node.provision()
    node.provision("pvc-2")
    node.mount("web")
    hold(node.pod_dir("web"))
    node.path("/var/lib/flexvol/default/.new-pvc-3").mkdir()
    node.image("pvc-2").with_name("volume.json").write_text("{")
    before = node.snapshot(), node.mounts(), node.loop_devices()

    node.command("status")
    node.enter(*node.executable, "doctor")

    assert (node.snapshot(), node.mounts(), node.loop_devices()) == before
    assert node.path("/var/lib/flexvol/default/.new-pvc-3").is_dir()


def test_an_xfs_that_has_just_grown_is_as_large_as_the_kernel_knows(node: Node) -> None:
    """Its superblock is written a minute later, and the log is no part of what df shows."""
    node.provision(size=320 * MIB, fs="xfs")
    node.mount("u-1")
    words = [node.options(), "", node.pod_dir("u-1"), str(1024 * MIB), str(320 * MIB)]
    node.ok("expandfs", *words)

    found = volumes(node)["pvc-1"]

    assert (found["fileSystemBytes"], found["troubles"]) == (1024 * MIB, [])


def test_a_pods_name_is_found_where_kubelet_keeps_its_logs(node: Node, tmp_path: Path) -> None:
    """podLogsDir in kubelet's settings; Kubernetes has it since 1.30."""
    settings = tmp_path / "kubelet.yaml"
    settings.write_text("kind: KubeletConfiguration\npodLogsDir: /var/lib/kubelet/logs\n")
    node.path("/var/lib/kubelet/logs/shop_web_u-1").mkdir(parents=True)
    node.provision()
    node.mount("u-1")
    script = 'exec -a kubelet sh -c "echo ready; read forever" "$@"'
    words = ["bash", "-c", script, "bash", "kubelet", "--config", str(settings)]
    kubelet = node.start(*words, stdin=subprocess.PIPE)
    assert kubelet.stdin and kubelet.stdout
    try:
        assert kubelet.stdout.readline() == b"ready\n"

        (mount,) = volumes(node)["pvc-1"]["mounts"]
    finally:
        kubelet.stdin.close()
        kubelet.wait(10)
        kubelet.stdout.close()

    assert mount["pod"] == "shop/web (u-1)"
