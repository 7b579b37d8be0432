"""The claims that wait for this instance, those for which something may have been made, and copies
that other provisioners may have to make on this node."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from cluster.controller import decide, volume_manifest
from cluster.controller.identity import Identity
from cluster.controller.objects import Claim, Object, StorageClass, Volume
from cluster.controller.workqueue import Key, WorkQueue

KIND = "claim"  # of the keys in the queue; the second part of such a key is the claim's uid


@dataclass(frozen=True)
class Begun:
    """A claim, as it was when an attempt for it began, and its class."""

    claim: Claim
    storage_class: StorageClass


@dataclass
class _Waiting:
    """A claim that waits, and the work that was done for the claim.

    announced: the reasons of the events that a claim has only once.
    free_since: since when this node might take the claim; None if it may not."""

    claim: Claim
    announced: set[str] = field(default_factory=set)
    free_since: float | None = None


class WaitingClaims:
    """Follows the watch of the claims. The other methods may be called by any thread."""

    def __init__(self, work: WorkQueue[Key], identity: Identity) -> None:
        self._work = work
        self._identity = identity
        self._lock = threading.Lock()
        self._waiting: dict[str, _Waiting] = {}  # by the claim's uid, as the next one
        self._begun: dict[str, Begun] = {}
        self._copies_of_others: dict[str, Claim] = {}

    def changed(self, thing: Object) -> None:
        """As followers.Follower has it."""
        claim = Claim(thing)
        if not decide.is_for(claim, self._identity):
            self._end_if_bound(claim)
            self.gone(thing)
            if decide.is_copy_of_others(claim, self._identity):
                with self._lock:
                    self._copies_of_others[claim.uid] = claim.trimmed()
            return
        trimmed = claim.trimmed()
        with self._lock:
            before = self._waiting.get(claim.uid)
            if before is None:
                self._waiting[claim.uid] = _Waiting(trimmed)
                is_news = True
            else:
                is_news = _meaning(before.claim) != _meaning(trimmed)
                before.claim = trimmed
        if is_news:
            self._work.add((KIND, claim.uid))

    def listed(self, uids: set[str]) -> None:
        """As followers.Follower has it."""
        with self._lock:
            gone = [uid for uid in [*self._waiting, *self._copies_of_others] if uid not in uids]
        for uid in gone:
            self._forget(uid)

    def gone(self, thing: Object) -> None:
        """As followers.Follower has it."""
        self._forget(Claim(thing).uid)

    def _end_if_bound(self, claim: Claim) -> None:
        """In shared mode the instance that led meanwhile may have written the PV."""
        if self._identity.node:
            return
        if claim.volume_name == volume_manifest.volume_name(claim):
            self.end(claim.uid)

    def _forget(self, uid: str) -> None:
        with self._lock:
            self._waiting.pop(uid, None)
            self._copies_of_others.pop(uid, None)
            has_begun = uid in self._begun
        if has_begun:
            self._work.add((KIND, uid))
        else:
            self._work.forget((KIND, uid))

    def get(self, uid: str) -> Claim | None:
        """The claim with that uid; None if it does not wait for us."""
        with self._lock:
            waiting = self._waiting.get(uid)
            return waiting.claim if waiting else None

    def look(self, uid: str) -> tuple[Claim | None, Begun | None]:
        """The claim if it waits, and what was begun for it, both at the same moment."""
        with self._lock:
            waiting = self._waiting.get(uid)
            return (waiting.claim if waiting else None, self._begun.get(uid))

    def in_hand(self, uid: str) -> bool:
        """Whether the claim waits for us, or something has begun for it."""
        with self._lock:
            return uid in self._waiting or uid in self._begun

    def is_anyones(self, uid: str) -> bool:
        """Whether the claim is one that any node might take."""
        if not self._identity.node:
            return False
        claim = self.get(uid)
        return claim is not None and not claim.selected_node

    def chosen_with(self, claim: Claim) -> list[Claim]:
        """The other claims of the claim's namespace that wait and have the same node."""
        return [
            other
            for other in self._all()
            if other.uid != claim.uid
            and other.namespace == claim.namespace
            and other.selected_node == claim.selected_node
        ]

    def without_node(self, namespace: str) -> list[Claim]:
        """The claims of the namespace that wait and have no node yet."""
        return [
            claim
            for claim in self._all()
            if claim.namespace == namespace and not claim.selected_node
        ]

    def copies_of_others(self, namespace: str) -> list[Claim]:
        """The copies of the namespace that other provisioners may have to make here, and those
        whose node they may have given back a moment ago."""
        with self._lock:
            copies = list(self._copies_of_others.values())
        return [claim for claim in copies if claim.namespace == namespace]

    def announces(self, uid: str, reason: str) -> bool:
        """Whether an event with that reason is news: True once for each claim that waits."""
        with self._lock:
            waiting = self._waiting.get(uid)
            if waiting is None or reason in waiting.announced:
                return False
            waiting.announced.add(reason)
            return True

    def free_since(self, uid: str, now: float) -> float:
        """Since when this node might take the claim: from now on if it might not before."""
        with self._lock:
            waiting = self._waiting.get(uid)
            if waiting is None:
                return now
            if waiting.free_since is None:
                waiting.free_since = now
            return waiting.free_since

    def not_free(self, uid: str) -> None:
        """This node may not take the claim now."""
        with self._lock:
            waiting = self._waiting.get(uid)
            if waiting is not None:
                waiting.free_since = None

    def begin(self, claim: Claim, storage_class: StorageClass) -> None:
        """From now on a volume may be there for the claim, and no PV yet."""
        with self._lock:
            self._begun.setdefault(claim.uid, Begun(claim, storage_class))

    def begun(self, uid: str) -> Begun | None:
        """The claim for which a volume may be there, and its class; None if there is none."""
        with self._lock:
            return self._begun.get(uid)

    def end(self, uid: str) -> None:
        """The claim has its PV, or there is no volume for it."""
        with self._lock:
            self._begun.pop(uid, None)

    def stand_by(self) -> None:
        """Another instance leads now. It drives to an end what was begun here, so that here nothing
        of that is undone."""
        with self._lock:
            self._begun.clear()

    def wake_class(self, name: str) -> None:
        """The class of that name has changed: its claims are looked at again."""
        self._wake([claim for claim in self._all() if claim.class_name == name])

    def wake_free(self) -> None:
        """There may be room now for claims that are no node's yet."""
        self._wake([claim for claim in self._all() if not claim.selected_node])

    def wake(self, uid: str) -> None:
        """The claim with that uid is looked at again, if it still waits."""
        claim = self.get(uid)
        if claim is not None:
            self._wake([claim])

    def _all(self) -> list[Claim]:
        with self._lock:
            return [waiting.claim for waiting in self._waiting.values()]

    def _wake(self, claims: list[Claim]) -> None:
        for claim in claims:
            self._work.add((KIND, claim.uid))


class VolumesOfClaims:
    """Follows the watch of the PVs: a claim that still waits when its PV goes gets its PV again.
    Nothing else says that the first one went."""

    def __init__(self, claims: WaitingClaims) -> None:
        self._claims = claims

    def changed(self, thing: Object) -> None:
        """As followers.Follower has it."""

    def listed(self, uids: set[str]) -> None:
        """As followers.Follower has it."""

    def gone(self, thing: Object) -> None:
        """As followers.Follower has it."""
        self._claims.wake(Volume(thing).claim.uid)


def _meaning(claim: Claim) -> Object:
    """What of a claim can change a decision; its version alone cannot."""
    metadata = {key: value for key, value in claim.metadata.items() if key != "resourceVersion"}
    return {**claim.json, "metadata": metadata}
