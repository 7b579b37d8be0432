"""What the cluster and its nodes have, as explain has read it. The modules that find reasons are
plain functions over a scene: nothing is read there."""

from __future__ import annotations

from typing import NamedTuple

from cluster.controller.identity import node_of
from cluster.controller.objects import (
    HOSTNAME,
    Claim,
    Node,
    StorageClass,
    Volume,
)
from cluster.controller.storage import Listed
from cluster.kubectl.nodes import FlexvolNode, Key
from shared import protocol

# A label of nodes that are to have no flexvol; deploy/node.yaml keeps the DaemonSet off them.
EXCLUDED = "flexvol/exclude"


class WaitingClaim(NamedTuple):
    """A claim that has no volume yet, and its storage class, which is one of flexvol."""

    claim: Claim
    storage_class: StorageClass

    @property
    def pool_name(self) -> str:
        """Of the pool that the class names, or leaves out."""
        return self.storage_class.parameters.get("pool") or "default"

    @property
    def pool(self) -> str:
        """The pool as a sentence names it. Whoever may create a class writes the pool's name."""
        name = self.pool_name
        return f"pool {name if protocol.is_name(name) else protocol.shown(name)}"


class Scene(NamedTuple):
    """What there is beside the claim that is asked about.

    drivers: by provisioner.
    claims: those of the claim's namespace, by name.
    volumes, classes, nodes: by name; volumes are PVs.
    flexvol_nodes: the nodes with a pod of flexvol, by name.
    listed, silent: as nodes.list_all returns them.
    published: the room that the scheduler counts on, by class: bytes by hostname.
    """

    drivers: dict[str, str]
    claims: dict[str, Claim]
    volumes: dict[str, Volume]
    classes: dict[str, StorageClass]
    nodes: dict[str, Node]
    flexvol_nodes: dict[str, FlexvolNode]
    listed: dict[Key, Listed]
    silent: dict[Key, str]
    published: dict[str, dict[str, int]]

    def driver_of(self, storage_class: StorageClass) -> str:
        """Empty if the class is of no driver of flexvol here."""
        return self.drivers.get(storage_class.provisioner, "")

    def class_of(self, claim: Claim) -> StorageClass | None:
        """None if the claim names no class, or a class that does not exist."""
        return self.classes.get(claim.class_name)

    def serves(self, node: str, driver: str) -> bool:
        """Whether a pod of flexvol that serves the driver is on the node."""
        flexvol = self.flexvol_nodes.get(node)
        return flexvol is not None and driver in flexvol.drivers

    def is_of_one_node(self, storage_class: StorageClass) -> bool:
        """Whether each volume of the class, which is one of flexvol, is on one node."""
        driver = self.drivers[storage_class.provisioner]
        return is_of_one_node(driver, self.flexvol_nodes)

    def labels(self, node: str) -> dict[str, str]:
        """Of a node; none if the node is gone."""
        known = self.nodes.get(node)
        return {} if known is None else known.labels

    def hostname(self, node: str) -> str:
        """The label that affinities name the node by; its own name without that label."""
        return self.labels(node).get(HOSTNAME, node)

    def is_excluded(self, node: str) -> bool:
        """Whether the node is to have no flexvol."""
        return EXCLUDED in self.labels(node)

    def can_have_flexvol(self, node: str) -> bool:
        """Whether the node has a kubelet and a disk, by the labels that deploy/node.yaml reads."""
        labels = self.labels(node)
        if labels.get("type") == "virtual-kubelet":
            return False
        if labels.get("eks.amazonaws.com/compute-type") == "fargate":
            return False
        return labels.get("kubernetes.io/os", "linux") == "linux"

    def is_cordoned(self, node: str) -> bool:
        """Whether no new pods go to the node. A node that is gone is not cordoned."""
        known = self.nodes.get(node)
        return known is not None and known.is_cordoned

    def why_down(self, node: str) -> str:
        """The end of a sentence about a node that is gone or does not work. Empty for any other
        node, also for a cordoned one."""
        known = self.nodes.get(node)
        if known is None:
            return "does not exist"
        for condition in known.conditions:
            if condition["type"] == "Ready" and condition["status"] != "True":
                why = condition.get("message") or condition.get("reason") or "it does not say why"
                return f"is not ready: {why}"
        return ""

    def node_of(self, volume: Volume) -> str:
        """The only node on which the PV can be used; empty if there are several. PVs of other
        drivers, such as local PVs, name their node by its hostname label."""
        node = node_of(volume, self.drivers)
        if node:
            return node
        if len(volume.hostnames) != 1:
            return ""
        (hostname,) = volume.hostnames
        for name in self.nodes:
            if self.hostname(name) == hostname:
                return name
        return hostname

    def is_of_flexvol(self, volume: Volume | None) -> bool:
        """Whether a node's flexvol has made the PV."""
        return volume is not None and bool(node_of(volume, self.drivers))


def is_of_one_node(driver: str, flexvol_nodes: dict[str, FlexvolNode]) -> bool:
    """Whether each volume of the driver is on one node: no pod of flexvol makes volumes of this
    driver that all nodes reach."""
    shared = flexvol_nodes.get("")
    return shared is None or driver not in shared.drivers
