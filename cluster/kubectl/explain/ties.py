"""Why a pod cannot run where the volumes of its claims are, or have to be made."""

from __future__ import annotations

from typing import NamedTuple

from cluster.controller.objects import HOSTNAME, Pod
from cluster.kubectl.explain import pod_claims, scheduling
from cluster.kubectl.explain.findings import Finding, problem
from cluster.kubectl.explain.rooms import nodes_that_fit, obstacle_on
from cluster.kubectl.explain.scene import Scene
from cluster.kubectl.explain.sources import node_of_source
from cluster.kubectl.explain.wording import nodes_named


class Tie(NamedTuple):
    """A claim of a pod that lets the pod run on one node only. volume: the claim's PV; empty if
    that is still to be made."""

    claim: str
    node: str
    volume: str = ""


def ties_of(pod: Pod, scene: Scene) -> list[Tie]:
    """The claims of the pod whose volumes are on one node each, or must be made on one."""
    ties = []
    for name in pod.claim_names:
        claim = scene.claims.get(name)
        if claim is None:
            continue
        volume = scene.volumes.get(claim.volume_name)
        node = scene.node_of(volume) if volume else node_of_source(claim, scene)
        if node:
            ties.append(Tie(name, node, claim.volume_name))
    return ties


def on_ties(pod: Pod, scene: Scene) -> list[Finding]:
    """Why the pod cannot run where its volumes are."""
    ties = ties_of(pod, scene)
    by_node = {tie.node: tie for tie in ties}
    if not by_node:
        return _on_together(pod, scene)
    if len(by_node) > 1:
        each = " and ".join(f"{tie.claim} on node {tie.node}" for tie in by_node.values())
        sentence = f"pod {pod.name} uses the claims {each}, so no node has them all"
        return [problem(f"{sentence}; {_by_move(ties, scene)}")]
    (tie,) = by_node.values()
    return [*_on_tie(pod, tie, scene), *_on_other_claims(pod, tie, scene)]


def _on_tie(pod: Pod, tie: Tie, scene: Scene) -> list[Finding]:
    """What keeps the pod from the one node where it can run."""
    obstacle = _obstacle_to_pod(pod, tie.node, scene) or _stale_affinity(tie, scene)
    if not obstacle:
        return []
    where = "is" if tie.volume else "has to be made"
    sentence = (
        f"pod {pod.name} can only run on node {tie.node}, where the volume of "
        f"its claim {tie.claim} {where}, and that node {obstacle}"
    )
    advice = _other_way(tie, scene)
    if advice:
        sentence = f"{sentence}; or {advice}"
    return [problem(sentence)]


def _obstacle_to_pod(pod: Pod, node: str, scene: Scene) -> str:
    """What keeps the pod from that node, as the end of a sentence about the node; empty if nothing
    does. The pods of DaemonSets go to cordoned nodes too."""
    why_down = scene.why_down(node)
    if why_down:
        return why_down
    if scene.is_cordoned(node) and not scheduling.tolerates(pod, scheduling.UNSCHEDULABLE):
        return f"is cordoned (undone by: kubectl uncordon {node})"
    return scheduling.refusal(pod, scene.nodes[node])


def _stale_affinity(tie: Tie, scene: Scene) -> str:
    """That the PV names its node by a hostname label that the node no longer has."""
    volume = scene.volumes.get(tie.volume)
    if volume is None or not scene.is_of_flexvol(volume):
        return ""
    if scheduling.selects(volume.node_selector or None, scene.nodes[tie.node]):
        return ""
    labels = " and ".join(f"{HOSTNAME}={hostname}" for hostname in sorted(volume.hostnames))
    return (
        f"has the label {HOSTNAME}={scene.hostname(tie.node)}, and the PV "
        f"{tie.volume} asks for {labels or 'others'}; give the node that label "
        "again"
    )


def _other_way(tie: Tie, scene: Scene) -> str:
    """What to do if nothing can be changed about the node that the volume is on. A node that is
    gone has words of its own, and a copy that is still to be made has no volume to move."""
    if not tie.volume or tie.node not in scene.nodes:
        return ""
    if not scene.why_down(tie.node):
        return _by_move([tie], scene)
    if not scene.is_of_flexvol(scene.volumes.get(tie.volume)):
        return ""
    return (
        "if its disk is in another node now, keep the claim: kubectl flexvol "
        f"move {tie.volume} --to NODE"
    )


def _by_move(ties: list[Tie], scene: Scene) -> str:
    """The command that takes the volume of one of the claims to another node."""
    for tie in ties:
        if scene.is_of_flexvol(scene.volumes.get(tie.volume)):
            return (
                f"move the volume while no pod uses it: kubectl flexvol move {tie.volume} --to NODE"
            )
    return "the volume's own driver decides whether it can be moved"


def _on_other_claims(pod: Pod, tie: Tie, scene: Scene) -> list[Finding]:
    """The pod's other claims, whose volumes must be made on the same node."""
    findings = []
    for waiting in pod_claims.waiting_for_flexvol(pod, scene):
        name = waiting.claim.name
        if name == tie.claim or not scene.is_of_one_node(waiting.storage_class):
            continue
        obstacle = obstacle_on(tie.node, waiting, scene)
        if not obstacle:
            continue
        sentence = (
            f"pod {pod.name} uses the claims {tie.claim} and {name}; the volume "
            f"of {tie.claim} is on node {tie.node}, so the volume of {name} "
            f"must be made there too, and {obstacle}"
        )
        if tie.volume:
            sentence = f"{sentence}; {_by_move([tie], scene)}"
        findings.append(problem(sentence))
    return findings


def _on_together(pod: Pod, scene: Scene) -> list[Finding]:
    """Whether a node has room for each of the pod's claims, none of which has a volume so far."""
    nodes_by_claim = {}
    for waiting in pod_claims.waiting_for_flexvol(pod, scene):
        storage_class = waiting.storage_class
        if not storage_class.is_late or not scene.is_of_one_node(storage_class):
            continue
        fitting = nodes_that_fit(waiting, scene)
        # Without such a node nothing is known of the claim, or its own findings tell the obstacle.
        if fitting:
            nodes_by_claim[waiting.claim.name] = fitting
    if not nodes_by_claim or set.intersection(*nodes_by_claim.values()):
        return []
    each = "; ".join(f"{name} on {nodes_named(nodes)}" for name, nodes in nodes_by_claim.items())
    return [
        problem(
            f"pod {pod.name} needs its claims on one node, and no node has room "
            f"for all of them: there is room for {each}"
        )
    ]
