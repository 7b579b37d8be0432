"""The power is cut at a random moment of an operation, while pods write: each file that was written
with fsync is whole, each volume mounts, what was answered holds, and nothing is left over.

The machine's disk is on its file when the kernel hears so. What the kernel had not written yet is
gone, with all mounts and loop devices. Each boot is a reboot with pods, too: their directories are
there, and are plain directories."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from tests.node.nodes import MIB
from tests.vm.guest import DRIVER, Guest, MakeGuest, fsynced
from tests.vm.image import OLD
from tests.vm.machine import Job

PLUGINS = "/var/lib/kubelet/plugins-exec"
POOL = "/var/lib/flexvol/default"
SIZES = {"ext4": 64 * MIB, "btrfs": 256 * MIB, "xfs": 300 * MIB}
MOST_VOLUMES = 3  # that are kept over a power cut
CI_CUTS = 1  # in operations that are drawn
CAMPAIGN_ROUNDS = 10  # of all operations
FILES_BEFORE = 5  # that a pod has written before an operation begins


@dataclasses.dataclass
class Volume:
    """What must be found of a volume. certain: false while it may be there or not. sizes: one of
    which it has. numbers: of files that it holds."""

    name: str
    fs: str
    sizes: set[int]
    certain: bool = True
    numbers: list[int] = dataclasses.field(default_factory=list)
    pod: Job | None = None

    @property
    def first_number(self) -> int:
        """The number with which the volume's next pod begins."""
        return self.numbers[-1] + 1 if self.numbers else 0


class Story:
    """A node over many power cuts."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.volumes: dict[str, Volume] = {}
        self.snapshots: dict[str, Volume] = {}  # name -> what the snapshot holds
        self.usual_seconds = 2.0  # that a callout takes
        self._made = 0

    def begin(self, guest: Guest) -> None:
        """The node's first start."""
        guest.command("pool", "init", "default", "--reserve", "0")
        guest.command("install", PLUGINS)

    def check(self, guest: Guest) -> None:
        """What must hold after the power came back; afterwards a pod has each volume."""
        assert guest.mounts() == []
        assert guest.loop_devices() == []
        listed = {entry["name"] for entry in guest.ok("list")["volumes"]}
        self._settle(guest, listed)
        names = {*self.volumes, *self.snapshots}
        assert names == {entry["name"] for entry in guest.ok("list")["volumes"]}
        assert guest.listing(POOL) - {".locks", "pool.json"} == names
        for volume in self.volumes.values():
            self._check_volume(guest, volume)
        for name, snapshot in list(self.snapshots.items()):
            self._check_snapshot(guest, name, snapshot)
        while len(self.volumes) > MOST_VOLUMES:
            name = self.chance.choice(list(self.volumes))
            del self.volumes[name]
            guest.unmount(name, name)
            guest.ok("delete", guest.deletion(name))

    def ask_doctor(self, guest: Guest) -> None:
        """The doctor finds nothing wrong."""
        found = guest.enter(DRIVER, "doctor", PLUGINS)
        assert found.returncode == 0, found.stdout.decode()

    def _settle(self, guest: Guest, listed: set[str]) -> None:
        """Repeats the call that was cut, as who made it does."""
        for volume in list(self.volumes.values()):
            assert volume.name in listed or not volume.certain, f"{volume.name} is lost"
            if volume.certain:
                continue
            if volume.numbers:  # its deletion was cut
                del self.volumes[volume.name]
                guest.ok("delete", guest.deletion(volume.name))
            else:
                (size,) = volume.sizes
                guest.provision(volume.name, size, volume.fs)
                volume.certain = True
        for name, snapshot in list(self.snapshots.items()):
            assert name in listed or not snapshot.certain, f"the snapshot {name} is lost"
            snapshot.certain = True
            if name not in listed:
                del self.snapshots[name]

    def _check_volume(self, guest: Guest, volume: Volume) -> None:
        began = time.monotonic()
        directory = str(guest.mount(volume.name, volume.name))
        self.usual_seconds = time.monotonic() - began
        assert guest.lost(directory, volume.numbers) == "whole"
        size = guest.record(volume.name)["sizeBytes"]
        assert size in volume.sizes
        largest = max(volume.sizes)
        if largest > size:
            words = (guest.options(volume.name), "", directory, str(largest), str(size))
            guest.ok("expandfs", *words)
        volume.sizes = {largest}

    def _check_snapshot(self, guest: Guest, name: str, snapshot: Volume) -> None:
        """A claim begins with what the snapshot holds."""
        copy = f"{name}-restored"
        size = max(snapshot.sizes)
        guest.provision(copy, size, snapshot.fs, also={"sourceVolume": name})
        directory = str(guest.mount(copy, copy))
        assert guest.lost(directory, snapshot.numbers) == "whole"
        guest.unmount(copy, copy)
        guest.ok("delete", guest.deletion(copy))
        guest.command("snapshot", "--delete", name)
        del self.snapshots[name]

    def write(self, guest: Guest) -> Volume:
        """A pod writes to a volume, to a new one if there is none."""
        if not self.volumes:
            self._make(guest)
        volume = self.chance.choice(list(self.volumes.values()))
        directory = str(guest.mount(volume.name, volume.name))
        volume.pod = guest.start_pod(directory, volume.first_number)
        volume.pod.until_lines(FILES_BEFORE)
        return volume

    def note_written(self) -> None:
        """Takes down which files the pods of the ended machine had written with fsync."""
        for volume in self.volumes.values():
            if volume.pod:
                volume.numbers = (volume.numbers + fsynced(volume.pod))[-300:]
                volume.pod = None

    def _next(self) -> Volume:
        self._made += 1
        fs = self.chance.choice(list(SIZES))
        volume = Volume(f"pvc-{self._made}", fs, {SIZES[fs]})
        self.volumes[volume.name] = volume
        return volume

    def _make(self, guest: Guest) -> Volume:
        volume = self._next()
        guest.provision(volume.name, SIZES[volume.fs], volume.fs)
        return volume

    # The operations: each starts a call that the power cut meets.

    def provision(self, guest: Guest, _: Volume) -> Job:
        volume = self._next()
        volume.certain = False
        request = guest.request(volume.name, SIZES[volume.fs], volume.fs)
        return guest.start_command("provision", request)

    def mount(self, guest: Guest, _: Volume) -> Job:
        volume = self._make(guest)
        directory = guest.pod_dir(volume.name, volume.name)
        return guest.start_command("mount", directory, guest.options(volume.name))

    def only_write(self, guest: Guest, _: Volume) -> None:
        return

    def grow(self, guest: Guest, volume: Volume) -> Job:
        (size,) = volume.sizes
        volume.sizes.add(size + 64 * MIB)
        words = (guest.pod_dir(volume.name, volume.name), str(size + 64 * MIB), str(size))
        return guest.start_command("expandfs", guest.options(volume.name), "", *words)

    def snapshot(self, guest: Guest, volume: Volume) -> Job:
        assert volume.pod
        self._made += 1
        name = f"snapshot-{self._made}"
        numbers = volume.numbers + fsynced(volume.pod)
        self.snapshots[name] = Volume(
            name, volume.fs, set(volume.sizes), certain=False, numbers=numbers[-200:]
        )
        return guest.start_command("snapshot", volume.name, name)

    def delete(self, guest: Guest, volume: Volume) -> Job:
        assert volume.pod
        volume.numbers += guest.stop_pod(volume.pod)
        volume.pod = None
        guest.unmount(volume.name, volume.name)
        volume.certain = False
        return guest.start_command("delete", guest.deletion(volume.name))


OPERATIONS: tuple[Callable[[Story, Guest, Volume], Job | None], ...] = (
    Story.only_write,
    Story.provision,
    Story.grow,
    Story.snapshot,
    Story.mount,
    Story.delete,
)


def test_after_a_power_cut_in_any_operation_nothing_is_lost_and_nothing_left(
    make_guest: MakeGuest,
    make_disk: Callable[..., Path],
    campaign: bool,
    record_property: Callable[..., None],
) -> None:
    seed = int(os.environ.get("FLEXVOL_SEED", time.time_ns() % 10**6))
    print(f"FLEXVOL_SEED={seed}")
    chance = random.Random(seed)
    story = Story(chance)
    disk = make_disk()
    operations = chance.sample(OPERATIONS, CI_CUTS)
    if campaign:
        operations = list(OPERATIONS * CAMPAIGN_ROUNDS)
    for number, operation in enumerate(operations):
        guest = make_guest(OLD, disk=disk)
        guest.remember()
        if number == 0:
            story.begin(guest)
        else:
            story.check(guest)
        volume = story.write(guest)
        job = operation(story, guest, volume)
        seconds = story.chance.uniform(0, 1.3 * story.usual_seconds)
        time.sleep(seconds)
        answered = bool(job and job.ended)
        guest.close()
        story.note_written()
        print(f"cut {number}: {operation.__name__}, after {seconds:.2f} s, answered: {answered}")
        if job and answered:
            told = job.wait(0)
            assert told.returncode == 0, told
            note_answered(story, operation.__name__, volume, told.stdout)
    guest = make_guest(OLD, disk=disk)
    guest.remember()
    story.check(guest)
    story.ask_doctor(guest)
    record_property("power cuts of a whole machine", len(operations))


def note_answered(story: Story, operation: str, volume: Volume, answer: bytes) -> None:
    """What the operation has promised."""
    if operation != "snapshot":
        assert json.loads(answer)["status"] == "Success", answer
    if operation == "provision":
        list(story.volumes.values())[-1].certain = True
    elif operation == "snapshot":
        list(story.snapshots.values())[-1].certain = True
    elif operation == "grow":
        volume.sizes = {max(volume.sizes)}
    elif operation == "delete":
        del story.volumes[volume.name]
