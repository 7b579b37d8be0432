"""The knowledge of a node about itself: its labels and taints, and thereby which classes the node
may serve; the classes of the cluster; and the room that the node has published."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cluster.controller import decide
from cluster.controller.cluster import NODES, path_to
from cluster.controller.instance import Instance
from cluster.controller.objects import HOSTNAME, Node, Object, StorageClass
from cluster.controller.published_rooms import OwnRooms
from cluster.controller.room_news import RoomNews
from cluster.controller.storage_classes import StorageClasses
from shared import protocol

# How old the labels and taints may be where much depends on reading them seldom: in what is
# published, and in the choice of a node for a claim that is bound at once.
_RECENT_SECONDS = 120.0
# The fields of a Node by which is decided where volumes go.
_KEPT_SPEC = ("unschedulable", "taints")


@dataclass(frozen=True)
class _Reading:
    """The Node object as it was read; node: None before it was read at all."""

    at_seconds: float
    node: Node | None


class OwnNode:
    """The node of this instance. All methods may be called by any thread."""

    def __init__(
        self, instance: Instance, classes: StorageClasses, rooms: OwnRooms, news: RoomNews
    ) -> None:
        """news: of labels and taints that change: what is published names the node by a label, and
        says whether the node is passed over."""
        self.name = instance.identity.node
        self.drivers = instance.identity.drivers
        self.classes = classes
        self.rooms = rooms
        self.news = news
        self._api = instance.api
        self._reading = _Reading(float("-inf"), None)

    def hostname(self) -> str:
        """The node's own hostname label, which need not be its name, read live: a PV keeps the
        label for its life.

        :raises Unavailable: if the node has none.
        :raises Refused, Unreachable: if it cannot be read."""
        return self._hostname_of(self._read(0.0))

    def recent_hostname(self) -> str:
        """As `hostname`, but up to two minutes old, for what is written anew all the time."""
        return self._hostname_of(self._recent())

    def _hostname_of(self, node: Node) -> str:
        if not node.hostname:
            raise protocol.Unavailable(f"node {self.name} has no label {HOSTNAME}")
        return node.hostname

    def takes_pods(self) -> bool:
        """Whether pods can go to the node."""
        return self._recent().takes_pods

    def is_allowed(self, storage_class: StorageClass) -> bool:
        """Whether the node is in the class's allowedTopologies."""
        if not storage_class.allowed_topologies:
            return True
        return decide.is_allowed(storage_class, self._recent().labels)

    def check_allowed(self, storage_class: StorageClass) -> None:
        """The scheduler has looked at the allowedTopologies, but whoever may write a claim may
        write its node too.

        :raises Unavailable: if the node is not in the class's allowedTopologies."""
        if not self.is_allowed(storage_class):
            raise protocol.Unavailable(
                f"node {self.name} is not in allowedTopologies of the storage class "
                f"{storage_class.name}; another node is chosen for the claim"
            )

    def is_passed_over(self, storage_class: StorageClass) -> bool:
        """Whether the node is to take no claim of the class by itself while other nodes can."""
        return not self.takes_pods() or not self.is_allowed(storage_class)

    def has_changed(self) -> bool:
        """Whether the node, read now, is another than the one that the last decision was about."""
        before = self._recent()
        return self._read(0.0) != before

    def _recent(self) -> Node:
        return self._read(_RECENT_SECONDS)

    def _read(self, age_seconds: float) -> Node:
        """The node as it was read not longer ago than age_seconds."""
        before = self._reading
        if before.node is not None and time.monotonic() - before.at_seconds < age_seconds:
            return before.node
        node = _trimmed(self._api.get(path_to(NODES, self.name)) or {})
        self._reading = _Reading(time.monotonic(), node)
        if before.node is not None and before.node != node:
            self.news.changed()
        return node


def _trimmed(json: Object) -> Node:
    node = Node(json)
    spec = {key: node.spec[key] for key in _KEPT_SPEC if key in node.spec}
    return Node({"metadata": {"labels": node.labels}, "spec": spec})
