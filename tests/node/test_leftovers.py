"""What a crash left beside an image is used only for the very image, in the very state, that it is
of: a backup may have been restored meanwhile, or the image mounted or repaired by hand."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node.cases import needs_stepper
from tests.node.clones import clone
from tests.node.contents import check_data, check_sound, checksum, fill, with_data
from tests.node.growing import may_grow_mounted_ext4
from tests.node.killing import step
from tests.node.nodes import MIB, Node
from tests.node.pools import pool_on

pytestmark = needs_stepper

SMALL = 64 * MIB
LARGE = 512 * MIB


def is_sound(node: Node, volume: str = "pvc-1") -> bool:
    line = ["e2fsck", "-f", "-n", str(node.image(volume))]
    return subprocess.run(line, capture_output=True, check=False).returncode == 0


def undo_of(node: Node, volume: str = "pvc-1") -> Path:
    return node.image(volume).with_name("undo")


def cut(
    node: Node,
    tmp_path: Path,
    words: list[str],
    again: Callable[[], object],
    is_cut: Callable[[], bool],
) -> None:
    """Kills the callout at calls of its tools until `is_cut`. again: brings the node back to where
    the callout starts."""
    calls = step(node, tmp_path, words)
    again()
    points = [number + 1 for number, call in enumerate(calls) if call["tool"]]
    for point in reversed(points):
        step(node, tmp_path, words, point)
        if is_cut():
            return
        node.ok(*words)
        again()
    pytest.fail("killed at none of its calls it leaves what is half done")


@pytest.fixture
def half_grown(node: Node, tmp_path: Path) -> Node:
    """A node with a volume whose growth by resize2fs was killed, so that it is not sound, and with
    a backup of that volume as it was before: /var/lib/flexvol/backup.tar."""
    if may_grow_mounted_ext4():
        pytest.skip("the kernel grows it, no tool")
    with_data(node, "ext4", SMALL)
    backup = ["tar", "-cSf", "/var/lib/flexvol/backup.tar", "-C", "/var/lib/flexvol/default"]
    assert node.enter(*backup, "pvc-1").returncode == 0
    web = node.pod_dir("web")

    def again() -> None:
        if web in [path for path, _ in node.mounts()]:
            node.unmount("web")
        restore(node)
        node.pod_dir("web")
        node.fails("Internal", "expandfs", node.options(), "", web, str(LARGE), "0")

    again()
    cut(
        node,
        tmp_path,
        ["mount", web, node.options()],
        again,
        lambda: undo_of(node).exists() and not is_sound(node),
    )
    node.until_devices(0)
    return node


def restore(node: Node) -> None:
    """The way of docs/backup.md."""
    line = ["tar", "-xSf", "/var/lib/flexvol/backup.tar", "-C", "/var/lib/flexvol/default"]
    done = node.enter(*line)
    assert done.returncode == 0, done


def by_hand(node: Node, script: str) -> None:
    done = node.enter("sh", "-ec", f"cd /var/lib/flexvol/default/pvc-1; {script}")
    assert done.returncode == 0, done


def test_a_growth_that_was_cut_is_undone_and_done_again(half_grown: Node) -> None:
    half_grown.mount("web")
    check_data(half_grown, "web")
    half_grown.unmount("web")
    assert is_sound(half_grown)
    assert not undo_of(half_grown).exists()
    assert sorted(path.name for path in half_grown.image().parent.iterdir()) == [
        "image",
        "volume.json",
    ]


def test_a_restored_backup_keeps_its_data_byte_for_byte(half_grown: Node) -> None:
    node = half_grown
    restore(node)
    before = checksum_of(node.image())

    node.mount("web", access="ro")

    check_data(node, "web")
    node.unmount("web")
    assert is_sound(node)
    by_hand(node, "mkdir /run/flexvol/hand; mount -o ro,loop image /run/flexvol/hand")
    assert not undo_of(node).exists()
    by_hand(node, "umount /run/flexvol/hand")
    restore(node)
    assert checksum_of(node.image()) == before, "the backup itself is as it was"


def checksum_of(path: Path) -> str:
    done = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    return done.stdout.split()[0]


def test_a_backup_written_over_the_same_file_keeps_its_data(half_grown: Node) -> None:
    """The file is then the same, with its inode and time of birth; only its state is another."""
    node = half_grown
    with_later_data(node)
    by_hand(node, f"cat /run/flexvol/later > image; truncate -s {LARGE} image")

    assert (node.mount("web") / "later").read_text() == "later"
    check_data(node, "web")
    node.unmount("web")
    assert is_sound(node)


def with_later_data(node: Node, stop: str = "umount /run/flexvol/hand") -> None:
    """Makes /run/flexvol/later: the backup's image, mounted a second later and written to."""
    time.sleep(1.1)  # a file system notes its mounts in seconds
    by_hand(
        node,
        "mkdir /run/flexvol/hand; cd /run/flexvol; mkdir restored;"
        "tar -xSf /var/lib/flexvol/backup.tar -C restored;"
        "mount -o loop restored/pvc-1/image hand; echo -n later > hand/later; sync -f hand;"
        f"{stop}; mv restored/pvc-1/image later",
    )


def test_a_backup_of_a_volume_in_use_is_replayed_and_not_undone(half_grown: Node) -> None:
    """Its journal is not empty, so that a look without writing calls it unsound."""
    node = half_grown
    with_later_data(node, "cp --sparse=always restored/pvc-1/image copy; umount hand")
    restore(node)
    by_hand(node, "mv /run/flexvol/copy image; dumpe2fs -h image | grep needs_recovery")

    assert (node.mount("web") / "later").read_text() == "later"
    node.unmount("web")
    assert is_sound(node)
    assert not undo_of(node).exists()


def test_an_image_repaired_by_hand_is_not_undone(half_grown: Node) -> None:
    node = half_grown
    done = node.enter("e2fsck", "-f", "-y", "/var/lib/flexvol/default/pvc-1/image")
    assert done.returncode in (0, 1), done
    with_hand_mount(node)

    assert (node.mount("web") / "by-hand").read_text() == "kept"
    node.unmount("web")
    assert is_sound(node)


def with_hand_mount(node: Node) -> None:
    by_hand(
        node,
        "mkdir /run/flexvol/hand; mount -o loop image /run/flexvol/hand;"
        "echo -n kept > /run/flexvol/hand/by-hand; umount /run/flexvol/hand",
    )
    node.until_devices(0)


def test_an_image_repaired_mounted_and_noted_as_bad_by_hand_is_checked_and_not_undone(
    half_grown: Node,
) -> None:
    node = half_grown
    done = node.enter("e2fsck", "-f", "-y", "/var/lib/flexvol/default/pvc-1/image")
    assert done.returncode in (0, 1), done
    time.sleep(1.1)
    with_hand_mount(node)
    by_hand(node, 'debugfs -w -R "set_super_value state 2" image')

    assert (node.mount("web") / "by-hand").read_text() == "kept"
    node.unmount("web")
    assert is_sound(node)
    assert not undo_of(node).exists()


def test_a_copy_of_the_half_done_image_is_left_alone_with_a_sentence(half_grown: Node) -> None:
    """It is another file in the same state, and nobody can tell where it came from."""
    node = half_grown
    by_hand(node, "cp --sparse=always image copy; mv copy image; rm -f work.json")
    before = node.snapshot(), checksum_of(node.image()), checksum_of(undo_of(node))

    message = node.fails("Unavailable", "mount", node.pod_dir("web"), node.options())

    assert "resize2fs was stopped" in message
    assert "e2undo -f undo image" in message
    assert "in a copy of the volume's directory" in message
    after = node.snapshot(), checksum_of(node.image()), checksum_of(undo_of(node))
    assert after == before


def test_an_undo_of_an_older_flexvol_that_says_not_what_it_is_of_is_not_forced(
    half_grown: Node,
) -> None:
    node = half_grown
    undo_of(node).with_name("undo.json").unlink()
    with_later_data(node, "cp --sparse=always restored/pvc-1/image copy; umount hand")
    restore(node)
    by_hand(node, "mv /run/flexvol/copy image")
    before = checksum_of(node.image())

    node.fails("Internal", "mount", node.pod_dir("web"), node.options())

    assert checksum_of(node.image()) == before


@pytest.mark.parametrize("volume", ["another volume's image", "a shorter image"])
def test_what_is_not_the_volume_is_refused_before_anything_is_written(
    half_grown: Node, volume: str
) -> None:
    node = half_grown
    if volume == "a shorter image":
        by_hand(node, "truncate -s 32M image")
    else:
        node.provision("pvc-2", size=LARGE)
        by_hand(node, "cp --sparse=always ../pvc-2/image image")
    before = checksum_of(node.image())

    assert "left alone" in node.fails("Internal", "mount", node.pod_dir("web"), node.options())

    assert checksum_of(node.image()) == before
    assert undo_of(node).exists()


# A copy of an xfs, beside which an older flexvol noted that it was clearing the log.


@pytest.fixture
def noted(node: Node) -> Node:
    """A node with a copy, pvc-2, of an xfs in use: what its pod had fsynced is in its log only."""
    pool_on(node, "xfs")
    node.provision(size=300 * MIB, fs="xfs")
    wanted = fill(node.mount("web"))
    clone(node, fs="xfs")
    node.path("/run/flexvol/wanted").write_text(wanted)
    undo_of(node, "pvc-2").write_text("the log is empty\n")
    return node


def test_what_is_in_the_log_of_a_restored_copy_is_kept(noted: Node) -> None:
    node = noted
    wanted = node.path("/run/flexvol/wanted").read_text()

    assert checksum(node.mount("check", "pvc-2")) == wanted

    node.unmount("check", "pvc-2")
    beside = {path.name for path in node.image("pvc-2").parent.iterdir()}
    assert beside == {"image", "volume.json"}
    assert node.record("pvc-2")["newUuid"] == ""
    check_sound(node, "pvc-2")


def test_a_copy_that_the_kernel_does_not_mount_is_left_alone_with_a_sentence(noted: Node) -> None:
    node = noted
    # These are the first blocks of its four groups.
    with node.image("pvc-2").open("rb+") as image:
        for group in range(4):
            image.seek(group * 75 * MIB + 4096)
            image.write(bytes(4096))
    path = node.pod_dir("check", "pvc-2")

    message = node.fails("Unavailable", "mount", path, node.options("pvc-2"))

    assert "make the copy again, or put a backup" in message
    assert undo_of(node, "pvc-2").exists()
