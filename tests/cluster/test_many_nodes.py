"""What one node, and the duties of no node, cost where there are many, in a campaign a thousand:
all others are objects alone, Nodes and their published room, on the real API server. What is read
goes through a proxy that counts it. The figures are printed at the end of the run; those of an
older flexvol are got with --measured, and its tests fail."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.controller.published_rooms import NODE_LABEL
from tests.cluster.kube.cluster import SERVER, Cluster
from tests.cluster.namespaces import Kubernetes, Object, own_namespace
from tests.cluster.own_provisioner import (
    AUTHORITY,
    NAMESPACE,
    POOL,
    ROOT,
    OwnProvisioner,
    account,
    bound,
    claim,
    delete_claims,
    make_pool,
    remove_pool,
    storage_class,
)
from tests.cluster.proxy import Proxy
from tests.precompiled import precompile
from tests.waiting import wait_until

FAR = 199
FAR_IN_A_CAMPAIGN = 999
DRIVER = "crowd/loop"
CLASS = "loop.crowd"
NODES = "/api/v1/nodes"
ROOMS = f"/apis/storage.k8s.io/v1/namespaces/{NAMESPACE}/csistoragecapacities"
FAR_LABEL = "tests/far"
IDLE_SECONDS = 10
IDLE_SECONDS_IN_A_CAMPAIGN = 60
CLAIMS = 4
# The disk of the pool is others' too: so much of it is taken, so often.
OTHERS_WRITE_BYTES = 1 << 18
OTHERS_WRITE_SECONDS = 0.5
# An object of a node's room has about 1 KB, as it is read. So many are compared at once.
ROOM_BYTES = 1500
COMPARED = 16


class Crowd:
    """far: how many nodes there are beside the one. idle_seconds: how long it is looked at."""

    def __init__(
        self, provisioner: OwnProvisioner, proxy: Proxy, far: int, idle_seconds: int
    ) -> None:
        self.provisioner = provisioner
        self.proxy = proxy
        self.far = far
        self.idle_seconds = idle_seconds

    def mark(self) -> int:
        return len(self.proxy.answers)

    def writes(self, begin: int) -> int:
        return sum(method != "GET" for method, _, _ in self.proxy.answers[begin:])


def far_room(own: Object, number: int) -> Object:
    """As a node of about the same room publishes it."""
    metadata = own["metadata"]
    prefix = metadata["name"].rpartition("-")[0]
    labels = {**metadata["labels"], NODE_LABEL: f"far{number}", FAR_LABEL: "yes"}
    return {
        "metadata": {"name": f"{prefix}-far{number}", "labels": labels},
        "storageClassName": own["storageClassName"],
        "nodeTopology": {"matchLabels": {"kubernetes.io/hostname": f"far{number}"}},
        "capacity": own["capacity"],
        "maximumVolumeSize": own["maximumVolumeSize"],
    }


def far_node(number: int) -> Object:
    """No pod goes there, as its system is none. The images are what makes a Node large."""
    labels = {"kubernetes.io/os": "none", "kubernetes.io/hostname": f"far{number}"}
    images = [
        {"names": [f"registry.example/{digit:x}@sha256:{digit:064x}"], "sizeBytes": 1 << 27}
        for digit in range(50)
    ]
    return {
        "metadata": {"name": f"far{number}", "labels": {**labels, FAR_LABEL: "yes"}},
        "spec": {"unschedulable": True},
        "status": {"images": images},
    }


def duties_account(cluster: Cluster) -> str:
    """With the rights that deploy/ gives flexvol-cluster."""
    documents = yaml.safe_load_all((ROOT / "deploy/cluster.yaml").read_text())
    (role,) = [one for one in documents if one["kind"] == "ClusterRole"]
    return account(cluster, "duties", role["rules"])


@contextlib.contextmanager
def others_write(file: Path) -> Iterator[None]:
    """Meanwhile the disk that the file is on fills, little by little."""
    ended = threading.Event()

    def write() -> None:
        with file.open("wb", buffering=0) as others:
            while not ended.wait(OTHERS_WRITE_SECONDS):
                others.write(b"x" * OTHERS_WRITE_BYTES)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
        file.unlink()


@pytest.fixture(scope="module")
def crowd(cluster: Cluster, campaign: bool, pytestconfig: pytest.Config) -> Iterator[Crowd]:
    """Node1 among many others, which have as much room for its class as it."""
    far = FAR_IN_A_CAMPAIGN if campaign else FAR
    idle_seconds = IDLE_SECONDS_IN_A_CAMPAIGN if campaign else IDLE_SECONDS
    measured: Path = pytestconfig.getoption("--measured")
    default = Kubernetes(cluster, "default")
    with Proxy(SERVER, account(cluster), AUTHORITY) as proxy:
        provisioner = OwnProvisioner(cluster, "crowd", proxy.url, DRIVER, "--node=node1")
        provisioner.program = [measured / "provisioner"]
        driver = provisioner.install(measured / "flexvol")
        if measured == ROOT / "dist":
            precompile(driver)
        make_pool(provisioner.node, driver)
        parameters = {"pool": Path(POOL).name}
        default.apply(
            storage_class(
                DRIVER,
                volumeBindingMode="Immediate",
                parameters=parameters,
            )
        )
        try:
            with provisioner:
                own = wait_until("node1's room is published", lambda: own_room(cluster))
                rooms = [(ROOMS, far_room(own, number)) for number in range(far)]
                nodes = [(NODES, far_node(number)) for number in range(far)]
                cluster.api.all("POST", rooms + nodes)
                yield Crowd(provisioner, proxy, far, idle_seconds)
        finally:
            for collection in (ROOMS, NODES):
                cluster.api.call("DELETE", f"{collection}?labelSelector={FAR_LABEL}")
            default.delete("storageclass", CLASS)
            remove_pool(provisioner.node, driver)


def own_room(cluster: Cluster) -> Object | None:
    items = (cluster.api.get(ROOMS) or {"items": []})["items"]
    return next((one for one in items if one["storageClassName"] == CLASS), None)


@pytest.fixture(scope="module")
def k8s(cluster: Cluster, crowd: Crowd) -> Iterator[Kubernetes]:
    with own_namespace(cluster) as k8s:
        yield k8s


def test_a_claim_that_is_bound_at_once_is_taken_with_short_reads(
    crowd: Crowd, k8s: Kubernetes, record_property: Any
) -> None:
    """It waits its turn among equals, and compares its room with few."""
    k8s.apply(claim("first", CLASS, node="", size="32Mi"))
    bound(k8s, "first")
    begin = crowd.mark()

    names = [f"claim-{number}" for number in range(CLAIMS)]
    k8s.apply(*(claim(name, CLASS, node="", size="32Mi") for name in names))
    bound(k8s, *names)

    read = crowd.proxy.bytes_read(begin=begin) // CLAIMS
    of_rooms = crowd.proxy.bytes_read("csistoragecapacities", begin)
    record_property(f"bytes that 1 of {crowd.far + 1} nodes reads for a claim", read)
    assert 0 < of_rooms // CLAIMS < 2 * COMPARED * ROOM_BYTES
    assert read < 100_000
    delete_claims(k8s)


def test_a_node_without_work_reads_little_and_writes_little(
    crowd: Crowd, k8s: Kubernetes, record_property: Any
) -> None:
    """The room of its pool changes a little all the time."""
    quiet_since = [crowd.mark(), time.monotonic()]

    def is_quiet() -> bool:
        if crowd.writes(int(quiet_since[0])):
            quiet_since[:] = [crowd.mark(), time.monotonic()]
        return time.monotonic() - quiet_since[1] > 3

    wait_until("what the last test deleted is published", is_quiet)
    begin = crowd.mark()
    with others_write(crowd.provisioner.node.path(POOL).parent / ".others"):
        time.sleep(crowd.idle_seconds)

    read = crowd.proxy.bytes_read(begin=begin)
    writes = crowd.writes(begin)
    of_one = f"that 1 of {crowd.far + 1} nodes at rest"
    record_property(f"bytes {of_one} reads a minute", read * 60 // crowd.idle_seconds)
    record_property(f"writes {of_one} makes a minute", writes * 60 // crowd.idle_seconds)
    assert read < 100_000
    assert writes <= 1  # the exact room, or the disk has filled by a part while this ran


def test_the_duties_read_no_nodes_again_while_a_claim_waits(
    crowd: Crowd, k8s: Kubernetes, record_property: Any
) -> None:
    cluster = k8s.cluster
    with Proxy(SERVER, duties_account(cluster), AUTHORITY) as proxy:
        duties = OwnProvisioner(cluster, "duties", proxy.url, DRIVER, "--cluster")
        duties.plugins = crowd.provisioner.plugins
        duties.program = crowd.provisioner.program
        with duties:
            k8s.apply(claim("large", CLASS, node="", size="900Ti"))
            k8s.event("large", "ProvisioningFailed", "no node has room for", 60)
            begin = len(proxy.answers)
            changes = time.monotonic() + crowd.idle_seconds
            while time.monotonic() < changes:  # each is news, after which a round begins
                k8s.run("annotate", "pvc", "large", f"tests/now={time.monotonic()}", "--overwrite")
                time.sleep(0.5)
            nodes = proxy.bytes_read(NODES, begin)
            rooms = proxy.bytes_read("csistoragecapacities", begin)
    duties_read = f"that the duties of {crowd.far + 1} nodes read a minute while a claim waits"
    record_property(f"bytes of Nodes {duties_read}", nodes * 60 // crowd.idle_seconds)
    record_property(f"bytes of rooms {duties_read}", rooms * 60 // crowd.idle_seconds)
    assert nodes == 0
    assert rooms <= crowd.far * ROOM_BYTES * (1 + crowd.idle_seconds // (0.06 * crowd.far))
    delete_claims(k8s)
