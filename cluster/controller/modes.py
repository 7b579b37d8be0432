"""The three modes of the provisioner, each put together from its parts: node mode and shared mode
make volumes, and cluster mode has the duties of no single node."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass

from cluster.controller import cluster, delete, metrics, owners, waiting_claims
from cluster.controller.capacity import Capacity
from cluster.controller.cluster_duties import ClusterDuties
from cluster.controller.cluster_duties import Settings as DutySettings
from cluster.controller.companions import Companions
from cluster.controller.copy_sources import CopySources
from cluster.controller.delete import Delete
from cluster.controller.followers import Follower, Followers
from cluster.controller.identity import Identity
from cluster.controller.instance import Instance
from cluster.controller.lifecycle import Calls, Lifecycle
from cluster.controller.listing import Listing
from cluster.controller.lost_marks import LostMarks
from cluster.controller.orphans import Known, Orphans
from cluster.controller.own_node import OwnNode
from cluster.controller.owners import Owners
from cluster.controller.provision import NodeParts, Provision
from cluster.controller.published_rooms import OwnRooms
from cluster.controller.rivals import Rivals
from cluster.controller.room_news import RoomNews
from cluster.controller.secrets import Secrets
from cluster.controller.settings import Settings
from cluster.controller.storage import Storage
from cluster.controller.storage_classes import StorageClasses
from cluster.controller.taking import Taking
from cluster.controller.turns import Turns
from cluster.controller.waiting_claims import VolumesOfClaims, WaitingClaims
from cluster.controller.workers import Workers
from cluster.controller.workqueue import Key, WorkQueue

SHARED_LEASE = "flexvol"
_CLUSTER_LEASE = "flexvol-cluster"
_log = logging.getLogger("provisioner")


def run(settings: Settings) -> None:
    """Works until SIGTERM or SIGINT, then finishes what is in hand.

    :raises Unreachable: if there is no kubeconfig that can be used. Later the API server may be
        away."""
    if settings.has_cluster_duties:
        _run_duties(settings)
    else:
        _VolumesMode(settings).run()


def _run_duties(settings: Settings) -> None:
    lifecycle = Lifecycle(settings, "cluster", _CLUSTER_LEASE)
    duties = ClusterDuties(
        lifecycle.api,
        lifecycle.events,
        lifecycle.drivers,
        DutySettings(
            settings.namespace,
            settings.node_gone_seconds,
            settings.learns_drivers,
        ),
        lifecycle.may_work,
    )
    followers: dict[str, Follower] = {
        cluster.NODES: duties.nodes,
        cluster.CLAIMS: duties.claims,
        cluster.VOLUMES: duties.volumes,
    }
    lifecycle.start(followers, Calls(listed=lambda: lifecycle.keep_thread(duties.thread)))
    lifecycle.wait_for_stop()
    lifecycle.end()


@dataclass(frozen=True)
class _Known:
    """The knowledge that node mode and shared mode share.

    claims: those that wait for this instance.
    classes: of the cluster.
    listing: of the drivers.
    news: of the room."""

    claims: WaitingClaims
    classes: StorageClasses
    listing: Listing
    news: RoomNews


@dataclass(frozen=True)
class _NodeMode:
    """The parts that only node mode has.

    capacity: publishes its room.
    marks: on PVs whose pool was replaced.
    parts: for the claims."""

    capacity: Capacity
    marks: LostMarks
    parts: NodeParts


class _VolumesMode:
    """Node mode or shared mode."""

    def __init__(self, settings: Settings) -> None:
        name = settings.node or settings.identity
        lease = "" if settings.node else SHARED_LEASE
        self._lifecycle = Lifecycle(settings, name, lease)
        self._instance = _instance(
            self._lifecycle, Identity(self._lifecycle.drivers, name, settings.node)
        )
        self._known = _known(self._instance)
        self._node = None
        if settings.node:
            self._node = _node_mode(settings, self._instance, self._known)
        self._delete = Delete(self._instance, self._known.news)
        self._owners = Owners(self._instance)
        provision = Provision(
            self._instance,
            self._known.claims,
            self._known.classes,
            self._known.news,
            self._node.parts if self._node else None,
        )
        self._orphans = Orphans(
            self._instance,
            self._known.listing,
            self._known.news,
            Known(
                self._delete.policies,
                self._known.claims.in_hand,
                self._lifecycle.may_work,
            ),
            settings.orphan_grace_seconds,
            after=[self._owners.drivers_listed],
        )
        syncs = {
            waiting_claims.KIND: provision.sync,
            delete.KIND: self._delete.sync,
            owners.KIND: self._owners.sync,
        }
        self._workers = Workers(self._lifecycle, self._instance.work, syncs)

    def run(self) -> None:
        """Works until SIGTERM or SIGINT, then finishes what is in hand."""
        lifecycle = self._lifecycle
        listing = self._known.listing
        if lifecycle.settings.health_port:
            metrics.show(listing.listed, self._waiting, listing.ages_seconds)
        claims = self._known.claims
        followers: dict[str, Follower] = {
            cluster.CLASSES: self._known.classes,
            cluster.CLAIMS: claims,
            cluster.VOLUMES: self._followers_of_volumes(),
        }
        calls = Calls(self._all_listed, self._workers.back, claims.stand_by)
        if self._node is not None:
            calls = dataclasses.replace(calls, not_ready=self._node.capacity.not_ready)
        lifecycle.start(followers, calls)
        self._workers.start()
        lifecycle.wait_for_stop()
        _log.info("stopping: finishing what is in hand")
        self._workers.finish()
        lifecycle.end()

    def _followers_of_volumes(self) -> Followers:
        waking = VolumesOfClaims(self._known.claims)
        followers: list[Follower] = [self._delete, self._owners, waking]
        if self._node is not None:
            followers.append(self._node.marks.volumes)
        return Followers(*followers)

    def _all_listed(self) -> None:
        # Room is not published before the classes are known: what is published for no class is
        # taken away.
        if self._node is not None:
            self._lifecycle.run_thread("capacity", self._node.capacity.run)
        self._lifecycle.run_thread("orphans", self._orphans.run)

    def _waiting(self) -> int:
        """How much of our own work waits: not what the elected instance does, nor the claims that
        any other node might take as well."""
        if not self._lifecycle.may_work():
            return 0
        keys = self._instance.work.waiting_keys()
        return sum(not self._known.claims.is_anyones(name) for _, name in keys)


def _instance(lifecycle: Lifecycle, identity: Identity) -> Instance:
    settings = lifecycle.settings
    at_once = settings.workers
    if len(identity.drivers) > 1:
        # One driver alone must not take all workers.
        at_once = max(1, settings.workers - 1)
    return Instance(
        lifecycle.api,
        identity,
        Storage(settings.plugin_dir, at_once),
        lifecycle.events,
        WorkQueue[Key](),
        Secrets(lifecycle.api, identity, settings.namespace),
    )


def _known(instance: Instance) -> _Known:
    claims = WaitingClaims(instance.work, instance.identity)
    news = RoomNews()
    drivers = instance.identity.drivers.values()
    listing = Listing(instance.storage.list, drivers, news.came_late)
    return _Known(claims, StorageClasses(claims, news), listing, news)


def _node_mode(settings: Settings, instance: Instance, known: _Known) -> _NodeMode:
    rooms = OwnRooms(instance.api, instance.identity, settings.namespace)
    node = OwnNode(instance, known.classes, rooms, known.news)
    marks = LostMarks(
        instance.api,
        instance.events,
        instance.identity,
        known.news.changed,
    )

    def published(has_changed: bool) -> None:
        if has_changed:
            known.claims.wake_free()
        marks.check(known.listing.listed())

    capacity = Capacity(
        node, instance.identity, known.listing, settings.owner_reference, after=[published]
    )
    rivals = Rivals(instance.api, settings.namespace, rooms)
    turns = Turns(node, rivals, known.listing, CopySources(instance))
    taking = Taking(instance, known.claims, node, turns, capacity)
    companions = Companions(instance, known.claims, known.classes)
    return _NodeMode(capacity, marks, NodeParts(node, taking, companions))
