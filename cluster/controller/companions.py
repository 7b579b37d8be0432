"""The claims of one pod go to one node together.

The scheduler chooses a node for all new claims of a pod, and does not know where the source of a
copy is. The copy is made on the node of its source. A volume that was made here meanwhile, for
another claim of the same pod, would keep that pod Pending for ever.

A node's account may not read pods, so each claim of the copy's namespace that the scheduler sent to
the same node counts as a claim of the copy's pod. A claim of another pod only loses a moment,
because the scheduler chooses its node once more."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from cluster.controller.copy_sources import CopySources
from cluster.controller.instance import Instance
from cluster.controller.objects import Claim, StorageClass
from cluster.controller.storage_classes import StorageClasses
from cluster.controller.taking import set_node
from cluster.controller.waiting_claims import WaitingClaims
from shared import protocol

_log = logging.getLogger("claim")


class Companions:
    """All methods may be called by any thread. Each raises Refused and Unreachable, by the API
    server."""

    def __init__(self, instance: Instance, claims: WaitingClaims, classes: StorageClasses) -> None:
        self._api = instance.api
        self._identity = instance.identity
        self._claims = claims
        self._classes = classes
        self._sources = CopySources(instance)

    def leave_with(self, claim: Claim) -> None:
        """Gives the node of the other claims back, if the claim is a copy that only another node
        can make. Whoever makes a volume for one of them takes that volume back."""
        if not self._leaves(claim):
            return
        for other in self._claims.chosen_with(claim):
            storage_class = self._classes.get(other.class_name)
            if storage_class is not None and _follows_pods(other, storage_class):
                self._give_back(other, claim)

    def leaves_with_copy(self, claim: Claim, storage_class: StorageClass) -> bool:
        """Gives the claim's node back if a copy that only another node can make waits here, too.

        claim: as it was read a moment ago.
        :returns: whether it did.
        :raises Pending: if the claim has changed meanwhile, perhaps because the copy's own thread
            gave the node back."""
        if not _follows_pods(claim, storage_class):
            return False
        for other in self._copies_with(claim):
            if not self._leaves(other):
                continue
            if not self._give_back(claim, other):
                raise protocol.Pending(f"the claim {claim.full_name} has changed meanwhile")
            return True
        return False

    def _copies_with(self, claim: Claim) -> Iterator[Claim]:
        """The copies of the claim's namespace that wait and have the claim's node.

        The scheduler writes the node of a pod on one claim after the other. So a copy that had no
        node is read live: the node may stand there by now, and the watch has not reported it."""
        for other in self._claims.chosen_with(claim):
            if other.is_copy:
                yield other
        for other in self._claims.without_node(claim.namespace):
            if not other.is_copy:
                continue
            live = Claim.of(self._api.claim(other.metadata))
            if live is not None and live.selected_node == claim.selected_node:
                yield live

    def _leaves(self, claim: Claim) -> bool:
        if not claim.is_copy:
            return False
        driver = self._identity.drivers[claim.provisioner]
        return self._sources.is_elsewhere(claim, driver)

    def _give_back(self, claim: Claim, copy: Claim) -> bool:
        _log.info(
            "the node of %s is chosen again: %s is a copy that another node makes, and a pod may "
            "use both",
            claim.full_name,
            copy.full_name,
        )
        return set_node(self._api, claim, None)


def _follows_pods(claim: Claim, storage_class: StorageClass) -> bool:
    """Whether the scheduler chose the claim's node, and may choose any other."""
    return storage_class.is_late and bool(claim.selected_node) and not claim.is_copy
