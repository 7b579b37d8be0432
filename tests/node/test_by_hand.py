"""A person who runs the driver by hand is taught, and reads a sentence; a program still gets one
JSON object."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from node import commands
from shared import schemas
from shared.protocol import CALLOUTS
from tests.node.nodes import Node
from tests.terminals import Terminal


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal() as terminal:
        yield terminal


def run_on(node: Node, used: int, *argv: str, stdout: int = subprocess.PIPE) -> bytes:
    process = node.start(
        *node.executable, *argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=used
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output or b""


def test_a_terminal_shows_the_message_and_stdout_is_the_object(
    node: Node, terminal: Terminal
) -> None:
    reply = json.loads(run_on(node, terminal.used, "unmount", "/nowhere"))
    assert reply == {"status": "Success", "message": "it was already gone"}
    assert terminal.lines() == b"unmount: Success: it was already gone\r\n"

    reply = json.loads(run_on(node, terminal.used, "mount", "/nowhere", node.options()))
    assert reply["status"] == "Failure"
    assert terminal.lines().decode() == "mount: Failure: " + reply["message"] + "\r\n"

    reply = json.loads(run_on(node, terminal.used, "provision", node.request("pvc-1")))
    assert reply["status"] == "Success"
    assert terminal.lines() == b"provision: Success\r\n"


def test_on_one_terminal_the_object_comes_first(node: Node, terminal: Terminal) -> None:
    run_on(node, terminal.used, "attach", "{}", "node-1", stdout=terminal.used)

    assert terminal.lines(2).decode().splitlines() == [
        '{"status": "Not supported", "reason": "NotSupported", "message": "attach"}',
        "attach: Not supported: attach",
    ]


def test_a_message_does_not_steer_the_terminal(node: Node, terminal: Terminal) -> None:
    node.path("/etc/flexvol/config.json").write_text(
        json.dumps({"pools": {"fast": "/\x1b[2J\nforged"}})
    )

    run_on(node, terminal.used, "mount", node.pod_dir("web"), node.options(pool="fast"))

    (line,) = terminal.lines().decode().splitlines()
    assert r"\x1b[2J\nforged" in line


def test_help_names_every_command_and_callout(node: Node) -> None:
    overview = node.command("--help")

    assert overview == node.command() == node.command("help") == node.command("-h")
    for name in (*commands.names(), *CALLOUTS):
        assert f"\n  {name} " in overview or f"\n  {name}\n" in overview


@pytest.mark.parametrize("command", [name for name in commands.names() if name != "help"])
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


def test_help_prints_the_schemas_of_a_callout_or_of_all(node: Node) -> None:
    of_mount = json.loads(node.command("help", "--schema", "mount"))
    of_all = json.loads(node.command("help", "--schema"))

    assert of_mount == schemas.document("mount")
    assert {"mount.request", "mount.reply"} <= set(of_mount["$defs"])
    assert of_all == schemas.document()


def test_there_is_no_schema_of_what_is_no_callout(node: Node) -> None:
    done = node.enter(*node.executable, "help", "--schema", "status")

    assert (done.returncode, done.stdout) == (1, b"")
    assert b"there is no callout 'status'" in done.stderr


def test_there_is_no_help_for_what_there_is_not(node: Node) -> None:
    done = node.enter(*node.executable, "help", "moutn")

    assert (done.returncode, done.stdout) == (1, b"")
    assert b"there is no callout or command 'moutn'" in done.stderr


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        pytest.param("staus", "status may be meant", id="a command"),
        pytest.param("Doctor", "doctor may be meant", id="a command with a capital"),
        pytest.param("unmuont", "unmount may be meant", id="a callout"),
        pytest.param("frobnicate", "known are: init", id="nothing that is like it"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_one_that_may_be_meant(
    node: Node, word: str, meant: str
) -> None:
    """Still as an object: kubelet may know more callouts one day."""
    reply = node.run(word)

    assert reply["status"] == "Not supported"
    assert meant in reply["message"]
    helped = node.enter(*node.executable, "help", word).stderr.decode()
    assert ("may be meant" in helped) == ("may be meant" in meant)


@pytest.mark.parametrize(
    "words",
    [("status",), ("help",), ("pool", "list")],
    ids=" ".join,
)
def test_a_reader_who_leaves_ends_a_command_quietly(node: Node, words: tuple[str, ...]) -> None:
    """As head does, which has left here before the first line."""
    reader, writer = os.pipe()
    os.close(reader)
    process = node.start(*node.executable, *words, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (141, b"")
