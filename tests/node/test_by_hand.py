"""A person who runs the driver by hand is taught, and reads a sentence; a program still gets one
JSON object."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
from collections.abc import Iterator

import pytest

import flexvol
from protocol import CALLOUTS
from tests.node.conftest import Node


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal: the end to read what is shown, and the end that a program has."""
    shown, used = pty.openpty()
    yield shown, used
    os.close(shown)
    os.close(used)


def run_on(node: Node, used: int, *argv: str, stdout: int = subprocess.PIPE) -> bytes:
    process = node.start(
        *node.executable, *argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=used
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output or b""


def test_a_terminal_shows_the_message_and_stdout_is_the_object(
    node: Node, terminal: tuple[int, int]
) -> None:
    shown, used = terminal

    reply = json.loads(run_on(node, used, "unmount", "/nowhere"))
    assert reply == {"status": "Success", "message": "it was already gone"}
    assert os.read(shown, 4096) == b"unmount: Success: it was already gone\r\n"

    reply = json.loads(run_on(node, used, "mount", "/nowhere", node.options()))
    assert reply["status"] == "Failure"
    assert os.read(shown, 4096).decode() == "mount: Failure: " + reply["message"] + "\r\n"

    assert json.loads(run_on(node, used, "provision", node.request("pvc-1")))["status"] == "Success"
    assert os.read(shown, 4096) == b"provision: Success\r\n"


def test_on_one_terminal_the_object_comes_first(node: Node, terminal: tuple[int, int]) -> None:
    shown, used = terminal

    run_on(node, used, "attach", "{}", "node-1", stdout=used)

    assert os.read(shown, 4096).decode().splitlines() == [
        '{"status": "Not supported", "reason": "NotSupported", "message": "attach"}',
        "attach: Not supported: attach",
    ]


def test_a_message_does_not_steer_the_terminal(node: Node, terminal: tuple[int, int]) -> None:
    shown, used = terminal
    node.path("/etc/flexvol/config.json").write_text(
        json.dumps({"pools": {"fast": "/\x1b[2J\nforged"}})
    )

    run_on(node, used, "mount", node.pod_dir("web"), node.options(pool="fast"))

    (line,) = os.read(shown, 4096).decode().splitlines()
    assert r"\x1b[2J\nforged" in line


def test_help_names_every_command_and_callout(node: Node) -> None:
    overview = node.command("--help")

    assert overview == node.command() == node.command("help") == node.command("-h")
    for name in (*flexvol.COMMANDS, *CALLOUTS):
        assert f"\n  {name} " in overview or f"\n  {name}\n" in overview


@pytest.mark.parametrize("command", [name for name in flexvol.COMMANDS if name != "help"])
def test_each_command_explains_itself(node: Node, command: str) -> None:
    explained = node.command(command, "--help")

    assert explained == node.command("help", command)
    assert explained.startswith("usage: flexvol " + command)
    assert len(explained.split()) > 25


@pytest.mark.parametrize("callout", CALLOUTS)
def test_each_callout_is_explained_with_an_example_that_it_understands(
    node: Node, callout: str
) -> None:
    explained = node.command("help", callout)
    words = shlex.split(explained.splitlines()[-1])
    example = [word.replace('"poolId": "ID"', f'"poolId": "{node.pool_id()}"') for word in words]

    assert explained == node.command(callout, "--help") == node.command(callout, "-h")
    assert all(f"\n  {argument} " in explained for argument in CALLOUTS[callout].arguments)
    assert example[:2] == ["flexvol", callout]
    reply = node.run(*example[1:])
    assert ("does not support it" in explained) == (reply["status"] == "Not supported")
    if reply["status"] == "Failure":  # for want of what only this node can say
        assert reply["message"].startswith(
            ("volume pvc-1: option pool is missing", "volume pvc-1 is not in pool default")
        ) or (
            callout in ("mount", "expandfs")
            and reply["message"].endswith("is not a directory; kubelet creates it before it calls")
        )


def test_there_is_no_help_for_what_there_is_not(node: Node) -> None:
    done = node.enter(*node.executable, "help", "moutn")

    assert (done.returncode, done.stdout) == (1, b"")
    assert b"there is no callout or command 'moutn'" in done.stderr
