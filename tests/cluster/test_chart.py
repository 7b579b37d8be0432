"""flexvol as a Helm release: taken over from kubectl, upgraded, uninstalled and installed anew, by
the commands of docs/chart.md.

These tests run last, because flexvol is away for a moment. Afterwards it is as kubectl applied
it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.installing import install
from tests.cluster.kube import cluster as kube
from tests.cluster.kube import helm
from tests.cluster.kube.node import Node
from tests.cluster.namespaces import Kubernetes, Object, own_namespace
from tests.cluster.nodes import DRIVER, unmount
from tests.cluster.releases import VALUES, Release
from tests.waiting import wait_until

pytestmark = pytest.mark.last

MIB = 1 << 20
FLEXVOL = "flexvol"


@pytest.fixture(params=sorted(helm.VERSIONS), ids="helm {}".format)
def release(
    request: pytest.FixtureRequest, cluster: kube.Cluster, tmp_path: Path
) -> Iterator[Release]:
    """The means to make a release of the flexvol that kubectl applied. Afterwards that is back."""
    lacking = helm.missing(request.param)
    if lacking:
        pytest.skip(lacking)
    release = Release(cluster, request.param, tmp_path)
    try:
        yield release
    finally:
        release.remove()
        install(cluster)


@pytest.fixture
def k8s(release: Release, cluster: kube.Cluster) -> Iterator[Kubernetes]:
    """A namespace whose claims and pods go before the release does."""
    with own_namespace(cluster) as k8s:
        yield k8s


def pods(cluster: kube.Cluster, app: str = "flexvol-node") -> set[str]:
    """The uids of flexvol's pods that are not on their way out."""
    found = Kubernetes(cluster, FLEXVOL).all("pods", f"app={app}")
    return {one["metadata"]["uid"] for one in found if "deletionTimestamp" not in one["metadata"]}


def until_rolled_out(cluster: kube.Cluster) -> None:
    flexvol = Kubernetes(cluster, FLEXVOL)
    for name in ("daemonset/flexvol-node", "deployment/flexvol-cluster"):
        flexvol.run("rollout", "status", name, "--timeout=180s")


def write(k8s: Kubernetes, pod: str, words: str) -> None:
    k8s.shell(pod, f"echo {words} > /data/file && sync")


def read(k8s: Kubernetes, pod: str) -> str:
    return k8s.shell(pod, "cat /data/file").stdout.strip()


def test_helm_takes_over_what_kubectl_applied_and_no_pod_starts_anew(
    release: Release, k8s: Kubernetes
) -> None:
    k8s.claim()
    k8s.pod("web")
    write(k8s, "web", "before")
    before = pods(k8s.cluster)

    release.take_over()

    until_rolled_out(k8s.cluster)
    assert pods(k8s.cluster) == before
    assert read(k8s, "web") == "before"
    k8s.claim("other")
    k8s.pod("other", claim="other")


@contextlib.contextmanager
def disk(node: Node, name: str, image: Path) -> Iterator[None]:
    """A disk of the node, mounted where the pool of that name belongs."""
    directory = f"/var/lib/flexvol/{name}"
    with open(image, "wb") as file:
        file.truncate(512 * MIB)
    node.enter("mkfs.ext4", "-q", image, capture_output=True)
    node.enter("mkdir", "-p", directory)
    node.enter("mount", "-o", "loop", image, directory)
    try:
        yield
    finally:
        unmount(node, directory)
        remove = [DRIVER, "pool", "remove", name, "--away"]
        node.enter(*remove, check=False, capture_output=True)  # it may not have been made
        node.enter("rmdir", directory)
        # The next test makes pools of these names again, by the chart.
        notes = node.path("/etc/flexvol/pools.json")
        known = json.loads(notes.read_text())
        known["removed"] = [other for other in known.get("removed", []) if other != name]
        notes.write_text(json.dumps(known))


FAST: Object = {
    "pools": [{"name": "fast", "reserve": "5%"}, {"name": "photos"}],
    "classes": [
        {"name": "flexvol-loop", "parameters": {"fsType": "ext4"}},
        {"name": "flexvol-fast", "parameters": {"fsType": "ext4", "pool": "fast"}},
    ],
    "node": {
        "extraArgs": ["--log-format=json"],
        "resources": {"limits": {"memory": "400Mi"}},
    },
}


def pool_log(cluster: kube.Cluster, node: str, pool: str) -> str:
    """What the container that makes that pool printed on the node."""
    flexvol = Kubernetes(cluster, FLEXVOL)
    (name,) = [
        one["metadata"]["name"]
        for one in flexvol.all("pods", "app=flexvol-node", f"spec.nodeName={node}")
        if "deletionTimestamp" not in one["metadata"]
    ]
    return flexvol.run("logs", name, "-c", f"pool-{pool}").stdout


def test_an_upgrade_changes_what_the_values_say_while_a_pod_runs_on(
    release: Release, k8s: Kubernetes, tmp_path: Path
) -> None:
    k8s.claim()
    k8s.pod("web")
    write(k8s, "web", "before")
    started = k8s.uid("pod", "web")
    release.take_over()
    release.write({**VALUES, **FAST})
    node = k8s.cluster.nodes["node2"]

    with disk(node, "fast", tmp_path / "fast"), disk(node, "photos", tmp_path / "photos"):
        node.enter("touch", "/var/lib/flexvol/photos/holiday.jpg")
        release.follow("helm upgrade flexvol")
        until_rolled_out(k8s.cluster)

        for one in Kubernetes(k8s.cluster, FLEXVOL).all("pods", "app=flexvol-node"):
            provisioner = one["spec"]["containers"][0]
            assert "--log-format=json" in provisioner["args"]
            assert provisioner["resources"]["limits"] == {"memory": "400Mi"}
        k8s.claim("fast", storage_class="flexvol-fast")
        k8s.pod("fast", claim="fast")
        assert k8s.node_of("fast") == "node2"
        assert "no disk is mounted" in pool_log(k8s.cluster, "node1", "fast")
        assert "this node has no new pool photos" in pool_log(k8s.cluster, "node2", "photos")
        assert k8s.uid("pod", "web") == started and read(k8s, "web") == "before"

        k8s.delete("pod", "fast")
        volume = k8s.volume_of("fast")["metadata"]["name"]
        k8s.delete("pvc", "fast")
        k8s.until_gone("pv", volume)
        node.enter(DRIVER, "pool", "remove", "fast", capture_output=True)
        replaced = pods(k8s.cluster)
        release.follow("kubectl -n flexvol rollout restart")
        until_rolled_out(k8s.cluster)
        assert not replaced & pods(k8s.cluster)
        assert "pool fast was removed from this node by hand" in pool_log(
            k8s.cluster, "node2", "fast"
        )


def test_an_uninstall_leaves_volumes_where_a_new_install_finds_them(
    release: Release, k8s: Kubernetes
) -> None:
    release.write({**VALUES, "secrets": {"enabled": True}})
    release.take_over()
    k8s.claim()
    k8s.pod("web")
    write(k8s, "web", "before")
    volume = k8s.volume_of()["metadata"]["name"]

    listed = release.run("kubectl flexvol uninstall", check=False)
    assert listed.returncode == 1 and volume in listed.stdout
    objects = release.objects()
    release.follow("helm uninstall")

    def left() -> list[str]:
        return [one["metadata"]["name"] for one in objects if is_there(k8s, one)]

    wait_until("only the keys' namespace is left", lambda: left() == ["flexvol-secrets"], 120)
    assert k8s.get("pv", volume)
    assert read(k8s, "web") == "before"

    k8s.cluster.kubectl("delete", "namespace", FLEXVOL, capture_output=True)
    release.follow("kubectl create namespace")
    release.follow("kubectl label namespace")
    notes = release.follow("helm install")
    release.follow("kubectl -n flexvol rollout status")

    assert "kubectl -n flexvol rollout status daemonset/flexvol-node" in notes
    assert "storageClassName: flexvol-loop" in notes
    k8s.delete("pod", "web")
    k8s.pod("again")
    assert read(k8s, "again") == "before"
    k8s.cluster.kubectl("delete", "namespace", "flexvol-secrets", capture_output=True)


def is_there(k8s: Kubernetes, one: Object) -> bool:
    namespace = one["metadata"].get("namespace", "default")
    found = Kubernetes(k8s.cluster, namespace).run(
        "get", one["kind"], one["metadata"]["name"], "--ignore-not-found", "-o", "name"
    )
    return bool(found.stdout)
