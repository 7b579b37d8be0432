"""Claims that no node has taken: those that wait for a node that is gone, and those that bind at
once and that no node can take."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

from cluster.controller import cluster, decide, objects, published_rooms
from cluster.controller.duty_rounds import Reports, Round
from cluster.controller.events import Events
from cluster.controller.objects import Claim, StorageClass
from cluster.controller.served import Served
from shared import protocol

_TAKEN_SECONDS = 10.0  # by when a node has taken a claim, if any node can
# A node's room for a class is an object of 1 KB. So this bounds what is read to 17 KB a second for
# each class, however many nodes there are.
_ROOMS_SECONDS_A_NODE = 0.06
_CONFLICT = 409  # the claim has changed meanwhile, which its watch is about to report
_log = logging.getLogger("cluster-duties")


class Hindrance(NamedTuple):
    """Why no node takes a claim: a word, by which a report is repeated, and the sentence."""

    kind: str
    sentence: str


class _Offer(NamedTuple):
    """The room of a node. Of two offers the larger one is greater."""

    room_bytes: int
    hostname: str


def why_not_taken(
    claim: Claim,
    storage_class: StorageClass | None,
    size_bytes: int,
    rooms: Mapping[str, int],
    nodes: list[dict[str, str]],
    passed_over: frozenset[str] = frozenset(),
) -> Hindrance:
    """Why no node takes a claim that is bound at once.

    rooms: bytes by hostname, for the claim's class.
    nodes: the labels of each node.
    passed_over: the hostnames of nodes that pods cannot go to, which leave the claim to another
        node with room."""
    problem = decide.problem(claim, storage_class, of_one_node=True)
    if problem or storage_class is None:
        return Hindrance(problem, problem)
    allowed = _allowed_hostnames(storage_class, nodes)
    if not allowed:
        return Hindrance("labels", decide.NO_NODE_ALLOWED)
    offers = [_Offer(room, hostname) for hostname, room in rooms.items() if hostname in allowed]
    most = _most(offers, size_bytes, passed_over)
    if most is None:
        return Hindrance(
            "nobody",
            "no provisioner has told what room its node has, or taken the "
            "claim; see: kubectl -n flexvol get pods -o wide",
        )
    if claim.is_copy:
        return Hindrance("source", "no node has what it is to be a copy of, or that is not bound")
    if most.room_bytes >= size_bytes:
        return Hindrance(
            "slow",
            f"node {most.hostname} has room for it, but its provisioner has "
            "not taken it; see that one's log",
        )
    return Hindrance("room", decide.no_room(size_bytes, most.room_bytes, most.hostname))


def _allowed_hostnames(
    storage_class: StorageClass,
    nodes: list[dict[str, str]],
) -> set[str]:
    return {
        labels.get(objects.HOSTNAME, "")
        for labels in nodes
        if decide.is_allowed(storage_class, labels)
    }


def _most(
    offers: list[_Offer],
    size_bytes: int,
    passed_over: frozenset[str],
) -> _Offer | None:
    """The largest offer: of those that take the claim, if there are any."""
    takers = [
        offer
        for offer in offers
        if offer.room_bytes >= size_bytes and offer.hostname not in passed_over
    ]
    return max(takers or offers, default=None)


class UnplacedClaims:
    """Remembers since when each claim waits, and what was reported about it."""

    def __init__(
        self,
        api: cluster.Cluster,
        events: Events,
        served: Served,
        namespace: str,
    ) -> None:
        """served: the drivers of the nodes. namespace: of the objects that tell a node's room."""
        self._api = api
        self._events = events
        self._served = served
        self._namespace = namespace
        self._since: dict[str, float] = {}  # by the claim's uid
        self._reports = Reports()
        self._rooms: dict[str, dict[str, int]] = {}
        self._rooms_read_at = float("-inf")

    def keep(self, uids: set[str]) -> None:
        """Forgets all claims but those with these uids."""
        self._since = {uid: since for uid, since in self._since.items() if uid in uids}
        self._reports.keep(uids)

    def stand_by(self) -> None:
        """Another instance looks on, and this one begins anew after that."""
        self._since.clear()

    def look(self, claim: Claim, this_round: Round) -> str:
        """Gives a claim back whose node is gone, and reports why no node takes a claim without a
        node. Returns the reason in a word; "" if there is none."""
        node = claim.selected_node
        if not node:
            return self._explain(claim, this_round)
        if node in this_round.node_names:
            self._since.pop(claim.uid, None)
        elif not this_round.node_exists(node):
            self._choose_again(claim)
        return ""

    def _choose_again(self, claim: Claim) -> None:
        """Takes the node off the claim, so that the scheduler, or another node, chooses one."""
        node = claim.selected_node
        change = {
            "annotations": {objects.SELECTED_NODE: None},
            "resourceVersion": claim.resource_version,
        }
        path = cluster.claim_path(claim.namespace, claim.name)
        try:
            self._api.patch(path, {"metadata": change})
        except cluster.Refused as error:
            if error.status != _CONFLICT:
                raise
            return
        _log.info("%s waited for node %r, which is gone", claim.full_name, node)
        self._events.warning(
            claim.json,
            "NodeGone",
            f"node {protocol.shown(node)}, chosen for it, does not exist; another is chosen",
        )

    def _explain(self, claim: Claim, this_round: Round) -> str:
        """Reports why no node takes the claim, and returns that; "" while a node may yet do so, or
        if the claim waits for a pod or for a populator."""
        since = self._since.setdefault(claim.uid, this_round.now)
        storage_class = self._class_of(claim, this_round)
        if storage_class is not None and storage_class.is_late:
            return ""  # The scheduler explains, on the pod.
        if claim.provisioner not in self._served.drivers:
            return ""  # Its storage is of no node, so the instance that serves it reports itself.
        if claim.is_populated:
            if self._reports.is_due(claim.uid, decide.POPULATE, this_round.now):
                self._events.normal(claim.json, "Provisioning", decide.POPULATOR)
            return ""
        problem = decide.problem(claim, storage_class, of_one_node=True)
        hindrance = Hindrance(problem, problem)
        if not problem and this_round.now - since > _TAKEN_SECONDS:
            hindrance = self._why_not_taken(claim, storage_class, this_round)
        if hindrance.kind and self._reports.is_due(claim.uid, hindrance.kind, this_round.now):
            self._report(claim, hindrance.sentence)
        return hindrance.kind

    def _class_of(self, claim: Claim, this_round: Round) -> StorageClass | None:
        if not claim.class_name:
            return None
        path = cluster.path_to(cluster.CLASSES, claim.class_name)
        return StorageClass.of(this_round.get(path))

    def _why_not_taken(
        self,
        claim: Claim,
        storage_class: StorageClass | None,
        this_round: Round,
    ) -> Hindrance:
        self._read_rooms(this_round)
        return why_not_taken(
            claim,
            storage_class,
            claim.requested_bytes,
            self._rooms.get(claim.class_name, {}),
            this_round.labels,
            this_round.passed_over,
        )

    def _read_rooms(self, this_round: Round) -> None:
        """Reads the room of all nodes, by class and hostname: more seldom the more nodes there
        are."""
        pause_seconds = len(this_round.labels) * _ROOMS_SECONDS_A_NODE
        if this_round.now - self._rooms_read_at < pause_seconds:
            return
        self._rooms = published_rooms.rooms(self._api.get, self._namespace)
        self._rooms_read_at = this_round.now

    def _report(self, claim: Claim, sentence: str) -> None:
        extra = {"claim": claim.full_name}
        _log.warning("%s not provisioned: %s", claim.full_name, sentence, extra=extra)
        self._events.warning(claim.json, "ProvisioningFailed", sentence)
