"""Says what will happen with a claim and with the pods that use it, or why they wait.

Of a bound one: where its volume is, and what deleting the claim would do. What is wrong is said in
the words of the claim's events and of the provisioner's log, with what to do about it. With --pod
all claims of a pod are explained. The exit status is 1 if somebody must act."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from cluster.controller import capacity, cluster, decide, inventory, lost
from cluster.controller.storage import Listed
from cluster.kubectl import by_provisioner, cancel_expansion, claims, nodes, reasons
from cluster.kubectl.nodes import Key, Node
from cluster.kubectl.reasons import Finding, Scene
from shared import protocol
from shared.table import human_bytes, printable

Object = dict[str, Any]
_ANY_NODE = "any"
# No file system fills its image to the last byte.
_ROUNDED_BYTES = 16 << 20
_IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_FAILED_CONDITIONS = ("ControllerResizeError", "NodeResizeError")


def arguments(parser: argparse.ArgumentParser) -> None:
    claims.arguments(parser, is_needed=False)
    parser.add_argument(
        "--pod", metavar="POD", help="explain all claims of the pod of that name instead"
    )


def only_reads(_: argparse.Namespace) -> bool:
    return True


def run(api: cluster.Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    if bool(settings.pod) == bool(settings.claim):
        raise protocol.InvalidArgument("name a claim, or a pod with --pod")
    ours = nodes.find(api, settings.namespace)
    if not ours:
        raise nodes.nowhere(settings.namespace)
    missing = None
    if settings.claim:
        namespace, name, missing = _meant(api, settings)
        names = [name]
    else:
        given, _, pod_name = settings.pod.rpartition("/")
        namespace = given or settings.claim_namespace
        names = _claims_of(api, namespace, pod_name)
    view = _View(api, namespace, settings.namespace, ours)
    if missing is not None and not view.pods_of(names[0]):
        raise missing
    outcomes = [_explain(view, name) for name in names]
    return int(any(outcomes))


def _meant(
    api: cluster.Cluster, settings: argparse.Namespace
) -> tuple[str, str, protocol.NotFound | None]:
    """Namespace and name of the claim, and why it is not there: a pod may wait for it even so."""
    try:
        claim = claims.get(api, settings)
    except protocol.NotFound as error:
        return *claims.names(settings), error
    return claim["metadata"]["namespace"], claim["metadata"]["name"], None


def _claims_of(api: cluster.Cluster, namespace: str, pod_name: str) -> list[str]:
    """Raises NotFound if there is no such pod, or if it uses no claim."""
    pod = api.get(cluster.path_to(cluster.in_namespace(namespace, "pods"), pod_name))
    if pod is None:
        raise protocol.NotFound(f"there is no pod {pod_name} in namespace {namespace}")
    names = lost.claims_of_pod(pod)
    if not names:
        raise protocol.NotFound(f"pod {pod_name} uses no claim, so flexvol does not keep it")
    return names


class _View:
    """What the API server and the nodes have, read when it is asked for first."""

    def __init__(
        self, api: cluster.Cluster, namespace: str, installed_in: str, ours: dict[str, Node]
    ) -> None:
        """namespace: of the claims. installed_in: where flexvol is. ours: its pods by node."""
        self.api = api
        self.namespace = namespace
        self._installed_in = installed_in
        self.ours = ours
        self.drivers = by_provisioner(driver for node in ours.values() for driver in node.drivers)
        claims_there = api.items(cluster.in_namespace(namespace, "persistentvolumeclaims"))
        self.claims = _by_name(claims_there)
        self._pods = [
            pod
            for pod in api.items(cluster.in_namespace(namespace, "pods"))
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ]
        self.classes = _by_name(api.items(cluster.CLASSES))
        self.nodes = _by_name(api.items(cluster.NODES))
        self._listed: dict[Key, Listed] = {}
        self._silent: dict[Key, str] = {}
        self._published: dict[str, dict[str, int]] | None = None  # read if a node is silent

    def pods_of(self, claim_name: str) -> list[Object]:
        return [pod for pod in self._pods if claim_name in lost.claims_of_pod(pod)]

    def volumes_of(self, claim_names: Iterable[str]) -> dict[str, Object]:
        """The PVs that the claims name, by name."""
        volumes = {}
        for claim_name in claim_names:
            claim = self.claims.get(claim_name) or {"spec": {}}
            name = claim["spec"].get("volumeName")
            volume = self.api.get(cluster.path_to(cluster.VOLUMES, name)) if name else None
            if volume is not None:
                volumes[name] = volume
        return volumes

    def ask(self, names: Iterable[str], driver: str) -> None:
        """Has the driver list on those of the nodes that have not been asked yet."""
        unasked = [
            self.ours[name]
            for name in sorted(names)
            if name in self.ours
            and (name, driver) not in self._listed
            and (name, driver) not in self._silent
        ]
        listed, silent = nodes.list_all(self.api, unasked, [driver]) if unasked else ({}, {})
        self._listed.update(listed)
        self._silent.update(silent)

    def scene(self, volumes: dict[str, Object]) -> Scene:
        if self._silent and self._published is None:
            self._published = self._rooms_published()
        return Scene(
            drivers=self.drivers,
            claims=self.claims,
            volumes=volumes,
            classes=self.classes,
            nodes=self.nodes,
            ours=self.ours,
            listed=self._listed,
            silent=self._silent,
            published=self._published or {},
        )

    def _rooms_published(self) -> dict[str, dict[str, int]]:
        """What the scheduler counts on, in place of what a node does not answer. It is no part of
        what every account that explains may read; without it, such a node counts as not known."""
        try:
            return capacity.rooms(self.api.get, self._installed_in)
        except cluster.Refused as error:
            if error.status not in (401, 403):
                raise
            return {}

    def last_warning(
        self, thing: Object, counts: Callable[[Object], bool] = lambda event: True
    ) -> str:
        """About it, in the last hour: that is how long events are kept. counts: whether an event
        does."""
        of_namespace = cluster.in_namespace(self.namespace, "events")
        uid = thing["metadata"]["uid"]
        about = cluster.selected(of_namespace, fieldSelector=f"involvedObject.uid={uid}")
        found = self.api.get(about) or {"items": []}
        events = [one for one in found["items"] if one.get("type") == "Warning" and counts(one)]
        last = max(
            events,
            key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""),
            default=None,
        )
        return f"{last.get('reason')}: {last.get('message')}" if last else ""


def _is_not_the_schedulers(event: Object) -> bool:
    """What the scheduler says is in the pod's status too."""
    return bool(event.get("reason") != "FailedScheduling")


def _is_not_the_binders(event: Object) -> bool:
    """kube-controller-manager says of a claim without a volume that there is no such class, which
    explain tells as it is now."""
    return _component(event) != "persistentvolume-controller"


def _is_of_growth(event: Object) -> bool:
    return bool(event.get("reason") == "VolumeResizeFailed")


def _component(event: Object) -> str:
    source = event.get("source") or {}
    return str(source.get("component") or event.get("reportingComponent") or "")


def _by_name(things: Iterable[Object]) -> dict[str, Object]:
    return {thing["metadata"]["name"]: thing for thing in things}


def _explain(view: _View, name: str) -> bool:
    """Prints what there is to say of the claim; returns whether somebody must act."""
    claim, pods = view.claims.get(name), view.pods_of(name)
    if claim is None:
        sentence = _on_no_claim(view.namespace, name, bool(pods))
        print(f"{view.namespace}/{name}: {printable(sentence)}")
        findings = _on_pods(view, pods)
    else:
        size = human_bytes(reasons.asked_bytes(claim))
        class_name = decide.class_name_of(claim) or "none"
        print(f"{lost.full_name(claim)}: {size}, storage class {class_name}")
        if claim["spec"].get("volumeName"):
            findings = _with_volume(view, claim, pods)
        elif decide.is_populated(claim):
            kind = decide.data_source(claim).get("kind")
            sentence = f"{decide.POPULATOR}: its dataSourceRef is of kind {kind}"
            findings = [Finding(sentence, False), *_on_pods(view, pods)]
        else:
            findings = _without_volume(view, claim, pods)
        findings += _on_conditions(claim)
    for finding in findings:
        print("- " + printable(finding.sentence))
    return claim is None or any(finding.is_wrong for finding in findings)


def _on_no_claim(namespace: str, name: str, is_used: bool) -> str:
    also = ", and a pod uses it" if is_used else ""
    return f"there is no claim {name} in namespace {namespace}{also}"


def _on_conditions(claim: Object) -> list[Finding]:
    """What Kubernetes says of the claim, such as that it is being grown. Whether pods use it is
    said already."""
    return [
        Finding(f"{one['type']}: {one['message']}", one["type"] in _FAILED_CONDITIONS)
        for one in (claim.get("status") or {}).get("conditions") or []
        if one["status"] == "True" and one["type"] != "Unused" and one.get("message")
    ]


def _with_volume(view: _View, claim: Object, pods: list[Object]) -> list[Finding]:
    name = claim["spec"]["volumeName"]
    others = {one for pod in pods for one in lost.claims_of_pod(pod)}
    volumes = view.volumes_of({claim["metadata"]["name"], *others})
    volume = volumes.get(name)
    if volume is None and not protocol.is_object_name(name):
        # Whoever may create a claim writes this: it is in no command to be copied.
        sentence = (
            f"its spec.volumeName is {protocol.shown(name)}, which is no PV's name; leave "
            "spec.volumeName out of a new claim"
        )
        return [Finding(sentence, True)]
    if volume is None:
        sentence = (
            f"its PV {name} does not exist; if its volume does (see: kubectl flexvol inventory), "
            f"bring the PV back: kubectl flexvol adopt {name}"
        )
        return [Finding(sentence, True)]
    owner = volume["spec"].get("claimRef") or {}
    if owner.get("uid", claim["metadata"]["uid"]) != claim["metadata"]["uid"]:
        return [Finding(_on_other_owner(claim, volume), True), *_on_pods(view, pods, volumes)]
    driver = str((volume["spec"].get("flexVolume") or {}).get("driver", ""))
    if driver not in view.drivers.values():
        ours = ", ".join(view.drivers.values())
        sentence = f"its PV {name} is not of a driver of flexvol here ({ours})"
        return [Finding(sentence, False), *_on_pods(view, pods, volumes)]
    node = decide.node_of(volume, view.drivers)
    view.ask([node] if node else view.ours, driver)
    _ask_for_others(view, pods, volumes)
    return _on_volume(view, claim, volume, pods, volumes)


def _on_other_owner(claim: Object, volume: Object) -> str:
    """Returns the sentence about a claim whose PV belongs to another claim. The other claim has
    another name, or is an earlier claim of the same name. A person gives the PV of an earlier claim
    to this claim by changing the PV, as Kubernetes has it; the provisioner then tells the driver.
    """
    name, owner = volume["metadata"]["name"], volume["spec"]["claimRef"]
    whose = f"its PV {name} belongs to the claim {lost.full_name(volume)} with the uid"
    if lost.full_name(volume) != lost.full_name(claim):
        return f"{whose} {owner['uid']}; leave spec.volumeName out of a new claim, or name another"
    sentence = f"{whose} {owner['uid']}, which is an earlier one of this name"
    if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
        patch = '{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}'
        return (
            f"{sentence}, so it is deleted with its data; to keep it, if it is still there: "
            f"kubectl patch pv {name} -p '{patch}'"
        )
    patch = '{"spec": {"claimRef": {"uid": null, "resourceVersion": null}}}'
    return f"{sentence}; to give it to this claim: kubectl patch pv {name} -p '{patch}'"


def _ask_for_others(view: _View, pods: list[Object], volumes: dict[str, Object]) -> None:
    """Asks the nodes of the pods' volumes for the drivers of the pods' other claims."""
    places = {decide.node_of(volume, view.drivers) for volume in volumes.values()} - {""}
    for pod in pods:
        for claim_name in lost.claims_of_pod(pod):
            storage_class = view.classes.get(
                decide.class_name_of(view.claims.get(claim_name) or _NO_CLAIM)
            )
            driver = view.drivers.get((storage_class or {}).get("provisioner", ""))
            if driver and places:
                view.ask(places, driver)


_NO_CLAIM: Object = {"metadata": {}, "spec": {}}


def _on_volume(
    view: _View, claim: Object, volume: Object, pods: list[Object], volumes: dict[str, Object]
) -> list[Finding]:
    """Of a claim whose PV is ours: volume, its PV; volumes: those of all claims of its pods."""
    scene = view.scene(volumes)
    row = _row(scene, claim, volume, pods)
    entry = row.entry
    running = [pod["metadata"]["name"] for pod in pods if reasons.is_running(pod)]
    findings = [Finding(_place(row, volume), False)]
    if running or not pods:
        users = f"used by pod {', '.join(sorted(running))}" if running else "no pod uses it"
        findings.append(Finding(users, False))
    findings += _on_pods(view, pods, volumes)
    if row.why or row.is_wrong:
        findings.append(Finding(row.why or f"it is {row.state}", row.is_wrong))
    listed = scene.listed.get((row.node, row.driver))
    growth = _on_growth(claim, volume, entry, listed.pools if listed else [])
    if growth:
        growth += _on_failed_growth(view, [claim, *pods])
    findings += growth
    findings += [Finding(one, False) for one in _on_size(entry, bool(running))]
    findings += _on_binding(view, claim, volume)
    if claim["metadata"].get("deletionTimestamp"):
        when = ", when no pod uses it any more" if pods else ""
        findings.append(Finding("the claim is being deleted" + when, False))
    findings += reasons.on_owner(claim)
    identity = decide.annotations_of(volume).get(decide.IDENTITY, "")
    us = decide.Identity(view.drivers, identity, decide.node_of(volume, view.drivers))
    decision = decide.on_volume(_when_released(volume), us)
    return [*findings, reasons.on_deletion(decision, volume, entry, bool(pods))]


def _on_binding(view: _View, claim: Object, volume: Object) -> list[Finding]:
    """Of a claim that names its PV and is not bound to it, and of a PV that somebody deletes."""
    name = volume["metadata"]["name"]
    findings = []
    if (claim.get("status") or {}).get("phase", "Bound") != "Bound":
        warning = view.last_warning(claim)
        words = f"; last warning: {warning}" if warning else " yet"
        findings.append(Finding(f"the claim is not bound to its PV {name}{words}", bool(warning)))
    if volume["metadata"].get("deletionTimestamp"):
        sentence = f"its PV {name} is being deleted, and stays as long as the claim does"
        findings.append(Finding(sentence, False))
    return findings


def _when_released(volume: Object) -> Object:
    """The PV as it is when its claim has been deleted, and its driver has been told whose it
    was."""
    notes = {**decide.annotations_of(volume)}
    notes.pop(decide.AWAITS_CLAIM, None)
    metadata = {**volume["metadata"], "annotations": notes}
    return {**volume, "metadata": metadata, "status": {"phase": "Released"}}


def _row(scene: Scene, claim: Object, volume: Object, pods: list[Object]) -> inventory.Row:
    """The volume as the inventory has it."""
    node = decide.node_of(volume, scene.drivers)
    there = {node} if node in scene.nodes else set()
    objects = inventory.Objects(scene.drivers, [volume], [claim], pods, there, "")
    name = volume["metadata"]["name"]
    rows = inventory.join(scene.listed, scene.silent, objects)
    return next(row for row in rows if row.name == name and row.state not in inventory.NO_PV)


def _place(row: inventory.Row, volume: Object) -> str:
    """Where the volume is, and how full."""
    used = row.entry.get("usedBytes")
    words = [
        f"it is {row.state}: PV {row.name}",
        volume["spec"]["capacity"]["storage"],
        f"on node {row.node}" if row.node else "",
        f"in pool {row.entry['pool']}" if row.entry.get("pool") else "",
        f"{human_bytes(used)} used" if isinstance(used, int) else "",
    ]
    return ", ".join(filter(None, words))


def _on_pods(
    view: _View, pods: list[Object], volumes: dict[str, Object] | None = None
) -> list[Finding]:
    """What keeps the pods, one after the other. volumes: those of all their claims, if they have
    been read."""
    if volumes is None:
        volumes = view.volumes_of({one for pod in pods for one in lost.claims_of_pod(pod)})
    scene = view.scene(volumes)
    findings = []
    for pod in pods:
        is_running = reasons.is_running(pod)
        warning = "" if is_running else view.last_warning(pod, _is_not_the_schedulers)
        findings += reasons.on_pod(pod, scene, warning)
    return findings


def _on_growth(claim: Object, volume: Object, entry: Object, pools: list[Object]) -> list[Finding]:
    """Of a claim that asks for more than its volume has. pools: of the volume's node."""
    expansion = cancel_expansion.advice(claim, volume, entry, pools)
    if expansion:
        return [Finding(expansion, True)]
    truth = cancel_expansion.truth_of(entry, pools)
    asked = cancel_expansion.sizes(claim, volume).asked
    if truth is None or asked <= truth.size:
        return []
    sentence = (
        f"it is to grow from {human_bytes(truth.size)} to {human_bytes(asked)}: kubelet does that "
        "within minutes while a pod runs, or when the next pod starts"
    )
    return [Finding(sentence, False)]


def _on_failed_growth(view: _View, things: list[Object]) -> list[Finding]:
    """What kubelet said last of a growth that it tries again and again. things: the claim and its
    pods; kubelet tells it of either."""
    warnings = [view.last_warning(thing, _is_of_growth) for thing in things]
    return [Finding(f"last warning: {warning}", True) for warning in filter(None, warnings)]


def _on_size(entry: Object, in_use: bool) -> list[str]:
    """Of a volume whose file system is smaller than the volume, because its growth did not come to
    an end. A mounted xfs writes its new size to the disk a minute later."""
    has, asked = entry.get("fileSystemBytes"), entry.get("sizeBytes")
    if not isinstance(has, int) or not isinstance(asked, int) or not has:
        return []
    if has >= asked - _ROUNDED_BYTES or (in_use and entry.get("fsType") == "xfs"):
        return []
    return [
        f"its file system has {human_bytes(has)}, {human_bytes(asked)} asked; it grows when its "
        "next pod starts, and the pod's events say why it did not"
    ]


class _Served(NamedTuple):
    """A claim without a volume that flexvol serves. driver: of its class. node: the one that was
    chosen for it, or empty. of_one_node: whether its storage is. is_given: whether
    kube-controller-manager has given the claim to its provisioner, or is about to: before a pod is
    scheduled it does not, also for a copy."""

    claim: Object
    storage_class: Object
    driver: str
    node: str
    of_one_node: bool
    is_given: bool


def _without_volume(view: _View, claim: Object, pods: list[Object]) -> list[Finding]:
    name = decide.class_name_of(claim)
    if claim["spec"].get("storageClassName") == "" and not name:
        sentence = (
            'this claim asks for no storage class (storageClassName: ""), so nothing is '
            "provisioned for it; it waits for an existing PV without a class"
        )
        return [Finding(sentence, False)]
    storage_class = view.classes.get(name)
    if storage_class is None and not name:
        return [Finding(_on_no_class(view), True), *_on_pods(view, pods)]
    is_given = bool(decide.provisioner_of(claim))
    claim = reasons.as_given(claim, storage_class)
    provisioner = decide.provisioner_of(claim)
    if storage_class is not None and provisioner not in view.drivers:
        ours = ", ".join(view.drivers)
        sentence = (
            f"this claim is for the provisioner {provisioner}; flexvol's nodes here serve {ours}"
        )
        return [Finding(sentence, True), *_on_pods(view, pods)]
    driver = view.drivers.get(provisioner, "")
    of_one_node = reasons.is_of_one_node(driver, view.ours)
    problem = decide.problem(claim, storage_class, of_one_node)
    if problem or storage_class is None:
        return [Finding(problem, True)]
    node = decide.annotations_of(claim).get(decide.SELECTED_NODE, "") if of_one_node else ""
    is_given = is_given or not decide.is_late(storage_class)
    served = _Served(claim, storage_class, driver, node, of_one_node, is_given)
    findings = [*_on_waiting(view, served, pods), *reasons.on_owner(claim)]
    warning = view.last_warning(claim, _is_not_the_binders)
    if warning:
        findings.append(Finding(f"last warning: {warning}", True))
    return findings


def _on_no_class(view: _View) -> str:
    """Of a claim that names no storage class and was given none."""
    default = [
        name
        for name, storage_class in view.classes.items()
        if decide.annotations_of(storage_class).get(_IS_DEFAULT) == "true"
    ]
    if default:
        return (
            f"this claim names no storage class; the default one is {default[0]}, which "
            "kube-controller-manager gives the claim within minutes. If it does not, name the "
            "class in a new claim"
        )
    return (
        "this claim names no storage class, and no class is the default one; name one in a new "
        "claim, or make one the default, which the claim is then given: kubectl annotate "
        f"storageclass NAME {_IS_DEFAULT}=true"
    )


def _on_waiting(view: _View, served: _Served, pods: list[Object]) -> Iterator[Finding]:
    """What the claim waits for, what its pods wait for, and what the nodes have for it."""
    claim, storage_class = served.claim, served.storage_class
    volumes = _ask_for(view, served, pods)
    scene = view.scene(volumes)
    node = served.node or _ANY_NODE
    identity = decide.Identity(view.drivers, "", node if served.of_one_node else "")
    decision = decide.on_claim(claim, storage_class, identity)
    if decision.action == decide.TAKE and not served.is_given:
        decision = decide.Decision(decide.LATER, decide.WAITS_FOR_POD)
    if decision.sentence:
        yield Finding(decision.sentence, False)
    if decision.action == decide.PROVISION and (served.node or not served.of_one_node):
        yield reasons.on_making(served.node, served.driver, scene)
    elif decision.action == decide.TAKE:
        where = "of its source" if decide.is_copy(claim) else "with the most room"
        yield Finding(f"its volume is made on the node {where}, before there is a pod", False)
    elif decide.is_late(storage_class) and not pods:
        yield Finding("no pod uses the claim yet", False)
    yield from _on_pods(view, pods, volumes)
    if not served.of_one_node:
        return
    yield from reasons.on_source(claim, storage_class, scene)
    if not served.node and not decide.is_copy(claim):
        yield from reasons.on_rooms(claim, storage_class, scene, pods)


def _ask_for(view: _View, served: _Served, pods: list[Object]) -> dict[str, Object]:
    """Asks the nodes for what bears on the claim; returns the PVs that do."""
    others = {one for pod in pods for one in lost.claims_of_pod(pod)}
    source = decide.data_source(served.claim).get("name")
    volumes = view.volumes_of({*others, *([source] if source else [])})
    _ask_for_others(view, pods, volumes)
    if served.of_one_node and (not served.node or decide.is_copy(served.claim)):
        for driver in {served.driver, *_drivers_of(view, others)}:
            view.ask(view.ours, driver)
    return volumes


def _drivers_of(view: _View, claim_names: Iterable[str]) -> set[str]:
    """The drivers of the classes of those claims that have no volume so far."""
    provisioners = {
        view.classes[decide.class_name_of(claim)]["provisioner"]
        for claim in map(view.claims.get, claim_names)
        if claim is not None
        and not claim["spec"].get("volumeName")
        and decide.class_name_of(claim) in view.classes
    }
    return {view.drivers[one] for one in provisioners if one in view.drivers}
