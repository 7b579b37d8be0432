"""A real Prometheus, with what deploy/monitoring ships, reads every provisioner and kubelet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.namespaces import Kubernetes
from tests.cluster.prometheus import Prometheus
from tests.waiting import wait_until

Query = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def query(k8s: Kubernetes, tmp_path: Path) -> Iterator[Query]:
    """Asks a Prometheus; a list of {"metric": labels, "value": [time, text]}."""
    with Prometheus(k8s.cluster, tmp_path).running() as prometheus:
        yield prometheus.ask


def test_every_provisioner_is_read_and_a_volume_is_followed_from_its_claim(
    k8s: Kubernetes, query: Query
) -> None:
    wait_until(
        "all provisioners are read",
        lambda: len(query('up{job="flexvol"} == 1')) == 3,
        60,
    )

    def instances(expression: str) -> set[str]:
        return {one["metric"]["instance"] for one in query(expression)}

    wait_until(
        "both nodes' instances work",
        lambda: instances('flexvol_leader{app="flexvol-node"} == 1') == {"node1", "node2"},
    )
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

    # A read that fails, as of a busy provisioner, takes away all its samples until the next one.
    def values(expression: str) -> list[str]:
        return [one["value"][1] for one in query(expression)]

    wait_until(
        "its size is read",
        lambda: values(f'flexvol_volume_size_bytes{{volume="{name}"}}') == [str(64 << 20)],
    )
    made = (float(before[0]["value"][1]) if before else 0) + 1
    wait_until(
        "it is counted",
        lambda: (
            [*map(float, values("sum(controller_persistentvolumeclaim_provision_total)"))] == [made]
        ),
    )
    called = 'flexvol_callout_duration_seconds_count{callout="provision",outcome="Success"}'
    wait_until("the call is read", lambda: query(called))
    wait_until(
        "both pools are up",
        lambda: instances("flexvol_pool_up == 1") == {"node1", "node2"},
    )
    assert query("flexvol_pool_up != 1") == []
    wait_until(
        "its error is read",
        lambda: values(f'flexvol_volume_error{{volume="{name}"}}') == ["0"],
    )
    assert query("flexvol_volume_error != 0") == []
