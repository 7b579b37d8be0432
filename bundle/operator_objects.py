"""Writes the objects of deploy/monitoring/operator that hold a file of deploy/monitoring: the alert
rules as a PrometheusRule, and the dashboard as a ConfigMap for Grafana.

kustomize cannot put one file into another, so the two objects are in the tree. Run
`python3 -m bundle.operator_objects` after each change of the alerts or the dashboard."""

from __future__ import annotations

import textwrap
from pathlib import Path

MONITORING = Path(__file__).resolve().parent.parent / "deploy/monitoring"

_RULE = """\
# Written by `python3 -m bundle.operator_objects` from alerts.yaml, which has the comments.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: flexvol
  namespace: flexvol
spec:
"""
_DASHBOARD = """\
# Written by `python3 -m bundle.operator_objects` from dashboard.json.
apiVersion: v1
kind: ConfigMap
metadata:
  name: flexvol-dashboard
  namespace: flexvol
  labels:
    # The sidecar of Grafana's Helm chart loads each ConfigMap with this label.
    grafana_dashboard: "1"
data:
  flexvol.json: |
"""


def prometheus_rule() -> str:
    """The text of a PrometheusRule with the groups of alerts.yaml."""
    lines = (MONITORING / "alerts.yaml").read_text().splitlines(keepends=True)
    without_comments = [line for line in lines if not line.lstrip().startswith("#")]
    return _RULE + textwrap.indent("".join(without_comments), "  ")


def dashboard() -> str:
    """The text of a ConfigMap with the dashboard."""
    text = (MONITORING / "dashboard.json").read_text()
    return _DASHBOARD + textwrap.indent(text, "    ")


def contents() -> dict[Path, str]:
    """The text of each file that this module writes, by its path."""
    operator = MONITORING / "operator"
    return {
        operator / "prometheusrule.yaml": prometheus_rule(),
        operator / "dashboard.yaml": dashboard(),
    }


if __name__ == "__main__":
    for path, text in contents().items():
        path.write_text(text)
        print(f"wrote {path}")
