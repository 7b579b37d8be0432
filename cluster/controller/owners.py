"""A volume belongs to the claim that its PV is bound to: where the volume's record names another
claim, the driver is told.

A PV that was retained is used again the Kubernetes way (its claimRef is cleared, and a new claim is
bound to it), a volume populator binds the PV of its own claim to the user's claim, and tools that
rename or restore claims do the like. Only an administrator or a controller can write a PV, and the
policies in deploy/ hold a node's account to the node's own PVs; so what the PV says counts. Without
the new owner in the record the volume's mount refuses pods of the claim's namespace, and its
deletion is refused for ever.

What a pod says never counts: an inline volume has no PV, and so changes no owner."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from cluster.controller import cluster, decide, retry, volume_manifest
from cluster.controller.instance import Instance
from cluster.controller.storage import Listed
from cluster.controller.workqueue import Key
from shared import protocol
from shared.options import AWAITED, NO_OWNER

Object = dict[str, Any]
KIND = "owner"  # of our keys in the queue
_log = logging.getLogger("owner")

LEAVE = "leave"  # nothing is to be done before something changes
AGAIN = "again"  # kube-controller-manager is about to say more
REFUSE = "refuse"  # a person has to decide
ADOPT = "adopt"  # the driver is told


class Place(NamedTuple):
    """A volume, as a PV or a list names it. pool_id: "" if that names no pool: a copy of a volume
    that was put back in another pool is another volume."""

    driver: str
    name: str
    pool_id: str


class Record(NamedTuple):
    """What a volume's record says, as its driver lists it. owner_uid: NO_OWNER for
    none."""

    owner_uid: str
    cluster_uid: str


def records(listed: dict[str, Listed]) -> Iterator[tuple[Place, Record]]:
    """The records of the volumes that a PV may be about. Left out: snapshots, archives and volumes
    on the move, and what a driver lists without saying who owns it."""
    for driver, (entries, _) in listed.items():
        for entry in entries:
            kind, state = entry.get("kind") or "volume", entry.get("state") or ""
            if entry.get("error") or "owner" not in entry or kind != "volume" or state:
                continue
            owner_uid = NO_OWNER
            if entry["owner"]:
                owner_uid = str(entry["owner"].get("uid") or NO_OWNER)
            place = Place(driver, entry["name"], _pool_id(entry.get("options")))
            yield place, Record(owner_uid, str(entry.get("clusterUid") or ""))


def _pool_id(options: Any) -> str:
    """options: of a PV, or of a volume as its driver lists it; the two are alike."""
    return str(options.get("poolId") or "") if isinstance(options, dict) else ""


class Bound(NamedTuple):
    """A PV of ours that is bound. volume: as `records` has it."""

    volume: Place
    claim_uid: str


def bound(volume: Object, us: decide.Identity) -> Bound | None:
    """None for a PV that is not ours, not bound, or about to go."""
    if not decide.is_ours(volume, us) or volume["metadata"].get("deletionTimestamp"):
        return None
    claim_uid = (volume["spec"].get("claimRef") or {}).get("uid")
    if not claim_uid or (volume.get("status") or {}).get("phase") != "Bound":
        return None
    source = volume["spec"]["flexVolume"]
    place = Place(source["driver"], volume["metadata"]["name"], _pool_id(source.get("options")))
    return Bound(place, claim_uid)


def judge(
    volume: Object, claim: Object | None, record: Record, cluster_uid: str
) -> decide.Decision:
    """What to do with a PV that is bound.

    claim: the live claim with the claimRef's uid.
    record: what the volume's record says.
    cluster_uid: of this cluster."""
    name, reference = volume["metadata"]["name"], volume["spec"]["claimRef"]
    if record.owner_uid == reference["uid"]:
        return decide.Decision(LEAVE, "its record names this claim")
    is_awaiting = bool(decide.annotations_of(volume).get(decide.AWAITS_CLAIM))
    # A PV that was written again as it once was, as from a file in git, says that it awaits its
    # claim although its volume has an owner.
    if is_awaiting and record.owner_uid == AWAITED:
        return decide.Decision(LEAVE, "it awaited this claim: see delete.py")
    if claim is None or claim["spec"].get("volumeName") not in (None, "", name):
        return decide.Decision(LEAVE, "its claim is gone, or has another PV")
    if not claim["spec"].get("volumeName"):
        return decide.Decision(AGAIN, "its claim does not name it yet")
    if record.cluster_uid not in ("", cluster_uid):
        return decide.Decision(
            REFUSE,
            f"the volume {name} was made for the cluster {record.cluster_uid}, and this one is "
            f"{cluster_uid}, so the volume is not given to the claim that its PV is bound to; if "
            f"no other cluster uses the volume: kubectl flexvol adopt {name}",
        )
    return decide.Decision(ADOPT)


class Owners:
    """Compares our bound PVs with each new list of the drivers, and as soon as a PV changes."""

    def __init__(
        self,
        instance: Instance,
    ) -> None:
        self._api = instance.api
        self._storage = instance.storage
        self._events = instance.events
        self._work = instance.work
        self._us = instance.identity
        self._lock = threading.Lock()
        self._bound: dict[str, Bound] = {}  # by the PV's uid
        self._records: dict[Place, Record] = {}
        # By volume: what was put into the queue. The queue repeats a failure by itself, so the same
        # difference is not put there again by each list.
        self._asked: dict[Place, tuple[str, Record]] = {}

    def changed(self, volume: Object) -> None:
        now, uid = bound(volume, self._us), volume["metadata"]["uid"]
        with self._lock:
            before = self._bound.pop(uid, None)
            if now is not None:
                self._bound[uid] = now
            elif before is not None:
                self._asked.pop(before.volume, None)
        if now is not None:
            self._compare(now)

    def gone(self, volume: Object) -> None:
        with self._lock:
            before = self._bound.pop(volume["metadata"]["uid"], None)
            if before is not None:
                self._asked.pop(before.volume, None)
        self._work.forget((KIND, volume["metadata"]["name"]))

    def listed(self, uids: set[str]) -> None:
        with self._lock:
            self._bound = {uid: one for uid, one in self._bound.items() if uid in uids}

    def drivers_listed(self, listed: dict[str, Listed]) -> None:
        """listed: by driver."""
        found = dict(records(listed))
        with self._lock:
            self._records = found
            volumes = list(self._bound.values())
        for one in volumes:
            self._compare(one)

    def _compare(self, one: Bound) -> None:
        with self._lock:
            record = self._records.get(one.volume)
            if record is None or record.owner_uid == one.claim_uid:
                self._asked.pop(one.volume, None)
                return
            difference = (one.claim_uid, record)
            if self._asked.get(one.volume) == difference:
                return
            self._asked[one.volume] = difference
        self._work.add((KIND, one.volume.name))

    def sync(self, key: Key) -> None:
        """One attempt for the PV called key[1], read live, like its claim."""
        volume = self._api.get(cluster.path_to(cluster.VOLUMES, key[1]))
        now = bound(volume, self._us) if volume else None
        record = None
        if now is not None:
            with self._lock:
                record = self._records.get(now.volume)
        if volume is None or now is None or record is None:
            self._work.done(key)
            return
        claim = self._api.claim(volume["spec"]["claimRef"])
        cluster_uid = self._api.uid()
        decision = judge(volume, claim, record, cluster_uid)
        if decision.action == ADOPT:
            self._adopt(key, volume, now, record, cluster_uid)
        elif decision.action == AGAIN:
            self._work.failed(key, retry.GROWING)
        elif decision.action == REFUSE:
            self._events.warning(volume, "VolumeNotAdopted", decision.sentence)
            self._work.failed(key, retry.SLOW)
        else:
            self._work.done(key)

    def _adopt(
        self, key: Key, volume: Object, now: Bound, record: Record, cluster_uid: str
    ) -> None:
        request = volume_manifest.adopt_request(volume, cluster_uid, record.owner_uid)
        try:
            self._storage.adopt(now.volume.driver, request)
        except protocol.NotSupported:
            self._work.done(key)  # a driver without owners has none to change
            return
        except protocol.Failure as failure:
            self._failed(key, volume, failure)
            return
        with self._lock:
            if now.volume in self._records:
                self._records[now.volume] = Record(now.claim_uid, cluster_uid)
            self._asked.pop(now.volume, None)
        claim, before = request.claim, f"it was of the claim with the uid {record.owner_uid}"
        if record.owner_uid == NO_OWNER:
            before = "it had no owner"
        sentence = (
            f"the volume {key[1]} belongs to the claim {claim.namespace}/{claim.name}, to which "
            f"its PV is bound; {before}"
        )
        _log.info("%s", sentence, extra={"volume": key[1]})
        self._events.normal(volume, "VolumeAdopted", sentence)
        self._work.done(key)

    def _failed(self, key: Key, volume: Object, failure: protocol.Failure) -> None:
        following = retry.after(failure)
        if following.warns:
            sentence = f"{failure.reason}: {failure.message}"
            self._events.warning(volume, "VolumeFailedAdopt", sentence)
            _log.warning("%s is not given to its claim: %s", key[1], sentence)
        self._work.failed(key, following.pause)
