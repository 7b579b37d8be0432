"""examples/lvm.sh with the real device mapper: a volume's life in two shells, calls that are killed
before each program that changes something, and what the driver leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.controller import driver_replies, leftovers, pool_rooms
from shared import caller, protocol
from shared.options import Options
from tests import documents
from tests.sources import ROOT
from tests.vm import bytecode, image
from tests.vm.bytecode import CompileFor
from tests.vm.guest import FILES
from tests.vm.machine import Machine

MIB = 1 << 20
GROUP = "data"
JUDGED = "judged"
DRIVER = "/payload/lvm"
CLUSTER = "c1"
# Of flexvol sanity, where not all are asked for: a check takes seconds here.
CHECK = "mount"
# A group for flexvol sanity.
GROUP_OF_SANITY = f"""
truncate -s 512M /tmp/judged
losetup /dev/loop6 /tmp/judged
vgcreate --addtag flexvol {JUDGED} /dev/loop6
"""
# Before each check, and not when a check restarts the node: what the check before has left in the
# group is removed.
SETUP = f"""
PATH=/usr/sbin:/usr/bin
[ ! -e /var/set-up ] || exit 0
touch /var/set-up
for volume in $(lvs --noheadings -o lv_full_name {JUDGED}); do
  lvremove -q --yes "$volume"
done
"""
KILLED = -9
# No call changes as much as this with one program after the other.
MOST_PROGRAMS = 12
# LVM without udev, which the machine does not have, and with the disks of the tests alone.
SETTINGS = """
activation { udev_sync = 0 udev_rules = 0 verify_udev_operations = 0 monitoring = 0 }
backup { backup = 0 archive = 0 }
devices { obtain_device_list_from_udev = 0 filter = [ "a!^/dev/(vdc|loop6|loop7)$!", "r|.|" ] }
"""
# A group that is for flexvol, and another one.
START = f"""
[ -e /usr/bin/awk ] || ln -s mawk /usr/bin/awk
modprobe -a dm-mod dm-snapshot
{documents.command("vgcreate ").replace("/dev/sdb", "/dev/vdc")}
{documents.command("vgchange ")}
truncate -s 64M /tmp/other
losetup /dev/loop7 /tmp/other
vgcreate other /dev/loop7
mkdir /busybox /kill
for program in awk cut mkdir mount rmdir sleep tr umount; do
  ln -s /payload/busybox /busybox/$program
done
sed 's|^PATH=|PATH=/busybox:|' {DRIVER} > /busybox/lvm
sed 's|^PATH=|PATH=/kill:|' {DRIVER} > /kill/lvm
for program in lvchange lvcreate lvextend lvremove mkfs.ext4 mount resize2fs umount; do
  cp /payload/killer /kill/$program
done
chmod +x /payload/* /kill/*
"""
# In the place of a program that changes something. The call, with all that it has started, is
# killed before the program whose number is in /kill/at.
KILLER = """#!/bin/sh
read -r count < /kill/count
read -r at < /kill/at
count=$((count + 1))
echo $count > /kill/count
[ $count != "$at" ] || kill -9 0
PATH=/usr/sbin:/usr/bin exec "${0##*/}" "$@"
"""


class Node:
    """The machine with the driver in one of its shells."""

    def __init__(self, machine: Machine, *driver: str) -> None:
        self.machine = machine
        self._driver = driver

    def with_driver(self, *driver: str) -> Node:
        return Node(self.machine, *driver)

    def call(self, callout: str, *words: str) -> protocol.Reply:
        """A call, whose answer is read as kubelet reads it. Raises the Failure of the answer."""
        done = self.machine.run(*self._driver, callout, *words)
        assert done.returncode == 0, done
        return caller.parse(callout, done.stdout + done.stderr, done.returncode)

    def fails(self, reason: str, callout: str, *words: str) -> str:
        """A call that must fail for the reason; returns its sentence."""
        with pytest.raises(protocol.Failure) as failure:
            self.call(callout, *words)
        assert failure.value.reason == reason, failure.value
        return failure.value.message

    def is_killed(self, at: int, *words: str) -> bool:
        """Whether the call was killed before its program number `at`; a call that was not has
        succeeded."""
        self.machine.shell(f"echo 0 > /kill/count; echo {at} > /kill/at")
        done = self.machine.run(*self._driver, *words)
        if done.returncode == KILLED:
            return True
        caller.parse(words[0], done.stdout + done.stderr, done.returncode)
        return False

    def until_done(
        self, *words: str, every: int = 1, after: Callable[[], None] = lambda: None
    ) -> int:
        """Makes the call again and again, killed each time so many programs later, until nothing is
        left to kill. Returns before how many programs it was killed, those that were passed over
        among them. after: called after each kill."""
        for kills, at in enumerate(range(1, MOST_PROGRAMS, every)):
            if not self.is_killed(at, *words):
                return kills * every
            after()
        raise AssertionError(f"{words} never comes to its end")

    def pod(self, name: str) -> str:
        """The directory of a pod, which kubelet makes."""
        path = f"/var/lib/kubelet/pods/{name}/volumes/flexvol~lvm/volume"
        self.machine.must("mkdir", "-p", path)
        return path

    def mounts(self, directory: str) -> list[str]:
        """The flags of each mount at a directory."""
        table = self.machine.must("cat", "/proc/self/mountinfo").splitlines()
        return [line.split()[5] for line in table if line.split()[4] == directory]

    def listed(self) -> dict[str, dict[str, Any]]:
        """What the driver lists, as the provisioner believes it, by name."""
        entries = driver_replies.checked_entries(self.call("list").volumes)
        return {entry["name"]: entry for entry in entries}

    def volumes(self, group: str = GROUP) -> list[str]:
        """What LVM lists."""
        return self.machine.must("lvs", "--noheadings", "-o", "lv_name", group).split()

    def total_mib(self, directory: str) -> float:
        blocks, size = self.machine.must("stat", "-f", "-c", "%b %S", directory).split()
        return int(blocks) * int(size) / MIB


@pytest.fixture(scope="module")
def node(
    images: Callable[[str], image.Image],
    built: Path,
    compile_for: CompileFor,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Node]:
    """A node with an empty volume group."""
    directory = tmp_path_factory.mktemp("lvm")
    disk = directory / "disk"
    with disk.open("w") as file:
        file.truncate(2 << 30)
    killer = directory / "killer"
    killer.write_text(KILLER)
    files = {
        **FILES,
        "lvm": ROOT / "examples/lvm.sh",
        "flexvol": compile_for(built, image.NEW),
        "busybox": Path("/usr/bin/busybox"),
        "killer": killer,
    }
    machine = Machine(images(image.NEW), directory, files, disk)
    try:
        bytecode.complete(machine, {"flexvol": files["flexvol"]})
        machine.write("/etc/lvm/lvm.conf", SETTINGS.encode())
        machine.shell(START)
        yield Node(machine, DRIVER)
    finally:
        machine.cut()


def of_volume(volume: str, **keys: str) -> str:
    """The options of a PV. keys: more of them, without their prefix."""
    options = {f"kubernetes.io/{key.replace('_', '.')}": value for key, value in keys.items()}
    return json.dumps({"kubernetes.io/pvOrVolumeName": volume, "pool": GROUP, **options})


def request(volume: str, size_mib: int = 32, pool: str = GROUP, **keys: str) -> str:
    """What the provisioner asks for."""
    of_claim = {
        "pvc_namespace": "shop",
        "pvc_name": volume,
        "pvc_uid": f"uid-{volume}",
        "clusterUid": CLUSTER,
        "reclaimPolicy": "Delete",
        **keys,
    }
    options = json.loads(of_volume(volume, **of_claim))
    return json.dumps({**options, "pool": pool, "requestBytes": str(size_mib * MIB)})


def for_pod(volume: str, access: str = "rw", namespace: str = "shop") -> str:
    return of_volume(volume, readwrite=access, pod_namespace=namespace)


def deletion(volume: str, **keys: str) -> str:
    return of_volume(volume, **{"pvc_uid": f"uid-{volume}", **keys})


@pytest.fixture(scope="module")
def mounted(node: Node) -> str:
    """The directory at which the volume `pvc-kept` of 32 MiB is mounted, with data. Each call was
    made twice, as kubelet may make it."""
    made = [node.call("provision", request("pvc-kept")).volume for _ in range(2)]
    assert made[0] == made[1]
    pod = node.pod("kept")
    for _ in range(2):
        node.call("mount", pod, for_pod("pvc-kept"))
    assert len(node.mounts(pod)) == 1
    node.machine.must("sh", "-c", f"echo kept > {pod}/file")
    return pod


def test_a_volume_lives_with_nothing_but_busybox_and_lvm(node: Node) -> None:
    node = node.with_driver("/payload/busybox", "sh", "/busybox/lvm")
    asked = request("pvc-1", 300, fsType="xfs")
    volume = node.call("provision", asked).volume
    assert driver_replies.checked_volume("lvm", volume, Options.parse(asked)) == volume
    assert volume is not None
    assert (volume["capacityBytes"], volume["fsType"]) == (300 * MIB, "xfs")
    assert volume["options"].keys() == {"pool", "poolId"}
    options = {**json.loads(for_pod("pvc-1")), **volume["options"]}
    web = node.pod("web")
    backup = node.pod("backup")
    node.call("mount", backup, json.dumps({**options, "kubernetes.io/readwrite": "ro"}))
    node.call("mount", web, json.dumps(options))
    assert [len(node.mounts(pod)) for pod in (web, backup)] == [1, 1]
    node.machine.shell(f"echo hello > {web}/greeting; grep -q hello {backup}/greeting")
    assert b"Read-only" in node.machine.run("touch", f"{backup}/other").stderr

    before_mib = node.total_mib(web)
    node.call("expandfs", json.dumps(options), "", web, str(400 * MIB), str(300 * MIB))
    assert node.total_mib(web) == pytest.approx(before_mib + 100, abs=10)

    for pod in (web, backup):
        node.call("unmount", pod)
    assert node.mounts(web) + node.mounts(backup) == []
    node.call("delete", deletion("pvc-1"))
    assert "pvc-1" not in node.volumes()


def test_killed_calls_get_their_work_done_when_they_are_made_again(
    node: Node, campaign: bool
) -> None:
    """In CI the longest calls are killed before every second program."""
    node = node.with_driver("/kill/lvm")
    pod = node.pod("killed")
    every = 1 if campaign else 2

    assert node.until_done("provision", request("pvc-2"), every=every) >= 3

    def has_no_writable_mount() -> None:
        assert [flags for flags in node.mounts(pod) if "ro" not in flags.split(",")] == []

    read_only = for_pod("pvc-2", "ro")
    mounting = ("mount", pod, read_only)
    assert node.until_done(*mounting, every=every, after=has_no_writable_mount) >= 4
    (flags,) = node.mounts(pod)
    assert {"ro", "nosuid", "nodev"} <= set(flags.split(","))
    assert node.until_done("unmount", pod) == 1
    assert node.mounts(pod) == []
    assert node.is_killed(2, "mount", pod, read_only)  # its view of the volume is left
    assert not node.is_killed(0, "mount", pod, for_pod("pvc-2"))
    grow = ("expandfs", for_pod("pvc-2"), "", pod, str(64 * MIB), str(32 * MIB))
    assert node.until_done(*grow) == 2
    assert node.total_mib(pod) > 1.5 * 32
    assert not node.is_killed(0, "unmount", pod)
    assert node.until_done("delete", deletion("pvc-2")) >= 1
    assert "pvc-2" not in node.volumes()
    node.call("delete", deletion("pvc-2"))
    assert node.machine.must("ls", "-A", "/run/flexvol-lvm") == ""


def test_a_volume_that_was_made_half_is_not_handed_out_and_can_be_deleted(node: Node) -> None:
    assert node.with_driver("/kill/lvm").is_killed(2, "provision", request("pvc-3"))
    assert "pvc-3" in node.volumes()

    assert "not made to its end" in node.fails(
        "NotFound", "mount", node.pod("half"), for_pod("pvc-3")
    )
    entry = node.listed()["pvc-3"]
    assert entry["owner"] == {"namespace": "shop", "name": "pvc-3", "uid": "uid-pvc-3"}
    assert leftovers.judge(entry, CLUSTER).reason == leftovers.BLANK
    node.call("delete", deletion("pvc-3", onlyIfBlank="true"))
    assert "pvc-3" not in node.volumes()
    node.fails("NotFound", "provision", request("pvc-3", onlyFind="true"))


def test_calls_at_once_make_one_volume_and_one_mount(node: Node) -> None:
    pod = node.pod("at-once")
    for words in (("provision", request("pvc-4")), ("mount", pod, for_pod("pvc-4"))):
        jobs = [node.machine.start(DRIVER, *words, stream=False, seconds=300) for _ in range(2)]
        for job in jobs:
            done = job.wait(330)
            caller.parse(words[0], done.stdout + done.stderr, done.returncode)

    assert len(node.mounts(pod)) == 1
    assert "pvc-4" in node.volumes()


def test_a_full_group_is_told_of_and_nothing_is_made(node: Node, mounted: str) -> None:
    (pool,) = driver_replies.checked_entries(node.call("list").pools)
    free_mib = pool_rooms.free_bytes({"pool": GROUP}, pool) // MIB
    assert 0 < free_mib < 2048

    message = node.fails("ResourceExhausted", "provision", request("pvc-5", free_mib + 1))

    assert f"{free_mib * MIB} bytes free" in message
    assert "pvc-5" not in node.volumes()
    words = (of_volume("pvc-kept"), "", mounted, str((free_mib + 40) * MIB), str(32 * MIB))
    node.fails("ResourceExhausted", "expandfs", *words)
    assert node.listed()["pvc-kept"]["sizeBytes"] == 32 * MIB


def test_a_volume_that_others_made_is_left_alone(node: Node) -> None:
    node.machine.shell(
        f"lvcreate -q --yes --name pvc-6 --size 8m {GROUP}; echo precious > /dev/{GROUP}/pvc-6"
    )
    pod = node.pod("foreign")
    for words in (
        ("provision", request("pvc-6")),
        ("mount", pod, for_pod("pvc-6")),
        ("expandfs", for_pod("pvc-6"), "", pod, str(64 * MIB), str(8 * MIB)),
        ("delete", deletion("pvc-6")),
    ):
        assert "did not make" in node.fails("InvalidArgument", *words)

    assert node.machine.must("head", "-c", "8", f"/dev/{GROUP}/pvc-6") == "precious"
    assert node.mounts(pod) == []
    assert "pvc-6" not in node.listed()


def test_a_group_that_is_not_for_flexvol_is_left_alone(node: Node) -> None:
    message = node.fails("Unavailable", "provision", request("pvc-7", pool="other"))

    assert "vgchange --addtag flexvol other" in message
    assert node.volumes("other") == []
    assert [pool["name"] for pool in node.call("list").pools or []] == [GROUP]
    assert "not found" in node.fails(
        "Unavailable",
        "delete",
        deletion(
            "pvc-7",
        ).replace(GROUP, "none"),
    )


def test_a_volume_is_only_for_its_claim_and_namespace(node: Node, mounted: str) -> None:
    pod = node.pod("evil")
    node.fails("NotFound", "mount", pod, for_pod("pvc-kept", namespace="evil"))
    assert node.mounts(pod) == []
    node.fails("InvalidArgument", "provision", request("pvc-kept", pvc_uid="another"))
    node.fails("InvalidArgument", "delete", deletion("pvc-kept", pvc_uid="another"))
    node.fails("Busy", "delete", deletion("pvc-kept", onlyIfBlank="true"))

    assert "in use" in node.fails("Busy", "delete", deletion("pvc-kept"))

    assert node.machine.must("cat", f"{mounted}/file") == "kept\n"
    assert leftovers.judge(node.listed()["pvc-kept"], CLUSTER).reason == leftovers.USED


def test_a_volume_with_a_snapshot_is_not_deleted(node: Node, mounted: str) -> None:
    """lvremove would remove the snapshot too."""
    node.machine.shell(f"lvcreate -q --snapshot --name by-hand --size 8m {GROUP}/pvc-kept")
    try:
        assert "has snapshots" in node.fails("Busy", "delete", deletion("pvc-kept"))
        assert "by-hand" in node.volumes()
    finally:
        node.machine.shell(f"lvremove -q --yes {GROUP}/by-hand")


def test_a_volume_that_a_killed_program_left_suspended_goes_on(node: Node, mounted: str) -> None:
    node.machine.shell(f"dmsetup suspend {GROUP}-pvc--kept")

    node.call("expandfs", of_volume("pvc-kept"), "", mounted, str(36 * MIB), str(32 * MIB))

    node.machine.must("sh", "-c", f"echo more > {mounted}/more; sync {mounted}/more", seconds=20)


def test_a_volume_in_use_stays_mounted_until_nobody_uses_it(node: Node, mounted: str) -> None:
    user = node.machine.start("sh", "-c", f"cd {mounted}; echo begun; sleep 600")
    user.until_lines(1)

    assert "busy" in node.fails("Busy", "unmount", mounted)

    assert len(node.mounts(mounted)) == 1
    node.machine.must("pkill", "-f", "sleep 600")
    user.wait(60)
    node.call("unmount", mounted)
    node.call("mount", mounted, for_pod("pvc-kept"))
    assert node.machine.must("cat", f"{mounted}/file") == "kept\n"


def test_flexvol_sanity_finds_no_fault(node: Node, campaign: bool) -> None:
    node.machine.shell(GROUP_OF_SANITY)
    node.machine.write("/run/options.json", json.dumps({"pool": JUDGED}).encode())
    line = ["/payload/flexvol", "sanity", DRIVER, "--options", "/run/options.json", "--provision"]
    line += ["--make-devices", "--device", "/dev/loop6", "--device", "/dev/mapper/control"]
    line += ["--setup", SETUP]
    if not campaign:
        line += ["--check", CHECK]

    done = node.machine.run(*line, seconds=3600)

    print(done.stdout.decode())
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
