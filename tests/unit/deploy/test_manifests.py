"""What every manifest of deploy/ must have, whatever else it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"


def workloads() -> dict[str, dict[str, Any]]:
    """The pod's spec of each DaemonSet and Deployment, by name."""
    specs = {}
    for file in sorted(DEPLOY.rglob("*.yaml")):
        if DEPLOY / "chart" in file.parents:
            continue  # templates; test_chart.py compares what they render with these manifests
        for one in yaml.safe_load_all(file.read_text()):
            if isinstance(one, dict) and one.get("kind") in ("DaemonSet", "Deployment"):
                specs[one["metadata"]["name"]] = one["spec"]["template"]["spec"]
    return specs


def is_for(labels: dict[str, str], spec: dict[str, Any]) -> bool:
    """Whether a node with these labels gets the pod, as kube-scheduler and the DaemonSet controller
    decide it, for the operators that deploy/ uses."""
    if any(labels.get(key) != value for key, value in spec.get("nodeSelector", {}).items()):
        return False
    affinity = spec.get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.get("nodeSelectorTerms", [{"matchExpressions": []}])
    return any(all(_holds(one, labels) for one in term["matchExpressions"]) for term in terms)


def _holds(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    if expression["operator"] == "DoesNotExist":
        return expression["key"] not in labels
    assert expression["operator"] == "NotIn", expression
    return labels.get(expression["key"]) not in expression["values"]


LINUX = {"kubernetes.io/os": "linux", "kubernetes.io/hostname": "a"}
NODES = [
    pytest.param(LINUX, True, id="a Linux node has flexvol"),
    pytest.param({**LINUX, "type": "worker"}, True, id="a label that others use for themselves"),
    pytest.param({"kubernetes.io/os": "windows"}, False, id="a Windows node has none"),
    pytest.param({**LINUX, "flexvol/exclude": "true"}, False, id="a node that shall have none"),
    pytest.param({**LINUX, "flexvol/exclude": ""}, False, id="the label counts without a value"),
    pytest.param({**LINUX, "type": "virtual-kubelet"}, False, id="a virtual node has none"),
    pytest.param(
        {**LINUX, "eks.amazonaws.com/compute-type": "fargate"}, False, id="Fargate has none"
    ),
]


@pytest.mark.parametrize(("labels", "expected"), NODES)
def test_which_nodes_have_flexvol(labels: dict[str, str], expected: bool) -> None:
    assert is_for(labels, workloads()["flexvol-node"]) == expected


@pytest.mark.parametrize(("labels", "expected"), NODES)
def test_shared_mode_runs_only_where_the_driver_is(labels: dict[str, str], expected: bool) -> None:
    """Elsewhere its pod would wait for the plugin directory, and none would lead."""
    assert is_for(labels, workloads()["flexvol-shared"]) == expected


def test_every_pod_of_ours_asks_for_linux() -> None:
    specs = workloads()

    assert set(specs) >= {"flexvol-node", "flexvol-cluster", "flexvol-shared"}
    assert [
        name
        for name, spec in specs.items()
        if not is_for(LINUX, spec) or is_for({"kubernetes.io/os": "windows"}, spec)
    ] == []
