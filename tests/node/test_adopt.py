"""A volume may await its claim, whose uid is not known yet: by its name, or any. Until that has
come nobody deletes it, and then that claim alone."""

from __future__ import annotations

import json

from tests.node.nodes import NAMESPACE, UID, Node

ANY_CLAIM = {"namespace": "*", "name": "*", "uid": "awaited"}


def adoption(node: Node, uid: str, namespace: str = NAMESPACE, **also: str) -> str:
    """As of the claim that has come to the PV; with a clusterUid, as of a person."""
    also = {
        f"kubernetes.io/{key}": value for key, value in (also or {"onlyIfAwaited": "true"}).items()
    }
    return json.dumps(
        {
            **json.loads(node.deletion(uid=uid)),
            "kubernetes.io/pvc.namespace": namespace,
            **also,
        }
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


def rebound(node: Node, uid: str, before: str, namespace: str = "bank", **own: str) -> str:
    """As the provisioner asks for a PV that is bound to another claim than the record says."""
    request = json.loads(node.deletion(uid=uid, **own))
    request["kubernetes.io/pvc.namespace"] = namespace
    request["kubernetes.io/onlyIfOwner"] = before
    return json.dumps(request)


def test_a_pv_that_is_bound_to_another_claim_takes_its_volume_along(node: Node) -> None:
    node.provision(also={"kubernetes.io/clusterUid": "here"})
    (node.mount("web") / "file").write_text("kept")
    node.unmount("web")
    assert "belongs to namespace 'shop'" in node.fails(
        "InvalidArgument", "mount", node.pod_dir("new"), node.options(namespace="bank")
    )

    for _ in range(2):
        node.ok("adopt", rebound(node, "second", UID))

    assert node.record()["owner"] == {"namespace": "bank", "name": "data", "uid": "second"}
    assert (node.record()["clusterUid"], node.record()["blank"]) == ("here", False)
    # Of the old namespace nobody reaches the volume any more, least of all by an inline volume.
    assert "belongs to namespace 'bank'" in node.fails(
        "InvalidArgument", "mount", node.pod_dir("old"), node.options()
    )
    path = node.pod_dir("new")
    node.ok("mount", path, node.options(namespace="bank"))
    assert (node.path(path) / "file").read_text() == "kept"
    node.ok("unmount", path)
    node.fails("InvalidArgument", "delete", node.deletion())
    node.ok("delete", node.deletion(uid="second"))
    assert not node.image().exists()


def test_whoever_decided_on_an_older_record_changes_no_owner(node: Node) -> None:
    node.provision()
    node.ok("adopt", rebound(node, "second", UID))

    for before in (UID, "none", "awaited"):
        assert "was given to the claim with the uid 'second' just now" in node.fails(
            "Busy", "adopt", rebound(node, "third", before)
        )

    assert node.record()["owner"]["uid"] == "second"


def test_a_volume_without_an_owner_gets_the_claim_of_its_pv(node: Node) -> None:
    node.provision()
    path = node.image().with_name("volume.json")
    path.write_text(json.dumps({**node.record(), "owner": None}))
    node.fails("Busy", "adopt", rebound(node, "second", UID))

    node.ok("adopt", rebound(node, "second", "none"))

    assert node.record()["owner"]["uid"] == "second"


def test_a_pv_brings_no_archive_back_and_changes_no_snapshot_and_nothing_on_the_move(
    node: Node,
) -> None:
    node.provision(onDelete="archive")
    node.mount("web")
    node.unmount("web")
    node.until_free()
    node.command("snapshot", "pvc-1", "kept")
    snapshot = json.loads(rebound(node, "second", UID))
    snapshot["kubernetes.io/pvOrVolumeName"] = "kept"
    assert "is a snapshot" in node.fails("InvalidArgument", "adopt", json.dumps(snapshot))

    path = node.image().with_name("volume.json")
    record = node.record()
    path.write_text(json.dumps({**record, "move": {"id": "m1", "to": "node-2"}}))
    assert "is being moved to node 'node-2'" in node.fails(
        "Busy", "adopt", rebound(node, "second", UID)
    )
    assert node.record()["move"] == {"id": "m1", "to": "node-2"}
    path.write_text(json.dumps(record))

    node.ok("delete", node.deletion())
    node.fails("NotFound", "adopt", rebound(node, "second", UID))
    node.fails("NotFound", "adopt", adoption(node, UID))
    states = [one.get("state") for one in node.ok("list")["volumes"]]
    assert states.count("archived") == 1
