"""One claim becomes one PV: decide, call the driver, look at the claim again, write the PV."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from cluster.controller import cluster, decide, retry, volume_manifest
from cluster.controller.claim_reports import ClaimReports
from cluster.controller.companions import Companions
from cluster.controller.copy_sources import CopySources
from cluster.controller.identity import is_ours
from cluster.controller.instance import Instance
from cluster.controller.objects import Claim, Object, StorageClass, Volume
from cluster.controller.own_node import OwnNode
from cluster.controller.room_news import RoomNews
from cluster.controller.storage_classes import StorageClasses
from cluster.controller.taking import Taking, set_node
from cluster.controller.waiting_claims import WaitingClaims
from cluster.controller.workqueue import Key
from shared import options, protocol

_CONFLICT = 409
_log = logging.getLogger("claim")


@dataclass(frozen=True)
class NodeParts:
    """The parts that node mode has and shared mode has not.

    node: what the node knows of itself.
    taking: takes claims that are no node's.
    companions: lets the claims of a pod go elsewhere together."""

    node: OwnNode
    taking: Taking
    companions: Companions


@dataclass(frozen=True)
class _Plan:
    """One attempt, before the driver is called.

    request: for the driver.
    hostname: of the node that will have the storage; "" in shared mode."""

    driver: str
    request: options.Options
    hostname: str


class Provision:
    """Works on the claims that wait for us, on one claim at a time in each thread."""

    def __init__(
        self,
        instance: Instance,
        claims: WaitingClaims,
        classes: StorageClasses,
        news: RoomNews,
        on_node: NodeParts | None,
    ) -> None:
        """news: of volumes that are made or deleted. on_node: None in shared mode."""
        self._api = instance.api
        self._storage = instance.storage
        self._work = instance.work
        self._identity = instance.identity
        self._secrets = instance.secrets
        self._claims = claims
        self._classes = classes
        self._news = news
        self._on_node = on_node
        self._sources = CopySources(instance)
        self._reports = ClaimReports(instance.events, claims, classes)
        self._cluster_uid = ""

    def sync(self, key: Key) -> None:
        """One attempt for the claim with the uid key[1]; tells the queue how to go on.

        :raises Refused, Unreachable: by the API server.
        :raises Busy: while an earlier PV of that name is being deleted."""
        claim, begun = self._claims.look(key[1])
        if claim is not None:
            self._sync_claim(key, claim)
        elif begun is not None:
            self._undo(key, begun.claim, begun.storage_class)
        else:
            self._work.done(key)

    def _sync_claim(self, key: Key, claim: Claim) -> None:
        storage_class = self._class_of(claim)
        decision = decide.on_claim(claim, storage_class, self._identity)
        if decision.action == decide.REJECT:
            self._reports.not_provisioned(claim, decision.sentence)
            self._work.failed(key, retry.SLOW)
        elif decision.action == decide.POPULATE:
            # The populator binds the claim to the PV of a claim of its own, which we serve like any
            # other.
            self._reports.left_to_populator(claim)
            self._work.done(key)
        elif storage_class is None:
            self._work.done(key)
        elif decision.action == decide.TAKE and self._on_node is not None:
            self._on_node.taking.take(key, claim, storage_class)
        elif decision.action == decide.PROVISION:
            self._attempt(key, claim, storage_class)
        else:
            self._work.done(key)

    def _class_of(self, claim: Claim) -> StorageClass | None:
        if not claim.class_name:
            return None
        storage_class = self._classes.get(claim.class_name)
        if storage_class is not None:
            return storage_class
        # The class may be younger than what its watch has told.
        path = cluster.path_to(cluster.CLASSES, claim.class_name)
        return StorageClass.of(self._api.get(path))

    def _attempt(self, key: Key, claim: Claim, storage_class: StorageClass) -> None:
        began = time.monotonic()
        # An earlier attempt may have made the volume, whatever this one says.
        may_exist = self._claims.begun(claim.uid) is not None
        try:
            plan = self._plan(claim, storage_class)
            self._reports.announced(claim)
            self._claims.begin(claim, storage_class)
            secret = self._secrets.checked(claim, storage_class)
            made = self._storage.provision(plan.driver, plan.request)
            may_exist = True
            self._news.changed()
            is_wanted = self._is_wanted(claim, storage_class)
            if is_wanted:
                self._secrets.make(secret)
        except protocol.Failure as failure:
            self._failed(key, claim, failure, may_exist)
            return
        volume = volume_manifest.persistent_volume(
            claim,
            storage_class,
            made,
            self._identity,
            plan.hostname,
            secret.names if secret else None,
        )
        if not is_wanted or not self._save(claim, volume):
            self._undo(key, claim, storage_class)
            return
        self._claims.end(claim.uid)
        seconds = time.monotonic() - began
        self._reports.provisioned(claim, _name_for(claim), plan.driver, seconds)
        self._work.done(key)

    def _plan(self, claim: Claim, storage_class: StorageClass) -> _Plan:
        """Checks what can be checked before anything is made.

        :raises Failure: why the attempt cannot succeed now."""
        driver = self._identity.drivers[storage_class.provisioner]
        # First, because claims that wait for a callout of the driver to end come again each second.
        self._storage.check_makes(driver)
        source = self._sources.volume_name(claim, driver)
        request = self._request(claim, storage_class, source)
        hostname = ""
        if self._on_node is not None:
            hostname = self._on_node.node.hostname()
            self._on_node.node.check_allowed(storage_class)
        return _Plan(driver, request, hostname)

    def _request(
        self, claim: Claim, storage_class: StorageClass, source: str = "", only_find: bool = False
    ) -> options.Options:
        if not self._cluster_uid:
            self._cluster_uid = self._api.uid()
        return volume_manifest.provision_request(
            claim,
            storage_class,
            claim.requested_bytes,
            self._cluster_uid,
            volume_manifest.Variant(source=source, only_find=only_find),
        )

    def _is_wanted(self, claim: Claim, storage_class: StorageClass) -> bool:
        """A live read: a stale cache must not make a PV for a claim that is gone, got bound to
        another PV, or went to another node."""
        name = _name_for(claim)
        live = Claim.of(self._api.claim(claim.metadata))
        why_not = decide.why_not_wanted(claim, live, name, self._identity)
        if not why_not:
            why_not = self._why_elsewhere(live, storage_class)
        if why_not:
            _log.info("%s gets no PV: %s", name, why_not, extra={"volume": name})
        return not why_not

    def _why_elsewhere(self, live: Claim | None, storage_class: StorageClass) -> str:
        """Why the claim, as it is now, gave its node back; "" if it did not."""
        if live is None or self._on_node is None:
            return ""
        if not self._on_node.companions.leaves_with_copy(live, storage_class):
            return ""
        return "its claim may have to go to another node with a copy"

    def _save(self, claim: Claim, volume: Object) -> bool:
        """Writes the PV; False if there is one that another instance made for the claim.

        :raises Busy: if there is one that is being deleted.
        :raises Refused, Unreachable: by the API server."""
        name = _name_for(claim)
        try:
            self._api.create(cluster.VOLUMES, volume)
        except cluster.Refused as error:
            existing = self._volume(name) if error.status == _CONFLICT else None
            if existing is None or existing.claim.uid != claim.uid:
                self._reports.warned(claim, f"the PersistentVolume was refused: {error}")
                raise
        else:
            return True
        if existing.is_being_deleted:
            raise protocol.Busy(
                f"its PV {name} is being deleted, and is made again when it is gone"
            )
        return is_ours(existing, self._identity)

    def _volume(self, name: str) -> Volume | None:
        return Volume.of(self._api.get(cluster.path_to(cluster.VOLUMES, name)))

    def _failed(self, key: Key, claim: Claim, failure: protocol.Failure, may_exist: bool) -> None:
        """may_exist: whether there may be a volume from this attempt or an earlier one."""
        following = retry.after(failure)
        if following.warns:
            self._reports.not_provisioned(claim, f"{failure.reason}: {failure.message}")
        if not following.may_exist and not may_exist:
            self._claims.end(claim.uid)
        if following.elsewhere and claim.selected_node and self._give_node_back(claim):
            self._work.done(key)
        else:
            self._work.failed(key, following.pause)

    def _give_node_back(self, claim: Claim) -> bool:
        """Lets the scheduler, or the other nodes, choose again; False if the claim has changed
        meanwhile."""
        if self._on_node is not None:
            self._on_node.companions.leave_with(claim)
            self._on_node.taking.leave_to_others(claim)
        return set_node(self._api, claim, None)

    def _undo(self, key: Key, claim: Claim, storage_class: StorageClass) -> None:
        """The claim went, or went elsewhere, while its storage was being made: deletes the storage,
        unless there is a PV of ours for it, which is deleted as such. A volume that was ever
        mounted is left alone."""
        name = _name_for(claim)
        existing = self._volume(name)
        if existing is None or not is_ours(existing, self._identity):
            is_gone = self._take_back(claim, storage_class)
            try:
                if is_gone:
                    self._secrets.remove(self._secrets.wanted(claim, storage_class))
            except protocol.Failure as failure:
                _log.warning("the secret made for %s is left: %s", name, failure)
        self._claims.end(claim.uid)
        self._news.changed()
        self._work.done(key)

    def _take_back(self, claim: Claim, storage_class: StorageClass) -> bool:
        """Deletes the volume that was made for the claim, whole or half, and makes none; returns
        whether it is gone. Only the driver knows where the volume is."""
        name = _name_for(claim)
        about = {"volume": name}
        driver = self._identity.drivers[storage_class.provisioner]
        try:
            request = self._request(claim, storage_class, only_find=True)
            found = self._storage.provision(driver, request)
            volume = volume_manifest.persistent_volume(
                claim, storage_class, found, self._identity, ""
            )
            request = volume_manifest.delete_request(Volume(volume), only_if_blank=True)
            self._storage.delete(driver, request)
        except protocol.InvalidArgument as failure:
            _log.warning("%s is not deleted again: %s", name, failure, extra=about)
            return False
        except (protocol.NotFound, protocol.ResourceExhausted) as failure:
            # The volume was never made.
            _log.info("nothing to delete again of %s: %s", name, failure)
            return True
        _log.info(
            "deleted %s again: the claim %s does not want it any more",
            name,
            claim.full_name,
            extra=about,
        )
        return True


def _name_for(claim: Claim) -> str:
    return volume_manifest.volume_name(claim)
