"""Moves a volume that no pod uses to another node, or all volumes of a node elsewhere: a drain.

Where the volume's disk is in the other node already, because it was carried there or because the
node has another name now, nothing is copied, and the claims are kept all the same.

What was killed goes on when the same command is run again. `--to` the node that the volume is on
takes back a move that is not done."""

# A move is written down in a ConfigMap first: from where to where, and the PV that is to be. Its
# steps, of which each may find itself done:
#
# 1. The PV says Retain from now on, so that no instance deletes anything, whatever goes.
# 2. The old copy is exported, under its lock, and imported on the other node. Before the first byte
#    the old copy's record says where it goes, and from then on it mounts for no one: nothing can be
#    written that is left behind. The new copy appears when its checksum is right; it has the move's
#    id, by which the command knows it when run again.
# 3. A PV's affinity cannot be changed, so the PV is deleted and made again under its name: now it
#    is the other node's. When the claim is bound to it, it says again what it said of its storage
#    at the end.
# 4. The old copy is deleted, if its record says that it is one of this move; then the ConfigMap.
#
# A volume that was carried has one copy, which the other node lists in the PV's very pool, by its
# id. Then steps 2 and 4 are left out: nothing is copied, and above all nothing is deleted. The old
# node must be gone, or off, or show that the pool is not there: else the disk may be a copy.
#
# The nodes' instances touch neither copy meanwhile: a PV that says Retain is not deleted by them, a
# PV of another identity is not theirs, and a volume whose claim exists, or that is not blank, is
# not collected as an orphan.

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from cluster.controller import cluster, decide, lost, secrets, volume_manifest
from cluster.controller.events import Events
from cluster.controller.inventory import pools_away
from cluster.controller.objects import Volume
from cluster.controller.storage import PLUGIN_DIRECTORY, Listed, executable
from cluster.kubectl import by_provisioner, claims, inventory, nodes
from shared import protocol
from shared.options import AWAITED
from shared.table import human_bytes

Object = dict[str, Any]
LABEL = "flexvol/move"
_SILENCE_SECONDS = 12 * 3600.0  # while a large image's checksum is made
_PIECES = 256  # on their way between two nodes; each is some ten kilobytes
_WAIT_SECONDS, _AGAIN_SECONDS = 90.0, 0.5
_FORGET_SECONDS = 20.0
_EVENTS_SECONDS = 5.0
# The finalizers that come back by themselves: admission puts one on each PV, and we the other.
_OWN_FINALIZERS = ("kubernetes.io/pv-protection", decide.FINALIZER)
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def plan_path(namespace: str, volume: str) -> str:
    """Where the move of that volume is written down, as long as it is not done. namespace: where
    flexvol is installed."""
    return cluster.path_to(_plans_path(namespace), f"move-{volume}")


def _plans_path(namespace: str) -> str:
    return cluster.in_namespace(namespace, "configmaps")


class NotMoved(protocol.Unavailable):
    """The volume is not, or not yet, on the other node."""


def arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "volume", nargs="?", metavar="PV", help="the volume to move, or NAMESPACE/NAME of its claim"
    )
    which.add_argument(
        "--all", action="store_true", help="all PVs of the node given by --from; all else is named"
    )
    parser.add_argument("--from", dest="source", metavar="NODE", help="with --all: where they are")
    parser.add_argument(
        "--to",
        metavar="NODE",
        help="where to; with --all by default where the disk is now, else where most room is",
    )


def run(api: cluster.Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    if settings.all != bool(settings.source) or not (settings.all or settings.to):
        print("say either PV --to NODE, or --all --from NODE", file=sys.stderr)
        return 2
    drivers = by_provisioner({*drivers.values(), *nodes.served(api, settings.namespace)})
    mover = Mover(api, drivers, settings.namespace, _say)
    if not settings.all:
        mover.move(mover.named(settings.volume), settings.to)
        return 0
    names, failed = mover.volumes_of(settings.source), 0
    if not names and not mover.exists(settings.source):
        raise NotMoved(f"there is no node {settings.source}, and no volume names it")
    for name in names:
        try:
            mover.move(name, settings.to or mover.roomiest(name, settings.source))
        except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
            failed += 1
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    print(f"{len(names) - failed} of {len(names)} volumes of node {settings.source} were moved")
    if mover.is_off(settings.source):  # nobody there can be asked
        return 1 if failed else 0
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


def _say(words: str) -> None:
    """Prints the words. A reader who leaves, as head does, ends no move: half moved, the volume
    would mount for no one."""
    try:
        print(words, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


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
        self._moves = _plans_path(namespace)

    def volumes_of(self, node: str) -> list[str]:
        """Those that are on the node, and those whose move from there is not done."""
        volumes = self._api.items(cluster.VOLUMES)
        there = {
            one["metadata"]["name"] for one in volumes if decide.node_of(one, self._drivers) == node
        }
        begun = {_name(plan) for plan in self._plans() if plan["source"] == node}
        return sorted(there | begun)

    def named(self, words: str) -> str:
        """The name of the PV that a person means, by its own name or by NAMESPACE/NAME of its
        claim. A move that was killed may have left only its plan, and no PV."""
        for plan in self._plans() if "/" in words else []:
            if Volume(plan["volume"]).claim.full_name == words:
                return _name(plan)
        return claims.volume_name(self._api, words)

    def roomiest(self, name: str, source: str) -> str:
        """Where its move goes that was begun; else the node that has its disk now; else the node
        whose pool has the most room, and takes pods."""
        plan = self._plan(name)
        if plan is not None:
            return str(plan["to"])
        volume = self._volume(name)
        found = [one for one in nodes.find(self._api, self._namespace).values() if one.name]
        by_key, _ = nodes.list_all(self._api, found, [_driver({"volume": volume})])
        listed = {node: one for (node, _), one in by_key.items()}
        is_there = source in listed and has_volume(volume, listed[source])
        carriers = [node for node in sorted(listed) if has_volume(volume, listed[node])]
        if carriers and not is_there:
            if len(carriers) > 1:
                raise NotMoved(
                    f"{name} is on node {' and on node '.join(carriers)}; name one with --to"
                )
            return carriers[0]
        if self.is_off(source):
            raise NotMoved(
                f"node {source} is gone or off, and no other node has the disk with {name}"
            )
        listed.pop(source, None)
        return self._with_most_room(volume, listed)

    def _with_most_room(self, volume: Object, listed: dict[str, Listed]) -> str:
        """listed: by the names of the nodes that come into question."""
        pool = (volume["spec"]["flexVolume"].get("options") or {}).get("pool")
        rooms = {
            node: one.get("freeBytes", 0)
            for node, (_, pools) in listed.items()
            for one in pools
            if one.get("name") == pool and not one.get("error") and self._takes_pods(node)
        }
        if not rooms:
            raise NotMoved(
                f"no other node that takes pods has a pool {pool}; make one there, or name a "
                "node with --to"
            )
        return max(sorted(rooms), key=lambda node: rooms[node])

    def _takes_pods(self, node: str) -> bool:
        found = self._api.get(cluster.path_to(cluster.NODES, node))
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
                f"{name} is on its way to node {where}; that comes first: kubectl "
                f"flexvol move {name} --to {where}"
            )
        if not self._is_at(plan, to):
            if self._is_at(plan, plan["source"]):
                self._set_policy(plan, "Retain")
            if _is_carried(plan) and not plan["replaces"]:
                self._check_carried(plan["volume"], plan["source"], to)
            elif not _is_carried(plan):
                self._copy(plan)
        plan = self._replace(plan)
        self._tell(plan)
        if not _is_carried(plan):
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

    def _plans(self) -> list[Object]:
        path = cluster.selected(self._moves, labelSelector=LABEL)
        begun = (self._api.get(path) or {"items": []})["items"]
        return [json.loads(one["data"]["move"]) for one in begun]

    def _plan(self, name: str) -> Object | None:
        written = self._api.get(cluster.path_to(self._moves, f"move-{name}"))
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
        self._api.patch(cluster.path_to(self._moves, f"move-{_name(plan)}"), change)
        now = self._plan(_name(plan))
        if now is None or now["id"] != plan["id"]:
            raise NotMoved(
                f"the move of {_name(plan)} was ended by somebody else; see: kubectl flexvol "
                "inventory"
            )
        return now

    def _check_unused(self, volume: Object, source: str) -> None:
        """Raises NotMoved if the volume is being deleted, or a pod uses it. A pod on the node
        `source` uses nothing any more if that node is gone or off."""
        name = volume["metadata"]["name"]
        claim = lost.claim_of(self._api, volume)
        policy = volume["spec"].get("persistentVolumeReclaimPolicy")
        # A node that is gone deletes nothing: its released volumes would wait for it for ever.
        is_released = claim is None and policy == "Delete" and not self.is_off(source)
        if volume["metadata"].get("deletionTimestamp") or is_released:
            raise NotMoved(
                f"{name} is being deleted, or its claim {lost.full_name(volume)} is not bound to it"
            )
        ended = source if self.is_off(source) else ""
        for pod in lost.pods_of(self._api, claim) if claim else []:
            has_ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
            node = pod["spec"].get("nodeName")
            if node and node != ended and not has_ended:
                raise NotMoved(
                    f"{name} is in use by pod {pod['metadata']['name']}; stop it first, or "
                    "drain the node"
                )

    def _begin(self, volume: Object, to: str) -> Object:
        name, spec = volume["metadata"]["name"], volume["spec"]
        source = decide.node_of(volume, self._drivers)
        if not source:
            raise NotMoved(
                f"{name} is on no node: no node's provisioner of "
                f"{', '.join(self._drivers.values())} made it"
            )
        self._check_unused(volume, source)
        if not _is_in_pool(volume):
            raise NotMoved(f"{name} is in no pool; its driver must move it")
        carried = has_volume(volume, self._storage(to).list(_driver({"volume": volume})))
        if carried:
            entry = self._check_carried(volume, source, to)
            pool = {"id": entry["poolId"], "name": entry["pool"]}
        else:
            entry = self._check_whole(volume, source)
            pool = self._room(to, spec["flexVolume"], name, int(entry["sizeBytes"]))
        hostname = nodes.hostname(self._api, to)
        policy = spec.get("persistentVolumeReclaimPolicy")
        plan = {
            "id": uuid.uuid4().hex,
            "source": source,
            "to": to,
            "back": False,
            "replaces": False,
            "carried": carried,
            "policy": policy,
            "hostname": hostname,
            "poolId": pool["id"],
            "volume": manifest(volume, to, hostname, pool["id"], pool["name"]),
        }
        body = {
            "metadata": {"name": f"move-{name}", "labels": {LABEL: ""}},
            "data": {"move": json.dumps(plan)},
        }
        self._api.create(self._moves, body)
        how = ", whose disk is there already" if carried else ""
        self._say(
            f"moves {name}, {human_bytes(entry['sizeBytes'])}, from node {source} to node {to}{how}"
        )
        begun = self._plan(name)
        if begun is None or begun["id"] != plan["id"]:
            raise NotMoved(f"another move of {name} was begun just now")
        return begun

    def _check_whole(self, volume: Object, source: str) -> Object:
        """The volume as its node lists it. Raises NotMoved unless it can be copied."""
        name = volume["metadata"]["name"]
        entry = self._entry({"volume": volume}, source) or {
            "error": "the volume is not in its list"
        }
        if entry.get("error") or not entry.get("owner") or entry.get("state"):
            raise NotMoved(
                f"node {source} does not list {name} as whole: "
                f"{entry.get('error') or entry.get('state')}"
            )
        if entry["owner"].get("uid") == AWAITED:
            raise NotMoved(f"{name} awaits its claim; bind it first")
        return entry

    # A disk that is in another node than its PVs say.

    def exists(self, node: str) -> bool:
        return lost.node_exists(self._api.get, node)

    def is_off(self, node: str) -> bool:
        return is_off(self._api.get(cluster.path_to(cluster.NODES, node)))

    def _check_carried(self, volume: Object, source: str, to: str) -> Object:
        """The volume as the node that has its disk now lists it. Raises NotMoved unless its disk is
        there, and is not on the node `source` too."""
        name, options = volume["metadata"]["name"], volume["spec"]["flexVolume"]["options"]
        listed = self._storage(to).list(_driver({"volume": volume}))
        if not has_volume(volume, listed):
            raise NotMoved(f"node {to} does not list {name} in pool {options['pool']} any more")
        entry = next(one for one in listed.volumes if one.get("name") == name)
        if entry.get("error") or entry.get("state"):
            wrong = entry.get("error") or entry.get("state")
            raise NotMoved(f"node {to} does not list {name} as whole: {wrong}")
        if self.is_off(source):
            return entry
        try:
            there = self._storage(source).list(_driver({"volume": volume}))
        except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
            raise NotMoved(
                f"node {to} has the disk with {name}, and node {source} does not tell whether it "
                f"still has it, too ({error}). If that node is off for good, or has another name "
                "now, say so, and run this again: "
                f"kubectl taint node {source} {_OUT_OF_SERVICE}=nodeshutdown:NoExecute"
            ) from None
        if has_pool(volume, there):
            raise NotMoved(
                f"node {source} and node {to} both have a pool with the id {options['poolId']}: "
                "they share its disk, or one is a copy of the other; nothing is changed"
            )
        return entry

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
            path = cluster.path_to(cluster.VOLUMES, _name(plan))
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
            # Its input stays open as long as we are there.
            self._run(node, driver, words, iter(()), pieces.put)
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
        path = cluster.path_to(cluster.VOLUMES, name)
        volume = self._api.get(path)
        if volume is not None and decide.node_of(volume, self._drivers) == plan["source"]:
            # Anew, as its claim may have grown meanwhile.
            pool_name = plan["volume"]["spec"]["flexVolume"]["options"]["pool"]
            now = manifest(volume, plan["to"], plan["hostname"], plan["poolId"], pool_name)
            # From here on nobody takes the move back.
            plan = self._rewrite(plan, volume=now, replaces=True)
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
                f"its claim {lost.full_name(volume)} is gone, so {name} says Retain now; to delete "
                f"the volume, too: kubectl flexvol delete {name}"
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

    def _tell(self, plan: Object) -> None:
        """Says on the claim and its PV where the volume is. kube-controller-manager has just said
        that the claim lost its PV, and that "Data on the volume is lost!"."""
        name = _name(plan)
        volume = self._volume(name)
        claim = lost.claim_of(self._api, volume)
        sentence = (
            f"the volume {name} is on node {plan['to']} now, with all its data; before, it was on "
            f"node {plan['source']}. For that its PV was made anew. No data was lost, whatever the "
            "event ClaimLost says"
        )
        events = Events(self._api, "flexvol-move")
        for about in [volume, *([claim] if claim else [])]:
            events.normal(about, "VolumeMoved", sentence)
        events.close(_EVENTS_SECONDS)

    def _delete_old(self, plan: Object) -> None:
        name, node = _name(plan), plan["source"]
        if self._api.get(cluster.path_to(cluster.NODES, node)) is None:
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
        self._api.delete(
            cluster.path_to(self._moves, f"move-{_name(plan)}"), plan["written"]["uid"]
        )

    def _take_back(self, plan: Object) -> None:
        """The old copy is the volume again, and what is on the other node goes."""
        name, source, to = _name(plan), plan["source"], plan["to"]
        if plan["replaces"]:
            raise NotMoved(
                f"{name} is as good as on node {to}; end its move, and then move it back"
            )
        if _is_carried(plan):  # there is one copy, and nothing to be undone
            if self._is_at(plan, source):
                self._set_policy(plan, plan["policy"])
            self._end(plan)
            self._say(f"the PV {name} stays node {source}'s")
            return
        # First, so that what is on the other node is never taken for the volume again.
        plan = self._rewrite(plan, back=True)
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
        if here is None and self._api.get(cluster.path_to(cluster.VOLUMES, name)) is None:
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
        volume = self._api.get(cluster.path_to(cluster.VOLUMES, name))
        if volume is None:
            raise NotMoved(f"there is no PV {name}")
        return volume

    def _is_at(self, plan: Object, node: str) -> bool:
        volume = self._api.get(cluster.path_to(cluster.VOLUMES, _name(plan)))
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


def _is_carried(plan: Object) -> bool:
    """A plan that an older flexvol wrote down is about a copy."""
    return bool(plan.get("carried"))


def is_off(node: Object | None) -> bool:
    """Whether nothing runs on the node any more, as far as a person has said so: its Node object is
    gone, or says that the node is out of service, and its kubelet is silent."""
    if node is None:
        return True
    taints = [one.get("key") for one in node["spec"].get("taints") or []]
    conditions = node.get("status", {}).get("conditions") or []
    is_ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return _OUT_OF_SERVICE in taints and not is_ready


def has_pool(volume: Object, listed: Listed) -> bool:
    """Whether a node, which lists that, has the very pool that the PV means: by its id, as pools of
    one name are on every node."""
    pool_id = (volume["spec"]["flexVolume"].get("options") or {}).get("poolId")
    return bool(pool_id) and any(
        pool.get("id") == pool_id and not pool.get("error") for pool in listed.pools
    )


def has_volume(volume: Object, listed: Listed) -> bool:
    """Whether the node lists the volume in that pool. A node that is a clone of another has a pool
    of the same id, and volumes of its own in it."""
    return has_pool(volume, listed) and any(
        one.get("name") == volume["metadata"]["name"]
        and one.get("poolId") == volume["spec"]["flexVolume"]["options"]["poolId"]
        for one in listed.volumes
    )


def manifest(volume: Object, to: str, hostname: str, pool_id: str, pool_name: str = "") -> Object:
    """The same PV, on the other node. It says Retain until its claim is bound to it. What others
    have put on it is put back: finalizers, too, with which the old PV could not go. pool_name: the
    pool's name on the other node, if it has another one there."""
    metadata, spec = volume["metadata"], volume["spec"]
    notes = {**decide.annotations_of(volume), decide.IDENTITY: to}
    notes.pop(decide.LOST, None)
    options = {**spec["flexVolume"]["options"], "poolId": pool_id}
    if pool_name:
        options["pool"] = pool_name
    source = {**spec["flexVolume"], "options": options}
    claim = {
        key: value
        for key, value in (spec.get("claimRef") or {}).items()
        if key != "resourceVersion"
    }
    finalizers = metadata.get("finalizers") or []
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": metadata["name"],
            "labels": metadata.get("labels") or {},
            "annotations": notes,
            "finalizers": [one for one in finalizers if one not in _OWN_FINALIZERS],
            "ownerReferences": metadata.get("ownerReferences") or [],
        },
        "spec": {
            **spec,
            "persistentVolumeReclaimPolicy": "Retain",
            "flexVolume": source,
            "nodeAffinity": volume_manifest.node_affinity(hostname),
            **({"claimRef": claim} if claim else {}),
        },
    }
