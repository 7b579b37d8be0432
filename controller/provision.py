"""One claim becomes one PV: decide, call the driver, look at the claim again, write the PV."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import protocol
from controller import cluster, decide, metrics, volume_manifest
from controller.capacity import Capacity
from controller.events import Events
from controller.secrets import Secrets
from controller.storage import Storage
from controller.workqueue import SLOW_SECONDS, SOON_SECONDS, WorkQueue

Object = dict[str, Any]
Key = tuple[str, str]
_RANK_SECONDS, _RANKS = (
    0.3,
    20,
)  # the pause before each next node may take a claim that is no node's yet
_LEFT_TO_OTHERS_SECONDS = 30.0
_log = logging.getLogger("claim")


class Provision:
    """Keeps the claims that wait for us, and works on them one at a time per claim."""

    def __init__(
        self,
        api: cluster.Cluster,
        storage: Storage,
        events: Events,
        work: WorkQueue,
        us: decide.Identity,
        secrets: Secrets,
    ) -> None:
        self._api, self._storage, self._events, self._work, self._us = (
            api,
            storage,
            events,
            work,
            us,
        )
        self._secrets = secrets
        self.capacity: Capacity | None = None
        self._lock = threading.Lock()
        self._claims: dict[str, Object] = {}  # by uid: those that wait for us
        self._begun: dict[
            str, tuple[Object, Object]
        ] = {}  # claim and class of storage that may have no PV yet
        self._classes: dict[str, Object] = {}
        self._free_since: dict[str, float] = {}  # by uid: claims that we might take
        self._left_until: dict[
            str, float
        ] = {}  # by uid: claims that we gave back, and leave to other nodes until then
        self._cluster_uid = ""
        self._hostname = ""

    # What the watches tell.

    def claim_changed(self, claim: Object) -> None:
        uid = claim["metadata"]["uid"]
        if not decide.waits_for_us(claim, self._us):
            if not self._us.node and claim["spec"].get("volumeName") == volume_manifest.volume_name(
                claim
            ):
                with self._lock:
                    self._begun.pop(uid, None)  # whoever led meanwhile has written the PV
            self.claim_gone(claim)
            return
        trimmed = _trimmed(claim)
        with self._lock:
            before, self._claims[uid] = self._claims.get(uid), trimmed
        if before is None or _meaning(before) != _meaning(trimmed):
            self._work.add(("claim", uid))

    def claim_gone(self, claim: Object) -> None:
        self._forget(claim["metadata"]["uid"])

    def claims_listed(self, uids: set[str]) -> None:
        with self._lock:
            gone = [uid for uid in self._claims if uid not in uids]
        for uid in gone:
            self._forget(uid)

    def class_changed(self, storage_class: Object) -> None:
        name = storage_class["metadata"]["name"]
        with self._lock:
            before = self._classes.get(name, {}).get("metadata", {}).get("resourceVersion")
            if before == storage_class["metadata"]["resourceVersion"]:
                return
            self._classes[name] = storage_class
            waiting = [
                uid for uid, claim in self._claims.items() if decide.class_name_of(claim) == name
            ]
        for uid in waiting:
            self._work.add(("claim", uid))
        self._room_changed()

    def class_gone(self, storage_class: Object) -> None:
        with self._lock:
            self._classes.pop(storage_class["metadata"]["name"], None)
        self._room_changed()

    def classes(self) -> list[Object]:
        with self._lock:
            return list(self._classes.values())

    def classes_listed(self, uids: set[str]) -> None:
        with self._lock:
            self._classes = {
                name: one for name, one in self._classes.items() if one["metadata"]["uid"] in uids
            }

    def _room_changed(self) -> None:
        if self.capacity is not None:
            self.capacity.changed()

    def stand_by(self) -> None:
        """Another leads now, and drives to an end what we began; what it makes of that we do not
        undo."""
        with self._lock:
            self._begun.clear()

    def in_hand(self, uid: str) -> bool:
        """Whether the claim with that uid waits for us, or we have begun something for it."""
        with self._lock:
            return uid in self._claims or uid in self._begun

    def _forget(self, uid: str) -> None:
        with self._lock:
            self._claims.pop(uid, None)
            self._free_since.pop(uid, None)
            begun = uid in self._begun
        if begun:
            self._work.add(("claim", uid))
        else:
            self._work.forget(("claim", uid))

    # The work.

    def sync(self, key: Key) -> None:
        """One attempt for the claim with the uid key[1]; tells the queue how to go on."""
        uid = key[1]
        with self._lock:
            claim, begun = self._claims.get(uid), self._begun.get(uid)
            storage_class = self._classes.get(decide.class_name_of(claim)) if claim else None
        if claim is None:
            if begun is not None:
                self._undo(key, *begun)
            else:
                self._work.done(key)
            return
        name = decide.class_name_of(claim)
        if storage_class is None and name:  # it may be younger than our picture
            storage_class = self._api.get(cluster.path_to(cluster.CLASSES, name))
        decision = decide.on_claim(claim, storage_class, self._us)
        if decision.action == decide.REJECT:
            self._say_failure(claim, decision.sentence)
            self._work.done(key, SLOW_SECONDS)
        elif decision.action == decide.TAKE and storage_class is not None:
            self._take(key, claim, storage_class)
        elif decision.action == decide.PROVISION and storage_class is not None:
            self._attempt(key, claim, storage_class)
        else:
            self._work.done(key)

    def _take(self, key: Key, claim: Object, storage_class: Object) -> None:
        """The claim's node is to be ours, if it is our turn: the nodes with more room have theirs
        before. The version that the watch has told us of is the precondition, so that only one gets
        it."""
        uid, now = key[1], time.monotonic()
        left_until = self._left_until.get(uid, now)
        rank = self._rank(claim, storage_class) if left_until <= now else None
        if rank is None:
            self._free_since.pop(uid, None)
            self._work.done(key, left_until - now if left_until > now else SLOW_SECONDS)
            return
        turn = self._free_since.setdefault(uid, now) + min(rank, _RANKS) * _RANK_SECONDS
        if turn > now:
            self._work.done(key, turn - now)
        else:
            taken = self._set_node(claim, self._us.node)
            self._work.done(key, None if taken else SOON_SECONDS)

    def _rank(self, claim: Object, storage_class: Object) -> int | None:
        if self.capacity is None:
            return None
        if decide.is_copy(claim):
            try:
                self._source(claim, self._us.drivers[storage_class["provisioner"]])
                return 0
            except protocol.Failure:
                return None
        if storage_class.get("allowedTopologies") and not decide.is_allowed(
            storage_class, self._labels()
        ):
            return None
        rooms = self.capacity.rooms(storage_class["metadata"]["name"])
        if not rooms and self.capacity.has_pools(self._us.drivers[storage_class["provisioner"]]):
            return None  # not published yet
        return decide.rank(rooms, self.hostname(), _size_bytes(claim), claim["metadata"]["uid"])

    def room_published(self, changed: bool) -> None:
        """If our pools have another room than before, there may be claims that we can take now."""
        with self._lock:
            claims = list(self._claims.items()) if changed else []
        for uid, claim in claims:
            if not decide.annotations_of(claim).get(decide.SELECTED_NODE):
                self._work.add(("claim", uid))

    def _attempt(self, key: Key, claim: Object, storage_class: Object) -> None:
        began, uid, name = time.monotonic(), key[1], volume_manifest.volume_name(claim)
        driver = self._us.drivers[storage_class["provisioner"]]
        with self._lock:
            known = (
                uid in self._begun
            )  # an earlier attempt may have made it, whatever this one says
        try:
            request = self._request(claim, storage_class, self._source(claim, driver))
            hostname = self.hostname()
            self._events.normal(
                claim,
                "Provisioning",
                f'External provisioner is provisioning volume for claim "{_full_name(claim)}"',
            )
            with self._lock:
                self._begun.setdefault(uid, (claim, storage_class))
            secret = self._secrets.checked(claim, storage_class)
            made, known = self._storage.provision(driver, request), True
            self._room_changed()
            wanted = self._still_wanted(claim)
            if wanted:
                self._secrets.make(secret)
        except protocol.Failure as failure:
            self._failed(key, claim, failure, known)
            return
        volume = volume_manifest.persistent_volume(
            claim, storage_class, made, self._us, hostname, secret and secret[:2]
        )
        if wanted and self._save(claim, volume):
            with self._lock:
                self._begun.pop(uid, None)
            self._events.normal(
                claim, "ProvisioningSucceeded", f"Successfully provisioned volume {name}"
            )
            labels = (decide.class_name_of(claim), decide.data_source(claim).get("kind", ""))
            metrics.provisioned.labels(*labels).inc()
            metrics.provision_seconds.labels(*labels).observe(time.monotonic() - began)
            about = {"volume": name, "claim": _full_name(claim), "driver": driver}
            _log.info("provisioned %s for %s", name, _full_name(claim), extra=about)
            self._work.done(key)
        else:
            self._undo(key, claim, storage_class)

    def _still_wanted(self, claim: Object) -> bool:
        """A live read: a stale cache must not make a volume for a claim that is gone, or went to
        another node."""
        live = self._api.claim(claim["metadata"])
        if live is None:
            return False
        node = decide.annotations_of(claim).get(decide.SELECTED_NODE)
        return not self._us.node or decide.annotations_of(live).get(decide.SELECTED_NODE) == node

    def _save(self, claim: Object, volume: Object) -> bool:
        """Writes the PV; False if there is one that another instance made for the claim."""
        try:
            self._api.create(cluster.VOLUMES, volume)
        except cluster.Refused as error:
            there = self._volume(volume["metadata"]["name"]) if error.status == 409 else None
            if (
                there is None
                or there["spec"].get("claimRef", {}).get("uid") != claim["metadata"]["uid"]
            ):
                self._warn(claim, f"the PersistentVolume was refused: {error}")
                raise
            return decide.is_ours(there, self._us)
        return True

    def _volume(self, name: str) -> Object | None:
        return self._api.get(f"{cluster.VOLUMES}/{name}")

    def _failed(self, key: Key, claim: Object, failure: protocol.Failure, known: bool) -> None:
        """known: whether there may be a volume from this attempt or an earlier one."""
        retry = decide.after(failure, decide.annotations_of(claim).get(decide.SELECTED_NODE, ""))
        if retry.warn:
            self._say_failure(claim, f"{failure.reason}: {failure.message}")
        if not retry.unknown and not known:
            with self._lock:
                self._begun.pop(key[1], None)
        if retry.kind == "reschedule" and self._give_node_back(claim):
            self._work.done(key)
        elif retry.kind in ("slow", "soon"):
            self._work.done(key, SLOW_SECONDS if retry.kind == "slow" else SOON_SECONDS)
        else:
            self._work.done(key, failed=True)

    def _give_node_back(self, claim: Object) -> bool:
        """Lets the scheduler, or the other nodes, choose again, knowing what room there is now."""
        if self.capacity is not None:
            now = time.monotonic()
            with (
                self._lock
            ):  # kept while others try: two nodes would otherwise hand it to each other without end
                self._left_until = {
                    uid: until for uid, until in self._left_until.items() if until > now
                }
                self._left_until[claim["metadata"]["uid"]] = now + _LEFT_TO_OTHERS_SECONDS
            try:
                self.capacity.publish()
            except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
                _log.warning(
                    "capacity not published: %s", error
                )  # what ails the node must not keep the claim on it
        return self._set_node(claim, None)

    def _set_node(self, claim: Object, node: str | None) -> bool:
        """Chooses the claim's node, or lets others choose; False if the claim changed meanwhile."""
        metadata = claim["metadata"]
        change = {
            "annotations": {decide.SELECTED_NODE: node},
            "resourceVersion": metadata["resourceVersion"],
        }
        try:
            self._api.patch(
                cluster.claim_path(metadata["namespace"], metadata["name"]), {"metadata": change}
            )
        except cluster.Refused as error:
            if error.status == 409:
                return False
            raise
        return True

    def _undo(self, key: Key, claim: Object, storage_class: Object) -> None:
        """The claim went, or went elsewhere, while its storage was being made: delete what may be
        there, unless there is a PV of ours for it, which is deleted as such. What was ever mounted
        is left alone."""
        name = volume_manifest.volume_name(claim)
        there = self._volume(name)
        if there is None or not decide.is_ours(there, self._us):
            driver = self._us.drivers[storage_class["provisioner"]]
            try:
                made = self._storage.provision(
                    driver, self._request(claim, storage_class)
                )  # finds it: tells where it is
                volume = volume_manifest.persistent_volume(claim, storage_class, made, self._us, "")
                self._storage.delete(
                    driver, volume_manifest.delete_request(volume, only_if_blank=True)
                )
                _log.info(
                    "deleted %s again: claim %s is gone",
                    name,
                    _full_name(claim),
                    extra={"volume": name},
                )
                gone = True
            except protocol.InvalidArgument as failure:
                _log.warning("%s is not deleted again: %s", name, failure, extra={"volume": name})
                gone = False
            except protocol.ResourceExhausted as failure:  # it was never made
                _log.info("nothing to delete again of %s: %s", name, failure)
                gone = True
            try:
                self._secrets.remove(self._secrets.wanted(claim, storage_class) if gone else None)
            except protocol.Failure as failure:
                _log.warning("the secret made for %s is left: %s", name, failure)
        with self._lock:
            self._begun.pop(key[1], None)
        self._room_changed()
        self._work.done(key)

    def _source(self, claim: Object, driver: str) -> str:
        """The volume that the claim is to be a copy of, or "". Raises Unavailable if only another
        node can make it."""
        snapshot = decide.annotations_of(claim).get(decide.FROM_SNAPSHOT, "")
        if (
            snapshot
            and self._us.node
            and not self._has_snapshot(snapshot, claim["metadata"]["namespace"], driver)
        ):
            raise protocol.Unavailable(
                f"node {self._us.node} has no snapshot {snapshot}; the node that has it makes it"
            )
        if snapshot or not decide.is_copy(claim):
            return snapshot
        source = self._api.get(
            cluster.claim_path(claim["metadata"]["namespace"], decide.data_source(claim)["name"])
        )
        name = source["spec"].get("volumeName") if source else ""
        decide.check_source(claim, source, self._volume(name) if name else None, self._us)
        return str(name)

    def _has_snapshot(self, name: str, namespace: str, driver: str) -> bool:
        """Of that namespace: its name may be another's on another node."""
        for one in self._storage.list(driver).volumes:
            if one.get("name") == name and one.get("kind") == "snapshot":
                return (one.get("owner") or {}).get("namespace") == namespace
        return False

    def _request(self, claim: Object, storage_class: Object, source: str = "") -> protocol.Options:
        self._cluster_uid = self._cluster_uid or self._api.uid()
        return volume_manifest.provision_request(
            claim, storage_class, _size_bytes(claim), self._cluster_uid, source=source
        )

    def _say_failure(self, claim: Object, sentence: str) -> None:
        self._warn(claim, sentence)
        _log.warning(
            "%s not provisioned: %s",
            _full_name(claim),
            sentence,
            extra={"claim": _full_name(claim)},
        )

    def _warn(self, claim: Object, sentence: str) -> None:
        name = decide.class_name_of(claim)
        known = name if name in self._classes else ""
        metrics.provision_failed.labels(known, decide.data_source(claim).get("kind", "")).inc()
        self._events.warning(
            claim,
            "ProvisioningFailed",
            f'failed to provision volume with StorageClass "{name}": {sentence}',
        )

    def hostname(self) -> str:
        """The node's own hostname label, which need not be its name."""
        if self._us.node and not self._hostname:
            labels = self._labels()
            if "kubernetes.io/hostname" not in labels:
                raise protocol.Unavailable(
                    f"node {self._us.node} has no label kubernetes.io/hostname"
                )
            self._hostname = labels["kubernetes.io/hostname"]
        return self._hostname

    def _labels(self) -> dict[str, str]:
        node = self._api.get(f"/api/v1/nodes/{self._us.node}")
        return (node or {}).get("metadata", {}).get("labels") or {}


def _full_name(claim: Object) -> str:
    return f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"


def _trimmed(claim: Object) -> Object:
    kept = ("name", "namespace", "uid", "resourceVersion", "annotations", "deletionTimestamp")
    metadata = {key: claim["metadata"][key] for key in kept if key in claim["metadata"]}
    return {"metadata": metadata, "spec": claim["spec"]}


def _meaning(claim: Object) -> Object:
    """What of a claim can change a decision; its version alone cannot."""
    return {
        **claim,
        "metadata": {
            key: value for key, value in claim["metadata"].items() if key != "resourceVersion"
        },
    }


def _size_bytes(claim: Object) -> int:
    return cluster.size_bytes(claim["spec"]["resources"]["requests"]["storage"])
