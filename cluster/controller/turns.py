"""When it is this node's turn to take a claim that any node might take: the nodes with more room
have theirs before."""

from __future__ import annotations

from cluster.controller import decide
from cluster.controller.copy_sources import CopySources
from cluster.controller.listing import Listing
from cluster.controller.objects import Claim, StorageClass
from cluster.controller.own_node import OwnNode
from cluster.controller.rivals import Rivals

# The pause before each next node may take a claim that is no node's yet, and how many pauses there
# are at the most.
_RANK_SECONDS = 0.3
_RANKS = 20
# Where more nodes than are compared have as much room as this one, they look at a claim one after
# the other for so long. Most find it taken, and ask for nothing.
_CROWD_SECONDS = 3.0
# Until a node that pods cannot go to looks again whether others fit.
_PASSED_OVER_SECONDS = 10.0


class Turns:
    """All methods may be called by any thread."""

    def __init__(
        self, node: OwnNode, rivals: Rivals, listing: Listing, sources: CopySources
    ) -> None:
        """listing: of the drivers of this node."""
        self._node = node
        self._rivals = rivals
        self._listing = listing
        self._sources = sources

    def seconds(
        self, claim: Claim, storage_class: StorageClass, waited_seconds: float
    ) -> float | None:
        """How long a claim must be free until this node takes it, or looks again; None if the claim
        is not for this node. What needs no request comes first: each claim is looked at by every
        node.

        waited_seconds: how long the claim has been free.
        :raises Refused, Unreachable: by the API server.
        :raises Unavailable: if the node has no hostname."""
        driver = self._node.drivers[storage_class.provisioner]
        if claim.is_copy:
            return self._copy_seconds(claim, storage_class, driver)
        room = self._node.rooms.of_class(storage_class.name)
        if room is None and self._listing.has_pools(driver):
            return None  # not published yet
        if room is not None and room < claim.requested_bytes:
            return None
        if not self._node.is_allowed(storage_class):
            return None
        if not self._node.takes_pods():
            return self._passed_over_seconds(claim, storage_class.name, waited_seconds)
        if room is None:
            return _pauses(self._rank({}, claim))
        return self._compared_seconds(claim, storage_class.name, waited_seconds)

    def _copy_seconds(self, claim: Claim, storage_class: StorageClass, driver: str) -> float | None:
        """A copy is made where its source is."""
        if not self._node.is_allowed(storage_class):
            return None
        if not self._sources.has_source(claim, driver):
            return None
        return 0.0

    def _compared_seconds(
        self, claim: Claim, class_name: str, waited_seconds: float
    ) -> float | None:
        """For a node whose room is published, and is enough."""
        look_seconds = decide.chance(claim.uid, self._node.name) * _CROWD_SECONDS
        if self._rivals.are_crowd(class_name) and waited_seconds < look_seconds:
            return look_seconds
        comparison = self._rivals.compared(class_name)
        if comparison.are_all:
            return _pauses(self._rank(comparison.rooms, claim))
        if comparison.have_more:
            return look_seconds + _RANKS * _RANK_SECONDS
        return look_seconds

    def _passed_over_seconds(
        self, claim: Claim, class_name: str, waited_seconds: float
    ) -> float | None:
        """For a node that pods cannot go to, which takes a claim only while no other node has room
        for it. Where no room is published no node knows that of the others, so this one takes the
        claim after all others could."""
        if self._node.rooms.of_class(class_name) is None:
            rank_by_chance = self._rank({}, claim) or 0
            return (rank_by_chance + _RANKS) * _RANK_SECONDS
        hostname = self._node.recent_hostname()
        if self._rivals.others_fit(class_name, claim.requested_bytes, hostname):
            return waited_seconds + _PASSED_OVER_SECONDS
        comparison = self._rivals.compared_with_all(class_name)
        rank = self._rank(comparison.rooms, claim)
        return _pauses(_RANKS if rank is None else rank)

    def _rank(self, rooms: dict[str, int], claim: Claim) -> int | None:
        hostname = self._node.recent_hostname()
        return decide.rank(rooms, hostname, claim.requested_bytes, claim.uid)


def _pauses(rank: int | None) -> float | None:
    """rank: how many nodes have their turn before; None if this one has none."""
    if rank is None:
        return None
    return min(rank, _RANKS) * _RANK_SECONDS
