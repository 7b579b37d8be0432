"""The name of a pool that this node never had: the answer lists the pools that the node has. A new
pool of a mistyped name would be made on the root disk, so none is proposed."""

from __future__ import annotations

import json

import pytest

from tests.node.nodes import Node

CALLS = {
    "provision": lambda node: ["provision", node.request("pvc-2", pool="defualt")],
    "adopt": lambda node: ["adopt", node.request("pvc-1", pool="defualt")],
    "mount": lambda node: ["mount", node.pod_dir("web"), node.options(pool="defualt")],
    "delete": lambda node: ["delete", node.deletion(pool="defualt")],
}
COMMANDS = [
    ["pool", "cordon", "defualt"],
    ["pool", "uncordon", "defualt"],
    ["pool", "remove", "defualt"],
    ["export", "--pool", "defualt", "pvc-1"],
    ["import", "--pool", "defualt", "--arrived", "pvc-1"],
    ["snapshot", "--pool", "defualt", "pvc-1", "kept"],
    ["trim", "--pool", "defualt"],
]


def check(node: Node, said: str) -> None:
    assert "pool default" in said and "pool fast" in said, said
    assert "pool init" not in said
    assert not node.path("/var/lib/flexvol/defualt").exists()


@pytest.fixture
def two_pools(node: Node) -> Node:
    node.command("pool", "init", "fast", "--reserve", "0")
    node.provision()
    return node


@pytest.mark.parametrize("callout", CALLS)
def test_a_callout_lists_the_pools_of_the_node(two_pools: Node, callout: str) -> None:
    check(two_pools, two_pools.fails("Unavailable", *CALLS[callout](two_pools)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_lists_the_pools_of_the_node(two_pools: Node, words: list[str]) -> None:
    done = two_pools.enter(*two_pools.executable, *words)

    assert done.returncode == 1, done
    check(two_pools, (done.stdout + done.stderr).decode())


def test_a_pool_that_is_not_noted_keeps_a_new_one_from_being_proposed(node: Node) -> None:
    node.path("/etc/flexvol/pools.json").unlink()

    said = node.fails("Unavailable", "provision", node.request("pvc-1", pool="defualt"))

    assert "default in /var/lib/flexvol" in said and "pool init" not in said


def test_a_pool_that_the_settings_place_is_listed(two_pools: Node) -> None:
    settings = {"pools": {"big": "/var/lib/flexvol/disk2"}}
    two_pools.path("/etc/flexvol/config.json").write_text(json.dumps(settings))

    said = two_pools.fails(
        "Unavailable",
        "provision",
        two_pools.request("pvc-2", pool="bgi"),
    )

    assert "pool big and pool default and pool fast" in said
