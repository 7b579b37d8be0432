"""The disaster drill: etcd is lost, and with it every claim and PV. The new cluster collects
nothing; its administrator adopts the volumes and applies the applications again, as
docs/lost-etcd.md says, and their data is there.

The drill runs last: it leaves all as it was, but nothing could be learned from what runs after a
drill that has failed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.commands import provisioner
from tests.cluster.installing import OVERLAY, install
from tests.cluster.namespaces import Kubernetes, Object, pod
from tests.cluster.nodes import by_hand, everything, record
from tests.cluster.page_commands import chapter, follow
from tests.waiting import wait_until

pytestmark = pytest.mark.last

SELECTED = "volume.kubernetes.io/selected-node"
FILL = "dd if=/dev/urandom of=/data/file bs=1M count=20 && sync && sha256sum /data/file"
CHECKED = "sha256sum /data/file"


def application(namespace: str) -> list[Object]:
    """A database of two, each on a node of its own."""
    template: Object = {
        "metadata": {"labels": {"app": "db"}},
        "spec": pod("", [{"name": "data"}])["spec"],
    }
    del template["spec"]["volumes"]
    apart = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"app": "db"}},
    }
    template["spec"]["affinity"] = {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}
    }
    claim = {
        "storageClassName": "flexvol-loop",
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "64Mi"}},
    }
    spec = {
        "replicas": 2,
        "serviceName": "db",
        "podManagementPolicy": "Parallel",
        "template": template,
        "selector": {"matchLabels": {"app": "db"}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": namespace},
            "spec": spec,
        },
    ]


def cluster_uid(k8s: Kubernetes) -> str:
    return k8s.run("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}").stdout


class Drill:
    """volumes: by claim, the names of the volumes before the disaster. sums: of the files, by
    pod."""

    def __init__(self, k8s: Kubernetes, here: Path) -> None:
        self.k8s = k8s
        self.cluster = k8s.cluster
        self.here = here
        self.lost_uid = cluster_uid(k8s)
        self._nudges = 0
        (here / "application.yaml").write_text(yaml.safe_dump_all(application(k8s.namespace)))
        k8s.run("apply", "-f", here / "application.yaml")
        k8s.claim("shelved")
        k8s.pod("filler", claim="shelved", node="node1")
        k8s.claim("blank")  # a volume that no pod has ever used
        k8s.run("annotate", "pvc", "blank", f"{SELECTED}=node2")
        for name in ("db-0", "db-1"):
            k8s.running(name)
        self.sums = {name: k8s.shell(name, FILL).stdout for name in ("db-0", "db-1", "filler")}
        claims = ("data-db-0", "data-db-1", "shelved", "blank")
        self.volumes = {claim: k8s.volume_of(claim)["metadata"]["name"] for claim in claims}
        self.backup = k8s.get("pvc", "shelved") or {}
        self.before = everything(self.cluster)
        # The administrator's overlay. In this one blank orphans are collected after a second.
        patch = [
            {
                "op": "add",
                "path": "/spec/template/spec/containers/0/args/-",
                "value": "--orphan-grace-seconds=1",
            }
        ]
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(OVERLAY, here.resolve())],
            "patches": [
                {
                    "target": {"kind": "DaemonSet", "name": "flexvol-node"},
                    "patch": yaml.safe_dump(patch),
                }
            ],
        }
        (here / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))

    def said(self, name: str, words: str) -> None:
        """That the volume is an orphan is said on its node."""
        events = Kubernetes(self.cluster, "default")

        def told() -> bool:
            self._list_again()
            messages = [
                event["message"] for event in events.all("events", fields="reason=VolumeOrphaned")
            ]
            return any(f"volume {name} " in message and words in message for message in messages)

        wait_until(f"{name} is said to be an orphan: {words}", told, 60)

    def collects(self, uid: str) -> None:
        """Shows that the new cluster collects what it may, and that it has looked at all there
        is."""
        for node in self.cluster.nodes:
            by_hand(
                self.cluster, node, "provision", "crumb", clusterUid=uid, reclaimPolicy="Delete"
            )

        def gone() -> bool:
            self._list_again()
            return not any("crumb" in names for names in everything(self.cluster).values())

        wait_until("the crumbs are collected", gone)

    def _list_again(self) -> None:
        """Makes the provisioners list their volumes now, as a class of theirs has changed."""
        self._nudges += 1
        self.k8s.run(
            "annotate", "storageclass", "flexvol-loop", f"drill={self._nudges}", "--overwrite"
        )


@pytest.fixture
def drill(k8s: Kubernetes, tmp_path: Path) -> Iterator[Drill]:
    """Afterwards flexvol is installed as for every test."""
    cluster = k8s.cluster
    try:
        yield Drill(k8s, tmp_path)
    finally:
        cluster.kubectl("annotate", "storageclass", "flexvol-loop", "drill-", capture_output=True)
        install(cluster)


def test_after_the_loss_of_etcd_adopted_volumes_have_their_data_and_nothing_was_collected(
    drill: Drill,
) -> None:
    k8s = drill.k8s
    cluster = drill.cluster
    install_again, roll_out, look, adopt, apply, trust = chapter(
        "Adopt the volumes",
        "kubectl apply",
        "kubectl -n",
        "kubectl flexvol adopt",
        "kubectl patch",
    )

    cluster.lose_etcd()

    uid = cluster_uid(k8s)
    assert uid != drill.lost_uid
    assert k8s.all("pv") == []
    follow(cluster, install_again, drill.here)
    follow(cluster, roll_out)
    for name in drill.volumes.values():
        drill.said(
            name,
            f"was made for the cluster {drill.lost_uid}, and this one is {uid}",
        )
    drill.collects(uid)
    wait_until("nothing else was deleted", lambda: everything(cluster) == drill.before)
    adopt_and_be_killed(drill, uid)
    restore_a_claim(drill)

    looked = follow(cluster, look)
    assert looked.count("would be adopted") == 4
    assert looked.count(" Delete ") == 4, looked
    assert k8s.all("pv") == []
    check_adoption(drill, adopt)

    # A claim that comes before kube-controller-manager knows its PV may get another one.
    phases = ("Available", "Bound")
    wait_until(
        "the PVs are known",
        lambda: all(pv["status"]["phase"] in phases for pv in k8s.all("pv")),
    )
    assert follow(cluster, apply, drill.here)

    check_data(drill)
    check_deletion(drill, trust)


def adopt_and_be_killed(drill: Drill, uid: str) -> None:
    """The adoption is killed after the record was written and before the PV was made: nothing is
    lost, and the adoption goes on when it is run again.

    uid: of the cluster that there is now."""
    blank = drill.volumes["blank"]
    owner = {
        "pvc.namespace": drill.k8s.namespace,
        "pvc.name": "blank",
        "pvc.uid": "awaited",
        "clusterUid": uid,
    }
    by_hand(drill.cluster, "node2", "adopt", blank, **owner)
    drill.said(blank, "may hold data")
    drill.collects(uid)
    wait_until("nothing else was deleted", lambda: everything(drill.cluster) == drill.before)


def restore_a_claim(drill: Drill) -> None:
    """One claim comes from a backup, as it was read: bound to a PV that is not there."""
    k8s = drill.k8s
    k8s.run("create", "namespace", k8s.namespace)
    metadata = {key: drill.backup["metadata"][key] for key in ("name", "annotations")}
    k8s.apply({**drill.backup, "metadata": metadata})
    k8s.until_phase("pvc", "shelved", "Lost")


def check_adoption(drill: Drill, adopt: str) -> None:
    """adopt: the page's command."""
    blank = drill.volumes["blank"]
    renamed = f"{drill.k8s.namespace}/renamed"
    printed = provisioner("adopt", blank, "--claim", renamed, "--recorded-policy")
    row = rf"{blank} +node2 +64 MiB +{renamed} +Delete +adopted; it awaits"
    assert re.search(row, printed), printed
    printed = follow(drill.cluster, adopt)
    assert printed.count("Retain") == 3 and "its claim is there" in printed
    assert "there is nothing to adopt" in follow(drill.cluster, adopt)
    assert "has its PV already" in provisioner("adopt", blank)
    other = f"{drill.k8s.namespace}/other"
    refused = provisioner("adopt", blank, "--claim", other, check=False)
    assert f"its PV is for the claim {renamed}; take it from that claim first" in refused
    assert refused.endswith("status 1")


def check_data(drill: Drill) -> None:
    """Each claim has its volume, with its data."""
    k8s = drill.k8s
    for name in ("db-0", "db-1"):
        k8s.running(name)
        assert k8s.shell(name, CHECKED).stdout == drill.sums[name]
    k8s.pod("reader", claim="shelved")
    assert k8s.shell("reader", CHECKED).stdout == drill.sums["filler"]
    for claim in ("data-db-0", "data-db-1", "shelved"):
        assert k8s.volume_of(claim)["metadata"]["name"] == drill.volumes[claim]
        owned(k8s, claim, drill.volumes[claim])
    k8s.claim("renamed")
    k8s.until_phase("pvc", "renamed", "Bound")
    assert everything(drill.cluster) == drill.before


def check_deletion(drill: Drill, trust: str) -> None:
    """trust: the page's command after which a volume goes with its claim."""
    k8s = drill.k8s
    deleted_with_its_claim(drill, "renamed", drill.volumes["blank"])
    for claim in ("data-db-0", "data-db-1", "shelved"):
        follow(drill.cluster, re.sub(r"pvc-[0-9a-f-]+", drill.volumes[claim], trust))
    k8s.delete("pod", "reader")
    deleted_with_its_claim(drill, "shelved", drill.volumes["shelved"])
    k8s.run("delete", "statefulset", "db")
    for claim in ("data-db-0", "data-db-1"):
        deleted_with_its_claim(drill, claim, drill.volumes[claim])
    assert everything(drill.cluster) == {"node1": set(), "node2": set()}


def owned(k8s: Kubernetes, claim: str, name: str) -> None:
    """Its record names the claim that there is now, and nobody awaits anything any more."""
    uid = k8s.uid("pvc", claim)
    expected = {"namespace": k8s.namespace, "name": claim, "uid": uid}
    wait_until(
        "the record names the new claim",
        lambda: record(k8s.cluster, name)["owner"] == expected,
    )
    wait_until(
        "nothing is awaited",
        lambda: "flexvol/awaits-claim" not in json.dumps(k8s.get("pv", name)),
    )


def deleted_with_its_claim(drill: Drill, claim: str, name: str) -> None:
    drill.k8s.delete("pvc", claim)
    drill.k8s.until_gone("pv", name)
    assert not any(name in names for names in everything(drill.cluster).values())
