"""The claims of one pod go to one node together.

The scheduler chooses a node for all new claims of a pod, and does not know where the source of a
copy is. The copy is made on the node of its source. A volume that was made here meanwhile, for
another claim of the same pod, would keep that pod Pending for ever.

A node's account may not read pods, so each claim of the copy's namespace that the scheduler sent to
the same node counts as a claim of the copy's pod. A claim of another pod only loses a moment,
because the scheduler chooses its node once more.

Each provisioner gives back the node of its own claims only. It sees the copies of the others, too.
Where a snapshot of theirs is, only they know: if they gave the copy's node back, it is elsewhere.

A copy may be hopeless, as that of a snapshot that no node has. It is given back for ever, and each
time the claims beside it would lose what was made for them. So they go along less and less often,
and stay meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cluster.controller.copy_sources import CopySources
from cluster.controller.instance import Instance
from cluster.controller.objects import Claim, StorageClass
from cluster.controller.retry import Pause
from cluster.controller.storage_classes import StorageClasses
from cluster.controller.taking import set_node
from cluster.controller.waiting_claims import WaitingClaims
from shared import protocol

# The scheduler chooses anew after 1, 2, 4, 8 and then 10 s each. So claims go along with the first
# choices, and with those of a cluster of many nodes, which come to this node less often.
_BETWEEN_ROUNDS = Pause(1.0, 3600.0)
# After so long nothing is remembered of a copy that was not looked at.
_FORGOTTEN_SECONDS = 7200.0
# How long a copy without a node is one whose node was given back a moment ago, and how long another
# provisioner may take to look whether its snapshot is here.
_ROUND_SECONDS = 30.0
_log = logging.getLogger("claim")


@dataclass(frozen=True)
class _Round:
    """The scheduler's latest choice of a node for a copy.

    version: of the copy as it was then.
    began: when this provisioner first saw it.
    count: how many rounds claims went along with.
    goes_along: whether claims go along in this one.
    next_at: when claims go along again, at the earliest."""

    version: str
    began: float
    count: int
    goes_along: bool
    next_at: float


class _Rounds:
    """How often claims go along with each copy. All methods may be called by any thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: dict[str, _Round] = {}  # by the copy's uid

    def of(self, copy: Claim) -> _Round:
        """The round that the copy is in; a new one if the copy has changed. A round ends with the
        node's being given back."""
        with self._lock:
            now = self._clock()
            latest = self._latest.get(copy.uid)
            if latest is None or not _is_of(latest, copy, now):
                self._forget(now)
                latest = _following(latest, copy.resource_version, now)
                self._latest[copy.uid] = latest
            return latest

    def is_young(self, copy: Claim) -> bool:
        """Whether the copy has not been as it is for long."""
        return self._clock() - self.of(copy).began < _ROUND_SECONDS

    def _forget(self, now: float) -> None:
        for uid, latest in list(self._latest.items()):
            if now - latest.began > _FORGOTTEN_SECONDS:
                del self._latest[uid]


def _is_of(latest: _Round, copy: Claim, now: float) -> bool:
    if latest.version == copy.resource_version:
        return True
    return not copy.selected_node and now - latest.began < _ROUND_SECONDS


def _following(latest: _Round | None, version: str, now: float) -> _Round:
    if latest is None:
        return _Round(version, now, 1, True, now + _BETWEEN_ROUNDS.seconds(0))
    if now < latest.next_at:
        return _Round(version, now, latest.count, False, latest.next_at)
    pause = _BETWEEN_ROUNDS.seconds(latest.count)
    return _Round(version, now, latest.count + 1, True, now + pause)


class Companions:
    """All methods may be called by any thread. Each raises Refused and Unreachable, by the API
    server."""

    def __init__(
        self,
        instance: Instance,
        claims: WaitingClaims,
        classes: StorageClasses,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """clock: seconds, which only grow."""
        self._api = instance.api
        self._identity = instance.identity
        self._claims = claims
        self._classes = classes
        self._sources = CopySources(instance)
        self._rounds = _Rounds(clock)

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
            gave the node back; while another provisioner looks whether it can make its copy
            here."""
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
        """The copies of the claim's namespace that wait and have the claim's node; of the copies of
        other provisioners also those without a node, which may have had it a moment ago.

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
        for other in self._claims.copies_of_others(claim.namespace):
            live = other if other.selected_node else Claim.of(self._api.claim(other.metadata))
            if live is None or live.volume_name:
                continue
            if live.selected_node in ("", claim.selected_node):
                yield live

    def _leaves(self, claim: Claim) -> bool:
        """Whether the claim is a copy that only another node can make, and others go along."""
        if not claim.is_copy or not self._is_elsewhere(claim):
            return False
        if not claim.selected_node and not self._rounds.is_young(claim):
            return False
        return self._rounds.of(claim).goes_along

    def _is_elsewhere(self, copy: Claim) -> bool:
        if not copy.snapshot_name or copy.provisioner in self._identity.drivers:
            return self._sources.is_elsewhere(copy)
        if copy.selected_node and self._rounds.is_young(copy):
            raise protocol.Pending(
                f"{copy.provisioner} looks whether this node has the snapshot of {copy.full_name}"
            )
        return not copy.selected_node

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
