"""The driver needs no network and asks for none: a volume's life where there is none, and each of
its calls watched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.node.nodes import MIB, Node

PLUGINS = "/var/lib/kubelet/plugins-exec"
SIZES = {"ext4": 64 * MIB, "xfs": 300 * MIB, "btrfs": 112 * MIB}


class Watched:
    """Runs the driver in a network namespace with nothing in it, and notes each network call of it
    and its children."""

    def __init__(self, node: Node, notes: Path) -> None:
        self.node = node
        self.notes = notes
        self._executable = node.executable
        node.executable = [
            "unshare",
            "-n",
            "strace",
            "-f",
            "-qq",
            "-A",
            "-o",
            str(notes),
            "-e",
            "trace=%network",
        ]
        node.executable += ["-e", "signal=none", *self._executable]

    def calls(self) -> list[str]:
        return [line.split(" ", 1)[1].strip() for line in self.notes.read_text().splitlines()]


@pytest.fixture
def watched(node: Node, tmp_path: Path) -> Watched:
    return Watched(node, tmp_path / "calls")


def foreign(calls: list[str]) -> list[str]:
    """What is not about the system log's socket: each call but that socket's own, and those of
    other families. One that is killed just as strace looks at it has called nothing, and strace
    does not know what it would have called."""
    mine = re.compile(
        r"socket\(AF_UNIX, SOCK_DGRAM\|SOCK_CLOEXEC, 0\)|connect\(\d+, \{sa_family=AF_UNIX, "
        r'sun_path="/dev/log"\}'
        r"|send(to)?\(\d+, \"<"
        r"|\?+\( <detached \.\.\.>$"
    )
    return [call for call in calls if not mine.match(call)]


@pytest.mark.parametrize("fs", SIZES)
def test_a_volumes_life_makes_no_network_call_but_to_the_system_log(
    watched: Watched, fs: str
) -> None:
    node = watched.node
    size = SIZES[fs]
    node.ok("init")
    node.provision(fs=fs, size=size)
    node.mount("web")
    node.mount("db", access="ro")
    if fs != "ext4":  # which may need a right that not every machine has
        node.ok(
            "expandfs",
            node.options(),
            "",
            node.pod_dir("web"),
            str(2 * size),
            str(size),
        )
    node.ok("list")
    node.unmount("db")
    node.unmount("web")
    node.ok("delete", node.deletion())

    assert foreign(watched.calls()) == []


def test_the_commands_for_a_person_make_none_either(watched: Watched) -> None:
    node = watched.node
    for line in (
        "install " + PLUGINS,
        "pool init fast",
        "pool cordon fast",
        "status",
        "trim",
        "uninstall " + PLUGINS,
    ):
        node.command(*line.split())
    node.enter(*node.executable, "doctor", PLUGINS)

    assert foreign(watched.calls()) == []


def test_the_watch_sees_what_it_looks_for(watched: Watched) -> None:
    node = watched.node
    asks = "import _socket; _socket.socket().connect_ex(('192.0.2.1', 443))"

    done = node.enter(
        *node.executable[: node.executable.index("signal=none") + 1],
        "python3",
        "-c",
        asks,
    )

    assert done.returncode == 0
    assert [call.split("(")[0] for call in foreign(watched.calls())] == ["socket", "connect"]
    assert "unreachable" in watched.calls()[-1]
