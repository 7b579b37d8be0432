"""Why a pod that uses a claim does not run."""

from __future__ import annotations

from cluster.controller.objects import HOSTNAME, Pod, Volume, items, table
from cluster.kubectl.explain import pod_claims
from cluster.kubectl.explain.findings import Finding, note, problem
from cluster.kubectl.explain.scene import Scene
from cluster.kubectl.explain.ties import on_ties, ties_of
from cluster.kubectl.explain.view import View, is_not_of_scheduler
from cluster.kubectl.nodes import BEGINNING

_DEFAULT_SCHEDULER = "default-scheduler"


def is_running(pod: Pod) -> bool:
    """Whether a container runs that is no init container."""
    containers = items(pod.status.get("containerStatuses"))
    return any("running" in table(container.get("state")) for container in containers)


def on_pods(
    view: View,
    pods: list[Pod],
    volumes: dict[str, Volume] | None = None,
) -> list[Finding]:
    """What keeps the pods, one after the other. volumes: those of all their claims, if they have
    been read."""
    if volumes is None:
        volumes = view.volumes_of_pods(pods)
    scene = view.scene(volumes)
    findings = []
    for pod in pods:
        warning = "" if is_running(pod) else view.last_warning(pod, is_not_of_scheduler)
        findings += on_pod(pod, scene, warning)
    return findings


def on_pod(pod: Pod, scene: Scene, warning: str = "") -> list[Finding]:
    """Why a pod does not run; nothing if it does. warning: the last event about the pod, which is
    kubelet's, or of the controller of ephemeral volumes."""
    if pod.is_being_deleted:
        return [_on_deleted_pod(pod, scene)]
    if is_running(pod):
        return _on_running_pod(pod, scene)
    findings = [
        *pod_claims.on_missing_claims(pod, scene, warning),
        *pod_claims.on_foreign_claims(pod, scene),
        *pod_claims.on_hopeless_claims(pod, scene),
    ]
    if pod.node_name:
        return [*findings, *_on_its_node(pod, scene, warning)]
    return [*findings, *on_ties(pod, scene), *_on_scheduling(pod, scene)]


def _on_deleted_pod(pod: Pod, scene: Scene) -> Finding:
    node = pod.node_name
    why_down = scene.why_down(node) if node else ""
    if why_down:
        return problem(f"pod {pod.name} is being deleted, and its node {node} {why_down}")
    return note(f"pod {pod.name} is being deleted")


def _on_running_pod(pod: Pod, scene: Scene) -> list[Finding]:
    """Kubelet writes that a pod runs. When kubelet is silent, its last word stays."""
    node = pod.node_name
    why_down = scene.why_down(node) if node else ""
    if not why_down:
        return []
    return [
        problem(
            f"pod {pod.name} ran when its node {node} was heard of last, and that node {why_down}"
        )
    ]


def _on_its_node(pod: Pod, scene: Scene, warning: str) -> list[Finding]:
    """Of a pod that kubelet has, and does not run."""
    node = pod.node_name
    findings = [*_on_volumes_elsewhere(pod, scene), *_on_skipped_scheduler(pod, scene)]
    why_down = scene.why_down(node)
    if why_down:
        findings.append(problem(f"pod {pod.name} is on node {node}, which {why_down}"))
    if findings:
        return findings
    if warning:
        sentence = f"pod {pod.name} is on node {node} and does not run; kubelet says: {warning}"
        return [problem(sentence)]
    waiting = _waiting_container(pod)
    if waiting:
        return [problem(f"pod {pod.name} is on node {node}; its container {waiting}")]
    return [note(f"pod {pod.name} is being started on node {node}")]


def _on_volumes_elsewhere(pod: Pod, scene: Scene) -> list[Finding]:
    return [
        problem(
            f"pod {pod.name} is on node {pod.node_name} (spec.nodeName), and "
            f"the volume of its claim {tie.claim} is on node {tie.node}, so it "
            "never starts there; leave nodeName out, and the scheduler chooses "
            "the volume's node"
        )
        for tie in ties_of(pod, scene)
        if tie.node != pod.node_name
    ]


def _on_skipped_scheduler(pod: Pod, scene: Scene) -> list[Finding]:
    """Claims that wait for a scheduler, which a pod with a spec.nodeName of its own never gets."""
    node = pod.node_name
    return [
        problem(
            f"pod {pod.name} names its node {node} itself (spec.nodeName), so "
            "no scheduler looks at it, and none chooses a node for its claim "
            f"{claim_name}, whose class waits for that; make the pod anew with "
            f"nodeSelector {{{HOSTNAME}: {scene.hostname(node)}}} instead"
        )
        for claim_name in pod_claims.waiting_for_node(pod, scene)
    ]


def _waiting_container(pod: Pod) -> str:
    """What a container of the pod waits for, in kubelet's words; empty if none waits."""
    for container in pod.containers:
        waiting = table(table(container.get("state")).get("waiting"))
        reason = waiting.get("reason") or ""
        if reason and reason not in BEGINNING:
            return f"{container['name']} waits: {reason}: {waiting.get('message') or '-'}"
    return ""


def _on_scheduling(pod: Pod, scene: Scene) -> list[Finding]:
    """What the scheduler says of a pod without a node."""
    gates = [str(gate.get("name")) for gate in items(pod.spec.get("schedulingGates"))]
    if gates:
        sentence = (
            f"pod {pod.name} has scheduling gates ({', '.join(gates)}), so no "
            "scheduler looks at it until whoever put them there takes them "
            "away"
        )
        return [note(sentence)]
    message = _message_of_scheduler(pod)
    if message:
        return [problem(f"pod {pod.name} uses the claim, and the scheduler says: {message}")]
    # The scheduler says nothing more of the pod until its volumes are there (PreBind).
    for claim in pod_claims.being_made(pod, scene):
        sentence = (
            f"pod {pod.name} is to run on node {claim.selected_node} when the "
            f"volume of its claim {claim.name} is made there"
        )
        return [note(sentence)]
    return [_on_silent_scheduler(pod)]


def _message_of_scheduler(pod: Pod) -> str:
    """Why the scheduler found no node; empty if it has not said so."""
    for condition in pod.conditions:
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return condition.get("message") or condition.get("reason") or "nothing"
    return ""


def _on_silent_scheduler(pod: Pod) -> Finding:
    scheduler = pod.spec.get("schedulerName") or _DEFAULT_SCHEDULER
    sentence = (
        f"pod {pod.name} uses the claim, and its scheduler {scheduler} has not looked at it yet"
    )
    if scheduler == _DEFAULT_SCHEDULER:
        return note(sentence)
    return problem(f"{sentence}; see whether a scheduler of that name runs")
