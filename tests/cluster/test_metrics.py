"""A real Prometheus, with the rules of deploy/monitoring, reads every provisioner.

Debian's is built without Kubernetes discovery, so the test names the pods, as
deploy/monitoring/scrape.yaml finds them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import Kubernetes
from tests.cluster.kube.cluster import wait_until
from tests.conftest import ROOT

ADDRESS = "127.0.0.1:19090"
Query = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def query(k8s: Kubernetes, tmp_path: Path) -> Iterator[Query]:
    """Asks a Prometheus that runs beside the control plane; a list of {"metric": labels, "value":
    [time, text]}."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is missing: install the package of that name")
    shown = k8s.cluster.kubectl(
        "-n", "flexvol", "get", "pods", "-l", "app=flexvol-node", "-o", "json", capture_output=True
    )
    targets = [
        {
            "targets": [f"{pod['status']['podIP']}:9808"],
            "labels": {"instance": pod["spec"]["nodeName"]},
        }
        for pod in json.loads(shown.stdout)["items"]
    ]
    scrape = [{"job_name": "flexvol", "static_configs": targets}]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "deploy/monitoring/alerts.yaml")],
        "scrape_configs": scrape,
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    beside = k8s.cluster.kubectl_line()[:2]
    line = [
        *beside,
        "prometheus",
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
    ]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*map(str, line), f"--web.listen-address={ADDRESS}"], stdout=log, stderr=log
        )

    def ask(expression: str) -> list[dict[str, Any]]:
        asking = [
            *map(str, beside),
            "promtool",
            "query",
            "instant",
            "-o",
            "json",
            f"http://{ADDRESS}",
            expression,
        ]
        done = subprocess.run(asking, capture_output=True, text=True, check=False)
        assert server.poll() is None, (tmp_path / "log").read_text()
        found: list[dict[str, Any]] = json.loads(done.stdout) if done.returncode == 0 else []
        return found

    try:
        yield ask
    finally:
        server.terminate()
        server.wait(20)


def test_every_provisioner_is_read_and_a_volume_is_followed_from_its_claim(
    k8s: Kubernetes, query: Query
) -> None:
    wait_until("both provisioners are read", lambda: len(query('up{job="flexvol"} == 1')) == 2, 60)
    assert {one["metric"]["instance"] for one in query("flexvol_leader == 1")} == {"node1", "node2"}
    before = query("sum(controller_persistentvolumeclaim_provision_total)")
    k8s.claim()
    k8s.pod("web", node="node2")
    k8s.shell("web", "dd if=/dev/urandom of=/data/blob bs=1M count=8 && sync")

    joined = (
        "flexvol_volume_used_bytes * on (instance, driver, pool, volume) group_left "
        "(persistentvolumeclaim) "
        f'flexvol_volume_info{{persistentvolumeclaim_namespace="{k8s.namespace}"}} > 8e6'
    )
    (used,) = wait_until("the volume's use is read", lambda: query(joined), 40)

    assert (used["metric"]["instance"], used["metric"]["persistentvolumeclaim"]) == (
        "node2",
        "data",
    )
    name = k8s.volume_of()["metadata"]["name"]
    assert [one["value"][1] for one in query(f'flexvol_volume_size_bytes{{volume="{name}"}}')] == [
        str(64 << 20)
    ]
    made = query("sum(controller_persistentvolumeclaim_provision_total)")
    assert float(made[0]["value"][1]) == (float(before[0]["value"][1]) if before else 0) + 1
    assert query('flexvol_callout_duration_seconds_count{callout="provision",outcome="Success"}')
    assert {one["metric"]["instance"] for one in query("flexvol_pool_up == 1")} == {
        "node1",
        "node2",
    }
    assert query("flexvol_pool_up != 1") == []
    assert [one["value"][1] for one in query(f'flexvol_volume_error{{volume="{name}"}}')] == ["0"]
    assert query("flexvol_volume_error != 0") == []
