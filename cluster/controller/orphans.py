"""Volumes that have neither a PV nor their claim: found, reported, and collected where they are
provably ours and unused.

A crash at the wrong moment leaves such a volume, if its claim is deleted before the provisioner is
back: with the claim alive, the next attempt finds the volume. Whoever takes a PV away by force
leaves one, too. Yet a volume without PV and claim is no proof that nobody wants it, and two traps
look just like a crash:

- After the loss of etcd every claim and every PV is gone. Then kube-system is new too, so its uid,
  which the record of each volume has, tells the old cluster from this one; also where two clusters
  share a pool.
- A PV whose policy was changed to Retain and which was then deleted leaves a record that still says
  Delete. The record also says `blank` until the first mount, and only a blank volume is collected.
  For a volume that was never mounted, the policy is made durable: `retain` clears `blank` by the
  driver's `adopt`, with the owner that the volume has, before our finalizer lets such a PV go
  (delete.py), and also where a sweep sees a PV that did not wait for us. Out of reach is a PV
  without our finalizer that says Retain and is deleted while no instance is there; its volume was
  never mounted, so it is empty.

A copy (a clone, or a restored snapshot) is never blank, as it has its source's data. A copy that
was never mounted, and whose claim went while the copy was made, is collected too. But once a copy
has its PV, its data is somebody's: so as soon as a sweep sees that PV, the copy's record is told to
keep the volume, by the same `adopt`. From then on only the deletion of the PV deletes the copy.

Collected is therefore only a volume that the driver describes in full, as blank or as a copy that
was never mounted and had no PV, made for this cluster by a class that said Delete, with neither
claim nor PV by live reads just before, not in our hands, when the grace time is over, which begins
when we first see the volume so. The driver checks the owner, and once more that the volume was
never mounted, under its lock. All other volumes are only reported."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cluster.controller import cluster, decide, leftovers, metrics, volume_manifest
from cluster.controller.instance import Instance
from cluster.controller.listing import Listing
from cluster.controller.objects import Claim, ClaimReference, Object, StorageClass, Volume, text
from cluster.controller.room_news import RoomNews
from cluster.controller.storage import Listed, Storage
from shared import protocol

# How often the lists of the drivers are looked at. In shared mode each look asks the drivers, as
# nobody else does.
_EVERY_SECONDS = 5.0
_EVERY_SECONDS_SHARED = 60.0
# Until the claim and the PV of a known volume without a PV of ours are read again: thousands of
# live reads at each look would be too many.
_LOOK_AGAIN_SECONDS = 300.0
# In place of a PV's reclaim policy: the volume has no PV, and its claim is there.
_CLAIM = "its claim"
_log = logging.getLogger("orphans")


def retain(storage: Storage, driver: str, entry: Object) -> None:
    """Makes the record of a volume say that the volume is kept, as its PV says. A record that says
    so already, or does not matter, is left.

    :raises Failure: by the driver."""
    if not leftovers.is_described(entry) or entry["reclaimPolicy"] != "Delete":
        return
    if not leftovers.is_never_mounted(entry):
        return
    storage.adopt(driver, volume_manifest.listed_request(entry, only_if_blank=True))
    _log.info("%s is retained: its record says so from now on", entry["name"])


def _volumes_in_use(listed: dict[str, Listed]) -> Iterator[tuple[str, Object]]:
    """The volumes that a claim or a PV may hold, with their driver. Archives and snapshots are left
    out: their driver or a person removes them."""
    for driver, of_driver in listed.items():
        for entry in of_driver.volumes:
            name = entry.get("name")
            if not isinstance(name, str) or not protocol.is_name(name):
                continue
            if entry.get("state") != "archived" and entry.get("kind") != "snapshot":
                yield driver, entry


def _is_to_be_retained(holder: str, entry: Object) -> bool:
    """Whether the volume's record has to say that the volume is kept: its PV is not to be deleted
    with the storage, or the volume is a copy that has its PV."""
    if holder in ("", _CLAIM):
        return False
    return holder != "Delete" or leftovers.is_unmounted_copy(entry)


@dataclass
class _Sighting:
    """What was seen of a volume without a PV of ours.

    owner: as its driver lists it.
    holder: the policy of its PV, or _CLAIM; "" if it has neither.
    since: when the volume was first seen so.
    looked: when the holder was read last.
    reported: the sentence that was reported last."""

    owner: Any
    holder: str
    since: float
    looked: float
    reported: str = ""


class _Orphan(NamedTuple):
    """A volume with neither a PV nor its claim. entry: as its driver lists it."""

    driver: str
    entry: Object
    sighting: _Sighting

    def __str__(self) -> str:
        return f"volume {self.entry['name']} of driver {self.driver}"


@dataclass(frozen=True)
class Known:
    """What other parts of the instance know.

    policies: the reclaim policies of our PVs, by the PV's name.
    in_hand: whether we are provisioning for the claim with that uid.
    may_work: whether this instance is the elected one."""

    policies: Callable[[], dict[str, str]]
    in_hand: Callable[[str], bool]
    may_work: Callable[[], bool]


class Orphans:
    """Looks at each new list of the drivers in a thread of its own."""

    def __init__(
        self,
        instance: Instance,
        listing: Listing,
        news: RoomNews,
        known: Known,
        grace_seconds: float,
        after: Sequence[Callable[[dict[str, Listed]], None]] = (),
    ) -> None:
        """listing: of the drivers; in node mode Capacity asks them, else this does.

        news: of volumes that are deleted.
        grace_seconds: how long a volume must have been an orphan before it is deleted.
        after: called with the lists of all drivers, by driver, when one of them has listed."""
        self._api = instance.api
        self._storage = instance.storage
        self._events = instance.events
        self._identity = instance.identity
        self._secrets = instance.secrets
        self._listing = listing
        self._news = news
        self._known = known
        self._grace_seconds = grace_seconds
        self._after = after
        self._is_at_work = False
        self._swept: dict[str, Listed] = {}
        self._seen: dict[tuple[str, str], _Sighting] = {}  # by driver and name
        self._node: Object | None = None

    def run(self) -> None:
        """Never returns. The same failure is logged once."""
        every_seconds = _EVERY_SECONDS if self._identity.node else _EVERY_SECONDS_SHARED
        every_seconds = min(every_seconds, max(1.0, self._grace_seconds))
        logged = ""
        while True:
            try:
                self._round()
                logged = ""
            except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
                if str(error) != logged:
                    _log.warning("cannot look for orphans: %s", error)
                logged = str(error)
            except Exception:
                _log.exception("bug while looking for orphans")
            time.sleep(every_seconds)

    def _round(self) -> None:
        if self._known.may_work():
            self._is_at_work = True
            self._sweep_if_new()
        elif self._is_at_work:
            self._stand_by()

    def _sweep_if_new(self) -> None:
        """Each driver's list is looked at once: the same list again is no second sight."""
        if not self._identity.node:
            self._listing.refresh()
        failing = self._listing.failing()
        for driver in failing:
            _count_nothing(driver)
        listed = self._listing.listed()
        new = {
            driver: of_driver
            for driver, of_driver in listed.items()
            if driver not in failing and of_driver is not self._swept.get(driver)
        }
        self._swept = listed
        if new:
            for call in self._after:
                call(listed)
            self._sweep(new, time.monotonic())

    def _stand_by(self) -> None:
        """Another instance lists, and counts, from now on."""
        self._is_at_work = False
        self._swept = {}
        self._seen = {}
        if not self._identity.node:
            self._listing.forget()
        _count(Counter(), self._identity.drivers.values())

    def _sweep(self, listed: dict[str, Listed], now: float) -> None:
        """listed: of the drivers that have listed since the last sweep."""
        policies = self._known.policies()
        seen: dict[tuple[str, str], _Sighting] = {}
        orphans = []
        for driver, entry in _volumes_in_use(listed):
            name = entry["name"]
            holder = policies.get(name)
            if holder is None:
                sighting = self._look(driver, entry, now)
                seen[driver, name] = sighting
                holder = sighting.holder
                if not holder:
                    orphans.append(_Orphan(driver, entry, sighting))
            if _is_to_be_retained(holder, entry):
                self._retain(driver, entry)
        self._remember(seen, listed)
        if any(orphan.sighting.since == now for orphan in orphans):
            self._news.changed()  # so that the drivers list again soon
        self._report(orphans, set(listed), now)

    def _remember(
        self,
        seen: dict[tuple[str, str], _Sighting],
        listed: dict[str, Listed],
    ) -> None:
        """Keeps what was seen now, and what was seen before of the drivers that have not listed."""
        for key, sighting in self._seen.items():
            driver, name = key
            if driver not in listed:
                seen[key] = sighting
            elif sighting.reported and (key not in seen or seen[key].holder):
                _log.info("volume %s is no orphan any more", name)
        self._seen = seen

    def _report(
        self,
        orphans: list[_Orphan],
        drivers: set[str],
        now: float,
    ) -> None:
        """Reports the orphans of these drivers, collects those that may be collected, and counts
        the rest."""
        counts: Counter[tuple[str, str]] = Counter()
        # Each time anew: a cluster that lost its etcd is another one while we run.
        cluster_uid = self._api.uid() if orphans else ""
        for orphan in orphans:
            if orphan.sighting.since == now:
                # The volume may have gone with its PV since it was listed: it is reported only if
                # the next list has it too.
                continue
            verdict = leftovers.judge(orphan.entry, cluster_uid)
            counts[orphan.driver, verdict.reason] += 1
            self._report_orphan(orphan, verdict.sentence)
            is_over = now - orphan.sighting.since >= self._grace_seconds
            if verdict.reason == leftovers.BLANK and is_over and self._collect(orphan):
                counts[orphan.driver, verdict.reason] -= 1
        _count(counts, drivers)

    def _look(self, driver: str, entry: Object, now: float) -> _Sighting:
        """A volume without a PV of ours, as it was seen before if nothing has changed."""
        name = entry["name"]
        owner = entry.get("owner")
        before = self._seen.get((driver, name))
        if before is None or before.owner != owner:
            return _Sighting(owner, self._holder(name, owner), now, now)
        if now - before.looked < min(_LOOK_AGAIN_SECONDS, self._grace_seconds):
            return before
        holder = self._holder(name, owner)
        if bool(holder) != bool(before.holder):
            return _Sighting(owner, holder, now, now)
        before.holder = holder
        before.looked = now
        return before

    def _holder(self, name: str, owner: object) -> str:
        """Which of its PV and its claim holds the volume, as in _Sighting. By live reads, in this
        order: a claim that is gone does not come back, and one that is bound to another PV stays
        so; neither gets a PV for this volume after that."""
        reference = ClaimReference.of(owner)
        if reference.uid and self._known.in_hand(reference.uid):
            return _CLAIM
        claim = self._claim(reference)
        if claim is not None and not decide.is_bound_elsewhere(claim, name):
            return _CLAIM
        volume = Volume.of(self._api.get(cluster.path_to(cluster.VOLUMES, name)))
        return "" if volume is None else volume.reclaim_policy

    def _claim(self, reference: ClaimReference) -> Claim | None:
        """A claim by what a record says, which may be anything."""
        if not protocol.is_object_name(reference.namespace):
            return None
        if not protocol.is_object_name(reference.name):
            return None
        return Claim.of(self._api.claim(reference.json))

    def _retain(self, driver: str, entry: Object) -> None:
        try:
            retain(self._storage, driver, entry)
        except protocol.Failure as failure:
            _log.warning(
                "%s is to be retained, and its record does not say so yet: %s",
                entry["name"],
                failure,
            )

    def _collect(self, orphan: _Orphan) -> bool:
        """Deletes an orphan that is blank, unless it is none any more; returns whether the orphan
        is gone."""
        entry = orphan.entry
        sighting = orphan.sighting
        sighting.holder = self._holder(entry["name"], sighting.owner)
        sighting.looked = time.monotonic()
        if sighting.holder or self._api.uid() != entry["clusterUid"]:
            return False
        if not self._known.may_work():
            return False
        request = volume_manifest.listed_request(entry, only_if_blank=True)
        try:
            self._storage.delete(orphan.driver, request)
        except protocol.Failure as failure:
            sighting.since = time.monotonic()  # another grace time
            _log.warning(
                "the orphan %s is not deleted: %s: %s", entry["name"], failure.reason, failure
            )
            return False
        sighting.reported = ""
        try:
            self._remove_secret(entry)
        except (protocol.Failure, cluster.Refused, cluster.Unreachable) as failure:
            _log.warning("the secret made for the orphan %s is left: %s", entry["name"], failure)
        self._write(orphan, "OrphanDeleted", f"deleted {orphan}, which was never mounted")
        self._news.changed()
        return True

    def _remove_secret(self, entry: Object) -> None:
        """Removes the Secret that was made for the volume alone, if its class is still there to say
        where the Secret is."""
        class_name = text(entry.get("class"))
        if not protocol.is_object_name(class_name):
            return
        path = cluster.path_to(cluster.CLASSES, class_name)
        storage_class = StorageClass.of(self._api.get(path))
        if storage_class is None or storage_class.provisioner not in self._identity.drivers:
            return
        secret = self._secrets.wanted(Claim({"metadata": entry["owner"]}), storage_class)
        if secret is not None and secret.owner.get("flexvol/volume") == entry["name"]:
            self._secrets.remove(secret)

    def _report_orphan(self, orphan: _Orphan, sentence: str) -> None:
        """Reports what the volume is, unless that was reported last."""
        if sentence == orphan.sighting.reported:
            return
        owner = ClaimReference.of(orphan.sighting.owner)
        claim = "its claim is gone, or has another PV"
        if owner.is_any:
            claim = "no claim has had it yet"
        elif owner.name:
            claim = f"claim {owner.full_name} (uid {owner.uid}) is gone, or has another PV"
        message = f"{orphan} has no PV, and {claim}: {sentence}"
        self._write(orphan, "VolumeOrphaned", message)
        orphan.sighting.reported = sentence

    def _write(self, orphan: _Orphan, reason: str, message: str) -> None:
        """To the log, and in node mode as an event on the node that has the storage."""
        extra = {"volume": orphan.entry["name"], "driver": orphan.driver, "reason": reason}
        _log.warning("%s: %s", reason, message, extra=extra)
        if self._identity.node and not self._node:
            self._node = self._api.get(cluster.path_to(cluster.NODES, self._identity.node))
        if self._node is not None:
            self._events.warning(self._node, reason, message)


def _count(counts: Counter[tuple[str, str]], drivers: Iterable[str]) -> None:
    """counts: by driver and reason."""
    for driver in drivers:
        for reason in leftovers.REASONS:
            metrics.orphans.labels(driver, reason).set(counts[driver, reason])


def _count_nothing(driver: str) -> None:
    """How many orphans the driver has is not known."""
    for reason in leftovers.REASONS:
        metrics.orphans.remove(driver, reason)
