"""The pools of the nodes: their state, and one id in two places."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller import listed_pools
from cluster.controller.storage import Listed
from cluster.kubectl.inventory import tables

DRIVER = "flexvol/loop"


def pool(name: str, pool_id: str, **more: Any) -> Listed:
    return Listed([], [{"name": name, "id": pool_id, **more}])


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        pytest.param(
            pool("default", "5f"),
            pool("default", "5f"),
            "pool default of node node1 and pool default of node node2 have the same id 5f",
            id="a cloned machine",
        ),
        pytest.param(
            pool("fast", "5f", error="away"),
            pool("disk", "5f"),
            "pool fast of node node1 is away, and pool disk of node node2 has its id 5f",
            id="a disk that was moved",
        ),
        pytest.param(pool("default", "5f"), pool("default", "60"), "", id="two pools"),
        pytest.param(
            pool("default", "5f", mayBeShared=True),
            pool("default", "5f", mayBeShared=True),
            "",
            id="one network file system that both have mounted",
        ),
        pytest.param(
            pool("default", "5f", mayBeShared=True),
            pool("default", "5f"),
            "pool default of node node1 and pool default of node node2 have the same id 5f",
            id="a network file system and its copy on a disk",
        ),
        pytest.param(
            pool("default", "5f", mayBeShared=True),
            pool("default", "5f", error="away"),
            "",
            id="a network file system that one of two nodes has not mounted",
        ),
        pytest.param(
            pool("default", "5f", mayBeShared=True),
            pool("default", "5f", mayBeShared=True, error="it is read-only"),
            "",
            id="a network file system that is read-only on one of two nodes",
        ),
        pytest.param(
            pool("default", "5f", error="x"), pool("default", "5f", error="x"), "", id="both away"
        ),
        pytest.param(pool("default", "5f"), Listed([], [{"name": "default"}]), "", id="no ids"),
    ],
)
def test_one_pool_id_in_two_places_is_said(first: Listed, second: Listed, words: str) -> None:
    sentences = listed_pools.same_pools({("node1", DRIVER): first, ("node2", DRIVER): second})

    assert len(sentences) == bool(words)
    assert words in "".join(sentences)


@pytest.mark.parametrize("shared", [False, True], ids=["on disks", "on a network file system"])
def test_two_pools_of_one_node_with_one_id_are_said_too(shared: bool) -> None:
    pools = [{"name": name, "id": "5f", "mayBeShared": shared} for name in ("old", "new")]
    copied = Listed([], pools)

    (sentence,) = listed_pools.same_pools({("node1", DRIVER): copied})

    assert "pool old of node node1 and pool new of node node1 have the same id 5f" in sentence


def test_pools_that_cannot_be_used_are_named_with_their_nodes() -> None:
    pools = [{"name": "default", "id": "5f"}, {"name": "fast", "id": "60", "error": "away"}]

    assert listed_pools.pools_away({("node1", DRIVER): Listed([], pools)}) == [
        ("node1", "fast", "away")
    ]


@pytest.mark.parametrize(
    ("listed", "state", "why"),
    [
        pytest.param({"freeBytes": 5}, "takes volumes", "", id="a pool with room"),
        pytest.param({"error": "x is away"}, "away", "x is away", id="a pool that is away"),
        pytest.param({"cordoned": True}, "cordoned", "takes no new volumes", id="a cordoned pool"),
        pytest.param(
            {"noRoom": "no inodes"}, "closed", "no inodes", id="a disk that is full of files"
        ),
        pytest.param({"freeBytes": "many"}, "takes volumes", "", id="a number that is none"),
    ],
)
def test_the_pools_of_each_node_are_shown_with_their_room(
    listed: dict[str, Any], state: str, why: str
) -> None:
    answers = {
        ("node2", DRIVER): Listed([], [{"name": "fast", "id": "60", "capacityBytes": 9, **listed}]),
        ("node1", DRIVER): Listed([], [{"name": "default"}]),
    }

    first, second = listed_pools.pools(answers)

    assert (first["node"], first["pool"], first["capacityBytes"]) == ("node1", "default", None)
    assert (second["node"], second["state"], second["capacityBytes"]) == ("node2", state, 9)
    assert why in second["why"]
    assert second["freeBytes"] in (5, None)
    cells = tables.pool_cells(second)
    assert len(cells) == len(tables.POOL_HEADINGS)
    assert cells[:3] == ["node2", "fast", state]
