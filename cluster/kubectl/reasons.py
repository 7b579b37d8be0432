"""Why a claim waits, or a pod that uses it, and whether somebody must act: sentences from what the
cluster and its nodes have.

Everything here is a plain function over objects that explain.py has read. A sentence names the
node, pool, claim or pod that it is about, and ends with what to do where a person must act."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from cluster.controller import capacity, decide, lost, quantities
from cluster.controller.storage import Listed
from cluster.kubectl import scheduling
from cluster.kubectl.nodes import BEGINNING, Key, Node
from shared import options, protocol
from shared.table import human_bytes

Object = dict[str, Any]
_DEFAULT_SCHEDULER = "default-scheduler"
_NAMED = 5  # how many nodes a sentence names
_EXCLUDED = "flexvol/exclude"  # on a node that is to have no flexvol; see deploy/node.yaml

FITS, SMALL, ABSENT, CORDONED, AWAY, CLOSED, SILENT = (
    "fits",
    "small",
    "absent",
    "cordoned",
    "away",
    "closed",
    "silent",
)


class Finding(NamedTuple):
    """A sentence, and whether it tells of something that somebody must act on."""

    sentence: str
    is_wrong: bool


class Scene(NamedTuple):
    """What there is beside the claim that is asked about.

    drivers: by provisioner. claims: of its namespace, by name. volumes: PVs, and classes, and
    nodes, by name. ours: the pods of flexvol by node. listed, silent: as nodes.list_all returns
    them. published: what the scheduler counts on, by class: bytes by hostname."""

    drivers: dict[str, str]
    claims: dict[str, Object]
    volumes: dict[str, Object]
    classes: dict[str, Object]
    nodes: dict[str, Object]
    ours: dict[str, Node]
    listed: dict[Key, Listed]
    silent: dict[Key, str]
    published: dict[str, dict[str, int]]


class Room(NamedTuple):
    """What a node's pool has for a claim. kind: one of FITS to SILENT. free: bytes for one volume.
    why: its driver's words, or the pools that the node has instead."""

    node: str
    kind: str
    free: int = 0
    why: str = ""


def asked_bytes(claim: Object) -> int:
    return quantities.size_bytes(claim["spec"]["resources"]["requests"]["storage"])


# Nodes and the room they have.


def rooms(claim: Object, storage_class: Object, scene: Scene) -> list[Room]:
    """What each node that was asked has for the claim."""
    driver = scene.drivers.get(storage_class["provisioner"], "")
    found = []
    for name, node in sorted(scene.ours.items()):
        if not name or driver not in node.drivers:
            continue
        room = _room(name, driver, claim, storage_class, scene)
        if room is not None:
            found.append(room)
    return found


def _room(
    node: str, driver: str, claim: Object, storage_class: Object, scene: Scene
) -> Room | None:
    """None if the node was not asked, or its driver has no pools."""
    asked = asked_bytes(claim)
    if (node, driver) in scene.silent:
        of_class = scene.published.get(decide.class_name_of(claim), {})
        free = of_class.get(_hostname(node, scene), 0)
        # What was published last is as good as an answer, if it is enough.
        kind = FITS if free >= asked and not scene.ours[node].trouble else SILENT
        return Room(node, kind, free, scene.silent[node, driver])
    listed = scene.listed.get((node, driver))
    if listed is None or not listed.pools:
        return None
    name = capacity.pool_name(storage_class.get("parameters") or {}, listed.pools)
    pool = next((one for one in listed.pools if one.get("name") == name), None)
    if pool is None:
        return Room(node, ABSENT, why=", ".join(str(one.get("name")) for one in listed.pools))
    if pool.get("error"):
        return Room(node, AWAY, why=str(pool["error"]))
    if pool.get("cordoned"):
        return Room(node, CORDONED)
    if pool.get("noRoom"):
        return Room(node, CLOSED, why=str(pool["noRoom"]))
    free = capacity.largest_volume(storage_class.get("parameters") or {}, pool)
    return Room(node, FITS if free >= asked else SMALL, free)


def _integer(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _hostname(node: str, scene: Scene) -> str:
    return str(_labels(node, scene).get(decide.HOSTNAME, node))


def pool_of_class(storage_class: Object) -> str:
    """As it is named in a sentence."""
    name = (storage_class.get("parameters") or {}).get("pool") or "default"
    return f"pool {name if protocol.is_name(name) else protocol.shown(name)}"


def on_rooms(
    claim: Object, storage_class: Object, scene: Scene, pods: Collection[Object] = ()
) -> list[Finding]:
    """What the nodes have for a claim for which none is chosen; wrong if no node can take it.
    pods: those that use the claim."""
    found = rooms(claim, storage_class, scene)
    told = _room_there_is([room for room in found if room.kind in (FITS, SMALL)])
    findings = [Finding(f"room for its class: {told}", False)] if told else []
    allowed = [
        name
        for name, node in scene.nodes.items()
        if decide.is_allowed(storage_class, node["metadata"].get("labels") or {})
    ]
    if not allowed:
        return [Finding(decide.NO_NODE_ALLOWED, True), *findings]
    usable = [room for room in found if room.node in allowed]
    waiting = [pod for pod in pods if not pod["spec"].get("nodeName")]
    is_late = decide.is_late(storage_class)
    closed = {
        room.node: _why_closed(room.node, waiting, scene)
        if is_late
        else _why_down(room.node, scene)
        for room in _of_kind(usable, FITS)
    }
    if "" in closed.values():
        return findings
    obstacles = [
        *_on_fitting(closed),
        *_on_small(usable, claim),
        *_on_absent(usable, storage_class),
        *_on_closed(usable, storage_class),
        *_on_silent(usable),
        *_on_no_pods(allowed, storage_class, scene),
    ]
    return [*(Finding(sentence, True) for sentence in obstacles), *findings]


def _room_there_is(known: list[Room]) -> str:
    """ "a 8 GiB, b 1 GiB"; of many nodes those with the most room."""
    most = known
    if len(known) > _NAMED:
        most = sorted(known, key=lambda room: -room.free)[:_NAMED]
    told = ", ".join(f"{room.node} {human_bytes(room.free)}" for room in most)
    rest = len(known) - len(most)
    return f"{told}, and {rest} more nodes with no more" if rest else told


def _is_cordoned(node: str, scene: Scene) -> bool:
    spec = scene.nodes.get(node, {}).get("spec") or {}
    return bool(spec.get("unschedulable"))


def _names(nodes: Collection[str]) -> str:
    """ "node a", "nodes a, b", "nodes a, b, c, d, e and 12 more"."""
    first = sorted(nodes)[:_NAMED]
    rest = len(nodes) - len(first)
    more = f" and {rest} more" if rest else ""
    return f"node{'s' if len(nodes) > 1 else ''} {', '.join(first)}{more}"


def _of_kind(found: Iterable[Room], kind: str) -> list[Room]:
    return [room for room in found if room.kind == kind]


def _why_closed(node: str, pods: list[Object], scene: Scene) -> str:
    """Why no volume of a class that waits for pods is made on a node with room, as the end of a
    sentence about the node; empty if one is. pods: those that wait; one that can go there is
    enough."""
    why_down = _why_down(node, scene)
    if why_down:
        return why_down
    goes = any(scheduling.tolerates(pod, scheduling.UNSCHEDULABLE) for pod in pods)
    if _is_cordoned(node, scene) and not goes:
        return "is cordoned; undone by: kubectl uncordon NODE"
    refusals = [scheduling.refusal(pod, scene.nodes[node]) for pod in pods]
    return "" if not refusals or "" in refusals else refusals[0]


def _on_fitting(closed: dict[str, str]) -> list[str]:
    """Nodes with room where nothing is made. closed: why, by node."""
    nodes_by_why: dict[str, list[str]] = {}
    for node, why in closed.items():
        nodes_by_why.setdefault(why, []).append(node)
    sentences = [
        f"{_names(nodes)} {_has(nodes)} room for it, but {'each ' if len(nodes) > 1 else ''}{why}"
        for why, nodes in nodes_by_why.items()
    ]
    return sentences[:_NAMED]


def _on_small(found: list[Room], claim: Object) -> list[str]:
    small = _of_kind(found, SMALL)
    if not small or _of_kind(found, FITS):
        return []
    most = max(small, key=lambda room: room.free)
    return [decide.no_room(asked_bytes(claim), most.free, most.node)]


def _on_absent(found: list[Room], storage_class: Object) -> list[str]:
    absent = _of_kind(found, ABSENT)
    if not absent:
        return []
    nodes = [room.node for room in absent]
    pool, class_name = pool_of_class(storage_class), storage_class["metadata"]["name"]
    there = sorted({name for room in absent for name in room.why.split(", ")})
    if len(absent) < len(found):
        return [f"{_names(nodes)} {_has(nodes)} no {pool}, which its storage class asks for"]
    return [
        f"no node has the {pool} that its storage class {class_name} asks for; pools there are: "
        f"{', '.join(there)}; {options.class_advice(class_name)}"
    ]


def _on_closed(found: list[Room], storage_class: Object) -> list[str]:
    """Pools that are there and take nothing."""
    pool = pool_of_class(storage_class)
    sentences = []
    cordoned = [room.node for room in _of_kind(found, CORDONED)]
    if cordoned:
        name = (storage_class.get("parameters") or {}).get("pool") or "default"
        sentences.append(
            f"{pool} is cordoned on {_names(cordoned)}, so it takes no new volumes there; undone "
            f"on the node by: loop pool uncordon {name}"
        )
    for kind, state in ((AWAY, "is away"), (CLOSED, "takes nothing")):
        closed = _of_kind(found, kind)
        if len(closed) == 1:
            sentences.append(f"{pool} {state} on node {closed[0].node}: {closed[0].why}")
        elif closed:
            nodes = [room.node for room in closed]
            sentences.append(f"{pool} {state} on {_names(nodes)}: {closed[0].why}")
    return sentences


def _on_silent(found: list[Room]) -> list[str]:
    sentences = [room.why for room in _of_kind(found, SILENT)]
    more = len(sentences) - _NAMED
    return [*sentences[:_NAMED], f"{more} more nodes did not answer"] if more > 0 else sentences


def _on_no_pods(allowed: list[str], storage_class: Object, scene: Scene) -> list[str]:
    """Nodes that have no pod of flexvol for the class."""
    driver = scene.drivers.get(storage_class["provisioner"], "")
    without = [
        name
        for name in allowed
        if not _serves(name, driver, scene) and _can_have_flexvol(name, scene)
    ]
    excluded = [name for name in without if _is_excluded(name, scene)]
    lacking = [name for name in without if name not in excluded]
    sentences = []
    if lacking:
        sentences.append(
            f"no pod of flexvol that serves {driver} is on {_names(lacking)}; see: kubectl get "
            "pods -A -o wide -l app=flexvol-node"
        )
    if excluded:
        sentences.append(
            f"{_names(excluded)} {_has(excluded)} the label {_EXCLUDED}, so flexvol is not there; "
            f"undone by: kubectl label node NODE {_EXCLUDED}-"
        )
    return sentences


def _serves(node: str, driver: str, scene: Scene) -> bool:
    """Whether a pod of flexvol that serves the driver is on the node."""
    return node in scene.ours and driver in scene.ours[node].drivers


def _labels(node: str, scene: Scene) -> dict[str, str]:
    return scene.nodes.get(node, {"metadata": {}})["metadata"].get("labels") or {}


def _is_excluded(node: str, scene: Scene) -> bool:
    return _EXCLUDED in _labels(node, scene)


def _can_have_flexvol(node: str, scene: Scene) -> bool:
    """Whether it is a node with a kubelet and a disk, as deploy/node.yaml tells them."""
    labels = _labels(node, scene)
    is_virtual = labels.get("type") == "virtual-kubelet"
    is_virtual |= labels.get("eks.amazonaws.com/compute-type") == "fargate"
    return not is_virtual and labels.get("kubernetes.io/os", "linux") == "linux"


def _has(nodes: Collection[str]) -> str:
    return "have" if len(nodes) > 1 else "has"


def _is(nodes: Collection[str]) -> str:
    return "are" if len(nodes) > 1 else "is"


def obstacle_on(node: str, claim: Object, storage_class: Object, scene: Scene) -> str:
    """Why the claim's volume cannot be made on that node; empty if it can, or if that is not
    known."""
    name = decide.class_name_of(claim)
    if not decide.is_allowed(storage_class, _labels(node, scene)):
        return f"allowedTopologies of its storage class {name} leave that node out"
    driver = scene.drivers.get(storage_class["provisioner"], "")
    if not _serves(node, driver, scene):
        return _why_unserved(node, driver, scene)
    room = _room(node, driver, claim, storage_class, scene)
    if room is None or room.kind == FITS:
        return ""
    pool = pool_of_class(storage_class)
    if room.kind == SMALL:
        return (
            f"{pool} has room for {human_bytes(room.free)} there, and "
            f"{human_bytes(asked_bytes(claim))} are asked for"
        )
    if room.kind == ABSENT:
        return f"that node has no {pool} (it has: {room.why})"
    if room.kind == CORDONED:
        return f"{pool} is cordoned there, so it takes no new volumes"
    if room.kind == SILENT:
        return room.why
    return f"{pool} takes nothing there: {room.why}"


def _why_unserved(node: str, driver: str, scene: Scene) -> str:
    """The end of a sentence about a node without a pod of flexvol that serves the driver."""
    if _is_excluded(node, scene):
        return (
            f"that node has the label {_EXCLUDED}, so flexvol is not there (undone by: kubectl "
            f"label node {node} {_EXCLUDED}-)"
        )
    return f"no pod of flexvol that serves {driver} is on that node"


# Pods.


class Tie(NamedTuple):
    """A claim of a pod that lets the pod run on one node only. volume: its PV, if it has one."""

    claim: str
    node: str
    volume: str = ""


def on_pod(pod: Object, scene: Scene, warning: str = "") -> list[Finding]:
    """Why a pod does not run; nothing if it does. warning: what kubelet, or the controller of
    ephemeral volumes, said of it last."""
    spec = pod["spec"]
    if pod["metadata"].get("deletionTimestamp"):
        return [_on_deleted_pod(pod, scene)]
    if is_running(pod):
        return _on_running_pod(pod, scene)
    findings = [
        *_on_missing_claims(pod, scene, warning),
        *_on_foreign_claims(pod, scene),
        *_on_hopeless_claims(pod, scene),
    ]
    if spec.get("nodeName"):
        return [*findings, *_on_its_node(pod, scene, warning)]
    return [*findings, *_on_ties(pod, scene), *_on_scheduling(pod, scene)]


def _on_deleted_pod(pod: Object, scene: Scene) -> Finding:
    name, node = pod["metadata"]["name"], pod["spec"].get("nodeName") or ""
    why_down = _why_down(node, scene) if node else ""
    if why_down:
        return Finding(f"pod {name} is being deleted, and its node {node} {why_down}", True)
    return Finding(f"pod {name} is being deleted", False)


def _on_running_pod(pod: Object, scene: Scene) -> list[Finding]:
    """Kubelet tells that a pod runs; the last that it told stays where it tells nothing more."""
    node = pod["spec"].get("nodeName") or ""
    why_down = _why_down(node, scene) if node else ""
    if not why_down:
        return []
    sentence = (
        f"pod {pod['metadata']['name']} ran when its node {node} was heard of last, and that node "
        f"{why_down}"
    )
    return [Finding(sentence, True)]


def is_running(pod: Object) -> bool:
    status = pod.get("status") or {}
    return any(
        "running" in (container.get("state") or {})
        for container in status.get("containerStatuses") or []
    )


def _on_missing_claims(pod: Object, scene: Scene, warning: str) -> list[Finding]:
    name = pod["metadata"]["name"]
    findings = []
    for claim_name in lost.claims_of_pod(pod):
        if claim_name in scene.claims:
            continue
        if claim_name in _ephemeral(pod):
            sentence = (
                f"the claim {claim_name} of pod {name} is not there yet; kube-controller-manager "
                "makes it for the pod's ephemeral volume"
            )
            if warning:
                sentence += f", and says: {warning}"
        else:
            sentence = f"pod {name} uses the claim {claim_name}, which does not exist; create it"
        findings.append(Finding(sentence, True))
    return findings


def _ephemeral(pod: Object) -> list[str]:
    """The names of the claims that are made for the pod's own volumes."""
    name = pod["metadata"]["name"]
    volumes = pod["spec"].get("volumes") or []
    return [f"{name}-{volume['name']}" for volume in volumes if "ephemeral" in volume]


def _on_foreign_claims(pod: Object, scene: Scene) -> list[Finding]:
    """Claims that have the name of one for an ephemeral volume of the pod, and were not made for
    it."""
    name, uid = pod["metadata"]["name"], pod["metadata"].get("uid")
    findings = []
    for claim_name in _ephemeral(pod):
        claim = scene.claims.get(claim_name)
        if claim is None:
            continue
        owners = claim["metadata"].get("ownerReferences") or []
        if any(owner.get("uid") == uid for owner in owners):
            continue
        if any(owner.get("kind") == "Pod" and owner.get("name") == name for owner in owners):
            sentence = (
                f"the claim {claim_name} was made for an earlier pod {name}, and goes with it; "
                "kube-controller-manager then makes another one for the pod's ephemeral volume"
            )
            findings.append(Finding(sentence, False))
        else:
            sentence = (
                f"pod {name} needs a claim of the name {claim_name} for its ephemeral volume, and "
                "the claim of that name was not made for this pod; give the pod, or its volume, "
                "another name"
            )
            findings.append(Finding(sentence, True))
    return findings


def _on_hopeless_claims(pod: Object, scene: Scene) -> list[Finding]:
    """Claims of the pod that can never be served as they stand, whichever claim is asked about."""
    findings = []
    for claim_name, claim in _without_volume(pod, scene):
        class_name = decide.class_name_of(claim)
        storage_class = scene.classes.get(class_name)
        is_foreign = storage_class and storage_class["provisioner"] not in scene.drivers
        if not class_name or is_foreign:
            continue
        of_one_node = storage_class is not None and _is_on_one(storage_class, scene)
        problem = decide.problem(as_given(claim, storage_class), storage_class, of_one_node)
        if problem:
            sentence = f"pod {pod['metadata']['name']} also uses the claim {claim_name}: {problem}"
            findings.append(Finding(sentence, True))
    return findings


def as_given(claim: Object, storage_class: Object | None) -> Object:
    """The claim as kube-controller-manager makes it when a node is chosen: what will be decided
    then is told now."""
    if storage_class is None or decide.provisioner_of(claim):
        return claim
    notes = {
        **decide.annotations_of(claim),
        decide.PROVISIONER[0]: storage_class["provisioner"],
    }
    return {**claim, "metadata": {**claim["metadata"], "annotations": notes}}


def _unserved(pod: Object, scene: Scene) -> list[tuple[str, Object, Object]]:
    """The claims of the pod that wait for a volume of flexvol: name, claim and class."""
    found = []
    for claim_name, claim in _without_volume(pod, scene):
        storage_class = scene.classes.get(decide.class_name_of(claim))
        if storage_class is not None and storage_class["provisioner"] in scene.drivers:
            found.append((claim_name, claim, storage_class))
    return found


def _without_volume(pod: Object, scene: Scene) -> list[tuple[str, Object]]:
    """The claims of the pod that have no volume, by name, but for those of a volume populator."""
    every = [(name, scene.claims.get(name)) for name in lost.claims_of_pod(pod)]
    return [
        (name, claim)
        for name, claim in every
        if claim is not None
        and not claim["spec"].get("volumeName")
        and not decide.is_populated(claim)
    ]


def _on_its_node(pod: Object, scene: Scene, warning: str) -> list[Finding]:
    """Of a pod that kubelet has, and does not run."""
    name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
    findings = []
    for tie in _ties(pod, scene):
        if tie.node != node:
            sentence = (
                f"pod {name} is on node {node} (spec.nodeName), and the volume of its claim "
                f"{tie.claim} is on node {tie.node}, so it never starts there; leave nodeName out, "
                "and the scheduler chooses the volume's node"
            )
            findings.append(Finding(sentence, True))
    for claim_name in _unplaced(pod, scene):
        sentence = (
            f"pod {name} names its node {node} itself (spec.nodeName), so no scheduler looks at "
            f"it, and none chooses a node for its claim {claim_name}, whose class waits for that; "
            f"make the pod anew with nodeSelector {{{decide.HOSTNAME}: {_hostname(node, scene)}}} "
            "instead"
        )
        findings.append(Finding(sentence, True))
    why_down = _why_down(node, scene)
    if why_down:
        findings.append(Finding(f"pod {name} is on node {node}, which {why_down}", True))
    if findings:
        return findings
    waiting = _waiting(pod)
    if warning:
        sentence = f"pod {name} is on node {node} and does not run; kubelet says: {warning}"
        return [Finding(sentence, True)]
    if waiting:
        return [Finding(f"pod {name} is on node {node}; its container {waiting}", True)]
    return [Finding(f"pod {name} is being started on node {node}", False)]


def _placed(pod: Object, scene: Scene) -> list[tuple[str, str]]:
    """The claims of the pod whose volume is still to be made, with the node that was chosen."""
    claims = [(name, scene.claims.get(name)) for name in lost.claims_of_pod(pod)]
    chosen = [
        (name, decide.annotations_of(claim).get(decide.SELECTED_NODE, ""))
        for name, claim in claims
        if claim is not None and not claim["spec"].get("volumeName")
    ]
    return [(name, node) for name, node in chosen if node]


def _unplaced(pod: Object, scene: Scene) -> list[str]:
    """The claims of the pod that wait until a node is chosen for them."""
    names = []
    for claim_name in lost.claims_of_pod(pod):
        claim = scene.claims.get(claim_name)
        if claim is None or claim["spec"].get("volumeName"):
            continue
        storage_class = scene.classes.get(decide.class_name_of(claim))
        is_late = storage_class is not None and decide.is_late(storage_class)
        if is_late and not decide.annotations_of(claim).get(decide.SELECTED_NODE):
            names.append(claim_name)
    return names


def _waiting(pod: Object) -> str:
    """What a container of the pod waits for, in kubelet's words."""
    for container in lost.containers_of(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason") or ""
        if reason and reason not in BEGINNING:
            return f"{container['name']} waits: {reason}: {waiting.get('message') or '-'}"
    return ""


def _on_scheduling(pod: Object, scene: Scene) -> list[Finding]:
    """What the scheduler says of a pod without a node."""
    name = pod["metadata"]["name"]
    gates = [str(gate.get("name")) for gate in pod["spec"].get("schedulingGates") or []]
    if gates:
        sentence = (
            f"pod {name} has scheduling gates ({', '.join(gates)}), so no scheduler looks at it "
            "until whoever put them there takes them away"
        )
        return [Finding(sentence, False)]
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            message = condition.get("message") or condition.get("reason") or "nothing"
            sentence = f"pod {name} uses the claim, and the scheduler says: {message}"
            return [Finding(sentence, True)]
    for claim_name, node in _placed(pod, scene):
        # The scheduler says nothing more of the pod until its volumes are there (PreBind).
        sentence = (
            f"pod {name} is to run on node {node} when the volume of its claim {claim_name} is "
            "made there"
        )
        return [Finding(sentence, False)]
    scheduler = pod["spec"].get("schedulerName") or _DEFAULT_SCHEDULER
    sentence = f"pod {name} uses the claim, and its scheduler {scheduler} has not looked at it yet"
    if scheduler == _DEFAULT_SCHEDULER:
        return [Finding(sentence, False)]
    return [Finding(f"{sentence}; see whether a scheduler of that name runs", True)]


def _on_ties(pod: Object, scene: Scene) -> list[Finding]:
    """Why the pod cannot run where its volumes are."""
    ties = _ties(pod, scene)
    by_node = {tie.node: tie for tie in ties}
    if not by_node:
        return _on_together(pod, scene)
    name = pod["metadata"]["name"]
    if len(by_node) > 1:
        places = " and ".join(f"{tie.claim} on node {tie.node}" for tie in by_node.values())
        return [
            Finding(
                f"pod {name} uses the claims {places}, so no node has them all; "
                f"{_by_move(ties, scene)}",
                True,
            )
        ]
    (tie,) = by_node.values()
    obstacle = _obstacle_to_pod(pod, tie.node, scene) or _stale_affinity(tie, scene)
    if not obstacle:
        return _on_other_claims(pod, tie, scene)
    where = "is" if tie.volume else "has to be made"
    sentence = (
        f"pod {name} can only run on node {tie.node}, where the volume of its claim {tie.claim} "
        f"{where}, and that node {obstacle}"
    )
    advice = _other_way(tie, scene)
    finding = Finding("; or ".join(filter(None, (sentence, advice))), True)
    return [finding, *_on_other_claims(pod, tie, scene)]


def _other_way(tie: Tie, scene: Scene) -> str:
    """What to do if nothing can be changed about the node that the volume is on. The volume of a
    node that is gone is told of in words of its own; a copy that is still to be made has none."""
    if not tie.volume or tie.node not in scene.nodes:
        return ""
    if not _why_down(tie.node, scene):
        return _by_move([tie], scene)
    if not _is_ours(scene.volumes.get(tie.volume), scene):
        return ""
    return (
        "if its disk is in another node now, keep the claim: kubectl flexvol move "
        f"{tie.volume} --to NODE"
    )


def _obstacle_to_pod(pod: Object, node: str, scene: Scene) -> str:
    """What keeps the pod from that node, as the end of a sentence about the node; empty if nothing
    does. The pods of DaemonSets go to cordoned nodes too."""
    why_down = _why_down(node, scene)
    if why_down:
        return why_down
    if _is_cordoned(node, scene) and not scheduling.tolerates(pod, scheduling.UNSCHEDULABLE):
        return f"is cordoned (undone by: kubectl uncordon {node})"
    return scheduling.refusal(pod, scene.nodes[node])


def _stale_affinity(tie: Tie, scene: Scene) -> str:
    """That the PV names its node by a label that the node no longer has."""
    volume = scene.volumes.get(tie.volume)
    if volume is None or not _is_ours(volume, scene):
        return ""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if scheduling.selects(required, scene.nodes[tie.node]):
        return ""
    labels = " and ".join(f"{decide.HOSTNAME}={name}" for name in sorted(_hostnames(volume)))
    return (
        f"has the label {decide.HOSTNAME}={_hostname(tie.node, scene)}, and the PV {tie.volume} "
        f"asks for {labels or 'others'}; give the node that label again"
    )


def _by_move(ties: list[Tie], scene: Scene) -> str:
    """The command that takes the volume of one of them elsewhere."""
    ours = [tie.volume for tie in ties if _is_ours(scene.volumes.get(tie.volume), scene)]
    if not ours:
        return "the volume's own driver decides whether it can be moved"
    return f"move the volume while no pod uses it: kubectl flexvol move {ours[0]} --to NODE"


def _is_ours(volume: Object | None, scene: Scene) -> bool:
    return volume is not None and bool(decide.node_of(volume, scene.drivers))


def _on_other_claims(pod: Object, tie: Tie, scene: Scene) -> list[Finding]:
    """The pod's other claims, whose volumes must be made on the same node."""
    name = pod["metadata"]["name"]
    findings = []
    for claim_name, claim, storage_class in _unserved(pod, scene):
        if claim_name == tie.claim or not _is_on_one(storage_class, scene):
            continue
        why = obstacle_on(tie.node, claim, storage_class, scene)
        if why:
            sentence = (
                f"pod {name} uses the claims {tie.claim} and {claim_name}; the first one's volume "
                f"is on node {tie.node}, so the other one's must be made there too, and {why}"
            )
            advice = _by_move([tie], scene) if tie.volume else ""
            findings.append(Finding("; ".join(filter(None, (sentence, advice))), True))
    return findings


def _is_on_one(storage_class: Object, scene: Scene) -> bool:
    """Whether each volume of the class, which is of flexvol, is on one node."""
    return is_of_one_node(scene.drivers[storage_class["provisioner"]], scene.ours)


def _on_together(pod: Object, scene: Scene) -> list[Finding]:
    """Whether a node has room for each of the pod's claims, none of which has a volume so far."""
    nodes_by_claim = {}
    for claim_name, claim, storage_class in _unserved(pod, scene):
        if not decide.is_late(storage_class) or not _is_on_one(storage_class, scene):
            continue
        found = rooms(claim, storage_class, scene)
        fitting = {room.node for room in _of_kind(found, FITS)}
        if fitting:  # else nothing is known of it, or what hinders it is told with that claim
            nodes_by_claim[claim_name] = fitting
    if not nodes_by_claim or set.intersection(*nodes_by_claim.values()):
        return []
    places = "; ".join(f"{name} on {_names(nodes)}" for name, nodes in nodes_by_claim.items())
    sentence = (
        f"pod {pod['metadata']['name']} needs its claims on one node, and no node has room for all "
        f"of them: there is room for {places}"
    )
    return [Finding(sentence, True)]


def is_of_one_node(driver: str, ours: dict[str, Node]) -> bool:
    """Whether each volume of that driver is on one node: no pod of flexvol makes volumes of it that
    all nodes reach."""
    return "" not in ours or driver not in ours[""].drivers


def _ties(pod: Object, scene: Scene) -> list[Tie]:
    """The claims of the pod whose volumes are on one node each, or must be made on one."""
    ties = []
    for claim_name in lost.claims_of_pod(pod):
        claim = scene.claims.get(claim_name)
        if claim is None:
            continue
        volume_name = claim["spec"].get("volumeName") or ""
        volume = scene.volumes.get(volume_name)
        node = _node_of(volume, scene) if volume else node_of_source(claim, scene)
        if node:
            ties.append(Tie(claim_name, node, volume_name))
    return ties


def _node_of(volume: Object, scene: Scene) -> str:
    """The one node that the PV can be used on; empty if it is not of one node. PVs of other
    drivers, such as local ones, name it by its hostname label."""
    ours = decide.node_of(volume, scene.drivers)
    if ours:
        return ours
    hostnames = _hostnames(volume)
    if len(hostnames) != 1:
        return ""
    (hostname,) = hostnames
    names = [name for name in scene.nodes if _hostname(name, scene) == hostname]
    return names[0] if names else str(hostname)


def _hostnames(volume: Object) -> set[str]:
    """The nodes' hostname labels that the affinity of the PV names."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required") or {}
    return {
        str(value)
        for term in required.get("nodeSelectorTerms") or []
        for part in term.get("matchExpressions") or []
        if part.get("key") == decide.HOSTNAME and part.get("operator") == "In"
        for value in part.get("values") or []
    }


def _why_down(name: str, scene: Scene) -> str:
    """That the node is gone or does not work, as the end of a sentence about the node; empty if
    all is well, also with a node that is cordoned."""
    node = scene.nodes.get(name)
    if node is None:
        return "does not exist"
    for condition in (node.get("status") or {}).get("conditions") or []:
        if condition["type"] == "Ready" and condition["status"] != "True":
            why = condition.get("message") or condition.get("reason") or "it does not say why"
            return f"is not ready: {why}"
    return ""


# Copies.


def node_of_source(claim: Object, scene: Scene) -> str:
    """The node where a claim that is to be a copy must be made; empty if it is no copy, or if that
    is not known."""
    snapshot = decide.annotations_of(claim).get(decide.FROM_SNAPSHOT)
    if snapshot:
        found = snapshots(snapshot, claim["metadata"]["namespace"], scene)
        return found[0][0] if found else ""
    if not decide.data_source(claim):
        return ""
    source = scene.claims.get(decide.data_source(claim).get("name", ""))
    volume = scene.volumes.get((source or {"spec": {}})["spec"].get("volumeName") or "")
    return decide.node_of(volume, scene.drivers) if volume else ""


def snapshots(name: str, namespace: str, scene: Scene) -> list[tuple[str, Object]]:
    """Node and entry of each snapshot of that name and namespace that was listed."""
    return [
        (node, entry)
        for (node, _), listed in sorted(scene.listed.items())
        for entry in listed.volumes
        if entry.get("name") == name
        and entry.get("kind") == "snapshot"
        and (entry.get("owner") or {}).get("namespace") == namespace
    ]


def on_source(claim: Object, storage_class: Object, scene: Scene) -> list[Finding]:
    """What hinders a copy, whose node and pool are those of its source; nothing if it is none."""
    if not decide.is_copy(claim):
        return []
    snapshot = decide.annotations_of(claim).get(decide.FROM_SNAPSHOT)
    if snapshot:
        obstacle = _on_snapshot(snapshot, claim, storage_class, scene)
    else:
        obstacle = _on_source_claim(claim, storage_class, scene)
    return [Finding(obstacle, True)] if obstacle else []


def _on_snapshot(name: str, claim: Object, storage_class: Object, scene: Scene) -> str:
    namespace = claim["metadata"]["namespace"]
    found = snapshots(name, namespace, scene)
    if not found:
        silent = sorted({node for node, _ in scene.silent if node})
        if silent:
            return (
                f"no node that answered has a snapshot {protocol.shown(name)} of namespace "
                f"{namespace}; {_names(silent)} did not answer"
            )
        return (
            f"no node has a snapshot {protocol.shown(name)} of namespace {namespace}; kubectl "
            "flexvol inventory lists those there are"
        )
    node, entry = found[0]
    of_pool = (storage_class.get("parameters") or {}).get("pool") or "default"
    if entry.get("pool") and entry["pool"] != of_pool:
        return (
            f"the snapshot {name} is in pool {entry['pool']} of node {node}, and a copy is made in "
            f"the pool of its source; the claim's class names {pool_of_class(storage_class)}: use "
            f"a class with pool: {entry['pool']}"
        )
    return _on_copy(f"the snapshot {name}", node, entry, claim, storage_class, scene)


def _on_source_claim(claim: Object, storage_class: Object, scene: Scene) -> str:
    source = scene.claims.get(decide.data_source(claim).get("name", ""))
    volume = scene.volumes.get((source or {"spec": {}})["spec"].get("volumeName") or "")
    try:
        decide.check_source(claim, source, volume, decide.Identity(scene.drivers, "", ""))
    except protocol.Failure as failure:
        return str(failure)
    if source is None or volume is None:
        return ""
    node = decide.node_of(volume, scene.drivers)
    if not node:
        return ""
    driver = volume["spec"]["flexVolume"]["driver"]
    listed = scene.listed.get((node, driver))
    name = volume["metadata"]["name"]
    entries = [one for one in (listed.volumes if listed else []) if one.get("name") == name]
    entry = entries[0] if entries else {}
    whose = f"the volume of the claim {source['metadata']['name']}"
    return _on_copy(whose, node, entry, claim, storage_class, scene)


def _on_copy(
    what: str, node: str, entry: Object, claim: Object, storage_class: Object, scene: Scene
) -> str:
    size = entry.get("sizeBytes")
    if isinstance(size, int) and asked_bytes(claim) < size:
        return (
            f"{what} has {human_bytes(size)}, and the claim asks for "
            f"{human_bytes(asked_bytes(claim))}; a copy is as large as its source, or larger: ask "
            f"for {quantities.quantity(size)} in a new claim"
        )
    why = obstacle_on(node, claim, storage_class, scene)
    return f"{what} is on node {node}, so the copy is made there, and {why}" if why else ""


# Making and deleting.


def on_making(node: str, driver: str, scene: Scene) -> Finding:
    """Where the volume of a claim is being made. node: the one that was chosen; empty if the
    storage is of no single node. driver: of the claim's class."""
    where = f" on node {node}" if node else ""
    if not _serves(node, driver, scene):
        sentence = (
            f"node {node} was chosen for the claim, and {_why_unserved(node, driver, scene)}; see: "
            "kubectl get pods -A -o wide -l app=flexvol-node"
        )
        return Finding(sentence, True)
    ours = scene.ours[node]
    why_down = _why_down(node, scene) if node else ""
    if why_down:
        return Finding(f"node {node} was chosen for the claim, and that node {why_down}", True)
    if ours.trouble:
        namespace, _, pod = ours.pod.partition("/")
        sentence = (
            f"its volume is to be made{where} by flexvol's pod {pod}, which does not work: "
            f"{ours.trouble}; see: kubectl -n {namespace} describe pod {pod}"
        )
        return Finding(sentence, True)
    return Finding(f"its volume is being made{where}", False)


def on_deletion(decision: decide.Decision, volume: Object, entry: Object, is_used: bool) -> Finding:
    """What becomes of the volume and its data when the claim is deleted. decision: on the PV, as
    if it were released. entry: as its driver lists it; empty if that is not known, with an error if
    the volume's record cannot be read."""
    when = ", when no pod uses it" if is_used else ""
    if decision.action != decide.DELETE:
        policy = volume["spec"].get("persistentVolumeReclaimPolicy")
        why = f" ({decision.sentence})" if decision.sentence else ""
        sentence = (
            f"deleting the claim leaves the volume and its PV, whose reclaim policy is {policy}"
        )
        return Finding(sentence + why, False)
    if not entry or entry.get("error"):
        sentence = (
            f"deleting the claim deletes the volume and its data{when}; or archives it, if its "
            "class said onDelete: archive when it was made, which only its node knows"
        )
        return Finding(sentence, False)
    if entry.get("onDelete") != "archive":
        return Finding(f"deleting the claim deletes the volume and its data{when}", False)
    if entry.get("blank") is True:
        sentence = (
            f"deleting the claim deletes the volume{when}, which was never mounted; once it was, "
            "it would be archived"
        )
        return Finding(sentence, False)
    hours = _integer(entry.get("archiveSeconds")) // 3600
    until = f"for {hours} hours in which its node is up" if hours else "until somebody deletes it"
    sentence = f"deleting the claim archives the volume{when}: its data is kept {until}"
    return Finding(sentence, False)


def on_owner(claim: Object) -> list[Finding]:
    """Whose claim it is, if it goes with its pod."""
    for owner in claim["metadata"].get("ownerReferences") or []:
        if owner.get("kind") == "Pod":
            sentence = (
                f"it was made for the ephemeral volume of pod {owner.get('name')}, and is deleted "
                "with that pod"
            )
            return [Finding(sentence, False)]
    return []
