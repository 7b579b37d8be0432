"""What claim and PV say of a volume's size, and what its node says."""

from __future__ import annotations

from typing import NamedTuple

from cluster.controller.objects import Claim, Object, Volume, table, text
from cluster.controller.quantities import size_bytes

FAILED = "NodeResizeError"
RESIZE_CONDITIONS = ("FileSystemResizePending", "Resizing", "ControllerResizeError", FAILED)
# By this annotation kube-controller-manager remembers an expansion on the PV.
# Source: pkg/volume/util/resize_util.go, AnnPreResizeCapacity
BEFORE_RESIZE = "volume.alpha.kubernetes.io/pre-resize-capacity"
MIB = 1 << 20


class Sizes(NamedTuple):
    """What claim and PV say of the volume's size, in bytes.

    :param request: the claim's spec.
    :param capacity: the claim's status.
    :param allocated: the claim's status.allocatedResources; None if it has none.
    :param resize: the claim's status.allocatedResourceStatuses; empty if it has none.
    :param volume: the PV's capacity.
    :param has_conditions: whether conditions of the claim tell of an expansion.
    :param has_failed: whether one of them says that kubelet's callout of the driver failed.
    :param is_noted: whether kube-controller-manager has noted an expansion on the PV.
    """

    request: int
    capacity: int
    allocated: int | None
    resize: str
    volume: int
    has_conditions: bool = False
    has_failed: bool = False
    is_noted: bool = False

    @property
    def asked(self) -> int:
        """The size to which the volume is to grow."""
        return max(self.request, self.volume)


class Truth(NamedTuple):
    """What the node says: the volume's size in bytes, its pool, and how many bytes the pool can
    still promise; None if that is not known."""

    size: int
    pool: str
    room: int | None


def sizes(claim: Claim, volume: Volume) -> Sizes:
    """Reads the sizes from a claim and its PV."""
    allocated = table(claim.status.get("allocatedResources")).get("storage")
    statuses = table(claim.status.get("allocatedResourceStatuses"))
    conditions = [one for one in claim.conditions if one["type"] in RESIZE_CONDITIONS]
    return Sizes(
        request=claim.requested_bytes,
        capacity=size_bytes(claim.capacity or "0"),
        allocated=None if allocated is None else size_bytes(allocated),
        resize=text(statuses.get("storage")),
        volume=size_bytes(volume.capacity),
        has_conditions=bool(conditions),
        has_failed=any(one["type"] == FAILED and one["status"] == "True" for one in conditions),
        is_noted=BEFORE_RESIZE in volume.annotations,
    )


def truth_of(entry: Object, pools: list[Object]) -> Truth | None:
    """From what a driver lists of the volume and of its pools; None if it does not say the
    volume's size."""
    size = entry.get("sizeBytes")
    if entry.get("error") or isinstance(size, bool) or not isinstance(size, int) or size < 1:
        return None
    name = entry.get("pool")
    for pool in pools:
        if pool.get("name") == name:
            return Truth(size, str(name or ""), _room(pool))
    return Truth(size, str(name or ""), None)


def _room(pool: Object) -> int | None:
    """A cordoned pool lists no room for new volumes, and not by how much its volumes may grow."""
    free = pool.get("freeBytes")
    if pool.get("cordoned") or not isinstance(free, int):
        return None
    return free


def fits(now: Sizes, truth: Truth) -> bool:
    """Whether the pool is known to have room for what is asked; volumes are whole MiB."""
    if truth.room is None:
        return False
    asked = -(-now.asked // MIB) * MIB
    return asked - truth.size <= truth.room
