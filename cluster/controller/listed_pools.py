"""The pools of the nodes, as their drivers list them: their state, and what is wrong with them.
Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cluster.controller.objects import Object
from cluster.controller.storage import Listed

Key = tuple[str, str]
_NUMBERS = (
    "capacityBytes",
    "committedBytes",
    "usedBytes",
    "reserveBytes",
    "freeBytes",
    "maximumVolumeBytes",
)


def _each(listed: dict[Key, Listed]) -> Iterator[tuple[str, str, Object]]:
    """The node, the driver and the entry of each pool, in their order."""
    for (node, driver), of_driver in sorted(listed.items()):
        for pool in of_driver.pools:
            yield node, driver, pool


def pools_away(listed: dict[Key, Listed]) -> list[tuple[str, str, str]]:
    """The pools that cannot be used, away or sick: node, name and why.

    listed: by node and driver."""
    return [
        (node, str(pool.get("name")), str(pool["error"]))
        for node, _, pool in _each(listed)
        if pool.get("error")
    ]


def pools(listed: dict[Key, Listed]) -> list[Object]:
    """One object for each pool of each node: node, driver, name, id, state, the reason of a state
    that takes no volumes, and its numbers in bytes; None for a number that is not known.

    listed: by node and driver."""
    return [_described(node, driver, pool) for node, driver, pool in _each(listed)]


def _described(node: str, driver: str, pool: Object) -> Object:
    state, why = _state_of(pool)
    described: Object = {
        "node": node,
        "driver": driver,
        "pool": str(pool.get("name")),
        "id": pool.get("id"),
        "state": state,
        "why": why,
    }
    for key in _NUMBERS:
        number = pool.get(key)
        described[key] = number if isinstance(number, int) else None
    return described


def _state_of(pool: Object) -> tuple[str, str]:
    """The state in words, and why the pool takes no volumes."""
    if pool.get("error"):
        return "away", str(pool["error"])
    if pool.get("cordoned"):
        return "cordoned", "it takes no new volumes; undone on its node by: loop pool uncordon"
    if pool.get("noRoom"):
        return "closed", str(pool["noRoom"])
    return "takes volumes", ""


class _Site(NamedTuple):
    """Where a pool id is. words: for a sentence. is_shared: on a file system that other nodes may
    have mounted too."""

    node: str
    words: str
    is_shared: bool


def same_pools(listed: dict[Key, Listed]) -> list[str]:
    """A sentence for each pool id that is in more than one place: of a copied disk, such as a
    cloned machine's, or of a disk that was moved to another node. Nodes that have one network file
    system mounted share the pool on purpose.

    listed: by node and driver."""
    present: dict[Key, list[_Site]] = {}
    away: dict[Key, list[_Site]] = {}
    for node, driver, pool in _each(listed):
        if isinstance(pool.get("id"), str):
            sites = away if pool.get("error") else present
            sites.setdefault((driver, pool["id"]), []).append(_site(node, pool))
    sentences = []
    for key, sites_of_id in present.items():
        sentence = _on_sites(key[1], sites_of_id, away.get(key, []))
        if sentence:
            sentences.append(sentence)
    return sentences


def _site(node: str, pool: Object) -> _Site:
    words = f"pool {pool['name']}"
    if node:
        words += f" of node {node}"
    return _Site(node, words, pool.get("mayBeShared") is True)


def _on_sites(pool_id: str, present: list[_Site], away: list[_Site]) -> str:
    """The sentence about the sites of one id; "" if nothing is wrong with them."""
    if _are_one_network_disk(present):
        return ""
    if len(present) > 1:
        return _on_twins(pool_id, present)
    if not away:
        return ""
    missed = ", ".join(site.words for site in away)
    return (
        f"{missed} is away, and {present[0].words} has its id {pool_id}: its disk was "
        "moved there. Mount the disk where it was, or make its volumes that node's, "
        "which keeps their claims: kubectl flexvol move --all --from NODE"
    )


def _are_one_network_disk(sites: list[_Site]) -> bool:
    """Whether each site is another node's mount of a network file system. Two pools of one node
    are not: their volumes would be counted twice."""
    nodes = {site.node for site in sites if site.is_shared}
    return len(nodes) == len(sites)


def _on_twins(pool_id: str, sites: list[_Site]) -> str:
    names = " and ".join(site.words for site in sites)
    return (
        f"{names} have the same id {pool_id}, so one is a copy of the other, as on a "
        "cloned machine, and a volume's PV may mean either; on the copy, move its "
        "volumes away (kubectl flexvol move --all --from NODE), then make its pool "
        "anew: loop pool remove NAME, and loop pool init NAME. Nodes that share one "
        "disk on purpose need nothing"
    )
