"""Which nodes have room for a claim, and why none of them takes the claim."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from cluster.controller import decide, pool_rooms
from cluster.controller.objects import Pod
from cluster.kubectl.explain import scheduling
from cluster.kubectl.explain.findings import Finding, note, problem
from cluster.kubectl.explain.scene import EXCLUDED, Scene, WaitingClaim
from cluster.kubectl.explain.wording import NAMED, have, nodes_named
from cluster.kubectl.nodes import pods_serving
from shared import options
from shared.table import human_bytes

Object = dict[str, Any]

FITS = "fits"
SMALL = "small"
ABSENT = "absent"  # the node has no pool of that name
CORDONED = "cordoned"
AWAY = "away"
CLOSED = "closed"  # the pool is there and takes no volume
SILENT = "silent"  # the node did not answer


class Room(NamedTuple):
    """What a node's pool has for a claim.

    state: one of FITS to SILENT.
    free_bytes: for the largest volume.
    why: the driver's words, or the names of the pools that the node has instead."""

    node: str
    state: str
    free_bytes: int = 0
    why: str = ""


def rooms_for(waiting: WaitingClaim, scene: Scene) -> list[Room]:
    """What each node that was asked has for the claim."""
    driver = scene.driver_of(waiting.storage_class)
    rooms = []
    for node in sorted(scene.flexvol_nodes):
        if not node or not scene.serves(node, driver):
            continue
        room = room_on(node, waiting, scene)
        if room is not None:
            rooms.append(room)
    return rooms


def room_on(node: str, waiting: WaitingClaim, scene: Scene) -> Room | None:
    """None if the node was not asked, or its driver has no pools."""
    driver = scene.driver_of(waiting.storage_class)
    if (node, driver) in scene.silent:
        return _published_room(node, driver, waiting, scene)
    listed = scene.listed.get((node, driver))
    if listed is None or not listed.pools:
        return None
    name = pool_rooms.pool_name(waiting.storage_class.parameters, listed.pools)
    for pool in listed.pools:
        if pool.get("name") == name:
            return _room_in(pool, node, waiting)
    names = [str(pool.get("name")) for pool in listed.pools]
    return Room(node, ABSENT, why=", ".join(names))


def _published_room(
    node: str,
    driver: str,
    waiting: WaitingClaim,
    scene: Scene,
) -> Room:
    """The room that a silent node published last, which is as good as an answer if it suffices."""
    by_hostname = scene.published.get(waiting.claim.class_name, {})
    free_bytes = by_hostname.get(scene.hostname(node), 0)
    is_enough = free_bytes >= waiting.claim.requested_bytes
    has_trouble = bool(scene.flexvol_nodes[node].pod_of(driver).trouble)
    state = FITS if is_enough and not has_trouble else SILENT
    return Room(node, state, free_bytes, scene.silent[node, driver])


def _room_in(pool: Object, node: str, waiting: WaitingClaim) -> Room:
    if pool.get("error"):
        return Room(node, AWAY, why=str(pool["error"]))
    if pool.get("cordoned"):
        return Room(node, CORDONED)
    if pool.get("noRoom"):
        return Room(node, CLOSED, why=str(pool["noRoom"]))
    free_bytes = pool_rooms.largest_volume(waiting.storage_class.parameters, pool)
    state = FITS if free_bytes >= waiting.claim.requested_bytes else SMALL
    return Room(node, state, free_bytes)


def _in_state(rooms: Iterable[Room], state: str) -> list[Room]:
    return [room for room in rooms if room.state == state]


def nodes_that_fit(waiting: WaitingClaim, scene: Scene) -> set[str]:
    """The names of the nodes with room for the claim."""
    return {room.node for room in _in_state(rooms_for(waiting, scene), FITS)}


def on_rooms(
    waiting: WaitingClaim,
    scene: Scene,
    pods: Collection[Pod] = (),
) -> list[Finding]:
    """What the nodes have for a claim for which no node is chosen; wrong if no node can take the
    claim. pods: those that use the claim."""
    rooms = rooms_for(waiting, scene)
    notes = _on_known_rooms(rooms)
    allowed = _allowed_nodes(waiting, scene)
    if not allowed:
        return [problem(decide.NO_NODE_ALLOWED), *notes]
    usable = [room for room in rooms if room.node in allowed]
    obstacles = {
        room.node: _obstacle_on_fitting(room.node, waiting, scene, pods)
        for room in _in_state(usable, FITS)
    }
    if "" in obstacles.values():
        return notes
    sentences = [
        *_on_fitting(obstacles),
        *_on_small(usable, waiting),
        *_on_absent(usable, waiting),
        *_on_cordoned(usable, waiting),
        *_on_closed(usable, waiting),
        *_on_silent(usable),
        *_on_nodes_without_flexvol(allowed, waiting, scene),
    ]
    return [*map(problem, sentences), *notes]


def _allowed_nodes(waiting: WaitingClaim, scene: Scene) -> list[str]:
    return [
        node for node in scene.nodes if decide.is_allowed(waiting.storage_class, scene.labels(node))
    ]


def _on_known_rooms(rooms: list[Room]) -> list[Finding]:
    """ "a 8 GiB, b 1 GiB"; of many nodes those with the most room."""
    known = [room for room in rooms if room.state in (FITS, SMALL)]
    if not known:
        return []
    first = known
    if len(known) > NAMED:
        first = sorted(known, key=lambda room: -room.free_bytes)[:NAMED]
    each = ", ".join(f"{room.node} {human_bytes(room.free_bytes)}" for room in first)
    rest = len(known) - len(first)
    if rest:
        each += f", and {rest} more nodes with no more"
    return [note(f"room for its class: {each}")]


def _obstacle_on_fitting(
    node: str,
    waiting: WaitingClaim,
    scene: Scene,
    pods: Collection[Pod],
) -> str:
    """Why no volume is made on a node with room, as the end of a sentence about the node; empty if
    a volume is made there. Of the pods that wait, one that can go there is enough."""
    why_down = scene.why_down(node)
    if why_down or not waiting.storage_class.is_late:
        return why_down
    unplaced = [pod for pod in pods if not pod.node_name]
    tolerated = any(scheduling.tolerates(pod, scheduling.UNSCHEDULABLE) for pod in unplaced)
    if scene.is_cordoned(node) and not tolerated:
        return "is cordoned; undone by: kubectl uncordon NODE"
    refusals = [scheduling.refusal(pod, scene.nodes[node]) for pod in unplaced]
    if not refusals or "" in refusals:
        return ""
    return refusals[0]


def _on_fitting(obstacles: dict[str, str]) -> list[str]:
    """Nodes with room where no volume is made. obstacles: by node."""
    nodes_by_obstacle: dict[str, list[str]] = {}
    for node, obstacle in obstacles.items():
        nodes_by_obstacle.setdefault(obstacle, []).append(node)
    sentences = []
    for obstacle, nodes in nodes_by_obstacle.items():
        each = "each " if len(nodes) > 1 else ""
        sentences.append(f"{nodes_named(nodes)} {have(nodes)} room for it, but {each}{obstacle}")
    return sentences[:NAMED]


def _on_small(rooms: list[Room], waiting: WaitingClaim) -> list[str]:
    small = _in_state(rooms, SMALL)
    if not small or _in_state(rooms, FITS):
        return []
    roomiest = max(small, key=lambda room: room.free_bytes)
    return [decide.no_room(waiting.claim.requested_bytes, roomiest.free_bytes, roomiest.node)]


def _on_absent(rooms: list[Room], waiting: WaitingClaim) -> list[str]:
    absent = _in_state(rooms, ABSENT)
    if not absent:
        return []
    if len(absent) < len(rooms):
        nodes = [room.node for room in absent]
        return [
            f"{nodes_named(nodes)} {have(nodes)} no {waiting.pool}, which its "
            "storage class asks for"
        ]
    known = {name for room in absent for name in room.why.split(", ")}
    class_name = waiting.storage_class.name
    return [
        f"no node has the {waiting.pool} that its storage class {class_name} "
        f"asks for; pools there are: {', '.join(sorted(known))}; "
        f"{options.class_advice(class_name)}"
    ]


def _on_cordoned(rooms: list[Room], waiting: WaitingClaim) -> list[str]:
    cordoned = [room.node for room in _in_state(rooms, CORDONED)]
    if not cordoned:
        return []
    return [
        f"{waiting.pool} is cordoned on {nodes_named(cordoned)}, so it takes no "
        "new volumes there; undone on the node by: loop pool uncordon "
        f"{waiting.pool_name}"
    ]


def _on_closed(rooms: list[Room], waiting: WaitingClaim) -> list[str]:
    """Pools that are away, or that take nothing."""
    sentences = []
    for state, words in ((AWAY, "is away"), (CLOSED, "takes nothing")):
        closed = _in_state(rooms, state)
        if closed:
            nodes = nodes_named([room.node for room in closed])
            sentences.append(f"{waiting.pool} {words} on {nodes}: {closed[0].why}")
    return sentences


def _on_silent(rooms: list[Room]) -> list[str]:
    sentences = [room.why for room in _in_state(rooms, SILENT)]
    rest = len(sentences) - NAMED
    if rest > 0:
        return [*sentences[:NAMED], f"{rest} more nodes did not answer"]
    return sentences


def _on_nodes_without_flexvol(
    allowed: list[str],
    waiting: WaitingClaim,
    scene: Scene,
) -> list[str]:
    driver = scene.driver_of(waiting.storage_class)
    without = [
        node for node in allowed if not scene.serves(node, driver) and scene.can_have_flexvol(node)
    ]
    excluded = [node for node in without if scene.is_excluded(node)]
    lacking = [node for node in without if not scene.is_excluded(node)]
    sentences = []
    if lacking:
        sentences.append(
            f"no pod of flexvol that serves {driver} is on "
            f"{nodes_named(lacking)}; see: {pods_serving(driver)}"
        )
    if excluded:
        sentences.append(
            f"{nodes_named(excluded)} {have(excluded)} the label {EXCLUDED}, so "
            "flexvol is not there; undone by: kubectl label node NODE "
            f"{EXCLUDED}-"
        )
    return sentences


def obstacle_on(node: str, waiting: WaitingClaim, scene: Scene) -> str:
    """Why the claim's volume cannot be made on that node; empty if it can, or if that is not
    known."""
    if not decide.is_allowed(waiting.storage_class, scene.labels(node)):
        name = waiting.claim.class_name
        return f"allowedTopologies of its storage class {name} leave that node out"
    driver = scene.driver_of(waiting.storage_class)
    if not scene.serves(node, driver):
        return why_unserved(node, driver, scene)
    room = room_on(node, waiting, scene)
    if room is None:
        return ""
    return _obstacle_in(room, waiting)


def _obstacle_in(room: Room, waiting: WaitingClaim) -> str:
    pool = waiting.pool
    if room.state == FITS:
        return ""
    if room.state == SMALL:
        return (
            f"{pool} has room for {human_bytes(room.free_bytes)} there, and "
            f"{human_bytes(waiting.claim.requested_bytes)} are asked for"
        )
    if room.state == ABSENT:
        return f"that node has no {pool} (it has: {room.why})"
    if room.state == CORDONED:
        return f"{pool} is cordoned there, so it takes no new volumes"
    if room.state == SILENT:
        return room.why
    return f"{pool} takes nothing there: {room.why}"


def why_unserved(node: str, driver: str, scene: Scene) -> str:
    """The end of a sentence about a node without a pod of flexvol that serves the driver."""
    if scene.is_excluded(node):
        return (
            f"that node has the label {EXCLUDED}, so flexvol is not there "
            f"(undone by: kubectl label node {node} {EXCLUDED}-)"
        )
    return f"no pod of flexvol that serves {driver} is on that node"
