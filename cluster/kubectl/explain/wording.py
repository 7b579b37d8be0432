"""How a sentence names several nodes."""

from __future__ import annotations

from collections.abc import Collection

NAMED = 5  # how many nodes a sentence names, so that it can be read in a cluster of hundreds


def nodes_named(nodes: Collection[str]) -> str:
    """ "node a", "nodes a, b", "nodes a, b, c, d, e and 12 more"."""
    first = sorted(nodes)[:NAMED]
    noun = "node" if len(nodes) == 1 else "nodes"
    names = ", ".join(first)
    rest = len(nodes) - len(first)
    if rest:
        return f"{noun} {names} and {rest} more"
    return f"{noun} {names}"


def have(nodes: Collection[str]) -> str:
    """The verb behind the nodes."""
    return "have" if len(nodes) > 1 else "has"
