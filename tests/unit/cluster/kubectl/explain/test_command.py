"""What explain says of a whole claim, in states that the cluster can be in; and its exit status."""

from __future__ import annotations

import argparse
from typing import Any, cast

import pytest

from cluster.controller import cluster, objects
from cluster.controller.storage import Listed
from cluster.kubectl import explain, nodes

Object = dict[str, Any]
GIB = 1 << 30
DRIVER = "flexvol/loop"


def named(name: str, uid: str = "", **more: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "shop", "uid": uid or f"uid-{name}", **more}}


def node(name: str) -> Object:
    return {
        **named(name, labels={objects.HOSTNAME: name}),
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def flexvol(name: str) -> Object:
    return {
        **named(f"p-{name}", labels={"app": "flexvol-node"}),
        "spec": {"nodeName": name, "containers": [{"args": ["--node=x"]}]},
        "status": {"phase": "Running"},
    }


def storage_class(name: str = "fast", **more: Any) -> Object:
    return {
        **named(name, annotations=more.pop("annotations", {})),
        "provisioner": "loop.flexvol",
        "volumeBindingMode": "WaitForFirstConsumer",
        "parameters": more.pop("parameters", {}),
        **more,
    }


def claim(name: str = "data", phase: str = "", notes: Object | None = None, **spec: Any) -> Object:
    asked = {"resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "fast", **spec}
    return {
        **named(name, annotations=notes or {}),
        "spec": asked,
        "status": {"phase": phase or ("Bound" if spec.get("volumeName") else "Pending")},
    }


def volume(
    name: str = "pv", of: str = "data", uid: str = "", notes: Object | None = None, **spec: Any
) -> Object:
    term = {"key": objects.HOSTNAME, "operator": "In", "values": ["node1"]}
    mine = {objects.PROVISIONED_BY: "loop.flexvol", objects.IDENTITY: "node1", **(notes or {})}
    return {
        **named(name, annotations=mine),
        "spec": {
            "capacity": {"storage": "1Gi"},
            "flexVolume": {"driver": DRIVER, "options": {"pool": "default"}},
            "claimRef": {"namespace": "shop", "name": of, "uid": uid or f"uid-{of}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
            "persistentVolumeReclaimPolicy": "Delete",
            **spec,
        },
    }


def pod(*claims: str, **spec: Any) -> Object:
    volumes = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims]
    says = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}
    return {
        **named("web"),
        "spec": {"volumes": volumes, **spec},
        "status": {"phase": "Pending", "conditions": [says]},
    }


def running() -> Object:
    containers = [{"name": "main", "state": {"running": {}}}]
    return {
        **pod("data", nodeName="node1"),
        "status": {"phase": "Running", "containerStatuses": containers},
    }


def event(about: Object, message: str, reason: str = "ProvisioningFailed", by: str = "x") -> Object:
    return {
        "involvedObject": {"uid": about["metadata"]["uid"]},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "source": {"component": by},
        "lastTimestamp": "2026-11-28T10:00:00Z",
    }


def pool(name: str = "default", free: int = 8 * GIB) -> Object:
    return {"name": name, "freeBytes": free, "maximumVolumeBytes": free, "byName": True}


ENTRY = {
    "name": "pv",
    "pool": "default",
    "sizeBytes": GIB,
    "owner": {"namespace": "shop", "name": "data", "uid": "uid-data"},
}


class Api:
    """The objects of a cluster with two nodes, each with flexvol and the pool default."""

    name = "test"

    def __init__(self, *things: Object, **collections: list[Object]) -> None:
        self._of = {
            "storageclasses": [storage_class()],
            "nodes": [node("node1"), node("node2")],
            **collections,
        }

    def items(self, path: str) -> list[Object]:
        if path == cluster.in_namespace("flexvol", "pods"):
            return [flexvol("node1"), flexvol("node2")]
        return self._of.get(path.rpartition("/")[2], [])

    def get(self, path: str) -> Object | None:
        collection, _, selector = path.partition("?")
        if collection.endswith("/csistoragecapacities"):
            raise cluster.Refused(403, "csistoragecapacities is forbidden")
        if selector:
            uid = selector.rpartition("%3D")[2]
            every = self.items(collection)
            return {"items": [one for one in every if one["involvedObject"]["uid"] == uid]}
        collection, _, name = path.rpartition("/")
        found = [one for one in self.items(collection) if one["metadata"]["name"] == name]
        return found[0] if found else None


class Told(list[str]):
    """The sentences, and the exit status."""

    status = 0


def told(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    pools: dict[str, list[Object]] | None = None,
    listed: list[Object] | None = None,
    **collections: list[Object],
) -> Told:
    """listed: the entries of node1. A node that is not in pools does not answer."""
    pools = pools or {"node1": [pool()], "node2": [pool()]}

    def list_all(_: Any, asked: Any, drivers: Any) -> Any:
        keys = [(one.name, driver) for one in asked for driver in drivers]
        answers = {
            (name, driver): Listed((listed or []) if name == "node1" else [], pools[name])
            for name, driver in keys
            if name in pools
        }
        silent = {key: f"node {key[0]} did not answer" for key in keys if key not in answers}
        return answers, silent

    monkeypatch.setattr(nodes, "list_all", list_all)
    settings = argparse.Namespace(
        claim="data", pod=None, claim_namespace="shop", namespace="flexvol"
    )
    status = explain.run(cast(Any, Api(**collections)), {}, settings)
    sentences = Told(line[2:] for line in capsys.readouterr().out.splitlines()[1:])
    sentences.status = status
    return sentences


BOUND = claim(volumeName="pv")
COPY: Object = {"dataSource": {"kind": "PersistentVolumeClaim", "name": "old"}}
NO_CLASS = claim(storageClassName=None)
RETAINED = volume(uid="before", persistentVolumeReclaimPolicy="Retain")
AWAITED = volume(notes={objects.AWAITS_CLAIM: "true"})
DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}
GROWING = claim(volumeName="pv", resources={"requests": {"storage": "2Gi"}})
GROWING["status"]["capacity"] = {"storage": "1Gi"}
GOING = volume()
GOING["metadata"].update(deletionTimestamp="now", finalizers=[objects.FINALIZER])
DELETED = claim(volumeName="pv")
DELETED["metadata"].update(deletionTimestamp="now")
ENDED = {**pod("data", nodeName="node1"), "status": {"phase": "Succeeded"}}
NO_SUCH_CLASS = 'storageclass "fast" not found'
TYPO = storage_class("odd", parameters={"onNodeGone": "kep"})


@pytest.mark.parametrize(
    ("there", "status", "words"),
    [
        pytest.param(
            {"persistentvolumeclaims": [claim()]},
            0,
            "it waits for a pod that uses it to be scheduled",
            id="no pod uses the claim",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [claim(**COPY), claim("old", volumeName="pv")],
                "persistentvolumes": [volume(of="old")],
            },
            0,
            "it waits for a pod that uses it to be scheduled",
            id="no pod uses a copy",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [claim()],
                "events": [event(claim(), NO_SUCH_CLASS, by="persistentvolume-controller")],
            },
            0,
            "no pod uses the claim yet",
            id="its class was made after the claim",
        ),
        pytest.param(
            {"persistentvolumeclaims": [claim()], "events": [event(claim(), "no secret")]},
            1,
            "last warning: ProvisioningFailed: no secret",
            id="the provisioner failed",
        ),
        pytest.param(
            {"persistentvolumeclaims": [NO_CLASS]},
            1,
            "no class is the default; name a class in a new claim, or make a class the default",
            id="no class and no default one",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [NO_CLASS],
                "storageclasses": [storage_class(annotations=DEFAULT)],
            },
            1,
            "the default one is fast, which kube-controller-manager gives the claim within minutes",
            id="no class, and a default one that came later",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [claim(volumeName="pv", phase="Pending")],
                "persistentvolumes": [volume(claimRef=None)],
                "events": [event(BOUND, "requested PV is too small", "VolumeMismatch")],
            },
            1,
            "not bound to its PV pv; last warning: VolumeMismatch: requested PV is too small",
            id="the PV that the claim names does not fit",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [claim(volumeName="pv", phase="Pending")],
                "persistentvolumes": [RETAINED],
            },
            1,
            "which is an earlier claim of this name; to give it to this claim: "
            "kubectl patch pv pv "
            """-p '{"spec": {"claimRef": {"uid": null, "resourceVersion": null}}}'""",
            id="the retained PV of an earlier claim of its name",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [claim(volumeName="pv", phase="Pending")],
                "persistentvolumes": [volume(uid="before")],
            },
            1,
            "so it is deleted with its data; to keep it, if it is still there: kubectl patch pv pv",
            id="the PV of an earlier claim that is being deleted",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [claim(volumeName="pv", phase="Pending")],
                "persistentvolumes": [volume(of="other")],
            },
            1,
            "belongs to the claim shop/other with the uid uid-other; leave spec.volumeName out",
            id="another claim's PV",
        ),
        pytest.param(
            {"persistentvolumeclaims": [claim(volumeName="x; rm -r /", phase="Pending")]},
            1,
            "its spec.volumeName is 'x; rm -r /', which is no PV's name; leave spec.volumeName out",
            id="a name that is none in the place of the PV's",
        ),
        pytest.param(
            {"persistentvolumeclaims": [BOUND], "persistentvolumes": [AWAITED]},
            0,
            "deleting the claim deletes the volume and its data",
            id="a static volume that was bound just now",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [BOUND],
                "persistentvolumes": [GOING],
            },
            0,
            "its PV pv is being deleted, and stays as long as the claim does",
            id="somebody deletes the PV",
        ),
        pytest.param(
            {"persistentvolumeclaims": [DELETED], "persistentvolumes": [volume()]},
            0,
            "the claim is being deleted\ndeleting the claim",
            id="somebody deletes the claim",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [DELETED],
                "persistentvolumes": [volume()],
                "pods": [ENDED],
            },
            1,
            "the claim is being deleted, and waits until the pods that have ended are deleted, "
            "too: kubectl -n shop delete pod web",
            id="a pod that has ended keeps the deleted claim",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [BOUND],
                "persistentvolumes": [volume()],
                "pods": [ENDED],
            },
            0,
            "no pod uses it",
            id="a pod that has ended keeps a claim from nothing else",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [GROWING],
                "persistentvolumes": [volume(capacity={"storage": "2Gi"})],
                "pods": [running()],
                "events": [event(pod(), "resize2fs: not permitted", "VolumeResizeFailed")],
            },
            1,
            "last warning: VolumeResizeFailed: resize2fs: not permitted",
            id="a growth that fits and fails",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [BOUND],
                "persistentvolumes": [volume()],
                "pods": [running()],
                "events": [event(pod(), "resize2fs: not permitted", "VolumeResizeFailed")],
            },
            0,
            "used by pod web",
            id="a growth that failed before it came to its end",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [BOUND, claim("logs", storageClassName="odd")],
                "persistentvolumes": [volume()],
                "storageclasses": [storage_class(), TYPO],
                "pods": [pod("data", "logs")],
            },
            1,
            'pod web also uses the claim logs: the parameter "onNodeGone" of storage class "odd"',
            id="another claim of the pod has a class with a mistake",
        ),
        pytest.param(
            {
                "persistentvolumeclaims": [BOUND, claim("logs", storageClassName="none")],
                "persistentvolumes": [volume()],
                "pods": [pod("data", "logs")],
            },
            1,
            'pod web also uses the claim logs: its storage class "none" does not exist',
            id="another claim of the pod has a class that does not exist",
        ),
    ],
)  # fmt: skip
def test_a_claim_is_told_what_keeps_it_and_whether_somebody_must_act(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    there: dict[str, list[Object]],
    status: int,
    words: str,
) -> None:
    sentences = told(capsys, monkeypatch, None, [ENTRY], **there)

    assert words in "\n".join(sentences)
    assert sentences.status == status, sentences


def test_claims_of_one_pod_whose_pools_are_on_different_nodes_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = told(
        capsys,
        monkeypatch,
        pools={"node1": [pool("ssd")], "node2": [pool("hdd")]},
        persistentvolumeclaims=[claim(), claim("logs", storageClassName="slow")],
        storageclasses=[
            storage_class(parameters={"pool": "ssd"}),
            storage_class("slow", parameters={"pool": "hdd"}),
        ],
        pods=[pod("data", "logs")],
    )

    assert (
        "pod web needs its claims on one node, and no node has room for all of them: "
        "there is room for data on node node1; logs on node node2"
    ) in sentences
    assert sentences.status == 1


@pytest.mark.parametrize(
    "answering",
    [
        pytest.param("node1", id="the first node answers"),
        pytest.param("node2", id="the second node answers"),
    ],
)
def test_an_account_that_may_not_read_what_is_published_is_told_all_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answering: str
) -> None:
    """The table in docs/kubectl-plugin.md gives no such right."""
    full = told(
        capsys,
        monkeypatch,
        pools={answering: [pool(free=0)]},
        persistentvolumeclaims=[claim()],
        pods=[pod("data")],
    )
    roomy = told(capsys, monkeypatch, pools={answering: [pool()]}, persistentvolumeclaims=[claim()])

    (silent,) = {"node1", "node2"} - {answering}
    assert f"node {silent} did not answer" in full
    assert f"room for its class: {answering} 8 GiB" in roomy
    assert (full.status, roomy.status) == (1, 0)
