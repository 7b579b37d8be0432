"""The alert rules fire when they should, and no rule and no panel asks for a metric that is not
there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml

from bundle import operator_objects
from cluster.controller import metrics
from tests import documents

ROOT = Path(__file__).resolve().parents[3]
MONITORING = ROOT / "deploy/monitoring"
ALERTS = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
PAGE = ROOT / "docs/monitoring.md"


def ours() -> set[str]:
    """Every name that a provisioner serves, with the endings that Prometheus adds."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics.Inventory(dict, int))
    families = [*registry.collect(), *prometheus_client.REGISTRY.collect()]
    return {
        family.name + ending
        for family in families
        for ending in ("", "_total", "_bucket", "_sum", "_count")
    }


def asked(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:flexvol|controller)_[a-z_]+", expression))


def test_every_alert_fires_when_it_should() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing: install the package prometheus")
    line = ["promtool", "test", "rules", str(Path(__file__).with_name("alerts.test.yaml"))]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tested = yaml.safe_load(Path(__file__).with_name("alerts.test.yaml").read_text())["tests"][0][
        "alert_rule_test"
    ]
    assert {one["alertname"] for one in tested if one["exp_alerts"]} == {
        rule["alert"] for rule in ALERTS
    }


def test_rules_and_dashboard_ask_for_what_there_is() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    panels = {target["expr"] for panel in dashboard["panels"] for target in panel["targets"]}
    expressions = {rule["expr"] for rule in ALERTS} | panels

    wanted = set().union(*map(asked, expressions))
    assert len(wanted) > 12
    assert wanted <= ours()


def test_what_other_provisioners_tell_under_the_same_names_is_left_out() -> None:
    """The reference library's names are those of many provisioners."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    panels = {target["expr"] for panel in dashboard["panels"] for target in panel["targets"]}
    expressions = {rule["expr"] for rule in ALERTS} | panels

    asked_for = [re.findall(r"controller_[a-z_]+\{?[^[]*", one) for one in expressions]
    selectors = [selector for some in asked_for for selector in some]
    assert len(selectors) == 7
    assert {re.sub(r"^[a-z_]+", "", one) for one in selectors} == {'{app=~"flexvol-.+"}'}


def test_the_scrape_configuration_is_one_and_finds_every_provisioner(tmp_path: Path) -> None:
    """Debian's promtool knows no Kubernetes discovery: that part is compared with the manifests
    instead."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing: install the package prometheus")
    (job,) = yaml.safe_load((MONITORING / "scrape.yaml").read_text())
    (discovery,) = job.pop("kubernetes_sd_configs")
    config = {"scrape_configs": [{**job, "static_configs": [{"targets": ["127.0.0.1:9808"]}]}]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    done = subprocess.run(["promtool", "check", "config", str(tmp_path / "prometheus.yml")],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

    assert discovery == {"role": "pod", "namespaces": {"names": ["flexvol"]}}
    kept = {
        rule["source_labels"][0]: rule["regex"]
        for rule in job["relabel_configs"]
        if rule.get("action") == "keep"
    }
    app, port = (f"__meta_kubernetes_pod_{name}" for name in ("label_app", "container_port_name"))
    assert set(kept) == {app, port}
    templates = {}
    for file in [*(ROOT / "deploy").glob("*.yaml"), ROOT / "deploy/shared/deployment.yaml"]:
        for manifest in yaml.safe_load_all(file.read_text()):
            if manifest and manifest["kind"] in ("DaemonSet", "Deployment"):
                templates[manifest["metadata"]["name"]] = manifest["spec"]["template"]
    assert set(templates) == {"flexvol-node", "flexvol-cluster", "flexvol-shared"}
    for template in templates.values():
        assert re.fullmatch(kept[app], template["metadata"]["labels"]["app"])
        ports = [
            one["name"]
            for container in template["spec"]["containers"]
            for one in container.get("ports", [])
        ]
        assert ports == [kept[port]]


def test_no_two_pods_are_read_under_the_same_labels() -> None:
    """Whatever runs on a node: the pod's name is a label, and it is not changed on its way."""
    (job,) = yaml.safe_load((MONITORING / "scrape.yaml").read_text())
    labels = {
        rule["target_label"]: rule
        for rule in job["relabel_configs"]
        if rule.get("action", "replace") == "replace"
    }

    assert labels["pod"] == {
        "source_labels": ["__meta_kubernetes_pod_name"],
        "target_label": "pod",
    }


def test_no_alert_is_about_a_pod_but_the_one_that_says_that_a_pod_does_not_answer() -> None:
    """Else an update of the pods would end each alert, and begin it anew."""
    bare = [
        rule["alert"]
        for rule in ALERTS
        if not re.search(r"\b(max|min|sum|group) by \(", rule["expr"])
    ]
    assert bare == ["FlexvolProvisionerDown"]


def test_the_scrape_configuration_of_the_kubelets_is_one(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing: install the package prometheus")
    (job,) = yaml.safe_load((MONITORING / "scrape-kubelet.yaml").read_text())
    assert job.pop("kubernetes_sd_configs") == [{"role": "node"}]
    (tmp_path / "token").touch()
    job["authorization"] = {"credentials_file": str(tmp_path / "token")}
    config = {"scrape_configs": [{**job, "static_configs": [{"targets": ["127.0.0.1:10250"]}]}]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))

    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def operator_object(file: str) -> dict[str, Any]:
    """An object of deploy/monitoring/operator, for the Prometheus operator or for Grafana."""
    manifest: dict[str, Any] = yaml.safe_load((MONITORING / "operator" / file).read_text())
    return manifest


def test_the_prometheus_rule_has_the_alerts() -> None:
    rule = operator_object("prometheusrule.yaml")

    alerts = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    assert rule["spec"] == alerts, "run `python3 -m bundle.operator_objects`"


def test_the_config_map_holds_the_dashboard() -> None:
    config_map = operator_object("dashboard.yaml")

    dashboard = (MONITORING / "dashboard.json").read_text()
    assert config_map["data"] == {"flexvol.json": dashboard}, (
        "run `python3 -m bundle.operator_objects`"
    )


def test_the_objects_for_the_operator_are_as_they_are_written_from_their_sources() -> None:
    changed = [
        path.name for path, text in operator_objects.contents().items() if path.read_text() != text
    ]

    assert changed == [], "run `python3 -m bundle.operator_objects`"


def test_the_pod_monitor_reads_the_pods_of_the_scrape_configuration() -> None:
    pod_monitor = operator_object("podmonitor.yaml")

    (endpoint,) = pod_monitor["spec"]["podMetricsEndpoints"]
    rules = scrape_rules()
    app = rules["__meta_kubernetes_pod_label_app", "keep"]["regex"]
    # All pods of its namespace that have the port: a selector knows no beginning of a label.
    assert pod_monitor["spec"]["selector"] == {}
    for name in ("node", "shared", "cluster", "driver-quota"):
        assert re.fullmatch(app, f"flexvol-{name}")
    port = rules["__meta_kubernetes_pod_container_port_name", "keep"]["regex"]
    assert endpoint["port"] == port
    assert pod_monitor["metadata"]["namespace"] == "flexvol"


def test_the_pod_monitor_gives_the_labels_of_the_scrape_configuration() -> None:
    (endpoint,) = operator_object("podmonitor.yaml")["spec"]["podMetricsEndpoints"]

    *given, job = [as_prometheus_has(rule) for rule in endpoint["relabelings"]]
    by_selector = {"__meta_kubernetes_pod_label_app", "__meta_kubernetes_pod_container_port_name"}
    expected = [
        rule
        for (source, action), rule in scrape_rules().items()
        if not (action == "keep" and source in by_selector)
    ]
    assert given == expected
    assert job == {"target_label": "job", "replacement": "flexvol"}


def scrape_rules() -> dict[tuple[str, str], dict[str, Any]]:
    """The rules of scrape.yaml, by the label that a rule reads and the rule's action."""
    (job,) = yaml.safe_load((MONITORING / "scrape.yaml").read_text())
    return {
        (rule["source_labels"][0], rule.get("action", "replace")): rule
        for rule in job["relabel_configs"]
    }


def as_prometheus_has(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule of a PodMonitor under the names of a Prometheus configuration."""
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return {names.get(key, key): value for key, value in rule.items()}


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of docs/monitoring.md's table that begins with the heading."""
    found = documents.table(heading)
    del found[heading]
    return found


def test_the_page_has_every_alert_and_says_what_to_do() -> None:
    table = rows("alert")

    assert [name.strip("`") for name in table] == [rule["alert"] for rule in ALERTS]
    assert all(meaning and remedy for meaning, remedy in table.values())


def test_the_page_has_every_metric_and_no_other() -> None:
    families = {name for cell in rows("metric") for name in metric_names(cell)}

    assert families == {name for name in served() if name.startswith(("flexvol_", "controller_"))}


def metric_names(cell: str) -> list[str]:
    """The metrics that a cell names; each that begins with `_` has the first one's beginning."""
    first, *others = in_spans(cell)
    return [first, *(first.removesuffix("_total") + ending for ending in others)]


def in_spans(cell: str) -> list[str]:
    """The texts of a cell's code spans."""
    return re.findall(r"`([^`]+)`", cell)


def served() -> set[str]:
    """The metrics of a provisioner, counters with the ending that Prometheus gives them."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics.Inventory(dict, int))
    families = [*registry.collect(), *prometheus_client.REGISTRY.collect()]
    return {family.name + ("_total" if family.type == "counter" else "") for family in families}


def test_the_page_shows_the_panels_of_the_dashboard() -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())

    shown = [(title, in_spans(expressions)) for title, (expressions, _) in rows("panel").items()]
    assert shown == [
        (panel["title"], [target["expr"] for target in panel["targets"]])
        for panel in dashboard["panels"]
    ]


def test_promtool_understands_the_expressions_of_the_page(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing: install the package prometheus")
    panels = rows("panel").values()
    expressions = [expression for cell, _ in panels for expression in in_spans(cell)]
    expressions += documents.blocks("promql", PAGE)
    assert len(expressions) > len(panels)
    rules = [
        {"record": f"expression:{number}", "expr": expression}
        for number, expression in enumerate(expressions)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "page", "rules": rules}]}))

    line = ["promtool", "check", "rules", str(file)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_provisioner_has_the_memory_that_was_measured() -> None:
    """tests/cluster/test_memory.py measures it, and holds the limit to twice of that."""
    found = set()
    for file in [*(ROOT / "deploy").glob("*.yaml"), ROOT / "deploy/shared/deployment.yaml"]:
        for manifest in yaml.safe_load_all(file.read_text()):
            if manifest and manifest["kind"] in ("DaemonSet", "Deployment"):
                pod = manifest["spec"]["template"]["spec"]
                for container in [*pod.get("initContainers", []), *pod["containers"]]:
                    memory = {key: value["memory"] for key, value in container["resources"].items()}
                    found.add((manifest["metadata"]["name"], memory["requests"], memory["limits"]))
    assert found == {(f"flexvol-{name}", "64Mi", "512Mi") for name in ("node", "cluster", "shared")}
