"""A table of states that a node can be in: for each of them doctor names what is wrong, says what
to do, and changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.node.nodes import Node

PLUGINS = "/var/lib/kubelet/plugins-exec"
POOL = "/var/lib/flexvol/default"
# This pattern finds a sentence that names its volume twice.
DOUBLED = re.compile(r"((?:volume|pool) \S+?):? \1\b")


class State(NamedTuple):
    """id: the state as a sentence. prepare: brings a node with the driver and an empty pool
    `default` into it. words: all of them are in what doctor says. status: doctor's exit status, 0
    for a state that is only remarked on. after: ends what the machine would keep of it."""

    id: str
    prepare: Callable[[Node], None]
    words: tuple[str, ...]
    status: int = 1
    after: Callable[[Node], None] = lambda node: None


def run(node: Node, *line: str) -> None:
    done = node.enter(*line)
    assert done.returncode == 0, done


def link_to_the_pool(node: Node) -> None:
    run(node, "mv", POOL, "/var/lib/kubelet/big-disk")
    node.path(POOL).symlink_to("/var/lib/kubelet/big-disk")


def everything_removed(node: Node) -> None:
    run(node, "sh", "-c", "rm -rf /var/lib/flexvol/*")


def another_disk_over_the_pool(node: Node) -> None:
    run(node, "mount", "-t", "tmpfs", "none", POOL)


def a_strangers_pool_in_its_place(node: Node) -> None:
    another_disk_over_the_pool(node)
    stranger = '{"schema": 1, "id": "0123456789abcdef", "overcommit": 1, "reserve": "0"}'
    node.path(f"{POOL}/pool.json").write_text(stranger)


def no_memory_of_the_pool(node: Node) -> None:
    node.path("/etc/flexvol/pools.json").unlink()


def damaged_memory(node: Node) -> None:
    node.path("/etc/flexvol/pools.json").write_text("{")


def damaged_settings(node: Node) -> None:
    node.path("/etc/flexvol/config.json").write_text("{")


def a_growth_that_did_not_come_to_its_end(node: Node) -> None:
    node.provision(size=64 << 20)
    path = node.pod_dir("web")
    node.fails("Internal", "expandfs", node.options(), "", path, str(256 << 20), "0")


def a_check_that_was_stopped(node: Node) -> None:
    node.provision()
    node.image().with_name("undo").write_bytes(b"E2UNDO02")


def locks_left_behind_by_a_copy(node: Node) -> None:
    node.provision()
    run(node, "rm", "-r", f"{POOL}/.locks")


def no_locks_can_be_made(node: Node) -> None:
    run(node, "sh", "-c", f"rm -rf {POOL}/.locks && touch {POOL}/.locks")


def read_only_disk(node: Node) -> None:
    run(node, "mount", "--bind", POOL, POOL)
    run(node, "mount", "-o", "remount,bind,ro", POOL)


def a_file_in_the_pool(node: Node) -> None:
    node.path(f"{POOL}/photo").write_text("precious")


def a_directory_in_the_pool(node: Node) -> None:
    node.path(f"{POOL}/backup").mkdir()
    node.path(f"{POOL}/backup/photo").write_text("precious")


def a_file_beside_an_image(node: Node) -> None:
    node.provision()
    node.path(f"{POOL}/pvc-1/photo").write_text("precious")


def a_file_in_what_was_left_of_a_deletion(node: Node) -> None:
    node.path(f"{POOL}/.deleted-00ff").mkdir()
    node.path(f"{POOL}/.deleted-00ff/photo").write_text("precious")


def a_stream_that_was_cut(node: Node) -> None:
    node.provision()
    line = "{0} export pvc-1 | head -c 200000 | sed s/pvc-1/pvc-2/ | {0} import"
    node.enter("sh", "-c", line.format(" ".join(node.executable)))


def a_stage_that_a_killed_mount_left(node: Node) -> None:
    node.provision()
    node.mount("web")
    stage = "/run/flexvol/stage/" + node.loop_devices()[0].rpartition("/")[2]
    run(node, "mkdir", "-p", stage)
    run(node, "mount", "--bind", node.pod_dir("web"), stage)
    run(node, "umount", node.pod_dir("web"))


def disk_of_its_own(node: Node, *options: str) -> None:
    """Makes the pool anew on an ext4 disk of 120 MiB."""
    disk = str(node.directory / "disk")
    run(node, "truncate", "-s", "120M", disk)
    run(node, "mkfs.ext4", "-q", *options, disk)
    run(node, "mount", "-o", "loop", disk, POOL)
    node.command("pool", "init", "default", "--replace", "--reserve", "0")


def disk_without_inodes(node: Node) -> None:
    disk_of_its_own(node, "-N", "64")
    run(node, "sh", "-c", f"n=0; while touch {POOL}/.taken-$n; do n=$((n+1)); done 2>&1")


def a_disk_that_others_filled(node: Node) -> None:
    disk_of_its_own(node)
    node.provision()
    run(node, "fallocate", "-l", "90M", f"{POOL}/.taken")


def a_file_system_that_a_backup_froze(node: Node) -> None:
    node.provision()
    node.mount("web")
    run(node, "fsfreeze", "-f", node.pod_dir("web"))
    run(node, "umount", node.pod_dir("web"))


def its_next_mount(node: Node) -> None:
    node.mount("web")
    node.unmount("web")


def an_image_cut_short(node: Node) -> None:
    node.provision()
    run(node, "truncate", "-s", "32M", f"{POOL}/pvc-1/image")


def the_image_of_another_volume(node: Node) -> None:
    node.provision()
    node.provision("pvc-2")
    run(node, "cp", "--sparse=always", f"{POOL}/pvc-2/image", f"{POOL}/pvc-1/image")


def an_empty_image(node: Node) -> None:
    an_image_cut_short(node)
    run(node, "truncate", "-s", "0", f"{POOL}/pvc-1/image")
    run(node, "truncate", "-s", "64M", f"{POOL}/pvc-1/image")


def no_image(node: Node) -> None:
    node.provision()
    run(node, "rm", f"{POOL}/pvc-1/image")


def no_record(node: Node) -> None:
    node.provision()
    run(node, "rm", f"{POOL}/pvc-1/volume.json")


def a_damaged_record(node: Node) -> None:
    node.provision()
    node.path(f"{POOL}/pvc-1/volume.json").write_text("{")


def errors_that_the_kernel_noted(node: Node) -> None:
    node.provision()
    run(node, "debugfs", "-w", "-R", "ssv state 2", f"{POOL}/pvc-1/image")


def a_device_made_by_hand(node: Node) -> None:
    node.provision()
    run(node, "losetup", "-f", f"{POOL}/pvc-1/image")


def losetup_d(node: Node) -> None:
    run(node, "losetup", "-d", *node.loop_devices())


def an_option_that_the_kernel_refuses(node: Node) -> None:
    node.provision()
    record = {**node.record(), "mountOptions": ["commit=9999999999"]}
    node.path(f"{POOL}/pvc-1/volume.json").write_text(json.dumps(record))
    node.mount("web")


STATES = [
    State(
        "others have filled the disk of a pool",
        a_disk_that_others_filled,
        (
            f"WRONG  pool default at {POOL}: 0 MiB can still be promised",
            "free some space at once",
        ),
    ),
    State(
        "a backup froze a file system that no pod has any more",
        a_file_system_that_a_backup_froze,
        ("WRONG  volume pvc-1", "was frozen, as backups do", "the next mount thaws it"),
        after=its_next_mount,
    ),
    State(
        "an image is shorter than the volume",
        an_image_cut_short,
        (
            "WRONG  volume pvc-1: its image has 33554432 bytes and its record says 67108864",
            "restore image and volume.json together",
        ),
    ),
    State(
        "an image has no file system",
        an_empty_image,
        ("WRONG  volume pvc-1: its image does not carry the ext4 that its record says",),
    ),
    State(
        "the image of another volume was put in the place of an image",
        the_image_of_another_volume,
        ("WRONG  volume pvc-1: its image does not carry the ext4", "was made in it"),
    ),
    State("an image is missing", no_image, (f"its image is missing in {POOL}/pvc-1",)),
    State(
        "the record of a volume is missing",
        no_record,
        (
            "WRONG  volume pvc-1",
            "volume.json is missing",
            "restore that file from a backup",
        ),
    ),
    State(
        "the record of a volume is no JSON",
        a_damaged_record,
        ("WRONG  volume pvc-1", "volume.json cannot be read", "do not remove the volume"),
    ),
    State(
        "the kernel noted errors in a file system",
        errors_that_the_kernel_noted,
        ("WRONG  volume pvc-1: the kernel noted errors in its ext4",),
    ),
    State(
        "somebody attached a loop device to an image",
        a_device_made_by_hand,
        (
            "WRONG  volume pvc-1: /dev/loop",
            "was attached to it by hand",
            "losetup -d /dev/loop",
        ),
        after=losetup_d,
    ),
    State(
        "the kernel refuses an option that a volume is to be mounted with",
        an_option_that_the_kernel_refuses,
        ("volume pvc-1 is mounted without 'commit=9999999999'",),
        status=0,
    ),
    State(
        "what came of a stream that was cut",
        a_stream_that_was_cut,
        (f"{POOL}/.importing-pvc-2 is the part of the stream of volume pvc-2 that has come",),
        status=0,
    ),
    State(
        "a mount was killed on an old kernel, and its stage is left",
        a_stage_that_a_killed_mount_left,
        (
            "WRONG  volume pvc-1: a killed callout left a mount that no pod has",
            "the next mount or unmount of any volume clears it, or: umount /run/flexvol/stage/",
        ),
    ),
    State(
        "the file system of a volume is smaller than the volume",
        a_growth_that_did_not_come_to_its_end,
        (
            "WRONG  volume pvc-1: its ext4 has 64 MiB, 256 MiB asked",
            "when its next pod starts",
        ),
    ),
    State(
        "a check or growth of a volume was stopped",
        a_check_that_was_stopped,
        (
            "WRONG  volume pvc-1: a check or growth of its ext4 was stopped",
            f"{POOL}/pvc-1/undo",
        ),
    ),
    State(
        "a pool was copied without its lock files, which are made again",
        locks_left_behind_by_a_copy,
        ("pool default at", "Nothing is wrong."),
        status=0,
    ),
    State(
        "something else lies where the lock files of a pool are made",
        no_locks_can_be_made,
        ("WRONG  pool default at", f"move {POOL}/.locks out of the pool"),
    ),
    State(
        "the disk of a pool is read-only",
        read_only_disk,
        ("WRONG  pool default at", "read-only", f"mount -o remount,rw {POOL}"),
    ),
    State(
        "a file that is not flexvol's lies in a pool",
        a_file_in_the_pool,
        (f"{POOL}/photo is not flexvol's and is left alone", "move it out of the pool"),
        status=0,
    ),
    State(
        "a directory that is not flexvol's lies in a pool",
        a_directory_in_the_pool,
        (f"{POOL}/backup is not flexvol's and is left alone",),
        status=0,
    ),
    State(
        "a file that is not flexvol's lies beside an image",
        a_file_beside_an_image,
        (f"{POOL}/pvc-1/photo is not flexvol's and is left alone",),
        status=0,
    ),
    State(
        "a file that is not flexvol's lies in what was left of a deletion",
        a_file_in_what_was_left_of_a_deletion,
        (f"{POOL}/.deleted-00ff/photo is not flexvol's", "goes by itself"),
        status=0,
    ),
    State(
        "the disk of a pool has no inodes left",
        disk_without_inodes,
        (f"WRONG  pool default at {POOL}", "No space left on device", f"df -i {POOL}"),
    ),
    State(
        "everything below /var/lib/flexvol was removed",
        everything_removed,
        (f"WRONG  pool default is not mounted at {POOL}", "mount its disk there"),
    ),
    State(
        "another disk is mounted over a pool",
        another_disk_over_the_pool,
        (f"WRONG  pool default is not mounted at {POOL} (it has no pool.json)",),
    ),
    State(
        "the pool of another node is mounted in the place of a pool",
        a_strangers_pool_in_its_place,
        ("WRONG  pool default is away", "0123456789abcdef", "mount its own disk there"),
    ),
    State(
        "a pool is there that the node has not noted",
        no_memory_of_the_pool,
        (
            "pool default is not noted in /etc/flexvol/pools.json",
            "loop pool init default",
        ),
        status=0,
    ),
    State(
        "the note of the node's pools is damaged",
        damaged_memory,
        ("WRONG  /etc/flexvol/pools.json cannot be read", "mend that file"),
    ),
    State(
        "the administrator's settings are no JSON",
        damaged_settings,
        ("WRONG  /etc/flexvol/config.json cannot be read", "mend that file"),
    ),
    State(
        "the directory of a pool is a link to another disk",
        link_to_the_pool,
        (
            "pool default",
            f"{POOL} is a symbolic link",
            f"rm {POOL} && mkdir {POOL} && mount --bind /var/lib/kubelet/big-disk {POOL}",
        ),
    ),
]


@pytest.mark.parametrize("state", STATES, ids=[state.id for state in STATES])
def test_doctor_names_the_state_and_the_remedy_and_changes_nothing(
    node: Node, state: State
) -> None:
    node.command("install", PLUGINS)
    state.prepare(node)
    before = node.snapshot()

    status = node.enter(*node.executable, "status").stdout.decode()
    done = node.enter(*node.executable, "doctor", PLUGINS)
    after = node.snapshot()
    state.after(node)

    report = done.stdout.decode()
    assert done.stderr == b""
    assert [word for word in state.words if word not in report] == [], report
    assert done.returncode == state.status, report
    assert DOUBLED.findall(report) + DOUBLED.findall(status) == []
    assert after == before
