"""The objects for the Prometheus operator, applied as docs/monitoring.md says, where the operator's
kinds are known. The operator itself does not run here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.namespaces import Kubernetes, Object
from tests.sources import ROOT
from tests.waiting import wait_until

MONITORING = ROOT / "deploy/monitoring"
GROUP = "monitoring.coreos.com"
KINDS = {"podmonitors": "PodMonitor", "prometheusrules": "PrometheusRule"}


def definition(plural: str, kind: str) -> Object:
    """A CustomResourceDefinition under the name of the operator's, for objects of any content."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": anything},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [version],
        },
    }


@pytest.fixture
def with_kinds(k8s: Kubernetes) -> Iterator[Kubernetes]:
    """A cluster that knows the operator's kinds. They and their objects go with the test."""
    definitions = [definition(plural, kind) for plural, kind in KINDS.items()]
    text = yaml.safe_dump_all(definitions)
    k8s.cluster.kubectl("apply", "-f", "-", input=text, capture_output=True)
    yield k8s
    k8s.cluster.kubectl("delete", "-f", "-", input=text, capture_output=True)


def test_one_command_gives_the_operator_its_objects_and_grafana_the_dashboard(
    with_kinds: Kubernetes,
) -> None:
    cluster = with_kinds.cluster

    def kubectl(*words: str) -> Any:
        return cluster.kubectl(*words, check=False, capture_output=True, cwd=ROOT)

    apply = ("apply", "-k", "deploy/monitoring/operator")
    wait_until("the kinds are served", lambda: kubectl(*apply).returncode == 0)

    def applied(kind: str, name: str) -> Object:
        done = kubectl("-n", "flexvol", "get", kind, name, "-o", "json")
        found: Object = json.loads(done.stdout)
        return found

    assert applied("podmonitor", "flexvol")["spec"]["podMetricsEndpoints"][0]["port"] == "health"
    alerts = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    assert applied("prometheusrule", "flexvol")["spec"] == alerts
    data = applied("configmap", "flexvol-dashboard")["data"]
    assert data["flexvol.json"] == (MONITORING / "dashboard.json").read_text()

    removed = kubectl("delete", "-k", "deploy/monitoring/operator")
    assert removed.returncode == 0, removed.stderr
