"""The driver on Debian's own kernels, the oldest of them without mount_setattr, with the Python and
the file system tools of the same release, and with all capabilities."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.nodes import MIB
from tests.vm.guest import DRIVER, Guest, MakeGuest
from tests.vm.image import KERNELS, OLD

# In the machines of test_nfs.py the driver runs on the new kernel too.
pytestmark = pytest.mark.in_ci_with(guest=OLD)
# Which size a volume of each file system has at least. The demo's volume is xfs.
SMALLEST = {"ext4": 64 * MIB, "btrfs": 256 * MIB}
GIB = 1 << 30
PLUGINS = "/var/lib/kubelet/plugins-exec"
# Whether the bytecode in the driver is that of the Python which runs these lines.
IS_COMPILED = f"""
import importlib.util
import sys
sys.path.insert(0, "{DRIVER}")
from node import zipapp
print(zipapp.bytecode_magic("{DRIVER}") == importlib.util.MAGIC_NUMBER)
"""
TRIES = 5


@pytest.fixture(
    scope="module", params=list(KERNELS), ids=[f"kernel {kernel}" for kernel in KERNELS.values()]
)
def guest(
    request: pytest.FixtureRequest,
    start_guest: MakeGuest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Guest]:
    """A node with a large empty disk, whose default pool has no reserve."""
    directory = tmp_path_factory.mktemp("kernel")
    disk = directory / "disk"
    with disk.open("w") as file:
        file.truncate(100 * GIB)
    guest = start_guest(request.param, directory, disk)
    try:
        release = guest.machine.must("uname", "-r")
        assert release.startswith(KERNELS[request.param] + ".")
        guest.machine.shell("mkfs.xfs -q -m reflink=1 /dev/vdc")
        guest.remember()
        guest.command("pool", "init", "default", "--reserve", "0")
        yield guest
    finally:
        guest.close()


def total_bytes(guest: Guest, directory: Path) -> int:
    """The size of the file system that is mounted there."""
    blocks, size = guest.machine.must("stat", "-f", "-c", "%b %S", str(directory)).split()
    return int(blocks) * int(size)


def test_the_old_kernel_is_one_without_mount_setattr(guest: Guest) -> None:
    release = guest.machine.must("uname", "-r")

    answer = guest.machine.must("python3", "-I", "-S", "/payload/mount_setattr.py").strip()

    assert (answer == "ENOSYS") == release.startswith("5.10.")


def test_the_driver_has_the_bytecode_of_the_nodes_python(guest: Guest) -> None:
    """A Python of another machine may have made it."""
    assert guest.machine.must("python3", "-I", "-S", "-c", IS_COMPILED) == "True\n"


def command(guest: Guest, *words: str) -> str:
    """Runs a command for a person, and again if init took too long: an emulated processor beside
    busy ones may need longer than init's ten seconds."""
    for _ in range(TRIES):
        done = guest.enter(*guest.executable, *words)
        if b"within 10 s" not in done.stdout + done.stderr:
            break
    assert done.returncode == 0, done
    return done.stdout.decode()


@pytest.mark.campaign
def test_the_demo_passes(guest: Guest) -> None:
    told = command(guest, "demo")

    assert "Nothing is left" in told
    assert guest.mounts() == []


@pytest.mark.in_ci_with(fs="ext4")
@pytest.mark.parametrize("fs", SMALLEST)
def test_two_pods_share_a_volume_each_with_its_own_flags(guest: Guest, fs: str) -> None:
    size = SMALLEST[fs]
    guest.provision(size=size, fs=fs)
    reader = guest.mount("reader", access="ro")  # the first mount is the read-only one
    writer = guest.mount("writer")
    guest.mount("writer")  # kubelet repeats what it did not hear the answer of

    guest.machine.shell(f"echo hello > {writer}/greeting; grep -q hello {reader}/greeting")

    refused = guest.enter("touch", f"{reader}/other")
    assert b"Read-only file system" in refused.stderr
    flags = {path.split("/")[5]: set(words.split(",")) for path, words in guest.mounts()}
    assert set(flags) == {"reader", "writer"}
    assert {"ro", "nosuid", "nodev"} <= flags["reader"]
    assert {"rw", "nosuid", "nodev"} <= flags["writer"]
    assert len(guest.mounts()) == 2
    assert len(guest.loop_devices()) == 1

    guest.ok("expandfs", guest.options(), "", str(writer), str(2 * size), str(size))

    assert total_bytes(guest, writer) > 1.5 * size
    assert "in use" in guest.fails("Busy", "delete", guest.deletion())
    guest.unmount("reader")
    guest.unmount("writer")
    guest.unmount("writer")
    guest.until_devices(0)
    assert guest.mounts() == []
    guest.machine.must("grep", "hello", f"{guest.mount('later')}/greeting")
    guest.unmount("later")
    guest.ok("delete", guest.deletion())
    guest.ok("delete", guest.deletion())
    assert guest.listing("/var/lib/flexvol/default") == {".locks", "pool.json"}


@pytest.mark.campaign
def test_two_first_pods_at_once_get_one_device(guest: Guest) -> None:
    guest.provision()
    pods = [guest.pod_dir(pod) for pod in ("web", "backup")]

    jobs = [guest.start_command("mount", pod, guest.options()) for pod in pods]

    replies = [json.loads(job.wait(300).stdout) for job in jobs]
    assert [reply["status"] for reply in replies] == ["Success", "Success"]
    assert len(guest.loop_devices()) == 1
    assert sorted(path for path, _ in guest.mounts()) == sorted(pods)
    guest.unmount("web")
    guest.unmount("backup")
    guest.ok("delete", guest.deletion())


def test_a_device_attached_by_hand_keeps_the_volume_from_being_mounted(guest: Guest) -> None:
    guest.provision()
    image = "/var/lib/flexvol/default/pvc-1/image"
    device = guest.machine.must("losetup", "--find", "--show", image).strip()

    message = guest.fails("Busy", "mount", guest.pod_dir("web"), guest.options())

    assert device in message
    assert guest.mounts() == []
    guest.machine.must("losetup", "--detach", device)
    guest.mount("web")
    guest.unmount("web")
    guest.ok("delete", guest.deletion())


@pytest.mark.campaign
def test_ext4_grows_a_thousandfold_in_one_step_while_a_pod_writes(guest: Guest) -> None:
    """The kernel does it, online; resize2fs could not."""
    guest.provision(size=64 * MIB)
    pod = guest.mount("web")
    written = guest.start_pod(str(pod))
    written.until_lines(3)
    words = ("expandfs", guest.options(), "", str(pod), str(70 * GIB), str(64 * MIB))

    guest.ok(*words)

    written.until_lines(3)
    assert total_bytes(guest, pod) > 65 * GIB
    assert guest.record()["sizeBytes"] == 70 * GIB
    guest.ok(*words)
    names = guest.stop_pod(written)
    guest.unmount("web")
    guest.until_devices(0)
    guest.machine.must("e2fsck", "-f", "-n", "/var/lib/flexvol/default/pvc-1/image")
    assert guest.lost(str(guest.mount("later")), names) == "whole"
    guest.unmount("later")
    guest.ok("delete", guest.deletion())


# In CI the doctor is asked after the power cut (test_power.py).
@pytest.mark.campaign
def test_the_doctor_finds_nothing_wrong_with_the_pool(guest: Guest) -> None:
    command(guest, "install", PLUGINS)

    found = guest.enter(DRIVER, "doctor", PLUGINS)

    assert found.returncode == 0, found
