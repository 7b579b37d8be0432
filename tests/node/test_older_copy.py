"""A copy of a volume that is older than its last expansion, put back as docs/backup.md says."""

from __future__ import annotations

from cluster.controller import inventory
from cluster.controller.objects import Claim, Volume
from cluster.controller.storage import Listed
from tests.node.nodes import MIB, NAMESPACE, UID, Node

POOL = "/var/lib/flexvol/default"
DRIVER = "flexvol/loop"
WHOSE = {"namespace": NAMESPACE, "name": "data", "uid": UID}


def row_of(node: Node, promised: str) -> inventory.Row:
    """The volume's row in the inventory of a cluster whose PV and claim have that size."""
    source = {"driver": DRIVER, "options": {"pool": "default", "poolId": node.pool_id()}}
    notes = {
        "pv.kubernetes.io/provisioned-by": "loop.flexvol",
        "flexvol/identity": "node1",
    }
    volume = {
        "metadata": {"name": "pvc-1", "annotations": notes},
        "spec": {
            "flexVolume": source,
            "claimRef": WHOSE,
            "capacity": {"storage": promised},
            "nodeAffinity": {"x": 1},
            "persistentVolumeReclaimPolicy": "Delete",
        },
    }
    claim = {"metadata": WHOSE, "spec": {}, "status": {"capacity": {"storage": promised}}}
    objects = inventory.ClusterObjects(
        {"loop.flexvol": DRIVER}, [Volume(volume)], [Claim(claim)], [], {"node1"}, "cluster"
    )
    listed = node.ok("list")
    answers = {("node1", DRIVER): Listed(listed["volumes"], listed["pools"])}
    (row,) = inventory.join(answers, {}, objects)
    return row


def test_the_inventory_says_what_an_older_copy_lacks_and_its_remedy_works(node: Node) -> None:
    node.provision("pvc-1", fs="btrfs", size=112 * MIB)
    (node.mount("web") / "file").write_text("kept")
    node.unmount("web")
    tar = ["tar", "-C", POOL, "-cSf", "/var/lib/kubelet/volume.tar", "pvc-1"]
    assert node.enter(*tar).returncode == 0
    node.mount("web")
    pod_dir = node.pod_dir("web")
    node.ok("expandfs", node.options(), "", pod_dir, str(160 * MIB), str(112 * MIB))
    node.unmount("web")
    assert not row_of(node, "160Mi").is_wrong

    assert node.enter("rm", "-r", f"{POOL}/pvc-1").returncode == 0
    untar = ["tar", "-C", POOL, "-xSf", "/var/lib/kubelet/volume.tar"]
    assert node.enter(*untar).returncode == 0

    row = row_of(node, "160Mi")
    assert row.is_wrong
    assert "promises 160 MiB and the volume has 112 MiB" in row.why
    assert (node.mount("web") / "file").read_text() == "kept"
    node.ok("expandfs", node.options(), "", pod_dir, str(161 * MIB), str(160 * MIB))
    assert not row_of(node, "161Mi").is_wrong
    assert (node.path(pod_dir) / "file").read_text() == "kept"
    node.unmount("web")
