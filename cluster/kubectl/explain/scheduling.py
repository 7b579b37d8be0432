"""Whether a pod and a node take each other, by the rules of Kubernetes' scheduler.

Decided here are the rules that a person wrote: labels, affinities, taints and tolerations. Whether
the node has processors and memory left is the scheduler's alone to say.
Source: k8s.io/component-helpers, scheduling/corev1 (nodeaffinity, ToleratesTaint)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cluster.controller.objects import Node, Object, Pod, items, table

UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
# Taints of states that explain tells apart from these rules: a node that is not ready, or cordoned.
_OF_STATES = (
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    UNSCHEDULABLE["key"],
)


def refusal(pod: Pod, node: Node) -> str:
    """Why the pod does not take the node, or the node not the pod, as the end of a sentence about
    the node; empty if they take each other."""
    for key, value in table(pod.spec.get("nodeSelector")).items():
        if node.labels.get(key) != value:
            return f"has not the label {key}={value}, which the pod asks for (nodeSelector)"
    affinity = table(table(pod.spec.get("affinity")).get("nodeAffinity"))
    if not selects(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"), node):
        return "is not one that the pod asks for (nodeAffinity)"
    for taint in node.taints:
        if taint.get("effect") == "PreferNoSchedule" or taint["key"] in _OF_STATES:
            continue
        if not tolerates(pod, taint):
            return f"has the taint {_shown(taint)}, which the pod does not tolerate"
    return ""


def _shown(taint: Object) -> str:
    """As kubectl shows it: "dedicated=db:NoSchedule"."""
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint.get('effect')}"


def tolerates(pod: Pod, taint: Object) -> bool:
    """Whether one of the tolerations of the pod covers the taint."""
    tolerations = items(pod.spec.get("tolerations"))
    return any(_covers(toleration, taint) for toleration in tolerations)


def _covers(toleration: Object, taint: Object) -> bool:
    effect = toleration.get("effect")
    if effect and effect != taint.get("effect"):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    if toleration.get("key") != taint["key"]:
        return False
    return (toleration.get("value") or "") == (taint.get("value") or "")


def selects(selector: Object | None, node: Node) -> bool:
    """Whether a node selector means the node.

    selector: of a pod's affinity or a PV's; None selects every node. One of its terms must hold, in
    all its parts; a term without parts means no node."""
    if selector is None:
        return True
    return any(_holds(term, node) for term in items(selector.get("nodeSelectorTerms")))


def _holds(term: Object, node: Node) -> bool:
    of_labels = items(term.get("matchExpressions"))
    of_fields = items(term.get("matchFields"))
    if not of_labels and not of_fields:
        return False
    fields = {"metadata.name": node.name}
    return _all_match(of_labels, node.labels) and _all_match(of_fields, fields)


def _all_match(requirements: Iterable[Object], labels: dict[str, str]) -> bool:
    return all(_matches(requirement, labels) for requirement in requirements)


def _matches(requirement: Object, labels: dict[str, str]) -> bool:
    """Whether a requirement of a node selector holds. A requirement with an operator that is not
    known here counts as held, so that explain tells nothing wrong."""
    value = labels.get(requirement["key"])
    values = items(requirement.get("values"))
    operator = requirement.get("operator", "")
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if operator == "Gt":
        return len(values) == 1 and _is_greater(value, values[0])
    if operator == "Lt":
        return len(values) == 1 and _is_greater(values[0], value)
    return True


def _is_greater(value: Any, other: Any) -> bool:
    """Whether both are whole numbers, and the first is the greater one."""
    try:
        return int(value) > int(other)
    except (TypeError, ValueError):
        return False
