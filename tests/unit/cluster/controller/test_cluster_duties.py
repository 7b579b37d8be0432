"""Which PVs are given up without a person, and which claims count as not taken."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller import cluster, cluster_duties, lost_storage, metrics
from cluster.controller.cluster_duties import ClusterDuties, Settings
from cluster.controller.lost_storage import BY_CLASS, BY_PERSON, DISK_GONE
from cluster.controller.objects import Volume
from tests.unit.cluster.controller.objects import DRIVERS, claim, storage_class, volume_of_node


class Api:
    """The objects of one volume, by path, and what was deleted of them."""

    def __init__(self, volume: dict[str, Any]) -> None:
        reference = volume["spec"]["claimRef"]
        claim = {"metadata": dict(reference), "spec": {"volumeName": volume["metadata"]["name"]}}
        self.volume_path = f"/api/v1/persistentvolumes/{volume['metadata']['name']}"
        self.objects: dict[str, Any] = {
            self.volume_path: volume,
            "/api/v1/namespaces/shop/persistentvolumeclaims/data": claim,
        }
        self.deleted: set[str] = set()

    def items(self, path: str) -> list[Any]:
        return []

    def get(self, path: str) -> Any:
        return self.objects.get(path)

    def claim(self, reference: dict[str, Any]) -> Any:
        return self.objects.get("/api/v1/namespaces/shop/persistentvolumeclaims/data")

    def patch(self, path: str, change: dict[str, Any]) -> None:
        self.objects[path]["spec"].update(change.get("spec", {}))

    def delete(self, path: str, uid: str) -> None:
        self.deleted.add(path)
        self.objects.pop(path)


class Duties:
    """ClusterDuties beside one volume of node1; `rounds` are seconds apart by its own clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mark: str, policy: str) -> None:
        volume = volume_of_node(mark)
        volume["metadata"]["annotations"]["flexvol/on-node-gone"] = policy
        volume["metadata"]["resourceVersion"] = "1"
        self.api = Api(volume)
        self.now = 0.0
        self.warned: list[str] = []
        clock: Any = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(cluster_duties, "time", clock)
        events: Any = SimpleNamespace(warning=lambda about, reason, said: self.warned.append(said))
        api: Any = self.api
        self.duties = ClusterDuties(api, events, DRIVERS, Settings("flexvol", 60.0), lambda: True)
        self.volume = volume

    def round(self, node_is_there: bool, after_seconds: float) -> None:
        self.now += after_seconds
        node = {"metadata": {"name": "node1", "uid": "n1"}}
        path = "/api/v1/nodes/node1"
        self.api.objects.pop(path, None)
        self.duties.nodes.listed(set())
        if node_is_there:
            self.api.objects[path] = node
            self.duties.nodes.changed(node)
        if self.api.volume_path in self.api.objects:
            self.duties.volumes.changed(self.volume)
        self.duties._round()  # its thread does nothing else


@given(
    mark=st.sampled_from(["", "pool default was replaced"]),
    policy=st.sampled_from(["release", "keep", ""]),
    rounds=st.lists(st.tuples(st.booleans(), st.sampled_from([1.0, 30.0, 61.0])), max_size=8),
)
def test_only_a_node_that_is_gone_for_long_gives_up_a_volume_whose_class_says_so(
    mark: str, policy: str, rounds: list[tuple[bool, float]]
) -> None:
    gone_seconds = -1.0
    with pytest.MonkeyPatch.context() as patches:
        duties = Duties(patches, mark, policy)
        given_up = False
        for node_is_there, after_seconds in rounds:
            if node_is_there:
                gone_seconds = -1.0
            else:
                gone_seconds = gone_seconds + after_seconds if gone_seconds >= 0 else 0.0
            duties.round(node_is_there, after_seconds)
            given_up = given_up or (policy == "release" and gone_seconds >= 60.0)
            assert bool(duties.api.deleted) == given_up, (node_is_there, gone_seconds)


def test_a_node_that_the_watch_does_not_know_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that is late, or began anew, is no proof that the node is gone."""
    duties = Duties(monkeypatch, "", "release")
    duties.api.objects["/api/v1/nodes/node1"] = {"metadata": {"name": "node1", "uid": "n1"}}

    for _ in range(3):
        duties.now += 61.0
        duties.duties.volumes.changed(duties.volume)
        duties.duties._round()

    assert (duties.api.deleted, duties.warned) == (set(), [])
    assert metrics.lost.labels(lost_storage.NODE_GONE)._value.get() == 0


def test_a_lost_volume_is_reported_at_once_when_it_is_lost_again_and_else_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    duties = Duties(monkeypatch, "", "keep")
    another = copy.deepcopy(duties.volume)
    another["metadata"].update(name="pvc-u2", uid="v2")
    another["spec"]["claimRef"].update(name="more", uid="u2")
    duties.duties.volumes.changed(another)

    def reported(node_is_there: bool, after_seconds: float) -> list[int]:
        duties.warned.clear()
        duties.round(node_is_there, after_seconds)
        return [sum(name in said for said in duties.warned) for name in ("shop/data", "shop/more")]

    assert reported(False, 1.0) == [0, 0]
    assert reported(False, 60.0) == [2, 2], "on the PV and on its claim"
    assert reported(False, 599.0) == [0, 0]
    assert reported(False, 1.0) == [2, 2]
    assert reported(True, 1.0) == [0, 0]
    assert reported(False, 1.0) == [0, 0]

    assert reported(False, 60.0) == [2, 2]


def test_a_node_that_goes_after_its_pool_was_replaced_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    duties = Duties(monkeypatch, "pool default of the node was replaced", "keep")
    duties.round(True, 1.0)
    duties.round(True, 60.0)
    assert duties.warned == [], "the node itself has written the events"

    duties.round(False, 1.0)
    duties.round(False, 60.0)

    assert len(duties.warned) == 2
    assert all("its node node1 is gone" in said for said in duties.warned)


def test_a_volume_that_may_not_be_given_up_counts_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, uid: str) -> None:
        raise cluster.Refused(403, "denied by a policy")

    duties = Duties(monkeypatch, "", "release")
    monkeypatch.setattr(duties.api, "delete", refuse)
    for _ in range(3):
        duties.round(False, 61.0)

    assert metrics.lost.labels(lost_storage.NODE_GONE)._value.get() == 1


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("release", id="a class that gives up"),
        pytest.param("keep", id="a class that keeps"),
    ],
)
def test_a_pool_with_another_id_is_reported_with_what_a_person_may_do(
    monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    duties = Duties(monkeypatch, "pool default of the node was replaced", policy)
    for _ in range(3):
        duties.round(True, 61.0)

    reason, sentence = lost_storage.why(Volume(duties.volume), DRIVERS, node_exists=True)

    assert not duties.api.deleted
    assert reason == lost_storage.POOL_REPLACED
    assert "mount the volume's own disk there again" in sentence
    assert sentence.endswith("kubectl flexvol release pvc-u1")


@pytest.mark.parametrize(
    ("mark", "node_is_there", "reasons", "refusal"),
    [
        pytest.param("", False, BY_CLASS, "", id="a class gives up with the node"),
        pytest.param(
            "pool x was replaced",
            True,
            BY_CLASS,
            "is not given up by its class",
            id="a class does not give up by a mark",
        ),
        pytest.param("pool x was replaced", True, BY_PERSON, "", id="a person gives up"),
        pytest.param(
            "",
            True,
            BY_PERSON,
            "--disk-is-gone",
            id="a volume of a living node is refused with the way to give it up",
        ),
        pytest.param(
            "",
            True,
            BY_PERSON | {DISK_GONE},
            "",
            id="a person says the disk is dead",
        ),
    ],
)
def test_who_may_give_up_what(
    mark: str, node_is_there: bool, reasons: frozenset[str], refusal: str
) -> None:
    api: Any = Api(volume_of_node(mark))
    if node_is_there:
        api.objects["/api/v1/nodes/node1"] = {"metadata": {"name": "node1"}}
    volume = api.objects[api.volume_path]

    if not refusal:
        assert lost_storage.check_lost(api, Volume(volume), DRIVERS, reasons) == node_is_there
        return
    with pytest.raises(lost_storage.NotLost, match=refusal):
        lost_storage.check_lost(api, Volume(volume), DRIVERS, reasons)


def test_a_claim_that_no_node_takes_is_counted_until_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    duties = Duties(monkeypatch, "", "")
    duties.api.objects["/apis/storage.k8s.io/v1/storageclasses/c"] = storage_class(late=False)
    waits = claim(node="", resources={"requests": {"storage": "1Gi"}})
    waits["metadata"]["resourceVersion"] = "1"

    def counted(after_seconds: float) -> float:
        duties.duties.claims.changed(waits)
        duties.round(True, after_seconds)
        return next(iter(metrics.claims_not_taken.collect())).samples[0].value

    assert [counted(seconds) for seconds in (1.0, 5.0, 6.0)] == [0, 0, 1]
    waits["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = "node1"
    assert counted(1.0) == 0
