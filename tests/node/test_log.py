"""Each callout leaves one line, in the system log if there is one, else in a file, and never waits
for it."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.nodes import Node

LOG = "/var/log/flexvol/loop.log"
# The device directory of a node with a system log: with what the driver needs, and the test's
# socket.
WITH_DEV = 'mount --bind /dev/null "$0/null" && mount --rbind "$0" /dev && exec "$@"'


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "dev"
    path.mkdir()
    (path / "null").touch()
    monkeypatch.chdir(path)  # a socket's path is at most 107 characters long
    return path


@pytest.fixture
def system_log(dev: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind("log")
        log.settimeout(10)
        yield log


def run_with_dev(node: Node, dev: Path, *argv: str) -> bytes:
    """A callout on a node whose /dev is the directory `dev`."""
    done = node.enter("unshare", "-m", "sh", "-c", WITH_DEV, str(dev), *node.executable, *argv)
    assert (done.stderr, done.returncode) == (b"", 0)
    assert json.loads(done.stdout)["status"] in ("Success", "Failure")
    output: bytes = done.stdout
    return output


def test_each_callout_is_one_line_with_volume_pod_outcome_and_duration(node: Node) -> None:
    node.provision()
    node.mount("web")
    node.fails(
        "InvalidArgument",
        "mount",
        node.pod_dir("thief"),
        node.options(namespace="evil"),
    )
    node.unmount("web")
    node.ok("delete", node.deletion())

    lines = [
        re.sub(r"^\S+T\S+ (.*) \d+ ms: ", r"\1: ", line)
        for line in node.path(LOG).read_text().splitlines()
    ]

    assert lines[0] == "loop provision pvc-1: Success"
    assert lines[1] == "loop mount pvc-1 pod shop/web: Success"
    assert lines[2].startswith(
        "loop mount pvc-1 pod evil/web: InvalidArgument volume pvc-1 belongs to namespace 'shop'"
    )
    assert lines[3] == "loop unmount /var/lib/kubelet/pods/web/volumes/flexvol~loop/pvc-1: Success"
    assert lines[4:] == ["loop delete pvc-1: Success"]
    assert node.path(LOG).stat().st_mode & 0o777 == 0o600


def test_kubelets_probing_is_not_logged(node: Node) -> None:
    node.ok("init")

    assert not node.path(LOG).exists()


def test_a_system_log_gets_the_line_and_the_file_does_not(
    node: Node, dev: Path, system_log: socket.socket
) -> None:
    run_with_dev(node, dev, "list")
    run_with_dev(node, dev, "mount", "/nowhere", node.options())

    form = r"<(\d+)>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d flexvol\[\d+\]: (.*) \d+ ms: (\w+)"
    succeeded = re.match(form + "$", system_log.recv(4096).decode())
    failed = re.match(form, system_log.recv(4096).decode())
    # The priority is daemon.info.
    assert succeeded and succeeded.groups() == ("30", "loop list", "Success")
    # The priority is daemon.warning.
    assert failed and failed.groups() == (
        "28",
        "loop mount pvc-1 pod shop/web",
        "InvalidArgument",
    )
    assert not node.path(LOG).exists()


def test_a_system_log_that_is_behind_is_not_waited_for(
    node: Node, dev: Path, system_log: socket.socket
) -> None:
    with (
        socket.socket(
            socket.AF_UNIX,
            socket.SOCK_DGRAM,
        ) as flood,
        pytest.raises(BlockingIOError),
    ):
        flood.setblocking(False)
        flood.connect("log")
        while True:
            flood.send(b"<30>more than anybody reads")

    began = time.monotonic()
    run_with_dev(node, dev, "list")

    assert time.monotonic() - began < 30
    assert "loop list" in node.path(LOG).read_text()


def test_a_dead_system_log_is_replaced_by_the_file(
    node: Node, dev: Path, system_log: socket.socket
) -> None:
    system_log.close()

    run_with_dev(node, dev, "list")

    assert "loop list" in node.path(LOG).read_text()


def test_a_line_break_in_a_message_begins_no_line(node: Node) -> None:
    settings = {
        "pools": {
            "fast": "/var/lib/\n2026-01-01T00:00:00+0000 loop delete pvc-1 1 ms: Success \x1b[2J"
        }
    }
    node.path("/etc/flexvol/config.json").write_text(json.dumps(settings))

    message = node.fails(
        "Unavailable",
        "mount",
        node.pod_dir("web"),
        node.options(pool="fast"),
    )

    assert "\n2026-01-01" in message
    (line,) = node.path(LOG).read_text().split("\n")[:-1]
    assert r"fast is at /var/lib/\n2026-01-01T00:00:00+0000 loop delete" in line
    assert r"\x1b[2J" in line


def test_a_full_file_is_renamed_once_and_a_new_one_is_begun(node: Node) -> None:
    log = node.path(LOG)
    older = node.path(LOG + ".1")
    for round_ in range(2):
        node.ok("list")
        with log.open("r+b") as file:
            file.truncate((4 << 20) - round_)
        node.ok("list")

        assert older.stat().st_size > 4 << 20
        assert not log.exists()

    assert sorted(path.name for path in log.parent.iterdir()) == ["loop.log.1"]


def test_without_any_log_the_callout_succeeds_all_the_same(node: Node) -> None:
    log = node.path(LOG)
    log.symlink_to("/var/lib/kubelet/not-a-log")

    node.ok("list")

    assert not node.path("/var/lib/kubelet/not-a-log").exists()
