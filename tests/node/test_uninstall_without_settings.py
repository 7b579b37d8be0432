"""Commands by hand on a node that lacks the settings of its driver: what is missing is told, and
the driver is taken from a node only if no volume can be there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.own_drivers import OwnNode, own_node
from tests.sources import ROOT

SETTINGS = "/etc/flexvol/nfs.json"
# A driver whose volumes lie on the node, and which knows from a file where.
WITH_SETTINGS = """
from node.drivers import Driver, Reply, Unavailable


class Quota(Driver):
    def list(self) -> Reply:
        raise Unavailable("there is no /etc/flexvol/quota.json; write it")
"""
WITH_A_DISK = """
from node.drivers import Driver, Reply


class Disk(Driver):
    def list(self) -> Reply:
        open("/etc/flexvol/disk.json")
        return Reply()
"""


# A driver with a volume, and with a pool that is away.
WITH_VOLUMES = """
from node.drivers import Driver, Reply
from node.operations import Operations


class Rack(Driver):
    def list(self) -> Reply:
        pools = [{"name": "default"}, {"name": "fast", "error": "its disk is not mounted"}]
        return Reply(volumes=[{"name": "pvc-1", "pool": "default"}], pools=pools)
"""
FORGETTING = """
    def operations(self) -> Operations:
        return Pools()


class Pools(Operations):
    def remove_pool(self, name: str, away: bool) -> str:
        return "forgotten"
"""


@pytest.fixture
def nfs(tmp_path: Path) -> Iterator[OwnNode]:
    """A node with the driver of NFS, as the DaemonSet leaves it: the provisioner alone has the
    settings."""
    with own_node(tmp_path, ROOT / "examples/nfs.py") as node:
        yield node


def uninstall(node: OwnNode) -> subprocess.CompletedProcess[bytes]:
    """By the installed file itself, as a person does it."""
    return node.run(node.file, "uninstall", node.file.parent.parent)


def test_a_driver_with_its_volumes_on_a_server_is_taken_away(nfs: OwnNode) -> None:
    done = uninstall(nfs)

    assert done.returncode == 0, done.stdout
    assert f"removed {nfs.file}; the volumes stay on their server".encode() in done.stdout
    assert not nfs.file.parent.exists()


def test_a_driver_of_another_vendor_is_taken_away_from_its_own_directory(nfs: OwnNode) -> None:
    """As of juliohm/cifs, in whose place a driver may have been installed."""
    other = nfs.file.parent.with_name("juliohm~nfs") / nfs.file.name
    shutil.copytree(nfs.file.parent, other.parent)
    directory = nfs.pod_directory().replace("flexvol~nfs", "juliohm~nfs")
    nfs.enter("mkdir", "-p", directory)
    nfs.enter("mount", "-t", "tmpfs", "none", directory)
    line = [other, "uninstall", other.parent.parent]

    refused = nfs.run(*line)
    assert other.exists()
    nfs.enter("umount", directory)
    done = nfs.run(*line)

    assert refused.returncode == 1
    assert b"pods of this node have volumes of juliohm~nfs mounted" in refused.stdout
    assert done.returncode == 0, done.stdout
    assert f"removed {other}".encode() in done.stdout
    assert not other.parent.exists()
    assert nfs.file.exists()


def test_a_driver_whose_volume_a_pod_has_stays(nfs: OwnNode) -> None:
    directory = nfs.pod_directory()
    nfs.enter("mkdir", "-p", directory)
    nfs.enter("mount", "-t", "tmpfs", "none", directory)

    done = uninstall(nfs)

    assert done.returncode == 1
    assert directory.encode() in done.stdout
    assert nfs.file.exists()


@pytest.mark.parametrize(
    ("name", "source", "missing"),
    [
        pytest.param("quota", WITH_SETTINGS, "there is no /etc/flexvol/quota.json", id="it tells"),
        pytest.param("disk", WITH_A_DISK, "/etc/flexvol/disk.json", id="the system tells"),
    ],
)
def test_a_driver_that_cannot_list_its_volumes_stays_and_tells_why(
    tmp_path: Path, name: str, source: str, missing: str
) -> None:
    driver = tmp_path / f"{name}.py"
    driver.write_text(source)
    with own_node(tmp_path, driver) as node:
        done = uninstall(node)

        assert done.returncode == 1
        message = done.stdout.decode()
        assert f"cannot tell whether volumes of flexvol~{name} are on this node" in message
        assert missing in message
        assert f"rm -r {node.file.parent}" in message
        assert node.file.exists()


@pytest.mark.parametrize(
    ("pools", "remedy"),
    [
        pytest.param("", "rm -r {directory}", id="it cannot forget a pool"),
        pytest.param(FORGETTING, "rack pool remove NAME --away", id="it can forget a pool"),
    ],
)
def test_a_refusal_names_commands_that_the_driver_has(
    tmp_path: Path, pools: str, remedy: str
) -> None:
    driver = tmp_path / "rack.py"
    driver.write_text(WITH_VOLUMES + pools)
    with own_node(tmp_path, driver) as node:
        done = uninstall(node)

        assert done.returncode == 1
        message = done.stdout.decode()
        assert "what has no claim, such as an archive: rack delete NAME\n" in message
        forgotten = remedy.format(directory=node.file.parent)
        assert f"if it will never come back: {forgotten}\n" in message
        assert "loop" not in message
        assert node.file.exists()


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        pytest.param(["delete", "--yes", "pvc-9"], "see: rack list", id="no such volume"),
        pytest.param(["delete", "--yes", "pvc-1"], "see rack list", id="a volume without an owner"),
        pytest.param(["delete", "--help"], "as rack list names it", id="the help"),
    ],
)
def test_the_other_commands_name_the_driver_too(
    tmp_path: Path, words: list[str], advice: str
) -> None:
    driver = tmp_path / "rack.py"
    driver.write_text(WITH_VOLUMES)
    with own_node(tmp_path, driver) as node:
        message = node.run(node.file, *words).stdout.decode()

        assert advice in " ".join(message.split())
        assert "loop" not in message


def test_a_command_that_needs_the_settings_names_the_file(nfs: OwnNode) -> None:
    done = nfs.run(nfs.file, "delete", "--yes", "pvc-1")

    assert done.returncode == 1
    assert f"there is no {SETTINGS}, which names the exports".encode() in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["doctor", "{plugins}"], id="doctor"),
        pytest.param(["status"], id="status"),
        pytest.param(["pool", "list"], id="pool"),
        pytest.param(["trim"], id="trim"),
        pytest.param(["snapshot", "pvc-1"], id="snapshot"),
        pytest.param(["export", "pvc-1"], id="export"),
        pytest.param(["help", "mount"], id="help"),
    ],
)
def test_no_other_command_fails_for_want_of_the_settings(nfs: OwnNode, words: list[str]) -> None:
    plugins = str(nfs.file.parent.parent)

    done = nfs.run(nfs.file, *(word.format(plugins=plugins) for word in words))

    assert SETTINGS.encode() not in done.stdout
    assert b"Traceback" not in done.stdout
