"""A volume is that claim's which its PV is bound to: whoever may write PVs decides, and nobody
else."""

from __future__ import annotations

import json

from tests.cluster.accounts import node_account, patch, refused
from tests.cluster.claims import bound_at_once, warnings
from tests.cluster.namespaces import Kubernetes, Object, own_namespace, pod
from tests.cluster.nodes import record, volumes_on
from tests.waiting import wait_until

SELECTED = "volume.kubernetes.io/selected-node"
AWAITS = "flexvol/awaits-claim"
POPULATED = {"apiGroup": "populator.example", "kind": "Image", "name": "golden"}


def notes_of(k8s: Kubernetes, name: str) -> Object:
    notes: Object = k8s.find("pv", name)["metadata"]["annotations"]
    return notes


def policy(k8s: Kubernetes, name: str, word: str) -> None:
    body = {"spec": {"persistentVolumeReclaimPolicy": word}}
    k8s.run("patch", "pv", name, "-p", json.dumps(body))


def owned(k8s: Kubernetes, claim: str, name: str) -> None:
    uid = k8s.uid("pvc", claim)
    owner = {"namespace": k8s.namespace, "name": claim, "uid": uid}
    wait_until("the record names it", lambda: record(k8s.cluster, name)["owner"] == owner)
    Kubernetes(k8s.cluster, "default").event(
        name, "VolumeAdopted", f"belongs to the claim {k8s.namespace}/{claim}"
    )


def test_a_retained_pv_that_is_used_again_is_its_new_claims_and_is_deleted_with_it(
    k8s: Kubernetes,
) -> None:
    k8s.claim()
    k8s.pod("web", node="node1")
    k8s.shell("web", "echo kept > /data/file && sync")
    name = k8s.volume_of()["metadata"]["name"]
    policy(k8s, name, "Retain")
    k8s.delete("pod", "web")
    k8s.delete("pvc", "data")
    k8s.until_phase("pv", name, "Released")
    second: Object = {"namespace": k8s.namespace, "name": "second", "uid": None}
    for node in ("node1", "node2"):  # not even its own node's account may
        said = "neither what a PV says" if node == "node1" else "the token is of node"
        thief = node_account(k8s, node)
        assert refused(thief(*patch("pv", name, {"spec": {"claimRef": second}})), said)

    # As from a file in git, the PV says again that it awaits its claim.
    steps = [
        {"op": "remove", "path": "/spec/claimRef"},
        {
            "op": "add",
            "path": "/metadata/annotations/flexvol~1awaits-claim",
            "value": "true",
        },
    ]
    k8s.run("patch", "pv", name, "--type=json", "-p", json.dumps(steps))
    k8s.claim("second", volumeName=name)

    owned(k8s, "second", name)
    wait_until("it awaits no claim any more", lambda: AWAITS not in notes_of(k8s, name))
    policy(k8s, name, "Delete")
    k8s.pod("again", claim="second")
    assert k8s.shell("again", "cat /data/file").stdout == "kept\n"
    k8s.delete("pod", "again")
    k8s.delete("pvc", "second")
    k8s.until_gone("pv", name)
    assert name not in volumes_on(k8s.cluster, "node1")


def test_a_volume_populator_is_left_its_claim_and_its_volume_follows_the_pv(
    k8s: Kubernetes,
) -> None:
    k8s.claim("target", dataSourceRef=POPULATED)
    k8s.pod("web", claim="target", node="node1", wait=False)
    k8s.event(
        "target",
        "Provisioning",
        "Assuming an external populator will provision the volume",
    )

    with bound_at_once(k8s) as name:
        k8s.claim("at-once", storage_class=name, dataSourceRef=POPULATED)
        k8s.event("at-once", "Provisioning", "Assuming an external populator")
        assert warnings(k8s, "at-once") == []
        k8s.delete("pvc", "at-once")

    with own_namespace(k8s.cluster) as populator:
        # What the populator does: a claim of its own, its data, and then the PV is the target's.
        populator.claim("prime")
        populator.run("annotate", "pvc", "prime", f"{SELECTED}=node1")
        volume = populator.volume_of("prime")
        name = volume["metadata"]["name"]
        populator.pod("fills", claim="prime")
        populator.shell("fills", "echo golden > /data/file && sync")
        populator.delete("pod", "fills")
        target = k8s.find("pvc", "target")["metadata"]
        keys = ("namespace", "name", "uid", "resourceVersion")
        reference = {key: target[key] for key in keys}
        populator.run(
            "patch",
            "pv",
            name,
            "-p",
            json.dumps({"spec": {"claimRef": reference}}),
        )

        owned(k8s, "target", name)
        k8s.running("web")
        assert k8s.shell("web", "cat /data/file").stdout == "golden\n"
        # Of the namespace that had it before, nobody reaches it by its name and options.
        source = {key: volume["spec"]["flexVolume"][key] for key in ("driver", "options")}
        inline = pod("inline", [{"name": name, "flexVolume": source}])
        inline["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "node1"}
        populator.apply(inline)
        populator.event(
            "inline",
            "FailedMount",
            f"belongs to namespace '{k8s.namespace}'",
        )
        populator.delete("pod", "inline")
        populator.delete("pvc", "prime")

    assert k8s.find("pv", name)["status"]["phase"] == "Bound"
    k8s.delete("pod", "web")
    k8s.delete("pvc", "target")
    k8s.until_gone("pv", name)
    assert name not in volumes_on(k8s.cluster, "node1")
