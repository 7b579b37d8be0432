"""A pool whose server does not answer stops only what is in it: a stopped FUSE file system."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.node import edits
from tests.node.fuse_disk import Disk, processes_of
from tests.node.nodes import MIB, Node
from tests.precompiled import precompile
from tests.waiting import wait_until

# Enough on two cores with other tests; a callout that waits for a dead server takes 20 and more.
QUICK_SECONDS = 8
WAITS = "/var/log/flexvol/waits"
# The driver notes there each time that a pool has kept it waiting.
NOTE_WAIT = f"""
    if not all(answer.complete for answer in answers):
        with open("/proc/self/cmdline") as line, open("{WAITS}", "a") as file:
            file.write(" ".join(line.read().replace("\\0", " ").split()) + "\\n")
"""
# Where a disk stands that has the names of a volume, and is no pool of this node.
STRANGE = "/var/lib/kubelet/old"


class Sick:
    """A node with a sound pool, default, in which volume pvc-1 is mounted; a pool nfs, in which
    pvc-9 is mounted; and a disk image that somebody attached by hand."""

    def __init__(self, node: Node, disk: Disk, strange: Disk) -> None:
        self.node = node
        self._disks = [disk, strange]
        self.devices: list[str] = []

    def stop(self) -> None:
        for disk in self._disks:
            disk.stop()

    def go_on(self) -> None:
        for disk in self._disks:
            disk.go_on()

    def attach(self, path: str) -> None:
        """Attaches a file of the disk that is no pool, as a person does."""
        file = self.node.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(4 * MIB))
        done = self.node.enter("losetup", "-f", "--show", path)
        assert done.returncode == 0, done
        self.devices.append(done.stdout.decode().strip())


@pytest.fixture
def sick(node: Node, tmp_path: Path) -> Iterator[Sick]:
    with ExitStack() as stack:
        disk = Disk(node, tmp_path / "disk", "/var/lib/flexvol/nfs")
        stack.callback(disk.close)
        strange = Disk(node, tmp_path / "strange", STRANGE)
        stack.callback(strange.close)
        sick = Sick(node, disk, strange)
        stack.callback(sick.go_on)
        node.path("/var/lib/flexvol/nfs/lost+found").rmdir()
        node.command("pool", "init", "nfs", "--reserve", "0")
        node.provision()
        node.mount("web")
        node.provision("pvc-9", pool="nfs")
        place = {"pool": "nfs", "poolId": node.pool_id("nfs")}
        far = node.pod_dir("far", "pvc-9")
        node.ok("mount", far, node.options("pvc-9", **place))
        sick.attach(f"{STRANGE}/some.iso")
        sick.attach(f"{STRANGE}/pvc-7/image")
        sick.stop()
        yield sick
        sick.go_on()
        node.ok("unmount", far)
        for device in sick.devices:
            subprocess.run(["losetup", "-d", device], check=True)
        node.ok("delete", node.deletion("pvc-9", **place))


@pytest.fixture
def impatient(sick: Sick, for_python: Path, tmp_path: Path) -> Sick:
    """With a driver that waits 5 s for a pool, a third of the usual time, and notes each wait in
    WAITS: the tests that see it wait."""
    sick.node.executable = impatient_driver(for_python, tmp_path)
    precompile(Path(*sick.node.executable))
    return sick


def impatient_driver(for_python: Path, directory: Path) -> list[str]:
    changes = [edits.QUIET_SECONDS.to(5), edits.LOOKED_AT_POOLS.to(NOTE_WAIT)]
    return edits.edited(for_python, directory / "loop", *changes)


def timed(work: Callable[..., Any], *words: str) -> tuple[Any, float]:
    began = time.monotonic()
    result = work(*words)
    return result, time.monotonic() - began


def test_a_volume_of_a_sound_pool_lives_its_whole_life(sick: Sick) -> None:
    node = sick.node
    grown = str(64 * MIB)
    life = [
        ["mount", node.pod_dir("db"), node.options()],
        ["expandfs", node.options(), "", node.pod_dir("db"), grown, grown],
        ["unmount", node.pod_dir("db")],
        ["provision", node.request("pvc-2")],
        ["mount", node.pod_dir("db", "pvc-2"), node.options("pvc-2")],
        ["unmount", node.pod_dir("db", "pvc-2")],
        ["adopt", node.request("pvc-2", pool="default")],
        ["delete", node.deletion("pvc-2")],
        ["unmount", node.pod_dir("web")],
        ["delete", node.deletion()],
    ]

    seconds = {words[0]: timed(node.ok, *words)[1] for words in life}

    assert {callout: taken for callout, taken in seconds.items() if taken > QUICK_SECONDS} == {}


def test_list_has_the_sick_pool_with_an_error_and_the_others_whole(impatient: Sick) -> None:
    reply, seconds = timed(impatient.node.ok, "list")

    pools = {pool["name"]: pool for pool in reply["pools"]}
    assert "pool nfs does not answer" in pools["nfs"]["error"]
    assert pools["default"]["freeBytes"] > 0
    assert [volume["name"] for volume in reply["volumes"]] == ["pvc-1"]
    assert seconds < 20


def test_a_persons_commands_end_and_say_what_they_could_not_see(impatient: Sick) -> None:
    node = impatient.node

    status = json.loads(node.command("status", "--json"))
    entries = {entry["name"]: entry for entry in status["volumes"]}
    assert set(entries) == {"pvc-1", "*"}
    assert entries["pvc-1"]["troubles"] == []
    assert "none of its volumes was seen" in entries["*"]["troubles"][0]["what"]
    assert "does not answer" in {pool["name"]: pool for pool in status["pools"]}["nfs"]["error"]

    doctor = node.enter(*node.executable, "doctor").stdout.decode()
    assert "WRONG  pool nfs does not answer" in doctor
    assert "pool default at" in doctor
    assert "volumes: 1, of them mounted: 1" in doctor

    trim = node.enter(*node.executable, "trim", "--json")
    assert trim.returncode == 1
    trimmed = {entry["pool"]: entry for entry in json.loads(trim.stdout)["volumes"]}
    assert "givenBytes" in trimmed["default"]
    assert "does not answer" in trimmed["nfs"]["error"]

    node.command("pool", "cordon", "default")
    node.command("pool", "uncordon", "default")
    node.unmount("web")
    node.until_free()
    node.command("snapshot", "pvc-1", "kept")
    for words in (
        ["export", "pvc-9", "--pool", "nfs"],
        ["snapshot", "pvc-9", "other"],
        ["pool", "cordon", "nfs"],
    ):
        done = node.enter(*node.executable, *words)
        assert done.returncode == 1 and b"pool nfs does not answer" in done.stderr, done
    done = node.enter(*node.executable, "export", "pvc-1", "--pool", "default", "--raw")
    assert done.returncode == 0 and len(done.stdout) == 64 * MIB


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["install", "/var/lib/kubelet/plugins"], 0),
        (["pool", "list"], 0),
        (["pool", "init", "nfs"], 1),
        (["pool", "init", "nfs", "--replace"], 1),
        (["pool", "remove", "nfs"], 1),
    ],
    ids=["install", "list", "init", "init in its place", "remove"],
)
def test_who_makes_or_removes_pools_is_told_which_one_hangs(
    impatient: Sick, words: list[str], status: int
) -> None:
    """Without an install that ends, a node would serve no claims of its sound pools either."""
    done, seconds = timed(impatient.node.enter, *impatient.node.executable, *words)

    assert done.returncode == status, done
    assert b"pool nfs does not answer" in done.stdout + done.stderr
    assert seconds < 30


def at_once(node: Node, commands: dict[str, list[str]]) -> dict[str, str]:
    """What the commands say that run at the same time, by their names here; all end."""

    def run(words: list[str]) -> str:
        done = node.enter(*node.executable, *words, input=b"no\n")
        return (done.stdout + done.stderr).decode()

    with ThreadPoolExecutor(len(commands)) as threads:
        return dict(zip(commands, threads.map(run, commands.values()), strict=True))


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "not noted"])
def test_each_command_waits_only_once_however_many_pools_hang(impatient: Sick, noted: bool) -> None:
    """not noted: the directory of the pool must answer before anybody knows that it is a pool."""
    node = impatient.node
    if noted:
        # A second pool, behind the same server.
        second = {"pools": {"far": "/var/lib/flexvol/nfs/far"}}
        node.path("/etc/flexvol/config.json").write_text(json.dumps(second))
    else:
        notes = node.path("/etc/flexvol/pools.json")
        settings = json.loads(notes.read_text())
        del settings["pools"]["nfs"]
        notes.write_text(json.dumps(settings))
    commands = {
        "status": ["status"],
        "doctor": ["doctor"],
        "trim": ["trim"],
        "pool list": ["pool", "list"],
        "install": ["install", "/var/lib/kubelet/plugins"],
        "list": ["list"],
        "delete": ["delete", "pvc-1"],
        "pool remove": ["pool", "remove", "nfs"],
    }

    said = at_once(node, commands)

    (driver,) = node.executable
    lines = node.path(WAITS).read_text().splitlines()
    waits = Counter(line.rpartition(f" {driver} ")[2].strip() for line in lines)
    assert waits == {" ".join(words): 1 for words in commands.values()}
    assert "pvc-1 is in use" in said.pop("delete")
    assert {name: words for name, words in said.items() if "pool nfs" not in words} == {}
    node.path("/etc/flexvol/config.json").unlink(missing_ok=True)


def test_where_the_root_of_all_pools_hangs_each_command_ends_and_says_so(
    make_node: Callable[..., Node], for_python: Path, tmp_path: Path
) -> None:
    """As a disk that is mounted at /var/lib/flexvol itself."""
    node = make_node()
    with ExitStack() as stack:
        disk = Disk(node, tmp_path / "disk")
        stack.callback(disk.close)
        node.command("pool", "init", "default", "--reserve", "0")
        node.executable = impatient_driver(for_python, tmp_path)
        disk.stop()
        stack.callback(disk.go_on)

        commands = ("status", "doctor", "trim", "pool list", "list")
        said = at_once(node, {words: words.split() for words in commands})

    hangs = "pool default does not answer"
    assert {name: words for name, words in said.items() if hangs not in words} == {}


def test_looks_at_a_pool_that_hangs_do_not_become_more_and_more(impatient: Sick) -> None:
    node = impatient.node
    before = processes_of(node)
    for _ in range(3):
        node.ok("list")
    # A process that was killed takes a while to end.
    wait_until("one look waits", lambda: len(processes_of(node) - before) <= 1, 20)

    impatient.go_on()

    wait_until("no look waits", lambda: not processes_of(node) - before, 20)
    assert [pool["name"] for pool in node.ok("list")["pools"] if "error" not in pool] == [
        "default",
        "nfs",
    ]


def test_no_callout_opens_a_loop_device_of_another_volume(node: Node, tmp_path: Path) -> None:
    """udev probes each device that was open for writing, and 500 volumes mount at boot."""
    volumes = [f"pvc-{number}" for number in range(1, 5)]
    for volume in volumes:
        node.provision(volume)
        node.mount("web", volume)
    node.provision("pvc-9")
    notes = tmp_path / "opens"
    own = {
        ("mount", "pvc-9"): [node.pod_dir("web", "pvc-9"), node.options("pvc-9")],
        ("mount", "pvc-1"): [node.pod_dir("db"), node.options()],
        ("unmount", "pvc-1"): [node.pod_dir("db")],
        ("unmount", "pvc-9"): [node.pod_dir("web", "pvc-9")],
        ("delete", "pvc-9"): [node.deletion("pvc-9")],
        ("list", ""): [],
    }
    plain = node.executable
    for (callout, volume), words in own.items():
        before = devices_of(node)
        node.executable = ["strace", "-f", "-qq", "-o", str(notes), "-e", "trace=open,openat"]
        node.executable += ["-e", "signal=none", *plain]
        node.ok(callout, *words)
        node.executable = plain
        opened = re.findall(r'"(/dev/loop\d+)", ([A-Z_|]+)', notes.read_text())
        # Devices of other tests on this machine may be anybody's, and are asked.
        others = {device for name, device in before.items() if name != volume}
        assert not others.intersection(device for device, _ in opened), callout
        known = set(before.values())
        assert not [flags for device, flags in opened if device in known and "RDWR" in flags]


def devices_of(node: Node) -> dict[str, str]:
    """The loop device of each volume that has one."""
    volumes = json.loads(node.command("status", "--json"))["volumes"]
    return {entry["name"]: entry["devices"][0] for entry in volumes if entry["devices"]}


@pytest.mark.parametrize(
    "bound",
    ["an image under another name", "a volume's directory", "a pool"],
)
def test_a_device_that_was_attached_by_hand_through_another_path_is_found(
    node: Node, bound: str
) -> None:
    """The path that the kernel tells of it is none of the volume's."""
    node.provision()
    volume = "/var/lib/flexvol/default/pvc-1"
    place = "/var/lib/kubelet/bound"
    source = {
        "an image under another name": volume + "/image",
        "a volume's directory": volume,
        "a pool": volume[: -len("/pvc-1")],
    }[bound]
    if node.path(source).is_dir():
        node.path(place).mkdir()
    else:
        node.path(place).touch()
    assert node.enter("mount", "--bind", source, place).returncode == 0
    image = {
        "an image under another name": place,
        "a volume's directory": place + "/image",
        "a pool": place + "/pvc-1/image",
    }[bound]
    device = node.enter("losetup", "-f", "--show", image).stdout.decode().strip()

    for words in (["mount", node.pod_dir("web"), node.options()], ["delete", node.deletion()]):
        assert f"losetup -d {device}" in node.fails("Busy", *words)

    subprocess.run(["losetup", "-d", device], check=True)
    node.until_devices(0)
    node.ok("delete", node.deletion())
