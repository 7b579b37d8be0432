"""Which volume a person means by a word."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller import inventory
from cluster.controller.inventory import Row
from cluster.kubectl.delete.choosing import Place, choose
from shared import protocol

ANYWHERE = Place(None, None)


def row(state: str, /, name: str, node: str = "node1", claim: str = "", **entry: Any) -> Row:
    listed = {"name": name, **entry}
    return Row(name, node, "flexvol/loop", claim, [], state, "", "", listed)


ROWS = [
    row(inventory.BOUND, "pvc-new", claim="shop/data"),
    row(inventory.RELEASED, "pvc-kept", claim="shop/old"),
    row(inventory.SNAPSHOT, "before", claim="shop/old"),
    row(inventory.ARCHIVED, "archived-1-pvc-0", claim="shop/old"),
    row(inventory.BOUND, "twice", node="node1"),
    row(inventory.ORPHAN, "twice", node="node2"),
    row(inventory.SNAPSHOT, "pooled", pool="default"),
    row(inventory.SNAPSHOT, "pooled", pool="fast"),
    row(inventory.ORPHAN, "pvc-a", claim="shop/many"),
    row(inventory.ORPHAN, "pvc-b", claim="shop/many"),
]


@pytest.mark.parametrize(
    ("word", "place", "found"),
    [
        pytest.param(
            "pvc-kept",
            ANYWHERE,
            ("pvc-kept", "node1", None),
            id="a volume by its name",
        ),
        pytest.param(
            "shop/old",
            ANYWHERE,
            ("pvc-kept", "node1", None),
            id="the volume of a claim, and not its snapshots and archives",
        ),
        pytest.param(
            "before",
            ANYWHERE,
            ("before", "node1", None),
            id="a snapshot by its name",
        ),
        pytest.param(
            "archived-1-pvc-0",
            ANYWHERE,
            ("archived-1-pvc-0", "node1", None),
            id="an archive by its name",
        ),
        pytest.param(
            "twice",
            Place("node2", None),
            ("twice", "node2", None),
            id="of two nodes the node that is named",
        ),
        pytest.param(
            "pooled",
            Place(None, "fast"),
            ("pooled", "node1", "fast"),
            id="of two pools the pool that is named",
        ),
    ],
)
def test_a_word_means_one_volume(
    word: str, place: Place, found: tuple[str, str, str | None]
) -> None:
    chosen = choose(word, place, ROWS, {})

    assert (chosen.name, chosen.node, chosen.entry.get("pool")) == found


def test_a_word_for_several_or_none_is_told_with_what_there_is() -> None:
    with pytest.raises(protocol.InvalidArgument, match=r"node1 .* .bound., twice on node node2"):
        choose("twice", ANYWHERE, ROWS, {})
    with pytest.raises(protocol.InvalidArgument, match=r"in pool default .*, .* in pool fast "):
        choose("pooled", ANYWHERE, ROWS, {})
    with pytest.raises(protocol.InvalidArgument, match=r"may be pvc-a on .* pvc-b on"):
        choose("shop/many", ANYWHERE, ROWS, {})
    with pytest.raises(protocol.NotFound, match=r"no volume, .* 'x'; .*node3 did not answer: away"):
        choose("x", ANYWHERE, ROWS, {("node3", "flexvol/loop"): "away"})
    with pytest.raises(protocol.NotFound, match="no volume of the claim 'shop/nothing'; see"):
        choose("shop/nothing", ANYWHERE, ROWS, {})
    with pytest.raises(protocol.NotFound, match="snapshot 'twice' on node node9 in pool fast; see"):
        choose("twice", Place("node9", "fast"), ROWS, {})
