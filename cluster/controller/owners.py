"""A volume belongs to the claim that its PV is bound to: where the volume's record names another
claim, the driver gets to know the claim.

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
from typing import NamedTuple

from cluster.controller import cluster, decide, retry, volume_manifest
from cluster.controller.identity import Identity, is_ours
from cluster.controller.instance import Instance
from cluster.controller.objects import Claim, Object, Volume, table
from cluster.controller.storage import Listed
from cluster.controller.workqueue import Key
from shared import protocol
from shared.options import AWAITED, NO_OWNER

KIND = "owner"  # of the keys in the queue; the second part of such a key is the PV's name
_log = logging.getLogger("owner")

# What is done with a PV that is bound.
LEAVE = "leave"  # nothing, before something changes
AGAIN = "again"  # wait: kube-controller-manager is about to say more
REFUSE = "refuse"  # report it: a person has to decide
ADOPT = "adopt"  # tell the driver


class VolumeId(NamedTuple):
    """A volume, as a PV or a list names it. pool_id: "" if that names no pool: a copy of a volume
    that was put back in another pool is another volume."""

    driver: str
    name: str
    pool_id: str


class Record(NamedTuple):
    """What a volume's record says, as its driver lists it. owner_uid: NO_OWNER for none."""

    owner_uid: str
    cluster_uid: str


def records(listed: dict[str, Listed]) -> Iterator[tuple[VolumeId, Record]]:
    """The records of the volumes that a PV may be about. Left out: snapshots, archives and volumes
    on the move, and what a driver lists without saying who owns it.

    listed: by driver."""
    for driver, of_driver in listed.items():
        for entry in of_driver.volumes:
            if _is_of_volume(entry):
                # What a driver says in another form than a text still counts: an owner or a cluster
                # that is not ours is never taken for none.
                pool_id = str(table(entry.get("options")).get("poolId") or "")
                owner_uid = str(table(entry["owner"]).get("uid") or NO_OWNER)
                cluster_uid = str(entry.get("clusterUid") or "")
                volume = VolumeId(driver, entry["name"], pool_id)
                yield volume, Record(owner_uid, cluster_uid)


def _is_of_volume(entry: Object) -> bool:
    if entry.get("error") or "owner" not in entry:
        return False
    if entry["owner"] and not isinstance(entry["owner"], dict):
        return False
    # A volume in use has no state.
    return entry.get("kind") in (None, "", "volume") and not entry.get("state")


class Bound(NamedTuple):
    """A PV of ours that is bound. volume: as `records` has it."""

    volume: VolumeId
    claim_uid: str


def bound(volume: Volume, identity: Identity) -> Bound | None:
    """The PV as it is compared; None for a PV that is not ours, not bound, or about to go."""
    if not is_ours(volume, identity) or volume.is_being_deleted:
        return None
    if not volume.claim.uid or not volume.is_bound:
        return None
    return Bound(VolumeId(volume.driver, volume.name, volume.pool_id), volume.claim.uid)


def judge(
    volume: Volume,
    claim: Claim | None,
    record: Record,
    cluster_uid: str,
) -> decide.Decision:
    """What to do with a PV that is bound.

    claim: the live claim with the claimRef's uid.
    record: what the volume's record says.
    cluster_uid: of this cluster."""
    if record.owner_uid == volume.claim.uid:
        return decide.Decision(LEAVE, "its record names this claim")
    # A PV that was written again as it once was, as from a file in git, says that it awaits its
    # claim although its volume has an owner.
    if volume.awaits_claim and record.owner_uid == AWAITED:
        return decide.Decision(LEAVE, "it awaited this claim: see delete.py")
    if claim is None or decide.is_bound_elsewhere(claim, volume.name):
        return decide.Decision(LEAVE, "its claim is gone, or has another PV")
    if not claim.volume_name:
        return decide.Decision(AGAIN, "its claim does not name it yet")
    if record.cluster_uid not in ("", cluster_uid):
        return decide.Decision(
            REFUSE,
            f"the volume {volume.name} was made for the cluster {record.cluster_uid}, "
            f"and this one is {cluster_uid}, so the volume is not given to the claim "
            "that its PV is bound to; if no other cluster uses the volume: kubectl "
            f"flexvol adopt {volume.name}",
        )
    return decide.Decision(ADOPT)


class Owners:
    """Compares our bound PVs with each new list of the drivers, and as soon as a PV changes."""

    def __init__(self, instance: Instance) -> None:
        self._api = instance.api
        self._storage = instance.storage
        self._events = instance.events
        self._work = instance.work
        self._identity = instance.identity
        self._lock = threading.Lock()
        self._bound: dict[str, Bound] = {}  # by the PV's uid
        self._records: dict[VolumeId, Record] = {}
        # By volume: what was put into the queue. The queue repeats a failure by itself, so the same
        # difference is not put there again by each list.
        self._asked: dict[VolumeId, tuple[str, Record]] = {}

    def changed(self, thing: Object) -> None:
        """As followers.Follower has it."""
        volume = Volume(thing)
        now = bound(volume, self._identity)
        with self._lock:
            before = self._bound.pop(volume.uid, None)
            if now is not None:
                self._bound[volume.uid] = now
            elif before is not None:
                self._asked.pop(before.volume, None)
        if now is not None:
            self._compare(now)

    def gone(self, thing: Object) -> None:
        """As followers.Follower has it."""
        volume = Volume(thing)
        with self._lock:
            before = self._bound.pop(volume.uid, None)
            if before is not None:
                self._asked.pop(before.volume, None)
        self._work.forget((KIND, volume.name))

    def listed(self, uids: set[str]) -> None:
        """As followers.Follower has it."""
        with self._lock:
            self._bound = {uid: pv for uid, pv in self._bound.items() if uid in uids}

    def drivers_listed(self, listed: dict[str, Listed]) -> None:
        """Compares all PVs. listed: by driver, what the drivers list now."""
        now = dict(records(listed))
        with self._lock:
            self._records = now
            volumes = list(self._bound.values())
        for volume in volumes:
            self._compare(volume)

    def _compare(self, pv: Bound) -> None:
        with self._lock:
            record = self._records.get(pv.volume)
            if record is None or record.owner_uid == pv.claim_uid:
                self._asked.pop(pv.volume, None)
                return
            difference = (pv.claim_uid, record)
            if self._asked.get(pv.volume) == difference:
                return
            self._asked[pv.volume] = difference
        self._work.add((KIND, pv.volume.name))

    def sync(self, key: Key) -> None:
        """One attempt for the PV called key[1], read live, like its claim.

        :raises Refused, Unreachable: by the API server."""
        volume = Volume.of(self._api.get(cluster.path_to(cluster.VOLUMES, key[1])))
        record = None if volume is None else self._record(volume)
        if volume is None or record is None:
            self._work.done(key)
            return
        claim = Claim.of(self._api.claim(volume.claim_reference))
        cluster_uid = self._api.uid()
        decision = judge(volume, claim, record, cluster_uid)
        if decision.action == ADOPT:
            self._adopt(key, volume, record, cluster_uid)
        elif decision.action == AGAIN:
            self._work.failed(key, retry.GROWING)
        elif decision.action == REFUSE:
            self._events.warning(volume.json, "VolumeNotAdopted", decision.sentence)
            self._work.failed(key, retry.SLOW)
        else:
            self._work.done(key)

    def _record(self, volume: Volume) -> Record | None:
        """The record of the PV's volume; None if the PV does not count, or no driver has listed the
        volume."""
        now = bound(volume, self._identity)
        if now is None:
            return None
        with self._lock:
            return self._records.get(now.volume)

    def _adopt(
        self,
        key: Key,
        volume: Volume,
        record: Record,
        cluster_uid: str,
    ) -> None:
        request = volume_manifest.adopt_request(volume, cluster_uid, record.owner_uid)
        try:
            self._storage.adopt(volume.driver, request)
        except protocol.NotSupported:
            self._work.done(key)  # A driver without owners has none to change.
            return
        except protocol.Failure as failure:
            self._failed(key, volume, failure)
            return
        self._adopted(volume, cluster_uid)
        before = f"it was of the claim with the uid {record.owner_uid}"
        if record.owner_uid == NO_OWNER:
            before = "it had no owner"
        sentence = (
            f"the volume {volume.name} belongs to the claim {volume.full_name}, to "
            f"which its PV is bound; {before}"
        )
        _log.info("%s", sentence, extra={"volume": volume.name})
        self._events.normal(volume.json, "VolumeAdopted", sentence)
        self._work.done(key)

    def _adopted(self, volume: Volume, cluster_uid: str) -> None:
        """The record names the PV's claim from now on, also before the driver lists again."""
        volume_id = VolumeId(volume.driver, volume.name, volume.pool_id)
        with self._lock:
            if volume_id in self._records:
                self._records[volume_id] = Record(volume.claim.uid, cluster_uid)
            self._asked.pop(volume_id, None)

    def _failed(
        self,
        key: Key,
        volume: Volume,
        failure: protocol.Failure,
    ) -> None:
        following = retry.after(failure)
        if following.warns:
            sentence = f"{failure.reason}: {failure.message}"
            self._events.warning(volume.json, "VolumeFailedAdopt", sentence)
            _log.warning("%s is not given to its claim: %s", volume.name, sentence)
        self._work.failed(key, following.pause)
