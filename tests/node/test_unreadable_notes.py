"""A pools.json or pool.json that cannot be read: the answer says what the file holds and how it is
put right, and proposes nothing that would forget a pool; nothing is made in its place either."""

from __future__ import annotations

import pytest

from tests.node.nodes import Node

NOTES = "/etc/flexvol/pools.json"
SETTINGS = "/var/lib/flexvol/default/pool.json"
LOSING = ("--replace", "--away", "rm ")
CONTENTS = {
    "empty": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "no object": b"[]",
    "an empty object": b"{}",
    "of another program": b'{"pools": 7}',
}
WORDS = [
    ["pool", "init", "default"],
    ["pool", "init", "default", "--replace"],
    ["pool", "remove", "default"],
    ["pool", "remove", "default", "--away"],
    ["pool", "cordon", "default"],
    ["pool", "list"],
    ["doctor"],
    ["status"],
]


def damage(node: Node, file: str, how: str) -> None:
    node.path(file).unlink()
    if how == "a directory":
        node.path(file).mkdir()
        return
    node.path(file).write_bytes(CONTENTS[how])


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
@pytest.mark.parametrize("file", [NOTES, SETTINGS], ids=["pools.json", "pool.json"])
@pytest.mark.parametrize("how", [*CONTENTS, "a directory"])
def test_a_command_says_what_the_file_holds_and_loses_nothing(
    node: Node, file: str, words: list[str], how: str
) -> None:
    node.provision()
    identity = node.pool_id()
    damage(node, file, how)
    before = node.snapshot()

    done = node.enter(*node.executable, *words)

    said = (done.stdout + done.stderr).decode()
    assert file in said, said
    assert '"schema": 1' in said and '"id": "' in said, said
    assert [word for word in LOSING if word in said] == []
    assert (identity in said) == (file == SETTINGS)
    assert node.snapshot() == before
