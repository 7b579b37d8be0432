"""A pod with a copy and another new claim: both go to the node that makes the copy."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from cluster.controller import cluster
from cluster.controller.objects import PROVISIONER
from cluster.controller.workqueue import Key
from tests.unit.cluster.controller.objects import of_snapshot, volume
from tests.unit.cluster.controller.one_node import Parts, driver, our_class, waiting

SOURCE = {"dataSource": {"kind": "PersistentVolumeClaim", "name": "source"}}
SELECTED = "volume.kubernetes.io/selected-node"
MADE = (
    '{"status": "Success", "volume": {"options": {"pool": "a", "poolId": "1"}, '
    '"capacityBytes": 1048576, "fsType": "ext4"}}'
)
MAKES = f"""
echo "$1" >>"$0.calls"
case "$1" in
provision) echo '{MADE}' ;;
*) echo '{{"status": "Success"}}' ;;
esac
"""


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """A node that makes volumes at once."""
    made = Parts(tmp_path)
    made.classes.changed(our_class("1"))
    at_once = our_class("1", late=False)
    at_once["metadata"]["name"] = "at-once"
    made.classes.changed(at_once)
    driver(tmp_path, MAKES)
    return made


def calls(plugins: Path) -> list[str]:
    noted = plugins / "flexvol~loop/loop.calls"
    return noted.read_text().split() if noted.exists() else []


def has_source(parts: Parts, node: str, phase: str = "Bound", name: str = "loop") -> None:
    """The claim `source` with its volume on that node. name: of the driver."""
    source = waiting("source", volumeName="pvc-source")
    source["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = "yes"
    source["status"] = {"phase": phase}
    pv = volume("Bound", identity=node, by=f"{name}.flexvol", driver=f"flexvol/{name}")
    pv["metadata"]["name"] = "pvc-source"
    pv["spec"]["claimRef"] = {"namespace": "shop", "name": "source", "uid": "source"}
    pv["spec"]["nodeAffinity"] = {"required": {}}
    parts.api.objects[cluster.claim_path("shop", "source")] = source
    parts.api.objects[cluster.path_to(cluster.VOLUMES, "pvc-source")] = pv
    parts.api.objects[cluster.path_to(cluster.NODES, "node2")] = {"metadata": {"name": "node2"}}


def come(parts: Parts, *claims: dict[str, Any]) -> None:
    """The scheduler has sent the claims to this node."""
    for one in claims:
        metadata = one["metadata"]
        path = cluster.claim_path(metadata["namespace"], metadata["name"])
        parts.api.objects[path] = one
        parts.claims.changed(one)


def of_namespace(namespace: str, claim: dict[str, Any]) -> dict[str, Any]:
    claim["metadata"]["namespace"] = namespace
    return claim


def key_of(name: str) -> Key:
    return ("claim", name)


def given_back(parts: Parts) -> list[str]:
    """The names of the claims whose node was taken away, in that order."""
    for _, change in parts.api.patched:
        assert change["metadata"]["annotations"] == {SELECTED: None}
        assert change["metadata"]["resourceVersion"] == "7"
    return [path.rpartition("/")[2] for path, _ in parts.api.patched]


def test_nothing_goes_along_to_a_node_that_is_gone(parts: Parts, tmp_path: Path) -> None:
    has_source(parts, "node3")
    come(parts, waiting("fresh"), waiting("copy", **SOURCE))

    parts.provision.sync(key_of("copy"))
    parts.provision.sync(key_of("fresh"))

    assert given_back(parts) == ["copy"]
    assert [one["metadata"]["name"] for one in parts.api.created] == ["pvc-fresh"]


def test_the_claims_that_came_with_a_copy_go_before_the_copy_goes(
    parts: Parts, tmp_path: Path
) -> None:
    has_source(parts, "node2")
    come(parts, waiting("fresh"), waiting("copy", **SOURCE))

    parts.provision.sync(key_of("copy"))

    assert given_back(parts) == ["fresh", "copy"]
    assert calls(tmp_path) == []


def test_a_volume_that_was_made_before_the_copy_was_looked_at_is_taken_back(
    parts: Parts, tmp_path: Path
) -> None:
    has_source(parts, "node2")
    come(parts, waiting("fresh"), waiting("copy", **SOURCE))

    parts.provision.sync(key_of("fresh"))

    assert given_back(parts) == ["fresh"]
    assert parts.api.created == []
    assert calls(tmp_path) == ["provision", "provision", "delete"]


def test_a_copy_that_gets_its_node_while_the_volume_is_made_is_seen_before_the_watch_reports_it(
    parts: Parts, tmp_path: Path
) -> None:
    """The scheduler writes the node on one claim of the pod after the other."""
    has_source(parts, "node2")
    come(parts, waiting("fresh"), waiting("copy", node="", **SOURCE))
    parts.api.objects[cluster.claim_path("shop", "copy")] = waiting("copy", **SOURCE)

    parts.provision.sync(key_of("fresh"))

    assert given_back(parts) == ["fresh"]
    assert parts.api.created == []
    assert calls(tmp_path) == ["provision", "provision", "delete"]


def test_a_volume_does_not_wait_for_a_copy_that_no_pod_uses_yet(parts: Parts) -> None:
    has_source(parts, "node2")
    come(parts, waiting("fresh"), waiting("copy", node="", **SOURCE))

    parts.provision.sync(key_of("fresh"))

    assert given_back(parts) == []
    assert [one["metadata"]["name"] for one in parts.api.created] == ["pvc-fresh"]


@pytest.mark.parametrize(
    "copy",
    [
        pytest.param(waiting("copy"), id="it is no copy"),
        pytest.param(of_namespace("bank", waiting("copy", **SOURCE)), id="another namespace"),
        pytest.param(waiting("copy", node="node2", **SOURCE), id="it is another node's already"),
    ],
)
def test_a_volume_stays_with_what_no_pod_can_use_it_with(
    parts: Parts, copy: dict[str, Any]
) -> None:
    has_source(parts, "node2")
    come(parts, waiting("fresh"), copy)

    parts.provision.sync(key_of("fresh"))

    assert given_back(parts) == []
    assert [one["metadata"]["name"] for one in parts.api.created] == ["pvc-fresh"]


@pytest.mark.parametrize(
    ("node", "phase"),
    [
        pytest.param("node1", "Bound", id="its source is here"),
        pytest.param("node2", "Pending", id="nobody knows where, as its source is not bound"),
    ],
)
def test_a_volume_stays_with_a_copy_that_no_other_node_makes(
    parts: Parts, node: str, phase: str
) -> None:
    has_source(parts, node, phase)
    come(parts, waiting("fresh"), waiting("copy", **SOURCE))

    parts.provision.sync(key_of("fresh"))

    assert given_back(parts) == []
    assert len(parts.api.created) == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(
            waiting("other", storageClassName="at-once"), id="its class is bound without a pod"
        ),
        pytest.param(waiting("other", storageClassName="unknown"), id="its class is not known"),
        pytest.param(waiting("other", **SOURCE), id="it is a copy, too, and goes by itself"),
        pytest.param(of_namespace("bank", waiting("other")), id="it is of another namespace"),
    ],
)
def test_a_copy_goes_without_a_claim_that_no_scheduler_would_send_elsewhere(
    parts: Parts, other: dict[str, Any]
) -> None:
    has_source(parts, "node2")
    come(parts, other, waiting("copy", **SOURCE))

    parts.provision.sync(key_of("copy"))

    assert given_back(parts) == ["copy"]


def test_a_copy_that_has_no_room_here_goes_alone(parts: Parts, tmp_path: Path) -> None:
    """Its source is here, so the pod has to come here."""
    full = '{"status": "Failure", "reason": "ResourceExhausted", "message": "no room"}'
    (tmp_path / "flexvol~loop/loop").write_text(f"#!/bin/sh\necho '{full}'\n")
    has_source(parts, "node1")
    come(parts, waiting("fresh"), waiting("copy", **SOURCE))

    parts.provision.sync(key_of("copy"))

    assert given_back(parts) == ["copy"]


def test_a_claim_that_changes_at_that_very_moment_gets_no_pv_and_is_looked_at_again(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the thread that works on the copy, which gives the claim's node back at the same
    time."""

    def changed(*_: Any) -> None:
        raise cluster.Refused(409, "the object has been modified")

    monkeypatch.setattr(parts.api, "patch", changed)
    has_source(parts, "node2")
    come(parts, waiting("fresh"), waiting("copy", **SOURCE))
    keys = {parts.work.get(), parts.work.get()}

    parts.provision.sync(key_of("fresh"))

    assert keys == {key_of("fresh"), key_of("copy")}
    assert parts.api.created == []
    assert parts.work.waiting_keys() == [key_of("fresh")]


def of_nothing(copy: dict[str, Any], version: int) -> dict[str, Any]:
    """A copy of a snapshot that no node has, in another version."""
    copy = of_snapshot(copy)
    copy["metadata"]["resourceVersion"] = str(version)
    return copy


def lists_nothing(plugins: Path) -> None:
    empty = '{"status": "Success", "volumes": [], "pools": []}'
    script = MAKES.replace("case", f"if [ $1 = list ]; then echo '{empty}'; exit; fi\ncase", 1)
    (plugins / "flexvol~loop/loop").write_text("#!/bin/sh\n" + script)


def test_the_claims_beside_a_hopeless_copy_go_along_less_and_less_often(
    parts: Parts, tmp_path: Path
) -> None:
    """On a node that the scheduler chooses every 10 s."""
    lists_nothing(tmp_path)
    went = []

    for version in range(100, 500):
        parts.seconds = 10.0 * version
        come(parts, waiting("fresh"), of_nothing(waiting("copy"), version))
        parts.api.patched.clear()
        parts.provision.sync(key_of("copy"))
        names = [path.rpartition("/")[2] for path, _ in parts.api.patched]
        assert names[-1] == "copy"
        if "fresh" in names:
            went.append(parts.seconds)

    stays = [after - before for before, after in itertools.pairwise(went)]
    assert stays[:3] == [10.0, 10.0, 10.0]
    assert stays == sorted(stays)
    assert stays[-1] >= 600


def test_in_one_round_all_claims_go_along_also_those_that_are_looked_at_later(
    parts: Parts, tmp_path: Path
) -> None:
    lists_nothing(tmp_path)
    come(parts, waiting("fresh"), waiting("slow"), of_nothing(waiting("copy"), 1))

    parts.provision.sync(key_of("fresh"))
    parts.seconds = 500.0
    parts.provision.sync(key_of("slow"))

    assert [path.rpartition("/")[2] for path, _ in parts.api.patched] == ["fresh", "slow"]
    assert parts.api.created == []


def of_others(copy: dict[str, Any], node: str = "node1") -> dict[str, Any]:
    notes = {PROVISIONER[0]: "quota.flexvol", SELECTED: node}
    copy["metadata"]["annotations"].update(notes)
    return copy


@pytest.mark.parametrize(
    "node",
    [
        pytest.param("node1", id="it waits here"),
        pytest.param("", id="its provisioner gave its node back a moment ago"),
    ],
)
def test_a_volume_goes_with_a_copy_of_another_provisioner(
    parts: Parts, tmp_path: Path, node: str
) -> None:
    has_source(parts, "node2", name="quota")
    come(parts, waiting("fresh"), of_others(waiting("copy", **SOURCE), node))

    parts.provision.sync(key_of("fresh"))

    assert given_back(parts) == ["fresh"]
    assert parts.api.created == []
    assert calls(tmp_path) == ["provision", "provision", "delete"]


SNAPSHOT = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "source"}


@pytest.mark.parametrize(
    "copy",
    [
        pytest.param(of_others(waiting("copy", **SOURCE), "node2"), id="another node's"),
        pytest.param(
            of_namespace("bank", of_others(waiting("copy", **SOURCE))), id="another namespace"
        ),
        pytest.param(of_others(waiting("copy", dataSource=SNAPSHOT)), id="a snapshot of CSI"),
        pytest.param(of_others(waiting("copy", volumeName="pvc-copy", **SOURCE)), id="it is bound"),
    ],
)
def test_a_volume_stays_with_what_of_another_provisioner_does_not_go(
    parts: Parts, copy: dict[str, Any]
) -> None:
    has_source(parts, "node2", name="quota")
    come(parts, waiting("fresh"), copy)

    parts.provision.sync(key_of("fresh"))

    assert given_back(parts) == []
    assert len(parts.api.created) == 1


def test_a_copy_of_another_provisioner_that_is_here_or_of_csi_moves_nothing(parts: Parts) -> None:
    has_source(parts, "node1", name="quota")
    come(parts, waiting("fresh"), of_others(waiting("copy", **SOURCE)))

    parts.provision.sync(key_of("fresh"))

    assert given_back(parts) == []


def test_a_copy_of_another_provisioner_that_came_to_an_end_is_forgotten(parts: Parts) -> None:
    has_source(parts, "node2", name="quota")
    copy = of_others(waiting("copy", **SOURCE))
    come(parts, waiting("fresh"), copy)
    parts.claims.gone(copy)

    parts.provision.sync(key_of("fresh"))

    assert given_back(parts) == []


def test_a_volume_waits_until_another_provisioner_knows_whether_its_snapshot_is_here(
    parts: Parts,
) -> None:
    copy = of_others(of_snapshot(waiting("copy")))
    come(parts, waiting("fresh"), copy)

    parts.provision.sync(key_of("fresh"))
    assert parts.api.created == []
    assert given_back(parts) == []

    parts.seconds = 5.0
    come(parts, of_others(of_snapshot(waiting("copy")), node=""))
    parts.provision.sync(key_of("fresh"))

    assert given_back(parts) == ["fresh"]
    assert parts.api.created == []


def test_a_volume_stays_if_another_provisioner_makes_its_snapshots_copy_here(parts: Parts) -> None:
    come(parts, waiting("fresh"), of_others(of_snapshot(waiting("copy"))))
    parts.provision.sync(key_of("fresh"))
    assert parts.api.created == []

    parts.seconds = 31.0
    parts.provision.sync(key_of("fresh"))

    assert given_back(parts) == []
    assert len(parts.api.created) == 1


def test_a_copy_that_lost_its_node_long_ago_moves_nothing(parts: Parts) -> None:
    """Perhaps it has no pod any more."""
    has_source(parts, "node2", name="quota")
    come(parts, waiting("first"), of_others(waiting("copy", **SOURCE), ""))
    parts.provision.sync(key_of("first"))
    assert given_back(parts) == ["first"]

    parts.seconds = 100.0
    come(parts, waiting("second"))
    parts.provision.sync(key_of("second"))

    assert given_back(parts) == ["first"]
    assert len(parts.api.created) == 1
