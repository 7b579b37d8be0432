"""One released PV is deleted: first the storage, then the PV, then our finalizer, which kept the PV
until then. And one that was made without its claim, by a person, gets to know it."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from cluster.controller import cluster, decide, metrics, orphans, retry, volume_manifest
from cluster.controller.capacity import Capacity
from cluster.controller.events import Events
from cluster.controller.secrets import Secrets, made_for
from cluster.controller.storage import Storage
from cluster.controller.workqueue import WorkQueue
from shared import options, protocol

Object = dict[str, Any]
Key = tuple[str, str]
_CONFLICTS = 5
_log = logging.getLogger("volume")


class Delete:
    """Keeps the names of our own PVs, and works on those there is something to do with."""

    def __init__(
        self,
        api: cluster.Cluster,
        storage: Storage,
        events: Events,
        work: WorkQueue,
        us: decide.Identity,
        secrets: Secrets,
    ) -> None:
        self._api = api
        self._storage = storage
        self._events = events
        self._work = work
        self._us = us
        self._secrets = secrets
        self._lock = threading.Lock()
        self.capacity: Capacity | None = None
        # By uid: our PVs' names and reclaim policies.
        self._policies: dict[str, tuple[str, str]] = {}

    def volume_changed(self, volume: Object) -> None:
        if not decide.is_ours(volume, self._us):
            self.volume_gone(volume)
            return
        if self.capacity is not None:
            self.capacity.changed()  # it may have grown
        uid, name = volume["metadata"]["uid"], volume["metadata"]["name"]
        policy = volume["spec"].get("persistentVolumeReclaimPolicy") or "Retain"
        with self._lock:
            self._policies[uid] = (name, policy)
        if decide.on_volume(volume, self._us).action != decide.LATER:
            self._work.add(("volume", name))
        else:
            self._work.forget(("volume", name))

    def volume_gone(self, volume: Object) -> None:
        with self._lock:
            self._policies.pop(volume["metadata"]["uid"], None)
        self._work.forget(("volume", volume["metadata"]["name"]))

    def volumes_listed(self, uids: set[str]) -> None:
        with self._lock:
            self._policies = {uid: one for uid, one in self._policies.items() if uid in uids}

    def policies(self) -> dict[str, str]:
        """The reclaim policies of our own PVs, by their names."""
        with self._lock:
            return dict(self._policies.values())

    def sync(self, key: Key) -> None:
        """One attempt for the PV called key[1], read live with its claim: what the two are now
        decides, not what we remember."""
        path = cluster.path_to(cluster.VOLUMES, key[1])
        volume = self._api.get(path)
        if volume is None:
            self._work.done(key)
            return
        decision = decide.on_volume(volume, self._us)
        if decision.action in (decide.DELETE, decide.LET_GO):
            claim = self._api.claim(volume["spec"].get("claimRef") or {})
            decision = decide.with_claim(decision, volume, claim)
        if decision.action == decide.LATER:
            self._work.done(key)
        elif decision.action == decide.ADOPT:
            self._own(key, path, volume)
        elif decision.action == decide.WAIT:
            self._failed(key, volume, protocol.Busy(decision.sentence))
        elif decision.action == decide.DELETE:
            self._delete(key, path, volume, decision.sentence)
        elif decision.action == decide.LET_GO:
            self._let_go(key, path, volume, decision.sentence)
        elif decision.action == decide.DROP_FINALIZER:
            self._keep(key, path, volume)
        else:
            self._set_finalizer(path, volume, True)
            self._work.done(key)

    def _delete(self, key: Key, path: str, volume: Object, why: str) -> None:
        """The storage, then the PV, then our finalizer. why: unless its claim is just gone."""
        began, source = time.monotonic(), volume["spec"]["flexVolume"]
        try:
            self._storage.delete(source["driver"], volume_manifest.delete_request(volume))
            self._secrets.remove(made_for(volume))
        except protocol.Failure as failure:
            self._failed(key, volume, failure)
            return
        _log.info("deleted %s%s", key[1], f": {why}" if why else "", extra={"volume": key[1]})
        metrics.deleted.labels(_class_name(volume)).inc()
        metrics.delete_seconds.labels(_class_name(volume)).observe(time.monotonic() - began)
        if self.capacity is not None:
            self.capacity.changed()
        self._api.delete(path, volume["metadata"]["uid"])
        self._set_finalizer(path, volume, False)
        self._work.done(key)

    def _let_go(self, key: Key, path: str, volume: Object, why: str) -> None:
        """Takes our finalizer away from the PV as it was read: had it been bound meanwhile, the
        finalizer would have to stay."""
        metadata = volume["metadata"]
        others = [one for one in metadata["finalizers"] if one != decide.FINALIZER]
        change = {"finalizers": others, "resourceVersion": metadata["resourceVersion"]}
        try:
            self._api.patch(path, {"metadata": change})
        except cluster.Refused as error:
            if error.status != 409:
                raise
            self._work.failed(key, retry.SOON)
            return
        _log.info("%s may go: %s", key[1], why, extra={"volume": key[1]})
        self._work.done(key)

    def _own(self, key: Key, path: str, volume: Object) -> None:
        """Its claim has come: the driver is told, and then nobody needs to be any more. Before that
        nothing else is done with the PV, so that what it names is deleted only if the driver agrees
        whose it was."""
        # Bound, the PV is the claim's, whatever name was awaited: see owners.py. A claim that came
        # and went is only known by the PV, so the record must have awaited that name.
        is_bound = (volume.get("status") or {}).get("phase") == "Bound"
        only_if_owner = options.AWAITED if is_bound else ""
        request = volume_manifest.adopt_request(volume, only_if_owner=only_if_owner)
        try:
            self._storage.adopt(volume["spec"]["flexVolume"]["driver"], request)
        except protocol.Failure as failure:
            self._failed(key, volume, failure, "VolumeFailedAdopt")
            return
        uid = volume["metadata"]["uid"]
        self._api.patch(
            path, {"metadata": {"uid": uid, "annotations": {decide.AWAITS_CLAIM: None}}}
        )
        _log.info("%s is of claim %s now", key[1], request.claim.uid, extra={"volume": key[1]})
        self._work.done(key)

    def _keep(self, key: Key, path: str, volume: Object) -> None:
        """Takes our finalizer away, once the record says that the volume is kept. Until then a
        person who deletes the PV has to wait, and is told why."""
        try:
            self._retain(volume["spec"]["flexVolume"]["driver"], key[1])
        except protocol.Failure as failure:
            self._failed(key, volume, failure, "VolumeFailedRetain")
            return
        self._set_finalizer(path, volume, False)
        self._work.done(key)

    def _retain(self, driver: str, name: str) -> None:
        """What its PV says is said by its record, before the PV can go. A volume whose pool is away
        cannot be told."""
        for entry in self._storage.list(driver).volumes:
            if entry.get("name") == name:
                orphans.retain(self._storage, driver, entry)

    def _set_finalizer(self, path: str, volume: Object, held: bool) -> None:
        """Puts our finalizer on the PV or takes it away; the PV may be gone already, and another
        one made under its name."""
        for _ in range(_CONFLICTS):
            try:
                self._try_set_finalizer(path, volume["metadata"]["uid"], held)
                return
            except cluster.Refused as error:
                if error.status != 409:  # else others take away theirs at the same time
                    raise
        raise cluster.Refused(409, f"{path}: it is changed all the time")

    def _try_set_finalizer(self, path: str, uid: str, held: bool) -> None:
        volume = self._api.get(path)
        if volume is None or volume["metadata"]["uid"] != uid:
            return
        finalizers = volume["metadata"].get("finalizers") or []
        if (decide.FINALIZER in finalizers) == held:
            return
        others = [finalizer for finalizer in finalizers if finalizer != decide.FINALIZER]
        metadata = {
            "finalizers": others + ([decide.FINALIZER] if held else []),
            "resourceVersion": volume["metadata"]["resourceVersion"],
        }
        self._api.patch(path, {"metadata": metadata})

    def _failed(
        self, key: Key, volume: Object, failure: protocol.Failure, event: str = "VolumeFailedDelete"
    ) -> None:
        following = retry.after(failure)
        if following.warns:
            if event == "VolumeFailedDelete":
                metrics.delete_failed.labels(_class_name(volume)).inc()
            self._events.warning(volume, event, f"{failure.reason}: {failure.message}")
            about = {"volume": key[1], "reason": failure.reason}
            _log.warning(
                "%s: %s: %s: %s", event, key[1], failure.reason, failure.message, extra=about
            )
        self._work.failed(key, following.pause)


def _class_name(volume: Object) -> str:
    return str(volume["spec"].get("storageClassName", ""))
