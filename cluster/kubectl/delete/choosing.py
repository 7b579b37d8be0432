"""Which volume a person means by a word."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from cluster.controller.inventory import ARCHIVED, SNAPSHOT, Key, Row
from shared import protocol

# What outlives the claim that its record names.
KEPT = (SNAPSHOT, ARCHIVED)


class Place(NamedTuple):
    """Where a person says that a volume is; None where nothing was said."""

    node: str | None
    pool: str | None

    def holds(self, row: Row) -> bool:
        """Whether the volume is where the person says."""
        if self.node is not None and self.node != row.node:
            return False
        return self.pool is None or self.pool == row.entry.get("pool")

    def __str__(self) -> str:
        """As the end of a sentence."""
        node = "" if self.node is None else f" on node {self.node}"
        pool = "" if self.pool is None else f" in pool {self.pool}"
        return node + pool


def place_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the volume of a name is: a name may be on two nodes, or in two pools."""
    parser.add_argument("--node", metavar="NAME", help="the node that it is on")
    parser.add_argument("--pool", metavar="NAME", help="the pool that it is in")


def choose(
    word: str,
    place: Place,
    rows: list[Row],
    silent: dict[Key, str],
) -> Row:
    """The volume that a person means by its name, or by the claim that it was of.

    silent: why a node did not answer, by node and driver.

    :raises NotFound: if no node lists it, with the nodes that did not answer.
    :raises InvalidArgument: if there are several."""
    found = [row for row in rows if _is_meant(row, word) and place.holds(row)]
    if len(found) == 1:
        return found[0]
    shown = protocol.shown(word)
    if found:
        each = ", ".join(map(_where, found))
        raise protocol.InvalidArgument(
            f"{shown} may be {each}; name the volume, and where it is: --node, --pool"
        )
    asked = f"volume, archive or snapshot {shown}"
    if "/" in word:
        asked = f"volume of the claim {shown}"
    sentences = [f"there is no {asked}{place}; see: kubectl flexvol inventory"]
    for (node, _), why in silent.items():
        sentences.append(f"node {node or '-'} did not answer: {why}")
    raise protocol.NotFound("; ".join(sentences))


def _is_meant(row: Row, word: str) -> bool:
    """By NAMESPACE/CLAIM neither the snapshots nor the archives of the claim are meant."""
    if "/" in word:
        return row.claim == word and row.state not in KEPT
    return row.name == word


def _where(row: Row) -> str:
    pool = row.entry.get("pool") or "-"
    return f"{row.name} on node {row.node or '-'} in pool {pool} ({row.state})"
