"""A real Prometheus beside the control plane, with the scrape configurations and the rules of
deploy/monitoring.

Debian's is built without Kubernetes discovery. So what that would find is written to a file, with
the same labels, and the shipped relabelling works on them. In the rules a minute is a second."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kube.cluster import STATE, Cluster
from tests.sources import ROOT

MONITORING = ROOT / "deploy/monitoring"
ADDRESS = "127.0.0.1:19090"
KUBELET_PORT = 10250
Object = dict[str, Any]
_SECONDS = {"m": 1, "h": 60, "d": 1440}
# What a rule says in a number of seconds cannot be told from other numbers. A sound node lists
# within 17 s, and the shortest call that a test makes slow takes 2 s.
_THRESHOLDS = {
    "flexvol_list_age_seconds) > 300": "flexvol_list_age_seconds) > 25",
    "[18s]))) > 30": "[18s]))) > 1",
}
_STOP_SECONDS = 20


def quick_rules() -> str:
    """The shipped rules, a minute of which is a second."""
    text = (MONITORING / "alerts.yaml").read_text()
    text = re.sub(
        r"(?<=for: )(\d+)([mhd])$|(?<=\[)(\d+)([mhd])(?=\])",
        lambda found: _in_seconds(found[1] or found[3], found[2] or found[4]),
        text,
        flags=re.MULTILINE,
    )
    for shipped, quick in _THRESHOLDS.items():
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, quick)
    return text


def _in_seconds(number: str, unit: str) -> str:
    return f"{int(number) * _SECONDS[unit]}s"


class Prometheus:
    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster = cluster
        self._directory = directory
        self._beside = [str(word) for word in cluster.kubectl_line()[:2]]
        (directory / "rules.yml").write_text(quick_rules())
        (directory / "token").write_text("admin-token")
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(directory / "rules.yml")],
            "scrape_configs": [
                self._job("scrape.yaml"),
                self._job("scrape-kubelet.yaml"),
            ],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))

    def _job(self, name: str) -> Object:
        """A shipped scrape configuration, whose discovery reads a file."""
        job: Object
        (job,) = yaml.safe_load((MONITORING / name).read_text())
        (discovery,) = job.pop("kubernetes_sd_configs")
        file = self._directory / f"{discovery['role']}.json"
        job["file_sd_configs"] = [{"files": [str(file)], "refresh_interval": "1s"}]
        if "authorization" in job:
            job["authorization"] = {"credentials_file": str(self._directory / "token")}
        return job

    def discover(self) -> None:
        """Writes what Kubernetes discovery finds now."""
        pods = self._cluster.api.get("/api/v1/namespaces/flexvol/pods") or {"items": []}
        nodes = self._cluster.api.get("/api/v1/nodes") or {"items": []}
        self._write("pod", [target for pod in pods["items"] for target in _of_pod(pod)])
        self._write("node", [_of_node(node) for node in nodes["items"]])

    def _write(self, role: str, targets: list[Object]) -> None:
        aside = self._directory / f".{role}.json"
        aside.write_text(json.dumps(targets))
        aside.rename(self._directory / f"{role}.json")

    @contextmanager
    def running(self) -> Iterator[Prometheus]:
        self.discover()
        line = [
            *self._beside,
            "prometheus",
            f"--config.file={self._directory}/prometheus.yml",
            f"--storage.tsdb.path={self._directory}/data",
            f"--web.listen-address={ADDRESS}",
        ]
        log = self._directory / "log"
        with log.open("wb") as output:
            self._server = subprocess.Popen(line, stdout=output, stderr=output, cwd=STATE)
        try:
            yield self
        finally:
            self._server.terminate()
            self._server.wait(_STOP_SECONDS)

    def ask(self, expression: str) -> list[Object]:
        """The samples: {"metric": labels, "value": [time, text]}."""
        self.discover()
        asking = [*self._beside, "promtool", "query", "instant", "-o", "json", f"http://{ADDRESS}"]
        done = subprocess.run(
            [*asking, expression],
            capture_output=True,
            text=True,
            check=False,
        )
        assert self._server.poll() is None, (self._directory / "log").read_text()
        found: list[Object] = json.loads(done.stdout) if done.returncode == 0 else []
        return found

    def firing(self) -> list[Object]:
        """The labels of each alert that fires now."""
        return [one["metric"] for one in self.ask('ALERTS{alertstate="firing"}')]

    def fired(self, seconds: float) -> list[Object]:
        """The labels of each alert that has fired within these seconds."""
        within = f'max_over_time(ALERTS{{alertstate="firing"}}[{int(seconds) + 1}s])'
        return [one["metric"] for one in self.ask(within)]


def _of_pod(pod: Object) -> list[Object]:
    """A target for each port of each container, as the role `pod` finds them
    (prometheus/discovery/kubernetes/pod.go, buildPod)."""
    address = pod["status"].get("podIP")
    if not address:
        return []
    metadata = pod["metadata"]
    meta = "__meta_kubernetes_pod_"
    about = {
        f"{meta}name": metadata["name"],
        f"{meta}ip": address,
        f"{meta}phase": pod["status"].get("phase", ""),
        f"{meta}node_name": pod["spec"].get("nodeName", ""),
    }
    for name, value in (metadata.get("labels") or {}).items():
        about[f"{meta}label_{_as_label(name)}"] = value
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    return [
        {
            "targets": [f"{address}:{port['containerPort']}"],
            "labels": {**about, f"{meta}container_port_name": port.get("name", "")},
        }
        for container in containers
        for port in container.get("ports", [])
    ]


def _of_node(node: Object) -> Object:
    addresses = {one["type"]: one["address"] for one in node["status"]["addresses"]}
    meta = "__meta_kubernetes_node_"
    about = {f"{meta}name": node["metadata"]["name"]}
    for name, value in node["metadata"]["labels"].items():
        about[f"{meta}label_{_as_label(name)}"] = value
        about[f"{meta}labelpresent_{_as_label(name)}"] = "true"
    return {"targets": [f"{addresses['InternalIP']}:{KUBELET_PORT}"], "labels": about}


def _as_label(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)
