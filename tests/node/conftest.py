"""The fixtures of the tests of a node."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.node.nodes import Node
from tests.node.pools import pool_on

# These files are run with the newest Python only, because the kernel and the tools decide what they
# test, more than the interpreter does. A single test that takes long is marked `newest`.
NEWEST_ONLY = {
    "test_concurrency.py",
    "test_crash.py",
    "test_disk_truth.py",
    "test_features.py",
    "test_frozen.py",
    "test_hanging_driver.py",
    "test_leftovers.py",
    "test_long_work.py",
    "test_next_call.py",
    "test_options.py",
    "test_power_loss.py",
    "test_room.py",
    "test_shapes.py",
    "test_sick_pool.py",
    "test_thick.py",
    "test_trim.py",
    "test_where.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/node/" in item.nodeid:
            item.add_marker(pytest.mark.node)
            if item.path.name in NEWEST_ONLY:
                item.add_marker(pytest.mark.newest)


@pytest.fixture
def make_node(tmp_path: Path, executable: list[str]) -> Iterator[Callable[..., Node]]:
    """Makes nodes; `pool` lets two of them share one directory of pools."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    made: list[Node] = []

    def make(name: str = "node", pool: Path | None = None) -> Node:
        made.append(Node(tmp_path / name, executable, pool))
        return made[-1]

    yield make
    for node in made:
        node.close()
    for node in made:
        node.until_devices(0)
        shutil.rmtree(node.directory)


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    """A node with a pool called default that has no reserve."""
    node = make_node()
    node.command("pool", "init", "default", "--reserve", "0")
    return node


@pytest.fixture(params=["xfs", "btrfs"], ids="a pool on {}".format)
def sharing(node: Node, request: pytest.FixtureRequest) -> Node:
    """A node whose pool is on a file system with reflinks."""
    pool_on(node, request.param)
    return node


@pytest.fixture
def copying(node: Node) -> Node:
    """A node whose pool is on a file system without them."""
    pool_on(node, "ext4")
    return node
