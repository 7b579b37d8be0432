"""Whether a pod and a node take each other, by the rules of Kubernetes' scheduler.

What is decided here is what a person wrote: labels, affinities, taints and tolerations. Whether the
node has processors and memory left is the scheduler's alone to say.
Source: k8s.io/component-helpers, scheduling/corev1 (nodeaffinity, ToleratesTaint)."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
# Taints of states that are told apart from these rules: a node that is not ready, or cordoned.
_OF_STATES = (
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    UNSCHEDULABLE["key"],
)


def refusal(pod: Object, node: Object) -> str:
    """Why the pod does not take the node, or the node not the pod; empty if they do. It is the end
    of a sentence about the node."""
    spec = pod["spec"]
    labels = node["metadata"].get("labels") or {}
    for key, value in (spec.get("nodeSelector") or {}).items():
        if labels.get(key) != value:
            return f"has not the label {key}={value}, which the pod asks for (nodeSelector)"
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    if not selects(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"), node):
        return "is not one that the pod asks for (nodeAffinity)"
    for taint in (node.get("spec") or {}).get("taints") or []:
        if taint.get("effect") == "PreferNoSchedule" or taint["key"] in _OF_STATES:
            continue
        if not tolerates(pod, taint):
            value = f"={taint['value']}" if taint.get("value") else ""
            shown = f"{taint['key']}{value}:{taint.get('effect')}"
            return f"has the taint {shown}, which the pod does not tolerate"
    return ""


def tolerates(pod: Object, taint: Object) -> bool:
    return any(_tolerates(one, taint) for one in pod["spec"].get("tolerations") or [])


def _tolerates(toleration: Object, taint: Object) -> bool:
    effect = toleration.get("effect")
    if effect and effect != taint.get("effect"):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    same_value = (toleration.get("value") or "") == (taint.get("value") or "")
    return toleration.get("key") == taint["key"] and same_value


def selects(selector: Object | None, node: Object) -> bool:
    """Whether a node selector, which is that of a pod's affinity or of a PV's, means the node.
    selector: None selects every node. One of its terms must hold, in all its parts; a term without
    parts means no node."""
    if selector is None:
        return True
    return any(_holds(term, node) for term in selector.get("nodeSelectorTerms") or [])


def _holds(term: Object, node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    of_labels = term.get("matchExpressions") or []
    of_fields = term.get("matchFields") or []
    if not of_labels and not of_fields:
        return False
    return all(_matches(part, labels) for part in of_labels) and all(
        _matches(part, fields) for part in of_fields
    )


def _matches(part: Object, labels: dict[str, str]) -> bool:
    """Whether a requirement of a node selector holds. One with an operator that is not known here
    counts as held, so that nothing is told of it."""
    value, values = labels.get(part["key"]), part.get("values") or []
    outcomes = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
        "Gt": _is_greater(value, values),
        "Lt": len(values) == 1 and _is_greater(values[0], [value]),
    }
    return outcomes.get(part.get("operator", ""), True)


def _is_greater(value: Any, values: list[Any]) -> bool:
    """Both as whole numbers; what is none is greater than nothing."""
    try:
        return len(values) == 1 and int(value) > int(values[0])
    except (TypeError, ValueError):
        return False
