"""A pool on NFS 4.2: shared by two machines, whose kernels let only one of them have a volume; and
a server that stands still, or loses its power, and comes back.

The server, which mounts its own export too, has the new kernel; the other machine the old one."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.vm.guest import DRIVER, Guest, fsynced
from tests.vm.pair import SERVER, Pair

POOL = "/var/lib/flexvol/default"
LIMIT_SECONDS = 30  # of each callout while the server stands still; the real ones are minutes
# The driver with other limits; its answers come five seconds before each.
SHORT = f"""
import sys
sys.path.insert(0, "{DRIVER}")
import flexvol
from shared import protocol
for callout in protocol.CALLOUTS.values():
    callout.seconds = {LIMIT_SECONDS}
sys.exit(flexvol.main(["loop"] + sys.argv[1:]))
"""
MOUNT = f"""
modprobe nfs
mkdir -p {POOL}
mount -t nfs -o vers=4.2 {SERVER}:/ {POOL}
"""


@pytest.fixture(scope="module")
def pair(machines: Pair) -> Pair:
    """Both machines, with a pool on what the server exports."""
    join(machines.server)
    join(machines.other)
    return machines


def join(guest: Guest) -> None:
    guest.machine.shell(MOUNT, seconds=300)
    guest.command("pool", "init", "default", "--reserve", "0")


def answers_in_time(guest: Guest, *words: str) -> dict[str, Any]:
    """What a callout answers that may not wait for the server."""
    began = time.monotonic()
    done = guest.machine.run("python3", "-I", "-S", "-c", SHORT, *words, seconds=180)
    assert done.returncode == 0, done
    # A margin for the emulated processor, which starts a Python in seconds.
    assert time.monotonic() - began < LIMIT_SECONDS + 30
    reply: dict[str, Any] = json.loads(done.stdout)
    return reply


def refusal(guest: Guest, volume: str) -> str:
    """The sentence with which the machine refuses to mount the volume."""
    return guest.fails("Busy", "mount", guest.pod_dir("web", volume), guest.options(volume))


# In CI the last test here has the same, beside the power cut.
@pytest.mark.campaign
def test_only_one_of_two_machines_has_a_volume(pair: Pair) -> None:
    pair.server.provision()
    pod = pair.server.start_pod(str(pair.server.mount("web")))
    pod.until_lines(3)

    assert "another node" in refusal(pair.other, "pvc-1")
    assert [pool["mayBeShared"] for pool in pair.other.ok("list")["pools"]] == [True]
    assert pair.other.mounts() == []
    assert pair.other.loop_devices() == []
    assert "in use" in pair.other.fails("Busy", "delete", pair.other.deletion())
    pod.until_lines(1)
    numbers = pair.server.stop_pod(pod)
    pair.server.unmount("web")
    assert pair.other.lost(str(pair.other.mount("web")), numbers) == "whole"
    assert "another node" in refusal(pair.server, "pvc-1")
    pair.other.unmount("web")
    pair.server.ok("delete", pair.server.deletion())


@pytest.mark.campaign
def test_a_server_that_stands_still_delays_and_loses_nothing(pair: Pair) -> None:
    pair.other.provision("pvc-2")
    directory = str(pair.other.mount("web", "pvc-2"))
    pod = pair.other.start_pod(directory)
    pod.until_lines(3)

    pair.server.machine.freeze()
    try:
        listed = answers_in_time(pair.other, "list")
        mounted = answers_in_time(
            pair.other, "mount", pair.other.pod_dir("late", "pvc-2"), pair.other.options("pvc-2")
        )
    finally:
        pair.server.machine.thaw()

    assert "pool" in listed.get("message", json.dumps(listed))
    assert mounted["status"] == "Failure", mounted
    assert "pool" in mounted["message"]
    pod.until_lines(3)
    pair.other.mount("late", "pvc-2")
    pair.other.unmount("late", "pvc-2")
    numbers = pair.other.stop_pod(pod)
    assert pair.other.lost(directory, numbers) == "whole"
    pair.other.unmount("web", "pvc-2")
    pair.other.ok("delete", pair.other.deletion("pvc-2"))
    assert pair.other.listing(POOL) - {".locks", "pool.json", "lost+found"} == set()


def test_a_server_that_lost_its_power_comes_back_and_the_volume_is_still_fenced(
    pair: Pair,
) -> None:
    pair.other.provision("pvc-3")
    directory = str(pair.other.mount("web", "pvc-3"))
    pod = pair.other.start_pod(directory)
    pod.until_lines(3)
    assert "another node" in refusal(pair.server, "pvc-3")
    assert [pool["mayBeShared"] for pool in pair.server.ok("list")["pools"]] == [True]
    assert "in use" in pair.server.fails("Busy", "delete", pair.server.deletion("pvc-3"))

    pair.start_server_again()
    join(pair.server)

    before = len(fsynced(pod))
    pod.until_lines(3, 180)
    assert len(fsynced(pod)) > before
    assert "another node" in refusal(pair.server, "pvc-3")
    assert pair.server.mounts() == []
    assert pair.server.loop_devices() == []
    numbers = pair.other.stop_pod(pod)
    pair.other.unmount("web", "pvc-3")
    assert pair.server.lost(str(pair.server.mount("web", "pvc-3")), numbers) == "whole"
    pair.server.unmount("web", "pvc-3")
    pair.server.ok("delete", pair.server.deletion("pvc-3"))
