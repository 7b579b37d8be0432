"""Who an instance of the provisioner is, and which volumes are its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.controller.objects import IDENTITY, Volume


@dataclass(frozen=True)
class Identity:
    """Who an instance is.

    drivers: by provisioner name ("loop.flexvol") the driver's name ("flexvol/loop").
    name: written on each PV, and compared at its deletion.
    node: the node that the instance serves in node mode; "" in shared mode."""

    drivers: dict[str, str]
    name: str
    node: str


def is_ours(volume: Volume, identity: Identity) -> bool:
    """Whether a PV was made by this very instance; only the node that has the storage can delete
    it."""
    driver = identity.drivers.get(volume.provisioner)
    # A PV without the annotation is nobody's, and not that of an instance whose name is empty.
    if driver is None or IDENTITY not in volume.annotations:
        return False
    return volume.identity == identity.name and volume.driver == driver


def node_of(volume: Volume, drivers: Mapping[str, str]) -> str:
    """The node that has the storage of a PV; "" if the PV is of another provisioner, or its storage
    is reachable from everywhere.

    drivers: by provisioner name, those that are ours."""
    driver = drivers.get(volume.provisioner)
    if driver is None or volume.driver != driver:
        return ""
    if not volume.has_node_affinity:
        return ""
    return volume.identity
