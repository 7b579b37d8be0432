"""Duties of no single node: claims that wait for a node that is gone, claims that no node can take,
and PVs whose storage is gone with its node or with its pool.

They belong to one instance of `provisioner --cluster`, by Lease, with an account of its own. The
design gives them to one of the node instances; but a node's account is to be held to that node, so
what may touch the PVs of others must be somebody else. It calls no driver.

A volume is given up only if its node is gone and its class said `onNodeGone: release`, or a person
says `kubectl flexvol release`; see lost.py. A pool that was replaced is only reported."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from cluster.controller import capacity, cluster, decide, lost, metrics, quantities
from cluster.controller.events import Events
from cluster.controller.served import Served
from cluster.controller.storage import Listed
from shared import protocol

Object = dict[str, Any]
_EVERY_SECONDS = 10.0  # a round without news
_AT_MOST_EVERY_SECONDS = 1.0
_TAKEN_SECONDS = 10.0  # by when a node has taken a claim, if one can
_SAY_AGAIN_SECONDS = 600.0
# A node's room for a class is an object of 1 KB. So this bounds what is read to 17 KB a second for
# each class, however many nodes there are.
_ROOMS_SECONDS_A_NODE = 0.06
_WAITS = "waits"
_log = logging.getLogger("cluster-duties")


def why_not_taken(
    claim: Object,
    storage_class: Object | None,
    size_bytes: int,
    rooms: dict[str, int],
    nodes: list[dict[str, str]],
    passed_over: frozenset[str] = frozenset(),
) -> tuple[str, str]:
    """Why no node takes a claim that is bound at once, as a kind and a sentence. rooms: bytes by
    hostname, for its class. nodes: the labels of each. passed_over: the hostnames of nodes that
    pods cannot go to, which leave the claim to another node with room."""
    problem = decide.problem(claim, storage_class, of_one_node=True)
    if problem or storage_class is None:
        return problem, problem
    allowed = {
        node.get(decide.HOSTNAME, "") for node in nodes if decide.is_allowed(storage_class, node)
    }
    if not allowed:
        return "labels", decide.NO_NODE_ALLOWED
    candidates = [(room, hostname) for hostname, room in rooms.items() if hostname in allowed]
    takers = [one for one in candidates if one[0] >= size_bytes and one[1] not in passed_over]
    most = max(takers or candidates, default=None)
    if most is None:
        return "nobody", (
            "no provisioner has told what room its node has, or taken the claim; see: kubectl -n "
            "flexvol get pods -o wide"
        )
    if decide.is_copy(claim):
        return "source", "no node has what it is to be a copy of, or that is not bound"
    if most[0] >= size_bytes:
        return "slow", (
            f"node {most[1]} has room for it, but its provisioner has not taken it; see that one's "
            "log"
        )
    return "room", decide.no_room(size_bytes, *most)


class Kept:
    """What a watch tells, as far as `trim` wants it."""

    def __init__(self, trim: Callable[[Object], Any], woken: Callable[[], None]) -> None:
        self._trim, self._woken = trim, woken
        self._lock = threading.Lock()
        self._things: dict[str, Any] = {}

    def changed(self, thing: Object) -> None:
        trimmed, uid = self._trim(thing), thing["metadata"]["uid"]
        with self._lock:
            before = self._things.pop(uid, None)
            if trimmed is not None:
                self._things[uid] = trimmed
        if before != trimmed:
            self._woken()

    def listed(self, uids: set[str]) -> None:
        with self._lock:
            self._things = {uid: thing for uid, thing in self._things.items() if uid in uids}
        self._woken()

    def gone(self, thing: Object) -> None:
        with self._lock:
            self._things.pop(thing["metadata"]["uid"], None)
        self._woken()

    def is_wanted(self, thing: Object) -> bool:
        return self._trim(thing) is not None

    def all(self) -> list[Any]:
        with self._lock:
            return list(self._things.values())


class Marks:
    """On a node: its own PVs whose pool was replaced, as by a new installation, get a mark; it is
    taken away should the pool come back."""

    def __init__(
        self, api: cluster.Cluster, events: Events, us: decide.Identity, woken: Callable[[], None]
    ) -> None:
        self._api, self._events, self._drivers = api, events, us.drivers
        self.volumes = Kept(
            lambda volume: _trimmed(volume) if decide.is_ours(volume, us) else None, woken
        )

    def check(self, listed: dict[str, Listed]) -> None:
        """listed: by driver. Raises Refused or Unreachable."""
        for volume in self.volumes.all():
            metadata, mark = volume["metadata"], decide.annotations_of(volume).get(decide.LOST, "")
            driver = listed.get(volume["spec"]["flexVolume"]["driver"])
            if driver is None:  # it has never listed
                continue
            why = lost.pool_replaced(volume, driver.pools)
            if why is None or bool(why) == bool(mark):
                continue
            change = {
                "annotations": {decide.LOST: why or None},
                "resourceVersion": metadata["resourceVersion"],
            }
            try:
                marked = self._api.patch(
                    cluster.path_to(cluster.VOLUMES, metadata["name"]), {"metadata": change}
                )
            except cluster.Refused as error:
                if error.status != 409:  # else the watch will tell
                    _log.warning("%s cannot be marked: %s", metadata["name"], error)
                continue
            sentence = lost.why(marked, self._drivers, node_exists=True)[1] if marked else ""
            _log.warning("%s: %s", metadata["name"], sentence or "its storage is there again")
            for about in _abouts(volume) if sentence else []:
                self._events.warning(about, "VolumeLost", sentence)


class GoneNodes:
    """The duties, in a thread of its own, to be started when everything was listed."""

    def __init__(
        self,
        api: cluster.Cluster,
        events: Events,
        drivers: dict[str, str],
        namespace: str,
        gone_after_seconds: float,
        may_work: Callable[[], bool],
        learns: bool = False,
    ) -> None:
        """drivers: by provisioner. namespace: of the capacity objects. gone_after_seconds: how long
        a node must be gone before it is said, and before volumes are released. may_work: whether we
        are the elected one. learns: whether what the nodes serve beside those drivers is ours to
        look after, too."""
        self._api, self._events, self._drivers = api, events, drivers
        self._served = Served(api, namespace, drivers)
        self._learns = learns
        # Whether there may be claims and PVs of a new driver that nobody keeps yet.
        self._has_unread = False
        self._namespace, self._gone_after_seconds = namespace, gone_after_seconds
        self._news = threading.Event()
        self.nodes = Kept(_named, self._news.set)
        self.claims = Kept(self._trim_claim, self._news.set)
        self.volumes = Kept(
            lambda one: _trimmed(one) if decide.node_of(one, drivers) else None, self._news.set
        )
        # Since when a claim waits or a PV is lost, by its uid and by why. A node that goes after
        # its pool was replaced has not been gone for as long as the pool.
        self._since: dict[tuple[str, str], float] = {}
        self._said: dict[str, tuple[str, float]] = {}
        self._read: dict[str, Object | None] = {}  # live, once a round
        # Of the nodes in this round: their labels, and the hostnames of those that pods cannot go
        # to.
        self._labels: list[dict[str, str]] = []
        self._passed_over: frozenset[str] = frozenset()
        self._rooms_read: tuple[float, dict[str, dict[str, int]]] = (float("-inf"), {})
        self._may_work = may_work
        self.thread = threading.Thread(target=self._run, name="cluster-duties", daemon=True)

    def _trim_claim(self, claim: Object) -> Object | None:
        free = not claim["spec"].get("volumeName") and not claim["metadata"].get(
            "deletionTimestamp"
        )
        return _trimmed(claim) if free and decide.provisioner_of(claim) in self._drivers else None

    def _run(self) -> None:
        while True:
            if self._may_work():
                self._news.wait(_EVERY_SECONDS)
                self._news.clear()
                try:
                    self._round()
                except cluster.Unreachable as error:
                    _log.warning("%s", error)
                except Exception:
                    _log.exception("bug in a duty")
            else:  # what another sees meanwhile we do not know: it begins anew
                self._since.clear()
                _count(Counter())
                metrics.claims_not_taken.set(0)
            time.sleep(_AT_MOST_EVERY_SECONDS)

    def _round(self) -> None:
        self._learn()
        nodes = self.nodes.all()
        names = {node["name"] for node in nodes}
        self._labels = [node["labels"] for node in nodes]
        closed = [node["labels"] for node in nodes if not node["takesPods"]]
        self._passed_over = frozenset(labels.get(decide.HOSTNAME, "") for labels in closed)
        volumes = self.volumes.all()
        claims = self.claims.all()
        self._read = {}
        there = {one["metadata"]["uid"] for one in volumes + claims}
        self._since = {key: since for key, since in self._since.items() if key[0] in there}
        self._said = {uid: said for uid, said in self._said.items() if uid in there}
        not_taken = [self._try(self._place, claim, names) for claim in claims]
        metrics.claims_not_taken.set(sum(why != "" for why in not_taken))
        _count(Counter(self._try(self._look, volume, names) for volume in volumes))

    def _learn(self) -> None:
        """Takes on what the nodes serve beside the drivers that we know."""
        self._served.read()
        served = self._served.drivers
        new = {name: driver for name, driver in served.items() if name not in self._drivers}
        if new and self._learns:
            _log.info("the nodes serve %s, too", ", ".join(sorted(new.values())))
            self._drivers.update(new)
            self._has_unread = True
        if self._has_unread:
            self._read_anew()
            self._has_unread = False  # not before all was read: the API server may fail meanwhile

    def _read_anew(self) -> None:
        """Keeps what the watches have told of before we knew its driver."""
        for path, kept in ((cluster.CLAIMS, self.claims), (cluster.VOLUMES, self.volumes)):
            for thing in self._api.items(path):
                if kept.is_wanted(thing):
                    self._keep(kept, thing)

    def _keep(self, kept: Kept, thing: Object) -> None:
        """Keeps the thing as it is now: its change or its end may have been told after it was
        listed, and before it was kept."""
        while True:
            kept.changed(thing)
            live = self._api.get(_path_of(thing))
            if live is None:
                kept.gone(thing)
                return
            if live["metadata"]["resourceVersion"] == thing["metadata"]["resourceVersion"]:
                return
            thing = live

    def _try(self, duty: Callable[[Object, set[str]], str], about: Object, nodes: set[str]) -> str:
        """One duty; what cannot be done for one claim or PV does not hold up the others."""
        try:
            return duty(about, nodes) if self._may_work() else ""
        except (cluster.Refused, lost.NotLost) as error:
            _log.warning("%s: %s", about["metadata"]["name"], error)
        except cluster.Unreachable:
            raise
        except Exception:
            _log.exception("bug in a duty for %s", about["metadata"]["name"])
        return ""

    def _place(self, claim: Object, nodes: set[str]) -> str:
        """Returns why no node takes the claim, if that is so."""
        node = decide.annotations_of(claim).get(decide.SELECTED_NODE)
        if not node:
            return self._explain(claim)
        if node not in nodes:
            self._choose_again(claim, node)
        else:
            self._since.pop((claim["metadata"]["uid"], _WAITS), None)
        return ""

    def _get(self, path: str) -> Object | None:
        if path not in self._read:
            self._read[path] = self._api.get(path)
        return self._read[path]

    def _choose_again(self, claim: Object, node: str) -> None:
        if lost.node_exists(self._get, node):
            return
        metadata = claim["metadata"]
        change = {
            "annotations": {decide.SELECTED_NODE: None},
            "resourceVersion": metadata["resourceVersion"],
        }
        try:
            self._api.patch(
                cluster.claim_path(metadata["namespace"], metadata["name"]), {"metadata": change}
            )
        except cluster.Refused as error:
            if error.status != 409:
                raise
            return  # it changed: the watch will tell
        _log.info("%s waited for node %r, which is gone", lost.full_name(claim), node)
        self._events.warning(
            claim,
            "NodeGone",
            f"node {protocol.shown(node)}, chosen for it, does not exist; another is chosen",
        )

    def _explain(self, claim: Object) -> str:
        """Reports why no node takes the claim, and returns it; "" while a node may yet do so, or if
        the claim waits for a pod or for a populator."""
        name, uid = decide.class_name_of(claim), claim["metadata"]["uid"]
        since = self._since.setdefault((uid, _WAITS), time.monotonic())
        storage_class = self._get(cluster.path_to(cluster.CLASSES, name)) if name else None
        if storage_class is not None and decide.is_late(storage_class):
            return ""  # the scheduler's to explain, on the pod
        if decide.provisioner_of(claim) not in self._served.drivers:
            return ""  # its storage is of no node, so what serves it reports that itself
        if decide.is_populated(claim):
            if self._is_news(uid, decide.POPULATE):
                self._events.normal(claim, "Provisioning", decide.POPULATOR)
            return ""
        kind = sentence = decide.problem(claim, storage_class, of_one_node=True)
        if not kind and time.monotonic() - since > _TAKEN_SECONDS:
            rooms = self._rooms(len(self._labels)).get(name, {})
            size_bytes = quantities.size_bytes(claim["spec"]["resources"]["requests"]["storage"])
            kind, sentence = why_not_taken(
                claim, storage_class, size_bytes, rooms, self._labels, self._passed_over
            )
        if kind and self._is_news(uid, kind):
            _log.warning(
                "%s not provisioned: %s",
                lost.full_name(claim),
                sentence,
                extra={"claim": lost.full_name(claim)},
            )
            self._events.warning(claim, "ProvisioningFailed", sentence)
        return kind

    def _rooms(self, nodes: int) -> dict[str, dict[str, int]]:
        """What room all nodes tell, by class and hostname; read more seldom the more they are."""
        read_at, rooms = self._rooms_read
        if time.monotonic() - read_at >= nodes * _ROOMS_SECONDS_A_NODE:
            rooms = capacity.rooms(self._api.get, self._namespace)
            self._rooms_read = (time.monotonic(), rooms)
        return rooms

    def _look(self, volume: Object, nodes: set[str]) -> str:
        """Reports what is lost, and gives it up if its node is gone and its class wants that.
        Returns why it is lost, if it is."""
        uid, name = volume["metadata"]["uid"], volume["metadata"]["name"]
        node = decide.node_of(volume, self._drivers)
        # What the watch says is not enough: a live read decides.
        reason, sentence = lost.why(
            volume, self._drivers, node in nodes or lost.node_exists(self._get, node)
        )
        for other in {lost.NODE_GONE, lost.POOL_REPLACED} - {reason}:
            self._since.pop((uid, other), None)
        if not reason:
            self._said.pop(uid, None)
            return ""
        since = self._since.setdefault((uid, reason), time.monotonic())
        if time.monotonic() - since < self._gone_after_seconds:
            return ""
        if self._is_news(uid, reason):
            _log.warning("%s: %s", name, sentence, extra={"volume": name, "reason": reason})
            # Of a pool that was replaced its node has told already.
            for about in _abouts(volume) if reason == lost.NODE_GONE else []:
                self._events.warning(about, "VolumeNodeGone", sentence)
        if reason in lost.BY_CLASS and lost.is_released(volume):
            self._give_up(name)
        return reason

    def _give_up(self, name: str) -> None:
        """Where that is refused, as by a policy, the volume stays lost and counts as such."""
        try:
            waits = lost.release(self._api, name, self._drivers, lost.BY_CLASS)
        except cluster.Refused as error:
            _log.warning("%s is not given up: %s", name, error, extra={"volume": name})
            return
        _log.info("%s: %s", name, waits or "released", extra={"volume": name})

    def _is_news(self, uid: str, kind: str) -> bool:
        before, at = self._said.get(uid, ("", 0.0))
        if before == kind and time.monotonic() - at < _SAY_AGAIN_SECONDS:
            return False
        self._said[uid] = (kind, time.monotonic())
        return True


def _count(counts: Counter[str]) -> None:
    for reason in (lost.NODE_GONE, lost.POOL_REPLACED):
        metrics.lost.labels(reason).set(counts[reason])


def _abouts(volume: Object) -> list[Object]:
    """What an event is about: the PV, and the claim it names."""
    whose = volume["spec"].get("claimRef") or {}
    claim = {"metadata": {key: whose.get(key, "") for key in ("namespace", "name", "uid")}}
    return [volume, claim] if whose.get("uid") else [volume]


def _named(node: Object) -> Object:
    metadata = node["metadata"]
    return {
        "name": metadata["name"],
        "labels": metadata.get("labels") or {},
        "takesPods": decide.takes_pods(node),
    }


def _path_of(thing: Object) -> str:
    """Of a claim or a PV."""
    metadata = thing["metadata"]
    if metadata.get("namespace"):
        return cluster.claim_path(metadata["namespace"], metadata["name"])
    return cluster.path_to(cluster.VOLUMES, metadata["name"])


def _trimmed(thing: Object) -> Object:
    kept = ("name", "namespace", "uid", "resourceVersion", "annotations")
    metadata = {key: thing["metadata"][key] for key in kept if key in thing["metadata"]}
    return {"metadata": metadata, "spec": thing["spec"]}
