"""A name that several pools of a node hold: nothing tells which volume is meant, so a command that
is not told acts on neither. And an image that is not what its record says is not copied."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.node.nodes import MIB, Node

POOLS = ("default", "fast")


@pytest.fixture
def twice(node: Node) -> Node:
    """A node on which two pools hold a volume pvc-1 and a snapshot `kept`, as after a copy."""
    node.command("pool", "init", "fast", "--reserve", "0")
    node.provision(also={"kubernetes.io/pvc.uid": "awaited"})
    node.command("snapshot", "pvc-1", "kept")
    root = "/var/lib/flexvol"
    for name in ("pvc-1", "kept"):
        done = node.enter("cp", "-a", f"{root}/default/{name}", f"{root}/fast/{name}")
        assert done.returncode == 0, done
    return node


@pytest.mark.parametrize(
    "words",
    [
        ["snapshot", "pvc-1", "other"],
        ["snapshot", "pvc-1", "--keep", "1"],
        ["snapshot", "--delete", "kept"],
        ["export", "pvc-1"],
        ["export", "pvc-1", "--raw"],
        ["export", "kept"],
    ],
    ids=" ".join,
)
def test_a_command_acts_on_neither_and_names_both_pools(twice: Node, words: list[str]) -> None:
    before = twice.snapshot()

    done = twice.enter(*twice.executable, *words)

    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b""), done
    assert "is in pool default and in pool fast" in said and "--pool default" in said
    assert twice.snapshot() == before


def test_a_call_of_adopt_that_names_no_pool_acts_on_neither(twice: Node) -> None:
    before = twice.snapshot()

    said = twice.fails("InvalidArgument", "adopt", twice.request("pvc-1"))

    assert "pool default and in pool fast" in said
    assert twice.snapshot() == before


@pytest.mark.parametrize("pool", POOLS)
def test_a_command_that_is_told_the_pool_acts_there(twice: Node, pool: str) -> None:
    other = POOLS[1 - POOLS.index(pool)]
    record = twice.image(pool=pool).with_name("volume.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"class": pool}))

    twice.command("snapshot", "pvc-1", "later", "--pool", pool)
    twice.command("snapshot", "--delete", "kept", "--pool", pool)
    stream = twice.enter(*twice.executable, "export", "pvc-1", "--pool", pool).stdout
    twice.ok("adopt", twice.request("pvc-1", pool=pool))

    assert json.loads(stream.splitlines()[1])["record"]["class"] == pool
    assert twice.image("later", pool).exists() and not twice.image("later", other).exists()
    assert twice.image("kept", other).exists() and not twice.image("kept", pool).exists()
    owners = {
        where: json.loads(twice.image(pool=where).with_name("volume.json").read_text())["owner"]
        for where in POOLS
    }
    assert owners[pool] != owners[other]


def test_a_name_that_one_pool_holds_needs_no_word_for_the_pool(node: Node) -> None:
    node.command("pool", "init", "fast", "--reserve", "0")
    node.provision(pool="fast")

    done = node.enter(*node.executable, "export", "pvc-1", "--raw")

    assert done.returncode == 0 and len(done.stdout) == 64 * MIB


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (["export", "pvc-1"], 32),
        (["export", "--raw", "pvc-1"], 32),
        (["export", "pvc-1"], 0),
        (["snapshot", "pvc-1", "kept"], 32),
    ],
    ids=["a stream", "a bare image", "a stream of an empty image", "a snapshot"],
)
def test_an_image_shorter_than_its_record_says_is_not_copied(
    node: Node, words: list[str], size: int
) -> None:
    node.provision()
    os.truncate(node.image(), size * MIB)
    before = node.snapshot()

    done = node.enter(*node.executable, *words)

    assert (done.returncode, done.stdout) == (1, b""), done
    assert "volume pvc-1: its image has" in done.stderr.decode()
    assert node.snapshot() == before


def test_a_move_of_a_short_image_leaves_its_record_as_it_is(node: Node) -> None:
    node.provision()
    os.truncate(node.image(), 32 * MIB)
    record = node.record()

    words = ["export", "--move", "1", "--to", "node2", "pvc-1"]
    moving = node.start(*node.executable, *words, stdin=subprocess.PIPE)

    assert moving.stdin and moving.stdout
    with moving.stdin, moving.stdout:  # a move lives for as long as its input is open
        said = moving.stdout.read()
        assert moving.wait(20) == 1
    assert b"its image has" in said
    assert node.record() == record
