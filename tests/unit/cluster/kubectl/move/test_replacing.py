"""The PV that a moved volume gets: the same, on another node."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cluster.controller import cluster
from cluster.controller.objects import Volume
from cluster.kubectl.move import replacing
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.plans import Plan
from cluster.kubectl.move.replacing import manifest, replace
from tests.unit.cluster.kubectl.move.manifests import (
    JSON,
    VOLUME,
)
from tests.unit.cluster.kubectl.move.world import DRIVER, NAME, World


def test_it_is_the_other_nodes_and_says_retain_and_all_else_is_as_it_was() -> None:
    made = manifest(VOLUME, "node2", "host-2", "77").json

    assert made["metadata"] == {
        "name": "pvc-u1",
        "labels": {"tier": "db"},
        "annotations": {
            "flexvol/identity": "node2",
            "flexvol/on-node-gone": "release",
            "pv.kubernetes.io/provisioned-by": "loop.flexvol",
        },
        "finalizers": ["backup.example/keep"],
        "ownerReferences": JSON["metadata"]["ownerReferences"],
    }
    spec = made["spec"]
    assert spec.pop("persistentVolumeReclaimPolicy") == "Retain"
    assert spec.pop("flexVolume") == {
        **JSON["spec"]["flexVolume"],
        "options": {"pool": "fast", "poolId": "77"},
    }
    assert spec.pop("claimRef") == {"namespace": "shop", "name": "data", "uid": "u1"}
    (term,) = spec.pop("nodeAffinity")["required"]["nodeSelectorTerms"]
    assert term == {
        "matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["host-2"]}
        ]
    }
    assert spec == {"capacity": {"storage": "64Mi"}, "accessModes": ["ReadWriteOnce"]}
    assert JSON["metadata"]["annotations"]["flexvol/identity"] == "node1"
    assert "status" not in made
    assert (made["apiVersion"], made["kind"]) == ("v1", "PersistentVolume")


def test_a_pv_that_no_claim_was_ever_bound_to_names_none() -> None:
    unbound = {
        **JSON,
        "spec": {key: value for key, value in JSON["spec"].items() if key != "claimRef"},
    }

    assert "claimRef" not in manifest(Volume(unbound), "node2", "host-2", "77").spec


def test_a_disk_that_has_another_name_where_it_is_now_is_named_so() -> None:
    options = manifest(VOLUME, "node2", "host-2", "5f", "carried").options
    assert options == {"pool": "carried", "poolId": "5f"}


PV = cluster.path_to(cluster.VOLUMES, NAME)
CLAIM = cluster.claim_path("shop", "data")


class Replacement:
    """A move whose copy is whole, so that the PV is next. later: what happens while the command
    waits, one thing after each look."""

    def __init__(self, patches: pytest.MonkeyPatch, policy: str = "Delete") -> None:
        self.world = World()
        self.slept = 0.0
        self.later: list[Any] = []
        clock = SimpleNamespace(monotonic=lambda: self.slept, sleep=self._sleep)
        patches.setattr(replacing, "time", clock)
        api: Any = self.world
        self.access = Access(api, {"loop.flexvol": DRIVER}, "flexvol", self.world.said.append)
        moved = manifest(self.pv, "node2", "host-2", "p-node2", "carried")
        plan = Plan("m1", "node1", "node2", moved, policy, "host-2", "p-node2")
        self.access.plans.create(plan)
        written = self.access.plans.find(NAME)
        assert written is not None
        self.plan = written
        self.access.set_policy(NAME, "Retain")

    @property
    def objects(self) -> dict[str, Any]:
        return self.world._objects

    @property
    def pv(self) -> Volume:
        assert self.world.pv is not None
        return self.world.pv

    def replace(self) -> Plan:
        return replace(self.access, self.plan)

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds
        if self.later:
            self.later.pop(0)()


@pytest.fixture
def replacement(monkeypatch: pytest.MonkeyPatch) -> Replacement:
    return Replacement(monkeypatch)


def test_the_new_pv_is_the_other_nodes_and_gets_its_policy_back(replacement: Replacement) -> None:
    plan = replacement.replace()

    assert plan.is_replacing
    pv = replacement.pv
    assert (pv.identity, pv.reclaim_policy) == ("node2", "Delete")
    assert pv.options == {"pool": "carried", "poolId": "p-node2"}
    assert "host-2" in str(pv.spec["nodeAffinity"])


def test_the_new_pv_is_as_the_old_one_is_by_then(replacement: Replacement) -> None:
    """Its claim has grown since the plan was written."""
    replacement.objects[PV]["spec"]["capacity"] = {"storage": "2Gi"}

    plan = replacement.replace()

    assert replacement.pv.capacity == "2Gi"
    assert plan.volume.capacity == "2Gi", "who ends a killed move makes the same PV"


def test_a_pv_that_is_the_other_nodes_already_stays(replacement: Replacement) -> None:
    replacement.replace()
    uid = replacement.pv.uid

    replacement.replace()

    assert replacement.pv.uid == uid


def test_a_pv_of_a_third_node_is_left_to_a_person(replacement: Replacement) -> None:
    replacement.objects[PV]["metadata"]["annotations"]["flexvol/identity"] = "node3"

    with pytest.raises(NotMoved, match="neither of node node1 nor of node node2"):
        replacement.replace()

    assert replacement.pv.identity == "node3"


@pytest.mark.parametrize(
    ("claim", "pv", "pv_at_last"),
    [
        pytest.param("Lost", "Bound", "Bound", id="the claim is still lost"),
        pytest.param("Bound", "Pending", "Bound", id="the PV is not bound"),
        pytest.param("Bound", "Available", "Released", id="the claim goes meanwhile"),
    ],
)
def test_the_policy_comes_back_when_both_are_bound_again(
    replacement: Replacement, claim: str, pv: str, pv_at_last: str
) -> None:
    """Before that the new PV may yet be released, and its node would delete the storage."""
    replacement.objects[CLAIM]["status"] = {"phase": claim}
    replacement.world.phase_of_new = pv
    seen: list[str] = []

    def bind() -> None:
        seen.append(replacement.pv.reclaim_policy)
        replacement.objects[CLAIM]["status"] = {"phase": "Bound"}
        replacement.objects[PV]["status"] = {"phase": pv_at_last}

    # The old PV goes at the second look; the third one is at the new PV.
    replacement.later = [lambda: None, bind]
    replacement.replace()

    assert seen == ["Retain"]
    assert (replacement.pv.identity, replacement.pv.reclaim_policy) == ("node2", "Delete")


def test_a_claim_that_is_never_bound_again_leaves_the_storage_safe(
    replacement: Replacement,
) -> None:
    replacement.objects[CLAIM]["status"] = {"phase": "Lost"}

    with pytest.raises(NotMoved, match=r"90 s in vain until the claim shop/data is bound again"):
        replacement.replace()

    assert replacement.pv.reclaim_policy == "Retain"
    assert 90 <= replacement.slept < 100


@pytest.mark.parametrize(
    ("policy", "is_told"), [("Delete", True), ("Retain", False)], ids=["Delete", "Retain"]
)
def test_a_volume_whose_claim_is_gone_is_kept_and_a_person_is_told(
    monkeypatch: pytest.MonkeyPatch, policy: str, is_told: bool
) -> None:
    replacement = Replacement(monkeypatch, policy)
    del replacement.objects[CLAIM]

    replacement.replace()

    assert (replacement.pv.identity, replacement.pv.reclaim_policy) == ("node2", "Retain")
    assert bool(replacement.world.said) == is_told
    if is_told:
        assert f"kubectl flexvol delete {NAME}" in replacement.world.said[-1]


@pytest.mark.parametrize("status", [409, 403], ids=["others change the PV", "a policy denies it"])
def test_the_old_pvs_finalizers_are_tried_again_only_if_it_was_changed(
    replacement: Replacement, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    patch = replacement.world.patch
    refusals = [cluster.Refused(status, "no")]

    def refuse_once(path: str, body: Any, seconds: float = 0) -> Any:
        if path == PV and "finalizers" in body.get("metadata", {}):
            version = replacement.objects[PV]["metadata"]["resourceVersion"]
            assert body["metadata"] == {"finalizers": [], "resourceVersion": version}
            if refusals:
                raise refusals.pop()
        return patch(path, body, seconds)

    monkeypatch.setattr(replacement.world, "patch", refuse_once)
    if status == 409:
        replacement.replace()
        assert replacement.pv.identity == "node2"
    else:
        with pytest.raises(cluster.Refused, match="no"):
            replacement.replace()
        assert replacement.pv.identity == "node1"


def test_a_move_that_somebody_else_has_ended_replaces_nothing(
    replacement: Replacement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Access, "plans", SimpleNamespace(change=lambda *_, **__: None))

    with pytest.raises(NotMoved, match="was ended by somebody else"):
        replacement.replace()

    assert replacement.pv.identity == "node1"
    assert "deletionTimestamp" not in replacement.objects[PV]["metadata"]


def test_the_secret_that_was_made_for_the_volume_is_handed_over(
    replacement: Replacement, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "/api/v1/namespaces/vault/secrets/pvc-u1-key.node1"
    made = {"flexvol/volume": NAME, "flexvol/identity": "node1"}
    replacement.objects[secret] = {"metadata": {"annotations": made}, "type": DRIVER}
    reference = {"namespace": "vault", "name": "pvc-u1-key.node1"}
    replacement.objects[PV]["spec"]["flexVolume"]["secretRef"] = reference

    replacement.replace()

    assert replacement.objects[secret]["metadata"]["annotations"]["flexvol/identity"] == "node2"
