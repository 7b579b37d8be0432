"""A volume may await its claim, whose uid is not known yet: by its name, or any. Until that has
come nobody deletes it, and then that claim alone."""

from __future__ import annotations

import json

from tests.node.conftest import NAMESPACE, UID, Node

ANY_CLAIM = {"namespace": "*", "name": "*", "uid": "awaited"}


def adoption(node: Node, uid: str, namespace: str = NAMESPACE, **also: str) -> str:
    """As of the claim that has come to the PV; with a clusterUid, as of a person."""
    also = {
        f"kubernetes.io/{key}": value for key, value in (also or {"onlyIfAwaited": "true"}).items()
    }
    return json.dumps(
        {**json.loads(node.deletion(uid=uid)), "kubernetes.io/pvc.namespace": namespace, **also}
    )


def test_an_adopted_volume_is_of_the_claim_that_comes_and_deleted_by_that_alone(node: Node) -> None:
    node.provision(
        also={"kubernetes.io/clusterUid": "lost", "kubernetes.io/reclaimPolicy": "Delete"}
    )

    node.ok("adopt", adoption(node, "awaited", clusterUid="new"))
    node.ok("adopt", adoption(node, "awaited", clusterUid="new"))

    record = node.record()
    assert record["owner"] == {"namespace": NAMESPACE, "name": "data", "uid": "awaited"}
    assert (record["clusterUid"], record["blank"], record["reclaimPolicy"]) == (
        "new",
        False,
        "Delete",
    )
    node.mount("web")
    node.unmount("web")
    for nobody in (UID, "awaited", "came"):
        node.fails("InvalidArgument", "delete", node.deletion(uid=nobody))
    assert "does not await" in node.fails(
        "InvalidArgument", "adopt", adoption(node, "came", namespace="evil")
    )

    node.ok("adopt", adoption(node, "came"))
    node.ok("adopt", adoption(node, "came"))

    assert "does not await" in node.fails("InvalidArgument", "adopt", adoption(node, "later"))
    assert (node.record()["owner"]["uid"], node.record()["clusterUid"]) == ("came", "new")
    node.fails("InvalidArgument", "delete", node.deletion(uid=UID))
    node.ok("delete", node.deletion(uid="came"))
    assert not node.image().exists()


def test_a_volume_that_awaits_nobody_is_not_given_to_a_claim_that_says_it_has_come(
    node: Node,
) -> None:
    node.provision()

    for uid, namespace in (("came", NAMESPACE), (UID, "evil")):
        node.fails("InvalidArgument", "adopt", adoption(node, uid, namespace=namespace))

    assert node.record()["owner"]["uid"] == UID
    assert node.record()["blank"]


def test_a_volume_for_any_claim_is_the_firsts_and_mounts_for_no_one_before(node: Node) -> None:
    request = {f"kubernetes.io/pvc.{key}": value for key, value in ANY_CLAIM.items()}
    made = node.provision(also=request)
    assert node.provision(also=request) == made
    assert node.record()["owner"] == ANY_CLAIM
    assert not node.record()["blank"]
    assert "belongs to namespace '*'" in node.fails(
        "InvalidArgument", "mount", node.pod_dir("web"), node.options()
    )
    node.fails("InvalidArgument", "delete", node.deletion(uid="awaited"))

    node.ok("adopt", adoption(node, "first"))

    node.fails("InvalidArgument", "adopt", adoption(node, "second", namespace="bank"))
    node.fails("InvalidArgument", "provision", node.request("pvc-1", also=request))
    node.mount("web")
    node.unmount("web")
    node.ok("delete", node.deletion(uid="first"))


def test_the_list_tells_what_a_new_pv_needs(node: Node) -> None:
    made = node.provision(also={"kubernetes.io/pvc.accessModes": "ReadWriteOncePod"})

    (entry,) = node.ok("list")["volumes"]

    assert entry["accessModes"] == ["ReadWriteOncePod"]
    assert {
        "options": entry["options"],
        "capacityBytes": entry["sizeBytes"],
        "fsType": entry["fsType"],
    } == made
