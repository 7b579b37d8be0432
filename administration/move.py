"""Moves a volume that no pod uses to another node, or all volumes of a node elsewhere: a drain.

What was killed goes on when the same command is run again. `--to` the node that the volume is on
takes back a move that is not done."""

# A move is written down in a ConfigMap first: from where to where, and the PV that is to be. Its
# steps, of which each may find itself done:
#
# 1. The PV says Retain from now on, so that no instance deletes anything, whatever goes.
# 2. The old copy is exported, under its lock, and imported on the other node. Before the first byte
# the old copy's
# record says where it goes, and from then on it mounts for no one: nothing can be written that is
# left behind. The new copy appears when its checksum is right; it has the move's id, by which the
# command knows it when run again.
# 3. A PV's affinity cannot be changed, so the PV is deleted and made again under its name: now it
# is the other node's.
#    When the claim is bound to it, it says again what it said of its storage at the end.
# 4. The old copy is deleted, if its record says that it is one of this move; then the ConfigMap.
#
# The nodes' instances touch neither copy meanwhile: a PV that says Retain is not deleted by them, a
# PV of another identity is not theirs, and a volume whose claim exists, or that is not blank, is
# not collected as an orphan.

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import protocol
from administration import inventory, nodes
from controller import cluster, decide, lost, secrets, volume_manifest
from controller.inventory import pools_away
from controller.storage import PLUGIN_DIRECTORY, executable
from table import human_bytes

Object = dict[str, Any]
LABEL = "flexvol/move"
HOSTNAME = "kubernetes.io/hostname"
_SILENCE_SECONDS = 12 * 3600.0  # while a large image's checksum is made
_PIECES = 256  # on their way between two nodes; each is some ten kilobytes
_WAIT_SECONDS, _AGAIN_SECONDS = 90.0, 0.5
_FORGET_SECONDS = 20.0


class NotMoved(protocol.Unavailable):
    """The volume is not, or not yet, on the other node."""


def arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("volume", nargs="?", metavar="PV", help="the volume to move")
    which.add_argument(
        "--all", action="store_true", help="all PVs of the node given by --from; all else is named"
    )
    parser.add_argument("--from", dest="source", metavar="NODE", help="with --all: where they are")
    parser.add_argument(
        "--to", metavar="NODE", help="where to; with --all by default where most room is"
    )


def run(api: cluster.Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    if settings.all != bool(settings.source) or not (settings.all or settings.to):
        print("say either PV --to NODE, or --all --from NODE", file=sys.stderr)
        return 2
    mover = Mover(api, drivers, settings.namespace, lambda words: print(words, flush=True))
    if not settings.all:
        mover.move(settings.volume, settings.to)
        return 0
    names, failed = mover.volumes_of(settings.source), 0
    for name in names:
        try:
            mover.move(name, settings.to or mover.roomiest(name, settings.source))
        except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
            failed += 1
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    print(f"{len(names) - failed} of {len(names)} volumes of node {settings.source} were moved")
    # A node that is drained may be wiped next: snapshots, archives and what has no PV are not
    # moved, so they are named.
    rows, listed, silent = inventory.look(api, settings.namespace, None, settings.source)
    left = [
        f"{row.name} stays on node {settings.source}: it is {row.state}"
        for row in rows
        if row.name not in names
    ]
    left += [
        f"what stays of {driver} on node {node} is not known: {why}"
        for (node, driver), why in silent.items()
    ]
    left += [
        f"what stays in pool {pool} of node {node} is not known: {why}"
        for node, pool, why in pools_away(listed)
    ]
    for sentence in left:
        print(sentence, file=sys.stderr)
    return 1 if failed or left else 0


class Mover:
    """Works through the steps. say: what becomes of it, a line each."""

    def __init__(
        self,
        api: cluster.Cluster,
        drivers: dict[str, str],
        namespace: str,
        say: Callable[[str], None],
    ) -> None:
        self._api, self._drivers, self._namespace, self._say = api, drivers, namespace, say
        self._moves = f"/api/v1/namespaces/{namespace}/configmaps"

    def volumes_of(self, node: str) -> list[str]:
        """Those that are on the node, and those whose move from there is not done."""
        volumes = self._api.items(cluster.VOLUMES)
        there = {
            one["metadata"]["name"] for one in volumes if decide.node_of(one, self._drivers) == node
        }
        begun = (self._api.get(f"{self._moves}?labelSelector={LABEL}") or {"items": []})["items"]
        plans = [json.loads(one["data"]["move"]) for one in begun]
        return sorted(
            there | {plan["volume"]["metadata"]["name"] for plan in plans if plan["source"] == node}
        )

    def roomiest(self, name: str, source: str) -> str:
        """Where its move goes that was begun; else the node whose pool has the most room, and takes
        pods."""
        plan = self._plan(name)
        if plan is not None:
            return str(plan["to"])
        volume = self._volume(name)
        pool = (volume["spec"]["flexVolume"].get("options") or {}).get("pool")
        found = nodes.find(self._api, self._namespace)
        others = [
            one
            for one in found.values()
            if one.name not in ("", source) and self._takes_pods(one.name)
        ]
        listed, _ = nodes.list_all(self._api, others, [_driver({"volume": volume})])
        rooms = {
            node: one.get("freeBytes", 0)
            for (node, _), (_, pools) in listed.items()
            for one in pools
            if one.get("name") == pool and not one.get("error")
        }
        if not rooms:
            raise NotMoved(
                f"no other node that takes pods has a pool {pool}; make one there, or name a "
                "node with --to"
            )
        return max(sorted(rooms), key=lambda node: rooms[node])

    def _takes_pods(self, node: str) -> bool:
        found = self._api.get(f"{cluster.NODES}/{node}")
        return found is not None and not found["spec"].get("unschedulable")

    def move(self, name: str, to: str) -> None:
        """Raises NotMoved, other failures, Refused and Unreachable; it goes on when it is called
        again."""
        plan = self._plan(name)
        if plan is None:
            volume = self._volume(name)
            if decide.node_of(volume, self._drivers) == to:
                self._settle(volume, to)
                return
            plan = self._begin(volume, to)
        elif to == plan["source"]:
            self._take_back(plan)
            return
        elif to != plan["to"] or plan["back"]:
            where = plan["source"] if plan["back"] else plan["to"]
            raise NotMoved(
                f"{name} is on its way to node {where}; that comes first: provisioner move "
                f"{name} --to {where}"
            )
        if not self._is_at(plan, to):
            if self._is_at(plan, plan["source"]):
                self._set_policy(plan, "Retain")
            self._copy(plan)
        plan = self._replace(plan)
        self._delete_old(plan)
        self._end(plan)
        self._say(f"{name} is on node {to}")
        self._say_stuck(plan)

    def _settle(self, volume: Object, node: str) -> None:
        """It is where it is to be, and no move of it is written down. A copy there that says it
        moves lost its plan, and the PV says that it is the volume."""
        here = self._entry({"volume": volume}, node) if _is_in_pool(volume) else None
        if here is not None and here.get("state") == "moving":
            self._storage(node).adopt(
                _driver({"volume": volume}), volume_manifest.listed_request(here)
            )
        self._say(f"{volume['metadata']['name']} is on node {node} already")

    # The plan.

    def _plan(self, name: str) -> Object | None:
        written = self._api.get(f"{self._moves}/move-{name}")
        if written is None:
            return None
        plan: Object = json.loads(written["data"]["move"])
        return {
            **plan,
            "written": {key: written["metadata"][key] for key in ("uid", "resourceVersion")},
        }

    def _rewrite(self, plan: Object, **changes: Any) -> Object:
        """Raises Refused, status 409, if somebody else did so since it was read."""
        move = json.dumps({**{key: plan[key] for key in plan if key != "written"}, **changes})
        change = {"metadata": plan["written"], "data": {"move": move}}
        self._api.patch(f"{self._moves}/move-{_name(plan)}", change)
        now = self._plan(_name(plan))
        if now is None or now["id"] != plan["id"]:
            raise NotMoved(
                f"the move of {_name(plan)} was ended by somebody else; see: provisioner inventory"
            )
        return now

    def _check_unused(self, volume: Object) -> None:
        """Raises NotMoved if the volume is being deleted, or a pod uses it."""
        name = volume["metadata"]["name"]
        claim = lost.claim_of(self._api, volume)
        policy = volume["spec"].get("persistentVolumeReclaimPolicy")
        if volume["metadata"].get("deletionTimestamp") or (claim is None and policy == "Delete"):
            raise NotMoved(
                f"{name} is being deleted, or its claim {lost.full_name(volume)} is not bound to it"
            )
        for pod in lost.pods_of(self._api, claim) if claim else []:
            ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
            if pod["spec"].get("nodeName") and not ended:
                raise NotMoved(
                    f"{name} is in use by pod {pod['metadata']['name']}; stop it first, or "
                    "drain the node"
                )

    def _begin(self, volume: Object, to: str) -> Object:
        name, spec = volume["metadata"]["name"], volume["spec"]
        source = decide.node_of(volume, self._drivers)
        if not source:
            raise NotMoved(f"{name} is on no node: no node's provisioner made it")
        self._check_unused(volume)
        if not _is_in_pool(volume):
            raise NotMoved(f"{name} is in no pool; its driver must move it")
        entry = self._entry({"volume": volume}, source) or {
            "error": "the volume is not in its list"
        }
        if entry.get("error") or not entry.get("owner") or entry.get("state"):
            raise NotMoved(
                f"node {source} does not list {name} as whole: "
                f"{entry.get('error') or entry.get('state')}"
            )
        if entry["owner"].get("uid") == protocol.AWAITED:
            raise NotMoved(f"{name} awaits its claim; bind it first")
        pool = self._room(to, spec["flexVolume"], name, int(entry["sizeBytes"]))
        hostname = nodes.hostname(self._api, to)
        policy = spec.get("persistentVolumeReclaimPolicy")
        plan = {
            "id": uuid.uuid4().hex,
            "source": source,
            "to": to,
            "back": False,
            "replaces": False,
            "policy": policy,
            "hostname": hostname,
            "poolId": pool["id"],
            "volume": manifest(volume, to, hostname, pool["id"]),
        }
        body = {
            "metadata": {"name": f"move-{name}", "labels": {LABEL: ""}},
            "data": {"move": json.dumps(plan)},
        }
        self._api.create(self._moves, body)
        self._say(
            f"moves {name}, {human_bytes(entry['sizeBytes'])}, from node {source} to node {to}"
        )
        begun = self._plan(name)
        if begun is None or begun["id"] != plan["id"]:
            raise NotMoved(f"another move of {name} was begun just now")
        return begun

    def _room(self, node: str, source: Object, name: str, size_bytes: int) -> Object:
        """The other node's pool of the same name, if the volume fits into it."""
        pool_name, listed = source["options"]["pool"], self._storage(node).list(source["driver"])
        pool = next(
            (one for one in listed.pools if one.get("name") == pool_name), {"error": "it has none"}
        )
        if pool.get("error"):
            raise NotMoved(f"node {node} has no pool {pool_name} for {name}: {pool['error']}")
        if any(one.get("name") == name for one in listed.volumes):
            raise NotMoved(f"node {node} has a volume {name} already; nothing is overwritten")
        free = int(pool.get("freeBytes", 0))
        room = min(free, int(pool.get("maximumVolumeBytes", free)))
        if room < size_bytes:
            sizes = f"{human_bytes(room)}, and {name} has {human_bytes(size_bytes)}"
            raise NotMoved(f"pool {pool_name} of node {node} has room for {sizes}")
        return pool

    # The steps.

    def _set_policy(self, plan: Object, policy: str) -> None:
        if self._volume(_name(plan))["spec"].get("persistentVolumeReclaimPolicy") != policy:
            path = f"{cluster.VOLUMES}/{_name(plan)}"
            self._api.patch(path, {"spec": {"persistentVolumeReclaimPolicy": policy}})

    def _copy(self, plan: Object) -> None:
        name, source = _name(plan), plan["volume"]["spec"]["flexVolume"]
        entry = self._entry(plan, plan["to"])
        if entry is not None:
            if entry.get("move") != plan["id"] or entry.get("state"):
                raise NotMoved(
                    f"node {plan['to']} has a volume {name} that is not of this move; nothing "
                    "is overwritten"
                )
            return
        words = [
            "--driver",
            source["driver"].split("/")[1],
            "--pool",
            source["options"]["pool"],
            "--move",
            plan["id"],
        ]
        begin = int(self._run(plan["to"], source["driver"], ["import", *words, "--arrived", name]))
        pieces = _Pieces()
        exporting = ["export", *words, "--to", plan["to"], "--from", str(begin), name]
        threading.Thread(
            target=self._export,
            args=(plan["source"], source["driver"], exporting, pieces),
            daemon=True,
        ).start()
        try:
            self._say(self._run(plan["to"], source["driver"], ["import", *words], pieces))
        finally:
            pieces.stop()

    def _export(self, node: str, driver: str, words: list[str], pieces: _Pieces) -> None:
        ended: Exception | None = None
        try:
            self._run(
                node, driver, words, iter(()), pieces.put
            )  # its input stays open as long as we are there
        except Exception as error:  # raised again where the pieces are read
            ended = error
        pieces.put(ended)

    def _run(
        self,
        node: str,
        driver: str,
        words: list[str],
        feed: Iterator[bytes] | None = None,
        take: Callable[[bytes], None] | None = None,
    ) -> str:
        """What a command of the driver's program prints on a node. Raises NotMoved with what it
        says is wrong."""
        pod = nodes.get(self._api, self._namespace, node).pod
        line = [executable(PLUGIN_DIRECTORY, driver), *words]
        status, printed, errors = self._api.execute(pod, line, feed, take, _SILENCE_SECONDS)
        if status != 0:
            raise NotMoved(
                f"on node {node}: {errors.strip() or f'{words[0]} ended with status {status}'}"
            )
        return printed.decode(errors="replace").strip()

    def _replace(self, plan: Object) -> Object:
        """The PV becomes the other node's. Between its deletion and its creation the claim says
        Lost. Returns the plan as it is written then."""
        name = _name(plan)
        path = f"{cluster.VOLUMES}/{name}"
        volume = self._api.get(path)
        if volume is not None and decide.node_of(volume, self._drivers) == plan["source"]:
            now = manifest(
                volume, plan["to"], plan["hostname"], plan["poolId"]
            )  # its claim may have grown meanwhile
            plan = self._rewrite(
                plan, volume=now, replaces=True
            )  # from here on nobody takes it back
            uid: str = volume["metadata"]["uid"]
            self._api.delete(path, uid)
            self._until("the old PV is gone", lambda: self._is_gone(path, uid))
            volume = None
        if volume is None:
            volume = self._api.create(cluster.VOLUMES, plan["volume"])
        if decide.node_of(volume, self._drivers) != plan["to"]:
            raise NotMoved(
                f"the PV {name} is neither of node {plan['source']} nor of node {plan['to']}; "
                "look at it"
            )
        secrets.hand_over(self._api, secrets.made_for(volume), plan["to"])
        if lost.claim_of(self._api, plan["volume"]) is not None:
            self._until(
                f"the claim {lost.full_name(volume)} is bound again", lambda: self._is_bound(plan)
            )
        elif plan["policy"] != "Retain":
            self._say(
                f"its claim {lost.full_name(volume)} was deleted meanwhile: {name} says "
                "Retain, delete it yourself"
            )
            return plan
        self._set_policy(plan, plan["policy"])
        return plan

    def _is_gone(self, path: str, uid: str) -> bool:
        volume = self._api.get(path)
        if volume is None or volume["metadata"]["uid"] != uid:
            return True
        if volume["metadata"].get("finalizers"):
            version = volume["metadata"]["resourceVersion"]
            self._api.patch(path, {"metadata": {"finalizers": [], "resourceVersion": version}})
        return False

    def _is_bound(self, plan: Object) -> bool:
        volume = self._volume(_name(plan))
        claim = lost.claim_of(self._api, volume)
        bound = claim is None or claim.get("status", {}).get("phase") == "Bound"
        return bound and volume.get("status", {}).get("phase") in ("Bound", "Released")

    def _until(self, what: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                if done():
                    return
            except cluster.Refused as error:
                if error.status != 409:
                    raise
            if time.monotonic() > deadline:
                raise NotMoved(f"after {_WAIT_SECONDS:g} s still not: {what}; run this again")
            time.sleep(_AGAIN_SECONDS)

    def _delete_old(self, plan: Object) -> None:
        name, node = _name(plan), plan["source"]
        if self._api.get(f"{cluster.NODES}/{node}") is None:
            self._say(f"node {node} is gone, so its old copy of {name} is not deleted")
            return
        entry = self._entry(plan, node)
        if entry is None:
            return
        if entry.get("move") != plan["id"] or entry.get("state") != "moving":
            raise NotMoved(
                f"the volume {name} on node {node} is not the old copy of this move any more; "
                "look at it"
            )
        self._storage(node).delete(_driver(plan), volume_manifest.listed_request(entry))

    def _end(self, plan: Object) -> None:
        self._api.delete(f"{self._moves}/move-{_name(plan)}", plan["written"]["uid"])

    def _take_back(self, plan: Object) -> None:
        """The old copy is the volume again, and what is on the other node goes."""
        name, source, to = _name(plan), plan["source"], plan["to"]
        if plan["replaces"]:
            raise NotMoved(
                f"{name} is as good as on node {to}; end its move, and then move it back"
            )
        plan = self._rewrite(
            plan, back=True
        )  # first: what is on the other node is never taken for the volume again
        try:
            there = self._entry(plan, to)
            if there is not None and there.get("move") == plan["id"]:
                self._storage(to).delete(
                    _driver(plan), volume_manifest.listed_request(there, taken_back=plan["id"])
                )
            self._forget(plan)
        except protocol.Unavailable as error:
            self._say(f"what came of {name} on node {to} is left: {error}")
        here = self._entry(plan, source)
        if here is None and self._api.get(f"{cluster.VOLUMES}/{name}") is None:
            self._end(plan)
            self._say(f"{name} is gone, and its PV too: its claim was deleted meanwhile")
            return
        if here is None:
            raise NotMoved(f"node {source} does not list {name}; look there")
        if here.get("state") == "moving":
            self._storage(source).adopt(_driver(plan), volume_manifest.listed_request(here))
        if self._is_at(plan, source):
            self._set_policy(plan, plan["policy"])
        self._end(plan)
        self._say(f"{name} stays on node {source}")

    def _forget(self, plan: Object) -> None:
        """What has come of a stream that is not gone on with; an import that was left alone ends
        soon."""
        name, source, deadline = (
            _name(plan),
            plan["volume"]["spec"]["flexVolume"],
            time.monotonic() + _FORGET_SECONDS,
        )
        words = [
            "--driver",
            source["driver"].split("/")[1],
            "--pool",
            source["options"]["pool"],
            "--forget",
            name,
        ]
        while True:
            try:
                self._run(plan["to"], source["driver"], ["import", *words])
                return
            except NotMoved as error:
                if time.monotonic() > deadline:
                    self._say(
                        f"what came of {name} on node {plan['to']} is given up after a day: {error}"
                    )
                    return
            time.sleep(_AGAIN_SECONDS)

    # What there is.

    def _volume(self, name: str) -> Object:
        volume = self._api.get(f"{cluster.VOLUMES}/{name}")
        if volume is None:
            raise NotMoved(f"there is no PV {name}")
        return volume

    def _is_at(self, plan: Object, node: str) -> bool:
        volume = self._api.get(f"{cluster.VOLUMES}/{_name(plan)}")
        return volume is not None and decide.node_of(volume, self._drivers) == node

    def _storage(self, node: str) -> nodes.NodeStorage:
        return nodes.NodeStorage(self._api, nodes.get(self._api, self._namespace, node))

    def _entry(self, plan: Object, node: str) -> Object | None:
        """The volume as the node lists it; None if it is not there. Raises NotMoved if that cannot
        be told."""
        pool = plan["volume"]["spec"]["flexVolume"]["options"]["pool"]
        listed = self._storage(node).list(_driver(plan))
        for one in listed.pools:
            if one.get("name") == pool and not one.get("error"):
                return next(
                    (entry for entry in listed.volumes if entry.get("name") == _name(plan)), None
                )
        raise NotMoved(
            f"node {node} does not tell what is in its pool {pool}; is its disk mounted?"
        )

    def _say_stuck(self, plan: Object) -> None:
        """Pods that the scheduler gave to the old node meanwhile cannot start there."""
        claim = lost.claim_of(self._api, plan["volume"])
        for pod in lost.pods_of(self._api, claim) if claim else []:
            if pod["spec"].get("nodeName") == plan["source"]:
                self._say(
                    f"pod {pod['metadata']['name']} waits for it on node {plan['source']}; "
                    "delete that pod"
                )


class _Pieces:
    """What one node prints and another reads, some of it at a time."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | Exception | None] = queue.Queue(_PIECES)
        self._stopped = threading.Event()

    def put(self, piece: bytes | Exception | None) -> None:
        """None is the end; an error, too, and what reads it raises that."""
        while not self._stopped.is_set():
            try:
                self._queue.put(piece, timeout=_AGAIN_SECONDS)
                return
            except queue.Full:
                continue
        if isinstance(piece, bytes):
            raise ConnectionError("the other node takes no more")

    def stop(self) -> None:
        self._stopped.set()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = self._queue.get()
        if piece is None:
            raise StopIteration
        if isinstance(piece, Exception):
            raise piece
        return piece


def _name(plan: Object) -> str:
    return str(plan["volume"]["metadata"]["name"])


def _is_in_pool(volume: Object) -> bool:
    return bool((volume["spec"]["flexVolume"].get("options") or {}).get("pool"))


def _driver(plan: Object) -> str:
    return str(plan["volume"]["spec"]["flexVolume"]["driver"])


def manifest(volume: Object, to: str, hostname: str, pool_id: str) -> Object:
    """The same PV, on the other node. It says Retain until its claim is bound to it."""
    metadata, spec = volume["metadata"], volume["spec"]
    notes = {**decide.annotations_of(volume), decide.IDENTITY: to}
    notes.pop(decide.LOST, None)
    term = {"key": HOSTNAME, "operator": "In", "values": [hostname]}
    source = {**spec["flexVolume"], "options": {**spec["flexVolume"]["options"], "poolId": pool_id}}
    claim = {
        key: value
        for key, value in (spec.get("claimRef") or {}).items()
        if key != "resourceVersion"
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": metadata["name"],
            "labels": metadata.get("labels") or {},
            "annotations": notes,
        },
        "spec": {
            **spec,
            "persistentVolumeReclaimPolicy": "Retain",
            "flexVolume": source,
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
            **({"claimRef": claim} if claim else {}),
        },
    }
