"""doctor finds what keeps a node from serving volumes, says what to do, and its remedies work."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.host.plugin_directory import DISTRIBUTIONS, PLUGIN_DIRECTORY
from tests.node import edits
from tests.node.nodes import Node

PLUGINS = "/var/lib/kubelet/plugins-exec"
INSTALLED = PLUGINS + "/flexvol~loop/loop"


def doctor(node: Node, *argv: str) -> tuple[int, str]:
    done = node.enter(*node.executable, "doctor", *argv)
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


def wrong(node: Node, *argv: str) -> dict[str, str]:
    """What is wrong on the node, and the remedy for each."""
    status, said = doctor(node, *argv)
    lines = said.splitlines()
    found = {
        line[7:]: lines[number + 1]
        for number, line in enumerate(lines)
        if line.startswith("WRONG ")
    }
    assert all(remedy.startswith("       do this: ") for remedy in found.values())
    assert status == (1 if found else 0)
    return {what: remedy[16:] for what, remedy in found.items()}


@pytest.fixture
def installed(node: Node) -> Node:
    node.command("install", PLUGINS)
    return node


@pytest.fixture
def kubelet(node: Node) -> Iterator[Callable[..., int]]:
    """Starts what looks like a kubelet to the node, with these arguments; gives its process
    number."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*argv: str) -> int:
        script = 'exec -a /usr/bin/kubelet sh -c "echo; kill -STOP \\$\\$" "$@"'
        started.append(node.start("bash", "-c", script, "bash", "kubelet", *argv))
        assert started[-1].stdout and started[-1].stdout.readline() == b"\n"
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_sound_node(installed: Node) -> None:
    installed.provision()
    installed.mount("web")

    status, said = doctor(installed, PLUGINS)

    lines = said.splitlines()
    assert status == 0, said
    assert lines[-2:] == ["", "Nothing is wrong."]
    assert [line for line in lines[:-2] if not line.startswith("ok     ")] == []
    for seen in (
        f"{INSTALLED} answers init",
        "Python 3.",
        "pool default at",
        "volumes: 1, of them mounted: 1",
        "ext4",
    ):
        assert seen in said


def test_the_running_kubelet_tells_where_it_looks(
    installed: Node, kubelet: Callable[..., int]
) -> None:
    pid = kubelet("--v=2", "--volume-plugin-dir", PLUGINS)

    status, said = doctor(installed)

    assert f"kubelet's plugin directory is {PLUGINS} (kubelet, process {pid}, says so)" in said
    assert status == 0


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            json.dumps({"kind": "KubeletConfiguration", "volumePluginDir": PLUGINS}),
            id="the settings are JSON",
        ),
        pytest.param(f"volumePluginDir: {PLUGINS}", id="the settings are YAML"),
    ],
)
def test_kubelets_file_of_settings_tells_too(
    node: Node, kubelet: Callable[..., int], settings: str
) -> None:
    node.path("/var/lib/kubelet/config").write_text(settings + "\n")
    kubelet("--config=/var/lib/kubelet/config")

    assert wrong(node)[f"{PLUGINS} does not exist"].endswith(f" install {PLUGINS}")


def test_without_a_kubelet_the_usual_directory_is_looked_at(node: Node) -> None:
    assert "the usual one: no process called kubelet runs here" in doctor(node)[1]


@pytest.fixture
def etc(make_node: Callable[..., Node]) -> Iterator[Node]:
    """A node with an /etc/rancher, a /var/snap and a /home of its own."""
    places = ("/etc/rancher/k3s", "/var/snap/microk8s/current/args", "/home/kubernetes")
    tops = [Path(top) for top in ("/etc/rancher", "/var/snap", "/home")]
    made = [top for top in tops if not top.exists()]
    for top in made:
        top.mkdir()
    node = make_node()
    node.command("pool", "init", "default", "--reserve", "0")
    for top, place in zip(tops, places, strict=True):
        assert node.enter("mount", "-t", "tmpfs", "none", str(top)).returncode == 0
        node.path(place).mkdir(parents=True)
    yield node
    for top in made:
        top.rmdir()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param(
            "/etc/rancher/k3s/config.yaml",
            f'kubelet-arg:\n  - "volume-plugin-dir={PLUGINS}/"\n',
            id="k3s",
        ),
        pytest.param(
            "/var/snap/microk8s/current/args/kubelet",
            f"--fail-swap-on=false\n--volume-plugin-dir={PLUGINS}\n",
            id="MicroK8s",
        ),
    ],
)
def test_where_kubelet_is_a_part_of_another_program_its_arguments_tell(
    etc: Node, file: str, text: str
) -> None:
    etc.path(file).write_text("# volume-plugin-dir=/no\n" + text)
    assert f"kubelet's plugin directory is {PLUGINS} ({file} says so)" in doctor(etc)[1]

    etc.path(file).write_text("# volume-plugin-dir=/no\n")
    assert (
        f"kubelet's plugin directory is {PLUGIN_DIRECTORY} ({file} names no other)"
        in doctor(etc)[1]
    )


def test_a_distribution_is_known_by_its_directory_and_install_and_doctor_agree(etc: Node) -> None:
    directory = DISTRIBUTIONS["gke"]
    etc.path(directory).mkdir()

    told = etc.command("install")

    assert f"{directory} (no process called kubelet runs here, but there is the one of gke)" in told
    assert etc.path(f"{directory}/flexvol~loop/loop").exists()
    status, said = doctor(etc)
    assert status == 0, said
    assert f"{directory}/flexvol~loop/loop answers init" in said


def test_what_is_not_installed_is_installed_by_the_remedy(node: Node) -> None:
    node.path(PLUGINS).mkdir()

    remedy = wrong(node, PLUGINS)[f"no driver loop is installed in {PLUGINS}"]

    assert node.enter(*remedy.split()).returncode == 0
    assert wrong(node, PLUGINS) == {}


def test_a_directory_that_cannot_run_programs_or_take_them(installed: Node) -> None:
    installed.enter("mount", "--bind", PLUGINS, PLUGINS)
    assert installed.enter("mount", "-o", "remount,bind,noexec,ro", PLUGINS).returncode == 0

    found = wrong(installed, PLUGINS)

    assert f"{PLUGINS} is mounted noexec, so kubelet can run nothing there" in found
    assert f"{PLUGINS} is read-only, so nothing can be installed or updated there" in found
    assert any(what.startswith(f"{INSTALLED} does not work") for what in found)


def test_an_installed_file_that_is_another_version_broken_or_slow(
    installed: Node, for_python: Path, tmp_path: Path
) -> None:
    file = installed.path(INSTALLED)
    sound = file.read_bytes()

    file.write_bytes(for_python.read_bytes())
    (slow,) = wrong(installed, PLUGINS).items()
    assert "no bytecode for this Python" in slow[0]
    assert installed.enter(*slow[1].split()).returncode == 0
    assert wrong(installed, PLUGINS) == {}

    file.write_bytes(older(for_python, tmp_path))
    (what,) = wrong(installed, PLUGINS)
    assert f"{INSTALLED} is version 0.0.1, and this is " in what

    file.write_bytes(sound[:-2000])
    (what,) = wrong(installed, PLUGINS)
    assert f"{INSTALLED} does not work" in what


def older(archive: Path, work: Path) -> bytes:
    """The same file with another version in it."""
    (copy,) = edits.edited(archive, work / "older", edits.VERSION.to("0.0.1"))
    return Path(copy).read_bytes()


def test_what_killed_installs_and_callouts_left(installed: Node) -> None:
    pool = "/var/lib/flexvol/default"
    installed.path(PLUGINS + "/.flexvol~loop.new").mkdir()
    installed.path(pool + "/.new-pvc-9").mkdir()
    installed.path(pool + "/.deleted-0123456789abcdef").mkdir()

    found = wrong(installed, PLUGINS)

    assert found.pop(
        f"{PLUGINS}/.flexvol~loop.new was left by an install that was killed"
    ).endswith("install " + PLUGINS)
    assert found == {
        f"{pool}/.new-pvc-9 was left by a callout that was killed": "loop list",
        f"{pool}/.deleted-0123456789abcdef was left by a callout that was killed": "loop list",
    }
    installed.command("install", PLUGINS)
    installed.ok("list")
    assert wrong(installed, PLUGINS) == {}


def test_pools_that_are_full_or_away(installed: Node) -> None:
    installed.path("/etc/flexvol/config.json").write_text(
        json.dumps({"pools": {"away": "/var/lib/flexvol/disk"}})
    )
    installed.command("pool", "init", "full", "--reserve", "100%")
    installed.path("/var/lib/flexvol/tiny").mkdir()
    assert (
        installed.enter(
            "mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", "/var/lib/flexvol/tiny"
        ).returncode
        == 0
    )
    installed.command("pool", "init", "tiny")

    found = wrong(installed, PLUGINS)

    (full,) = (
        what for what in found if what.startswith("pool full at /var/lib/flexvol/full: 0 MiB")
    )
    assert "lower the reserve" in found[full]
    (away,) = (
        what for what in found if what.startswith("pool away is not mounted, or was never made")
    )
    assert "pool default" in found[away] and "mount the disk of pool away" in found[away]
    assert "pool init" not in found[away]
    (tiny,) = (what for what in found if what.startswith("pool tiny at /var/lib/flexvol/tiny: "))
    assert "writes to thin volumes fail" in found[tiny]
    assert len(found) == 3


def test_a_default_pool_whose_disk_went_away(installed: Node) -> None:
    installed.path("/var/lib/flexvol/default").rename(installed.path("/var/lib/flexvol/away-"))

    (what,) = wrong(installed, PLUGINS)
    assert what.startswith("pool default is not mounted at /var/lib/flexvol/default")


def test_missing_tools_matter_where_they_are_needed(installed: Node, tmp_path: Path) -> None:
    """A node whose /usr/sbin has neither e2fsck nor mkfs.xfs: ext4 is the default, xfs needs no
    tool to be mounted."""
    for name in ("losetup", "resize2fs", "mkfs.ext4", "mkfs.btrfs"):
        (tmp_path / name).symlink_to("/usr/bin/true")
    script = 'mount --bind "$0" /usr/sbin && exec "$@" doctor ' + PLUGINS
    done = installed.enter(
        "unshare", "-m", "sh", "-c", script, str(tmp_path), *installed.executable
    )

    said = done.stdout.decode()

    assert done.returncode == 1
    assert (
        "WRONG  ext4 cannot be checked and grown: e2fsck is missing\n       do this: install "
        "the package"
    ) in said
    assert "ok     xfs: mounts here; made only in the provisioner's container\n" in said
    assert "ok     btrfs: mounts here\n" in said


def test_a_kernel_without_what_is_needed(installed: Node, tmp_path: Path) -> None:
    """xfs is wanted by a volume, btrfs by none; and there are no loop devices."""
    installed.provision(size=320 << 20, fs="xfs")
    for name in ("sbin", "dev", "dev/null", "filesystems"):
        (tmp_path / name).mkdir() if name in ("sbin", "dev") else (tmp_path / name).touch()
    (tmp_path / "filesystems").write_text("nodev\tproc\n\text4\n")
    script = (
        'cd "$0" && mount --bind /dev/null dev/null && mount --rbind dev /dev && mount --bind '
        "sbin /usr/sbin && "
        'mount --bind filesystems /proc/filesystems && exec "$@" doctor ' + PLUGINS
    )
    done = installed.enter(
        "unshare", "-m", "sh", "-c", script, str(tmp_path), *installed.executable
    )

    said = done.stdout.decode()

    assert done.returncode == 1
    assert "WRONG  the kernel has no xfs\n       do this: install the kernel's module xfs\n" in said
    assert "ok     the kernel has no btrfs; no volume here needs it\n" in said
    assert "WRONG  cannot get a loop device: " in said
    assert "do this: load the kernel module: modprobe loop\n" in said


def test_only_root_is_told_anything(node: Node) -> None:
    copy = "/var/lib/kubelet/flexvol"  # where others may read it
    shutil.copy(node.executable[-1], node.path(copy))
    for command in ("status", "doctor"):
        done = node.enter("setpriv", "--reuid=65534", "--clear-groups", copy, command)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"run it with sudo" in done.stderr
