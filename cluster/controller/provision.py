"""One claim becomes one PV: decide, call the driver, look at the claim again, write the PV."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from cluster.controller import cluster, decide, metrics, quantities, retry, volume_manifest
from cluster.controller.capacity import Capacity
from cluster.controller.events import Events
from cluster.controller.secrets import Secrets
from cluster.controller.storage import Storage
from cluster.controller.workqueue import WorkQueue
from shared import options, protocol

Object = dict[str, Any]
Key = tuple[str, str]
# The pause before each next node may take a claim that is no node's yet, and how many pauses there
# are at the most.
_RANK_SECONDS, _RANKS = 0.3, 20
_LEFT_TO_OTHERS_SECONDS = 30.0
# How old the node's labels may be where much depends on reading them seldom: in what is published,
# and in the choice of a node for a claim that is bound at once.
_LABELS_SECONDS = 120.0
_PASSED_OVER_SECONDS = 10.0  # until a node that pods cannot go to looks again whether others fit
# Where more nodes than are compared have as much room as this one, they look at a claim one after
# the other for so long. Most find it taken, and ask for nothing.
_CROWD_SECONDS = 3.0
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
        self._api = api
        self._storage = storage
        self._events = events
        self._work = work
        self._us = us
        self._secrets = secrets
        self.capacity: Capacity | None = None
        self._lock = threading.Lock()
        self._claims: dict[str, Object] = {}  # by uid: those that wait for us
        # By uid: claim and class of storage that may have no PV yet.
        self._begun: dict[str, tuple[Object, Object]] = {}
        self._announced: set[str] = set()  # uids of claims that have their event
        self._classes: dict[str, Object] = {}
        self._free_since: dict[str, float] = {}  # by uid: claims that we might take
        # By uid: claims that we gave back, and leave to other nodes until then.
        self._left_until: dict[str, float] = {}
        self._populated: set[str] = set()  # by uid: claims that we have left to a populator
        self._cluster_uid = ""
        self._node_read: tuple[float, Object] = (float("-inf"), {})

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

    def volume_gone(self, volume: Object) -> None:
        """A claim that still waits gets its PV again: nothing else says that the first one went."""
        uid = (volume["spec"].get("claimRef") or {}).get("uid", "")
        with self._lock:
            waits = uid in self._claims
        if waits:
            self._work.add(("claim", uid))

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

    def is_anyones(self, uid: str) -> bool:
        """Whether the claim with that uid is one that any node might take."""
        with self._lock:
            claim = self._claims.get(uid)
        return bool(
            self._us.node
            and claim is not None
            and not decide.annotations_of(claim).get(decide.SELECTED_NODE)
        )

    def _forget(self, uid: str) -> None:
        with self._lock:
            self._claims.pop(uid, None)
            self._announced.discard(uid)
            self._free_since.pop(uid, None)
            self._populated.discard(uid)
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
            self._work.failed(key, retry.SLOW)
        elif decision.action == decide.POPULATE:
            self._leave_to_populator(key, claim)
        elif decision.action == decide.TAKE and storage_class is not None:
            self._take(key, claim, storage_class)
        elif decision.action == decide.PROVISION and storage_class is not None:
            self._attempt(key, claim, storage_class)
        else:
            self._work.done(key)

    def _leave_to_populator(self, key: Key, claim: Object) -> None:
        """A volume populator binds the claim to the PV of a claim of its own, which we serve like
        any other. Its claim may change often meanwhile; that is no news."""
        if key[1] not in self._populated:
            self._populated.add(key[1])
            self._events.normal(claim, "Provisioning", decide.POPULATOR)
        self._work.done(key)

    def _take(self, key: Key, claim: Object, storage_class: Object) -> None:
        """The claim's node is to be ours, if it is our turn: the nodes with more room have theirs
        before. The version that the watch has told us of is the precondition, so that only one gets
        it."""
        uid, now = key[1], time.monotonic()
        left_until = self._left_until.get(uid, now)
        if left_until > now:
            self._free_since.pop(uid, None)
            self._work.again(key, left_until - now)
            return
        waited_seconds = now - self._free_since.setdefault(uid, now)
        turn_seconds = self._turn_seconds(claim, storage_class, waited_seconds)
        if turn_seconds is None:
            self._free_since.pop(uid, None)
            self._work.failed(key, retry.SLOW)
        elif turn_seconds > waited_seconds:
            self._work.again(key, turn_seconds - waited_seconds)
        elif self._node_has_changed():
            self._work.failed(key, retry.SOON)
        elif self._set_node(claim, self._us.node):
            self._work.done(key)
        else:
            self._work.failed(key, retry.SOON)

    def _turn_seconds(
        self, claim: Object, storage_class: Object, waited_seconds: float
    ) -> float | None:
        """How long a claim must be free until we take it, or look again; None if it is not for
        us. What needs no request comes first: each claim is looked at by every node."""
        if self.capacity is None:
            return None
        driver = self._us.drivers[storage_class["provisioner"]]
        if decide.is_copy(claim):
            can_copy = self._is_allowed(storage_class) and self._has_source(claim, driver)
            return 0.0 if can_copy else None
        class_name, uid = storage_class["metadata"]["name"], claim["metadata"]["uid"]
        size_bytes, room = _size_bytes(claim), self.capacity.room(class_name)
        if room is None and self.capacity.has_pools(driver):
            return None  # not published yet
        if room is not None and room < size_bytes:
            return None
        if not self._is_allowed(storage_class):
            return None
        if not decide.takes_pods(self._node(_LABELS_SECONDS)):
            return self._passed_over_seconds(claim, storage_class, waited_seconds)
        if room is None:
            ranked = decide.rank({}, self.recent_hostname(), size_bytes, uid)
            return None if ranked is None else ranked * _RANK_SECONDS
        look_seconds = decide.chance(uid, self._us.node) * _CROWD_SECONDS
        if self.capacity.is_crowd(class_name) and waited_seconds < look_seconds:
            return look_seconds
        rivals = self.capacity.rivals(class_name)
        if not rivals.are_all:
            return look_seconds + (_RANKS * _RANK_SECONDS if rivals.have_more else 0.0)
        rank = decide.rank(rivals.rooms, self.recent_hostname(), size_bytes, uid)
        return None if rank is None else min(rank, _RANKS) * _RANK_SECONDS

    def _passed_over_seconds(
        self, claim: Object, storage_class: Object, waited_seconds: float
    ) -> float | None:
        """As _turn_seconds, for a node that pods cannot go to: it takes a claim only while no other
        node has room for it. Where no room is published nobody knows that, so it takes the claim
        after all others could."""
        if self.capacity is None:
            return None
        class_name, size_bytes = storage_class["metadata"]["name"], _size_bytes(claim)
        uid, hostname = claim["metadata"]["uid"], self.recent_hostname()
        if self.capacity.room(class_name) is None:
            ranked = decide.rank({}, hostname, size_bytes, uid) or 0
            return (ranked + _RANKS) * _RANK_SECONDS
        if self.capacity.others_fit(class_name, size_bytes):
            return waited_seconds + _PASSED_OVER_SECONDS
        rivals = self.capacity.all_rivals(class_name)
        rank = decide.rank(rivals.rooms, hostname, size_bytes, uid)
        return (_RANKS if rank is None else min(rank, _RANKS)) * _RANK_SECONDS

    def is_passed_over(self, storage_class: Object) -> bool:
        """Whether our node is to take no claim of the class by itself while other nodes can."""
        takes_pods = decide.takes_pods(self._node(_LABELS_SECONDS))
        return not takes_pods or not self._is_allowed(storage_class)

    def _has_source(self, claim: Object, driver: str) -> bool:
        try:
            self._source(claim, driver)
        except protocol.Failure:
            return False
        return True

    def _is_allowed(self, storage_class: Object) -> bool:
        if not storage_class.get("allowedTopologies"):
            return True
        return decide.is_allowed(storage_class, self._labels(_LABELS_SECONDS))

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
            # An earlier attempt may have made it, whatever this one says.
            known = uid in self._begun
        try:
            # First, as claims that wait for a call to end come again each second.
            self._storage.check_makes(driver)
            request = self._request(claim, storage_class, self._source(claim, driver))
            hostname = self.hostname()
            self._check_allowed(storage_class)
            self._announce(claim)
            with self._lock:
                self._begun.setdefault(uid, (claim, storage_class))
            secret = self._secrets.checked(claim, storage_class)
            made, known = self._storage.provision(driver, request), True
            self._room_changed()
            wanted = self._is_wanted(claim)
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
            source = metrics.source(decide.data_source(claim).get("kind", ""))
            labels = (decide.class_name_of(claim), source)
            metrics.provisioned.labels(*labels).inc()
            metrics.provision_seconds.labels(*labels).observe(time.monotonic() - began)
            about = {"volume": name, "claim": _full_name(claim), "driver": driver}
            _log.info("provisioned %s for %s", name, _full_name(claim), extra=about)
            self._work.done(key)
        else:
            self._undo(key, claim, storage_class)

    def _announce(self, claim: Object) -> None:
        """Once for each claim that is ours, and not for each call of a long copy."""
        uid = claim["metadata"]["uid"]
        with self._lock:
            is_news = uid in self._claims and uid not in self._announced
            if is_news:
                self._announced.add(uid)
        if is_news:
            self._events.normal(
                claim,
                "Provisioning",
                f'External provisioner is provisioning volume for claim "{_full_name(claim)}"',
            )

    def _is_wanted(self, claim: Object) -> bool:
        """A live read: a stale cache must not make a PV for a claim that is gone, got bound to
        another PV, or went to another node."""
        name = volume_manifest.volume_name(claim)
        why = decide.not_wanted(claim, self._api.claim(claim["metadata"]), name, self._us)
        if why:
            _log.info("%s gets no PV: %s", name, why, extra={"volume": name})
        return not why

    def _save(self, claim: Object, volume: Object) -> bool:
        """Writes the PV; False if there is one that another instance made for the claim."""
        try:
            self._api.create(cluster.VOLUMES, volume)
        except cluster.Refused as error:
            there = self._volume(volume["metadata"]["name"]) if error.status == 409 else None
            if (
                there is None
                or (there["spec"].get("claimRef") or {}).get("uid") != claim["metadata"]["uid"]
            ):
                self._warn(claim, f"the PersistentVolume was refused: {error}")
                raise
            if there["metadata"].get("deletionTimestamp"):
                name = there["metadata"]["name"]
                raise protocol.Busy(
                    f"its PV {name} is being deleted, and is made again when it is gone"
                ) from None
            return decide.is_ours(there, self._us)
        return True

    def _volume(self, name: str) -> Object | None:
        return self._api.get(cluster.path_to(cluster.VOLUMES, name))

    def _failed(self, key: Key, claim: Object, failure: protocol.Failure, known: bool) -> None:
        """known: whether there may be a volume from this attempt or an earlier one."""
        following = retry.after(failure)
        if following.warns:
            self._say_failure(claim, f"{failure.reason}: {failure.message}")
        if not following.may_exist and not known:
            with self._lock:
                self._begun.pop(key[1], None)
        has_node = bool(decide.annotations_of(claim).get(decide.SELECTED_NODE))
        if following.elsewhere and has_node and self._give_node_back(claim):
            self._work.done(key)
        else:
            self._work.failed(key, following.pause)

    def _give_node_back(self, claim: Object) -> bool:
        """Lets the scheduler, or the other nodes, choose again, knowing what room there is now."""
        if self.capacity is not None:
            now = time.monotonic()
            # Kept while others try: two nodes would otherwise hand it to each other without end.
            with self._lock:
                self._left_until = {
                    uid: until for uid, until in self._left_until.items() if until > now
                }
                self._left_until[claim["metadata"]["uid"]] = now + _LEFT_TO_OTHERS_SECONDS
            try:
                self.capacity.publish()
            except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
                # What ails the node must not keep the claim on it.
                _log.warning("capacity not published: %s", error)
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
        """The claim went, or went elsewhere, while its storage was being made: delete what there
        is, unless there is a PV of ours for it, which is deleted as such. What was ever mounted is
        left alone."""
        name = volume_manifest.volume_name(claim)
        there = self._volume(name)
        if there is None or not decide.is_ours(there, self._us):
            gone = self._take_back(claim, storage_class)
            try:
                self._secrets.remove(self._secrets.wanted(claim, storage_class) if gone else None)
            except protocol.Failure as failure:
                _log.warning("the secret made for %s is left: %s", name, failure)
        with self._lock:
            self._begun.pop(key[1], None)
        self._room_changed()
        self._work.done(key)

    def _take_back(self, claim: Object, storage_class: Object) -> bool:
        """Deletes the volume that was made for the claim, whole or half, and makes none; whether it
        is gone. Only the driver knows where the volume is."""
        name = volume_manifest.volume_name(claim)
        driver = self._us.drivers[storage_class["provisioner"]]
        try:
            request = self._request(claim, storage_class, only_find=True)
            found = self._storage.provision(driver, request)
            volume = volume_manifest.persistent_volume(claim, storage_class, found, self._us, "")
            request = volume_manifest.delete_request(volume, only_if_blank=True)
            self._storage.delete(driver, request)
        except protocol.InvalidArgument as failure:
            _log.warning("%s is not deleted again: %s", name, failure, extra={"volume": name})
            return False
        except (protocol.NotFound, protocol.ResourceExhausted) as failure:  # it was never made
            _log.info("nothing to delete again of %s: %s", name, failure)
            return True
        _log.info(
            "deleted %s again: the claim %s does not want it any more",
            name,
            _full_name(claim),
            extra={"volume": name},
        )
        return True

    def _source(self, claim: Object, driver: str) -> str:
        """The volume that the claim is to be a copy of, or "". Raises Unavailable if only another
        node can make it."""
        snapshot = decide.annotations_of(claim).get(decide.FROM_SNAPSHOT, "")
        if snapshot:
            decide.check_snapshot(claim, self._storage.list(driver).volumes, self._us)
            return snapshot
        if not decide.is_copy(claim):
            return ""
        source = self._api.get(
            cluster.claim_path(claim["metadata"]["namespace"], decide.data_source(claim)["name"])
        )
        name = source["spec"].get("volumeName") if source else ""
        decide.check_source(claim, source, self._volume(name) if name else None, self._us)
        return str(name)

    def _request(
        self, claim: Object, storage_class: Object, source: str = "", only_find: bool = False
    ) -> options.Options:
        self._cluster_uid = self._cluster_uid or self._api.uid()
        return volume_manifest.provision_request(
            claim,
            storage_class,
            _size_bytes(claim),
            self._cluster_uid,
            source=source,
            only_find=only_find,
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
        source = metrics.source(decide.data_source(claim).get("kind", ""))
        metrics.provision_failed.labels(known, source).inc()
        self._events.warning(
            claim,
            "ProvisioningFailed",
            f'failed to provision volume with StorageClass "{name}": {sentence}',
        )

    def hostname(self, age_seconds: float = 0.0) -> str:
        """The node's own hostname label, which need not be its name; "" in shared mode.

        age_seconds: how old the answer may be. A PV keeps the label for its life, so it is read
        live for each. Raises Unavailable if the node has none, Refused or Unreachable."""
        if not self._us.node:
            return ""
        hostname = self._labels(age_seconds).get(decide.HOSTNAME, "")
        if not hostname:
            raise protocol.Unavailable(f"node {self._us.node} has no label {decide.HOSTNAME}")
        return hostname

    def recent_hostname(self) -> str:
        """As `hostname`, for what is written anew all the time."""
        return self.hostname(_LABELS_SECONDS)

    def _labels(self, age_seconds: float = 0.0) -> dict[str, str]:
        """Those of our node, read not longer ago than age_seconds."""
        labels: dict[str, str] = self._node(age_seconds).get("metadata", {}).get("labels") or {}
        return labels

    def _node(self, age_seconds: float = 0.0) -> Object:
        """What decides of our node where volumes go, read not longer ago than age_seconds."""
        read_at, before = self._node_read
        if time.monotonic() - read_at < age_seconds:
            return before
        node = self._api.get(cluster.path_to(cluster.NODES, self._us.node)) or {}
        spec = node.get("spec") or {}
        known = {
            "metadata": {"labels": node.get("metadata", {}).get("labels") or {}},
            "spec": {key: spec[key] for key in ("unschedulable", "taints") if key in spec},
        }
        self._node_read = (time.monotonic(), known)
        if before and before != known:
            self._room_changed()  # what is published may name the old hostname, or pass us over
        return known

    def _node_has_changed(self) -> bool:
        """Whether our node, read now, is another than the one that the last decision was about."""
        before = self._node(_LABELS_SECONDS)
        return self._node() != before

    def _check_allowed(self, storage_class: Object) -> None:
        """Raises Unavailable if our node is not in the class's allowedTopologies. The scheduler has
        looked at them, but whoever may write a claim may write its node too."""
        if self._us.node and not self._is_allowed(storage_class):
            raise protocol.Unavailable(
                f"node {self._us.node} is not in allowedTopologies of the storage class "
                f"{storage_class['metadata']['name']}; another node is chosen for the claim"
            )


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
    return quantities.size_bytes(claim["spec"]["resources"]["requests"]["storage"])
