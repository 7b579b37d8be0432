"""A claim becomes a mounted volume in a pod, and goes again without a trace, installed by kubectl
apply -k."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.cluster.claims import size_mib
from tests.cluster.namespaces import Kubernetes, Object, pod, storage_class
from tests.cluster.nodes import POOL, volumes_on
from tests.waiting import wait_until


def free_mib(k8s: Kubernetes, name: str) -> float:
    """What df shows as available."""
    words = k8s.shell(name, "df -k /data | tail -1").stdout.split()
    return int(words[3]) / 1024


def devices_of(image: os.stat_result) -> list[str]:
    """The loop devices on a file, also one that was deleted since."""
    line = ["losetup", "--list", "--noheadings", "--output", "NAME,BACK-MAJ:MIN,BACK-INO"]
    rows = [
        row.split()
        for row in subprocess.run(
            line, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    ]
    number = f"{os.major(image.st_dev)}:{os.minor(image.st_dev)}"
    return [device for device, *backing in rows if backing == [number, str(image.st_ino)]]


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_a_claim_lives_its_whole_life_on_the_node_the_scheduler_chose(
    k8s: Kubernetes, node: str
) -> None:
    k8s.claim(size="64Mi")
    k8s.pod("web", node=node)

    volume = k8s.volume_of()
    name = volume["metadata"]["name"]
    spec = volume["spec"]
    (term,) = spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    ]
    assert spec["capacity"] == {"storage": "64Mi"}
    assert volume["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == "loop.flexvol"
    assert name == "pvc-" + spec["claimRef"]["uid"]
    assert volumes_on(k8s.cluster, node) == {name}

    k8s.shell("web", "echo hello > /data/greeting && sync")
    k8s.pod("second")
    assert k8s.node_of("second") == node
    assert k8s.shell("second", "cat /data/greeting").stdout == "hello\n"
    assert round(free_mib(k8s, "web"), 1) == 54.7

    full = k8s.shell("web", "dd if=/dev/zero of=/data/fill bs=1M count=200", check=False)
    assert full.returncode != 0
    assert "No space left on device" in full.stderr
    image = k8s.cluster.nodes[node].path(f"{POOL}/{name}/image").stat()
    assert image.st_size == 64 << 20
    assert image.st_blocks * 512 <= 64 << 20

    pods = k8s.cluster.nodes[node].path("/var/lib/kubelet/pods")
    assert len(list(pods.glob(f"*/volumes/flexvol~loop/{name}"))) == 2
    assert len(devices_of(image)) == 1
    k8s.delete("pod", "web", "second")
    k8s.pod("again")
    assert k8s.node_of("again") == node
    assert k8s.shell("again", "cat /data/greeting").stdout == "hello\n"

    k8s.delete("pod", "again")
    k8s.delete("pvc", "data")
    k8s.until_gone("pv", name)
    assert volumes_on(k8s.cluster, node) == set()
    wait_until("the loop device is gone", lambda: devices_of(image) == [])
    wait_until(
        "the pods' directories are gone",
        lambda: not list(pods.glob(f"*/volumes/flexvol~loop/{name}")),
    )


def test_the_claims_events_tell_what_happened(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.pod("web")

    k8s.event("data", "Provisioning", "External provisioner is provisioning")
    k8s.event("data", "ProvisioningSucceeded", k8s.volume_of()["metadata"]["name"])


def test_a_gibibyte_shows_as_what_ext4_leaves_of_it(k8s: Kubernetes) -> None:
    k8s.claim(size="1Gi")
    k8s.pod("web")

    assert round(free_mib(k8s, "web")) == 957


def test_an_xfs_claim_grows_while_its_pod_runs(k8s: Kubernetes) -> None:
    k8s.apply(storage_class("grow-xfs", parameters={"fsType": "xfs"}))
    k8s.claim(size="320Mi", storage_class="grow-xfs")
    k8s.pod("web")
    before = size_mib(k8s, "web")
    k8s.shell("web", "echo kept > /data/file")

    k8s.claim(size="640Mi", storage_class="grow-xfs")

    wait_until("df follows", lambda: size_mib(k8s, "web") > before + 300, 120)
    assert k8s.shell("web", "cat /data/file").stdout == "kept\n"
    wait_until(
        "the claim says so",
        lambda: k8s.find("pvc", "data")["status"]["capacity"] == {"storage": "640Mi"},
    )


def test_an_ext4_claim_grows_while_its_pod_runs_or_at_its_next_start(k8s: Kubernetes) -> None:
    k8s.claim(size="64Mi")
    k8s.pod("web")
    k8s.shell("web", "echo kept > /data/file")

    k8s.claim(size="128Mi")

    def outcome() -> str:
        if size_mib(k8s, "web") > 110:
            return "grown"
        events = k8s.all("events", fields="reason=VolumeResizeFailed")
        return next(
            (event["message"] for event in events if "CAP_SYS_RESOURCE" in event["message"]),
            "",
        )

    if wait_until("growth or the reason why not", outcome, 120) != "grown":
        k8s.delete("pod", "web")
        k8s.pod("web")
        assert size_mib(k8s, "web") > 110
    assert k8s.shell("web", "cat /data/file").stdout == "kept\n"
    wait_until(
        "the claim says so",
        lambda: k8s.find("pvc", "data")["status"]["capacity"] == {"storage": "128Mi"},
    )


def test_an_ext4_claim_that_grew_without_a_pod_grows_at_its_start(k8s: Kubernetes) -> None:
    k8s.claim(size="64Mi")
    k8s.pod("web")
    k8s.delete("pod", "web")
    k8s.claim(size="128Mi")
    wait_until(
        "the PV has grown",
        lambda: k8s.volume_of()["spec"]["capacity"] == {"storage": "128Mi"},
    )

    k8s.pod("web")

    assert size_mib(k8s, "web") > 110


def test_kubelets_stats_show_the_volume(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")

    def stats() -> list[int]:
        summary = json.loads(
            k8s.run("get", "--raw", "/api/v1/nodes/node1/proxy/stats/summary").stdout
        )
        pods = [one for one in summary["pods"] if one["podRef"]["namespace"] == k8s.namespace]
        return [
            one["capacityBytes"]
            for found in pods
            for one in found.get("volume", [])
            if one["name"] == "data"
        ]

    (capacity,) = wait_until("the stats have the volume", stats)
    assert 55 << 20 < capacity < 64 << 20


def test_with_policy_retain_the_image_stays(k8s: Kubernetes) -> None:
    k8s.apply(storage_class("retain", reclaimPolicy="Retain"))
    k8s.claim(storage_class="retain")
    k8s.pod("web", node="node1")
    name = k8s.volume_of()["metadata"]["name"]
    k8s.delete("pod", "web")
    k8s.delete("pvc", "data")

    k8s.until_phase("pv", name, "Released")
    k8s.delete("pv", name)

    assert k8s.get("pv", name) is None
    assert volumes_on(k8s.cluster, "node1") == {name}
    options = {
        "kubernetes.io/pvOrVolumeName": name,
        "kubernetes.io/pvc.namespace": k8s.namespace,
        "kubernetes.io/pvc.name": "data",
        "kubernetes.io/pvc.uid": name[len("pvc-") :],
        "pool": "default",
        "poolId": json.loads(k8s.cluster.nodes["node1"].path(f"{POOL}/pool.json").read_text())[
            "id"
        ],
    }
    driver = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/flexvol~loop/loop"

    def deleted() -> (
        bool
    ):  # by hand, as an administrator would; the last pod may still be unmounting
        done = k8s.cluster.nodes["node1"].enter(
            driver, "delete", json.dumps(options), capture_output=True
        )
        return bool(json.loads(done.stdout)["status"] == "Success")

    wait_until("the driver deletes it", deleted)
    assert volumes_on(k8s.cluster, "node1") == set()


def test_a_pv_deleted_before_its_claim_takes_its_storage_along(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")
    name = k8s.volume_of()["metadata"]["name"]
    k8s.run("delete", "pv", name, "--wait=false")
    k8s.delete("pod", "web")

    k8s.delete("pvc", "data")

    k8s.until_gone("pv", name)
    assert volumes_on(k8s.cluster, "node1") == set()


def test_a_stateful_set_over_two_nodes_keeps_its_data(k8s: Kubernetes) -> None:
    template = pod("ignored", [{"name": "data", "emptyDir": {}}])["spec"]
    del template["volumes"]
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "db"}},
    }
    claim = {
        "storageClassName": "flexvol-loop",
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "32Mi"}},
    }
    k8s.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db"},
            "spec": {
                "replicas": 3,
                "serviceName": "db",
                "selector": {"matchLabels": {"app": "db"}},
                "template": {
                    "metadata": {"labels": {"app": "db"}},
                    "spec": {**template, "topologySpreadConstraints": [spread]},
                },
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
            },
        }
    )
    names = ["db-0", "db-1", "db-2"]
    nodes = {}
    for name in names:
        k8s.running(name)
        nodes[name] = k8s.node_of(name)
        k8s.shell(name, f"echo {name} > /data/who")
    assert set(nodes.values()) == {"node1", "node2"}

    k8s.run("scale", "statefulset/db", "--replicas=0")
    wait_until("no pod is left", lambda: not k8s.all("pods"))
    k8s.run("scale", "statefulset/db", "--replicas=3")

    for name in names:
        k8s.running(name)
        assert k8s.shell(name, "cat /data/who").stdout == f"{name}\n"
        assert k8s.node_of(name) == nodes[name]


def test_a_pod_of_another_namespace_cannot_mount_the_volume_inline(k8s: Kubernetes) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")
    volume = k8s.volume_of()
    thief = Kubernetes(k8s.cluster, k8s.namespace + "-thief")
    k8s.cluster.kubectl("create", "namespace", thief.namespace, capture_output=True)
    try:
        wait_until(
            "the namespace takes pods",
            lambda: thief.get("serviceaccount", "default") is not None,
        )
        options = volume["spec"]["flexVolume"]["options"]
        spellings = {
            "plain": (options, f"belongs to namespace '{k8s.namespace}'"),
            "other": ({**options, "POOL": options["pool"]}, "POOL"),
            "path": ({**options, "pool": "../default"}, "../default"),
        }
        for name, (spelling, _) in spellings.items():
            stolen: Object = {
                "name": volume["metadata"]["name"],
                "flexVolume": {"driver": "flexvol/loop", "options": spelling},
            }
            thief.apply(
                pod(
                    name,
                    [stolen],
                    nodeSelector={"kubernetes.io/hostname": "node1"},
                )
            )
        for name, (_, said) in spellings.items():
            thief.event(name, "FailedMount", said)
        for key in (
            "kubernetes.io/pod.namespace",
            "Kubernetes.io/pod.namespace",
            "KUBERNETES.IO/POD.NAMESPACE",
        ):
            stolen["flexVolume"]["options"] = {**options, key: k8s.namespace}
            refused = thief.run(
                "apply", "-f", "-", input=json.dumps(pod("forged", [stolen])), check=False
            )
            assert "reserved" in refused.stderr, refused
        assert {
            name for name in spellings if thief.find("pod", name)["status"]["phase"] != "Pending"
        } == set()
    finally:
        k8s.cluster.kubectl("delete", "namespace", thief.namespace, capture_output=True)
