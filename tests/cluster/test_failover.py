"""Shared mode with two instances: whatever happens to the one that leads, the other takes over
within the lease time, and nothing is made twice. Both are processes of the test, each with its own
way to the API server, and one storage."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.controller.election import LEASE_SECONDS
from tests.cluster.kube.cluster import SERVER, STATE, Cluster
from tests.cluster.namespaces import Kubernetes, own_namespace
from tests.cluster.own_provisioner import (
    AUTHORITY,
    NAMESPACE,
    ROOT,
    OwnProvisioner,
    ScriptedDriver,
    account,
    bound,
    claim,
    delete_claims,
    storage_class,
)
from tests.cluster.proxy import CUT, Proxy
from tests.waiting import wait_until

CLASS = "scripted.failover"
LEASE = "flexvol-scripted.failover"
TAKEN_OVER_SECONDS = LEASE_SECONDS + 5  # it asks every 2 s, and this machine is busy
_FETCH = (
    "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], "
    "timeout=5).read().decode())"
)
_STEPPED_CLOCK = ROOT / "tests/cluster/stepped_clock.py"
PORTS = {"first": 9871, "second": 9872}


class Pair:
    """Two instances of one provisioner on a node, and the proxy of each."""

    def __init__(self, cluster: Cluster, token: str) -> None:
        self.lease = Kubernetes(cluster, NAMESPACE)
        self.proxies = {name: Proxy(SERVER, token, AUTHORITY) for name in PORTS}
        self.instances: dict[str, OwnProvisioner] = {}
        directory: Path | None = None
        for name, port in PORTS.items():
            self.proxies[name].start()
            words = ("--identity=failover", f"--health-port={port}")
            one = OwnProvisioner(
                cluster,
                name,
                self.proxies[name].url,
                "failover/scripted",
                *words,
            )
            self.driver = ScriptedDriver(
                one.install(
                    ROOT / "tests/drivers/scripted",
                    directory,
                )
            )
            directory = one.plugins
            one.program = [sys.executable, _STEPPED_CLOCK, self._step(name), *one.program]
            self.instances[name] = one
            self.step_clock(name, 0)

    def close(self) -> None:
        for name in PORTS:
            self.instances[name].kill()
            self.proxies[name].stop()

    def _step(self, name: str) -> Path:
        return STATE / f"{name}.step"

    def step_clock(self, name: str, seconds: int) -> None:
        """The wall clock of the instance is wrong by so much from now on."""
        aside = STATE / f".{name}.step"
        aside.write_text(str(seconds))
        aside.replace(self._step(name))

    def leads(self, name: str) -> bool:
        """What the instance says of itself."""
        url = f"http://127.0.0.1:{PORTS[name]}/metrics"
        line = (sys.executable, "-I", "-S", "-c", _FETCH, url)
        shown: str = self.instances[name].node.enter(*line, check=False, capture_output=True).stdout
        return f'\nflexvol_leader{{lease="{LEASE}"}} 1.0\n' in shown

    def leader(self) -> str:
        return next((name for name in PORTS if self.leads(name)), "")

    def other(self, name: str) -> str:
        return next(other for other in PORTS if other != name)

    def holder(self) -> str:
        lease = self.lease.get("lease", LEASE) or {}
        return str(lease.get("spec", {}).get("holderIdentity") or "")


@pytest.fixture(scope="module")
def two_instances(cluster: Cluster) -> Iterator[Pair]:
    pair = Pair(cluster, account(cluster))
    default = Kubernetes(cluster, "default")
    default.apply(storage_class("failover/scripted", volumeBindingMode="Immediate"))
    try:
        for instance in pair.instances.values():
            instance.start()
        yield pair
    finally:
        pair.close()
    default.delete("storageclass", CLASS)
    pair.lease.delete("lease", LEASE)


@pytest.fixture(scope="module")
def k8s(cluster: Cluster, two_instances: Pair) -> Iterator[Kubernetes]:
    """One for all tests here, as the instances are."""
    with own_namespace(cluster) as k8s:
        yield k8s


@pytest.fixture
def pair(two_instances: Pair, k8s: Kubernetes) -> Iterator[Pair]:
    """One of the two leads; afterwards both live."""
    wait_until("one leads", two_instances.leader)
    two_instances.driver.forget()
    yield two_instances
    for name in PORTS:
        two_instances.proxies[name].rule = lambda method, path, number: None
        two_instances.step_clock(name, 0)
        if not two_instances.instances[name].alive():
            two_instances.instances[name].start()
    delete_claims(k8s)
    assert all(instance.count("bug while") == 0 for instance in two_instances.instances.values())


def shared_claims(*names: str) -> list[dict[str, object]]:
    return [claim(name, CLASS, node="") for name in names]


def test_the_leader_is_killed_in_the_middle_of_its_work(pair: Pair, k8s: Kubernetes) -> None:
    leader = wait_until("one leads", pair.leader)
    other = pair.other(leader)
    done = [f"done-{number}" for number in range(4)]
    long = "long"
    pair.driver.will_answer(long, "hang")
    k8s.apply(*shared_claims(*done, long))
    bound(k8s, *done)
    wait_until("the driver is at work", lambda: pair.driver.calls(long))

    pair.instances[leader].kill()
    began = time.monotonic()
    after = [f"after-{number}" for number in range(4)]
    k8s.apply(*shared_claims(*after))
    wait_until("the other leads", lambda: pair.leads(other), TAKEN_OVER_SECONDS)
    assert time.monotonic() - began > LEASE_SECONDS - 5  # and not too early

    found = bound(k8s, *done, long, *after)
    assert pair.driver.volumes() == set(found.values())
    assert sorted(pair.driver.made()) == sorted(found.values())
    assert [len(pair.driver.calls(name)) for name in (*done, *after)] == [1] * 8
    assert len(pair.driver.calls(long)) == 2  # killed with it, and called again

    k8s.delete("pvc", *found)
    wait_until("the volumes are gone", lambda: not pair.driver.volumes())
    assert [len(pair.driver.calls(name, "delete")) for name in found] == [1] * 9


def test_the_leader_loses_the_lease_in_the_middle_of_a_call(pair: Pair, k8s: Kubernetes) -> None:
    """Only its renewals fail; it still reaches everything else, the PVs too. It stops, and stays
    alive."""
    leader = wait_until("one leads", pair.leader)
    other = pair.other(leader)
    pair.driver.will_answer("long", f"slow {LEASE_SECONDS + 8}")
    k8s.apply(*shared_claims("long"))
    wait_until("the driver is at work", lambda: pair.driver.calls("long"))

    pair.proxies[leader].rule = lambda method, path, number: CUT if "/leases" in path else None
    wait_until("it stops", lambda: not pair.leads(leader), LEASE_SECONDS + 1)
    wait_until("the other leads", lambda: pair.leads(other), TAKEN_OVER_SECONDS)
    names = [f"after-{number}" for number in range(4)]
    k8s.apply(*shared_claims(*names))

    found = bound(k8s, *names, "long")
    wait_until("both calls have ended", lambda: len(pair.driver.calls("long")) == 2)
    assert [len(pair.driver.calls(name)) for name in names] == [1] * 4
    assert sorted(pair.driver.made()) == sorted(found.values())
    assert pair.instances[leader].alive()
    words = "the lease is lost: standing by"
    wait_until("it says so", lambda: pair.instances[leader].count(words) == 1)


def test_no_step_of_a_wall_clock_makes_two_leaders_or_none(pair: Pair, k8s: Kubernetes) -> None:
    """The one that waits is set an hour ahead, then an hour back, before the leader is killed."""
    leader = wait_until("one leads", pair.leader)
    other = pair.other(leader)
    before = pair.holder()
    asked = pair.proxies[other].seen("GET", "/leases/")

    def has_asked() -> bool:
        return pair.proxies[other].seen("GET", "/leases/") >= asked + 3

    wait_until("the other has seen the lease", has_asked)
    asked = pair.proxies[other].seen("GET", "/leases/")
    pair.step_clock(other, 3600)
    wait_until("the other has asked for the lease since", has_asked)
    assert pair.holder() == before
    assert not pair.leads(other)

    pair.step_clock(other, -3600)
    pair.instances[leader].kill()
    wait_until("the other leads", lambda: pair.leads(other), TAKEN_OVER_SECONDS)
    k8s.apply(*shared_claims("data"))
    bound(k8s, "data")


def test_another_writes_itself_into_the_lease(pair: Pair, k8s: Kubernetes) -> None:
    """Who no longer holds it stops at once, and takes part again."""
    leader = wait_until("one leads", pair.leader)
    thief = {
        "spec": {
            "holderIdentity": "someone else",
            "renewTime": "2030-01-01T00:00:00.000000Z",
        }
    }
    pair.lease.run("patch", "lease", LEASE, "--type=merge", "-p", json.dumps(thief))
    wait_until("it stops", lambda: not pair.leads(leader), 6)
    k8s.apply(*shared_claims("data"))

    without_leader: list[list[str]] = []

    def one_leads() -> str:
        called = pair.driver.calls("data")
        leader = pair.leader()
        if not leader:
            without_leader.extend(called)
        return leader

    wait_until("one leads again", one_leads, TAKEN_OVER_SECONDS)

    assert without_leader == []  # nobody works who does not lead
    assert pair.holder() != "someone else"
    assert all(instance.alive() for instance in pair.instances.values())
    bound(k8s, "data")
    assert len(pair.driver.calls("data")) == 1


def test_where_no_node_was_chosen_none_is_given_back(pair: Pair, k8s: Kubernetes) -> None:
    """What a node would send on to another is here tried again by the same, and the claim is not
    touched."""
    leader = wait_until("one leads", pair.leader)
    reasons = {"exhausted": "ResourceExhausted", "unavailable": "Unavailable"}
    for name, reason in reasons.items():
        pair.driver.will_answer(name, reason)
    before = pair.proxies[leader].seen("PATCH", "/persistentvolumeclaims/")
    k8s.apply(*shared_claims(*reasons))

    found = bound(k8s, *reasons)
    for name, reason in reasons.items():
        k8s.event(name, "ProvisioningFailed", f"{reason}: as the script says")
        assert [call[3] for call in pair.driver.calls(name)] == [reason, "success"]
    assert sorted(pair.driver.made()) == sorted(found.values())
    assert pair.proxies[leader].seen("PATCH", "/persistentvolumeclaims/") == before
