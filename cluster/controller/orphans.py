"""Volumes that have neither a PV nor their claim: found, said, and those that are provably ours and
unused collected.

A crash at the wrong moment leaves such a volume, if its claim is deleted before we are back: with
the claim alive, the next attempt finds the volume. So does whoever takes a PV away by force. Yet a
volume without PV and claim is no proof that nobody wants it, and two traps look just like a crash:

- After the loss of etcd every claim and every PV is gone. Then kube-system is new too, so its uid,
  which the record of each volume has, tells the old cluster from this one; also where two clusters
  share a pool.
- A PV whose policy was changed to Retain and which was then deleted leaves a record that still says
  Delete. The record also says `blank` until the first mount, and only what is blank is collected.
  For a volume that was never mounted, the wish is made durable: `retain` clears `blank` by the
  driver's `adopt`, with the owner it has, before our finalizer lets such a PV go (delete.py), and
  also where a sweep sees one that did not wait for us. Out of reach is a PV without our finalizer
  that says Retain and is deleted while we are not there; its volume was never mounted, so it is
  empty.

A copy (a clone, or a restored snapshot) is never blank, as it has its source's data. One that was
never mounted, and whose claim went while it was made, is collected too. But once a copy has its PV,
its data is somebody's: so as soon as a sweep sees that PV, the copy's record is told to keep it, by
the same `adopt`. From then on only the deletion of the PV deletes the copy.

Collected is therefore only what the driver describes in full, as blank or as a copy that was never
mounted and had no PV, made for this cluster by a class that said Delete, with neither claim nor PV
by live reads just before, not in our hands, when the grace time is over, which begins when we first
see it so. The driver checks its owner and that it was never mounted again, under its lock. All else
is only said."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.controller import cluster, decide, metrics, volume_manifest
from cluster.controller.instance import Instance
from cluster.controller.leftovers import BLANK, REASONS, is_described, is_never_mounted, judge
from cluster.controller.listing import Listing
from cluster.controller.objects import Claim, StorageClass
from cluster.controller.room_news import RoomNews
from cluster.controller.storage import Listed, Storage
from shared import protocol

Object = dict[str, Any]
_EVERY_SECONDS, _EVERY_SECONDS_SHARED = 5.0, 60.0  # in shared mode nobody else lists
# Until we look again at what has no PV that we watch: thousands of live reads each time would be
# too many.
_LOOK_AGAIN_SECONDS = 300.0
_CLAIM = "its claim"
_log = logging.getLogger("orphans")


def _is_copy(entry: Object) -> bool:
    """Whether it is a copy that was never mounted: all that tells it from one with a pod's data is
    its record."""
    return is_never_mounted(entry) and entry.get("blank") is not True


def retain(storage: Storage, driver: str, entry: Object) -> None:
    """Its PV says that it is to be kept: so does its record from now on. Raises a Failure."""
    may_be_collected = is_described(entry) and entry["reclaimPolicy"] == "Delete"
    if may_be_collected and is_never_mounted(entry):
        storage.adopt(driver, volume_manifest.listed_request(entry, only_if_blank=True))
        _log.info("%s is retained: its record says so from now on", entry["name"])


def _volumes_in_use(listed: dict[str, Listed]) -> Iterator[tuple[str, Object]]:
    """The volumes that a claim or a PV may hold, with their driver. Archives and snapshots are left
    out: their driver or a person removes them."""
    for driver, (volumes, _) in listed.items():
        for entry in volumes:
            name = entry.get("name")
            kept = entry.get("state") == "archived" or entry.get("kind") == "snapshot"
            if isinstance(name, str) and protocol.is_name(name) and not kept:
                yield driver, entry


@dataclass
class _Seen:
    """A volume without a PV that we watch. holder: its PV's policy, or _CLAIM; empty if it has
    neither."""

    owner: Any
    holder: str
    since: float
    looked: float
    said: str = ""


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
        self._us = instance.identity
        self._secrets = instance.secrets
        self._listing = listing
        self._news = news
        self._known = known
        self._grace_seconds = grace_seconds
        self._after = after
        self._is_at_work = False
        self._swept: dict[str, Listed] = {}
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._node: Object | None = None

    def run(self) -> None:
        """Never returns. The same failure is logged once."""
        every = min(
            _EVERY_SECONDS if self._us.node else _EVERY_SECONDS_SHARED,
            max(1.0, self._grace_seconds),
        )
        said = ""
        while True:
            try:
                self._round()
                said = ""
            except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
                if str(error) != said:
                    _log.warning("cannot look for orphans: %s", error)
                said = str(error)
            except Exception:
                _log.exception("bug while looking for orphans")
            time.sleep(every)

    def _round(self) -> None:
        if self._known.may_work():
            self._is_at_work = True
            self._sweep_if_new()
        elif self._is_at_work:
            self._stand_by()

    def _sweep_if_new(self) -> None:
        """Each driver's list is looked at once: the same list again is no second sight."""
        if not self._us.node:
            self._listing.refresh()
        failing = self._listing.failing()
        for driver in failing:
            _count_nothing(driver)
        listed = self._listing.listed()
        news = {
            driver: one
            for driver, one in listed.items()
            if driver not in failing and one is not self._swept.get(driver)
        }
        self._swept = listed
        if news:
            for call in self._after:
                call(listed)
            self._sweep(news, time.monotonic())

    def _stand_by(self) -> None:
        """Another instance lists, and counts, from now on."""
        self._is_at_work = False
        self._swept = {}
        self._seen = {}
        if not self._us.node:
            self._listing.forget()
        self._count(Counter(), set(self._us.drivers.values()))

    def _sweep(self, listed: dict[str, Listed], now: float) -> None:
        """listed: of the drivers that have listed since the last sweep."""
        policies = self._known.policies()
        seen: dict[tuple[str, str], _Seen] = {}
        orphans = []
        for driver, entry in _volumes_in_use(listed):
            name = entry["name"]
            holder = policies.get(name)
            if holder is None:
                one = self._look((driver, name), entry.get("owner"), now)
                seen[driver, name] = one
                holder = one.holder
                if not holder:
                    orphans.append((driver, entry, one))
            has_volume = holder not in ("", _CLAIM)
            if has_volume and (holder != "Delete" or _is_copy(entry)):
                self._retain(driver, entry)
        for key, one in self._seen.items():
            if key[0] not in listed:
                seen[key] = one
            elif one.said and (key not in seen or seen[key].holder):
                _log.info("volume %s is no orphan any more", key[1])
        self._seen = seen
        if any(one.since == now for _, _, one in orphans):
            self._look_again_soon()
        self._report(orphans, set(listed), now)

    def _report(
        self, orphans: list[tuple[str, Object, _Seen]], drivers: set[str], now: float
    ) -> None:
        """Says what is left of the orphans of these drivers when those that may be collected are.
        Each is a driver, an entry of its list, and what was seen of that."""
        counts: Counter[tuple[str, str]] = Counter()
        # Each time anew: a cluster that lost its etcd is another one while we run.
        cluster_uid = self._api.uid() if orphans else ""
        for driver, entry, one in orphans:
            if one.since == now:
                # It may have gone with its PV since it was listed: it is said only if the next list
                # has it too.
                continue
            reason, sentence = judge(entry, cluster_uid)
            counts[driver, reason] += 1
            self._say(driver, entry, one, sentence)
            if (
                reason == BLANK
                and now - one.since >= self._grace_seconds
                and self._collect(driver, entry, one)
            ):
                counts[driver, reason] -= 1
        self._count(counts, drivers)

    def _look(self, key: tuple[str, str], owner: Any, now: float) -> _Seen:
        before = self._seen.get(key)
        if before is None or before.owner != owner:
            return _Seen(owner, self._holder(key[1], owner), now, now)
        if now - before.looked >= min(_LOOK_AGAIN_SECONDS, self._grace_seconds):
            holder = self._holder(key[1], owner)
            if bool(holder) != bool(before.holder):
                return _Seen(owner, holder, now, now)
            before.holder, before.looked = holder, now
        return before

    def _holder(self, name: str, owner: Any) -> str:
        """By live reads, in this order: a claim that is gone does not come back, and one that is
        bound to another PV stays so; neither gets a PV for this volume after that."""
        fields = [
            owner.get(key) if isinstance(owner, dict) else None
            for key in ("namespace", "name", "uid")
        ]
        namespace, claim_name, uid = (field if isinstance(field, str) else "" for field in fields)
        if uid and self._known.in_hand(uid):
            return _CLAIM
        whose = {"namespace": namespace, "name": claim_name, "uid": uid}
        claim = None
        if protocol.is_object_name(namespace) and protocol.is_object_name(claim_name):
            claim = self._api.claim(whose)
        if claim is not None and not decide.is_bound_elsewhere(claim, name):
            return _CLAIM
        volume = self._api.get(cluster.path_to(cluster.VOLUMES, name))
        return (
            str(volume["spec"].get("persistentVolumeReclaimPolicy") or "Retain") if volume else ""
        )

    def _retain(self, driver: str, entry: Object) -> None:
        try:
            retain(self._storage, driver, entry)
        except protocol.Failure as failure:
            _log.warning(
                "%s is to be retained, and its record does not say so yet: %s",
                entry["name"],
                failure,
            )

    def _collect(self, driver: str, entry: Object, one: _Seen) -> bool:
        """Deletes an orphan that is blank, unless it is none any more; whether it is gone."""
        one.holder, one.looked = self._holder(entry["name"], one.owner), time.monotonic()
        if one.holder or self._api.uid() != entry["clusterUid"] or not self._known.may_work():
            return False
        try:
            self._storage.delete(driver, volume_manifest.listed_request(entry, only_if_blank=True))
        except protocol.Failure as failure:
            one.since = time.monotonic()  # another grace time
            _log.warning(
                "the orphan %s is not deleted: %s: %s", entry["name"], failure.reason, failure
            )
            return False
        one.said = ""
        try:
            self._remove_secret(entry)
        except (protocol.Failure, cluster.Refused, cluster.Unreachable) as failure:
            _log.warning("the secret made for the orphan %s is left: %s", entry["name"], failure)
        said = f"deleted volume {entry['name']} of driver {driver}, which was never mounted"
        self._tell("OrphanDeleted", said, driver, entry["name"])
        self._look_again_soon()
        return True

    def _remove_secret(self, entry: Object) -> None:
        """What was made for it alone, if its class is still there to say where."""
        name = str(entry.get("class") or "")
        storage_class = (
            self._api.get(cluster.path_to(cluster.CLASSES, name))
            if protocol.is_object_name(name)
            else None
        )
        if storage_class is not None and storage_class["provisioner"] in self._us.drivers:
            secret = self._secrets.wanted(
                Claim({"metadata": entry["owner"]}), StorageClass(storage_class)
            )
            if secret is not None and secret.owner.get("flexvol/volume") == entry["name"]:
                self._secrets.remove(secret)

    def _look_again_soon(self) -> None:
        self._news.changed()

    def _say(self, driver: str, entry: Object, one: _Seen, sentence: str) -> None:
        if sentence != one.said:
            owner = one.owner if isinstance(one.owner, dict) else {}
            claim = f"claim {owner.get('namespace')}/{owner.get('name')} (uid {owner.get('uid')})"
            volume = f"volume {entry['name']} of driver {driver}"
            said = f"{volume} has no PV, and {claim} is gone, or has another PV: {sentence}"
            self._tell("VolumeOrphaned", said, driver, entry["name"])
            one.said = sentence

    def _tell(self, reason: str, message: str, driver: str, volume: str) -> None:
        """In the log, and in node mode as an event on the node that has the storage."""
        _log.warning(
            "%s: %s", reason, message, extra={"volume": volume, "driver": driver, "reason": reason}
        )
        if self._us.node:
            self._node = self._node or self._api.get(cluster.path_to(cluster.NODES, self._us.node))
        if self._node is not None:
            self._events.warning(self._node, reason, message)

    def _count(self, counts: Counter[tuple[str, str]], drivers: set[str]) -> None:
        for driver in drivers:
            for reason in REASONS:
                metrics.orphans.labels(driver, reason).set(counts[driver, reason])


def _count_nothing(driver: str) -> None:
    """How many orphans the driver has is not known."""
    for reason in REASONS:
        metrics.orphans.remove(driver, reason)
