"""One released PV is deleted: first the storage, then the PV, then our finalizer, which kept the PV
until then. And a PV that a person made before its claim gets to know the claim."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from cluster.controller import cluster, decide, metrics, orphans, retry, volume_manifest
from cluster.controller.identity import is_ours
from cluster.controller.instance import Instance
from cluster.controller.objects import AWAITS_CLAIM, FINALIZER, Claim, Object, Volume
from cluster.controller.room_news import RoomNews
from cluster.controller.secrets import made_for
from cluster.controller.workqueue import Key
from shared import options, protocol

KIND = "volume"  # of the keys in the queue; the second part of such a key is the PV's name
# How often our finalizer is tried to be changed while others change the PV.
_TRIES = 5
_CONFLICT = 409
_NOT_DELETED = "VolumeFailedDelete"
_NOT_ADOPTED = "VolumeFailedAdopt"
_NOT_RETAINED = "VolumeFailedRetain"
_log = logging.getLogger("volume")


@dataclass(frozen=True)
class _Policy:
    """A PV of ours by its name, and its reclaim policy."""

    name: str
    policy: str


class Delete:
    """Follows the watch of the PVs, and works on those of ours that something is to be done with,
    on one PV at a time in each thread."""

    def __init__(self, instance: Instance, news: RoomNews) -> None:
        """news: of volumes that are deleted or have grown."""
        self._api = instance.api
        self._storage = instance.storage
        self._events = instance.events
        self._work = instance.work
        self._identity = instance.identity
        self._secrets = instance.secrets
        self._news = news
        self._lock = threading.Lock()
        self._policies: dict[str, _Policy] = {}  # by the PV's uid

    def changed(self, thing: Object) -> None:
        """As followers.Follower has it."""
        volume = Volume(thing)
        if not is_ours(volume, self._identity):
            self.gone(thing)
            return
        self._news.changed()  # The volume may have grown.
        with self._lock:
            self._policies[volume.uid] = _Policy(volume.name, volume.reclaim_policy)
        if decide.on_volume(volume, self._identity).action == decide.LATER:
            self._work.forget((KIND, volume.name))
        else:
            self._work.add((KIND, volume.name))

    def listed(self, uids: set[str]) -> None:
        """As followers.Follower has it."""
        with self._lock:
            self._policies = {uid: policy for uid, policy in self._policies.items() if uid in uids}

    def gone(self, thing: Object) -> None:
        """As followers.Follower has it."""
        volume = Volume(thing)
        with self._lock:
            self._policies.pop(volume.uid, None)
        self._work.forget((KIND, volume.name))

    def policies(self) -> dict[str, str]:
        """The reclaim policies of our own PVs, by the PV's name."""
        with self._lock:
            return {policy.name: policy.policy for policy in self._policies.values()}

    def sync(self, key: Key) -> None:
        """One attempt for the PV called key[1], read live with its claim: what the two are now
        decides, not what the watches have told.

        :raises Refused, Unreachable: by the API server."""
        volume = Volume.of(self._api.get(_path(key[1])))
        if volume is None:
            self._work.done(key)
            return
        decision = decide.on_volume(volume, self._identity)
        if decision.action in (decide.DELETE, decide.LET_GO):
            claim = Claim.of(self._api.claim(volume.claim_reference))
            decision = decide.with_claim(decision, volume, claim)
        self._act(key, volume, decision)

    def _act(self, key: Key, volume: Volume, decision: decide.Decision) -> None:
        if decision.action == decide.LATER:
            self._work.done(key)
        elif decision.action == decide.ADOPT:
            self._adopt(key, volume)
        elif decision.action == decide.WAIT:
            self._failed(key, volume, protocol.Busy(decision.sentence), _NOT_DELETED)
        elif decision.action == decide.DELETE:
            self._delete(key, volume, decision.sentence)
        elif decision.action == decide.LET_GO:
            self._let_go(key, volume, decision.sentence)
        elif decision.action == decide.DROP_FINALIZER:
            self._drop_finalizer(key, volume)
        else:
            self._set_finalizer(volume, held=True)
            self._work.done(key)

    def _delete(self, key: Key, volume: Volume, why: str) -> None:
        """Deletes the storage, then the PV, then our finalizer.

        why: "" if the claim of the PV is just gone."""
        began = time.monotonic()
        try:
            request = volume_manifest.delete_request(volume)
            self._storage.delete(volume.driver, request)
            self._secrets.remove(made_for(volume))
        except protocol.Failure as failure:
            self._failed(key, volume, failure, _NOT_DELETED)
            return
        reason = f": {why}" if why else ""
        _log.info("deleted %s%s", volume.name, reason, extra=_about(volume))
        seconds = time.monotonic() - began
        metrics.deleted.labels(volume.class_name).inc()
        metrics.delete_seconds.labels(volume.class_name).observe(seconds)
        self._news.changed()
        self._api.delete(_path(volume.name), volume.uid)
        self._set_finalizer(volume, held=False)
        self._work.done(key)

    def _let_go(self, key: Key, volume: Volume, why: str) -> None:
        """Takes our finalizer away from the PV as it was read: if the PV has been bound meanwhile,
        the finalizer has to stay."""
        change = {
            "finalizers": _others(volume),
            "resourceVersion": volume.resource_version,
        }
        try:
            self._api.patch(_path(volume.name), {"metadata": change})
        except cluster.Refused as error:
            if error.status != _CONFLICT:
                raise
            self._work.failed(key, retry.SOON)
            return
        _log.info("%s may go: %s", volume.name, why, extra=_about(volume))
        self._work.done(key)

    def _adopt(self, key: Key, volume: Volume) -> None:
        """The claim of the PV has come: the driver writes the claim into the volume's record, and
        then the PV loses its mark. Before that nothing else is done with the PV, so that a volume
        is deleted only if its record agrees with the PV about the owner."""
        # A PV that is bound is the claim's, whatever name was awaited: see owners.py. A claim that
        # came and went is only known by the PV, so the record must have awaited that name.
        only_if_owner = options.AWAITED if volume.is_bound else ""
        request = volume_manifest.adopt_request(volume, only_if_owner=only_if_owner)
        try:
            self._storage.adopt(volume.driver, request)
        except protocol.Failure as failure:
            self._failed(key, volume, failure, _NOT_ADOPTED)
            return
        change = {"uid": volume.uid, "annotations": {AWAITS_CLAIM: None}}
        self._api.patch(_path(volume.name), {"metadata": change})
        _log.info(
            "%s is of claim %s now",
            volume.name,
            request.claim.uid,
            extra=_about(volume),
        )
        self._work.done(key)

    def _drop_finalizer(self, key: Key, volume: Volume) -> None:
        """Takes our finalizer away, once the record says that the volume is kept. Until then a
        person who deletes the PV has to wait, and an event says why."""
        try:
            self._retain(volume)
        except protocol.Failure as failure:
            self._failed(key, volume, failure, _NOT_RETAINED)
            return
        self._set_finalizer(volume, held=False)
        self._work.done(key)

    def _retain(self, volume: Volume) -> None:
        """The volume's record says Retain, as the PV does, before the PV can go. A volume whose
        pool is away is not listed, so that its record cannot be changed."""
        for entry in self._storage.list(volume.driver).volumes:
            if entry.get("name") == volume.name:
                orphans.retain(self._storage, volume.driver, entry)

    def _set_finalizer(self, volume: Volume, held: bool) -> None:
        """Puts our finalizer on the PV or takes the finalizer away. The PV may be gone already, and
        another PV may have its name.

        :raises Refused: also if others change the PV at each try."""
        for _ in range(_TRIES):
            try:
                self._try_set_finalizer(volume, held)
                return
            except cluster.Refused as error:
                if error.status != _CONFLICT:
                    raise
                # Others take away their finalizers at the same time.
        raise cluster.Refused(
            _CONFLICT,
            f"{_path(volume.name)}: it is changed all the time",
        )

    def _try_set_finalizer(self, volume: Volume, held: bool) -> None:
        live = Volume.of(self._api.get(_path(volume.name)))
        if live is None or live.uid != volume.uid or live.is_held == held:
            return
        finalizers = _others(live)
        if held:
            finalizers.append(FINALIZER)
        change = {"finalizers": finalizers, "resourceVersion": live.resource_version}
        self._api.patch(_path(live.name), {"metadata": change})

    def _failed(self, key: Key, volume: Volume, failure: protocol.Failure, event: str) -> None:
        """event: the reason of the event that reports the failure."""
        following = retry.after(failure)
        if following.warns:
            if event == _NOT_DELETED:
                metrics.delete_failed.labels(volume.class_name).inc()
            sentence = f"{failure.reason}: {failure.message}"
            self._events.warning(volume.json, event, sentence)
            about = {"volume": volume.name, "reason": failure.reason}
            _log.warning("%s: %s: %s", event, volume.name, sentence, extra=about)
        self._work.failed(key, following.pause)


def _path(name: str) -> str:
    return cluster.path_to(cluster.VOLUMES, name)


def _about(volume: Volume) -> dict[str, str]:
    return {"volume": volume.name}


def _others(volume: Volume) -> list[str]:
    """The finalizers of the PV that are not ours."""
    return [finalizer for finalizer in volume.finalizers if finalizer != FINALIZER]
