"""Each alert is brought about by the state that it names, and goes away with it: a real Prometheus
with what deploy/monitoring ships, in whose rules a minute is a second."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.cluster.namespaces import Kubernetes, Object, hostname, published, storage_class
from tests.cluster.nodes import DRIVER, POOL
from tests.cluster.own_provisioner import bound, claim
from tests.cluster.processes import one_process
from tests.cluster.prometheus import MONITORING, Prometheus
from tests.waiting import wait_until

ALERTS = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
CLASS = "flexvol-loop"
AT_ONCE = "flexvol-at-once"  # its volumeBindingMode is Immediate
FILL = """
set -e
cd /data
mkdir names
seq $(($(stat -f -c %d .) * 95 / 100)) | (cd names && xargs touch)
dd if=/dev/zero of=blob bs=4096 count=$(($(stat -f -c %a .) * 95 / 100))
sync
"""


@pytest.fixture
def prometheus(k8s: Kubernetes, tmp_path: Path) -> Iterator[Prometheus]:
    with Prometheus(k8s.cluster, tmp_path).running() as prometheus:
        yield prometheus


class Troubles:
    """Each makes one state on the node `sick`, and undoes it at the end; `stopped` is the node of
    flexvol-cluster, whose own provisioner is stopped."""

    def __init__(self, k8s: Kubernetes) -> None:
        self.k8s = k8s
        self.stopped = wait_until("flexvol-cluster has a node", self.leaders_node)
        (self.sick,) = set(k8s.cluster.nodes) - {self.stopped}
        self.node = k8s.cluster.nodes[self.sick]

    def leaders_node(self) -> str:
        pods = self.flexvol().all("pods", "app=flexvol-cluster")
        return next(
            (pod["spec"]["nodeName"] for pod in pods if "nodeName" in pod["spec"]),
            "",
        )

    def flexvol(self) -> Kubernetes:
        return Kubernetes(self.k8s.cluster, "flexvol")

    def volume(self, name: str) -> str:
        """The PV of a new claim on the sick node, which no pod has."""
        self.k8s.apply(claim(name, CLASS, self.sick))
        return bound(self.k8s, name)[name]

    def driver(self, *words: str) -> None:
        self.node.enter(DRIVER, *words, capture_output=True)

    @contextlib.contextmanager
    def stopped_provisioner(self) -> Iterator[None]:
        pid = one_process("/usr/local/bin/provisioner", f"--node={self.stopped}")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def pool_away(self) -> Iterator[None]:
        self.driver("pool", "init", "away")
        path = self.node.path("/var/lib/flexvol/away")
        path.rename(path.with_name(".away"))
        try:
            yield
        finally:
            path.with_name(".away").rename(path)
            self.driver("pool", "remove", "away")

    @contextlib.contextmanager
    def pool_without_room(self) -> Iterator[None]:
        self.driver("pool", "init", "crowded", "--reserve", "100%")
        try:
            yield
        finally:
            self.driver("pool", "remove", "crowded")

    @contextlib.contextmanager
    def full_volume(self) -> Iterator[None]:
        self.k8s.claim("full")
        self.k8s.pod("writer", claim="full", node=self.sick)
        self.k8s.shell("writer", FILL)
        yield
        self.k8s.shell("writer", "rm -r /data/names /data/blob")

    @contextlib.contextmanager
    def damaged_volume(self) -> Iterator[None]:
        record = self.node.path(POOL) / self.volume("damaged") / "volume.json"
        text = record.read_text()
        record.write_text("{")
        try:
            yield
        finally:
            record.write_text(text)

    @contextlib.contextmanager
    def lost_volume(self) -> Iterator[None]:
        """A PV of a node that is gone."""
        notes = {
            "pv.kubernetes.io/provisioned-by": "loop.flexvol",
            "flexvol/identity": "node-gone",
        }
        term = {
            "key": "kubernetes.io/hostname",
            "operator": "In",
            "values": ["node-gone"],
        }
        name = f"lost-{self.k8s.namespace}"
        spec = {
            "capacity": {"storage": "32Mi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "flexVolume": {"driver": "flexvol/loop", "options": {"pool": "default"}},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
        }
        metadata = {"name": name, "annotations": notes}
        kinds = {"apiVersion": "v1", "kind": "PersistentVolume"}
        self.k8s.apply({**kinds, "metadata": metadata, "spec": spec})
        try:
            yield
        finally:
            self.k8s.delete("pv", name)

    @contextlib.contextmanager
    def orphan(self) -> Iterator[None]:
        volume = self.volume("orphan")
        policy = '{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}'
        self.k8s.run("patch", "pv", volume, "-p", policy)
        self.k8s.delete("pvc", "orphan")
        self.k8s.delete("pv", volume)
        try:
            yield
        finally:
            self.driver("delete", volume, "--yes")

    @contextlib.contextmanager
    def failing_claim(self) -> Iterator[None]:
        """A copy of a claim that is not there."""
        made = claim("failing", CLASS, self.sick)
        made["spec"]["dataSource"] = {"kind": "PersistentVolumeClaim", "name": "nothing"}
        self.k8s.apply(made)
        try:
            yield
        finally:
            self.k8s.delete("pvc", "failing")

    @contextlib.contextmanager
    def failing_deletion(self) -> Iterator[None]:
        """Of a volume whose image is held, as by another node; each call waits for it for 2 s."""
        volume = self.volume("held")
        with (self.node.path(POOL) / volume / "image").open("rb") as image:
            fcntl.flock(image, fcntl.LOCK_EX)
            self.k8s.run("delete", "pvc", "held", "--wait=false")
            yield
        # A change of the PV makes its turn come at once, unless the PV is gone by now.
        self.k8s.run("annotate", "pv", volume, "tests/free=yes", check=False)
        self.k8s.until_gone("pv", volume)

    @contextlib.contextmanager
    def claim_of_no_node(self) -> Iterator[None]:
        self.k8s.apply(storage_class(AT_ONCE, volumeBindingMode="Immediate"))
        self.k8s.claim("large", "1Pi", AT_ONCE)
        try:
            yield
        finally:
            self.k8s.delete("pvc", "large")
            self.k8s.delete("storageclass", AT_ONCE)

    @contextlib.contextmanager
    def failing_list(self) -> Iterator[None]:
        config = self.node.path("/etc/flexvol") / "config.json"
        before = config.read_text() if config.exists() else None
        config.write_text("{")
        try:
            yield
        finally:
            config.unlink()
            if before is not None:
                config.write_text(before)

    @contextlib.contextmanager
    def nobody_leads(self) -> Iterator[None]:
        self.flexvol().run("scale", "deployment/flexvol-cluster", "--replicas=0")
        try:
            yield
        finally:
            self.flexvol().run("scale", "deployment/flexvol-cluster", "--replicas=1")


def lasting(troubles: Troubles) -> list[Object]:
    """The alerts that last as long as their state."""
    sick = troubles.sick
    claim_of = {"persistentvolumeclaim": "full"}
    return [
        {"alertname": "FlexvolProvisionerDown", "instance": troubles.stopped},
        {"alertname": "FlexvolPoolDown", "instance": sick, "pool": "away"},
        {"alertname": "FlexvolPoolHasNoRoom", "instance": sick, "pool": "crowded"},
        {
            "alertname": "FlexvolVolumeFull",
            "namespace": troubles.k8s.namespace,
            **claim_of,
        },
        {
            "alertname": "FlexvolVolumeHasNoInodes",
            "namespace": troubles.k8s.namespace,
            **claim_of,
        },
        {"alertname": "FlexvolVolumeDamaged", "instance": sick},
        {"alertname": "FlexvolVolumesLost", "reason": "node-gone"},
        {"alertname": "FlexvolVolumesOrphaned", "instance": sick},
        {"alertname": "FlexvolWorkWaits", "instance": sick},
        {
            "alertname": "FlexvolWorkWaits",
            "instance": troubles.stopped,
        },  # flexvol-cluster's
    ]


def passing(troubles: Troubles) -> list[Object]:
    """The alerts about attempts. These become rarer with time, which passes no faster here than it
    does anywhere: after the first of the minutes that are seconds there are too few."""
    of_class = {"instance": troubles.sick, "class": CLASS}
    return [
        {"alertname": "FlexvolProvisioningFails", **of_class},
        {"alertname": "FlexvolDeletionFails", **of_class},
        {
            "alertname": "FlexvolCalloutsSlow",
            "instance": troubles.sick,
            "callout": "delete",
        },
    ]


def fits(alert: Object, wanted: Object) -> bool:
    return all(alert.get(key) == value for key, value in wanted.items())


def difference(alerts: list[Object], wanted: list[Object]) -> list[Object]:
    """What is missing, what is too much, and what is there twice. That other callouts are slow too
    is no wonder, where 1 s stands for 30 s."""
    missing = [one for one in wanted if sum(fits(alert, one) for alert in alerts) != 1]
    more = [
        alert
        for alert in alerts
        if alert["alertname"] != "FlexvolCalloutsSlow"
        and not any(fits(alert, one) for one in wanted)
    ]
    return missing + more


def until_exactly(
    prometheus: Prometheus,
    wanted: list[Object],
    seconds: float,
    besides: list[Object] | None = None,
) -> None:
    """Waits until each of these alerts fires once, and no other. besides: those that may."""
    last: list[Object] = []

    def is_exact() -> bool:
        last[:] = [
            one
            for one in difference(prometheus.firing(), wanted)
            if not any(fits(one, it) for it in besides or [])
        ]
        return not last

    try:
        wait_until("exactly these alerts fire", is_exact, seconds)
    except AssertionError:
        raise AssertionError(f"missing, or too much: {last}") from None


def until_all_are_well(prometheus: Prometheus) -> None:
    """And nothing is about to fire."""
    wait_until(
        "all are read",
        lambda: len(prometheus.ask('up{job=~"flexvol.*"} == 1')) == 5,
    )

    def is_well() -> bool:
        return difference([one["metric"] for one in prometheus.ask("ALERTS")], []) == []

    wait_until("no alert is pending", is_well)


def test_each_alert_comes_with_its_state_and_goes_with_it(
    k8s: Kubernetes, prometheus: Prometheus
) -> None:
    troubles = Troubles(k8s)
    names = {one["alertname"] for one in lasting(troubles) + passing(troubles)}
    assert {rule["alert"] for rule in ALERTS} == {*names, "FlexvolNoLeader", "FlexvolListFails"}
    until_all_are_well(prometheus)
    began = time.monotonic()
    with ExitStack() as stack:
        for trouble in (
            troubles.failing_claim,
            troubles.claim_of_no_node,
            troubles.failing_deletion,
            troubles.lost_volume,
            troubles.pool_away,
            troubles.pool_without_room,
            troubles.damaged_volume,
            troubles.orphan,
            troubles.full_volume,
        ):
            stack.enter_context(trouble())
        wait_until(
            "the large claim is told of",
            lambda: prometheus.ask("flexvol_claims_not_taken == 1"),
        )
        depth = f'flexvol_queue_depth{{instance="{troubles.stopped}",app="flexvol-node"}}'
        (waiting,) = wait_until("its queue is read", lambda: prometheus.ask(depth))
        # That claim is no work of this node, though the node might take it.
        assert waiting["value"][1] == "0"
        stack.enter_context(troubles.stopped_provisioner())

        until_exactly_since(prometheus, began, lasting(troubles) + passing(troubles))
        until_exactly(prometheus, lasting(troubles), 60, besides=passing(troubles))
    until_exactly(prometheus, [], 60)


def until_exactly_since(prometheus: Prometheus, began: float, wanted: list[Object]) -> None:
    """Waits until each of these alerts has fired, and no other has."""
    last: list[Object] = []

    def is_exact() -> bool:
        last[:] = difference(prometheus.fired(time.monotonic() - began), wanted)
        return not last

    try:
        wait_until("these alerts have fired", is_exact, 120)
    except AssertionError:
        raise AssertionError(f"missing, or too much: {last}") from None


def test_where_nobody_leads_and_a_driver_does_not_list_the_room_is_gone_and_the_figures_too(
    k8s: Kubernetes, prometheus: Prometheus
) -> None:
    troubles = Troubles(k8s)
    of_sick = f'{{instance="{troubles.sick}"}}'
    host = hostname(k8s, troubles.sick)
    until_all_are_well(prometheus)
    wait_until("its room is published", lambda: published(k8s).get(host, 0) > 0)
    wanted = [
        {"alertname": "FlexvolNoLeader", "app": "flexvol-cluster"},
        {
            "alertname": "FlexvolListFails",
            "instance": troubles.sick,
            "driver": "flexvol/loop",
        },
        {"alertname": "FlexvolPoolDown", "instance": troubles.sick, "pool": "default"},
    ]
    with troubles.nobody_leads(), troubles.failing_list():
        until_exactly(prometheus, wanted, 90)
        wait_until("its room is gone", lambda: published(k8s)[host] == 0)
        for figure in ("flexvol_pool_free_bytes", "flexvol_volumes", "flexvol_orphans"):
            assert prometheus.ask(figure + of_sick) == [], figure
    until_exactly(prometheus, [], 90)
    wait_until("its room is published again", lambda: published(k8s)[host] > 0)
