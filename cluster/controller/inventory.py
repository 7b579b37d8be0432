"""One row for each volume, from what the drivers list and from the PVs, claims and pods of the
cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from cluster.controller import decide, leftovers, lost_storage
from cluster.controller.identity import node_of
from cluster.controller.objects import Claim, ClaimReference, Object, Pod, Volume
from cluster.controller.quantities import size_bytes
from cluster.controller.storage import Listed
from shared import protocol
from shared.options import ANY_CLAIM

# A node and a driver.
Key = tuple[str, str]

# The state of a volume.
BOUND = "bound"
AVAILABLE = "available"
RELEASED = "released"
PENDING = "pending"
SNAPSHOT = "snapshot"
ARCHIVED = "archived"
ORPHAN = "orphan"
OF_OTHERS = "foreign"
MISSING = "missing"
UNSEEN = "unseen"
LISTED = "listed"

MOVING = "moving"  # as a driver lists a volume of which a move makes a copy on another node
NO_PV = (PENDING, SNAPSHOT, ARCHIVED, ORPHAN, OF_OTHERS)
_WRONG = (ORPHAN, MISSING, UNSEEN)
_WITH_USERS = (BOUND, PENDING, MISSING, UNSEEN)
_KEPT = (AVAILABLE, SNAPSHOT, ARCHIVED, OF_OTHERS)


class ClusterObjects(NamedTuple):
    """What the API server has. drivers: by provisioner. nodes: their names. cluster_uid:
    kube-system's."""

    drivers: dict[str, str]
    volumes: list[Volume]
    claims: list[Claim]
    pods: list[Pod]
    nodes: set[str]
    cluster_uid: str


@dataclass(frozen=True)
class Row:
    """A volume.

    claim: namespace/name, or ANY_CLAIM.
    pods: the names of the pods that use it.
    reason: of an orphan, one of leftovers.REASONS; of a released volume, RETAINED if its policy
        keeps it.
    why: what is wrong with the volume, or what it waits for.
    entry: as its driver lists it; empty if no driver does.
    is_too_small: whether it has less than the cluster says."""

    name: str
    node: str
    driver: str
    claim: str
    pods: list[str]
    state: str
    reason: str
    why: str
    entry: Object

    is_too_small: bool = False

    @property
    def is_wrong(self) -> bool:
        """Whether somebody has to do something about the volume."""
        damaged = bool(self.entry.get("error") or self.entry.get("damaged"))
        return self.state in _WRONG or damaged or self.is_too_small

    @property
    def is_merely_kept(self) -> bool:
        """Whether nothing is wrong with the volume, and nothing happens to it by itself."""
        is_retained = self.state == RELEASED and self.reason == leftovers.RETAINED
        return not self.is_wrong and (self.state in _KEPT or is_retained)


class _Volume(NamedTuple):
    """Which volume a row is about."""

    name: str
    node: str
    driver: str


class _State(NamedTuple):
    """The state of a volume, with its reason and its sentence as in Row."""

    state: str
    reason: str = ""
    why: str = ""


def join(
    listed: dict[Key, Listed],
    silent: dict[Key, str],
    known: ClusterObjects | None,
) -> list[Row]:
    """One row for each volume.

    listed: by node and driver.
    silent: why a driver did not answer. Whether its volumes are there is then not known.
    known: None without an API server: then each volume is in the state LISTED."""
    if known is None:
        return [_listed_row(volume, entry) for volume, entry in _entries(listed)]
    rows = _Rows(known)
    for volume, entry in _entries(listed):
        rows.add_listed(volume, entry)
    rows.add_unlisted(listed, silent)
    return rows.rows


def _entries(listed: dict[Key, Listed]) -> Iterator[tuple[_Volume, Object]]:
    """What the drivers list under a name that a volume can have."""
    for (node, driver), of_driver in sorted(listed.items()):
        for entry in of_driver.volumes:
            name = entry.get("name")
            if isinstance(name, str) and protocol.is_name(name):
                yield _Volume(name, node, driver), entry


def _listed_row(volume: _Volume, entry: Object) -> Row:
    owner = ClaimReference.of(entry.get("owner"))
    return Row(*volume, _shown(owner), [], LISTED, "", _trouble(entry), entry)


def _shown(claim: ClaimReference) -> str:
    if claim.is_any:
        return ANY_CLAIM
    return "/".join(part for part in (claim.namespace, claim.name) if part)


class _Rows:
    """The rows as they are made."""

    def __init__(self, known: ClusterObjects) -> None:
        self.rows: list[Row] = []
        self._known = known
        # By driver and name.
        self._volumes = {(volume.driver, volume.name): volume for volume in known.volumes}
        self._unlisted = dict(self._volumes)  # the PVs whose volume no driver has listed so far
        # By namespace and name.
        self._claims = {(claim.namespace, claim.name): claim for claim in known.claims}
        self._pods: dict[tuple[str, str], list[str]] = {}
        for pod in known.pods:
            for claim_name in pod.claim_names:
                self._pods.setdefault((pod.namespace, claim_name), []).append(pod.name)

    def add_listed(self, volume: _Volume, entry: Object) -> None:
        """A volume that its driver lists, with its PV if a PV means it."""
        pv = self._volumes.get((volume.driver, volume.name))
        if pv is None or not _is_meant(entry, volume.node, pv, self._known.drivers):
            owner = ClaimReference.of(entry.get("owner"))
            self._add(volume, owner, self._without_pv(entry, pv), entry)
            return
        self._unlisted.pop((volume.driver, volume.name), None)
        claim = self._claim_of(pv.claim)
        state = _with_pv(pv, claim)
        shortfall = _shortfall(entry, pv, claim)
        why = _trouble(entry) or shortfall or _move(volume.name, entry) or state.why
        self._add(volume, pv.claim, state._replace(why=why), entry, bool(shortfall))

    def add_unlisted(
        self,
        listed: dict[Key, Listed],
        silent: dict[Key, str],
    ) -> None:
        """The PVs of our drivers whose volume no driver has listed."""
        drivers = self._known.drivers
        for (driver, name), pv in self._unlisted.items():
            if driver in drivers.values():
                volume = _Volume(name, node_of(pv, drivers), driver)
                self._add(volume, pv.claim, self._absent(volume, pv, listed, silent), {})

    def _add(
        self,
        volume: _Volume,
        claim: ClaimReference,
        state: _State,
        entry: Object,
        is_too_small: bool = False,
    ) -> None:
        """claim: the one that the PV names, or the owner that the driver lists."""
        pods = self._users(volume.name, claim) if state.state in _WITH_USERS else []
        self.rows.append(Row(*volume, _shown(claim), pods, *state, entry, is_too_small))

    def _users(self, volume_name: str, reference: ClaimReference) -> list[str]:
        """A pod that names a claim uses the claim of that name that is there, and no
        predecessor."""
        claim = self._claim_of(reference)
        if claim is None or claim.volume_name not in ("", volume_name):
            return []
        return sorted(self._pods.get((reference.namespace, reference.name), []))

    def _claim_of(self, reference: ClaimReference) -> Claim | None:
        """The claim that a claimRef or a record means, if that claim is there, and no other of its
        name."""
        claim = self._claims.get((reference.namespace, reference.name))
        if claim is None or claim.uid != reference.uid:
            return None
        return claim

    def _without_pv(self, entry: Object, other: Volume | None) -> _State:
        """other: the PV of that name, which means another volume, if there is such a PV."""
        if entry.get("kind") == SNAPSHOT:
            return _State(SNAPSHOT, why=f"it is a snapshot of {entry.get('source')}")
        if entry.get("state") == ARCHIVED:
            return _State(ARCHIVED, why=_on_archive(entry))
        if other is not None:
            return _State(ORPHAN, why=_on_namesake(entry, other, self._known.drivers))
        claim = self._claim_of(ClaimReference.of(entry.get("owner")))
        if claim is not None and not decide.is_bound_elsewhere(claim, str(entry["name"])):
            why = "its PV is not written yet, or was deleted while its claim is there"
            return _State(PENDING, why=why)
        reason, why = leftovers.judge(entry, self._known.cluster_uid)
        state = OF_OTHERS if reason == leftovers.FOREIGN else ORPHAN
        return _State(state, reason, why)

    def _absent(
        self,
        volume: _Volume,
        pv: Volume,
        listed: dict[Key, Listed],
        silent: dict[Key, str],
    ) -> _State:
        """Of a PV that is in no list."""
        drivers = self._known.drivers
        loss = lost_storage.why(pv, drivers, volume.node in self._known.nodes)
        if loss.reason:
            return _State(MISSING, why=loss.sentence)
        key = (volume.node, volume.driver)
        if key not in listed:
            return _State(UNSEEN, why=silent.get(key) or _why_unseen(volume.node))
        for pool in listed[key].pools:
            if pool.get("name") == pv.options.get("pool") and pool.get("error"):
                return _State(MISSING, why=str(pool["error"]))
        return _State(
            MISSING,
            why="its driver does not list it; look for its directory in its pool on the node",
        )


def _is_meant(
    entry: Object,
    node: str,
    pv: Volume,
    drivers: dict[str, str],
) -> bool:
    """Whether the PV means what that node lists: a move leaves a copy for a while, and two nodes
    may have volumes of one name."""
    if node_of(pv, drivers) not in ("", node):
        return False
    return not pv.pool_id or entry.get("poolId", pv.pool_id) == pv.pool_id


def _with_pv(pv: Volume, claim: Claim | None) -> _State:
    """claim: the one that the PV means, if that is there."""
    if claim is not None:
        if not decide.is_bound_elsewhere(claim, pv.name):
            return _State(BOUND)
        why = f"its claim is bound to the PV {claim.volume_name}, so nothing uses this one"
        return _State(RELEASED, why=why)
    if not pv.claim.uid:
        why = "it waits for its claim" if pv.claim_reference else "it waits for a claim"
        return _State(AVAILABLE, why=why)
    if pv.reclaim_policy == "Delete":
        return _State(
            RELEASED,
            why="its claim is gone, and it is being deleted; what hinders that is in the PV's "
            "events",
        )
    why = "its claim is gone, and its reclaim policy keeps it"
    return _State(RELEASED, leftovers.RETAINED, why)


def _trouble(entry: Object) -> str:
    if entry.get("error"):
        return str(entry["error"])
    if entry.get("damaged"):
        return "the kernel noted errors in its file system: see status on its node"
    return ""


def _move(name: str, entry: Object) -> str:
    """The sentence about a volume that is being moved, or whose move was cut; "" for others."""
    target = entry.get("movingTo")
    if entry.get("state") != MOVING or not isinstance(target, str):
        return ""
    return (
        f"it is being moved to node {target}, and mounts for no pod until that is "
        f"done; if the move was cut, go on with it: kubectl flexvol move {name} --to "
        f"{target}"
    )


def _shortfall(entry: Object, pv: Volume, claim: Claim | None) -> str:
    """The sentence about a volume that has less than the cluster says, as after an older copy of it
    was put back; "" if it has as much. An expansion that goes on is no shortfall: the PV's size is
    raised at its begin and the claim's at its end, so the claim counts if there is one."""
    quantity = pv.capacity if claim is None else claim.capacity
    size = entry.get("sizeBytes")
    if not isinstance(size, int) or not quantity:
        return ""
    promised = size_bytes(quantity)
    if size >= promised:
        return ""
    return (
        f"the PV promises {promised >> 20} MiB and the volume has {size >> 20} MiB, as "
        f"after an older copy of it was put back; ask for more than {promised >> 20} "
        "MiB in the claim, and the volume grows to that"
    )


def _on_archive(entry: Object) -> str:
    why = f"it is the archive of {entry.get('archiveOf')}"
    if entry.get("keptUntil"):
        why += f", which is kept until {entry['keptUntil']}"
    return why


def _on_namesake(entry: Object, other: Volume, drivers: dict[str, str]) -> str:
    """Of a volume that has a PV's name and is not what the PV means."""
    node = node_of(other, drivers)
    why = f"the PV of its name means another volume, on node {node}; this one is left alone"
    if not other.pool_id or other.pool_id != entry.get("poolId"):
        return why
    return (
        f"{why}. But its pool has the id that the PV names: its disk was moved or "
        "copied to this node, or this node had the other name before. To keep its "
        f"claim: kubectl flexvol move {other.name} --to NODE"
    )


def _why_unseen(node: str) -> str:
    if not node:
        return "its PV names no node, and no node lists it"
    return f"no pod of flexvol is on node {node}; see: kubectl describe node {node}"
