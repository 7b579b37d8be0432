"""What there is: one row for each volume, from what the drivers list and from the PVs, claims and
pods of the cluster; and what a volume is that has no PV. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from cluster.controller import decide, lost_storage, quantities
from cluster.controller.objects import Pod
from cluster.controller.storage import Listed
from shared import protocol

Object = dict[str, Any]
Key = tuple[str, str]
BLANK, USED, RETAINED, FOREIGN, UNKNOWN = REASONS = (
    "blank",
    "used",
    "retained",
    "other-cluster",
    "unknown",
)
BOUND, AVAILABLE, RELEASED, PENDING = "bound", "available", "released", "pending"
SNAPSHOT, ARCHIVED, ORPHAN, OF_OTHERS = "snapshot", "archived", "orphan", "foreign"
MISSING, UNSEEN, LISTED = "missing", "unseen", "listed"
MOVING = "moving"  # as a driver lists a volume of which a move makes a copy on another node
NO_PV = (PENDING, SNAPSHOT, ARCHIVED, ORPHAN, OF_OTHERS)
_WRONG = (ORPHAN, MISSING, UNSEEN)
_WITH_USERS = (BOUND, PENDING, MISSING, UNSEEN)
_KEPT = (AVAILABLE, SNAPSHOT, ARCHIVED, OF_OTHERS)
_POOL_NUMBERS = (
    "capacityBytes",
    "committedBytes",
    "usedBytes",
    "reserveBytes",
    "freeBytes",
    "maximumVolumeBytes",
)
_REMEDY = "it is given to a claim by kubectl flexvol adopt, and deleted by kubectl flexvol delete"


def judge(entry: Object, cluster_uid: str) -> tuple[str, str]:
    """Of a volume without PV and claim, as its driver lists it: one of REASONS, and the sentence.
    Only what is BLANK may be collected. cluster_uid: this cluster's."""
    if not is_described(entry):
        why = f" ({entry['error']})" if entry.get("error") else ""
        return UNKNOWN, (
            "its driver does not say whose it was, of which cluster, and if it was ever mounted"
            f"{why}"
        )
    if entry["clusterUid"] != cluster_uid:
        return FOREIGN, (
            f"it was made for the cluster {entry['clusterUid']}, and this one is {cluster_uid}; "
            f"{_REMEDY}"
        )
    if entry["reclaimPolicy"] != "Delete":
        return RETAINED, f"its class said {entry['reclaimPolicy']}; {_REMEDY}"
    if not is_never_mounted(entry):
        return USED, f"it was mounted, or was to be retained, so it may hold data; {_REMEDY}"
    if not entry["blank"]:
        return BLANK, (
            f"it is a copy of {entry.get('source')} that was never mounted, whose claim went while "
            "it was made, and is deleted when its grace time is over"
        )
    return BLANK, "it was never mounted and is deleted when its grace time is over"


def is_never_mounted(entry: Object) -> bool:
    """Whether no pod and no person has had the volume since it was made: it is blank; or it is a
    copy, which has its source's data, and its driver says so."""
    return bool(entry.get("blank") is True or entry.get("neverMounted") is True)


def is_described(entry: Object) -> bool:
    owner, options = entry.get("owner"), entry.get("options")
    return (
        isinstance(entry.get("blank"), bool)
        and all(
            isinstance(entry.get(key), str) and entry[key]
            for key in ("clusterUid", "reclaimPolicy")
        )
        and isinstance(owner, dict)
        and all(
            isinstance(owner.get(key), str) and owner[key] for key in ("namespace", "name", "uid")
        )
        and isinstance(options, dict)
        and all(isinstance(value, str) for value in options.values())
    )


class Objects(NamedTuple):
    """What the API server has. drivers: by provisioner; nodes: their names; cluster_uid:
    kube-system's."""

    drivers: dict[str, str]
    volumes: list[Object]
    claims: list[Object]
    pods: list[Object]
    nodes: set[str]
    cluster_uid: str


@dataclass
class Row:
    """A volume. claim: namespace/name. reason: of an orphan, one of REASONS; of a released volume,
    RETAINED if its policy keeps it. why: what is wrong with it, or what it waits for. entry: as its
    driver lists it; empty if none does. is_too_small: it has less than the cluster says."""

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
        damaged = bool(self.entry.get("error") or self.entry.get("damaged"))
        return self.state in _WRONG or damaged or self.is_too_small

    @property
    def is_merely_kept(self) -> bool:
        """Whether nothing is wrong with it, and nothing happens to it by itself."""
        is_retained = self.state == RELEASED and self.reason == RETAINED
        return not self.is_wrong and (self.state in _KEPT or is_retained)


def join(listed: dict[Key, Listed], silent: dict[Key, str], there: Objects | None) -> list[Row]:
    """One row for each volume.

    listed: by node and driver. silent: why one did not answer: its volumes are neither there nor
    gone. there: None if there is no API server; then all that can be told of a volume is that it is
    listed."""
    objects = there or Objects({}, [], [], [], set(), "")
    join = _Join(objects)
    for (node, driver), (entries, _) in sorted(listed.items()):
        for entry in entries:
            name = entry.get("name")
            if not isinstance(name, str) or not protocol.is_name(name):
                continue
            if there is None:
                owner = entry.get("owner")
                join.add(name, node, driver, owner, LISTED, "", _trouble(entry), entry)
            else:
                join.add_listed(name, node, driver, entry)
    for (driver, name), volume in join.unseen.items():
        if driver in objects.drivers.values():
            node = decide.node_of(volume, objects.drivers)
            state, why = _absent(volume, node, driver, listed, silent, objects)
            join.add(name, node, driver, volume["spec"].get("claimRef"), state, "", why, {})
    return join.rows


class _Join:
    """The rows as they are made. unseen: the PVs whose volume no driver has listed so far, by
    driver and name."""

    def __init__(self, objects: Objects) -> None:
        self.rows: list[Row] = []
        self._objects = objects
        self._volumes = {(_driver(one), one["metadata"]["name"]): one for one in objects.volumes}
        self.unseen = dict(self._volumes)
        self._claims = {_key(claim["metadata"]): claim for claim in objects.claims}
        self._pods: dict[Key, list[str]] = {}
        for pod in objects.pods:
            namespace = pod["metadata"]["namespace"]
            for claim_name in Pod.of(pod).claim_names:
                users = self._pods.setdefault((namespace, claim_name), [])
                users.append(pod["metadata"]["name"])

    def add(
        self,
        name: str,
        node: str,
        driver: str,
        whose: Any,
        state: str,
        reason: str,
        why: str,
        entry: Object,
        is_too_small: bool = False,
    ) -> None:
        """whose: the claimRef of the PV, or the owner that the driver lists."""
        key = _key(whose)
        # A pod that names a claim uses the claim of that name that is there, and no predecessor.
        owner = self._claim_of(whose) if state in _WITH_USERS else None
        has_users = owner is not None and _bound_to(owner) in ("", name)
        users = sorted(self._pods.get(key, [])) if has_users else []
        claim = "/".join(filter(None, key))
        self.rows.append(
            Row(name, node, driver, claim, users, state, reason, why, entry, is_too_small)
        )

    def _claim_of(self, whose: Any) -> Object | None:
        """The claim that a claimRef or a record means, if that one is there, and no other of its
        name."""
        claim = self._claims.get(_key(whose))
        if claim is None or claim["metadata"]["uid"] != whose.get("uid"):
            return None
        return claim

    def add_listed(self, name: str, node: str, driver: str, entry: Object) -> None:
        """A volume that its driver lists, with its PV if there is one that means it."""
        volume = self._volumes.get((driver, name))
        if volume is not None and _holds(entry, node, volume, self._objects.drivers):
            self.unseen.pop((driver, name), None)
            whose = volume["spec"].get("claimRef")
            claim = self._claim_of(whose)
            state, reason, why = _with_volume(volume, claim)
            short = _shortfall(entry, volume, claim)
            why = _trouble(entry) or short or _move(name, entry) or why
            self.add(name, node, driver, whose, state, reason, why, entry, bool(short))
        else:
            owner = entry.get("owner")
            found = _without_volume(entry, volume, self._claims, self._objects)
            self.add(name, node, driver, owner, *found, entry)


def _driver(volume: Object) -> str:
    return str((volume["spec"].get("flexVolume") or {}).get("driver", ""))


def _key(whose: Any) -> Key:
    """Of the claim that a claimRef or a record names."""
    return (
        (str(whose.get("namespace", "")), str(whose.get("name", "")))
        if isinstance(whose, dict)
        else ("", "")
    )


def _trouble(entry: Object) -> str:
    damage = (
        "the kernel noted errors in its file system: see status on its node"
        if entry.get("damaged")
        else ""
    )
    return str(entry.get("error") or damage)


def _move(name: str, entry: Object) -> str:
    """The sentence about a volume that is being moved, or whose move was cut; "" if it is not."""
    to = entry.get("movingTo")
    if entry.get("state") != MOVING or not isinstance(to, str):
        return ""
    return (
        f"it is being moved to node {to}, and mounts for no pod until that is done; if the move "
        f"was cut, go on with it: kubectl flexvol move {name} --to {to}"
    )


def _shortfall(entry: Object, volume: Object, claim: Object | None) -> str:
    """The sentence about a volume that has less than the cluster says, as after an older copy of it
    was put back; "" if it has as much. An expansion that goes on is no shortfall: the PV's size is
    raised at its begin and the claim's at its end, so the claim counts if there is one."""
    size, quantity = entry.get("sizeBytes"), (volume["spec"].get("capacity") or {}).get("storage")
    if claim:
        quantity = ((claim.get("status") or {}).get("capacity") or {}).get("storage")
    if not isinstance(size, int) or not quantity:
        return ""
    promised = quantities.size_bytes(quantity)
    if size >= promised:
        return ""
    return (
        f"the PV promises {promised >> 20} MiB and the volume has {size >> 20} MiB, as after an "
        f"older copy of it was put back; ask for more than {promised >> 20} MiB in the claim, and "
        "the volume grows to that"
    )


def pools_away(listed: dict[Key, Listed]) -> list[tuple[str, str, str]]:
    """The pools that cannot be used, away or sick: node, name and why."""
    return [
        (node, str(pool.get("name")), str(pool["error"]))
        for (node, _), (_, pools) in sorted(listed.items())
        for pool in pools
        if pool.get("error")
    ]


def pools(listed: dict[Key, Listed]) -> list[Object]:
    """One entry for each pool of each node: node, driver, name, id, state, the reason of a state
    that takes no volumes, and its numbers in bytes; None where they are not known."""
    return [
        _pool(node, driver, pool)
        for (node, driver), (_, of_node) in sorted(listed.items())
        for pool in of_node
    ]


def _pool(node: str, driver: str, pool: Object) -> Object:
    state, why = _state_of_pool(pool)
    numbers = {key: pool.get(key) for key in _POOL_NUMBERS}
    return {
        "node": node,
        "driver": driver,
        "pool": str(pool.get("name")),
        "id": pool.get("id"),
        "state": state,
        "why": why,
        **{key: value if isinstance(value, int) else None for key, value in numbers.items()},
    }


def _state_of_pool(pool: Object) -> tuple[str, str]:
    if pool.get("error"):
        return "away", str(pool["error"])
    if pool.get("cordoned"):
        return "cordoned", "it takes no new volumes; undone on its node by: loop pool uncordon"
    if pool.get("noRoom"):
        return "closed", str(pool["noRoom"])
    return "takes volumes", ""


class _Place(NamedTuple):
    """Where a pool id is. words: for a sentence. is_shared: on a file system that other nodes may
    have mounted too."""

    node: str
    words: str
    is_shared: bool


def same_pools(listed: dict[Key, Listed]) -> list[str]:
    """A sentence for each pool id that is in more than one place: of a copied disk, such as a
    cloned machine's, or of a disk that was moved to another node. Nodes that have one network file
    system mounted share the pool on purpose."""
    there: dict[tuple[str, str], list[_Place]] = {}
    away: dict[tuple[str, str], list[_Place]] = {}
    for (node, driver), (_, pools) in sorted(listed.items()):
        for pool in pools:
            if isinstance(pool.get("id"), str):
                words = f"pool {pool['name']}" + (f" of node {node}" if node else "")
                place = _Place(node, words, pool.get("mayBeShared") is True)
                found = away if pool.get("error") else there
                found.setdefault((driver, pool["id"]), []).append(place)
    sentences = []
    for (driver, pool_id), places in there.items():
        if _are_one_network_disk(places):
            continue
        if len(places) > 1:
            sentences.append(_twins(pool_id, [place.words for place in places]))
        elif (driver, pool_id) in away:
            missed = ", ".join(place.words for place in away[driver, pool_id])
            sentences.append(
                f"{missed} is away, and {places[0].words} has its id {pool_id}: its disk was moved "
                "there. Mount the disk where it was, or make its volumes that node's, which keeps "
                "their claims: kubectl flexvol move --all --from NODE"
            )
    return sentences


def _are_one_network_disk(places: list[_Place]) -> bool:
    """Whether each place is another node's mount of a network file system. Two pools of one node
    are none: their volumes would be counted twice."""
    nodes = {place.node for place in places if place.is_shared}
    return len(nodes) == len(places)


def _twins(pool_id: str, places: list[str]) -> str:
    return (
        f"{' and '.join(places)} have the same id {pool_id}, so one is a copy of the other, as on "
        "a cloned machine, and a volume's PV may mean either; on the copy, move its volumes away "
        "(kubectl flexvol move --all --from NODE), then make its pool anew: loop pool remove NAME, "
        "and loop pool init NAME. Nodes that share one disk on purpose need nothing"
    )


def _holds(entry: Object, node: str, volume: Object, drivers: dict[str, str]) -> bool:
    """Whether that PV means it: a move leaves a copy for a while, and two nodes may have volumes of
    one name."""
    pool_id = (volume["spec"]["flexVolume"].get("options") or {}).get("poolId")
    same_pool = not pool_id or entry.get("poolId", pool_id) == pool_id
    return decide.node_of(volume, drivers) in ("", node) and same_pool


def _with_volume(volume: Object, claim: Object | None) -> tuple[str, str, str]:
    """State, reason and sentence. claim: the one that the PV means, if that is there."""
    whose = volume["spec"].get("claimRef") or {}
    if claim is not None:
        bound_to = _bound_to(claim)
        if bound_to in ("", volume["metadata"]["name"]):
            return BOUND, "", ""
        elsewhere = f"its claim is bound to the PV {bound_to}, so nothing uses this one"
        return RELEASED, "", elsewhere
    if not whose.get("uid"):
        return AVAILABLE, "", "it waits for its claim" if whose else "it waits for a claim"
    if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
        return (
            RELEASED,
            "",
            "its claim is gone, and it is being deleted; what hinders that is in the PV's events",
        )
    return RELEASED, RETAINED, "its claim is gone, and its reclaim policy keeps it"


def _bound_to(claim: Object) -> str:
    """The PV that the claim says it has, or asks for."""
    return str((claim.get("spec") or {}).get("volumeName") or "")


def _without_volume(
    entry: Object, elsewhere: Object | None, claims: dict[Key, Object], there: Objects
) -> tuple[str, str, str]:
    """State, reason and sentence. elsewhere: the PV of that name, if there is one, which means
    another volume."""
    claim = claims.get(_key(entry.get("owner")))
    if entry.get("kind") == SNAPSHOT:
        return SNAPSHOT, "", f"it is a snapshot of {entry.get('source')}"
    if entry.get("state") == ARCHIVED:
        until = f", which is kept until {entry['keptUntil']}" if entry.get("keptUntil") else ""
        return ARCHIVED, "", f"it is the archive of {entry.get('archiveOf')}{until}"
    if elsewhere:
        where = decide.node_of(elsewhere, there.drivers)
        why = f"the PV of its name means another volume, on node {where}; this one is left alone"
        options = elsewhere["spec"]["flexVolume"].get("options") or {}
        if options.get("poolId") and options["poolId"] == entry.get("poolId"):
            why += (
                ". But its pool has the id that the PV names: its disk was moved or copied to this "
                "node, or this node had the other name before. To keep its claim: kubectl flexvol "
                f"move {elsewhere['metadata']['name']} --to NODE"
            )
        return ORPHAN, "", why
    if (
        claim
        and claim["metadata"]["uid"] == entry["owner"].get("uid")
        and not decide.is_bound_elsewhere(claim, str(entry["name"]))
    ):
        return PENDING, "", "its PV is not written yet, or was deleted while its claim is there"
    reason, why = judge(entry, there.cluster_uid)
    return OF_OTHERS if reason == FOREIGN else ORPHAN, reason, why


def _absent(
    volume: Object,
    node: str,
    driver: str,
    listed: dict[Key, Listed],
    silent: dict[Key, str],
    there: Objects,
) -> tuple[str, str]:
    """State and sentence of a PV that is in no list."""
    gone, sentence = lost_storage.why(volume, there.drivers, node in there.nodes)
    if gone:
        return MISSING, sentence
    if (node, driver) not in listed:
        unknown = (
            f"no pod of flexvol is on node {node}; see: kubectl describe node {node}"
            if node
            else "its PV names no node, and no node lists it"
        )
        return UNSEEN, silent.get((node, driver), unknown)
    pool = (volume["spec"]["flexVolume"].get("options") or {}).get("pool")
    errors = [
        str(one["error"])
        for one in listed[node, driver].pools
        if one.get("name") == pool and one.get("error")
    ]
    if errors:
        return MISSING, errors[0]
    return MISSING, ("its driver does not list it; look for its directory in its pool on the node")
