"""A claim without a volume that flexvol serves: what it waits for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cluster.controller import decide
from cluster.controller.identity import Identity
from cluster.controller.objects import Claim, Pod, StorageClass, Volume
from cluster.kubectl.explain.deletion import on_owner
from cluster.kubectl.explain.findings import Finding, note, problem
from cluster.kubectl.explain.pods import on_pods
from cluster.kubectl.explain.rooms import on_rooms, why_unserved
from cluster.kubectl.explain.scene import Scene, WaitingClaim
from cluster.kubectl.explain.sources import on_source
from cluster.kubectl.explain.view import View, claims_of, is_not_of_binder
from cluster.kubectl.nodes import pods_serving

_ANY_NODE = "any"


class ServedClaim(NamedTuple):
    """A claim without a volume that flexvol serves.

    driver: of its class.
    node: the node that was chosen for it, or empty.
    of_one_node: whether its storage is on one node.
    is_given: whether kube-controller-manager has given the claim to its provisioner, or is about
    to. For late binding, also of a copy, it does so when a pod was scheduled."""

    claim: Claim
    storage_class: StorageClass
    driver: str
    node: str
    of_one_node: bool
    is_given: bool

    @property
    def waiting(self) -> WaitingClaim:
        """The claim as the modules see it that look for room."""
        return WaitingClaim(self.claim, self.storage_class)

    @property
    def may_go_to_any_node(self) -> bool:
        """Whether the storage is of one node, and that node is still to be chosen."""
        return self.of_one_node and not self.node


def on_served(
    view: View,
    served: ServedClaim,
    pods: list[Pod],
) -> list[Finding]:
    """What the claim waits for, what its pods wait for, and what the nodes have for it."""
    volumes = _ask(view, served, pods)
    scene = view.scene(volumes)
    findings = [
        *_on_decision(served, scene, bool(pods)),
        *on_pods(view, pods, volumes),
        *_on_nodes(served, scene, pods),
        *on_owner(served.claim),
    ]
    warning = view.last_warning(served.claim, is_not_of_binder)
    if warning:
        findings.append(problem(f"last warning: {warning}"))
    return findings


def _ask(
    view: View,
    served: ServedClaim,
    pods: list[Pod],
) -> dict[str, Volume]:
    """Asks the nodes for what bears on the claim; returns the PVs that do."""
    others = claims_of(pods)
    source = served.claim.data_source.get("name")
    volumes = view.volumes_of([*others, source] if source else others)
    view.ask_for_pods(pods, volumes)
    if served.may_go_to_any_node or (served.of_one_node and served.claim.is_copy):
        for driver in sorted({served.driver, *_drivers_of(view, others)}):
            view.ask(view.flexvol_nodes, driver)
    return volumes


def _drivers_of(view: View, claim_names: Iterable[str]) -> set[str]:
    """The drivers of the classes of those claims that have no volume so far."""
    drivers = set()
    for name in claim_names:
        claim = view.claims.get(name)
        if claim is not None and not claim.volume_name:
            drivers.add(view.driver_of(claim))
    return drivers - {""}


def _on_decision(
    served: ServedClaim,
    scene: Scene,
    has_pods: bool,
) -> Iterator[Finding]:
    """What the provisioner will do with the claim, and what the claim waits for."""
    decision = _decision(served, scene)
    if decision.sentence:
        yield note(decision.sentence)
    if decision.action == decide.PROVISION and not served.may_go_to_any_node:
        yield on_making(served.node, served.driver, scene)
    elif decision.action == decide.TAKE:
        where = "of its source" if served.claim.is_copy else "with the most room"
        yield note(f"its volume is made on the node {where}, before there is a pod")
    elif served.storage_class.is_late and not has_pods:
        yield note("no pod uses the claim yet")


def _decision(served: ServedClaim, scene: Scene) -> decide.Decision:
    """As an instance of the provisioner decides that serves the claim."""
    node = ""
    if served.of_one_node:
        node = served.node or _ANY_NODE
    identity = Identity(scene.drivers, "", node)
    decision = decide.on_claim(served.claim, served.storage_class, identity)
    if decision.action == decide.TAKE and not served.is_given:
        return decide.Decision(decide.LATER, decide.WAITS_FOR_POD)
    return decision


def _on_nodes(
    served: ServedClaim,
    scene: Scene,
    pods: list[Pod],
) -> list[Finding]:
    if not served.of_one_node:
        return []
    findings = on_source(served.waiting, scene)
    if not served.node and not served.claim.is_copy:
        findings += on_rooms(served.waiting, scene, pods)
    return findings


def on_making(node: str, driver: str, scene: Scene) -> Finding:
    """Where the volume of a claim is being made.

    node: the chosen one; empty if the storage is of no single node.
    driver: of the claim's class."""
    if not scene.serves(node, driver):
        return problem(
            f"node {node} was chosen for the claim, and "
            f"{why_unserved(node, driver, scene)}; see: {pods_serving(driver)}"
        )
    why_down = scene.why_down(node) if node else ""
    if why_down:
        return problem(f"node {node} was chosen for the claim, and that node {why_down}")
    where = f" on node {node}" if node else ""
    flexvol_pod = scene.flexvol_nodes[node].pod_of(driver)
    if flexvol_pod.trouble:
        namespace, _, pod = flexvol_pod.name.partition("/")
        return problem(
            f"its volume is to be made{where} by flexvol's pod {pod}, which "
            f"does not work: {flexvol_pod.trouble}; see: kubectl -n {namespace} "
            f"describe pod {pod}"
        )
    return note(f"its volume is being made{where}")
