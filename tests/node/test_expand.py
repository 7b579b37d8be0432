"""A volume grows while it is mounted where the kernel allows it, else at its next pod, and never
shrinks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from tests.node.growing import expand, grow_at_next_pod, may_grow_mounted_ext4, size, tool_grows
from tests.node.nodes import MIB, Node
from tests.node.tools import with_tool


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_it_grows_while_pods_use_it(node: Node, fs: str) -> None:
    node.provision(size=320 * MIB, fs=fs)
    reader = node.mount("reader", access="ro")
    pod = node.mount("web")
    (pod / "data").write_text("kept")

    with (pod / "data").open("a"):  # a running pod has files open
        assert node.ok(*expand(node, "web", 640 * MIB))["volumeNewSize"] == 640 * MIB

    assert size(pod) > 560 * MIB
    assert size(reader) == size(pod)
    assert (reader / "data").read_text() == "kept"
    assert node.image().stat().st_size == node.record()["sizeBytes"] == 640 * MIB


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_what_a_thick_volume_grows_by_is_really_taken(node: Node, fs: str) -> None:
    node.provision(size=320 * MIB, fs=fs, thick="true")
    node.mount("web")

    node.ok(*expand(node, "web", 640 * MIB))

    assert node.image().stat().st_blocks * 512 >= node.image().stat().st_size == 640 * MIB


def test_btrfs_grows_to_what_it_can_be_grown_to(node: Node) -> None:
    """The kernel refuses less than 256 MiB, so that is what a smaller growth gets."""
    node.provision(fs="btrfs", size=112 * MIB)
    pod = node.mount("web")

    reply = node.ok(
        "expandfs",
        node.options(),
        "",
        node.pod_dir("web"),
        str(128 * MIB),
        str(112 * MIB),
    )

    assert reply["volumeNewSize"] == 256 * MIB
    assert os.statvfs(pod).f_blocks * 4096 == 256 * MIB


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_growth_may_be_repeated_and_never_shrinks(node: Node, fs: str) -> None:
    node.provision(size=320 * MIB, fs=fs)
    pod = node.mount("web")
    node.ok(*expand(node, "web", 640 * MIB))  # ext4 too: this pod is only just starting
    grown = size(pod)

    node.ok(*expand(node, "web", 640 * MIB))
    node.ok(*expand(node, "web", 320 * MIB))

    assert size(pod) == grown
    assert node.image().stat().st_size == 640 * MIB
    assert len(node.loop_devices()) == 1


def test_ext4_grows_while_mounted_or_says_why_not_and_grows_at_the_next_pod(node: Node) -> None:
    node.provision(size=64 * MIB)
    pod = node.mount("web")
    (pod / "data").write_text("kept")
    # The mount namespace of the container has the volume too.
    container = node.start("unshare", "-m", "sh", "-c", "echo started; exec sleep 60")
    assert container.stdout and container.stdout.readline() == b"started\n"
    try:
        if may_grow_mounted_ext4():
            node.ok(*expand(node, "web", 128 * MIB))
            assert size(pod) > 110 * MIB
        else:
            message = node.fails("Unavailable", *expand(node, "web", 128 * MIB))
            assert message.endswith(
                "the kernel does not let us grow a mounted ext4 (that needs CAP_SYS_RESOURCE, "
                "which this kubelet "
                "lacks); the volume grows when its next pod starts"
            )
            assert size(pod) < 64 * MIB
            assert (pod / "data").read_text() == "kept"
    finally:
        container.kill()
        container.communicate()
    node.unmount("web")

    pod = node.mount("next")

    assert size(pod) > 110 * MIB
    assert (pod / "data").read_text() == "kept"
    node.ok(*expand(node, "next", 128 * MIB))


@pytest.mark.short
def test_ext4_that_grew_while_no_pod_ran_grows_when_one_starts(node: Node) -> None:
    """kubelet calls mount, which cannot know the new size, and then expandfs, before any container
    sees the volume."""
    node.provision(size=64 * MIB)
    (node.mount("first") / "data").write_text("kept")
    node.unmount("first")
    pod = node.mount("web")

    node.ok(*expand(node, "web", 128 * MIB))

    assert size(pod) > 110 * MIB
    assert (pod / "data").read_text() == "kept"
    flags = dict(node.mounts())[node.pod_dir("web")].split(",")
    assert {"rw", "nosuid", "nodev"} <= set(flags)
    node.unmount("web")
    assert (
        subprocess.run(
            ["e2fsck", "-n", "-f", node.image()], capture_output=True, check=False
        ).returncode
        == 0
    )


def test_growth_past_the_pools_limit_is_refused_and_changes_nothing(node: Node) -> None:
    node.provision(size=320 * MIB, fs="xfs")
    pod = node.mount("web")
    before = size(pod)
    record = node.record()

    message = node.fails("ResourceExhausted", *expand(node, "web", 1 << 50))

    assert "can still be promised (capacity " in message
    assert (size(pod), node.record(), node.image().stat().st_size) == (before, record, 320 * MIB)


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_growth_that_does_not_fit_names_the_volume_and_the_command_that_gives_it_up(
    node: Node, fs: str
) -> None:
    node.provision(size=320 * MIB, fs=fs)
    pod = node.mount("web")
    (pod / "data").write_text("kept")

    message = node.fails("ResourceExhausted", *expand(node, "web", 1 << 50))

    assert message.endswith(
        "; volume pvc-1 keeps its 320 MiB and its data; to cancel the growth: "
        "kubectl flexvol cancel-expansion shop/data"
    )
    assert (pod / "data").read_text() == "kept"
    node.unmount("web")
    assert (node.mount("next") / "data").read_text() == "kept"


def test_growth_of_a_volume_that_is_not_mounted_is_kept_for_the_next_pod(node: Node) -> None:
    node.provision(size=320 * MIB, fs="xfs")

    assert "next pod" in node.fails("Internal", *expand(node, "web", 640 * MIB))

    assert size(node.mount("web")) > 560 * MIB


def test_ext4_is_not_unmounted_to_grow_once_the_pod_has_a_container(node: Node) -> None:
    node.provision(size=64 * MIB)
    pod = node.mount("web")
    node.path("/var/lib/kubelet/pods/web/containers/main").mkdir(parents=True)
    if may_grow_mounted_ext4():
        node.ok(*expand(node, "web", 128 * MIB))
    else:
        assert "next pod" in node.fails("Unavailable", *expand(node, "web", 128 * MIB))
        assert size(pod) < 64 * MIB
    assert dict(node.mounts()).keys() == {node.pod_dir("web")}


# Growth that cannot be.


@tool_grows
def test_a_thousandfold_growth_is_reached_in_steps(make_node: Callable[..., Node]) -> None:
    """resize2fs does not pass in one step the size that mkfs reserved descriptors for."""
    node = make_node()
    node.command("pool", "init", "default", "--reserve", "0", "--overcommit", "100")
    node.provision(size=64 * MIB)
    (node.mount("writer") / "data").write_text("kept")
    node.unmount("writer")
    pod = node.mount("web")

    reply = node.ok(*expand(node, "web", 70 * 1024 * MIB))

    assert reply["volumeNewSize"] == 70 * 1024 * MIB
    assert size(pod) > 67 * 1024 * MIB
    assert (pod / "data").read_text() == "kept"
    node.unmount("web")
    line = ["e2fsck", "-n", "-f", str(node.image())]
    assert subprocess.run(line, capture_output=True, check=False).returncode == 0


@tool_grows
@pytest.mark.parametrize(
    ("tool", "script"),
    [
        pytest.param("resize2fs", "echo no; exit 1", id="resize2fs refuses"),
        pytest.param("resize2fs", "kill -9 $$", id="resize2fs is killed"),
        pytest.param(
            "e2fsck",
            'case "$*" in *-n*) exec "$real" "$@";; esac; exit 8',
            id="e2fsck fails",
        ),
    ],
)
def test_growth_that_fails_does_not_keep_a_pod_from_its_data(
    node: Node, tool: str, script: str
) -> None:
    node.provision(size=64 * MIB)
    (node.mount("writer") / "data").write_text("kept")
    node.unmount("writer")
    grow_at_next_pod(node, 256 * MIB)
    with_tool(node, tool, script)

    pod = node.mount("web")

    assert (pod / "data").read_text() == "kept"
    assert size(pod) < 64 * MIB
    message = node.fails("Unavailable", *expand(node, "web", 256 * MIB))
    assert "volume pvc-1 has 64 MiB, 256 MiB asked: " in message
    assert (pod / "data").read_text() == "kept", "kubelet takes it for mounted"
    (entry,) = node.ok("list")["volumes"]
    assert (entry["sizeBytes"], entry["fileSystemBytes"]) == (256 * MIB, 64 * MIB)
    assert "its ext4 has 64 MiB, 256 MiB asked" in node.enter(
        *node.executable, "status"
    ).stdout.decode().replace("\n", " ")
    assert "64 MiB, 256 MiB asked" in node.path("/var/log/flexvol/loop.log").read_text()
    node.unmount("web")

    node.path(f"/run/flexvol/bin/{tool}").unlink()
    assert size(node.mount("web")) > 200 * MIB, "with the tool it grows"
